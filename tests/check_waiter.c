/* SPDX-License-Identifier: MIT
 * Waiting for an arena: timeouts, hand-off, the order of service, signals, lanes, memory. Nothing here
 * depends on how long something takes, but that a timeout never comes early.
 */
#include "waiting.h"

#include "failing_malloc.h"

#include <sched.h>
#include <signal.h>

static struct misuse_log misuse;

static bp_pool *pool_of(bp_backing *backing, size_t max_arenas)
{
    struct bp_pool_config c = pool_config();

    c.arena_size = 4096;
    c.max_arenas = max_arenas;
    return pool_on(backing, &c);
}

static bp_arena *const untouched = (bp_arena *)(void *)&misuse;

/* A wait that must fail, at once or not. */
static void wait_fails(bp_pool *pool, int64_t timeout_ns, int error)
{
    bp_arena *a = untouched;

    ck_assert_int_eq(bp_pool_checkout_wait(pool, timeout_ns, &a), error);
    ck_assert_ptr_eq(a, untouched);
}

/* ---- timeouts ---- */

START_TEST(no_time_at_all)
{
    bp_pool *pool = pool_of(NULL, 1);
    bp_arena *a = taken(pool);
    struct bp_pool_stats s;

    wait_fails(pool, 0, ETIMEDOUT);
    wait_fails(pool, 0, ETIMEDOUT);
    s = stats_of(pool);
    ck_assert_uint_eq(s.waits, 0);
    ck_assert_uint_eq(s.timeouts, 0);
    ck_assert_uint_eq(s.refusals, 2);
    given(pool, a);
    ck_assert_int_eq(bp_pool_checkout_wait(pool, 0, &a), 0);
    given(pool, a);
    pool_gone(pool);
}
END_TEST

START_TEST(never_early)
{
    static const int64_t timeouts[] = { 1, 1000, 20000, 100000, 3000000, 30000000 };
    const size_t n = sizeof timeouts / sizeof timeouts[0];
    bp_pool *pool = pool_of(NULL, 1);
    bp_arena *a = taken(pool);
    struct bp_pool_stats s;
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t from = now_ns();

        wait_fails(pool, timeouts[i], ETIMEDOUT);
        ck_assert_uint_ge(now_ns() - from, (uint64_t)timeouts[i]);
        sum += (uint64_t)timeouts[i];
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.waits, n);
    ck_assert_uint_eq(s.timeouts, n);
    ck_assert_uint_eq(s.cancels, 0);
    ck_assert_uint_ge(s.wait_ns, sum);
    ck_assert_uint_eq(s.checkouts, 1);
    given(pool, a);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

static const int64_t long_times[] = { -1, INT64_MIN, INT64_MAX, 3600000000000 };

START_TEST(a_long_time)
{
    bp_pool *pool = pool_of(NULL, 1);
    bp_arena *a = taken(pool);
    struct waiting w;
    struct bp_pool_stats s;

    waiting_start(&w, pool, long_times[_i]);
    usleep(20000);
    ck_assert(!atomic_load(&w.done));
    given(pool, a);
    ck_assert_int_eq(waiting_end(&w), 0);
    given(pool, w.arena);
    s = stats_of(pool);
    ck_assert_uint_eq(s.waits, 1);
    ck_assert_uint_eq(s.timeouts, 0);
    ck_assert_uint_ge(s.wait_ns, 20000000);
    pool_gone(pool);
}
END_TEST

