/* SPDX-License-Identifier: MIT
 *
 * The slow side of the lanes: see lane.h for the protocol.
 */
#define _GNU_SOURCE
#include "lane.h"

struct lane *lane_mine(bp_pool *pool)
{
    unsigned id = thread_id();

    return id < THREAD_IDS ? &pool->lanes[id] : NULL;
}

/* Takes `a` out of the care of its lane, which held it as `slot` says. */
static void unhome(bp_pool *pool, struct arena *a, uintptr_t slot)
{
    atomic_store_explicit(&a->home, NULL, memory_order_relaxed); /* pairs with bp_pool_give_back */
    if ((slot & LANE_OUT) != 0) {
        a->state = STATE_LIVE;
        keep_drop(pool, a);
    } else {
        pool_put_idle(pool, a);
    }
}

void lane_empty(bp_pool *pool, struct lane *lane)
{
    struct arena *a = lane->homed;

    if (a == NULL)
        return;
    lane->homed = NULL;
    unhome(pool, a, lane_own_slot(lane, pool->way));
    atomic_store_explicit(&lane->slot[pool->way], lane_closed(lane), memory_order_release); /* pairs with lane_finish */
}

void lane_settle(bp_pool *pool, struct lane *lane)
{
    if (lane->homed == NULL)
        /* Emptied by others, or never used: the slot may say otherwise. */
        atomic_store_explicit(&lane->slot[pool->way], lane_closed(lane), memory_order_release); /* pairs with lane_finish */
    else if (atomic_load_explicit(&lane->revoked, memory_order_relaxed) != 0) /* written under the lock */
        lane_empty(pool, lane);
    atomic_store_explicit(&lane->revoked, 0, memory_order_relaxed); /* written and, by revokers, read under the lock */
}

bool lane_settle_store(bp_pool *pool, struct lane *lane, uintptr_t stored)
{
    /* Still homed: the revoker has not looked yet, and will find nothing. */
    bool stands = lane->homed != NULL || lane->seen == stored;

    lane_settle(pool, lane);
    return stands;
}

void lane_home(bp_pool *pool, struct lane *lane, struct arena *a, bool out)
{
    unsigned id = (unsigned)(lane - pool->lanes);

    lane_empty(pool, lane);
    if (id >= pool->lanes_used)
        pool->lanes_used = id + 1;
    a->state = STATE_HOMED;
    lane->homed = a;
    atomic_store_explicit(&a->home, lane, memory_order_relaxed); /* pairs with bp_pool_give_back */
    atomic_store_explicit(&lane->slot[pool->way], (uintptr_t)a | (out ? LANE_OUT : 0),
                          memory_order_release); /* pairs with lane_finish */
}

/* Under the lock. The ticket is of the newest revocation since the owner last settled: a barrier of that
 * drain or of an older one covers it. */
static void revoke(bp_pool *pool, struct lane *lane, uint64_t ticket)
{
    if (atomic_load_explicit(&lane->revoked, memory_order_relaxed) == 0) /* written under the lock */
        lane->ticket = ticket;
    pool->tickets = ticket;
    atomic_store_explicit(&lane->revoked, 1, memory_order_seq_cst); /* pairs with lane_store */
}

bool lane_evict(bp_pool *pool, struct lane *lane, struct arena *a)
{
    /* In this order: should the owner be giving it back at this very moment, one of the two finds out. */
    revoke(pool, lane, pool->tickets + 1);
    if (atomic_load_explicit(&lane->slot[pool->way], memory_order_seq_cst) != (uintptr_t)a + LANE_OUT)
        return false; /* pairs with lane_store */
    /* The slot goes on saying that `a` is out, which its owner settles when it comes next; until then it
     * cannot give `a` back through the slot, since the arena's home is another. No store of the owner
     * stands from here on. */
    lane->homed = NULL;
    lane->seen = 0;
    unhome(pool, a, LANE_OUT);
    return true;
}

/* Takes the arena of a revoked lane; the barrier lies between the revocation and this. */
static void lane_finish(bp_pool *pool, struct lane *lane)
{
    struct arena *a = lane->homed;

    lane->seen = atomic_load_explicit(&lane->slot[pool->way], memory_order_seq_cst); /* pairs with lane_store */
    lane->homed = NULL;
    unhome(pool, a, lane->seen);
}

void lanes_collect(bp_pool *pool)
{
    for (struct lane *lane = pool->lanes; lane < pool->lanes + pool->lanes_used; lane++) {
        if (lane->homed != NULL)
            lane_finish(pool, lane);
        /* Also where nothing is homed: the slot may be a leftover. */
        atomic_store_explicit(&lane->slot[pool->way], lane_closed(lane), memory_order_relaxed); /* alone */
    }
}

bool lane_holds(const bp_pool *pool, const struct lane *lane, bool out)
{
    uintptr_t slot = atomic_load_explicit(&lane->slot[pool->way], memory_order_acquire); /* pairs with lane_store */

    return lane->homed != NULL && ((slot & LANE_OUT) != 0) == out;
}

bool lanes_drain(bp_pool *pool, bool out, unsigned cooldown)
{
    struct lane *mine = lane_here(pool);
    uint64_t ticket = pool->tickets + 1;
    bool any = false, revoked = false, barrier;

    for (struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++) {
        if (!lane_holds(pool, l, out))
            continue;
        if (l == mine) {
            lane_settle(pool, l);
            lane_empty(pool, l);
            any = true;
        } else {
            revoke(pool, l, ticket);
            /* Now, lest an owner that comes by during the barrier homes it again. */
            if (cooldown > l->cooldown)
                l->cooldown = cooldown;
            revoked = true;
        }
    }
    if (!revoked)
        return any;

    pthread_mutex_unlock(&pool->lock);
    barrier = pool->way == LANE_SEQ_CST || thread_barrier();
    pthread_mutex_lock(&pool->lock);
    if (!barrier)
        return true; /* the owners find `revoked` and bring the arenas themselves */
    for (struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++) {
        /* Revoked anew since: what the owner did in between is for that drain's barrier. */
        if (l->ticket > ticket || l->homed == NULL ||
            atomic_load_explicit(&l->revoked, memory_order_relaxed) == 0) /* written under the lock */
            continue;
        lane_finish(pool, l);
    }
    return true;
}

size_t lanes_idle(bp_pool *pool)
{
    size_t n = 0;

    for (struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++)
        n += lane_holds(pool, l, false);
    return n;
}
