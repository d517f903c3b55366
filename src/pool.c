/* SPDX-License-Identifier: MIT
 *
 * The pool: checkout and give_back.
 *
 * The common case is a thread that checks out an arena it gave back before. That goes through the thread's
 * lane (lane.h): a few loads and one plain store each way, no lock, no atomic read-modify-write. All else is
 * the slow path under one mutex: two idle lists (pool_arenas.c), the lanes' bookkeeping, the caps, the
 * waiters (waiter.c). The mutex is never held across a call of a backing, a cleanup, a misuse handler, a
 * waiter's function, malloc or a system call.
 *
 * Homed arenas hold their places under the caps also while checked out. When such places are what stands in
 * the way of another arena, they are taken back (lanes_drain), so that a cap is neither exceeded nor
 * wasted.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "checks.h"
#include "lane.h"
#include "misuse_private.h"

/* How often a checkout looks for an idle arena in lanes: their owners may take it, and give it back,
 * between two looks. Bounded, for where membarrier is refused a look is never the last. */
enum { DRAINS = 8 };

/* Inlined into the way through a lane these would make it save and restore six registers. */
#define SLOW_PATH __attribute__((noinline, cold))

/* ---- checkout ---- */

/* Gives `a` to the caller, homed in its lane where that is possible; `counted` says whether it holds a
 * place under max_idle already. `from` is for a checked arena only. */
static void hand_out(bp_pool *pool, struct lane *mine, struct arena *a, bool counted, const struct misuse_stack *from)
{
    pool->slow_checkouts++;
    a->state = STATE_LIVE;
    if (a->checks != NULL)
        check_set_live(a, from);
    a->idle_since = pool->looks; /* needed, even if nothing is allocated from it */
    a->holder = (int32_t)thread_tid();
    if (mine != NULL && pool_lanes_open(pool)) {
        if (mine->cooldown != 0) {
            mine->cooldown--;
        } else {
            lane_settle(pool, mine);
            if (counted || keep_try(pool, a)) {
                counted = true;
                if (lane_home(pool, mine, a, SLOT_OUT))
                    return;
            }
        }
    }
    if (counted)
        keep_drop(pool, a);
}

/* An idle arena or a new one; drops the lock where it has to. Those who wait already come first. */
static int obtain(bp_pool *pool, struct arena **out, bool *counted)
{
    int rc;

    for (unsigned drains = 0;; drains++) {
        if (pool->closed)
            return ECANCELED;
        if (pool->first_waiter != NULL)
            return EAGAIN;
        *out = pool_take_idle(pool);
        *counted = *out != NULL;
        if (*out != NULL)
            return 0;
        if (drains == DRAINS || !lanes_drain(pool, LANE_IDLE, true))
            break;
    }
    rc = pool_mint(pool, out);
    if (rc == 0 || pool->closed || pool->first_waiter != NULL)
        return rc;
    *out = pool_take_quarantined(pool);
    *counted = *out != NULL;
    return *out != NULL ? 0 : rc;
}

/* With a waiter: where there is no arena, queues it and returns EINPROGRESS. */
static int checkout_locked(bp_pool *pool, struct bp_waiter *waiter, bp_arena **out)
{
    struct lane *mine = lane_mine(pool);
    struct misuse_stack from;
    bool counted = false;
    struct arena *a;
    int rc;

    if (pool->checks != 0)
        misuse_stack_take(&from, NULL);
    pthread_mutex_lock(&pool->lock);
    if (mine != NULL)
        lane_settle(pool, mine);
    rc = obtain(pool, &a, &counted);
    /* while the lock was dropped: nobody would end a wait that begins now */
    if (rc == EAGAIN && pool->closed)
        rc = ECANCELED;
    if (rc == 0) {
        pool->misses += !counted;
        hand_out(pool, mine, a, counted, &from);
    } else if (rc == EAGAIN && waiter != NULL && pool->max_arenas != 0) {
        waiter_queue(pool, waiter);
        rc = EINPROGRESS;
    } else if (rc == EAGAIN) {
        pool->refusals++;
        waiter_refused(pool);
    }
    pool_leave(pool, NULL);
    if (rc != 0)
        return rc;
    *out = &a->pub;
    if (a->checks != NULL)
        check_look(a);
    return 0;
}

