/* SPDX-License-Identifier: MIT
 * Pools used by many threads at once. Every loop is bounded by a number of operations, nothing waits for
 * time to pass. What the stamps in the arenas do not show, the sanitizers do.
 */
#include "threads.h"

#include <semaphore.h>

static const unsigned thread_counts[] = { 2, 3, 8 };

START_TEST(checkout_and_give_back)
{
    unsigned n = thread_counts[_i % 3], i;
    struct bp_pool_config c = pool_config();
    struct job jobs[8];
    struct bp_pool_stats s;
    bp_pool *pool;

    c.arena_size = 4096;
    pool = open_pool(_i / 3, &c);
    for (i = 0; i < n; i++)
        start(&jobs[i], pool, i, times(100000, 1000), pairs);
    finish(jobs, n);
    s = stats_of(pool);
    ck_assert_uint_eq(s.checkouts, n * times(100000, 1000));
    ck_assert_uint_eq(s.give_backs, s.checkouts);
    ck_assert_uint_le(s.peak_arenas, n);
    ck_assert_uint_eq(s.mints - s.disposals, s.idle);
    close_pool(pool);
}
END_TEST

START_TEST(more_threads_than_arenas)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[8];
    bp_pool *pool;
    unsigned i;

    c.arena_size = 4096;
    c.max_arenas = _i == 0 ? 1 : 3;
    pool = open_pool(_i, &c);
    for (i = 0; i < 8; i++)
        start(&jobs[i], pool, i, times(20000, 500), pairs);
    finish(jobs, 8);
    ck_assert_uint_le(stats_of(pool).peak_arenas, c.max_arenas);
    close_pool(pool);
}
END_TEST

/* ---- a permit for every arena ---- */

static sem_t permits; /* as many as there are arenas to be had */

/* Whoever has a permit is not refused: an arena is idle somewhere, in whatever thread's place. */
static void *work_with_permits(void *arg)
{
    struct job *j = arg;

    for (size_t i = 0; i < j->ops; i++) {
        bp_arena *a = NULL;

        while (sem_trywait(&permits) != 0)
            sched_yield();
        thread_must(bp_pool_checkout(j->pool, &a) == 0);
        if (rng_below(&j->rng, 64) == 0)
            sched_yield();
        if (a != NULL)
            thread_must(bp_pool_give_back(j->pool, a) == 0);
        sem_post(&permits);
    }
    return NULL;
}

START_TEST(never_refused_with_a_permit)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[4];
    bp_pool *pool;

    c.arena_size = 4096;
    c.max_arenas = (size_t)_i + 1;
    pool = open_pool(0, &c);
    ck_assert_int_eq(sem_init(&permits, 0, (unsigned)_i + 1), 0);
    for (unsigned i = 0; i < 4; i++)
        start(&jobs[i], pool, i, times(100000, 500), work_with_permits);
    finish(jobs, 4);
    ck_assert_uint_eq(stats_of(pool).refusals, 0);
    ck_assert_uint_le(stats_of(pool).mints, c.max_arenas);
    close_pool(pool);
    sem_destroy(&permits);
}
END_TEST

/* ---- one takes, another one gives back ---- */

enum { QUEUE = 16 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bp_arena *arenas[QUEUE];
    size_t first, count, to_come;
} queue;

static void *producer(void *arg)
{
    struct job *j = arg;
    size_t i;

    for (i = 0; i < j->ops; i++) {
        bp_arena *a = patient(j->pool);

        if (a != NULL)
            leave_slip(a, j->id + (unsigned)i, 200);
        pthread_mutex_lock(&queue.lock);
        while (queue.count == QUEUE)
            pthread_cond_wait(&queue.changed, &queue.lock);
        queue.arenas[(queue.first + queue.count++) % QUEUE] = a;
        pthread_cond_broadcast(&queue.changed);
        pthread_mutex_unlock(&queue.lock);
    }
    return NULL;
}

