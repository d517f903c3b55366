/* SPDX-License-Identifier: MIT
 * Who is served, and by what, while arenas are being made, unmade or released by somebody else; and what
 * close and destroy do to those who wait. A backing with gates (waiting.h) holds the others where they are.
 */
#include "waiting.h"

static struct misuse_log misuse;
static struct gate g;
static bp_arena *const untouched = (bp_arena *)(void *)&misuse;

static bp_pool *pool_of(size_t max_arenas)
{
    struct bp_pool_config c = pool_config();

    gate_init(&g);
    c.arena_size = 4096;
    c.max_arenas = max_arenas;
    return pool_on(&g.backing, &c);
}

static void pool_ends(bp_pool *pool)
{
    threads_passed();
    all_accounted_for(pool);
    pool_gone(pool);
    gate_gone(&g);
}

static void wait_fails(bp_pool *pool, int64_t timeout_ns, int error)
{
    bp_arena *a = untouched;

    ck_assert_int_eq(bp_pool_checkout_wait(pool, timeout_ns, &a), error);
    ck_assert_ptr_eq(a, untouched);
}

struct told {
    struct bp_waiter waiter;
    int count, error;
    bp_arena *arena;
};

static void note(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    struct told *t = waiter->data;

    t->count++;
    t->arena = arena;
    t->error = error;
}

static void ask(struct told *t, bp_pool *pool)
{
    *t = (struct told){ .waiter = BP_WAITER_INIT(note, t) };
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t->waiter), 0);
}

/* ---- while arenas are in other hands ---- */

static void *trim_all(void *pool)
{
    thread_must(bp_pool_trim(pool, 0) == 0);
    return NULL;
}

/* Starts to dispose of the idle arenas, and is held there. */
static pthread_t trim_and_hold(bp_pool *pool)
{
    pthread_t thread;

    gate_close(&g, GATE_DISPOSE);
    ck_assert_int_eq(pthread_create(&thread, NULL, trim_all, pool), 0);
    await(gate_holds(&g, GATE_DISPOSE));
    return thread;
}

static void *be_refused(void *pool)
{
    bp_arena *a = untouched;

    thread_must(bp_pool_checkout(pool, &a) == EAGAIN);
    thread_must(bp_pool_checkout_wait(pool, 0, &a) == ETIMEDOUT);
    thread_must(a == untouched);
    return NULL;
}

/* There is a place for an arena, but it is the second waiter's: who comes by makes one for that waiter, and
 * not for itself. */
START_TEST(checkout_does_not_overtake)
{
    bp_pool *pool = pool_of(3);
    struct waiting w[2];
    bp_arena *held, *a[2];
    pthread_t trimmer, refused;

    held = taken(pool);
    a[0] = taken(pool);
    a[1] = taken(pool);
    given(pool, a[0]);
    given(pool, a[1]);
    gate_close(&g, GATE_DISPOSE);
    ck_assert_int_eq(pthread_create(&trimmer, NULL, trim_all, pool), 0);
    await(gate_holds(&g, GATE_DISPOSE));
    waiting_start(&w[0], pool, -1);
    waiting_start(&w[1], pool, -1);
    gate_close(&g, GATE_ACQUIRE);
    gate_open(&g, GATE_DISPOSE);
    await(gate_holds(&g, GATE_ACQUIRE)); /* for the first waiter: 2 of 3 */
    ck_assert_uint_eq(stats_of(pool).waiting, 2);
    ck_assert_int_eq(pthread_create(&refused, NULL, be_refused, pool), 0);
    await(gate_held(&g, GATE_ACQUIRE) == 2);
    gate_open(&g, GATE_ACQUIRE);
    ck_assert_int_eq(pthread_join(refused, NULL), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(waiting_end(&w[i]), 0);
        given(pool, w[i].arena);
    }
    given(pool, held);
    ck_assert_int_eq(pthread_join(trimmer, NULL), 0);
    pool_ends(pool);
}
END_TEST

static void *release_all(void *pool)
{
    thread_must(bp_pool_release_idle(pool) != 0);
    return NULL;
}

