/* SPDX-License-Identifier: MIT
 * fork: what a child finds of the pools of its parent, in which other threads were at work, and that the
 * parent does not notice. A child says on standard error what it misses, and exits with 1; one that hangs is
 * killed.
 */
#include "waiting.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>

/* ---- children ---- */

/* No Check calls in a child: the parent reports. */
static void child_fails(int line, const char *what)
{
    char text[256];
    int n = snprintf(text, sizeof text, "child: line %d: %s\n", line, what);

    (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(1);
}

#define child_must(e) ((e) ? (void)0 : child_fails(__LINE__, #e))

enum { CHILD_SECONDS = 120 };

/* Not by alarm(2), whose signal ThreadSanitizer keeps back from a child that hangs inside of it. */
static void child_ends_well(pid_t child)
{
    uint64_t until = now_ns() + CHILD_SECONDS * UINT64_C(1000000000);
    int status = -1;
    pid_t ended;

    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now_ns() < until)
        usleep(200);
    if (ended == 0) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
        ck_abort_msg("the child hangs");
    }
    ck_assert_int_eq(ended, child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is 0x%x",
                  (unsigned)status);
}

static void child_is_fine(void (*life)(void *), void *arg)
{
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        life(arg);
        _exit(0);
    }
    child_ends_well(child);
}

static struct bp_pool_stats child_stats(bp_pool *pool)
{
    struct bp_pool_stats s;

    child_must(bp_pool_stats(pool, &s) == 0);
    return s;
}

static void child_unit(bp_pool *pool, size_t bytes, unsigned key)
{
    bp_arena *a = NULL;
    void *p;

    child_must(bp_pool_checkout(pool, &a) == 0);
    child_must(bp_arena_used(a) == 0);
    p = bp_arena_alloc(a, bytes);
    child_must(p != NULL);
    stamp(p, bytes, key);
    child_must(stamped(p, bytes, key));
    child_must(bp_pool_give_back(pool, a) == 0);
}

static bp_pool *pool_over(bp_backing *backing, size_t max_arenas, bool reaper)
{
    struct bp_pool_config c = pool_config();

    c.arena_size = 16384;
    c.max_arenas = max_arenas;
    c.flags = reaper ? BP_POOL_REAPER : 0;
    c.retain_ns = 4000000;
    return pool_on(backing, &c);
}

static bp_pool *pool_of(size_t max_arenas, bool reaper)
{
    return pool_over(NULL, max_arenas, reaper);
}

/* ThreadSanitizer ends a child that starts a thread when its parent had some. */
static bool child_may_have_threads(void)
{
#if defined(__SANITIZE_THREAD__) || defined(SUPPORT_TSAN)
    return false;
#else
    return true;
#endif
}

/* The sanitizers' malloc (of gcc before 14 and clang before 17) does not take its locks around fork: where
 * other threads are inside of it, the child hangs there. */
static bool child_may_allocate(void)
{
#ifdef SUPPORT_SANITIZED
    return false;
#else
    return true;
#endif
}

/* ---- waiters ---- */

struct line {
    bp_pool *pool;
    bp_arena *held;
    struct bp_waiter async;
    bp_arena *arena;
    int calls, error;
};

static void note(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    struct line *l = waiter->data;

    l->calls++;
    l->arena = arena;
    l->error = error;
}

static void life_without_waiters(void *arg)
{
    struct line *l = arg;

    child_must(child_stats(l->pool).waiting == 0);
    child_must(bp_pool_give_back(l->pool, l->held) == 0);
    child_must(bp_pool_idle_count(l->pool) == 1);
    for (unsigned i = 0; i < 200; i++)
        child_unit(l->pool, 100, i);
    child_must(child_stats(l->pool).mints == 1);
    child_must(bp_pool_destroy(l->pool) == 0);
}

