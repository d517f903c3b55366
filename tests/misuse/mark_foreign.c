/* SPDX-License-Identifier: MIT
 * An arena is rewound to another arena's mark.
 *
 * release:  at once: arena .* rewound to a mark that is dead
 * check:    at once: arena .* rewound to a mark that is dead
 * asan:     at once: arena .* rewound to a mark that is dead
 * valgrind: at once: arena .* rewound to a mark that is dead
 * guard:    at once: arena .* rewound to a mark that is dead
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena(), *b = new_arena();
    bp_mark mark;

    misuse_begin(argc, argv);
    new_block(a, 100)[0] = 1;
    new_block(b, 100)[0] = 1;
    mark = bp_arena_mark(a);
    if (wrong) {
        bp_arena_rewind(b, mark);
        misuse_done();
    }
    bp_arena_rewind(a, mark);
    return bp_arena_destroy(a) | bp_arena_destroy(b);
}
