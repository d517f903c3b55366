/* SPDX-License-Identifier: MIT
 *
 * What the programs with threads share: starting and joining them, and a unit of work which stamps its
 * arena's memory and looks at it again before giving back, so that an arena with two holders shows.
 */
#ifndef THREADS_H
#define THREADS_H

#include "support.h"

#include <pthread.h>
#include <sched.h>

static bp_backing *f;
static atomic_int misuses;

static inline void count_misuse(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
    atomic_fetch_add(&misuses, 1);
}

static inline bp_backing *inner(int i)
{
    return i == 0 ? bp_backing_malloc() : i == 1 ? bp_backing_mmap() : bp_backing_reserved();
}

static inline bp_pool *open_pool(int kind, const struct bp_pool_config *c)
{
    atomic_store(&misuses, 0);
    bp_set_misuse_handler(count_misuse, NULL);
    f = faulty_over(inner(kind));
    return pool_on(f, c);
}

static inline void close_pool(bp_pool *pool)
{
    bp_set_misuse_handler(NULL, NULL);
    threads_passed();
    ck_assert_int_eq(atomic_load(&misuses), 0);
    pool_gone(pool);
    faulty_gone(f);
}

/* ---- threads ---- */

struct job {
    bp_pool *pool;
    unsigned id;
    size_t ops;
    struct rng rng;
    pthread_barrier_t *barrier;
    void *(*body)(void *);
    pthread_t thread;
};

static inline void start(struct job *j, bp_pool *pool, unsigned id, size_t ops, void *(*body)(void *))
{
    j->pool = pool;
    j->id = id;
    j->ops = ops;
    j->rng.state = id * UINT64_C(0x9e3779b97f4a7c15) + 1;
    j->body = body;
    ck_assert_int_eq(pthread_create(&j->thread, NULL, body, j), 0);
}

static inline void finish(struct job *j, size_t n)
{
    while (n-- > 0)
        ck_assert_int_eq(pthread_join(j[n].thread, NULL), 0);
}

/* An arena, however long it takes: others hold them all for a bounded time only. */
static inline bp_arena *patient(bp_pool *pool)
{
    bp_arena *a = NULL;
    int e;

    while ((e = bp_pool_checkout(pool, &a)) == EAGAIN)
        sched_yield();
    thread_must(e == 0);
    return e == 0 ? a : NULL;
}

struct slip {
    void *block;
    size_t size;
    unsigned key;
};

/* What a unit of work leaves in its arena, and finds again. The slip is the first block. */
static inline void leave_slip(bp_arena *a, unsigned key, size_t size)
{
    struct slip *s;

    thread_must(bp_arena_used(a) == 0);
    s = bp_new(a, struct slip);
    thread_must(s != NULL);
    s->size = size;
    s->key = key;
    s->block = bp_arena_alloc(a, size);
    thread_must(s->block != NULL);
    if (s->block != NULL)
        stamp(s->block, size, key);
}

static inline struct slip *slip_of(bp_arena *a)
{
    size_t used = bp_arena_used(a);
    char *p = bp_arena_alloc(a, 0);

    /* small slips are in the first extent, right below the cursor */
    return (struct slip *)(void *)(p - used);
}

static inline void *pairs(void *arg)
{
    struct job *j = arg;
    size_t i;

    for (i = 0; i < j->ops; i++) {
        size_t size = 1 + rng_below(&j->rng, rng_below(&j->rng, 50) == 0 ? 9000 : 300);
        bp_arena *a = patient(j->pool);
        struct slip *s;

        if (a == NULL)
            break;
        leave_slip(a, j->id * 1000 + (unsigned)i, size);
        if (rng_below(&j->rng, 64) == 0)
            sched_yield(); /* somebody else's turn to get it wrong */
        if (size <= 300) {
            s = slip_of(a);
            thread_must(s->size == size && s->key == j->id * 1000 + (unsigned)i);
            thread_must(stamped(s->block, size, s->key));
        }
        thread_must(bp_pool_give_back(j->pool, a) == 0);
    }
    return NULL;
}

#endif
