/* SPDX-License-Identifier: MIT
 * A block is resized with an old size that it does not have.
 *
 * release:  no
 * check:    at once: realloc of the block at .* as one of 150 bytes, which has 100
 * asan:     at once: realloc of the block at .* as one of 150 bytes, which has 100
 * valgrind: at once: realloc of the block at .* as one of 150 bytes, which has 100
 * guard:    at once: realloc of the block at .* as one of 150 bytes, which has 100
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = memset(new_block(a, 100), 1, 100);
    new_block(a, 100)[0] = 2;
    p = bp_arena_realloc(a, p, wrong ? 150 : 100, 200);
    if (wrong)
        misuse_done();
    MUST(p == NULL ? ENOMEM : 0);
    return bp_arena_destroy(a);
}
