/* SPDX-License-Identifier: MIT
 * Calls of bp_pool_tick: how much one does, when the next is due, at odd times, when something fails, over pools
 * that are closed or gone, while other threads are at work, and without system calls.
 */
#include "ticks.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

/* ---- one call ---- */

START_TEST(one_call_does_little)
{
    const size_t n = 300;
    bp_pool *pool = tick_pool(bp_backing_mmap(), 64 * KIB);
    struct bp_pool_stats s, before;
    uint64_t now = LATE, next, done;
    bool more;

    use(pool, n, 8 * KIB);
    before = stats_of(pool);
    for (next = now; next != UINT64_MAX;) {
        now = next;
        next = ticked(pool, now);
        s = stats_of(pool);
        done = s.releases - before.releases + s.disposals - before.disposals + s.cuts - before.cuts;
        ck_assert_uint_le(done, 64);
        more = (s.releases != 0 && s.releases < n) || (s.disposals != 0 && s.disposals < n);
        ck_assert(!more || next == now + MS);
        ck_assert(more || next - now >= PERIOD);
        before = s;
    }
    ck_assert_uint_eq(before.releases, n);
    ck_assert_uint_eq(before.disposals, n);
    pool_gone(pool);
}
END_TEST

/* 20 arenas of 16 MiB each, old ones or cut ones: some 64 MiB per call. */
START_TEST(one_call_releases_few_bytes)
{
    const size_t large = 16 * MIB;
    bp_pool *pool = tick_pool(bp_backing_mmap(), large);
    bp_arena *arenas[20];
    struct bp_pool_stats s, before;
    uint64_t now = LATE, next;
    size_t calls = 0;

    for (size_t i = 0; i < 20; i++) {
        arenas[i] = taken(pool);
        ck_assert_ptr_nonnull(bp_arena_alloc(arenas[i], large)); /* counts as touched, though nobody writes */
    }
    for (size_t i = 0; i < 20; i++)
        given(pool, arenas[i]);
    before = stats_of(pool);
    for (next = now; before.released_bytes < 20 * (large - 128 * KIB); before = s) {
        now = next;
        ck_assert_uint_lt(now, LATE + 6 * RETAIN);
        if (_i == 1)
            use(pool, 20, 4 * KIB);
        next = ticked(pool, now);
        s = stats_of(pool);
        calls += s.released_bytes != before.released_bytes;
        ck_assert_uint_le(s.released_bytes - before.released_bytes, 5 * large);
        if (s.released_bytes != before.released_bytes && s.released_bytes < 15 * large)
            ck_assert_uint_eq(next, now + MS);
    }
    ck_assert_uint_ge(calls, 4);
    ck_assert_uint_eq(before.cuts, _i == 1 ? 20 : 0);
    ck_assert_uint_eq(before.releases, _i == 1 ? 0 : 20);
    pool_gone(pool);
}
END_TEST

START_TEST(calls_that_are_too_early_do_nothing)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    struct bp_pool_stats before, after;
    uint64_t next;

    use(pool, 3, 40 * KIB);
    next = ticked(pool, LATE);
    ck_assert_uint_eq(next, LATE + PERIOD);
    before = stats_of(pool);
    for (uint64_t t = LATE; t < next; t += PERIOD / 7)
        ck_assert_uint_eq(ticked(pool, t), next);
    /* time that goes back */
    ck_assert_uint_eq(ticked(pool, LATE - 100 * RETAIN), next);
    ck_assert_uint_eq(ticked(pool, 0), next);
    after = stats_of(pool);
    ck_assert_int_eq(memcmp(&before, &after, sizeof before), 0);
    ck_assert_int_eq(bp_pool_tick(pool, LATE, NULL), 0);
    (void)tick_through(pool, next, LATE + RETAIN + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, 3);
    pool_gone(pool);
}
END_TEST

/* ---- when to come again ---- */

