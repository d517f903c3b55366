/* SPDX-License-Identifier: MIT
 * Checked pools: the quarantine and its bounds, use of arenas that were given back, errors found wherever a
 * pool looks at an arena, waiters, threads. Writes that are errors are made where no tool sees them.
 */
#include "checked.h"
#include "waiting.h"

#include <setjmp.h>

static struct reports reports;

static void listen_again(void)
{
    reports_listen(&reports);
}

static struct bp_pool_config checked_config(unsigned checks)
{
    struct bp_pool_config c = pool_config();

    c.name = "orders";
    c.arena_size = 8192;
    c.checks = checks;
    return c;
}

static bp_pool *checked_pool(unsigned checks)
{
    struct bp_pool_config c = checked_config(checks);

    return pool_on(NULL, &c);
}

/* ---- quarantine ---- */

START_TEST(the_newest_is_not_reused)
{
    bp_pool *pool = checked_pool(BP_CHECK_QUARANTINE);
    bp_arena *before = NULL;

    for (size_t i = 0; i < 64; i++) { /* until as many are idle as max_idle allows, each is a new one */
        bp_arena *a = taken(pool);

        ck_assert_ptr_ne(a, before);
        ck_assert_uint_eq(stats_of(pool).mints, i + 1);
        given(pool, a);
        before = a;
    }
    counts_are(pool, 64, 0);
    given(pool, taken(pool));
    ck_assert_uint_eq(stats_of(pool).mints, 64);
    pool_gone(pool);
    nothing_reported(&reports);
}
END_TEST

START_TEST(the_oldest_comes_first)
{
    struct bp_pool_config c = checked_config(BP_CHECK_QUARANTINE | (_i % 2 != 0 ? BP_CHECK_POISON : 0));
    bp_arena *a[3];
    bp_pool *pool;

    if (_i / 2 == 0)
        c.max_arenas = 3;
    else
        c.max_idle = 3;
    pool = pool_on(NULL, &c);
    for (int i = 0; i < 3; i++)
        a[i] = taken(pool);
    for (int i = 0; i < 3; i++)
        given(pool, a[i]);
    for (int i = 0; i < 9; i++) {
        ck_assert_ptr_eq(taken(pool), a[i % 3]);
        given(pool, a[i % 3]);
    }
    /* what was released is older than what was not */
    (void)bp_pool_release_idle(pool);
    ck_assert_ptr_eq(taken(pool), a[0]);
    given(pool, a[0]);
    ck_assert_ptr_eq(taken(pool), a[1]);
    given(pool, a[1]);
    ck_assert_uint_eq(stats_of(pool).mints, 3);
    pool_gone(pool);
    nothing_reported(&reports);
}
END_TEST

START_TEST(caps_hold)
{
    struct bp_pool_config c = checked_config(BP_CHECK_QUARANTINE);
    bp_backing *f;
    bp_pool *pool;
    bp_arena *a[6];

    f = faulty_over(bp_backing_mmap());
    switch (_i) {
    case 0:
        c.max_idle = 0;
        break;
    case 1:
        c.max_idle_bytes = 0;
        break;
    case 2:
        c.max_idle_bytes = 8192 * 2;
        break;
    default:
        c.max_arenas = 6;
        c.max_idle = 2;
        break;
    }
    pool = pool_on(f, &c);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 6; i++) {
            a[i] = taken(pool);
            stamp(bp_arena_alloc(a[i], 100), 100, 1);
        }
        if (_i == 3)
            ck_assert_int_eq(bp_pool_checkout(pool, &a[0]), EAGAIN);
        for (int i = 0; i < 6; i++)
            given(pool, a[i]);
        counts_are(pool, _i < 2 ? 0 : 2, 0);
        ck_assert_uint_eq(faulty_stats(f).extents, _i < 2 ? 0 : 2);
    }
    pool_gone(pool);
    faulty_gone(f);
    nothing_reported(&reports);
}
END_TEST

