/* SPDX-License-Identifier: MIT
 * Pools and threads that come and go: what a thread leaves in a pool when it ends or rests, more threads than
 * a pool has places for, use from a thread's last destructor, and pools made and unmade by many threads.
 */
#include "threads.h"

START_TEST(short_threads)
{
    struct bp_pool_config c = pool_config();
    struct job workers[2], brief[5];
    bp_pool *pool;
    unsigned i, wave;

    c.arena_size = 4096;
    pool = open_pool(_i, &c);
    for (i = 0; i < 2; i++)
        start(&workers[i], pool, i, times(50000, 1000), pairs);
    for (wave = 0; wave < 40; wave++) {
        for (i = 0; i < 5; i++)
            start(&brief[i], pool, 10 + wave * 5 + i, 20, pairs);
        finish(brief, 5);
    }
    finish(workers, 2);
    ck_assert_uint_le(stats_of(pool).peak_arenas, 7); /* what the dead have left is found again */
    ck_assert_uint_le(stats_of(pool).mints, 7);
    close_pool(pool);
}
END_TEST

START_TEST(idle_arenas_of_the_dead_are_not_lost)
{
    struct job jobs[10];
    bp_arena *a[10];
    bp_pool *pool = open_pool(_i, NULL);
    size_t idle, round;
    unsigned i;

    for (round = 0; round < 3; round++) {
        for (i = 0; i < 10; i++)
            start(&jobs[i], pool, i, 50, pairs);
        finish(jobs, 10);
        idle = bp_pool_idle_count(pool);
        ck_assert_uint_ge(idle, 1);
        ck_assert_uint_eq(idle, faulty_stats(f).extents);
        if (round == 0) { /* they are to be had, */
            for (i = 0; i < idle; i++)
                a[i] = taken(pool);
            ck_assert_uint_eq(stats_of(pool).mints, idle);
            for (i = 0; i < idle; i++)
                given(pool, a[i]);
        } else if (round == 1) { /* can be released, */
            if (_i > 0)
                ck_assert_uint_gt(bp_pool_release_idle(pool), 0);
            ck_assert_uint_eq(bp_pool_release_idle(pool), 0);
            ck_assert_uint_eq(bp_pool_idle_count(pool), idle);
        } else { /* and trimmed */
            ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
            counts_are(pool, 0, 0);
            ck_assert_uint_eq(faulty_stats(f).extents, 0);
        }
    }
    close_pool(pool);
}
END_TEST

/* Idle arenas that living, resting threads have last used: nothing hides from trim. */
static void *use_then_rest(void *arg)
{
    struct job *j = arg;

    pairs(j);
    pthread_barrier_wait(j->barrier); /* all have used it */
    pthread_barrier_wait(j->barrier); /* the main thread has looked */
    pairs(j);
    return NULL;
}

START_TEST(idle_arenas_of_resting_threads_are_not_hidden)
{
    struct bp_pool_config c = pool_config();
    pthread_barrier_t barrier;
    struct job jobs[6];
    bp_pool *pool;
    size_t idle;
    unsigned i;

    c.max_arenas = 6;
    pool = open_pool(_i, &c);
    ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, 7), 0);
    for (i = 0; i < 6; i++) {
        jobs[i].barrier = &barrier;
        start(&jobs[i], pool, i, 50, use_then_rest);
    }
    pthread_barrier_wait(&barrier);
    idle = bp_pool_idle_count(pool);
    counts_are(pool, idle, 0);
    ck_assert_uint_ge(idle, 1);
    if (_i > 0)
        ck_assert_uint_gt(bp_pool_release_idle(pool), 0);
    ck_assert_uint_eq(bp_pool_idle_count(pool), idle);
    {
        bp_arena *a[6], *x = NULL;

        for (i = 0; i < 6; i++) /* all places are to be had */
            a[i] = taken(pool);
        ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
        for (i = 0; i < 6; i++)
            given(pool, a[i]);
    }
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    counts_are(pool, 0, 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 0);
    pthread_barrier_wait(&barrier);
    finish(jobs, 6);
    pthread_barrier_destroy(&barrier);
    close_pool(pool);
}
END_TEST

/* ---- very many threads ---- */

static void *hold_together(void *arg)
{
    struct job *j = arg;
    size_t i;

    for (i = 0; i < j->ops; i++) {
        bp_arena *a = patient(j->pool);

        leave_slip(a, j->id, 100);
        pthread_barrier_wait(j->barrier); /* all hold one */
        thread_must(bp_pool_live_count(j->pool) > 0);
        thread_must(slip_of(a)->key == j->id && stamped(slip_of(a)->block, 100, j->id));
        thread_must(bp_pool_give_back(j->pool, a) == 0);
    }
    pthread_barrier_wait(j->barrier); /* all are back */
    pairs(j);
    return NULL;
}

