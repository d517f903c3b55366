/* SPDX-License-Identifier: MIT
 * A block is written after its arena was given back.
 *
 * release:  no
 * check:    later: use after drop in arena .*: byte 50 of a block of 100 bytes .*written later
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;
    char *p;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    p = new_block(a, 100);
    p[50] = 1;
    bp_pool_give_back(pool, a);
    if (wrong) {
        p[50] = 2;
        misuse_done();
    }
    return bp_pool_destroy(pool);
}