static void life_with_async(void *arg)
{
    struct line *l = arg;

    child_must(child_stats(l->pool).waiting == 1);
    child_must(l->calls == 0);
    child_must(bp_pool_give_back(l->pool, l->held) == 0);
    child_must(l->calls == 1 && l->error == 0 && l->arena == l->held);
    child_must(bp_waiter_cancel(&l->async) == EALREADY);
    child_must(bp_pool_give_back(l->pool, l->arena) == 0);
    child_must(bp_pool_destroy(l->pool) == 0);
}

static void life_with_async_cancelled(void *arg)
{
    struct line *l = arg;

    child_must(bp_waiter_cancel(&l->async) == 0);
    child_must(child_stats(l->pool).waiting == 0);
    child_must(bp_pool_give_back(l->pool, l->held) == 0);
    child_must(l->calls == 0);
    child_must(bp_pool_destroy(l->pool) == 0);
}

START_TEST(waiters)
{
    struct line l = { .pool = pool_of(1, false) };
    struct waiting w[4];
    size_t blocked = 0;

    l.held = taken(l.pool);
    waiting_start(&w[blocked++], l.pool, -1);
    waiting_start(&w[blocked++], l.pool, -1);
    if (_i != 0) { /* in the middle of the others */
        l.async = (struct bp_waiter)BP_WAITER_INIT(note, &l);
        ck_assert_int_eq(bp_pool_checkout_async(l.pool, &l.async), 0);
    }
    waiting_start(&w[blocked++], l.pool, -1);
    waiting_start(&w[blocked++], l.pool, 3600000000000);
    for (int i = 0; i < 3; i++)
        child_is_fine(_i == 0 ? life_without_waiters : i == 0 ? life_with_async_cancelled : life_with_async,
                      &l);
    ck_assert_uint_eq(stats_of(l.pool).waiting, _i == 0 ? 4 : 5); /* here all of them stand as before */
    given(l.pool, l.held);
    for (size_t i = 0; i < blocked; i++) {
        ck_assert_int_eq(waiting_end(&w[i]), 0);
        ck_assert_int_eq(l.calls, _i != 0 && i >= 2);
        given(l.pool, w[i].arena);
        if (_i != 0 && i == 1)
            given(l.pool, l.arena);
    }
    all_accounted_for(l.pool);
    pool_gone(l.pool);
}
END_TEST

static int child_inside;

static void fork_inside(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    struct line *l = waiter->data;

    note(waiter, arena, error);
    if (l->calls == 1) {
        child_inside = (int)fork();
        if (bp_pool_checkout_async(l->pool, waiter) != 0)
            l->error = -1;
    }
    if (bp_pool_give_back(l->pool, arena) != 0)
        l->error = -1;
}

/* The call goes on in both, and so does what follows from it. */
START_TEST(from_inside_a_callback)
{
    struct line l = { .pool = pool_of(1, false) };

    l.held = taken(l.pool);
    l.async = (struct bp_waiter)BP_WAITER_INIT(fork_inside, &l);
    ck_assert_int_eq(bp_pool_checkout_async(l.pool, &l.async), 0);
    child_inside = -1;
    given(l.pool, l.held);
    if (child_inside == 0) {
        child_must(l.calls == 2 && l.error == 0);
        child_must(bp_pool_destroy(l.pool) == 0);
        _exit(0);
    }
    ck_assert_int_gt(child_inside, 0);
    child_ends_well(child_inside);
    ck_assert_int_eq(l.calls, 2);
    ck_assert_int_eq(l.error, 0);
    pool_gone(l.pool);
}
END_TEST

/* ---- arenas ---- */

static struct {
    bp_pool *pool;
    bp_arena *out, *idle, *mine;
    void *block;
    pthread_barrier_t turn;
} other;

/* One out, one idle in this thread's lane. */
static void *hold_two(void *unused)
{
    other.idle = taken(other.pool);
    thread_must(bp_pool_checkout_at(other.pool, "the other thread", &other.out) == 0);
    given(other.pool, other.idle);
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn);
    given(other.pool, other.out);
    return unused;
}

static struct misuse_log complaint;
static size_t listed;