START_TEST(released_by_somebody_else)
{
    bp_pool *pool = pool_of(1);
    bp_arena *a = taken(pool), *b = untouched;
    pthread_t releaser;
    struct waiting w;

    memset(bp_arena_alloc(a, 3000), 1, 3000);
    given(pool, a);
    gate_close(&g, GATE_RELEASE);
    ck_assert_int_eq(pthread_create(&releaser, NULL, release_all, pool), 0);
    await(gate_holds(&g, GATE_RELEASE));
    ck_assert_int_eq(bp_pool_checkout(pool, &b), EAGAIN);
    ck_assert_ptr_eq(b, untouched);
    wait_fails(pool, 1000000, ETIMEDOUT);
    waiting_start(&w, pool, -1);
    gate_open(&g, GATE_RELEASE);
    ck_assert_int_eq(waiting_end(&w), 0);
    ck_assert_ptr_eq(w.arena, a);
    given(pool, a);
    ck_assert_int_eq(pthread_join(releaser, NULL), 0);
    pool_ends(pool);
}
END_TEST

/* What is disposed of makes place for a new one. */
START_TEST(disposed_of_by_somebody_else)
{
    bp_pool *pool = pool_of(1);
    pthread_t trimmer;
    struct waiting w;

    given(pool, taken(pool));
    trimmer = trim_and_hold(pool);
    waiting_start(&w, pool, -1);
    gate_open(&g, GATE_DISPOSE);
    ck_assert_int_eq(waiting_end(&w), 0);
    ck_assert_int_eq(pthread_join(trimmer, NULL), 0);
    ck_assert_uint_eq(stats_of(pool).mints, 2);
    ck_assert_uint_eq(stats_of(pool).hits, 0);
    given(pool, w.arena);
    pool_ends(pool);
}
END_TEST

/* The arena that is made for a waiter finds nobody any more, and its end somebody new. */
START_TEST(who_waits_next_is_not_forgotten)
{
    bp_pool *pool = pool_of(1);
    struct told gone;
    struct waiting w;
    pthread_t trimmer;

    given(pool, taken(pool));
    trimmer = trim_and_hold(pool);
    ask(&gone, pool);
    gate_close(&g, GATE_ACQUIRE);
    gate_open(&g, GATE_DISPOSE);
    await(gate_holds(&g, GATE_ACQUIRE));
    ck_assert_int_eq(bp_waiter_cancel(&gone.waiter), 0);
    gate_close(&g, GATE_DISPOSE);
    gate_open(&g, GATE_ACQUIRE);
    await(gate_holds(&g, GATE_DISPOSE) || stats_of(pool).idle == 1);
    waiting_start(&w, pool, -1);
    gate_open(&g, GATE_DISPOSE);
    ck_assert_int_eq(waiting_end(&w), 0);
    given(pool, w.arena);
    ck_assert_int_eq(pthread_join(trimmer, NULL), 0);
    ck_assert_int_eq(gone.count, 0);
    pool_ends(pool);
}
END_TEST

START_TEST(none_can_be_made)
{
    bp_pool *pool = pool_of(2);
    struct waiting w[2];
    bp_arena *a[2];
    pthread_t trimmer;

    a[0] = taken(pool);
    a[1] = taken(pool);
    given(pool, a[1]);
    if (_i == 0)
        given(pool, a[0]);
    trimmer = trim_and_hold(pool);
    waiting_start(&w[0], pool, -1);
    waiting_start(&w[1], pool, -1);
    faulty_plan(g.f, BP_FAULTY_ACQUIRE, 1, true);
    gate_open(&g, GATE_DISPOSE);
    ck_assert_int_eq(pthread_join(trimmer, NULL), 0);
    if (_i == 0) { /* and none is live: there is nothing to wait for */
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(waiting_end(&w[i]), ENOMEM);
        wait_fails(pool, -1, ENOMEM); /* nor is there for who comes now */
    } else { /* but one is live, and comes back */
        ck_assert_uint_eq(stats_of(pool).waiting, 2);
        given(pool, a[0]);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(waiting_end(&w[i]), 0);
            ck_assert_ptr_eq(w[i].arena, a[0]);
            given(pool, a[0]);
        }
    }
    ck_assert_uint_gt(faulty_stats(g.f).injected, 0);
    faulty_plan(g.f, BP_FAULTY_ALL, 0, false);
    given(pool, taken(pool));
    pool_ends(pool);
}
END_TEST