START_TEST(no_memory_ends_the_quarantine)
{
    struct bp_pool_config c = checked_config(BP_CHECK_QUARANTINE);
    bp_arena *a, *b, *again = NULL;
    struct waiting w;
    bp_backing *f;
    bp_pool *pool;

    f = faulty_over(bp_backing_mmap());
    pool = pool_on(f, &c);
    a = taken(pool);
    b = taken(pool);
    given(pool, a);
    given(pool, b);
    faulty_plan(f, BP_FAULTY_ACQUIRE, 1, true);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert_ptr_eq(taken(pool), b);
    ck_assert_int_eq(bp_pool_checkout(pool, &again), ENOMEM);
    ck_assert_ptr_null(again);
    given(pool, b);
    given(pool, a);
    ck_assert_ptr_eq(taken(pool), b);
    ck_assert_ptr_eq(taken(pool), a);
    given(pool, a);
    ck_assert_int_eq(bp_pool_checkout_wait(pool, 1000000000, &again), 0);
    ck_assert_ptr_eq(again, a);
    faulty_plan(f, BP_FAULTY_ACQUIRE, 0, false);
    given(pool, a);
    given(pool, b);
    ck_assert_int_eq(bp_pool_close(pool), 0);
    ck_assert_int_eq(bp_pool_checkout(pool, &again), ECANCELED);
    pool_gone(pool);
    ck_assert_uint_eq(faulty_stats(f).extents, 0);

    /* nor is it a reason to wait */
    c.max_arenas = 1;
    pool = pool_on(f, &c);
    a = taken(pool);
    waiting_start(&w, pool, -1);
    given(pool, a);
    ck_assert_int_eq(waiting_end(&w), 0);
    ck_assert_ptr_eq(w.arena, a);
    given(pool, a);
    pool_gone(pool);
    faulty_gone(f);
    nothing_reported(&reports);
}
END_TEST

/* ---- use after give_back ---- */

static void ignore_cleanup(void *data)
{
    (void)data;
}

/* Every call on an arena that was given back is told, and does nothing. */
START_TEST(every_use_of_an_idle_arena)
{
    static const unsigned sets[] = { BP_CHECK_QUARANTINE, BP_CHECK_FILL, CHECK_ZONES, BP_CHECK_ALL };
    struct bp_pool_config c = checked_config(sets[_i % 4]);
    bp_mark mark, made;
    struct report r;
    bp_pool *pool;
    bp_arena *a;
    char *p;

    c.max_idle = _i / 4 == 0 ? 64 : 0; /* then it is disposed of, and its place is empty */
    pool = pool_on(NULL, &c);
    a = taken(pool);
    p = bp_arena_alloc(a, 16);
    mark = bp_arena_mark(a);
    given(pool, a);
#define IDLE_USE(call)                                                     \
    do {                                                                   \
        errno = 0;                                                         \
        ck_assert(call);                                                   \
        r = reported(&reports, BP_MISUSE_IDLE_ARENA, pool, a);             \
        says(&r, "given back");                                            \
        says(&r, "\"orders\"");                                            \
    } while (0)
    IDLE_USE(bp_arena_alloc(a, 1) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_alloc_aligned(a, 1, 64) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_zalloc(a, 1) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_calloc(a, 1, 1) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_strdup(a, "x") == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_strndup(a, "x", 1) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_memdup(a, "x", 1) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_printf(a, "x") == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_realloc(a, NULL, 0, 1) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_realloc(a, p, 16, 32) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_realloc(a, p, 16, 8) == NULL && errno == EINVAL);
    IDLE_USE(bp_arena_on_reset(a, ignore_cleanup, NULL) == EINVAL);
    IDLE_USE(bp_arena_rewind(a, mark) == EINVAL);
    IDLE_USE((bp_arena_reset(a), true));
    IDLE_USE((bp_arena_wipe(a), true));
    IDLE_USE((made = bp_arena_mark(a), true));
    IDLE_USE(bp_arena_check(a) == 0);
    IDLE_USE(bp_arena_used(a) == 0);
    IDLE_USE(bp_arena_capacity(a) == 0);
    IDLE_USE(bp_arena_remaining(a) == 0);
    IDLE_USE(bp_arena_high_water(a) == 0);
    IDLE_USE(!bp_arena_owns(a, p));
#undef IDLE_USE
    ck_assert_int_eq(bp_arena_destroy(a), EINVAL);
    (void)reported(&reports, BP_MISUSE_POOL_ARENA, NULL, a);
    ck_assert_int_eq(bp_pool_give_back(pool, a), EINVAL);
    (void)reported(&reports, BP_MISUSE_DOUBLE_GIVE_BACK, pool, a);
    if (_i / 4 == 0) { /* it has not suffered */
        (void)bp_pool_trim(pool, 1);
        while (bp_pool_idle_count(pool) < 64) { /* so that it is taken out again */
            bp_arena *others[64];
            size_t n = 0;

            while (n < 64 && bp_pool_live_count(pool) + bp_pool_idle_count(pool) < 64)
                others[n++] = taken(pool);
            while (n > 0)
                given(pool, others[--n]);
        }
        ck_assert_ptr_eq(taken(pool), a);
        ck_assert_int_eq(bp_arena_rewind(a, made), EINVAL);
        (void)reported(&reports, BP_MISUSE_DEAD_MARK, NULL, a);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 1));
        given(pool, a);
    }
    pool_gone(pool);
    nothing_reported(&reports);
}
END_TEST

