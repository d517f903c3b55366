/* SPDX-License-Identifier: MIT
 *
 * The life of a pool: create, close, destroy, the NULL pool, and fork.
 *
 * The memory of a destroyed pool is kept for the next bp_pool_create, so that a call with a dead pool
 * finds POOL_DEAD and not somebody else's memory.
 *
 * fork: the forking thread takes every lock of the library, so that what they guard is whole in the child;
 * there the lanes of all other threads are emptied, since their owners are not there. What a slot says is
 * true at any moment. Arenas that another thread was moving in or out at that moment stay where they were.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "backing_private.h"
#include "checks.h"
#include "configs.h"
#include "fork.h"
#include "lane.h"
#include "misuse_private.h"
#include "os.h"
#include "os_sync.h"

#include <stdlib.h>

static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
/* Sync, all: known_lock. The dead are linked by next_known, oldest first: a pool is dead for as long as can
 * be before it comes back. */
static bp_pool *known_pools;
static bp_pool *dead_pools, **dead_pools_end = &dead_pools;

static bp_pool null_pool;
static pthread_once_t null_pool_once = PTHREAD_ONCE_INIT;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* ---- fork ---- */

static void before_fork(void)
{
    buckets_before_fork(); /* first: pools are made under a bucket pool's lock */
    reaper_before_fork();
    pthread_mutex_lock(&known_lock);
    for (bp_pool *pool = known_pools; pool != NULL; pool = pool->next_known)
        pthread_mutex_lock(&pool->lock);
    thread_before_fork();
    misuse_before_fork();
    check_before_fork();
    os_before_fork();
}

static void after_fork(bool child)
{
    os_after_fork();
    check_after_fork();
    misuse_after_fork();
    thread_after_fork(child);
    for (bp_pool *pool = known_pools; pool != NULL; pool = pool->next_known) {
        if (child) {
            waiters_after_fork(pool);
            lanes_collect(pool, lane_here(pool));
            service_abandon(pool);
            /* The descriptors are the parent's as well: not to be set or cleared from here. */
            os_close(pool->event_fd);
            os_close(pool->tick_fd);
            pool->event_fd = pool->tick_fd = -1;
            pool->armed = false;
            if (pool->reaped)
                pool->asleep = true;
        }
        pthread_mutex_unlock(&pool->lock);
    }
    pthread_mutex_unlock(&known_lock);
    reaper_after_fork(child);
    buckets_after_fork();
}

static void after_fork_in_parent(void)
{
    after_fork(false);
}

static void after_fork_in_child(void)
{
    after_fork(true);
}

static void register_handlers(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void fork_init(void)
{
    pthread_once(&fork_once, register_handlers);
}

/* ---- create ---- */

static void make_known(bp_pool *pool)
{
    pthread_mutex_lock(&known_lock);
    pool->previous_known = NULL;
    pool->next_known = known_pools;
    if (known_pools != NULL)
        known_pools->previous_known = pool;
    known_pools = pool;
    pthread_mutex_unlock(&known_lock);
}

static void make_unknown(bp_pool *pool)
{
    pthread_mutex_lock(&known_lock);
    *(pool->previous_known != NULL ? &pool->previous_known->next_known : &known_pools) = pool->next_known;
    if (pool->next_known != NULL)
        pool->next_known->previous_known = pool->previous_known;
    pthread_mutex_unlock(&known_lock);
}

static void keep_dead(bp_pool *pool)
{
    pthread_mutex_lock(&known_lock);
    pool->next_known = NULL;
    *dead_pools_end = pool;
    dead_pools_end = &pool->next_known;
    pthread_mutex_unlock(&known_lock);
}

/* The memory of a dead pool, or new memory, or NULL. */
static bp_pool *take_dead(void)
{
    bp_pool *pool;

    pthread_mutex_lock(&known_lock);
    pool = dead_pools;
    if (pool != NULL) {
        dead_pools = pool->next_known;
        if (dead_pools == NULL)
            dead_pools_end = &dead_pools;
    }
    pthread_mutex_unlock(&known_lock);
    return pool != NULL ? pool : aligned_alloc(_Alignof(bp_pool), sizeof *pool);
}

static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;

    /* It is held for some 50 ns at a time: to spin a little beats going to sleep. */
    if (pthread_mutexattr_init(&attributes) == 0) {
#ifdef __GLIBC__
        (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
        pthread_mutex_init(lock, &attributes);
        pthread_mutexattr_destroy(&attributes);
    } else {
        pthread_mutex_init(lock, NULL);
    }
}

/* `pool` is zeroed. */
static void pool_init(bp_pool *pool, bp_backing *backing, const struct bp_pool_config *c,
                      struct kept_budget *budget)
{
    pool->backing = backing;
    pool->budget = budget;
    pool->arena_config = (struct bp_arena_config){ sizeof pool->arena_config, c->arena_size, c->arena_policy,
                                                   c->max_spare, c->checks };
    pool->checks = check_effective(c->checks);
    pool->totals.pool = pool;
    pool->totals.pool_name = pool->name;
    pool->max_idle = c->max_idle;
    pool->max_idle_bytes = c->max_idle_bytes;
    pool->max_arenas = c->max_arenas;
    pool->prefault = c->prefault;
    pool->wipe = c->zero_on_give_back;
    pool->retain_ns = c->retain_ns;
    pool->reaped = (c->flags & BP_POOL_REAPER) != 0;
    pool->asleep = pool->reaped;
    pool->event_fd = pool->tick_fd = -1;
    pool->warm.state = STATE_IDLE;
    pool->cold.state = STATE_COLD;
    strncpy(pool->name, c->name != NULL ? c->name : "pool", sizeof pool->name - 1);
    init_lock(&pool->lock);
    pool_first_slab(pool);
    for (unsigned i = 0; i <= THREAD_IDS; i++)
        lane_close(&pool->lanes[i]);
    thread_barrier_init();
    (void)os_processors(); /* before threads are pinned */
    fork_init();
    pool->way = thread_asymmetric ? LANE_PLAIN : LANE_SEQ_CST;
    atomic_store_explicit(&pool->magic, POOL_ALIVE, memory_order_relaxed); /* pairs with pool_enter */
    make_known(pool);
}

static void null_pool_init(void)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    bool again;

    /* In the child of a fork that met another thread just after this, pthread_once begins anew. */
    pthread_mutex_lock(&known_lock);
    again = known_pools == &null_pool || null_pool.previous_known != NULL;
    pthread_mutex_unlock(&known_lock);
    if (again)
        return;
    c.name = "NULL pool";
    c.max_idle = 0;
    pool_init(&null_pool, bp_backing_malloc(), &c, NULL);
}