START_TEST(quiet_pool_is_left_alone)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    uint64_t now = LATE, next = LATE, pause = 0;

    ck_assert_uint_eq(ticked(pool, now), UINT64_MAX); /* no arenas */
    ck_assert_uint_eq(ticked(pool, now + 5), UINT64_MAX);
    use(pool, 3, 40 * KIB);
    now += 5;
    next = ticked(pool, now); /* a mint makes it due, however early */
    ck_assert_uint_eq(next - now, PERIOD);

    while (stats_of(pool).releases == 0) {
        ck_assert_uint_eq(next - now, PERIOD);
        now = next;
        next = ticked(pool, now);
    }
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_ge(next - now, pause);
        ck_assert_uint_le(next - now, 8 * RETAIN);
        pause = next - now;
        now = next;
        next = ticked(pool, now);
    }
    ck_assert_uint_gt(pause, PERIOD);

    /* In use again: due again, and often. */
    use(pool, 3, 40 * KIB);
    now += 5;
    next = ticked(pool, now);
    ck_assert_uint_eq(next - now, PERIOD);
    pool_gone(pool);
}
END_TEST

START_TEST(pauses_end_at_eight_retain_ns)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    uint64_t now = LATE, next = LATE, most = 0;

    use(pool, 1, 40 * KIB);
    while (next != UINT64_MAX) {
        now = next;
        next = ticked(pool, now);
        if (next != UINT64_MAX && next - now > most)
            most = next - now;
    }
    ck_assert_uint_le(most, 8 * RETAIN);
    ck_assert_uint_ge(most, RETAIN);
    pool_gone(pool);
}
END_TEST

/* While an arena is checked out there is something to come. */
START_TEST(pool_with_live_arenas_is_not_quiet)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    bp_arena *a = taken(pool);
    uint64_t now = LATE;

    for (int i = 0; i < 100; i++) {
        uint64_t next = ticked(pool, now);

        ck_assert_uint_eq(next - now, PERIOD);
        now = next;
    }
    counts_are(pool, 0, 1);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 40 * KIB));
    given(pool, a);
    (void)tick_through(pool, now, now + RETAIN + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, 1);
    pool_gone(pool);
}
END_TEST

/* ---- odd times ---- */

START_TEST(clock_may_start_at_zero)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);

    use(pool, 3, 40 * KIB);
    ck_assert_uint_eq(ticked(pool, 0), PERIOD);
    (void)tick_through(pool, PERIOD, RETAIN - 1);
    ck_assert_uint_eq(stats_of(pool).releases, 0);
    (void)tick_through(pool, RETAIN, RETAIN + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, 3);
    pool_gone(pool);
}
END_TEST

START_TEST(clock_may_end)
{
    static const uint64_t before_end[] = { 0, 1, MS - 1, MS, PERIOD, RETAIN, 20 * RETAIN };
    const uint64_t start = UINT64_MAX - before_end[_i];
    bp_pool *pool = tick_pool(bp_backing_mmap(), 64 * KIB);
    uint64_t next;

    use(pool, 200, 8 * KIB);
    next = ticked(pool, UINT64_MAX / 2);
    ck_assert_uint_eq(next, UINT64_MAX / 2 + PERIOD);
    next = ticked(pool, start); /* an age later: all is due, and more than one call does */
    ck_assert_uint_ge(next, start < UINT64_MAX - 1 ? start : UINT64_MAX - 1);
    ck_assert_uint_lt(next, UINT64_MAX);
    ck_assert_uint_eq(stats_of(pool).releases, 64);
    for (int i = 0; i < 10; i++) {
        uint64_t then = ticked(pool, UINT64_MAX);

        ck_assert_uint_ge(then, UINT64_MAX - 1);
    }
    ck_assert_uint_ge(stats_of(pool).releases, 200);
    pool_gone(pool);
}
END_TEST

START_TEST(nothing_is_retained_for_0)
{
    struct bp_pool_config c = tick_config(256 * KIB);
    bp_pool *pool;
    uint64_t next;

    c.retain_ns = 0;
    pool = pool_on(bp_backing_mmap(), &c);
    use(pool, 3, 40 * KIB);
    next = ticked(pool, LATE);
    ck_assert_uint_eq(stats_of(pool).resident_bytes, 0);
    for (int i = 0; i < 3 && next != UINT64_MAX; i++) {
        ck_assert_uint_ge(next, LATE + MS);
        next = ticked(pool, next);
    }
    ck_assert_uint_eq(next, UINT64_MAX);
    counts_are(pool, 0, 0);

    /* A live arena does not put it off for ever. */
    {
        bp_arena *a = taken(pool);

        next = LATE + RETAIN;
        for (int i = 0; i < 50; i++) {
            uint64_t then = ticked(pool, next);

            ck_assert_uint_ge(then, next + MS);
            ck_assert_uint_le(then, next + 1000 * MS);
            next = then;
        }
        given(pool, a);
        while (next != UINT64_MAX)
            next = ticked(pool, next);
        counts_are(pool, 0, 0);
    }
    pool_gone(pool);
}
END_TEST