static int list(const struct bp_live_arena *live, void *data)
{
    (void)data;
    listed++;
    child_must(live->arena == other.out && live->site != NULL && strcmp(live->site, "the other thread") == 0);
    return 0;
}

static void life_beside_a_lane(void *unused)
{
    (void)unused;
    child_must(bp_pool_live_count(other.pool) == 2);
    child_must(bp_pool_idle_count(other.pool) == 1);
    child_must(stamped(other.block, 1000, 5));
    stamp(other.block, 1000, 6);
    child_must(bp_pool_give_back(other.pool, other.mine) == 0);
    for (unsigned i = 0; i < 100; i++)
        child_unit(other.pool, 200, i);
    child_must(child_stats(other.pool).mints == 3); /* those of the other thread's lane are not lost */
    child_must(bp_pool_each_live(other.pool, list, NULL) == 0 && listed == 1);
    misuse_listen(&complaint);
    child_must(bp_pool_destroy(other.pool) == EBUSY); /* nobody will ever give that one back */
    child_must(complaint.count == 1 && complaint.kind == BP_MISUSE_LIVE_ARENAS);
    child_must(strstr(complaint.message, "the other thread") != NULL);
    child_must(bp_pool_trim(other.pool, 0) == 0);
    child_must(bp_pool_idle_count(other.pool) == 0 && bp_pool_live_count(other.pool) == 1);
    child_must(bp_pool_prewarm(other.pool, 5, NULL) == 0);
    child_must(bp_pool_idle_count(other.pool) == 5);
    child_must(bp_pool_close(other.pool) == 0);
}

START_TEST(arenas)
{
    pthread_t thread;

    other.pool = pool_of(BP_UNLIMITED, false);
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, 2), 0);
    other.mine = taken(other.pool);
    other.block = bp_arena_alloc(other.mine, 1000);
    stamp(other.block, 1000, 5);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_two, NULL), 0);
    pthread_barrier_wait(&other.turn);
    for (int i = 0; i < 3; i++)
        child_is_fine(life_beside_a_lane, NULL);
    counts_are(other.pool, 1, 2);
    ck_assert(stamped(other.block, 1000, 5));
    ck_assert_uint_eq(stats_of(other.pool).mints, 3);
    pthread_barrier_wait(&other.turn);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    given(other.pool, other.mine);
    counts_are(other.pool, 3, 0);
    pthread_barrier_destroy(&other.turn);
    pool_gone(other.pool);
}
END_TEST

static struct gate g;

static void *release_all(void *pool)
{
    thread_must(bp_pool_release_idle(pool) != 0);
    return NULL;
}

/* What another thread was at work on is not to be had, and destroy says so. */
static void life_beside_a_release(void *arg)
{
    bp_pool *pool = arg;
    bp_arena *a;

    child_must(bp_pool_checkout(pool, &a) == EAGAIN);
    child_must(bp_pool_idle_count(pool) == 0 && bp_pool_live_count(pool) == 1);
    misuse_listen(&complaint);
    child_must(bp_pool_destroy(pool) == EBUSY);
    child_must(complaint.count == 1);
}

START_TEST(release_of_another_thread)
{
    struct bp_pool_config c = pool_config();
    pthread_t releaser;
    bp_pool *pool;
    bp_arena *a;

    gate_init(&g);
    c.max_arenas = 1;
    pool = pool_on(&g.backing, &c);
    a = taken(pool);
    memset(bp_arena_alloc(a, 3000), 1, 3000);
    given(pool, a);
    gate_close(&g, GATE_RELEASE);
    ck_assert_int_eq(pthread_create(&releaser, NULL, release_all, pool), 0);
    await(gate_holds(&g, GATE_RELEASE));
    child_is_fine(life_beside_a_release, pool);
    gate_open(&g, GATE_RELEASE);
    ck_assert_int_eq(pthread_join(releaser, NULL), 0);
    counts_are(pool, 1, 0);
    pool_gone(pool);
    gate_gone(&g);
}
END_TEST

