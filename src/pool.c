/* SPDX-License-Identifier: MIT
 *
 * The pool: checkout, give_back, and the life of a pool.
 *
 * The common case is a thread that checks out the arena it gave back last. That goes through the thread's
 * lane (lane.h): a few loads and one plain store each way, no lock, no atomic read-modify-write. All else is
 * the slow path under one mutex: two idle lists, the lanes' bookkeeping, the caps. The mutex is
 * never held across a call of a backing, a cleanup, a misuse handler or malloc.
 *
 * Every arena of the pool is in one state (enum arena_state). `kept` counts those that hold a place under
 * max_idle: the idle ones, and those homed in a lane even while checked out, whose owner may put them
 * back without asking. When such places are what stands in the way of another arena, they are taken
 * back (lanes_drain), so that the cap is neither exceeded nor wasted.
 *
 * The memory of a destroyed pool is kept for the next bp_pool_create, so that a call with a dead pool
 * finds POOL_DEAD and not somebody else's memory.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "backing_private.h"
#include "configs.h"
#include "lane.h"
#include "misuse_private.h"

#include <stdlib.h>

/* Slow checkouts for which a thread stays away from its lane after another had to take an arena out of it:
 * threads that share arenas meet at the lists instead of interrupting each other. */
enum { COOLDOWN = 64 };

/* Inlined into the fast path these would make it save and restore six registers. */
#define SLOW_PATH __attribute__((noinline, cold))

/* On a cache line of its own, so that a pair fetches two lines of code and not four. */
#define FAST_PATH __attribute__((aligned(64)))

static pthread_mutex_t dead_lock = PTHREAD_MUTEX_INITIALIZER;
/* Oldest first: a pool is dead for as long as can be before it comes back. Sync: dead_lock */
static bp_pool *dead_pools, **dead_pools_end = &dead_pools;

static bp_pool null_pool;
static pthread_once_t null_pool_once = PTHREAD_ONCE_INIT;

/* ---- lists, caps ---- */

void list_push(struct arena_list *list, struct arena *a)
{
    a->prev = NULL;
    a->next = list->head;
    *(list->head != NULL ? &list->head->prev : &list->tail) = a;
    list->head = a;
    list->count++;
}

void list_push_oldest(struct arena_list *list, struct arena *a)
{
    a->next = NULL;
    a->prev = list->tail;
    *(list->tail != NULL ? &list->tail->next : &list->head) = a;
    list->tail = a;
    list->count++;
}

static struct arena *list_remove(struct arena_list *list, struct arena *a)
{
    if (a == NULL)
        return NULL;
    *(a->prev != NULL ? &a->prev->next : &list->head) = a->next;
    *(a->next != NULL ? &a->next->prev : &list->tail) = a->prev;
    list->count--;
    return a;
}

struct arena *list_pop(struct arena_list *list)
{
    return list_remove(list, list->head);
}

struct arena *list_pop_oldest(struct arena_list *list)
{
    return list_remove(list, list->tail);
}

bool keep_try(bp_pool *pool, struct arena *a)
{
    if (pool->kept >= pool->max_idle || a->footprint > pool->max_idle_bytes ||
        pool->kept_bytes > pool->max_idle_bytes - a->footprint)
        return false;
    pool->kept++;
    pool->kept_bytes += a->footprint;
    a->accounted = a->footprint;
    a->flags &= ~(uint32_t)ARENA_RESIZED;
    return true;
}

void keep_drop(bp_pool *pool, struct arena *a)
{
    pool->kept--;
    pool->kept_bytes -= a->accounted;
}

void pool_put_idle(bp_pool *pool, struct arena *a)
{
    a->state = STATE_IDLE;
    list_push(&pool->warm, a);
}

size_t pool_idle(bp_pool *pool)
{
    return pool->warm.count + pool->cold.count + pool->serviced + lanes_idle(pool);
}

/* ---- making and unmaking arenas ---- */