START_TEST(all_is_retained_for_ever)
{
    struct bp_pool_config c = tick_config(256 * KIB);
    uint64_t now = LATE;
    bp_pool *pool;

    c.retain_ns = _i == 0 ? BP_FOREVER : BP_FOREVER - 1;
    pool = pool_on(bp_backing_mmap(), &c);
    use(pool, 3, 40 * KIB);
    for (int i = 0; i < 100; i++, now += 1000 * RETAIN) {
        uint64_t next = ticked(pool, now);

        ck_assert(_i == 0 ? next == UINT64_MAX : next > now && next < UINT64_MAX);
    }
    ck_assert_uint_ge(ticked(pool, UINT64_MAX), UINT64_MAX - 1);
    ck_assert_uint_eq(stats_of(pool).releases, 0);
    ck_assert_uint_eq(stats_of(pool).cuts, 0);
    counts_are(pool, 3, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(short_times_are_rounded_up)
{
    struct bp_pool_config c = tick_config(256 * KIB);
    uint64_t now = LATE;
    bp_pool *pool;

    c.retain_ns = 1;
    pool = pool_on(bp_backing_mmap(), &c);
    for (int i = 0; i < 20; i++) {
        uint64_t next;

        use(pool, 3, 40 * KIB);
        next = ticked(pool, now);
        ck_assert_uint_ge(next, now + MS);
        now = next;
    }
    while (now != UINT64_MAX)
        now = ticked(pool, now);
    counts_are(pool, 0, 0);
    pool_gone(pool);
}
END_TEST

/* ---- failures ---- */

START_TEST(releases_that_fail_are_tried_again_later)
{
    bp_backing *f;
    struct bp_pool_config c = tick_config(256 * KIB);
    const uint64_t spans = 20;
    const size_t n = 5;
    uint64_t now = LATE, retain = _i == 0 ? RETAIN : 0;
    size_t calls = 0;
    bp_pool *pool;

    f = faulty_over(bp_backing_mmap());
    c.retain_ns = retain;
    pool = pool_on(f, &c);
    use(pool, n, 40 * KIB);
    faulty_plan(f, BP_FAULTY_RELEASE, 1, true);
    while (now <= LATE + spans * retain && calls < 50) {
        size_t before = faulty_stats(f).releases;
        uint64_t next = ticked(pool, now);

        ck_assert_uint_ge(next - now, retain == 0 ? MS : PERIOD);
        ck_assert_uint_le(faulty_stats(f).releases - before, n); /* each once per call, at most */
        counts_are(pool, n, 0);
        if (retain == 0)
            calls++;
        now = next;
    }
    ck_assert_uint_ge(faulty_stats(f).injected, n);
    if (retain != 0)
        ck_assert_uint_le(faulty_stats(f).injected, n * (spans + 1));
    ck_assert_uint_eq(stats_of(pool).releases, 0);
    ck_assert_uint_eq(faulty_stats(f).extents, n);

    faulty_plan(f, BP_FAULTY_RELEASE, 0, false);
    (void)tick_through(pool, now, now + retain + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, n);
    ck_assert_uint_eq(stats_of(pool).resident_bytes, 0);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

START_TEST(cuts_that_fail_are_tried_again_later)
{
    bp_backing *f;
    uint64_t now = LATE;
    bp_pool *pool;

    f = faulty_over(bp_backing_mmap());
    pool = tick_pool(f, 4 * MIB);
    use(pool, 1, 4 * MIB);
    faulty_plan(f, BP_FAULTY_RELEASE, 1, true);
    for (int i = 0; i < 20; i++) {
        size_t before = faulty_stats(f).releases;
        uint64_t next;

        use(pool, 1, 8 * KIB);
        next = ticked(pool, now);
        ck_assert_uint_eq(next, now + PERIOD);
        ck_assert_uint_le(faulty_stats(f).releases - before, 1);
        now = next;
    }
    ck_assert_uint_ge(faulty_stats(f).injected, 5);
    ck_assert_uint_eq(stats_of(pool).cuts, 0);
    counts_are(pool, 1, 0);
    faulty_plan(f, BP_FAULTY_RELEASE, 0, false);
    use(pool, 1, 8 * KIB);
    (void)ticked(pool, now);
    ck_assert_uint_eq(stats_of(pool).cuts, 1);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- pools that are closed, gone, or none ---- */

START_TEST(closed_pool_shrinks)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    uint64_t now = LATE;

    use(pool, 3, 40 * KIB);
    ck_assert_int_eq(bp_pool_close(pool), 0);
    now = tick_through(pool, now, now + RETAIN + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, 3);
    while (now != UINT64_MAX)
        now = ticked(pool, now);
    counts_are(pool, 0, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(null_pool_has_nothing_to_do)
{
    bp_arena *a;
    uint64_t next;
    int fd = -1;

    ck_assert_uint_eq(ticked(NULL, LATE), UINT64_MAX);
    a = taken(NULL);
    ck_assert_int_eq(bp_pool_tick(NULL, LATE + RETAIN, &next), 0);
    given(NULL, a);
    while (next != UINT64_MAX)
        next = ticked(NULL, next);
    ck_assert_int_eq(bp_pool_tick(NULL, LATE, NULL), 0);
    ck_assert_int_eq(bp_pool_timerfd(NULL, &fd), EINVAL);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(destroyed_pool_is_misuse)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    struct misuse_log log;
    uint64_t next = 42;
    int fd = 42;

    pool_gone(pool);
    misuse_listen(&log);
    ck_assert_int_eq(bp_pool_tick(pool, LATE, &next), EINVAL);
    misuse_was(&log, BP_MISUSE_DEAD_POOL);
    ck_assert_uint_eq(next, 42);
    ck_assert_int_eq(bp_pool_timerfd(pool, &fd), EINVAL);
    misuse_was(&log, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(fd, 42);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

/* ---- a backing in which something happens meanwhile ---- */

struct hooked {
    bp_backing backing;
    struct bp_backing_ops ops;
    bp_backing *inner;
    void (*in_release)(struct hooked *h);
    void (*in_dispose)(struct hooked *h);
    bp_pool *pool;
    struct bp_waiter waiter;
    bp_arena *got;
    int calls, error;
};

static int hooked_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct hooked *h = (struct hooked *)self;

    return h->inner->ops->acquire(h->inner, min, preferred, align, out);
}

static void hooked_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct hooked *h = (struct hooked *)self;

    if (h->in_dispose != NULL)
        h->in_dispose(h);
    h->inner->ops->dispose(h->inner, extent);
}

static int hooked_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                          size_t *released)
{
    struct hooked *h = (struct hooked *)self;

    if (h->in_release != NULL)
        h->in_release(h);
    return h->inner->ops->release(h->inner, extent, offset, length, released);
}

static void hooked_init(struct hooked *h)
{
    memset(h, 0, sizeof *h);
    h->ops.struct_size = sizeof h->ops;
    h->ops.name = "hooked";
    h->ops.acquire = hooked_acquire;
    h->ops.dispose = hooked_dispose;
    h->ops.release = hooked_release;
    h->backing.ops = &h->ops;
    h->inner = bp_backing_mmap();
}

static void got_arena(struct bp_waiter *w, bp_arena *arena, int error)
{
    struct hooked *h = w->data;

    h->calls++;
    h->got = arena;
    h->error = error;
}

/* The arena is in the tick's hands: there is none to be had. */
static void wait_for_one(struct hooked *h)
{
    struct bp_waiter w = BP_WAITER_INIT(got_arena, h);
    bp_arena *a;

    h->in_release = h->in_dispose = NULL;
    must(bp_pool_checkout(h->pool, &a) == EAGAIN);
    h->waiter = w;
    must(bp_pool_checkout_async(h->pool, &h->waiter) == 0);
    must(h->calls == 0);
}

START_TEST(waiters_get_what_a_tick_worked_on)
{
    struct bp_pool_config c = tick_config(256 * KIB);
    struct hooked h;
    uint64_t now = LATE;
    struct itimerspec t;
    int fd;

    hooked_init(&h);
    c.max_arenas = 1;
    h.pool = pool_on(&h.backing, &c);
    ck_assert_int_eq(bp_pool_timerfd(h.pool, &fd), 0);
    use(h.pool, 1, 40 * KIB);
    if (_i == 0)
        h.in_release = wait_for_one;
    else
        h.in_dispose = wait_for_one;
    while (h.calls == 0) {
        ck_assert_uint_lt(now, LATE + 20 * RETAIN);
        now = ticked(h.pool, now);
    }
    ck_assert_int_eq(h.calls, 1);
    ck_assert_int_eq(h.error, 0);
    ck_assert_ptr_nonnull(h.got);
    ck_assert_uint_eq(stats_of(h.pool).mints, _i == 0 ? 1 : 2);
    /* The tick found the pool empty, but it is not any more: it is not to be the last. */
    ck_assert_int_eq(timerfd_gettime(fd, &t), 0);
    ck_assert(t.it_value.tv_sec != 0 || t.it_value.tv_nsec != 0 || is_readable(fd));
    given(h.pool, h.got);
    pool_gone(h.pool);
}
END_TEST

/* A tick in a tick, as by another thread: each does what is its own. */
static void tick_again(struct hooked *h)
{
    h->in_release = NULL;
    h->calls++;
    (void)ticked(h->pool, LATE + 3 * RETAIN);
    (void)ticked(h->pool, LATE + 100 * RETAIN);
}

START_TEST(ticks_may_overlap)
{
    struct hooked h;
    uint64_t next;

    hooked_init(&h);
    h.pool = tick_pool(&h.backing, 256 * KIB);
    use(h.pool, 100, 8 * KIB);
    (void)ticked(h.pool, LATE);
    h.in_release = tick_again;
    next = ticked(h.pool, LATE + 2 * RETAIN);
    ck_assert_int_eq(h.calls, 1);
    while (next != UINT64_MAX)
        next = ticked(h.pool, next);
    counts_are(h.pool, 0, 0);
    ck_assert_uint_eq(stats_of(h.pool).releases, 100);
    ck_assert_uint_eq(stats_of(h.pool).disposals, 100);
    pool_gone(h.pool);
}
END_TEST

/* ---- threads ---- */

static _Atomic(uint64_t) shared_clock; /* relaxed: any order of ticks is allowed */
static atomic_bool stop;

static void *tick_away(void *arg)
{
    bp_pool *pool = arg;
    uint64_t next = 0;

    for (size_t i = 0; i < times(4000, 100); i++) {
        uint64_t now = atomic_fetch_add_explicit(&shared_clock, PERIOD / 16, memory_order_relaxed);

        thread_must(bp_pool_tick(pool, now, &next) == 0);
        thread_must(next != 0);
    }
    return NULL;
}

static void *work_away(void *arg)
{
    bp_pool *pool = arg;
    unsigned key = 0;

    while (!atomic_load(&stop)) {
        bp_arena *held[3];

        for (int i = 0; i < 3; i++) {
            int rc = bp_pool_checkout(pool, &held[i]);
            char *p;

            thread_must(rc == 0);
            if (rc != 0)
                return NULL;
            p = bp_arena_alloc(held[i], key % 5 == 0 ? 200000 : 3000);
            thread_must(p != NULL);
            stamp(p, 3000, key + (unsigned)i);
        }
        for (int i = 0; i < 3; i++) {
            char *p = (char *)bp_arena_alloc(held[i], 0) - round16(key % 5 == 0 ? 200000 : 3000);

            thread_must(stamped(p, 3000, key + (unsigned)i));
            thread_must(bp_pool_give_back(pool, held[i]) == 0);
        }
        key++;
    }
    return NULL;
}

START_TEST(threads_tick_at_once)
{
    bp_backing *f;
    pthread_t tickers[2], workers[2];
    struct bp_pool_stats s;
    bp_pool *pool;

    atomic_store(&shared_clock, LATE);
    atomic_store(&stop, false);
    f = faulty_over(bp_backing_mmap());
    pool = tick_pool(f, 256 * KIB);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&workers[i], NULL, work_away, pool), 0);
        ck_assert_int_eq(pthread_create(&tickers[i], NULL, tick_away, pool), 0);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(tickers[i], NULL), 0);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(workers[i], NULL), 0);
    threads_passed();
    s = stats_of(pool);
    ck_assert_uint_eq(s.live, 0);
    ck_assert_uint_eq(s.idle, s.mints - s.disposals);
    ck_assert_uint_eq(faulty_stats(f).extents, s.idle);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- system calls ---- */

enum { MADE_A_CALL = 9, NO_FILTER = 10 };

static void on_call(int signal_number, siginfo_t *info, void *context)
{
    char text[64];
    int n;

    (void)signal_number;
    (void)context;
    n = snprintf(text, sizeof text, "system call %d\n", info->si_syscall);
    (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(MADE_A_CALL);
}

/* From here on any system call but membarrier, write and exit_group ends the process with MADE_A_CALL. */
static bool forbid_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof code[0], code };
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_call;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The exit status of a child that forbids itself system calls and then goes on with `pool`. */
static int in_silence(void (*body)(bp_pool *), bp_pool *pool)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        given(NULL, taken(NULL)); /* which asks for the thread's number */
        if (!forbid_calls())
            _exit(NO_FILTER);
        body(pool);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void do_nothing(bp_pool *pool)
{
    (void)pool;
}

static bool calls_can_be_seen(void)
{
    return may_fork() && faults_are_ours() && in_silence(do_nothing, NULL) == 0;
}

static void steady_ticks(bp_pool *pool)
{
    uint64_t now = LATE + RETAIN;

    for (int i = 0; i < TICKS; i++) {
        steady_units(pool);
        now = ticked(pool, now);
    }
}

static void idle_ticks(bp_pool *pool)
{
    (void)tick_through(pool, LATE + RETAIN, LATE + 3 * RETAIN);
}

START_TEST(steady_load_makes_no_system_call)
{
    bp_pool *pool = tick_pool(releasable(_i), MIB);

    steady_units(pool);
    (void)ticked(pool, LATE);
    steady_units(pool);
    ck_assert_int_eq(in_silence(steady_ticks, pool), 0);
    ck_assert_int_eq(in_silence(idle_ticks, pool), MADE_A_CALL); /* the filter sees the release */
    pool_gone(pool);
}
END_TEST

static Suite *tick_suite(void)
{
    Suite *s = suite_create("pool tick calls");
    TCase *tc = add_case(s, "one call");
    tcase_add_test(tc, one_call_does_little);
    tcase_add_loop_test(tc, one_call_releases_few_bytes, 0, 2);
    tcase_add_test(tc, calls_that_are_too_early_do_nothing);
    tcase_add_test(tc, quiet_pool_is_left_alone);
    tcase_add_test(tc, pauses_end_at_eight_retain_ns);
    tcase_add_test(tc, pool_with_live_arenas_is_not_quiet);

    tc = add_case(s, "odd times");
    tcase_add_test(tc, clock_may_start_at_zero);
    tcase_add_loop_test(tc, clock_may_end, 0, 7);
    tcase_add_test(tc, nothing_is_retained_for_0);
    tcase_add_loop_test(tc, all_is_retained_for_ever, 0, 2);
    tcase_add_test(tc, short_times_are_rounded_up);

    tc = add_case(s, "failures");
    tcase_add_loop_test(tc, releases_that_fail_are_tried_again_later, 0, 2);
    tcase_add_test(tc, cuts_that_fail_are_tried_again_later);

    tc = add_case(s, "odd pools");
    tcase_add_test(tc, closed_pool_shrinks);
    tcase_add_test(tc, null_pool_has_nothing_to_do);
    tcase_add_test(tc, destroyed_pool_is_misuse);

    tc = add_case(s, "others meanwhile");
    tcase_add_loop_test(tc, waiters_get_what_a_tick_worked_on, 0, 2);
    tcase_add_test(tc, ticks_may_overlap);
    tcase_add_test(tc, threads_tick_at_once);

    if (calls_can_be_seen()) {
        tc = add_case(s, "system calls");
        tcase_add_loop_test(tc, steady_load_makes_no_system_call, 0, 2);
    } else {
        fprintf(stderr, "check_pool_tick_calls: SKIPPED system calls: no seccomp filter here, or CK_FORK=no, "
                        "or the run is instrumented\n");
    }
    return s;
}

int main(void)
{
    return run_suite(tick_suite());
}