static void *consumer(void *arg)
{
    struct job *j = arg;

    for (;;) {
        bp_arena *a = NULL;
        struct slip *s;

        pthread_mutex_lock(&queue.lock);
        while (queue.count == 0 && queue.to_come > 0)
            pthread_cond_wait(&queue.changed, &queue.lock);
        if (queue.count > 0) {
            a = queue.arenas[queue.first];
            queue.first = (queue.first + 1) % QUEUE;
            queue.count--;
            queue.to_come--;
            pthread_cond_broadcast(&queue.changed);
        }
        pthread_mutex_unlock(&queue.lock);
        if (a == NULL)
            return NULL;
        s = slip_of(a);
        thread_must(s->size == 200 && stamped(s->block, s->size, s->key));
        thread_must(bp_pool_give_back(j->pool, a) == 0);
    }
}

START_TEST(give_back_by_another_thread)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[6];
    bp_pool *pool;
    unsigned i;

    c.arena_size = 4096;
    c.max_arenas = 24;
    pool = open_pool(_i, &c);
    memset(&queue, 0, sizeof queue);
    pthread_mutex_init(&queue.lock, NULL);
    pthread_cond_init(&queue.changed, NULL);
    queue.to_come = 3 * times(20000, 500);
    for (i = 0; i < 3; i++) {
        start(&jobs[i], pool, i * 100000, times(20000, 500), producer);
        start(&jobs[i + 3], pool, i, 0, consumer);
    }
    finish(jobs, 6);
    ck_assert_uint_eq(stats_of(pool).give_backs, 3 * times(20000, 500));
    close_pool(pool);
    pthread_cond_destroy(&queue.changed);
    pthread_mutex_destroy(&queue.lock);
}
END_TEST

/* ---- caps, looked at while others work ---- */

static const size_t idle_cap = 3, arena_cap = 6;

static void *watch(void *arg)
{
    struct job *j = arg;
    struct bp_pool_stats s;
    size_t i;

    for (i = 0; i < j->ops; i++) {
        thread_must(bp_pool_idle_count(j->pool) <= idle_cap);
        thread_must(bp_pool_live_count(j->pool) <= arena_cap);
        thread_must(bp_pool_stats(j->pool, &s) == 0);
        thread_must(s.idle <= idle_cap && s.idle + s.live <= arena_cap);
        thread_must(s.peak_arenas <= arena_cap);
        thread_must(s.idle_bytes <= 64 * KIB);
        thread_must(faulty_stats(f).extents <= 64); /* bounded: no arena escapes the cap by a spill either */
    }
    return NULL;
}

START_TEST(caps_hold_at_every_moment)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[9];
    bp_pool *pool;
    unsigned i;

    c.arena_size = 4096;
    c.max_idle = idle_cap;
    c.max_arenas = arena_cap;
    c.max_idle_bytes = 64 * KIB;
    c.max_spare = 16 * KIB;
    pool = open_pool(_i, &c);
    for (i = 0; i < 8; i++)
        start(&jobs[i], pool, i, times(20000, 500), pairs);
    start(&jobs[8], pool, 8, times(20000, 500), watch);
    finish(jobs, 9);
    ck_assert_uint_le(bp_pool_idle_count(pool), idle_cap);
    close_pool(pool);
}
END_TEST

/* ---- maintenance at the same time ---- */

static void *maintain(void *arg)
{
    struct job *j = arg;
    struct bp_pool_stats s;
    size_t i, added;

    for (i = 0; i < j->ops; i++)
        switch (j->id % 5) {
        case 0:
            thread_must(bp_pool_trim(j->pool, rng_below(&j->rng, 5)) == 0);
            break;
        case 1:
            (void)bp_pool_release_idle(j->pool);
            break;
        case 2:
            thread_must(bp_pool_prewarm(j->pool, rng_below(&j->rng, 4), &added) == 0);
            thread_must(added < 4);
            break;
        case 3:
            thread_must(bp_pool_stats(j->pool, &s) == 0);
            thread_must(s.give_backs <= s.checkouts);
            break;
        default:
            thread_must(bp_pool_idle_count(j->pool) + bp_pool_live_count(j->pool) < 1000);
            break;
        }
    return NULL;
}

