/* SPDX-License-Identifier: MIT
 *
 * The slow side of the lanes: see lane.h for the protocol.
 */
#define _GNU_SOURCE
#include "lane.h"

#include "os.h"

#include <stdlib.h>

/* Slow checkouts for which a thread stays away from its lane after another had to take an arena out of it:
 * threads that share arenas meet at the lists instead of interrupting each other. */
enum { COOLDOWN = 64 };

struct lane_slot lane_closed_slot = { .state = SLOT_CLOSED };

void lane_close(struct lane *lane)
{
    lane->front[LANE_PLAIN] = lane->front[LANE_SEQ_CST] = &lane_closed_slot;
    lane->covered = 0;
}

struct lane *lane_mine(bp_pool *pool)
{
    unsigned id = thread_id();
    struct lane *lane;
    struct lane_deep *deep;
    int saved = errno;

    if (id >= THREAD_IDS || pool->max_idle == 0)
        return NULL;
    lane = &pool->lanes[id];
    if (BP_LIKELY(lane->deep != NULL))
        return lane;
    deep = id < FIRST_DEEPS ? &pool->first_deeps[FIRST_DEEPS - 1 - id] : aligned_alloc(64, sizeof *deep);
    if (deep == NULL) {
        os_restore_errno(saved);
        return NULL;
    }
    memset(deep, 0, sizeof *deep);
    for (unsigned i = 0; i < LANE_SLOTS; i++) {
        deep->slots[i].index = (uint8_t)i;
        deep->slots[i].lane = (uint16_t)id;
        atomic_init(&deep->slots[i].arena, slot_nobody(&deep->slots[i]));
        atomic_init(&deep->slots[i].state, SLOT_OUT);
    }
    pthread_mutex_lock(&pool->lock); /* for a child of fork, which finds all of it or nothing */
    lane->deep = deep;
    pthread_mutex_unlock(&pool->lock);
    return lane;
}

/* Takes the arena out of `slot`, whose state is or was `state`. */
static void vacate(bp_pool *pool, struct lane *lane, struct lane_slot *slot, uint32_t state)
{
    struct arena *a = slot_arena(slot);

    slot->seen = (uint8_t)state;
    lane->homed &= ~((uint32_t)1 << slot->index);
    /* Read by the owner. */
    atomic_store_explicit(&slot->arena, slot_nobody(slot), memory_order_relaxed);
    atomic_store_explicit(&a->home, NULL, memory_order_relaxed); /* pairs with bp_pool_give_back */
    if (state == SLOT_OUT) {
        a->state = STATE_LIVE;
        a->holder = (int32_t)thread_tid_of(slot->lane);
        keep_drop(pool, a);
    } else {
        pool_put_idle(pool, a);
    }
}

/* Takes what the lane was revoked for; the barrier, or the owner's own presence, lies between
 * the revocation and this. In no order: that is the owner's to know. */
static void take_wanted(bp_pool *pool, struct lane *lane)
{
    unsigned want = lane->wanted;

    lane->wanted = 0;
    for (uint32_t left = lane->homed; left != 0; left &= left - 1) {
        struct lane_slot *slot = &lane->deep->slots[__builtin_ctz(left)];
        uint32_t state = atomic_load_explicit(&slot->state, memory_order_seq_cst); /* pairs with lane_store */

        if ((want >> state & 1) != 0)
            vacate(pool, lane, slot, state);
    }
}

/* Owner only: forgets slots that are vacant, or out, in the stack and at the front. */
static void forget(bp_pool *pool, struct lane *lane)
{
    unsigned n = 0;

    for (unsigned i = 0; i < lane->covered; i++) {
        const struct lane_slot *slot = &lane->deep->slots[lane->deep->stack[i]];

        if (!slot_is_vacant(slot) && slot_own_state(slot) == SLOT_IDLE)
            lane->deep->stack[n++] = slot->index;
    }
    lane->covered = (uint32_t)n;
    if (slot_is_vacant(lane->front[pool->way]))
        lane->front[pool->way] = &lane_closed_slot;
}

void lane_unhome(bp_pool *pool, struct lane *lane, struct lane_slot *slot)
{
    vacate(pool, lane, slot, slot_own_state(slot));
    if (lane->front[pool->way] == slot)
        lane->front[pool->way] = &lane_closed_slot;
}

bool lane_unhome_oldest(bp_pool *pool, struct lane *lane)
{
    struct lane_slot *slot = lane->front[pool->way];

    if (lane->covered != 0) {
        slot = &lane->deep->slots[lane->deep->stack[0]];
        memmove(lane->deep->stack, lane->deep->stack + 1, --lane->covered);
    } else if (slot_own_state(slot) != SLOT_IDLE) {
        return false;
    }
    lane_unhome(pool, lane, slot);
    return true;
}

/* Owner only: what is wanted, the idle arenas oldest first so that the list has the newest at its head. */
static void bring_wanted(bp_pool *pool, struct lane *lane)
{
    if ((lane->wanted & LANE_IDLE) != 0)
        while (lane_unhome_oldest(pool, lane))
            ;
    take_wanted(pool, lane);
}