START_TEST(success_at_once)
{
    static const int64_t timeouts[] = { 0, 1, 1000000, INT64_MAX, -1, INT64_MIN };
    bp_pool *pool = pool_of(NULL, 2);
    bp_arena *a, *b;

    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        ck_assert_int_eq(bp_pool_checkout_wait(pool, timeouts[i], &a), 0);
        ck_assert_int_eq(bp_pool_checkout_wait(pool, timeouts[i], &b), 0);
        ck_assert_ptr_ne(a, b);
        given(pool, a);
        given(pool, b);
    }
    ck_assert_uint_eq(stats_of(pool).waits, 0);
    counts_are(pool, 2, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(arguments)
{
    bp_pool *pool = pool_of(NULL, 1);
    bp_arena *a;

    ck_assert_int_eq(bp_pool_checkout_wait(pool, -1, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_checkout_wait(pool, 0, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_checkout_wait(NULL, 5, NULL), EINVAL);
    counts_are(pool, 0, 0);
    ck_assert_int_eq(bp_pool_checkout_wait(NULL, -1, &a), 0); /* the NULL pool has no end */
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
    given(NULL, a);
    pool_gone(pool);
    misuse_listen(&misuse);
    wait_fails(pool, -1, EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    wait_fails(pool, 0, EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(bp_pool_close(pool), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(bp_pool_close(NULL), EINVAL);
    ck_assert_int_eq(misuse.count, 0);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

START_TEST(no_arenas_allowed)
{
    bp_pool *pool = pool_of(NULL, 0);

    wait_fails(pool, -1, EAGAIN); /* nothing would ever come */
    wait_fails(pool, 1000000, EAGAIN);
    wait_fails(pool, 0, EAGAIN);
    ck_assert_uint_eq(stats_of(pool).waits, 0);
    pool_gone(pool);
}
END_TEST

/* ---- hand-off and order ---- */

START_TEST(hand_off)
{
    struct bp_pool_config c = pool_config();
    struct waiting w;
    bp_arena *a, *b;
    bp_pool *pool;

    c.max_arenas = 1;
    c.max_idle = (size_t)_i; /* 0: nothing is kept, yet what comes back goes to who waits for it */
    pool = pool_on(NULL, &c);
    a = taken(pool);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
    for (int i = 0; i < 20; i++) {
        waiting_start(&w, pool, -1);
        counts_are(pool, 0, 1);
        given(pool, a);
        b = untouched;
        ck_assert_int_eq(bp_pool_checkout(pool, &b), EAGAIN); /* it never was in between */
        ck_assert_ptr_eq(b, untouched);
        ck_assert_int_eq(waiting_end(&w), 0);
        ck_assert_ptr_eq(w.arena, a);
        ck_assert_uint_eq(bp_arena_used(a), 0);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 10000));
        counts_are(pool, 0, 1);
    }
    given(pool, a);
    ck_assert_uint_eq(stats_of(pool).mints, 1);
    ck_assert_uint_eq(stats_of(pool).checkouts, 21);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

enum { QUEUED = 32 };

static struct {
    bp_pool *pool;
    size_t most, count; /* this and below: belong to who holds the one arena */
    unsigned served[8192];
} service;

struct in_line {
    pthread_t thread;
    unsigned id;
};

/* Notes that it is served, and comes round again as soon as all others are in line. */
static void *stand_in_line(void *arg)
{
    const struct in_line *me = arg;
    bp_arena *a;

    for (;;) {
        int rc = bp_pool_checkout_wait(service.pool, -1, &a);

        thread_must(rc == 0);
        if (rc != 0 || service.count == service.most)
            break;
        while (stats_of(service.pool).waiting != QUEUED)
            sched_yield();
        service.served[service.count++] = me->id;
        thread_must(bp_pool_give_back(service.pool, a) == 0);
    }
    thread_must(bp_pool_give_back(service.pool, a) == 0);
    return NULL;
}

START_TEST(first_come_first_served)
{
    struct in_line lines[QUEUED + 1];
    bp_arena *a;

    service.pool = pool_of(NULL, 1);
    service.most = times(6000, 200);
    service.count = 0;
    a = taken(service.pool);
    for (unsigned i = 0; i < QUEUED; i++) {
        lines[i].id = i;
        ck_assert_int_eq(pthread_create(&lines[i].thread, NULL, stand_in_line, &lines[i]), 0);
        await(stats_of(service.pool).waiting == i + 1);
    }
    given(service.pool, a);
    lines[QUEUED].id = QUEUED; /* the last one takes what the first had, until that comes round */
    ck_assert_int_eq(pthread_create(&lines[QUEUED].thread, NULL, stand_in_line, &lines[QUEUED]), 0);
    for (unsigned i = 0; i <= QUEUED; i++)
        ck_assert_int_eq(pthread_join(lines[i].thread, NULL), 0);
    threads_passed();
    ck_assert_uint_eq(service.count, service.most);
    for (size_t i = 0; i < service.count; i++)
        ck_assert_msg(service.served[i] == i % (QUEUED + 1), "service %zu was of %u", i, service.served[i]);
    all_accounted_for(service.pool);
    pool_gone(service.pool);
}
END_TEST

/* ---- timeouts at the moment of hand-off ---- */

struct impatient {
    pthread_t thread;
    bp_pool *pool;
    struct rng rng;
    size_t ops, served, gave_up;
};

static void *be_impatient(void *arg)
{
    struct impatient *me = arg;

    for (size_t i = 0; i < me->ops; i++) {
        uint64_t until;
        bp_arena *a = untouched;
        unsigned *mark;
        int rc = bp_pool_checkout_wait(me->pool, (int64_t)(1 + rng_below(&me->rng, 40000)), &a);

        if (rc != 0) {
            thread_must(rc == ETIMEDOUT && a == untouched);
            me->gave_up++;
            continue;
        }
        me->served++;
        thread_must(bp_arena_used(a) == 0);
        mark = bp_new(a, unsigned);
        *mark = (unsigned)i;
        until = now_ns() + rng_below(&me->rng, 20000);
        if (rng_below(&me->rng, 16) == 0)
            sched_yield();
        while (now_ns() < until)
            ;
        thread_must(*mark == (unsigned)i);
        thread_must(bp_pool_give_back(me->pool, a) == 0);
    }
    return NULL;
}

START_TEST(nothing_is_lost_to_timeouts)
{
    struct bp_pool_config c = pool_config();
    struct impatient jobs[4];
    struct bp_pool_stats s;
    size_t served = 0, gave_up = 0;
    bp_arena *all[2];
    bp_backing *f;
    bp_pool *pool;

    f = faulty_over(bp_backing_mmap());
    c.arena_size = 4096;
    c.max_arenas = 1 + (size_t)_i % 2;
    c.max_idle = _i < 2 ? 64 : 0; /* 0: every arena is made and unmade */
    pool = pool_on(f, &c);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (struct impatient){ .pool = pool, .rng = { i + 77 }, .ops = times(15000, 300) };
        ck_assert_int_eq(pthread_create(&jobs[i].thread, NULL, be_impatient, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(jobs[i].thread, NULL), 0);
        served += jobs[i].served;
        gave_up += jobs[i].gave_up;
    }
    threads_passed();
    s = stats_of(pool);
    ck_assert_uint_eq(s.live, 0);
    ck_assert_uint_eq(s.checkouts, served);
    ck_assert_uint_eq(s.timeouts, gave_up);
    ck_assert_uint_ge(s.waits, gave_up);
    if (!slow_run()) /* else threads may never meet */
        ck_assert_uint_gt(gave_up, 0);
    all_accounted_for(pool);
    ck_assert_uint_eq(faulty_stats(f).extents, s.idle);
    for (size_t i = 0; i < c.max_arenas; i++) { /* every one is to be had */
        all[i] = taken(pool);
        ck_assert_uint_eq(bp_arena_used(all[i]), 0);
    }
    wait_fails(pool, 1, ETIMEDOUT);
    for (size_t i = 0; i < c.max_arenas; i++)
        given(pool, all[i]);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- signals ---- */

/* ThreadSanitizer keeps signals back from a thread in a system call that it does not know to block, here
 * futex(2): their handlers may run as late as after the wait. */
#if defined(__SANITIZE_THREAD__) || defined(SUPPORT_TSAN)
static const bool signals_come = false;
#else
static const bool signals_come = true;
#endif

static atomic_int signals;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

/* Both ends of a wait, in a rain of signals. */
START_TEST(signals_do_not_end_a_wait)
{
    struct sigaction count, before;
    bp_pool *pool = pool_of(NULL, 1);
    bp_arena *a = taken(pool);
    struct waiting w;

    if (!signals_come) {
        fprintf(stderr, "check_waiter: SKIPPED signals: ThreadSanitizer keeps them back\n");
        given(pool, a);
        pool_gone(pool);
        return;
    }
    memset(&count, 0, sizeof count);
    count.sa_handler = count_signal; /* and no SA_RESTART */
    ck_assert_int_eq(sigaction(SIGUSR1, &count, &before), 0);
    atomic_store(&signals, 0);
    waiting_start(&w, pool, -1);
    for (int seen = 0; seen < 20; seen++) {
        ck_assert_int_eq(pthread_kill(w.thread, SIGUSR1), 0);
        await(atomic_load(&signals) > seen);
    }
    ck_assert(!atomic_load(&w.done));
    given(pool, a);
    ck_assert_int_eq(waiting_end(&w), 0);

    waiting_start(&w, pool, 30000000);
    for (int i = 0; i < 20 && !atomic_load(&w.done); i++) {
        ck_assert_int_eq(pthread_kill(w.thread, SIGUSR1), 0);
        usleep(500);
    }
    ck_assert_int_eq(waiting_end(&w), ETIMEDOUT);
    ck_assert_uint_ge(w.took_ns, 30000000);
    ck_assert_int_eq(sigaction(SIGUSR1, &before, NULL), 0);
    given(pool, a);
    pool_gone(pool);
}
END_TEST

/* ---- lanes: what a thread keeps for itself is taken from it when somebody waits ---- */

static struct {
    bp_pool *pool;
    pthread_barrier_t turn;
} other;

/* With one arena: leaves it idle in this thread's lane; then takes it there, and gives it back from there. */
static void *keep_in_lane(void *unused)
{
    bp_arena *a;

    for (int i = 0; i < 3; i++) {
        a = taken(other.pool);
        given(other.pool, a);
    }
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn); /* the test takes it meanwhile, and gives it back */
    for (int i = 0; i < 300; i++) { /* more than it takes to have a lane again */
        a = taken(other.pool);
        given(other.pool, a);
    }
    a = taken(other.pool);
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn); /* the test's other thread waits for it */
    given(other.pool, a);
    pthread_barrier_wait(&other.turn);
    return unused;
}

START_TEST(from_the_lane_of_another_thread)
{
    struct waiting w;
    pthread_t thread;
    bp_arena *a;

    other.pool = pool_of(NULL, 1);
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, 2), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, keep_in_lane, NULL), 0);
    pthread_barrier_wait(&other.turn);
    ck_assert_int_eq(bp_pool_checkout_wait(other.pool, -1, &a), 0);
    given(other.pool, a);
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn);
    waiting_start(&w, other.pool, -1);
    pthread_barrier_wait(&other.turn);
    ck_assert_int_eq(waiting_end(&w), 0);
    given(other.pool, w.arena);
    pthread_barrier_wait(&other.turn);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&other.turn);
    ck_assert_uint_eq(stats_of(other.pool).mints, 1);
    all_accounted_for(other.pool);
    pool_gone(other.pool);
}
END_TEST

