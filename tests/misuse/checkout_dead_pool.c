/* SPDX-License-Identifier: MIT
 * A pool that was destroyed is asked for an arena.
 *
 * release:  at once: checkout: pool "requests" has been destroyed
 * check:    at once: checkout: pool "requests" has been destroyed
 * asan:     at once: checkout: pool "requests" has been destroyed
 * valgrind: at once: checkout: pool "requests" has been destroyed
 * guard:    at once: checkout: pool "requests" has been destroyed
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    bp_pool_give_back(pool, a);
    MUST(bp_pool_destroy(pool));
    if (wrong) {
        (void)!bp_pool_checkout(pool, &a);
        misuse_done();
    }
    return 0;
}