/* Adds a slab unless another thread did while the lock was dropped. */
static int add_slab(bp_pool *pool)
{
    unsigned k = atomic_load_explicit(&pool->slab_count, memory_order_relaxed); /* written under the lock */
    size_t count = (size_t)SLAB_FIRST << k;
    struct arena *slab;

    if (k == SLABS)
        return ENOMEM;
    pthread_mutex_unlock(&pool->lock);
    slab = count <= PTRDIFF_MAX / sizeof *slab ? aligned_alloc(64, count * sizeof *slab) : NULL;
    if (slab != NULL)
        memset(slab, 0, count * sizeof *slab);
    pthread_mutex_lock(&pool->lock);
    if (slab == NULL)
        return pool->vacant != NULL ? 0 : ENOMEM;
    if (k != atomic_load_explicit(&pool->slab_count, memory_order_relaxed)) {
        pthread_mutex_unlock(&pool->lock);
        free(slab);
        pthread_mutex_lock(&pool->lock);
        return 0;
    }
    for (size_t i = count; i-- != 0;) { /* the first place is used first */
        slab[i].next = pool->vacant;
        pool->vacant = &slab[i];
    }
    pool->slabs[k] = slab;
    atomic_store_explicit(&pool->slab_count, k + 1, memory_order_release); /* pairs with pool_find */
    return 0;
}

static void make_vacant(bp_pool *pool, struct arena *a)
{
    a->state = STATE_VACANT;
    a->next = pool->vacant;
    pool->vacant = a;
    pool->total--;
    pool->in_transit--;
}

int pool_mint(bp_pool *pool, struct arena **out)
{
    struct arena *a;
    int rc;

    for (;;) {
        if (pool->total >= pool->max_arenas)
            return EAGAIN;
        if (pool->vacant != NULL)
            break;
        rc = add_slab(pool);
        if (rc != 0)
            return rc;
    }
    a = pool->vacant;
    pool->vacant = a->next;
    memset(a, 0, sizeof *a);
    a->state = STATE_IN_TRANSIT;
    pool->total++;
    pool->in_transit++;

    pthread_mutex_unlock(&pool->lock);
    rc = arena_open(a, pool->backing, &pool->arena_config, &pool->totals);
    pthread_mutex_lock(&pool->lock);
    if (rc != 0) {
        make_vacant(pool, a);
        return rc;
    }
    if (pool->wipe)
        a->flags |= ARENA_WIPE;
    pool->in_transit--;
    a->state = STATE_LIVE;
    pool->mints++;
    if (pool->total - pool->in_transit > pool->peak)
        pool->peak = pool->total - pool->in_transit;
    *out = a;
    return 0;
}

void pool_dispose(bp_pool *pool, struct arena *chain)
{
    for (struct arena *a = chain; a != NULL; a = a->next) {
        a->state = STATE_IN_TRANSIT;
        pool->in_transit++;
    }
    pthread_mutex_unlock(&pool->lock);
    for (struct arena *a = chain; a != NULL; a = a->next)
        arena_close(a);
    pthread_mutex_lock(&pool->lock);
    while (chain != NULL) {
        struct arena *next = chain->next;

        make_vacant(pool, chain);
        pool->disposals++;
        chain = next;
    }
}

/* ---- the life of a pool ---- */

/* `pool` is zeroed. */
static void pool_init(bp_pool *pool, bp_backing *backing, const struct bp_pool_config *c)
{
    pool->backing = backing;
    pool->arena_config = (struct bp_arena_config){ sizeof pool->arena_config, c->arena_size, c->arena_policy,
                                                   c->max_spare };
    pool->max_idle = c->max_idle;
    pool->max_idle_bytes = c->max_idle_bytes;
    pool->max_arenas = c->max_arenas;
    pool->prefault = c->prefault;
    pool->wipe = c->zero_on_give_back;
    strncpy(pool->name, c->name != NULL ? c->name : "pool", sizeof pool->name - 1);
    pthread_mutex_init(&pool->lock, NULL);
    for (unsigned i = 0; i <= THREAD_IDS; i++) {
        atomic_init(&pool->lanes[i].slot[LANE_PLAIN], lane_closed(&pool->lanes[i]));
        atomic_init(&pool->lanes[i].slot[LANE_SEQ_CST], lane_closed(&pool->lanes[i]));
    }
    thread_barrier_init();
    pool->way = thread_asymmetric ? LANE_PLAIN : LANE_SEQ_CST;
    atomic_store_explicit(&pool->magic, POOL_ALIVE, memory_order_relaxed); /* pairs with pool_enter */
}