/* ---- close ---- */

/* Every way to an arena ends with ECANCELED. */
static void all_is_refused(bp_pool *pool)
{
    bp_arena *a = untouched;
    struct told t = { .waiter = BP_WAITER_INIT(note, &t) };
    size_t added = 99;

    ck_assert_int_eq(bp_pool_checkout(pool, &a), ECANCELED);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 100, &a), ECANCELED);
    ck_assert_int_eq(bp_pool_checkout_at(pool, "here", &a), ECANCELED);
    ck_assert_ptr_eq(a, untouched);
    wait_fails(pool, 0, ECANCELED);
    wait_fails(pool, 1000, ECANCELED);
    wait_fails(pool, -1, ECANCELED);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t.waiter), ECANCELED);
    ck_assert_int_eq(t.count, 0);
    ck_assert_int_eq(bp_pool_prewarm(pool, 3, &added), ECANCELED);
    ck_assert_uint_eq(added, 0);
}

START_TEST(close_ends_every_wait)
{
    bp_pool *pool = pool_of(2);
    struct waiting w[3];
    struct told t[2];
    struct bp_pool_stats s;
    bp_arena *a = taken(pool), *b = taken(pool);

    waiting_start(&w[0], pool, -1);
    ask(&t[0], pool);
    waiting_start(&w[1], pool, 3600000000000);
    ask(&t[1], pool);
    waiting_start(&w[2], pool, -1);
    ck_assert_int_eq(bp_pool_close(pool), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(waiting_end(&w[i]), ECANCELED);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(t[i].count, 1);
        ck_assert_int_eq(t[i].error, ECANCELED);
        ck_assert_ptr_null(t[i].arena);
        ck_assert_int_eq(bp_waiter_cancel(&t[i].waiter), EALREADY);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.waits, 5);
    ck_assert_uint_eq(s.cancels, 5);
    ck_assert_uint_eq(s.waiting, 0);
    all_is_refused(pool);
    ck_assert_int_eq(bp_pool_close(pool), 0);
    counts_are(pool, 0, 2);
    given(pool, a);
    given(pool, b);
    counts_are(pool, 2, 0);
    all_is_refused(pool);
    ck_assert_int_eq(bp_pool_close(pool), 0);
    ck_assert_uint_gt(bp_pool_idle_count(pool), 0); /* closed is not trimmed */
    ck_assert_int_eq(bp_pool_trim(pool, 1), 0);
    counts_are(pool, 1, 0);
    pool_ends(pool);
}
END_TEST

static struct {
    bp_pool *pool;
    pthread_barrier_t turn;
} other;

static void *use_a_lane(void *unused)
{
    bp_arena *idle, *out, *a = untouched;

    idle = taken(other.pool);
    out = taken(other.pool);
    given(other.pool, idle);
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn); /* closed meanwhile */
    thread_must(bp_pool_checkout(other.pool, &a) == ECANCELED);
    thread_must(bp_pool_give_back(other.pool, out) == 0);
    thread_must(bp_pool_checkout(other.pool, &a) == ECANCELED);
    thread_must(a == untouched);
    return unused;
}

/* Arenas idle in a thread's own place are refused as well, to the thread that closes and to others. */
START_TEST(close_closes_lanes)
{
    pthread_t thread;

    other.pool = pool_of(4);
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, 2), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, use_a_lane, NULL), 0);
    pthread_barrier_wait(&other.turn);
    given(other.pool, taken(other.pool));
    ck_assert_int_eq(bp_pool_close(other.pool), 0);
    all_is_refused(other.pool);
    pthread_barrier_wait(&other.turn);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&other.turn);
    all_is_refused(other.pool);
    pool_ends(other.pool);
}
END_TEST

