/* SPDX-License-Identifier: MIT
 * An arena is rewound to a mark from before its reset.
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
    bp_arena *a = new_arena();
    bp_mark mark;

    misuse_begin(argc, argv);
    new_block(a, 100)[0] = 1;
    mark = bp_arena_mark(a);
    bp_arena_reset(a);
    if (!wrong)
        mark = bp_arena_mark(a);
    new_block(a, 200)[0] = 1;
    bp_arena_rewind(a, mark);
    if (wrong)
        misuse_done();
    return bp_arena_destroy(a);
}
