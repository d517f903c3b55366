/* SPDX-License-Identifier: MIT
 *
 * What the programs about waiting share: to wait until something is so, and a backing that holds up whoever
 * calls it, so that what happens meanwhile is no matter of luck.
 */
#ifndef WAITING_H
#define WAITING_H

#include "support.h"

#include <pthread.h>

/* However long it takes: Check's limit ends a hang. */
#define await(e)          \
    do {                  \
        while (!(e))      \
            usleep(100);  \
    } while (0)

static inline uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Every arena is somewhere, and nobody waits. */
static inline void all_accounted_for(bp_pool *pool)
{
    struct bp_pool_stats s = stats_of(pool);

    ck_assert_uint_eq(s.idle + s.live, s.mints - s.disposals);
    ck_assert_uint_eq(s.checkouts - s.give_backs, s.live);
    ck_assert_uint_eq(s.waiting, 0);
}

/* ---- a backing with gates ---- */

enum gate_op { GATE_ACQUIRE, GATE_DISPOSE, GATE_RELEASE, GATES };

struct gate {
    bp_backing backing; /* first: the ops get this address */
    struct bp_backing_ops ops;
    bp_backing *f; /* over the mmap backing; it counts, and checks the pool */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed[GATES];
    unsigned held[GATES]; /* callers in front of it */
};

static inline void gate_pass(struct gate *g, enum gate_op op)
{
    pthread_mutex_lock(&g->lock);
    g->held[op]++;
    while (g->closed[op])
        pthread_cond_wait(&g->changed, &g->lock);
    g->held[op]--;
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_set(struct gate *g, enum gate_op op, bool closed)
{
    pthread_mutex_lock(&g->lock);
    g->closed[op] = closed;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_close(struct gate *g, enum gate_op op)
{
    gate_set(g, op, true);
}

static inline void gate_open(struct gate *g, enum gate_op op)
{
    gate_set(g, op, false);
}

/* How many stand in front of it, closed. */
static inline unsigned gate_held(struct gate *g, enum gate_op op)
{
    unsigned held;

    pthread_mutex_lock(&g->lock);
    held = g->closed[op] ? g->held[op] : 0;
    pthread_mutex_unlock(&g->lock);
    return held;
}

static inline bool gate_holds(struct gate *g, enum gate_op op)
{
    return gate_held(g, op) != 0;
}

static inline int gate_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                               struct bp_extent *out)
{
    struct gate *g = (struct gate *)self;

    gate_pass(g, GATE_ACQUIRE);
    return g->f->ops->acquire(g->f, min, preferred, align, out);
}

static inline void gate_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct gate *g = (struct gate *)self;

    gate_pass(g, GATE_DISPOSE);
    g->f->ops->dispose(g->f, extent);
}

static inline int gate_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                               size_t *released)
{
    struct gate *g = (struct gate *)self;

    gate_pass(g, GATE_RELEASE);
    return g->f->ops->release(g->f, extent, offset, length, released);
}

static inline void gate_init(struct gate *g)
{
    memset(g, 0, sizeof *g);
    g->f = faulty_over(bp_backing_mmap());
    g->ops.struct_size = sizeof g->ops;
    g->ops.name = "gate";
    g->ops.acquire = gate_acquire;
    g->ops.dispose = gate_dispose;
    g->ops.release = gate_release;
    g->backing.ops = &g->ops;
    ck_assert_int_eq(pthread_mutex_init(&g->lock, NULL), 0);
    ck_assert_int_eq(pthread_cond_init(&g->changed, NULL), 0);
}

/* Every extent must be back. */
static inline void gate_gone(struct gate *g)
{
    faulty_gone(g->f);
    ck_assert_int_eq(pthread_mutex_destroy(&g->lock), 0);
    ck_assert_int_eq(pthread_cond_destroy(&g->changed), 0);
}

/* ---- a thread that waits ---- */

struct waiting {
    pthread_t thread;
    bp_pool *pool;
    int64_t timeout_ns;
    int rc;
    bp_arena *arena; /* what `out` was left with */
    uint64_t took_ns;
    atomic_bool done;
};

static inline void *waiting_main(void *arg)
{
    struct waiting *w = arg;
    uint64_t from = now_ns();

    w->rc = bp_pool_checkout_wait(w->pool, w->timeout_ns, &w->arena);
    w->took_ns = now_ns() - from;
    atomic_store(&w->done, true);
    return NULL;
}

/* Starts it, and waits until it is in the queue. */
static inline void waiting_start(struct waiting *w, bp_pool *pool, int64_t timeout_ns)
{
    uint64_t before = stats_of(pool).waiting;

    memset(w, 0, sizeof *w);
    w->pool = pool;
    w->timeout_ns = timeout_ns;
    ck_assert_int_eq(pthread_create(&w->thread, NULL, waiting_main, w), 0);
    await(stats_of(pool).waiting == before + 1);
}

/* Its result: 0 and an arena, or an error and nothing touched. */
static inline int waiting_end(struct waiting *w)
{
    ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
    ck_assert((w->rc == 0) == (w->arena != NULL));
    return w->rc;
}

#endif