/* ---- descriptors ---- */

static bool readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

struct watched {
    bp_pool *pool;
    bp_arena *held;
    int fd;
};

static void life_with_eventfd(void *arg)
{
    struct watched *w = arg;
    bp_arena *a;
    int fd = -1;

    child_must(fcntl(w->fd, F_GETFD) == -1 && errno == EBADF);
    child_must(bp_pool_eventfd(w->pool, &fd) == 0);
    child_must(!readable(fd));
    child_must(bp_pool_give_back(w->pool, w->held) == 0);
    child_must(readable(fd));
    child_must(bp_pool_checkout(w->pool, &a) == 0);
    child_must(bp_pool_checkout(w->pool, &w->held) == EAGAIN);
    child_must(!readable(fd));
    child_must(bp_pool_close(w->pool) == 0);
    child_must(readable(fd));
}

START_TEST(eventfd_is_not_shared)
{
    struct watched w = { .pool = pool_of(1, false) };
    bp_arena *a;

    w.held = taken(w.pool);
    ck_assert_int_eq(bp_pool_eventfd(w.pool, &w.fd), 0);
    ck_assert_int_eq(bp_pool_checkout(w.pool, &a), EAGAIN);
    ck_assert(!readable(w.fd));
    child_is_fine(life_with_eventfd, &w);
    ck_assert(!readable(w.fd)); /* the child's arena is not for this process */
    given(w.pool, w.held);
    ck_assert(readable(w.fd));
    w.held = taken(w.pool);
    child_is_fine(life_with_eventfd, &w);
    ck_assert(readable(w.fd));
    given(w.pool, w.held);
    pool_gone(w.pool);
}
END_TEST

/* ---- threads of the child ---- */

static void *units(void *pool)
{
    for (unsigned i = 0; i < 300; i++) {
        bp_arena *a = NULL;

        child_must(bp_pool_checkout_wait(pool, -1, &a) == 0);
        stamp(bp_arena_alloc(a, 200), 200, i);
        if (i % 32 == 0)
            sched_yield();
        child_must(bp_pool_give_back(pool, a) == 0);
    }
    return NULL;
}

static void units_in_threads(bp_pool *pool)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        child_must(pthread_create(&threads[i], NULL, units, pool) == 0);
    for (int i = 0; i < 3; i++)
        child_must(pthread_join(threads[i], NULL) == 0);
}

static void life_with_threads(void *arg)
{
    struct line *l = arg;

    units_in_threads(l->pool);
    child_must(bp_pool_give_back(l->pool, l->held) == 0);
    units_in_threads(l->pool);
    child_must(bp_pool_destroy(l->pool) == 0);
}

START_TEST(threads_in_the_child)
{
    struct line l = { .pool = pool_of(3, _i != 0) };
    bp_arena *a[2];

    a[0] = taken(l.pool);
    a[1] = taken(l.pool);
    l.held = taken(l.pool);
    given(l.pool, a[0]);
    given(l.pool, a[1]);
    for (int i = 0; i < 5; i++)
        child_is_fine(life_with_threads, &l);
    given(l.pool, l.held);
    pool_gone(l.pool);
}
END_TEST

/* Its pages are given back, and then itself. */
static void reaped_in_the_end(bp_pool *pool)
{
    child_unit(pool, 10000, 1);
    await(child_stats(pool).disposals != 0);
    child_must(bp_pool_destroy(pool) == 0);
}

static void life_with_reaper(void *arg)
{
    reaped_in_the_end(pool_of(4, true));
    if (arg != NULL) {
        bp_arena *a = NULL, *b = NULL;

        child_must(bp_pool_checkout(arg, &a) == 0 && bp_pool_checkout(arg, &b) == 0); /* one of them is new */
        child_must(bp_pool_give_back(arg, a) == 0 && bp_pool_give_back(arg, b) == 0);
        reaped_in_the_end(arg);
    }
}