START_TEST(foreign_arenas_are_told)
{
    bp_pool *pool = checked_pool(CHECK_ZONES), *other = checked_pool(CHECK_ZONES);
    bp_arena *a = taken(pool), *alone = checked_arena(NULL, 4096, BP_ARENA_SPILL, CHECK_ZONES);

    ck_assert_int_eq(bp_pool_give_back(other, a), EINVAL);
    (void)reported(&reports, BP_MISUSE_FOREIGN_ARENA, other, a);
    ck_assert_int_eq(bp_pool_give_back(other, alone), EINVAL);
    (void)reported(&reports, BP_MISUSE_FOREIGN_ARENA, other, alone);
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    /* and where it was taken */
    ck_assert_uint_gt(reported(&reports, BP_MISUSE_LIVE_ARENAS, pool, NULL).depth, 0);
    given(pool, a);
    pool_gone(pool);
    ck_assert_int_eq(bp_pool_destroy(pool), EINVAL);
    (void)reported(&reports, BP_MISUSE_DEAD_POOL, pool, NULL);
    pool_gone(other);
    ck_assert_int_eq(bp_arena_destroy(alone), 0);
    nothing_reported(&reports);
}
END_TEST

/* ---- errors are found wherever the pool looks ---- */

enum place_found { AT_GIVE_BACK, AT_CHECKOUT, AT_RELEASE, AT_TRIM, AT_TICK, AT_DESTROY, AT_WAIT, PLACES };

START_TEST(errors_are_found)
{
    struct bp_pool_config c = checked_config(BP_CHECK_POISON | BP_CHECK_REDZONE);
    enum place_found where = (enum place_found)(_i % PLACES);
    bp_arena *a = NULL, *got = NULL;
    struct report r;
    bp_pool *pool;
    char *p, who[60];

    c.retain_ns = 1000000;
    pool = pool_on(_i / PLACES == 0 ? bp_backing_mmap() : bp_backing_reserved(), &c);
    ck_assert_int_eq(bp_pool_checkout_at(pool, "order.c:42", &a), 0);
    p = block_here(a, 100);
    memset(p, 1, 100);
    snprintf(who, sizeof who, "arena %p of pool \"orders\" (checked out at order.c:42)", (void *)a);
    if (where == AT_GIVE_BACK) {
        poke(p, 101, 0x77);
        given(pool, a);
        r = reported(&reports, BP_MISUSE_OVERRUN, pool, a);
        says(&r, "the byte 2 after a block of 100 bytes");
        says(&r, "0x77");
    } else {
        given(pool, a);
        ck_assert(peek_all(p, 100, 0xDB));
        poke(p, 3, 0x77);
        nothing_reported(&reports);
        switch (where) {
        case AT_CHECKOUT:
            ck_assert_ptr_eq(taken(pool), a);
            break;
        case AT_WAIT:
            ck_assert_int_eq(bp_pool_checkout_wait(pool, -1, &got), 0);
            ck_assert_ptr_eq(got, a);
            break;
        case AT_RELEASE:
            (void)bp_pool_release_idle(pool);
            break;
        case AT_TRIM:
            ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
            break;
        case AT_TICK:
            for (uint64_t t = 1; t < 20; t++)
                ck_assert_int_eq(bp_pool_tick(pool, t * 1000000, NULL), 0);
            break;
        default:
            pool_gone(pool);
            break;
        }
        r = reported(&reports, BP_MISUSE_USE_AFTER_DROP, pool, a);
        says(&r, "byte 3 of a block of 100 bytes");
        if (where == AT_CHECKOUT || where == AT_WAIT)
            given(pool, a);
    }
    says(&r, who);
    from_block_here(&r);
    if (where != AT_DESTROY)
        pool_gone(pool);
    nothing_reported(&reports);
}
END_TEST