static void null_pool_init(void)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;

    c.name = "NULL pool";
    c.max_idle = 0;
    pool_init(&null_pool, bp_backing_malloc(), &c);
}

bp_pool *pool_enter(bp_pool *pool, const char *call)
{
    if (pool == NULL) {
        pthread_once(&null_pool_once, null_pool_init);
        return &null_pool;
    }
    if (atomic_load_explicit(&pool->magic, memory_order_relaxed) == POOL_ALIVE) /* pairs with bp_pool_destroy */
        return pool;
    misuse_report(BP_MISUSE_DEAD_POOL, pool, NULL, "%s: pool \"%s\" has been destroyed", call, pool->name);
    return NULL;
}

int bp_pool_create(bp_backing *backing, const struct bp_pool_config *config, bp_pool **out)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    struct bp_arena_config arena = BP_ARENA_CONFIG_INIT;
    bp_pool *pool;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    arena.size = c.arena_size;
    arena.policy = c.arena_policy;
    backing = backing != NULL ? backing : bp_backing_mmap();
    if (arena_config_check(&arena) != 0 || !backing_is_sane(backing))
        return EINVAL;

    pthread_mutex_lock(&dead_lock);
    pool = dead_pools;
    if (pool != NULL) {
        dead_pools = pool->next_dead;
        if (dead_pools == NULL)
            dead_pools_end = &dead_pools;
    }
    pthread_mutex_unlock(&dead_lock);
    if (pool == NULL)
        pool = aligned_alloc(_Alignof(bp_pool), sizeof *pool);
    if (pool == NULL)
        return ENOMEM;
    memset(pool, 0, sizeof *pool);
    pool_init(pool, backing, &c);
    *out = pool;
    return 0;
}

int bp_pool_destroy(bp_pool *arg)
{
    bp_pool *pool = arg != NULL ? pool_enter(arg, "destroy") : NULL;
    struct arena *a, *chain = NULL;

    if (pool == NULL)
        return arg == NULL ? 0 : EINVAL;
    pthread_mutex_lock(&pool->lock);
    if (pool->total != pool_idle(pool)) {
        pthread_mutex_unlock(&pool->lock);
        return EBUSY;
    }
    lanes_collect(pool);
    atomic_store_explicit(&pool->magic, POOL_DEAD, memory_order_relaxed); /* pairs with pool_enter */
    while ((a = list_pop(&pool->warm)) != NULL || (a = list_pop(&pool->cold)) != NULL) {
        a->next = chain;
        chain = a;
    }
    pool_dispose(pool, chain);
    pthread_mutex_unlock(&pool->lock);

    pthread_mutex_destroy(&pool->lock);
    for (unsigned k = 0; k < SLABS; k++)
        free(pool->slabs[k]);
    atomic_store_explicit(&pool->slab_count, 0, memory_order_relaxed); /* nobody else is left */
    pthread_mutex_lock(&dead_lock);
    pool->next_dead = NULL;
    *dead_pools_end = pool;
    dead_pools_end = &pool->next_dead;
    pthread_mutex_unlock(&dead_lock);
    return 0;
}

/* ---- checkout ---- */

static struct arena *take_idle(bp_pool *pool)
{
    struct arena *a = list_pop(&pool->warm);

    return a != NULL ? a : list_pop(&pool->cold);
}

