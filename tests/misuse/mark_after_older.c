/* SPDX-License-Identifier: MIT
 * An arena is rewound to a mark after it was rewound to an older one.
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
    bp_mark older, newer;

    misuse_begin(argc, argv);
    older = bp_arena_mark(a);
    new_block(a, 100)[0] = 1;
    newer = bp_arena_mark(a);
    new_block(a, 100)[0] = 1;
    if (!wrong)
        bp_arena_rewind(a, newer);
    bp_arena_rewind(a, older);
    if (wrong) {
        bp_arena_rewind(a, newer);
        misuse_done();
    }
    return bp_arena_destroy(a);
}