static jmp_buf out;
static int calls;

static void leave(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
    calls++;
    longjmp(out, 1);
}

/* The call has done what it does: the arena is where it is to be, and the pool can be used and destroyed. */
START_TEST(handler_leaves_by_longjmp)
{
    struct bp_pool_config c = checked_config(BP_CHECK_POISON | BP_CHECK_REDZONE);
    enum place_found where = (enum place_found)_i;
    static bp_pool *volatile pool;
    static bp_arena *volatile a;
    static bp_arena *got;
    static char *volatile p;

    c.retain_ns = 1000000;
    pool = pool_on(NULL, &c);
    a = taken(pool);
    p = bp_arena_alloc(a, 100);
    memset(p, 1, 100);
    if (where == AT_GIVE_BACK) {
        poke(p, 100, 0);
    } else {
        given(pool, a);
        poke(p, 50, 0);
    }
    bp_set_misuse_handler(leave, NULL);
    got = NULL;
    calls = 0;
    if (setjmp(out) == 0) {
        switch (where) {
        case AT_GIVE_BACK:
            (void)bp_pool_give_back(pool, a);
            break;
        case AT_CHECKOUT:
            (void)!bp_pool_checkout(pool, &got);
            break;
        case AT_WAIT:
            (void)!bp_pool_checkout_wait(pool, -1, &got);
            break;
        case AT_RELEASE:
            (void)bp_pool_release_idle(pool);
            break;
        case AT_TRIM:
            (void)bp_pool_trim(pool, 0);
            break;
        case AT_TICK:
            for (uint64_t t = 1; t < 20; t++)
                (void)bp_pool_tick(pool, t * 1000000, NULL);
            break;
        default:
            (void)bp_pool_destroy(pool);
            break;
        }
        ck_abort_msg("nothing found");
    }
    ck_assert_int_eq(calls, 1);
    reports_listen(&reports);
    if (where == AT_DESTROY) {
        ck_assert_int_eq(bp_pool_destroy(pool), EINVAL);
        (void)reported(&reports, BP_MISUSE_DEAD_POOL, pool, NULL);
        return;
    }
    if (where == AT_CHECKOUT || where == AT_WAIT) {
        ck_assert_ptr_eq(got, a);
        given(pool, got);
    }
    counts_are(pool, where == AT_TRIM ? 0 : bp_pool_idle_count(pool), 0);
    a = taken(pool);
    for (int i = 0; i < 20; i++)
        stamp(bp_arena_alloc(a, 1000), 1000, 1);
    given(pool, a);
    pool_gone(pool);
    nothing_reported(&reports);
}
END_TEST

/* ---- right programs ---- */