SLOW_PATH static int checkout_elsewhere(bp_pool *arg, bp_arena **out)
{
    bp_pool *pool = pool_enter(arg, "checkout");

    return pool == NULL || out == NULL ? EINVAL : checkout_locked(pool, NULL, out);
}

static void count_checkout(struct lane *lane)
{
    size_t n = atomic_load_explicit(&lane->checkouts, memory_order_relaxed); /* the owner's own */

    atomic_store_explicit(&lane->checkouts, n + 1, memory_order_relaxed); /* pairs with bp_pool_stats */
}

/* The lane turned out to be revoked after `slot` was stored to. */
SLOW_PATH static bool settle(bp_pool *pool, struct lane *lane, struct lane_slot *slot, uint32_t stored)
{
    bool stands;

    pthread_mutex_lock(&pool->lock);
    stands = lane_settle_store(pool, lane, slot, stored);
    pool_leave(pool, NULL);
    return stands;
}

SLOW_PATH static int checkout_revoked(bp_pool *pool, struct lane *lane, struct lane_slot *slot, struct arena *a,
                                      bp_arena **out)
{
    if (!settle(pool, lane, slot, SLOT_OUT))
        return checkout_elsewhere(pool, out);
    count_checkout(lane);
    *out = &a->pub;
    return 0;
}

/* Checkout of the front of the caller's lane. `way` is a constant where this is inlined. */
static inline bool checkout_front(bp_pool *pool, bp_arena **out, enum lane_way way, int *rc)
{
    struct lane *lane = lane_here(pool);
    struct lane_slot *slot = lane->front[way];
    struct arena *a = slot_arena(slot);

    /* The front of a lane that is closed, as in a destroyed pool or for a thread that is new, is not idle. */
    if (BP_UNLIKELY(slot_own_state(slot) != SLOT_IDLE || out == NULL))
        return false;
    *rc = 0;
    if (BP_UNLIKELY(lane_store(lane, slot, SLOT_OUT, way))) {
        *rc = checkout_revoked(pool, lane, slot, a, out);
        return true;
    }
    count_checkout(lane);
    *out = &a->pub;
    return true;
}

/* Checkout of the next one in the caller's lane. */
static inline int checkout_next(bp_pool *pool, bp_arena **out, enum lane_way way)
{
    int rc;

    if (BP_LIKELY(pool != NULL && out != NULL && lane_uncover(lane_here(pool), way)))
        if (checkout_front(pool, out, way, &rc))
            return rc;
    return checkout_elsewhere(pool, out);
}

SLOW_PATH static int checkout_other(bp_pool *pool, bp_arena **out)
{
    int rc;

    if (pool != NULL && checkout_front(pool, out, LANE_SEQ_CST, &rc))
        return rc;
    return checkout_next(pool, out, LANE_SEQ_CST);
}

int bp_pool_checkout_slow(bp_pool *pool, bp_arena **out)
{
    if (pool != NULL && pool->way == LANE_SEQ_CST)
        return checkout_other(pool, out);
    return checkout_next(pool, out, LANE_PLAIN);
}

/* The header's fast path has stored SLOT_OUT to the front. */
int bp_pool_checkout_revoked(bp_pool *pool, bp_arena *arena, bp_arena **out)
{
    struct lane *lane = lane_here(pool);

    return checkout_revoked(pool, lane, lane->front[LANE_PLAIN], arena_of(arena), out);
}

int bp_pool_checkout_sized(bp_pool *pool, size_t bytes, bp_arena **out)
{
    struct lane *mine;
    struct arena *better;
    bp_arena *first;
    int rc = out != NULL ? bp_pool_checkout(pool, &first) : EINVAL;

    if (rc != 0)
        return rc;
    *out = first;
    if (pool == NULL || pool_misfit(arena_of(first), bytes) <= bytes / 2)
        return 0;
    mine = lane_mine(pool);
    pthread_mutex_lock(&pool->lock);
    if (mine != NULL) {
        lane_settle(pool, mine);
        while (lane_unhome_oldest(pool, mine)) /* all of this thread's are to be looked at, too */
            ;
    }
    better = pool_take_better(pool, bytes, arena_of(first));
    if (better != NULL) {
        hand_out(pool, mine, better, true, NULL);
        pool->slow_checkouts--; /* it takes the place of the first, which has been counted */
        *out = &better->pub;
    }
    pool_leave(pool, NULL);
    return better != NULL ? bp_pool_give_back(pool, first) : 0;
}

