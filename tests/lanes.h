/* SPDX-License-Identifier: MIT
 *
 * What the programs that look into lanes share: pools whose lanes work in a given way, looks at a lane, and
 * threads that do what they are told, step by step.
 */
#ifndef LANES_H
#define LANES_H

#include "support.h"

#include "lane.h"

#include <pthread.h>

enum { WAYS = 2 };

#if defined(__SANITIZE_THREAD__) || defined(SUPPORT_TSAN)
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

/* A pool whose lanes work in the given way; where plain stores will not do, it is always the other. */
static inline bp_pool *make_pool(enum lane_way way, size_t max_idle, size_t max_arenas)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    bp_pool *pool;

    c.max_idle = max_idle;
    c.max_arenas = max_arenas;
    c.arena_size = 4096;
    ck_assert_int_eq(bp_pool_create(NULL, &c, &pool), 0);
    if (way == LANE_SEQ_CST)
        pool->way = way;
    return pool;
}

static inline bp_arena *checkout(bp_pool *pool)
{
    bp_arena *a = NULL;

    thread_must(bp_pool_checkout(pool, &a) == 0);
    return a;
}

/* The slot that an arena is homed in. */
static inline struct lane_slot *home_of(bp_arena *a)
{
    must(arena_of(a)->state == STATE_HOMED);
    return atomic_load(&arena_of(a)->home);
}

static inline uint32_t state_of(const struct lane_slot *slot)
{
    return atomic_load(&slot->state);
}

/* Whether it is neither homed nor idle: its thread has it, and no lane knows it. */
static inline bool is_live(bp_arena *a)
{
    return arena_of(a)->state == STATE_LIVE;
}

/* A way to store, from the number of a round. */
static inline enum lane_way way_of(int i)
{
    return (enum lane_way)(i % WAYS);
}

static inline void take_many(bp_pool *pool, bp_arena **a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i] = taken(pool);
}

static inline void give_many(bp_pool *pool, bp_arena **a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        given(pool, a[i]);
}

static inline bool has(bp_arena *const *a, size_t n, const bp_arena *which)
{
    while (n-- != 0)
        if (a[n] == which)
            return true;
    return false;
}

/* ---- the halves of what owners and revokers do ---- */

/* What a drain does before its barrier. */
static inline void revoke_by_hand(bp_pool *pool, struct lane *lane, unsigned want)
{
    pthread_mutex_lock(&pool->lock);
    lane->ticket = ++pool->tickets;
    lane->wanted = (uint16_t)want;
    atomic_store(&lane->revoked, 1);
    pthread_mutex_unlock(&pool->lock);
}

static inline bool settle_by_hand(bp_pool *pool, struct lane *lane, struct lane_slot *slot, uint32_t stored)
{
    bool stands;

    pthread_mutex_lock(&pool->lock);
    stands = lane_settle_store(pool, lane, slot, stored);
    pthread_mutex_unlock(&pool->lock);
    return stands;
}

enum { OP_CHECKOUT, OP_GIVE_BACK, OPS };

/* The first half of the owner's operation: up to its store. */
static inline void make_front(bp_pool *pool, struct lane *lane, struct lane_slot *slot, int op)
{
    if (lane->front[pool->way] == slot)
        return;
    if (op == OP_CHECKOUT)
        must(lane_uncover(lane, pool->way));
    else
        lane_cover(lane, slot, pool->way);
    must(lane->front[pool->way] == slot);
}

/* ---- threads that do what they are told ---- */

struct puppet {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int (*step)(struct puppet *p);
    bp_pool *pool;
    bp_arena *arena;   /* of the steps with one */
    bp_arena **arenas; /* of those with many */
    size_t count;
    unsigned want;     /* LANE_IDLE, LANE_OUT */
    int result;
    bool busy, over;
};

static inline void *puppet_main(void *data)
{
    struct puppet *p = data;

    pthread_mutex_lock(&p->lock);
    while (!p->over) {
        if (p->busy) {
            p->result = p->step(p);
            p->busy = false;
            pthread_cond_broadcast(&p->changed);
        }
        if (!p->over)
            pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static inline void puppet_start(struct puppet *p, bp_pool *pool)
{
    *p = (struct puppet){ .pool = pool };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, puppet_main, p), 0);
}

static inline int puppet_do(struct puppet *p, int (*step)(struct puppet *p))
{
    pthread_mutex_lock(&p->lock);
    p->step = step;
    p->busy = true;
    pthread_cond_broadcast(&p->changed);
    while (p->busy)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return p->result;
}

static inline void puppet_end(struct puppet *p)
{
    pthread_mutex_lock(&p->lock);
    p->over = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}

static inline int step_checkout(struct puppet *p)
{
    return bp_pool_checkout(p->pool, &p->arena);
}

static inline int step_give_back(struct puppet *p)
{
    return bp_pool_give_back(p->pool, p->arena);
}

static inline int step_pair(struct puppet *p)
{
    int rc = bp_pool_checkout(p->pool, &p->arena);

    return rc != 0 ? rc : bp_pool_give_back(p->pool, p->arena);
}

static inline int step_trim(struct puppet *p)
{
    return bp_pool_trim(p->pool, 0);
}

/* `count` of them, into and from `arenas`. */
static inline int step_checkout_many(struct puppet *p)
{
    int rc = 0;

    for (size_t i = 0; i < p->count && rc == 0; i++)
        rc = bp_pool_checkout(p->pool, &p->arenas[i]);
    return rc;
}

static inline int step_give_back_many(struct puppet *p)
{
    int rc = 0;

    for (size_t i = 0; i < p->count && rc == 0; i++)
        rc = bp_pool_give_back(p->pool, p->arenas[i]);
    return rc;
}

/* Has the thread do it with the `n` of `arenas`. */
static inline int puppet_do_many(struct puppet *p, int (*step)(struct puppet *p), bp_arena **arenas, size_t n)
{
    p->arenas = arenas;
    p->count = n;
    return puppet_do(p, step);
}

#endif