START_TEST(everything_a_pool_does)
{
    struct bp_pool_config c = checked_config(_i < CHECK_SETS ? check_sets[_i] : BP_CHECK_ALL);
    struct rng rng = rng_start("everything_a_pool_does");
    bp_arena *live[8] = { NULL };
    bp_backing *f;
    bp_pool *pool;
    uint64_t now = 1;

    f = faulty_over(bp_backing_reserved());
    c.max_idle = 6;
    c.prefault = 4096;
    c.max_spare = 100000;
    c.zero_on_give_back = rng_below(&rng, 2) != 0;
    c.retain_ns = 4000000;
    pool = pool_on(f, &c);
    for (size_t i = 0; i < times(3000, 300); i++) {
        bp_arena **a = &live[rng_below(&rng, 8)];
        size_t n = rng_below(&rng, 30) == 0 ? 200000 : 700;

        switch (rng_below(&rng, 24)) {
        case 0:
            (void)bp_pool_release_idle(pool);
            break;
        case 1:
            must(bp_pool_trim(pool, rng_below(&rng, 7)) == 0);
            break;
        case 2:
            must(bp_pool_prewarm(pool, rng_below(&rng, 4), NULL) == 0);
            break;
        case 3:
            now += rng_below(&rng, 9000000);
            must(bp_pool_tick(pool, now, NULL) == 0);
            break;
        default:
            if (*a == NULL) {
                int rc = rng_below(&rng, 3) == 0 ? bp_pool_checkout_sized(pool, n, a) :
                                                   bp_pool_checkout(pool, a);

                must(rc == 0);
                must(bp_arena_used(*a) == 0);
                for (size_t k = rng_below(&rng, 20); k > 0; k--) {
                    size_t size = 1 + rng_below(&rng, n);
                    char *p = bp_arena_zalloc(*a, size);

                    must(p != NULL && all_bytes(p, size, 0));
                    memset(p, 0x77, size);
                }
            } else {
                must(bp_pool_give_back(pool, *a) == 0);
                *a = NULL;
            }
            break;
        }
        must(reports.count == 0);
    }
    for (int i = 0; i < 8; i++)
        if (live[i] != NULL)
            given(pool, live[i]);
    counts_are(pool, bp_pool_idle_count(pool), 0);
    pool_gone(pool);
    faulty_gone(f);
    nothing_reported(&reports);
}
END_TEST

static void got_one(struct bp_waiter *w, bp_arena *a, int error)
{
    thread_must(error == 0 && a != NULL);
    stamp(bp_arena_alloc(a, 64), 64, 1);
    (void)w;
    thread_must(bp_pool_give_back(w->pool, a) == 0);
}

START_TEST(waiters_and_async)
{
    struct bp_pool_config c = checked_config(CHECK_ZONES);
    struct bp_waiter waiter[4];
    struct waiting w;
    bp_pool *pool;
    bp_arena *a;

    c.max_arenas = 1;
    pool = pool_on(NULL, &c);
    a = taken(pool);
    stamp(bp_arena_alloc(a, 64), 64, 1);
    memset(waiter, 0, sizeof waiter);
    for (int i = 0; i < 4; i++) {
        waiter[i].fn = got_one;
        ck_assert_int_eq(bp_pool_checkout_async(pool, &waiter[i]), 0);
    }
    waiting_start(&w, pool, -1);
    given(pool, a);
    ck_assert_int_eq(waiting_end(&w), 0);
    ck_assert_ptr_eq(w.arena, a);
    stamp(bp_arena_alloc(a, 64), 64, 1); /* it is live again */
    given(pool, a);
    ck_assert_ptr_null(bp_arena_alloc(a, 64));
    (void)reported(&reports, BP_MISUSE_IDLE_ARENA, pool, a);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &waiter[0]), 0);
    counts_are(pool, 1, 0);
    all_accounted_for(pool);
    threads_passed();
    pool_gone(pool);
    nothing_reported(&reports);
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4 };

struct worker {
    pthread_t thread;
    bp_pool *pool;
    struct rng rng;
};

static void *work(void *arg)
{
    struct worker *my = arg;

    for (size_t i = times(1500, 150); i > 0; i--) {
        bp_arena *a = NULL;
        size_t n = 1 + rng_below(&my->rng, 40) * rng_below(&my->rng, 40), kept;
        char *p, *q;
        bp_mark mark;

        if (rng_below(&my->rng, 40) == 0)
            (void)bp_pool_release_idle(my->pool);
        thread_must(bp_pool_checkout_wait(my->pool, -1, &a) == 0);
        if (a == NULL)
            break;
        kept = n;
        p = bp_arena_alloc(a, n);
        thread_must(p != NULL);
        if (p == NULL)
            break;
        stamp(p, n, (unsigned)i);
        mark = bp_arena_mark(a);
        q = bp_arena_printf(a, "%zu", n);
        thread_must(q != NULL && strtoul(q, NULL, 10) == n);
        thread_must(bp_arena_rewind(a, mark) == 0);
        thread_must(stamped(p, kept, (unsigned)i));
        thread_must(bp_arena_check(a) == 0);
        thread_must(bp_pool_give_back(my->pool, a) == 0);
    }
    return NULL;
}