int bp_pool_checkout_at(bp_pool *pool, const char *site, bp_arena **out)
{
    bp_arena *arena;
    int rc = out != NULL ? bp_pool_checkout(pool, &arena) : EINVAL;

    if (rc == 0) {
        /* Pairs with bp_pool_each_live. */
        atomic_store_explicit(&arena_of(arena)->site, site, memory_order_relaxed);
        arena_flag(arena_of(arena), ARENA_SITED);
        *out = arena;
    }
    return rc;
}

int pool_checkout_or_queue(bp_pool *pool, struct bp_waiter *waiter, bp_arena **out)
{
    struct lane *lane = lane_here(pool);
    struct lane_slot *slot = lane->front[pool->way];
    struct arena *a;

    if (slot_own_state(slot) != SLOT_IDLE) {
        if (!lane_uncover(lane, pool->way))
            return checkout_locked(pool, waiter, out);
        slot = lane->front[pool->way];
    }
    a = slot_arena(slot);
    if (lane_store(lane, slot, SLOT_OUT, pool->way) && !settle(pool, lane, slot, SLOT_OUT))
        return checkout_locked(pool, waiter, out);
    count_checkout(lane);
    *out = &a->pub;
    return 0;
}

/* ---- give_back ---- */

/* Whether `a`, a place in one of the pool's slabs, is checked out. */
bool pool_is_live(const struct arena *a)
{
    if (a->state != STATE_HOMED)
        return a->state == STATE_LIVE;
    /* Written under the lock. */
    return slot_is(atomic_load_explicit(&a->home, memory_order_relaxed), LANE_OUT);
}

/* Takes the oldest idle arena out of the pool, not counted any more, if `a` can have its place; else NULL. So
 * the newest stay. Only max_idle is made room for: an arena that is too large does not drive others out. */
static struct arena *make_room(bp_pool *pool, struct lane *mine, const struct arena *a)
{
    struct arena_list *list;
    struct arena *oldest;

    if (pool->kept < pool->max_idle)
        return NULL;
    if (pool->warm.count + pool->cold.count == 0 && mine != NULL) {
        lane_settle(pool, mine);
        lane_unhome_oldest(pool, mine);
    }
    list = pool->cold.tail != NULL ? &pool->cold : &pool->warm;
    oldest = list->tail;
    if (oldest == NULL || a->footprint > pool->max_idle_bytes ||
        pool->kept_bytes - oldest->accounted > pool->max_idle_bytes - a->footprint)
        return NULL;
    list_remove(list, oldest);
    keep_drop(pool, oldest);
    oldest->next = NULL;
    return oldest;
}

static void drop_spares(bp_pool *pool, struct arena *a)
{
    if (a->spare == NULL)
        return;
    pthread_mutex_unlock(&pool->lock);
    arena_drop_spares(a);
    pthread_mutex_lock(&pool->lock);
}

/* Whether what stands in the way of `a`, which is not to be kept as it is, are the bytes that other pools
 * keep. */
static bool budget_lacks(const bp_pool *pool, const struct arena *a)
{
    return pool->budget != NULL && a->footprint <= pool->budget->max && pool->kept < pool->max_idle &&
           a->footprint <= pool->max_idle_bytes && pool->kept_bytes <= pool->max_idle_bytes - a->footprint;
}

/* Finds a place under the caps for `a`; may drop the lock. What has to go for it, `a` or another, is
 * stored in *dispose. */
