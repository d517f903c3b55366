/* SPDX-License-Identifier: MIT
 * What is given back is no arena, but a block of one.
 *
 * release:  at once: give_back: .* is no arena of pool "requests"
 * check:    at once: give_back: .* is no arena of pool "requests"
 * asan:     at once: give_back: .* is no arena of pool "requests"
 * valgrind: at once: give_back: .* is no arena of pool "requests"
 * guard:    at once: give_back: .* is no arena of pool "requests"
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
    if (wrong) {
        bp_pool_give_back(pool, (bp_arena *)(void *)p);
        misuse_done();
    }
    bp_pool_give_back(pool, a);
    return bp_pool_destroy(pool);
}