static void count_only(const struct bp_misuse *m, void *data)
{
    (void)m;
    atomic_fetch_add((atomic_int *)data, 1);
}

START_TEST(threads_share_a_pool)
{
    static const unsigned sets[] = { BP_CHECK_QUARANTINE, CHECK_ZONES, BP_CHECK_POISON, BP_CHECK_ALL };
    struct bp_pool_config c = checked_config(sets[_i]);
    struct worker worker[THREADS];
    atomic_int found = 0;
    bp_pool *pool;

    bp_set_misuse_handler(count_only, &found);
    c.max_arenas = 3;
    pool = pool_on(NULL, &c);
    for (unsigned i = 0; i < THREADS; i++) {
        worker[i].pool = pool;
        worker[i].rng.state = i + 1;
        ck_assert_int_eq(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(worker[i].thread, NULL), 0);
    threads_passed();
    ck_assert_int_eq(atomic_load(&found), 0);
    all_accounted_for(pool);
    pool_gone(pool);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

/* Standalone checked arenas come and go in a thread while another forks. Check's own assertions take a
 * lock that the child would find taken. */
#ifdef SUPPORT_SANITIZED
enum { SANITIZED = 1 }; /* whose malloc does not care for fork: a lock of it stays taken in the child */
#else
enum { SANITIZED = 0 };
#endif

static atomic_bool stop;

static void *come_and_go(void *arg)
{
    struct bp_arena_config config = BP_ARENA_CONFIG_INIT;
    bp_arena *a;

    (void)arg;
    config.checks = BP_CHECK_FILL;
    while (!atomic_load(&stop))
        thread_must(bp_arena_create(NULL, &config, &a) == 0 && bp_arena_destroy(a) == 0);
    return NULL;
}

START_TEST(fork_meets_checked_arenas)
{
    pthread_t thread;
    int status;

    /* what happens once in a process is to do so here, not beside a fork */
    ck_assert_int_eq(bp_arena_destroy(checked_arena(NULL, 4096, BP_ARENA_SPILL, BP_CHECK_FILL)), 0);
    atomic_store(&stop, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, come_and_go, NULL), 0);
    for (size_t i = 0; i < times(200, 20); i++) {
        pid_t child = fork();

        must(child >= 0);
        if (child == 0) {
            struct bp_arena_config config = BP_ARENA_CONFIG_INIT;
            bp_arena *a;

            config.checks = CHECK_ZONES;
            alarm(120); /* a lock that nobody holds any more */
            if (bp_arena_create(NULL, &config, &a) != 0 || bp_arena_alloc(a, 1) == NULL)
                _exit(1);
            _exit(bp_arena_destroy(a));
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    threads_passed();
}
END_TEST

static Suite *checked_suite(void)
{
    Suite *s = suite_create("checked pools");
    TCase *tc = add_case(s, "quarantine");

    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_test(tc, the_newest_is_not_reused);
    tcase_add_loop_test(tc, the_oldest_comes_first, 0, 4);
    tcase_add_loop_test(tc, caps_hold, 0, 4);
    tcase_add_test(tc, no_memory_ends_the_quarantine);
    tc = add_case(s, "idle");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, every_use_of_an_idle_arena, 0, 8);
    tcase_add_test(tc, foreign_arenas_are_told);
    tc = add_case(s, "errors");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, errors_are_found, 0, 2 * PLACES);
    tcase_add_loop_test(tc, handler_leaves_by_longjmp, 0, PLACES);
    tc = add_case(s, "right programs");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, everything_a_pool_does, 0, CHECK_SETS + 1);
    tcase_add_test(tc, waiters_and_async);
    tc = add_case(s, "threads");
    tcase_add_loop_test(tc, threads_share_a_pool, 0, 4);
    if (may_fork() && !SANITIZED)
        tcase_add_test(tc, fork_meets_checked_arenas);
    return s;
}

int main(void)
{
    return run_suite(checked_suite());
}