START_TEST(more_threads_than_anybody_expects)
{
    enum { N = 200 };
    struct bp_pool_config c = pool_config();
    static struct job jobs[N];
    pthread_barrier_t barrier;
    bp_pool *pool;
    unsigned i, round;

    c.arena_size = 4096;
    c.max_idle = 300;
    pool = open_pool(_i, &c);
    for (round = 0; round < 2; round++) { /* the second time with the places of dead threads */
        ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, N), 0);
        for (i = 0; i < N; i++) {
            jobs[i].barrier = &barrier;
            start(&jobs[i], pool, i, times(20, 3), hold_together);
        }
        finish(jobs, N);
        pthread_barrier_destroy(&barrier);
        ck_assert_uint_eq(stats_of(pool).peak_arenas, N);
        counts_are(pool, N, 0);
    }
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    counts_are(pool, 0, 0);
    close_pool(pool);
}
END_TEST

/* ---- the end of a thread ---- */

static pthread_key_t key;

/* Runs after the thread's function, before or after whatever destructor the library may have; asking to be
 * called again, it is sure to run after it once. */
static void last_words(void *value)
{
    struct job *j = value;
    bp_arena *a = patient(j->pool), *b = patient(j->pool);

    leave_slip(a, j->id, 100);
    leave_slip(b, j->id, 100);
    thread_must(bp_pool_give_back(j->pool, a) == 0);
    thread_must(bp_pool_give_back(j->pool, b) == 0);
    if (j->ops-- > 0)
        thread_must(pthread_setspecific(key, j) == 0);
}

static void *speak_last(void *arg)
{
    struct job *j = arg;

    if (j->id % 2 == 0)
        pairs(j);
    j->ops = 1; /* with more, ThreadSanitizer's own destructor would come before the library's last one */
    thread_must(pthread_setspecific(key, j) == 0);
    return NULL;
}

START_TEST(use_in_a_key_destructor)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[8];
    bp_pool *pool;
    unsigned i, wave;

    c.arena_size = 4096;
    pool = open_pool(_i, &c);
    ck_assert_int_eq(pthread_key_create(&key, last_words), 0);
    for (wave = 0; wave < 40; wave++) { /* more threads in all than there may be places for */
        for (i = 0; i < 8; i++)
            start(&jobs[i], pool, i, 10, speak_last);
        finish(jobs, 8);
    }
    ck_assert_uint_le(stats_of(pool).mints, 16);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    counts_are(pool, 0, 0);
    close_pool(pool);
    ck_assert_int_eq(pthread_key_delete(key), 0);
}
END_TEST

/* ---- several pools, and pools that come and go ---- */

static void *own_pools(void *arg)
{
    struct job *j = arg;
    size_t i, k;

    for (i = 0; i < j->ops; i++) {
        struct bp_pool_config c = BP_POOL_CONFIG_INIT;
        bp_pool *own = NULL;
        struct job inside = *j;

        c.arena_size = 4096;
        c.max_idle = i % 3;
        thread_must(bp_pool_create(f, &c, &own) == 0);
        if (own == NULL)
            return NULL;
        inside.pool = own;
        inside.ops = 20;
        for (k = 0; k < 2; k++)
            pairs(&inside);
        inside.pool = j->pool; /* and the shared one in between */
        pairs(&inside);
        thread_must(bp_pool_destroy(own) == 0);
    }
    return NULL;
}

START_TEST(pools_come_and_go)
{
    struct bp_pool_config c = pool_config();
    struct job jobs[4];
    bp_pool *pool;
    unsigned i;

    c.arena_size = 4096;
    pool = open_pool(_i, &c);
    for (i = 0; i < 4; i++)
        start(&jobs[i], pool, i, times(500, 20), own_pools);
    finish(jobs, 4);
    close_pool(pool);
}
END_TEST

static void *null_pairs(void *arg)
{
    struct job *j = arg;

    j->pool = NULL;
    return pairs(j);
}

START_TEST(null_pool_in_threads)
{
    struct job jobs[4];
    unsigned i;

    for (i = 0; i < 4; i++)
        start(&jobs[i], NULL, i, times(5000, 100), null_pairs);
    finish(jobs, 4);
    threads_passed();
    ck_assert_uint_eq(bp_pool_idle_count(NULL), 0);
}
END_TEST

static Suite *ends_suite(void)
{
    Suite *s = suite_create("pool thread ends");
    TCase *tc = add_case(s, "come and go");

    tcase_add_loop_test(tc, short_threads, 0, 2);
    tcase_add_loop_test(tc, idle_arenas_of_the_dead_are_not_lost, 0, 3);
    tcase_add_loop_test(tc, idle_arenas_of_resting_threads_are_not_hidden, 0, 3);
    tcase_add_loop_test(tc, more_threads_than_anybody_expects, 0, 2);
    tcase_add_loop_test(tc, use_in_a_key_destructor, 0, 2);
    tcase_add_loop_test(tc, pools_come_and_go, 0, 2);
    tcase_add_test(tc, null_pool_in_threads);
    return s;
}

int main(void)
{
    return run_suite(ends_suite());
}
