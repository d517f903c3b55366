/* SPDX-License-Identifier: MIT
 * An arena is given back to a pool that was destroyed.
 *
 * release:  at once: give_back: pool "requests" has been destroyed
 * check:    at once: give_back: pool "requests" has been destroyed
 * asan:     at once: give_back: pool "requests" has been destroyed
 * valgrind: at once: give_back: pool "requests" has been destroyed
 * guard:    at once: give_back: pool "requests" has been destroyed
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
        bp_pool_give_back(pool, a);
        misuse_done();
    }
    return 0;
}