START_TEST(reaper_in_the_child)
{
    bp_pool *pool = _i == 0 ? NULL : pool_of(4, true);

    if (pool != NULL)
        given(pool, taken(pool));
    for (int i = 0; i < 3; i++)
        child_is_fine(life_with_reaper, pool);
    if (pool != NULL) {
        given(pool, taken(pool));
        await(stats_of(pool).disposals != 0);
        pool_gone(pool);
    }
}
END_TEST

/* ---- fork at any moment ---- */

enum { OPEN, REAPED, SHORT, POOLS, HAMMERS = 3 };

static struct {
    bp_pool *pools[POOLS];
    bp_arena *mine[POOLS];
    void *blocks[POOLS];
    atomic_bool enough;
} storm;

static void make_and_end(bool reaper)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool = NULL;
    bp_arena *a = NULL;

    c.flags = reaper ? BP_POOL_REAPER : 0;
    thread_must(bp_pool_create(NULL, &c, &pool) == 0);
    thread_must(bp_pool_checkout(pool, &a) == 0);
    ignore(bp_arena_alloc(a, 100));
    thread_must(bp_pool_give_back(pool, a) == 0);
    thread_must(bp_pool_destroy(pool) == 0);
}

static int see_none(const struct bp_live_arena *live, void *data)
{
    (void)live;
    (void)data;
    return 0;
}

static void one_call(struct rng *rng, bp_pool *pool)
{
    bp_arena *a = NULL, *b = NULL;
    struct bp_pool_stats s;
    uint64_t next;
    int rc;

    switch (rng_below(rng, 16)) {
    case 0:
        thread_must(bp_pool_trim(pool, rng_below(rng, 3)) == 0);
        return;
    case 1:
        (void)bp_pool_release_idle(pool);
        return;
    case 2:
        thread_must(bp_pool_stats(pool, &s) == 0);
        return;
    case 3:
        thread_must(bp_pool_prewarm(pool, 2, NULL) == 0);
        return;
    case 4:
        make_and_end(rng_below(rng, 4) == 0);
        return;
    case 5:
        thread_must(bp_pool_tick(pool, now_ns(), &next) == 0);
        return;
    case 6:
        thread_must(bp_pool_each_live(pool, see_none, NULL) == 0);
        return;
    case 7:
        rc = bp_pool_checkout_sized(pool, rng_below(rng, 20000), &a);
        break;
    case 8:
        rc = BP_POOL_CHECKOUT(pool, &a);
        break;
    case 9:
    case 10:
    case 11:
        rc = bp_pool_checkout_wait(pool, (int64_t)rng_below(rng, 200000), &a);
        break;
    default:
        rc = bp_pool_checkout(pool, &a);
        if (rc == 0 && bp_pool_checkout(pool, &b) == 0)
            thread_must(bp_pool_give_back(pool, b) == 0);
        break;
    }
    thread_must(rc == 0 || rc == EAGAIN || rc == ETIMEDOUT);
    if (rc == 0) {
        ignore(bp_arena_alloc(a, 1 + rng_below(rng, 20000)));
        thread_must(bp_pool_give_back(pool, a) == 0);
    }
}

static void *hammer(void *arg)
{
    struct rng rng = { (uint64_t)(uintptr_t)arg };

    while (!atomic_load(&storm.enough))
        one_call(&rng, storm.pools[rng_below(&rng, POOLS)]);
    return NULL;
}