/* Gives `a` to the caller, homed in its lane where that is possible; `counted` says whether it holds a
 * place under max_idle already. */
static void hand_out(bp_pool *pool, struct lane *mine, struct arena *a, bool counted)
{
    pool->slow_checkouts++;
    a->state = STATE_LIVE;
    if (mine != NULL) {
        lane_settle(pool, mine);
        if (mine->cooldown == 0) {
            /* The newest arena gets the lane: what is taken last is given back first. */
            lane_empty(pool, mine);
            if (counted || keep_try(pool, a)) {
                lane_home(pool, mine, a, true);
                return;
            }
        } else {
            mine->cooldown--;
        }
    }
    if (counted)
        keep_drop(pool, a);
}

SLOW_PATH static int checkout_slow(bp_pool *arg, bp_arena **out)
{
    bp_pool *pool = pool_enter(arg, "checkout");
    struct lane *mine;
    struct arena *a;
    int rc = 0;

    if (pool == NULL || out == NULL)
        return EINVAL;
    mine = lane_mine(pool);
    pthread_mutex_lock(&pool->lock);
    if (mine != NULL)
        lane_settle(pool, mine);
    a = take_idle(pool);
    if (a == NULL && lanes_drain(pool, false, COOLDOWN))
        a = take_idle(pool);
    if (a != NULL) {
        hand_out(pool, mine, a, true);
    } else {
        rc = pool_mint(pool, &a);
        if (rc == 0) {
            pool->misses++;
            hand_out(pool, mine, a, false);
        } else if (rc == EAGAIN) {
            pool->refusals++;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    if (rc == 0)
        *out = &a->pub;
    return rc;
}

static void count_checkout(struct lane *lane)
{
    uint64_t n = atomic_load_explicit(&lane->checkouts, memory_order_relaxed); /* the owner's own */

    atomic_store_explicit(&lane->checkouts, n + 1, memory_order_relaxed); /* pairs with bp_pool_stats */
}

SLOW_PATH static int checkout_revoked(bp_pool *pool, struct lane *lane, uintptr_t stored, bp_arena **out)
{
    bool stands;

    pthread_mutex_lock(&pool->lock);
    stands = lane_settle_store(pool, lane, stored);
    pthread_mutex_unlock(&pool->lock);
    if (!stands)
        return checkout_slow(pool, out);
    count_checkout(lane);
    *out = (bp_arena *)(stored & ~(uintptr_t)LANE_OUT);
    return 0;
}

/* Checkout through the caller's lane. `way` is a constant where this is inlined. A closed lane, as in a
 * destroyed pool or for a thread that is new, says that it is out. */
static inline bool checkout_lane(bp_pool *pool, bp_arena **out, enum lane_way way, int *rc)
{
    struct lane *lane = lane_here(pool);
    uintptr_t slot = lane_own_slot(lane, way);

    if (BP_UNLIKELY((slot & LANE_OUT) != 0 || out == NULL))
        return false;
    *rc = 0;
    if (BP_UNLIKELY(lane_store(lane, slot + LANE_OUT, way))) {
        *rc = checkout_revoked(pool, lane, slot + LANE_OUT, out);
        return true;
    }
    count_checkout(lane);
    *out = (bp_arena *)slot;
    return true;
}

SLOW_PATH static int checkout_other(bp_pool *pool, bp_arena **out)
{
    int rc;

    if (pool != NULL && checkout_lane(pool, out, LANE_SEQ_CST, &rc))
        return rc;
    return checkout_slow(pool, out);
}

FAST_PATH int bp_pool_checkout(bp_pool *pool, bp_arena **out)
{
    int rc;

    if (BP_LIKELY(pool != NULL && checkout_lane(pool, out, LANE_PLAIN, &rc)))
        return rc;
    return checkout_other(pool, out);
}

/* ---- give_back ---- */

/* Whether `a`, a place in one of the pool's slabs, is checked out. */
static bool is_live(const bp_pool *pool, const struct arena *a)
{
    const struct lane *home;

    if (a->state != STATE_HOMED)
        return a->state == STATE_LIVE;
    home = atomic_load_explicit(&a->home, memory_order_relaxed); /* written under the lock */
    return lane_holds(pool, home, true);
}

/* Takes the oldest idle arena out of the pool, not counted any more, if `a` can have its place; else NULL. So
 * the newest stay. Only max_idle is made room for: an arena that is too large does not drive others out. */
static struct arena *make_room(bp_pool *pool, struct lane *mine, const struct arena *a)
{
    struct arena *oldest;

    if (pool->kept < pool->max_idle)
        return NULL;
    if (pool->warm.count + pool->cold.count == 0 && mine != NULL && lane_holds(pool, mine, false))
        lane_empty(pool, mine);
    oldest = pool->cold.tail != NULL ? pool->cold.tail : pool->warm.tail;
    if (oldest == NULL || a->footprint > pool->max_idle_bytes ||
        pool->kept_bytes - oldest->accounted > pool->max_idle_bytes - a->footprint)
        return NULL;
    list_remove(pool->cold.tail != NULL ? &pool->cold : &pool->warm, oldest);
    keep_drop(pool, oldest);
    oldest->next = NULL;
    return oldest;
}

/* Finds a place under the caps for `a`; may drop the lock. What has to go for it, `a` or another, is
 * stored in *dispose. */
static bool keep(bp_pool *pool, struct lane *mine, struct arena *a, struct arena **dispose)
{
    *dispose = NULL;
    if (a->footprint > pool->max_idle_bytes && a->spare != NULL) {
        pthread_mutex_unlock(&pool->lock);
        arena_drop_spares(a);
        pthread_mutex_lock(&pool->lock);
    }
    if (keep_try(pool, a))
        return true;
    if (a->footprint <= pool->max_idle_bytes && lanes_drain(pool, true, COOLDOWN) && keep_try(pool, a))
        return true;
    if (a->spare != NULL) { /* the spares may be what is too much */
        pthread_mutex_unlock(&pool->lock);
        arena_drop_spares(a);
        pthread_mutex_lock(&pool->lock);
        if (keep_try(pool, a))
            return true;
    }
    if (mine != NULL)
        lane_settle(pool, mine);
    *dispose = make_room(pool, mine, a);
    if (*dispose != NULL && keep_try(pool, a))
        return true;
    a->next = *dispose;
    *dispose = a;
    return false;
}

SLOW_PATH static int give_back_slow(bp_pool *arg, bp_arena *arena)
{
    bp_pool *pool = pool_enter(arg, "give_back");
    struct lane *mine;
    struct arena *a, *dispose;
    bool live;

    if (pool == NULL || arena == NULL)
        return EINVAL;
    a = pool_find(pool, arena);
    if (a == NULL)
        return misuse_report(BP_MISUSE_FOREIGN_ARENA, arg, arena, "give_back: %p is no arena of pool \"%s\"",
                             (void *)arena, pool->name);
    mine = lane_mine(pool);
    pthread_mutex_lock(&pool->lock);
    if (a->state == STATE_GIVEN_BACK && atomic_load_explicit(&a->home, memory_order_relaxed) == &thread_offset) {
        pthread_mutex_unlock(&pool->lock);
        return arena_check_not_busy(a, arg, "give_back");
    }
    live = is_live(pool, a);
    if (live && (a->flags & ARENA_IN_CLEANUP) != 0) {
        pthread_mutex_unlock(&pool->lock);
        return arena_check_not_busy(a, arg, "give_back");
    }
    if (live && a->state == STATE_HOMED) {
        struct lane *home = atomic_load_explicit(&a->home, memory_order_relaxed); /* written under the lock */

        if (home == mine)
            lane_empty(pool, mine);
        else
            live = lane_evict(pool, home, a);
    }
    if (!live) {
        pthread_mutex_unlock(&pool->lock);
        return misuse_report(BP_MISUSE_DOUBLE_GIVE_BACK, arg, arena,
                             "give_back: arena %p of pool \"%s\" has been given back already", (void *)arena,
                             pool->name);
    }
    a->state = STATE_GIVEN_BACK;
    atomic_store_explicit(&a->home, &thread_offset, memory_order_relaxed); /* read under the lock */
    pthread_mutex_unlock(&pool->lock);

    arena_reset(a);
    if (pool->wipe)
        arena_wipe(a);

    pthread_mutex_lock(&pool->lock);
    if (keep(pool, mine, a, &dispose)) {
        if (mine != NULL)
            lane_settle(pool, mine);
        /* Newest first: it goes before an idle arena in the lane, which moves to the list, but not
         * in the place of one that is out and will come back newer. */
        if (mine == NULL || mine->cooldown != 0 || lane_holds(pool, mine, true))
            pool_put_idle(pool, a);
        else
            lane_home(pool, mine, a, false);
    }
    if (dispose != NULL)
        pool_dispose(pool, dispose);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

SLOW_PATH static int give_back_revoked(bp_pool *pool, struct lane *lane, struct arena *a)
{
    bool stands;

    pthread_mutex_lock(&pool->lock);
    stands = lane_settle_store(pool, lane, (uintptr_t)a);
    pthread_mutex_unlock(&pool->lock);
    return stands ? 0 : give_back_slow(pool, &a->pub);
}

/* An arena that is homed in the caller's lane and out, and whose reset is more than a store. */
SLOW_PATH static int give_back_flagged(bp_pool *pool, struct lane *lane, struct arena *a)
{
    if ((a->flags & ARENA_IN_CLEANUP) != 0)
        return arena_check_not_busy(a, pool, "give_back");
    arena_reset(a);
    if (pool->wipe)
        arena_wipe(a);
    /* A cleanup may have used the pool; a new footprint has to be counted. */
    if ((a->flags & ARENA_RESIZED) != 0 ||
        lane_own_slot(lane, pool->way) != (uintptr_t)a + LANE_OUT)
        return give_back_slow(pool, &a->pub);
    return lane_store(lane, (uintptr_t)a, pool->way) ? give_back_revoked(pool, lane, a) : 0;
}

/* Give_back through the caller's lane. `way` is a constant where this is inlined. */
static inline bool give_back_lane(bp_pool *pool, bp_arena *arena, enum lane_way way, int *rc)
{
    struct lane *lane = lane_here(pool);
    struct arena *a = arena_of(arena);

    /* Only the pool's own arenas ever get into a slot, and the lane itself while it is closed, so `arena`
     * may be followed once it is found there. The slot says that it is out; its home says that the slot is
     * neither closed nor a leftover (lane_evict). */
    if (BP_UNLIKELY(lane_own_slot(lane, way) != (uintptr_t)a + LANE_OUT ||
                    atomic_load_explicit(&a->home, memory_order_relaxed) != lane)) /* pairs with lane_evict */
        return false;
    *rc = 0;
    if (BP_UNLIKELY(!arena_resets_by_a_store(a))) {
        *rc = give_back_flagged(pool, lane, a);
        return true;
    }
    a->pub.cursor = a->first.start;
    if (BP_UNLIKELY(lane_store(lane, (uintptr_t)a, way)))
        *rc = give_back_revoked(pool, lane, a);
    return true;
}

SLOW_PATH static int give_back_other(bp_pool *pool, bp_arena *arena)
{
    int rc;

    if (pool != NULL && give_back_lane(pool, arena, LANE_SEQ_CST, &rc))
        return rc;
    return give_back_slow(pool, arena);
}

FAST_PATH int bp_pool_give_back(bp_pool *pool, bp_arena *arena)
{
    int rc;

    if (BP_LIKELY(pool != NULL && give_back_lane(pool, arena, LANE_PLAIN, &rc)))
        return rc;
    return give_back_other(pool, arena);
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