static void *work_until_closed(void *arg)
{
    struct waiting *w = arg;
    bp_arena *a;
    int rc;

    for (unsigned i = 0;; i++) {
        rc = i % 3 == 0 ? bp_pool_checkout(w->pool, &a)
                        : bp_pool_checkout_wait(w->pool, i % 3 == 1 ? 20000 : -1, &a);
        if (rc == ECANCELED)
            return NULL;
        thread_must(rc == 0 || rc == (i % 3 == 0 ? EAGAIN : ETIMEDOUT));
        if (rc == 0)
            thread_must(bp_pool_give_back(w->pool, a) == 0);
    }
}

/* At whatever moment it comes, everybody hears of it, and nothing is lost. */
START_TEST(close_while_others_work)
{
    for (size_t round = 0; round < times(150, 10); round++) {
        bp_pool *pool = pool_of(1 + round % 3);
        struct waiting w[4];

        for (int i = 0; i < 4; i++) {
            w[i].pool = pool;
            ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work_until_closed, &w[i]), 0);
        }
        usleep((useconds_t)(round * 37 % 3000));
        ck_assert_int_eq(bp_pool_close(pool), 0);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
        pool_ends(pool);
    }
}
END_TEST

/* ---- destroy ---- */

START_TEST(destroy_while_somebody_waits)
{
    bp_pool *pool = pool_of(1);
    bp_arena *a = taken(pool);
    struct waiting w;
    struct told t;

    waiting_start(&w, pool, -1);
    ask(&t, pool);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    misuse_was(&misuse, BP_MISUSE_LIVE_ARENAS);
    ck_assert_ptr_eq(misuse.pool, pool);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_uint_eq(stats_of(pool).waiting, 2); /* nothing has changed */
    given(pool, a);
    ck_assert_int_eq(waiting_end(&w), 0);
    given(pool, w.arena);
    ck_assert_int_eq(t.count, 1);
    ck_assert_int_eq(t.error, 0);
    given(pool, t.arena);
    pool_ends(pool);
}
END_TEST

/* No arena is live: the only reason is the waiter. */
START_TEST(destroy_with_nothing_but_a_waiter)
{
    bp_pool *pool = pool_of(1);
    pthread_t trimmer;
    struct told t;

    given(pool, taken(pool));
    trimmer = trim_and_hold(pool);
    ask(&t, pool);
    gate_close(&g, GATE_ACQUIRE);
    gate_open(&g, GATE_DISPOSE);
    await(gate_holds(&g, GATE_ACQUIRE));
    counts_are(pool, 0, 0);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    misuse_was(&misuse, BP_MISUSE_LIVE_ARENAS);
    bp_set_misuse_handler(NULL, NULL);
    gate_open(&g, GATE_ACQUIRE);
    ck_assert_int_eq(pthread_join(trimmer, NULL), 0);
    ck_assert_int_eq(t.count, 1);
    given(pool, t.arena);
    pool_ends(pool);
}
END_TEST

static Suite *serve_suite(void)
{
    Suite *s = suite_create("waiter serve");
    TCase *tc = add_case(s, "other hands");

    tcase_add_test(tc, checkout_does_not_overtake);
    tcase_add_test(tc, released_by_somebody_else);
    tcase_add_test(tc, disposed_of_by_somebody_else);
    tcase_add_test(tc, who_waits_next_is_not_forgotten);
    tcase_add_loop_test(tc, none_can_be_made, 0, 2);
    tc = add_case(s, "close");
    tcase_add_test(tc, close_ends_every_wait);
    tcase_add_test(tc, close_closes_lanes);
    tcase_add_test(tc, close_while_others_work);
    tc = add_case(s, "destroy");
    tcase_add_test(tc, destroy_while_somebody_waits);
    tcase_add_test(tc, destroy_with_nothing_but_a_waiter);
    return s;
}

int main(void)
{
    return run_suite(serve_suite());
}