static bool keep(bp_pool *pool, struct lane *mine, struct arena *a, struct arena **dispose)
{
    *dispose = NULL;
    if (BP_LIKELY(keep_try(pool, a)))
        return true;
    if (a->footprint > pool->max_idle_bytes)
        drop_spares(pool, a);
    /* Places held for arenas that are out are the first to go. */
    if (a->footprint <= pool->max_idle_bytes && lanes_drain(pool, LANE_OUT, true) && keep_try(pool, a))
        return true;
    if (pool->kept < pool->max_idle) /* it is the bytes, then, and the spares may be what is too much */
        drop_spares(pool, a);
    if (keep_try(pool, a))
        return true;
    if (budget_lacks(pool, a)) {
        pthread_mutex_unlock(&pool->lock);
        pool->budget->make_room(pool->budget, pool, a->footprint);
        pthread_mutex_lock(&pool->lock);
        if (keep_try(pool, a))
            return true;
    }
    *dispose = make_room(pool, mine, a);
    if (*dispose != NULL && keep_try(pool, a))
        return true;
    a->next = *dispose;
    *dispose = a;
    return false;
}

/* Under the lock: takes an arena that the caller gives back out of the hands of its lane.
 * False: it turned out to be given back already. */
static bool take_back(bp_pool *pool, struct lane *mine, struct arena *a)
{
    struct lane_slot *slot;

    if (mine != NULL)
        lane_settle(pool, mine); /* after which it may not be homed any more */
    if (!pool_is_live(a))
        return false;
    if (a->state != STATE_HOMED)
        return true;
    slot = atomic_load_explicit(&a->home, memory_order_relaxed); /* written under the lock */
    if (mine == NULL || &pool->lanes[slot->lane] != mine)
        return lane_evict(pool, slot);
    lane_unhome(pool, mine, slot);
    return true;
}

/* EALREADY, not reported: it has been given back. */
static int give_back_locked(bp_pool *arg, bp_arena *arena)
{
    bp_pool *pool = pool_enter(arg, "give_back");
    struct bp_waiter *served = NULL;
    struct arena *a, *dispose = NULL;
    struct lane *mine;
    unsigned slab = 0, pool_checks; /* the pool may be gone when all is done */

    if (pool == NULL || arena == NULL)
        return EINVAL;
    a = pool_find(pool, arena, &slab);
    if (a == NULL)
        return misuse_report(BP_MISUSE_FOREIGN_ARENA, arg, arena, "give_back: %p is no arena of pool \"%s\"",
                             (void *)arena, pool->name);
    pool_checks = pool->checks;
    mine = lane_mine(pool);
    pthread_mutex_lock(&pool->lock);
    if ((a->state == STATE_GIVEN_BACK && atomic_load_explicit(&a->home, memory_order_relaxed) == &bp_lane_offset) ||
        (pool_is_live(a) && (a->flags & ARENA_IN_CLEANUP) != 0)) {
        pthread_mutex_unlock(&pool->lock);
        return arena_check_not_busy(a, arg, "give_back");
    }
    if (!take_back(pool, mine, a)) {
        pthread_mutex_unlock(&pool->lock);
        return EALREADY;
    }
    a->state = STATE_GIVEN_BACK; /* until it is somewhere else: the lock is dropped in between */
    atomic_store_explicit(&a->home, &bp_lane_offset, memory_order_relaxed); /* read under the lock */
    if (BP_LIKELY(arena_resets_by_a_store(a))) {
        a->pub.cursor = a->first.start;
    } else {
        pthread_mutex_unlock(&pool->lock);
        arena_reset(a);
        if (pool->wipe)
            arena_wipe(a);
        pthread_mutex_lock(&pool->lock);
    }

    a->idle_since = pool->looks;
    if (a->checks != NULL)
        check_set_idle(a);
    if (pool->first_waiter != NULL) {
        served = waiter_serve(pool, a);
    } else if (keep(pool, mine, a, &dispose)) {
        bool homed = false;

        if (mine != NULL && mine->cooldown == 0 && pool_lanes_open(pool)) {
            lane_settle(pool, mine);
            homed = lane_home(pool, mine, a, SLOT_IDLE);
        }
        if (!homed)
            pool_put_idle(pool, a);
    }
    if (dispose != NULL)
        pool_dispose(pool, dispose);
    pool_leave(pool, served);
    if (pool_checks != 0)
        check_tell();
    return 0;
}

SLOW_PATH static int give_back_elsewhere(bp_pool *pool, bp_arena *arena)
{
    int rc = give_back_locked(pool, arena);

    if (rc != EALREADY)
        return rc;
    return misuse_report(BP_MISUSE_DOUBLE_GIVE_BACK, pool, arena,
                         "give_back: arena %p of pool \"%s\" has been given back already", (void *)arena,
                         pool != NULL ? pool->name : "NULL pool");
}

