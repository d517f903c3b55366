/* SPDX-License-Identifier: MIT
 * A block is written after its arena was given back and the next unit of work has begun.
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
    bp_arena *a, *next;
    char *p, *q;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    p = memset(new_block(a, 100), 1, 100);
    bp_pool_give_back(pool, a);
    MUST(bp_pool_checkout(pool, &next));
    q = memset(new_block(next, 100), 1, 100);
    if (wrong) {
        p[50] = 2;
        misuse_done();
    }
    q[50] = 3;
    bp_pool_give_back(pool, next);
    return bp_pool_destroy(pool);
}
