/* SPDX-License-Identifier: MIT
 * Lanes: a few places per thread and pool where a thread finds again the arenas that it gave back.
 *
 * A lane is owned by the one living thread with its number. An arena that is *homed* in one of its slots is
 * either idle or checked out, as the slot says. Homed arenas count against max_idle in either case, so that
 * the owner may move them between the two with a plain store: no cap can be broken by it, and nothing is
 * hidden, since the pool can look at every slot.
 *
 * Only the owner changes the state of a slot; which arena is homed in it changes under the pool's lock only.
 * Whoever else wants arenas out of a lane (trim, a checkout that finds nothing, a cap, a waiter) revokes it:
 *
 *   owner, no lock                              revoker
 *   slot->state = new  (lane_store)             under the pool's lock: revoked = 1
 *   [compiler barrier]                          without it: thread_barrier()
 *   if (revoked) -> take the pool's lock        under the lock: read the states, take arenas (take_wanted)
 *
 * After the barrier either the revoker sees the owner's store or the owner sees `revoked` (Dekker's
 * pattern, with the fence moved to the rare side by membarrier; without membarrier both sides use seq_cst
 * operations). An owner that sees `revoked` compares, under the lock, what the revoker saw with what it
 * stored: its own operation stands or is void accordingly. There is never more than one such operation, for
 * the owner alone reopens the lane. A revoker that was not there yet finds nothing wanted and goes away.
 *
 * Which of its idle arenas is the newest is the owner's own business: `front` is the slot it used last, and
 * under that one lies a stack of idle slots. A pair of checkout and give_back finds the front as it left it
 * and stores to the state alone, so no pair waits for a value that the one before it stored.
 *
 * tests/model/lane.pml is a model of this.
 */
#ifndef LANE_H
#define LANE_H

#include "pool_private.h"

/* Stores to the state of a slot; true if the lane is revoked. Owner only. `way` is the pool's. */
static inline bool lane_store(struct lane *lane, struct lane_slot *slot, uint32_t state, enum lane_way way)
{
    if (way == LANE_PLAIN) {
        atomic_store_explicit(&slot->state, state, memory_order_release); /* pairs with take_wanted */
        __asm__ volatile("" ::: "memory");                               /* pairs with thread_barrier */
        return atomic_load_explicit(&lane->revoked, memory_order_acquire) != 0;
    }
    atomic_exchange_explicit(&slot->state, state, memory_order_seq_cst); /* pairs with take_wanted */
    return atomic_load_explicit(&lane->revoked, memory_order_seq_cst) != 0;
}

/* For the owner, without the lock: what it stored last. */
static inline uint32_t slot_own_state(const struct lane_slot *slot)
{
    return atomic_load_explicit(&slot->state, memory_order_relaxed);
}

/* The arena homed in a slot. What stands for none is no pointer that a program could have, lest a wild one
 * that is given back be taken for an arena. The slot's own address would not do: where it lies an
 * arena of a pool that is no more may have lain. */
static inline struct arena *slot_arena(const struct lane_slot *slot)
{
    return atomic_load_explicit(&slot->arena, memory_order_relaxed); /* written under the lock */
}

static inline struct arena *slot_nobody(struct lane_slot *slot)
{
    return (struct arena *)(void *)((char *)slot + 1);
}

static inline bool slot_is_vacant(const struct lane_slot *slot)
{
    return (uintptr_t)slot_arena(slot) == (uintptr_t)slot + 1;
}

/* The lane of the calling thread, a closed one if it has none (yet). No lock needed. */
static inline struct lane *lane_here(bp_pool *pool)
{
    return (struct lane *)(void *)((char *)pool + bp_lane_offset);
}

/* The lane of the calling thread, handing it a number and its slots first, or NULL. Call without the lock. */
struct lane *lane_mine(bp_pool *pool);

/* For the owner, without the lock: makes the newest idle slot under the front the front. False: none. */
static inline bool lane_uncover(struct lane *lane, enum lane_way way)
{
    if (lane->covered == 0)
        return false;
    lane->front[way] = &lane->deep->slots[lane->deep->stack[--lane->covered]];
    return true;
}

/* For the owner, without the lock: makes `slot`, which is about to be used, the front. */
static inline void lane_cover(struct lane *lane, struct lane_slot *slot, enum lane_way way)
{
    struct lane_slot *front = lane->front[way];

    if (slot_own_state(front) == SLOT_IDLE)
        lane->deep->stack[lane->covered++] = front->index;
    lane->front[way] = slot;
}

/* The front slot of every lane that has none. Never written. */
extern struct lane_slot lane_closed_slot;
void lane_close(struct lane *lane);

/* ---- the pool's lock is held ---- */

/* For the owner, before it homes anything: makes peace with a revoker. */
void lane_settle(bp_pool *pool, struct lane *lane);

/* For the owner, after a store that found the lane revoked: true if what it did stands. */
bool lane_settle_store(bp_pool *pool, struct lane *lane, struct lane_slot *slot, uint32_t stored);

/* For the owner of a settled lane: homes `a`, which is counted, as its newest. An idle one
 * takes the place of the oldest idle one where there is no other. False: no place. */
bool lane_home(bp_pool *pool, struct lane *lane, struct arena *a, enum slot_state state);

/* For the owner of a settled lane: sends the arena of one of its slots where it belongs: the
 * idle list, or, not counted any more, LIVE. */
void lane_unhome(bp_pool *pool, struct lane *lane, struct lane_slot *slot);

/* The oldest idle arena of a settled lane goes to the idle list. False: none. */
bool lane_unhome_oldest(bp_pool *pool, struct lane *lane);

/* For whoever gives back an arena that is homed, and out, in the lane of another thread: LIVE and not
 * counted. There is no barrier here, for handing arenas on to other threads is common: if the owner gives it
 * back too in the same instant, that misuse is seen, false, but for the few ns that its store is on its way.
 * Its owner keeps away from the lane for a while. */
bool lane_evict(bp_pool *pool, struct lane_slot *slot);

/* Takes the arenas in the states of `want` (LANE_IDLE, LANE_OUT) out of all lanes. Drops the lock meanwhile.
 * `cool_down` keeps the owners from homing for a while. True if a second look is worth while:
 * a lane was emptied, or the lock was dropped and others may have done it. */
bool lanes_drain(bp_pool *pool, unsigned want, bool cool_down);

/* For destroy, which is alone with the pool: takes the arenas out of all lanes, and frees the slots. For the
 * child of a fork (`mine` not NULL, its caller's lane), which is alone too: of all lanes but that one. */
void lanes_collect(bp_pool *pool, const struct lane *mine);

/* Whether a slot that is not vacant is in one of the states of `want`; a moment's value while its owner is at
 * work. */
static inline bool slot_is(const struct lane_slot *slot, unsigned want)
{
    /* Pairs with lane_store. */
    return (want >> atomic_load_explicit(&slot->state, memory_order_acquire) & 1) != 0;
}

/* Idle arenas in lanes; a moment's value. */
size_t lanes_idle(bp_pool *pool);

#endif
