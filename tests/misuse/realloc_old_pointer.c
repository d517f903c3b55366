/* SPDX-License-Identifier: MIT
 * A block is written by its old address after realloc has moved it.
 *
 * release:  no
 * check:    later: use after drop in arena .*: byte 50 of a block of 100 bytes .*written later
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    later: use after drop in arena .*: byte 50 of a block of 100 bytes .*written later
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p, *q;

    misuse_begin(argc, argv);
    p = memset(new_block(a, 100), 1, 100);
    new_block(a, 100)[0] = 2; /* so that it cannot grow where it is */
    q = bp_arena_realloc(a, p, 100, 200);
    MUST(q == NULL ? ENOMEM : 0);
    q[50] = 3;
    if (wrong) {
        p[50] = 4;
        misuse_done();
    }
    return bp_arena_destroy(a);
}