static atomic_bool enough;

static void *hammer(void *pool)
{
    while (!atomic_load(&enough)) {
        bp_arena *a = NULL;
        int rc = bp_pool_checkout(pool, &a);

        thread_must(rc == 0 || rc == EAGAIN);
        if (rc == 0)
            thread_must(bp_pool_give_back(pool, a) == 0);
        else
            sched_yield();
    }
    return NULL;
}

/* Waiters beside threads that never wait and go by their lanes: none is forgotten. */
START_TEST(beside_threads_that_hammer)
{
    bp_pool *pool = pool_of(NULL, 1 + (size_t)_i);
    pthread_t threads[2];

    atomic_store(&enough, false);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, pool), 0);
    for (size_t i = 0; i < times(4000, 100); i++) {
        bp_arena *a = NULL;

        must(bp_pool_checkout_wait(pool, -1, &a) == 0);
        if (i % 64 == 0)
            usleep(50); /* long enough for the others to get a lane of their own, now and then */
        given(pool, a);
        if (i % 64 == 32)
            usleep(200);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    threads_passed();
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

/* ---- memory ---- */

enum { MANY = 8 };

static void *warm_up_and_wait(void *arg)
{
    struct waiting *w = arg;

    given(w->pool, taken(w->pool)); /* a thread's first call may allocate its lane */
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn);
    return waiting_main(w);
}

