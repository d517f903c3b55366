/* SPDX-License-Identifier: MIT
 * A block is allocated from an arena that was given back.
 *
 * release:  no
 * check:    at once: allocation: arena .* of pool "requests" has been given back
 * asan:     at once: allocation: arena .* of pool "requests" has been given back
 * valgrind: at once: allocation: arena .* of pool "requests" has been given back
 * guard:    at once: allocation: arena .* of pool "requests" has been given back
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    new_block(a, 100)[0] = 1;
    bp_pool_give_back(pool, a);
    if (wrong) {
        char *p = bp_arena_alloc(a, opaque(100));

        misuse_done();
        p[0] = 1;
    }
    return bp_pool_destroy(pool);
}
