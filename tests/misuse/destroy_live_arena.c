/* SPDX-License-Identifier: MIT
 * A pool is destroyed while an arena is out.
 *
 * release:  told: destroy: pool "requests" has 1 live arena.*destroy_live_arena.c:[0-9]
 * check:    told: destroy: pool "requests" has 1 live arena.*destroy_live_arena.c:[0-9]
 * asan:     told: destroy: pool "requests" has 1 live arena.*destroy_live_arena.c:[0-9]
 * valgrind: told: destroy: pool "requests" has 1 live arena.*destroy_live_arena.c:[0-9]
 * guard:    told: destroy: pool "requests" has 1 live arena.*destroy_live_arena.c:[0-9]
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(BP_POOL_CHECKOUT(pool, &a));
    if (!wrong)
        bp_pool_give_back(pool, a);
    return bp_pool_destroy(pool) == (wrong ? EBUSY : 0) ? 0 : 1;
}