SLOW_PATH static int give_back_revoked(bp_pool *pool, struct lane *lane, struct lane_slot *slot, struct arena *a)
{
    return settle(pool, lane, slot, SLOT_IDLE) ? 0 : give_back_elsewhere(pool, &a->pub);
}

/* Whether `slot` is a place in the caller's lane from which `a` is out. Then it is no wild pointer: only the
 * pool's own arenas ever get into a slot. */
static inline bool slot_has_out(const struct lane_slot *slot, const struct arena *a)
{
    return slot_arena(slot) == a && slot_own_state(slot) == SLOT_OUT;
}

/* An arena that is homed in the caller's lane and out, and whose reset is more than a store
 * or whose slot is not the front. */
static inline int give_back_homed(bp_pool *pool, struct lane *lane, struct lane_slot *slot, struct arena *a)
{
    if (!arena_resets_by_a_store(a)) {
        if ((a->flags & ARENA_IN_CLEANUP) != 0)
            return arena_check_not_busy(a, pool, "give_back");
        arena_reset(a);
        if (pool->wipe)
            arena_wipe(a);
        /* A cleanup may have used the pool; a new footprint has to be counted. */
        if ((a->flags & ARENA_RESIZED) != 0 || !slot_has_out(slot, a))
            return give_back_elsewhere(pool, &a->pub);
    } else {
        a->pub.cursor = a->first.start;
    }
    if (slot != lane->front[pool->way])
        lane_cover(lane, slot, pool->way);
    return lane_store(lane, slot, SLOT_IDLE, pool->way) ? give_back_revoked(pool, lane, slot, a) : 0;
}

/* The place in the caller's lane from which `arena` is out, or NULL. */
static inline struct lane_slot *slot_of(bp_pool *pool, bp_arena *arena)
{
    struct lane_deep *deep = pool != NULL ? lane_here(pool)->deep : NULL;
    struct arena *a = deep != NULL ? pool_find(pool, arena, &deep->slab) : NULL;
    struct lane_slot *slot;

    if (BP_UNLIKELY(a == NULL))
        return NULL;
    /* Pairs with lane_home; else there is no slot. */
    slot = atomic_load_explicit(&a->home, memory_order_relaxed);
    return (uintptr_t)slot - (uintptr_t)deep->slots < sizeof deep->slots && slot_has_out(slot, a) ? slot : NULL;
}

int bp_pool_give_back_slow(bp_pool *pool, bp_arena *arena)
{
    struct lane_slot *slot = slot_of(pool, arena);

    if (slot == NULL)
        return give_back_elsewhere(pool, arena);
    return give_back_homed(pool, lane_here(pool), slot, arena_of(arena));
}

int pool_give_back_once(bp_pool *pool, bp_arena *arena)
{
    struct lane_slot *slot = slot_of(pool, arena);

    if (slot == NULL)
        return give_back_locked(pool, arena);
    return give_back_homed(pool, lane_here(pool), slot, arena_of(arena));
}

bool pool_give_back_mine(bp_pool *pool, bp_arena *arena, const void *data, int *rc)
{
    struct lane_slot *slot = slot_of(pool, arena);

    if (slot == NULL || data != arena->start)
        return false;
    *rc = give_back_homed(pool, lane_here(pool), slot, arena_of(arena));
    return true;
}

/* The header's fast path has stored SLOT_IDLE to the front. */
int bp_pool_give_back_revoked(bp_pool *pool, bp_arena *arena)
{
    struct lane *lane = lane_here(pool);

    return give_back_revoked(pool, lane, lane->front[LANE_PLAIN], arena_of(arena));
}

/* ---- scope ---- */

struct bp_pool_scope_guard bp_pool_scope_begin(bp_pool *pool)
{
    struct bp_pool_scope_guard guard = { pool, NULL };
    int rc = bp_pool_checkout(pool, &guard.arena);

    if (rc != 0)
        errno = rc;
    return guard;
}

void bp_pool_scope_end(struct bp_pool_scope_guard *guard)
{
    if (guard->arena != NULL)
        (void)bp_pool_give_back(guard->pool, guard->arena);
}
