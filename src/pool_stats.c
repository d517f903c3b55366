/* SPDX-License-Identifier: MIT
 *
 * What a pool says about itself.
 */
#define _GNU_SOURCE
#include "lane.h"
#include "pool_private.h"

size_t bp_pool_idle_count(bp_pool *arg)
{
    bp_pool *pool = pool_enter(arg, "idle_count");
    size_t n;

    if (pool == NULL)
        return 0;
    pthread_mutex_lock(&pool->lock);
    n = pool_idle(pool);
    pthread_mutex_unlock(&pool->lock);
    return n;
}

size_t bp_pool_live_count(bp_pool *arg)
{
    bp_pool *pool = pool_enter(arg, "live_count");
    size_t n;

    if (pool == NULL)
        return 0;
    pthread_mutex_lock(&pool->lock);
    n = pool->total - pool->in_transit - pool_idle(pool);
    pthread_mutex_unlock(&pool->lock);
    return n;
}

int bp_pool_stats(bp_pool *arg, struct bp_pool_stats *stats)
{
    bp_pool *pool = pool_enter(arg, "stats");
    struct bp_pool_stats s = { 0 };

    if (pool == NULL || stats == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    s.checkouts = pool->slow_checkouts;
    s.idle_bytes = pool->kept_bytes;
    s.idle = pool->warm.count + pool->cold.count + pool->serviced;
    for (const struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++) {
        s.checkouts += atomic_load_explicit(&l->checkouts, memory_order_relaxed); /* pairs with count_checkout */
        if (lane_holds(pool, l, false))
            s.idle++;
        else if (l->homed != NULL)
            s.idle_bytes -= l->homed->accounted;
    }
    s.live = pool->total - pool->in_transit - s.idle;
    s.hits = s.checkouts - pool->misses;
    s.give_backs = s.checkouts - s.live; /* every arena checked out is live until it is given back */
    s.mints = pool->mints;
    s.disposals = pool->disposals;
    s.releases = pool->releases;
    s.released_bytes = pool->released_bytes;
    s.refusals = pool->refusals;
    s.peak_arenas = pool->peak;
    pthread_mutex_unlock(&pool->lock);
    /* Pairs with the updates in arena.c; each is exact, their sum is a moment's. */
    s.spills = atomic_load_explicit(&pool->totals.spills, memory_order_relaxed);
    s.reserved_bytes = atomic_load_explicit(&pool->totals.reserved, memory_order_relaxed);
    s.committed_bytes = atomic_load_explicit(&pool->totals.committed, memory_order_relaxed);
    s.high_water = atomic_load_explicit(&pool->totals.high_water, memory_order_relaxed);
    *stats = s;
    return 0;
}