void lane_settle(bp_pool *pool, struct lane *lane)
{
    if (lane->deep == NULL)
        return;
    /* Written under the lock. */
    if (BP_LIKELY(atomic_load_explicit(&lane->revoked, memory_order_relaxed) == 0))
        return;
    forget(pool, lane);
    bring_wanted(pool, lane);
    forget(pool, lane);
    /* Written and, by revokers, read under the lock. */
    atomic_store_explicit(&lane->revoked, 0, memory_order_relaxed);
}

bool lane_settle_store(bp_pool *pool, struct lane *lane, struct lane_slot *slot, uint32_t stored)
{
    /* Still homed: what the revoker looked for, if it has looked yet, was not this. */
    bool stands = !slot_is_vacant(slot) || slot->seen == stored;

    lane_settle(pool, lane);
    return stands;
}

bool lane_home(bp_pool *pool, struct lane *lane, struct arena *a, enum slot_state state)
{
    struct lane_slot *slot = lane->deep->slots;

    if (~lane->homed == 0 && (state == SLOT_OUT || !lane_unhome_oldest(pool, lane)))
        return false;
    if (slot->lane >= pool->lanes_used)
        pool->lanes_used = slot->lane + 1u;
    slot = &lane->deep->slots[__builtin_ctz(~lane->homed)];
    lane_cover(lane, slot, pool->way);
    lane->homed |= (uint32_t)1 << slot->index;
    a->state = STATE_HOMED;
    atomic_store_explicit(&a->home, slot, memory_order_relaxed);         /* pairs with bp_pool_give_back */
    atomic_store_explicit(&slot->state, state, memory_order_release);    /* pairs with slot_is */
    atomic_store_explicit(&slot->arena, a, memory_order_relaxed);        /* read by the owner */
    return true;
}

/* Under the lock. The ticket is of the oldest revocation since the owner last settled: the barrier of that
 * drain or of a newer one covers it. */
static void revoke(bp_pool *pool, struct lane *lane, uint64_t ticket)
{
    if (atomic_load_explicit(&lane->revoked, memory_order_relaxed) == 0) /* written under the lock */
        lane->ticket = ticket;
    pool->tickets = ticket;
    atomic_store_explicit(&lane->revoked, 1, memory_order_seq_cst); /* pairs with lane_store */
}

bool lane_evict(bp_pool *pool, struct lane_slot *slot)
{
    struct lane *lane = &pool->lanes[slot->lane];

    /* In this order: should the owner be giving it back at this very moment, one of the two finds out. */
    revoke(pool, lane, pool->tickets + 1);
    if (atomic_load_explicit(&slot->state, memory_order_seq_cst) != SLOT_OUT) /* pairs with lane_store */
        return false;
    lane->cooldown = COOLDOWN;
    /* No store of the owner to this slot stands from here on. */
    vacate(pool, lane, slot, SLOT_OUT);
    slot->seen = SLOT_CLOSED;
    return true;
}

void lanes_collect(bp_pool *pool, const struct lane *mine)
{
    for (struct lane *lane = pool->lanes; lane < pool->lanes + THREAD_IDS; lane++) {
        if (lane == mine || lane->deep == NULL)
            continue;
        lane->wanted = LANE_IDLE | LANE_OUT;
        take_wanted(pool, lane);
        lane_close(lane);
        atomic_store_explicit(&lane->revoked, 0, memory_order_relaxed); /* alone */
        if (mine == NULL) {
            if (lane - pool->lanes >= FIRST_DEEPS)
                free(lane->deep);
            lane->deep = NULL;
        }
    }
}

static bool lane_has(const struct lane *lane, unsigned want)
{
    for (uint32_t left = lane->homed; left != 0; left &= left - 1)
        if (slot_is(&lane->deep->slots[__builtin_ctz(left)], want))
            return true;
    return false;
}

bool lanes_drain(bp_pool *pool, unsigned want, bool cool_down)
{
    struct lane *mine = lane_here(pool);
    uint64_t ticket = pool->tickets + 1;
    bool any = false, revoked = false, barrier;

    for (struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++) {
        if (!lane_has(l, want))
            continue;
        if (l == mine) {
            lane_settle(pool, l);
            l->wanted = (uint16_t)want;
            bring_wanted(pool, l);
            forget(pool, l);
            any = true;
        } else {
            revoke(pool, l, ticket);
            l->wanted |= (uint16_t)want;
            /* Now, lest an owner that comes by during the barrier homes it again. */
            if (cool_down)
                l->cooldown = COOLDOWN;
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
    for (struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++)
        /* Revoked anew since: what the owner did in between is for that drain's barrier. */
        if (l->ticket <= ticket && l->wanted != 0)
            take_wanted(pool, l);
    return true;
}

size_t lanes_idle(bp_pool *pool)
{
    size_t n = 0;

    for (struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++)
        for (uint32_t left = l->homed; left != 0; left &= left - 1)
            n += slot_is(&l->deep->slots[__builtin_ctz(left)], LANE_IDLE);
    return n;
}