START_TEST(maintenance_while_others_work)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[10];
    struct bp_pool_stats s;
    bp_pool *pool;
    unsigned i;

    c.arena_size = 4096;
    c.max_idle = 8;
    c.zero_on_give_back = _i == 1;
    c.prefault = 4096;
    pool = open_pool(_i, &c);
    for (i = 0; i < 5; i++)
        start(&jobs[i], pool, i, times(3000, 100), maintain);
    for (; i < 10; i++)
        start(&jobs[i], pool, i, times(20000, 500), pairs);
    finish(jobs, 10);
    s = stats_of(pool);
    ck_assert_uint_eq(s.checkouts, 5 * times(20000, 500));
    ck_assert_uint_eq(s.give_backs, s.checkouts);
    ck_assert_uint_eq(s.mints - s.disposals, s.idle);
    ck_assert_uint_eq(s.reserved_bytes, faulty_stats(f).bytes);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 0);
    close_pool(pool);
}
END_TEST

/* ---- misuse by several ---- */

static bp_arena *contested;
static atomic_size_t accepted;

static void *give_it_back(void *arg)
{
    struct job *j = arg;
    size_t i, turn;

    for (i = 0; i < j->ops; i++) {
        if (j->id == i % 3) {
            contested = patient(j->pool);
            leave_slip(contested, 1, 100);
        }
        for (turn = 0; turn < 3; turn++) {
            pthread_barrier_wait(j->barrier);
            if ((turn + i / 3) % 3 == j->id) {
                int e = bp_pool_give_back(j->pool, contested);

                thread_must(e == (turn == 0 ? 0 : EINVAL));
                atomic_fetch_add(&accepted, e == 0 ? 1 : 0);
            }
        }
        pthread_barrier_wait(j->barrier);
    }
    return NULL;
}

/* Three threads give back the same arena one after another, in every order: the first one is right, whether
 * it is the one that checked it out or not. */
START_TEST(give_back_by_three)
{
    const size_t n = times(9000, 300);
    pthread_barrier_t barrier;
    struct job jobs[3];
    struct bp_pool_stats s;
    bp_pool *pool;
    unsigned i;

    pool = open_pool(_i, NULL);
    atomic_store(&accepted, 0);
    ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, 3), 0);
    for (i = 0; i < 3; i++) {
        jobs[i].barrier = &barrier;
        start(&jobs[i], pool, i, n, give_it_back);
    }
    finish(jobs, 3);
    pthread_barrier_destroy(&barrier);
    ck_assert_uint_eq(atomic_load(&accepted), n);
    ck_assert_int_eq(atomic_exchange(&misuses, 0), (int)(2 * n));
    s = stats_of(pool);
    ck_assert_uint_eq(s.give_backs, n);
    ck_assert_uint_eq(s.mints, 1);
    counts_are(pool, 1, 0);
    close_pool(pool);
}
END_TEST

static Suite *threads_suite(void)
{
    Suite *s = suite_create("pool threads");
    TCase *tc = add_case(s, "work");

    tcase_add_loop_test(tc, checkout_and_give_back, 0, 9);
    tcase_add_loop_test(tc, more_threads_than_arenas, 0, 3);
    tcase_add_loop_test(tc, never_refused_with_a_permit, 0, 4);
    tcase_add_loop_test(tc, give_back_by_another_thread, 0, 3);
    tcase_add_loop_test(tc, caps_hold_at_every_moment, 0, 3);
    tcase_add_loop_test(tc, maintenance_while_others_work, 0, 3);
    tc = add_case(s, "misuse");
    tcase_add_loop_test(tc, give_back_by_three, 0, 2);
    return s;
}

int main(void)
{
    return run_suite(threads_suite());
}