static void life_after_a_storm(void *arg)
{
    size_t round = *(const size_t *)arg;

    for (int i = 0; i < POOLS; i++)
        child_must(stamped(storm.blocks[i], 500, (unsigned)i));
    if (!child_may_allocate())
        return; /* to have got here is what is left to test, and that the parent goes on */
    for (int i = 0; i < POOLS; i++) {
        bp_pool *pool = storm.pools[i];
        struct bp_pool_stats s = child_stats(pool);
        size_t added = 0;
        bp_arena *a = NULL;
        int rc;

        child_must(s.waiting == 0 && s.live >= 1 && s.idle + s.live <= s.mints - s.disposals);
        child_must(bp_arena_alloc(storm.mine[i], 30000) != NULL);
        child_must(bp_pool_give_back(pool, storm.mine[i]) == 0);
        child_must(child_stats(pool).live == s.live - 1);
        for (unsigned k = 0; k < 20; k++)
            child_unit(pool, 300, k);
        rc = bp_pool_checkout_wait(pool, 1000, &a);
        child_must(rc == 0 && bp_pool_give_back(pool, a) == 0);
        child_must(bp_pool_prewarm(pool, 3, &added) == 0);
        (void)bp_pool_release_idle(pool);
        child_must(bp_pool_tick(pool, now_ns(), NULL) == 0);
        child_must(bp_pool_each_live(pool, see_none, NULL) == 0);
        child_must(bp_pool_trim(pool, 0) == 0);
        child_must(child_stats(pool).idle == 0 && child_stats(pool).live == s.live - 1);
        child_unit(pool, 300, 99);
        if (round % 8 == 0)
            units_in_threads(pool);
    }
    make_and_end(false);
    make_and_end(true);
    child_must(atomic_load(&support_thread_failure) == NULL);
}

START_TEST(storm_of_calls)
{
    pthread_t threads[HAMMERS];

    atomic_store(&storm.enough, false);
    for (int i = 0; i < POOLS; i++) {
        bp_backing *backing = i == SHORT ? bp_backing_malloc() : i == REAPED ? NULL : bp_backing_reserved();

        storm.pools[i] = pool_over(backing, i == SHORT ? 3 : BP_UNLIMITED, i == REAPED);
        storm.mine[i] = taken(storm.pools[i]);
        storm.blocks[i] = bp_arena_alloc(storm.mine[i], 500);
        stamp(storm.blocks[i], 500, (unsigned)i);
    }
    for (int i = 0; i < HAMMERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, (void *)(uintptr_t)(unsigned)(i + 1)), 0);
    for (size_t round = 0; round < times(200, 20); round++)
        child_is_fine(life_after_a_storm, &round);
    atomic_store(&storm.enough, true);
    for (int i = 0; i < HAMMERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    threads_passed();
    for (int i = 0; i < POOLS; i++) {
        ck_assert(stamped(storm.blocks[i], 500, (unsigned)i));
        given(storm.pools[i], storm.mine[i]);
        ck_assert_int_eq(bp_pool_trim(storm.pools[i], 0), 0);
        counts_are(storm.pools[i], 0, 0);
        all_accounted_for(storm.pools[i]);
        pool_gone(storm.pools[i]);
    }
}
END_TEST

static Suite *fork_suite(void)
{
    Suite *s = suite_create("fork");
    TCase *tc = add_case(s, "waiters");

    tcase_add_loop_test(tc, waiters, 0, 2);
    tcase_add_test(tc, from_inside_a_callback);
    tc = add_case(s, "arenas");
    tcase_add_test(tc, arenas);
    tcase_add_test(tc, release_of_another_thread);
    tc = add_case(s, "eventfd");
    tcase_add_test(tc, eventfd_is_not_shared);
    if (child_may_have_threads()) {
        tc = add_case(s, "threads");
        /* The reaper of the parent allocates as it starts. */
        tcase_add_loop_test(tc, threads_in_the_child, 0, child_may_allocate() ? 2 : 1);
        tcase_add_loop_test(tc, reaper_in_the_child, 0, child_may_allocate() ? 2 : 1);
    }
    tc = add_case(s, "storm");
    tcase_add_test(tc, storm_of_calls);
    return s;
}

int main(void)
{
    if (!may_fork()) {
        fprintf(stderr, "SKIP: without fork there is nothing to test\n");
        return 77;
    }
    if (!child_may_have_threads())
        fprintf(stderr, "SKIP: threads in the child: the sanitizer does not permit them\n");
    if (!child_may_allocate())
        fprintf(stderr, "SKIP: what children do after a storm: the sanitizer's malloc does not survive it\n");
    return run_suite(fork_suite());
}
