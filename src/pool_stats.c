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

/* Pairs with the updates in arena.c; each is exact, all together are a moment's. */
static void add_totals(const struct arena_totals *totals, struct bp_pool_stats *s)
{
    s->spills = atomic_load_explicit(&totals->spills, memory_order_relaxed);
    s->reserved_bytes = atomic_load_explicit(&totals->reserved, memory_order_relaxed);
    s->committed_bytes = atomic_load_explicit(&totals->committed, memory_order_relaxed);
    s->peak_committed_bytes = atomic_load_explicit(&totals->peak_committed, memory_order_relaxed);
    s->touched_bytes = atomic_load_explicit(&totals->touched, memory_order_relaxed);
    s->resident_bytes = atomic_load_explicit(&totals->resident, memory_order_relaxed);
    s->high_water = atomic_load_explicit(&totals->high_water, memory_order_relaxed);
    for (size_t i = 0; i < sizeof s->high_water_log2 / sizeof s->high_water_log2[0]; i++)
        s->high_water_log2[i] = atomic_load_explicit(&totals->high_water_log2[i], memory_order_relaxed);
}

int bp_pool_stats(bp_pool *arg, struct bp_pool_stats *stats)
{
    bp_pool *pool = pool_enter(arg, "stats");
    struct bp_pool_stats s = { 0 };

    if (pool == NULL || stats == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    s.checkouts = pool->slow_checkouts;
    s.idle_bytes = pool_idle_bytes(pool);
    s.idle = pool->warm.count + pool->cold.count + pool->serviced;
    for (const struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++) {
        /* Pairs with count_checkout. */
        s.checkouts += atomic_load_explicit(&l->checkouts, memory_order_relaxed);
        for (uint32_t left = l->homed; left != 0; left &= left - 1) {
            const struct lane_slot *slot = &l->deep->slots[__builtin_ctz(left)];

            s.idle += slot_is(slot, LANE_IDLE);
        }
    }
    s.live = pool->total - pool->in_transit - s.idle;
    s.hits = s.checkouts - pool->misses;
    s.give_backs = s.checkouts - s.live; /* every arena checked out is live until it is given back */
    s.mints = pool->mints;
    s.disposals = pool->disposals;
    s.releases = pool->releases;
    s.released_bytes = pool->released_bytes;
    s.cuts = pool->cuts;
    s.refusals = pool->refusals;
    s.peak_arenas = pool->peak;
    s.waits = pool->waits;
    s.timeouts = pool->timeouts;
    s.cancels = pool->cancels;
    s.wait_ns = pool->wait_ns;
    s.waiting = pool->waiting;
    pthread_mutex_unlock(&pool->lock);
    add_totals(&pool->totals, &s);
    *stats = s;
    return 0;
}
