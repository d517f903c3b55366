/* SPDX-License-Identifier: MIT
 * A block is read after its arena was given back and the next unit of work has begun.
 *
 * release:  no
 * check:    no
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid read of size 1
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a, *next;
    char *p, *q;
    int byte;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    p = memset(new_block(a, 100), 1, 100);
    byte = p[50];
    bp_pool_give_back(pool, a);
    MUST(bp_pool_checkout(pool, &next));
    q = memset(new_block(next, 100), 1, 100);
    if (wrong) {
        byte = p[50];
        misuse_done();
    }
    MUST(byte == 2 || q[50] != 1);
    bp_pool_give_back(pool, next);
    return bp_pool_destroy(pool);
}
