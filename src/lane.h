/* SPDX-License-Identifier: MIT
 * Lanes: a place per thread and pool where a thread finds again the arena that it gave back.
 *
 * A lane is owned by the one living thread with its number. At most one arena is *homed* in it; the slot
 * says whether that is idle here (A) or checked out (A + LANE_OUT). A homed arena counts against
 * max_idle in either case, so that the owner may move it between the two with a plain store: no cap can be
 * broken by it, and nothing is hidden, since the pool can look at every slot.
 *
 * Only the owner writes the slot. Whoever else wants the arena (trim, a checkout that finds nothing, a
 * cap) revokes the lane:
 *
 *   owner, no lock                              revoker
 *   slot = new         (lane_store)             under the pool's lock: revoked = 1
 *   [compiler barrier]                          without it: thread_barrier()
 *   if (revoked) -> take the pool's lock        under the lock: read slot, take what it says (lane_finish)
 *
 * After the barrier either the revoker sees the owner's store or the owner sees `revoked` (Dekker's
 * pattern, with the fence moved to the rare side by membarrier; without membarrier both sides use seq_cst
 * operations). An owner that sees `revoked` compares, under the lock, what the revoker saw with what it
 * stored: its own operation stands or is void accordingly. It alone reopens the lane. A revoker that was
 * not there yet finds nothing homed and goes away.
 */
#ifndef LANE_H
#define LANE_H

#include "pool_private.h"

/* Stores to the slot; true if the lane is revoked. Owner only. `way` is the pool's. */
static inline bool lane_store(struct lane *lane, uintptr_t value, enum lane_way way)
{
    if (way == LANE_PLAIN) {
        atomic_store_explicit(&lane->slot[way], value, memory_order_release); /* pairs with lane_finish */
        __asm__ volatile("" ::: "memory");                                    /* pairs with thread_barrier */
        return atomic_load_explicit(&lane->revoked, memory_order_acquire) != 0;
    }
    atomic_exchange_explicit(&lane->slot[way], value, memory_order_seq_cst); /* pairs with lanes_drain */
    return atomic_load_explicit(&lane->revoked, memory_order_seq_cst) != 0;
}

/* For the owner, without the lock: its own last store. */
static inline uintptr_t lane_own_slot(const struct lane *lane, enum lane_way way)
{
    return atomic_load_explicit(&lane->slot[way], memory_order_relaxed);
}

/* The lane of the calling thread, a closed one if it has none (yet). No lock needed. */
static inline struct lane *lane_here(bp_pool *pool)
{
    return (struct lane *)(void *)((char *)pool->lanes + thread_offset);
}

/* The lane of the calling thread, handing it a number first, or NULL. No lock needed. */
struct lane *lane_mine(bp_pool *pool);

/* ---- the pool's lock is held ---- */

/* For the owner, after anything but a store that found the lane revoked: makes peace with a revoker. */
void lane_settle(bp_pool *pool, struct lane *lane);

/* For the owner, after a store that found the lane revoked: true if what it did stands. The lane is empty
 * then; the arena is IDLE or LIVE as the store said. */
bool lane_settle_store(bp_pool *pool, struct lane *lane, uintptr_t stored);

/* For the owner of a settled lane: homes `a`, which is counted, checked out or idle. Whatever was homed
 * before goes where it belongs. */
void lane_home(bp_pool *pool, struct lane *lane, struct arena *a, bool out);

/* For the owner of a settled lane: sends what is homed where it belongs: the idle list, or, not counted any
 * more, LIVE. */
void lane_empty(bp_pool *pool, struct lane *lane);

/* For whoever gives back an arena that is homed, and out, in the lane of another thread: LIVE and not
 * counted. There is no barrier here, for handing arenas on to other threads is common: if the owner gives it
 * back too in the same instant, that misuse is seen, false, but for the few ns that its store is on its way. */
bool lane_evict(bp_pool *pool, struct lane *lane, struct arena *a);

/* Takes the arenas out of all lanes whose arena is idle (or, with `out`, checked out). Drops the lock
 * meanwhile. `cooldown` keeps the owners from homing for that many slow checkouts. True if a second look is
 * worth while: a lane was emptied, or the lock was dropped and others may have done it. */
bool lanes_drain(bp_pool *pool, bool out, unsigned cooldown);

/* For destroy, which is alone with the pool: takes the arenas out of all lanes. */
void lanes_collect(bp_pool *pool);

/* Whether the lane has an arena homed that is idle (or, with `out`, checked out); a moment's value while
 * its owner is at work. */
bool lane_holds(const bp_pool *pool, const struct lane *lane, bool out);

/* Idle arenas in lanes; a moment's value. */
size_t lanes_idle(bp_pool *pool);

#endif