static void async_done(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    must(error == 0);
    *(bp_arena **)waiter->data = arena;
}

START_TEST(waiting_allocates_nothing)
{
    bp_pool *pool = pool_of(NULL, MANY);
    bp_arena *held[MANY], *last = NULL;
    struct bp_waiter async = BP_WAITER_INIT(async_done, &last);
    struct waiting w[MANY];
    size_t calls;
    int rc;

    memset(w, 0, sizeof w);
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, MANY + 1), 0);
    for (int i = 0; i < MANY; i++) {
        w[i].pool = pool;
        w[i].timeout_ns = -1;
        ck_assert_int_eq(pthread_create(&w[i].thread, NULL, warm_up_and_wait, &w[i]), 0);
    }
    pthread_barrier_wait(&other.turn);
    for (int i = 0; i < MANY; i++)
        held[i] = taken(pool);
    failing_malloc_plan(1, true);
    pthread_barrier_wait(&other.turn);
    await(stats_of(pool).waiting == MANY);
    rc = bp_pool_checkout_async(pool, &async);
    for (int i = 0; i < MANY; i++)
        given(pool, held[i]);
    await(stats_of(pool).waiting == 1);
    for (int i = 0; i < MANY; i++)
        pthread_join(w[i].thread, NULL);
    for (int i = 0; i < MANY; i++)
        if (w[i].arena != NULL)
            given(pool, w[i].arena);
    calls = failing_malloc_calls();
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc, 0);
    ck_assert_uint_eq(calls, 0);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(w[i].rc, 0);
    ck_assert_ptr_nonnull(last);
    given(pool, last);
    pthread_barrier_destroy(&other.turn);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

static Suite *waiter_suite(void)
{
    Suite *s = suite_create("waiter");
    TCase *tc = add_case(s, "timeout");

    tcase_add_test(tc, no_time_at_all);
    tcase_add_test(tc, never_early);
    tcase_add_loop_test(tc, a_long_time, 0, 4);
    tcase_add_test(tc, success_at_once);
    tcase_add_test(tc, arguments);
    tcase_add_test(tc, no_arenas_allowed);
    tc = add_case(s, "order");
    tcase_add_loop_test(tc, hand_off, 0, 2);
    tcase_add_test(tc, first_come_first_served);
    tc = add_case(s, "timeout and hand-off");
    tcase_add_loop_test(tc, nothing_is_lost_to_timeouts, 0, 4);
    tc = add_case(s, "signals");
    tcase_add_test(tc, signals_do_not_end_a_wait);
    tc = add_case(s, "lanes");
    tcase_add_test(tc, from_the_lane_of_another_thread);
    tcase_add_loop_test(tc, beside_threads_that_hammer, 0, 2);
    tc = add_case(s, "memory");
    tcase_add_test(tc, waiting_allocates_nothing);
    return s;
}

int main(void)
{
    return run_suite(waiter_suite());
}