bp_pool *pool_enter(bp_pool *pool, const char *call)
{
    if (pool == NULL) {
        pthread_once(&null_pool_once, null_pool_init);
        return &null_pool;
    }
    /* Pairs with bp_pool_destroy. */
    if (atomic_load_explicit(&pool->magic, memory_order_relaxed) == POOL_ALIVE)
        return pool;
    misuse_report(BP_MISUSE_DEAD_POOL, pool, NULL, "%s: pool \"%s\" has been destroyed", call, pool->name);
    return NULL;
}

int pool_create(bp_backing *backing, const struct bp_pool_config *config, struct kept_budget *budget,
                bp_pool **out)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    struct bp_arena_config arena = BP_ARENA_CONFIG_INIT;
    bp_pool *pool;
    int rc;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    arena.size = c.arena_size;
    arena.policy = c.arena_policy;
    arena.checks = c.checks;
    backing = backing != NULL ? backing : bp_backing_mmap();
    if (arena_config_check(&arena) != 0 || (c.flags & ~(unsigned)BP_POOL_REAPER) != 0 || !backing_is_sane(backing))
        return EINVAL;

    pool = take_dead();
    if (pool == NULL)
        return ENOMEM;
    memset(pool, 0, sizeof *pool);
    pool_init(pool, backing, &c, budget);
    rc = pool->reaped ? reaper_add(pool) : 0;
    if (rc != 0) {
        pool->reaped = false;
        (void)bp_pool_destroy(pool);
        return rc;
    }
    *out = pool;
    return 0;
}

int bp_pool_create(bp_backing *backing, const struct bp_pool_config *config, bp_pool **out)
{
    return pool_create(backing, config, NULL, out);
}

/* ---- close, destroy ---- */

int bp_pool_close(bp_pool *arg)
{
    bp_pool *pool = arg != NULL ? pool_enter(arg, "close") : NULL;
    struct bp_waiter *cancelled;

    if (pool == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    pool->closed = true; /* before the lanes are looked at: none is filled again */
    cancelled = waiters_cancel(pool);
    lanes_drain(pool, LANE_IDLE | LANE_OUT, false);
    pool_leave(pool, cancelled);
    return 0;
}

void pool_hold(bp_pool *pool, struct pool_users *users)
{
    if (pool->reaped)
        reaper_hold(pool);
    pthread_mutex_lock(&pool->lock);
    users->any = pool->total != pool_idle(pool) || pool->first_waiter != NULL;
    users->live = pool_describe_live(pool, users->who, sizeof users->who, &users->first);
    users->waiting = pool->waiting;
    pthread_mutex_unlock(&pool->lock);
}

void pool_unhold(bp_pool *pool)
{
    if (pool->reaped)
        reaper_unhold(pool);
}

void pool_end(bp_pool *pool)
{
    struct arena *a, *chain = NULL;

    pthread_mutex_lock(&pool->lock);
    lanes_collect(pool, NULL);
    atomic_store_explicit(&pool->magic, POOL_DEAD, memory_order_relaxed); /* pairs with pool_enter */
    while ((a = list_pop(&pool->warm)) != NULL || (a = list_pop(&pool->cold)) != NULL) {
        a->next = chain;
        chain = a;
    }
    pool_dispose(pool, chain);
    pthread_mutex_unlock(&pool->lock);
    if (pool->reaped)
        reaper_unhold(NULL);

    /* First, for fork goes through the known pools and takes their locks. */
    make_unknown(pool);
    pthread_mutex_destroy(&pool->lock);
    for (unsigned k = 1; k < SLABS; k++)
        free(pool->slabs[k]);
    atomic_store_explicit(&pool->slab_count, 0, memory_order_relaxed); /* nobody else is left */
    os_close(pool->event_fd);
    os_close(pool->tick_fd);
    keep_dead(pool);
}

int bp_pool_destroy(bp_pool *arg)
{
    bp_pool *pool = arg != NULL ? pool_enter(arg, "destroy") : NULL;
    struct pool_users users;

    if (pool == NULL)
        return arg == NULL ? 0 : EINVAL;
    pool_hold(pool, &users);
    if (users.any) {
        pool_unhold(pool);
        (void)misuse_report_block(BP_MISUSE_LIVE_ARENAS, pool, NULL, &users.first,
                                  "destroy: pool \"%s\" has %zu live arenas and %zu waiters%s", pool->name,
                                  users.live, users.waiting, users.who);
        return EBUSY;
    }
    pool_end(pool);
    check_tell();
    return 0;
}
