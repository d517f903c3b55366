/* SPDX-License-Identifier: MIT
 * Who holds what: live arenas with their threads and sites, and the complaint of destroy; and checkout with
 * a size.
 */
#include "waiting.h"

#include "failing_malloc.h"
#include "thread.h"

#include <sched.h>
#include <sys/syscall.h>

static struct misuse_log misuse;
static bp_arena *const untouched = (bp_arena *)(void *)&misuse;

static long my_tid(void)
{
    return syscall(SYS_gettid);
}

static bp_arena *taken_at(bp_pool *pool, const char *site)
{
    bp_arena *a = NULL;

    must(bp_pool_checkout_at(pool, site, &a) == 0);
    return a;
}

/* ---- each_live ---- */

struct seen_live {
    size_t count, stop_at;
    struct bp_live_arena all[256];
};

static int see(const struct bp_live_arena *live, void *data)
{
    struct seen_live *s = data;

    must(s->count < 256);
    s->all[s->count++] = *live;
    return s->count == s->stop_at ? -7 : 0;
}

static void look(bp_pool *pool, struct seen_live *s)
{
    memset(s, 0, sizeof *s);
    ck_assert_int_eq(bp_pool_each_live(pool, see, s), 0);
}

static const struct bp_live_arena *find(const struct seen_live *s, const bp_arena *a)
{
    const struct bp_live_arena *found = NULL;

    for (size_t i = 0; i < s->count; i++)
        if (s->all[i].arena == a) {
            ck_assert_ptr_null(found);
            found = &s->all[i];
        }
    ck_assert_ptr_nonnull(found);
    return found;
}

static void is_held(const struct seen_live *s, const bp_arena *a, const char *site, long thread)
{
    const struct bp_live_arena *live = find(s, a);

    if (site == NULL)
        ck_assert_ptr_null(live->site);
    else
        ck_assert_str_eq(live->site, site);
    ck_assert_int_eq(live->thread, thread);
}

static struct {
    bp_pool *pool;
    bp_arena *arena;
    long tid;
    pthread_barrier_t turn;
} other;

static void *hold_one(void *unused)
{
    other.tid = my_tid();
    other.arena = taken_at(other.pool, "the other thread");
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn);
    given(other.pool, other.arena);
    return unused;
}

START_TEST(threads_and_sites)
{
    struct bp_pool_config c = pool_config();
    struct seen_live s;
    pthread_t thread;
    bp_arena *a[4];
    bp_pool *pool;
    int line;
    char here[256];

    c.max_idle = _i == 0 ? 64 : 0; /* in lanes, and not */
    pool = pool_on(NULL, &c);
    look(pool, &s);
    ck_assert_uint_eq(s.count, 0);
    a[0] = taken(pool);
    a[1] = taken_at(pool, "one");
    line = __LINE__ + 1;
    ck_assert_int_eq(BP_POOL_CHECKOUT(pool, &a[2]), 0);
    a[3] = taken_at(pool, NULL);
    snprintf(here, sizeof here, "%s:%d", __FILE__, line);
    other.pool = pool;
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, 2), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_one, NULL), 0);
    pthread_barrier_wait(&other.turn);
    look(pool, &s);
    ck_assert_uint_eq(s.count, 5);
    is_held(&s, a[0], NULL, my_tid());
    is_held(&s, a[1], "one", my_tid());
    is_held(&s, a[2], here, my_tid());
    is_held(&s, a[3], NULL, my_tid());
    is_held(&s, other.arena, "the other thread", other.tid);

    /* A reset is no give_back: the arena is still held for the same. */
    ck_assert_ptr_nonnull(bp_arena_alloc(a[1], 5000));
    bp_arena_reset(a[1]);
    look(pool, &s);
    is_held(&s, a[1], "one", my_tid());
    pthread_barrier_wait(&other.turn);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&other.turn);

    /* Sites go with the unit of work. */
    for (int i = 0; i < 4; i++)
        given(pool, a[i]);
    look(pool, &s);
    ck_assert_uint_eq(s.count, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++)
            a[i] = i == round ? taken_at(pool, "again") : taken(pool);
        look(pool, &s);
        ck_assert_uint_eq(s.count, 4);
        for (int i = 0; i < 4; i++)
            is_held(&s, a[i], i == round ? "again" : NULL, my_tid());
        for (int i = 0; i < 4; i++)
            given(pool, a[i]);
    }
    pool_gone(pool);
}
END_TEST

static struct {
    bp_pool *pool, *elsewhere;
    bp_arena *arena;
    unsigned number;
    long tid;
} heir;

static void *leave_a_lane(void *unused)
{
    given(heir.pool, taken(heir.pool));
    heir.number = thread_id();
    return unused;
}

/* The thread gets its number in another pool, and finds what is idle in its predecessor's lane. */
static void *inherit_a_lane(void *unused)
{
    given(heir.elsewhere, taken(heir.elsewhere));
    heir.number = thread_id();
    heir.tid = my_tid();
    heir.arena = taken(heir.pool);
    return unused;
}

START_TEST(heirs_are_named)
{
    struct seen_live s;
    pthread_t thread;
    unsigned number;

    heir.pool = pool_on(NULL, NULL);
    heir.elsewhere = pool_on(NULL, NULL);
    ck_assert_int_eq(pthread_create(&thread, NULL, leave_a_lane, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    number = heir.number;
    ck_assert_int_eq(pthread_create(&thread, NULL, inherit_a_lane, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(heir.number, number);
    look(heir.pool, &s);
    ck_assert_uint_eq(s.count, 1);
    is_held(&s, heir.arena, NULL, heir.tid);
    given(heir.pool, heir.arena);
    pool_gone(heir.elsewhere);
    pool_gone(heir.pool);
}
END_TEST

static void note_arena(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    must(error == 0);
    *(bp_arena **)waiter->data = arena;
}

static long waiting_tid;

static void *wait_with_tid(void *arg)
{
    waiting_tid = my_tid();
    return waiting_main(arg);
}

START_TEST(handed_over)
{
    struct bp_pool_config c = pool_config();
    bp_arena *a, *got = NULL;
    struct bp_waiter async = BP_WAITER_INIT(note_arena, &got);
    struct waiting w;
    struct seen_live s;
    bp_pool *pool;

    c.max_arenas = 1;
    pool = pool_on(NULL, &c);
    a = taken_at(pool, "first");
    memset(&w, 0, sizeof w);
    w.pool = pool;
    w.timeout_ns = -1;
    ck_assert_int_eq(pthread_create(&w.thread, NULL, wait_with_tid, &w), 0);
    await(stats_of(pool).waiting == 1);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &async), 0);
    given(pool, a);
    ck_assert_int_eq(waiting_end(&w), 0);
    look(pool, &s);
    ck_assert_uint_eq(s.count, 1);
    is_held(&s, a, NULL, waiting_tid); /* who waited, and not for what the first had it */
    given(pool, a);
    ck_assert_ptr_eq(got, a);
    look(pool, &s);
    ck_assert_uint_eq(s.count, 1);
    is_held(&s, a, NULL, 0); /* that is nobody's thread */
    given(pool, a);
    pool_gone(pool);
}
END_TEST

START_TEST(many_and_stop)
{
    enum { MANY = 200 };
    bp_pool *pool = pool_on(bp_backing_malloc(), NULL);
    bp_arena *a[MANY];
    struct seen_live s;

    for (int i = 0; i < MANY; i++)
        a[i] = i % 2 != 0 ? taken_at(pool, "odd") : taken(pool);
    look(pool, &s);
    ck_assert_uint_eq(s.count, MANY);
    for (int i = 0; i < MANY; i++)
        is_held(&s, a[i], i % 2 != 0 ? "odd" : NULL, my_tid());
    for (size_t at = 1; at < MANY; at += 60) {
        memset(&s, 0, sizeof s);
        s.stop_at = at;
        ck_assert_int_eq(bp_pool_each_live(pool, see, &s), -7);
        ck_assert_uint_eq(s.count, at);
    }
    for (int i = 0; i < MANY; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

static int use_the_pool(const struct bp_live_arena *live, void *data)
{
    bp_pool *pool = data;
    bp_arena *a = taken_at(pool, "inside");
    struct seen_live s;

    look(pool, &s);
    is_held(&s, a, "inside", my_tid());
    given(pool, a);
    (void)bp_pool_release_idle(pool);
    must(strcmp(live->site, "outside") == 0);
    return 0;
}

START_TEST(the_pool_may_be_used_meanwhile)
{
    bp_pool *pool = pool_on(NULL, NULL);
    bp_arena *a = taken_at(pool, "outside"), *b = taken_at(pool, "outside");

    ck_assert_int_eq(bp_pool_each_live(pool, use_the_pool, pool), 0);
    given(pool, a);
    given(pool, b);
    pool_gone(pool);
}
END_TEST

START_TEST(each_live_errors)
{
    bp_pool *pool = pool_on(bp_backing_malloc(), NULL);
    bp_arena *a[70], *b = untouched, *n;
    struct seen_live s = { .count = 0 };
    int first, second;

    for (int i = 0; i < 70; i++)
        a[i] = taken(pool);
    failing_malloc_plan(1, false);
    first = bp_pool_each_live(pool, see, &s);
    failing_malloc_plan(2, false); /* there are more than it thought */
    second = bp_pool_each_live(pool, see, &s);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(first, ENOMEM);
    ck_assert_int_eq(second, ENOMEM);
    ck_assert_uint_eq(s.count, 0);
    ck_assert_int_eq(bp_pool_each_live(pool, NULL, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_checkout_at(pool, "here", NULL), EINVAL);
    for (int i = 0; i < 70; i++)
        given(pool, a[i]);
    pool_gone(pool);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_each_live(pool, see, &s), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(bp_pool_checkout_at(pool, "here", &b), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(bp_pool_print_stats(pool, stderr, BP_STATS_TEXT), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_ptr_eq(b, untouched);

    n = taken_at(NULL, "no pool");
    look(NULL, &s);
    ck_assert_uint_eq(s.count, 1);
    is_held(&s, n, "no pool", my_tid());
    given(NULL, n);
}
END_TEST

/* ---- destroy complains ---- */

START_TEST(destroy_names_the_holders)
{
    bp_pool *pool = pool_on(NULL, NULL);
    bp_arena *a[5];
    char tid[32], address[32];

    snprintf(tid, sizeof tid, "%ld", my_tid());
    a[0] = taken_at(pool, "forgetful:12");
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    misuse_was(&misuse, BP_MISUSE_LIVE_ARENAS);
    ck_assert_ptr_eq(misuse.pool, pool);
    snprintf(address, sizeof address, "%p", (void *)a[0]);
    ck_assert_ptr_nonnull(strstr(misuse.message, "forgetful:12"));
    ck_assert_ptr_nonnull(strstr(misuse.message, tid));
    ck_assert_ptr_nonnull(strstr(misuse.message, address));
    ck_assert_ptr_nonnull(strstr(misuse.message, "pool"));

    for (int i = 1; i < 5; i++) /* more than a line has room for */
        a[i] = taken_at(pool, "a site whose name goes on and on and on and on and on, as paths may do");
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    misuse_was(&misuse, BP_MISUSE_LIVE_ARENAS);
    ck_assert_ptr_nonnull(strchr(misuse.message, '5'));
    bp_set_misuse_handler(NULL, NULL);
    counts_are(pool, 0, 5); /* nothing has changed */
    for (int i = 0; i < 5; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

/* The default handler prints its line, and the program goes on. */
START_TEST(destroy_does_not_abort)
{
    char text[1024], *end;
    size_t got = 0;
    ssize_t n;
    int pipes[2], status;
    pid_t child;

    ck_assert_int_eq(pipe(pipes), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        bp_pool *pool = pool_on(NULL, NULL);
        bp_arena *a = taken_at(pool, "forgetful:12");

        (void)dup2(pipes[1], STDERR_FILENO);
        (void)close(pipes[0]);
        (void)close(pipes[1]);
        if (bp_pool_destroy(pool) != EBUSY || bp_pool_give_back(pool, a) != 0)
            _exit(1);
        _exit(bp_pool_destroy(pool) == 0 ? 0 : 2);
    }
    (void)close(pipes[1]);
    while ((n = read(pipes[0], text + got, sizeof text - 1 - got)) > 0)
        got += (size_t)n;
    text[got] = '\0';
    (void)close(pipes[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    end = strchr(text, '\n');
    ck_assert_msg(end != NULL && end[1] == '\0', "not one line: \"%s\"", text);
    ck_assert_msg(strstr(text, "bumpool") == text && strstr(text, "forgetful:12") != NULL, "\"%s\"", text);
}
END_TEST

/* ---- checkout with a size ---- */

/* Three idle arenas, that blocks have reached 4 KiB, 64 KiB and 512 KiB of; in this thread's lane or in the
 * list. */
static bp_pool *three_sizes(bp_arena *by_size[3], bool lanes, int order)
{
    static const size_t sizes[] = { 4 * KIB, 64 * KIB, 512 * KIB };
    static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                     { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    struct bp_pool_config c = pool_config();
    bp_arena *a = untouched;
    bp_pool *pool;

    c.arena_size = MIB;
    c.max_arenas = 3;
    pool = pool_on(bp_backing_mmap(), &c);
    for (int i = 0; i < 3; i++) {
        by_size[i] = taken(pool);
        ck_assert_ptr_nonnull(bp_arena_alloc(by_size[i], sizes[i]));
    }
    if (!lanes) { /* whoever polls has arenas go by the list */
        int fd;

        ck_assert_int_eq(bp_pool_eventfd(pool, &fd), 0);
        ck_assert_int_eq(bp_pool_checkout(pool, &a), EAGAIN);
    }
    for (int i = 0; i < 3; i++)
        given(pool, by_size[orders[order][i]]);
    return pool;
}

START_TEST(sized_finds_its_match)
{
    static const struct {
        size_t bytes;
        int match;
    } wanted[] = { { 400 * KIB, 2 }, { 3 * KIB, 0 }, { 64 * KIB, 1 }, { 40 * KIB, 1 }, { 520 * KIB, 2 },
                   { 0, 0 },         { 1024 * MIB, 2 } };
    bp_arena *by_size[3], *a;
    bp_pool *pool = three_sizes(by_size, _i < 6, _i % 6);
    uint64_t before = stats_of(pool).checkouts;
    size_t n = sizeof wanted / sizeof wanted[0];

    for (size_t i = 0; i < n; i++) {
        a = untouched;
        ck_assert_int_eq(bp_pool_checkout_sized(pool, wanted[i].bytes, &a), 0);
        ck_assert_msg(a == by_size[wanted[i].match], "%zu bytes got another arena", wanted[i].bytes);
        ck_assert_uint_eq(bp_arena_used(a), 0);
        counts_are(pool, 2, 1);
        given(pool, a);
    }
    ck_assert_uint_eq(stats_of(pool).checkouts - before, n);
    counts_are(pool, 3, 0);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

START_TEST(sized_fails_only_as_checkout_does)
{
    bp_arena *by_size[3], *a = untouched, *held[3];
    bp_pool *pool = three_sizes(by_size, true, 0);

    held[0] = taken(pool);
    held[1] = taken(pool);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 900 * KIB, &held[2]), 0); /* whatever is left */
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 900 * KIB, &a), EAGAIN);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 0, &a), EAGAIN);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 0, NULL), EINVAL);
    for (int i = 0; i < 3; i++)
        given(pool, held[i]);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, SIZE_MAX, &held[0]), 0); /* a new one */
    given(pool, held[0]);
    ck_assert_int_eq(bp_pool_close(pool), 0);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 64 * KIB, &a), ECANCELED);
    ck_assert_ptr_eq(a, untouched);
    pool_gone(pool);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_checkout_sized(pool, 64 * KIB, &a), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_int_eq(bp_pool_checkout_sized(NULL, 64 * KIB, &a), 0);
    given(NULL, a);
}
END_TEST

static bp_arena *sized(bp_pool *pool, size_t bytes, unsigned key)
{
    bp_arena *a = NULL;
    void *p;

    thread_must(bp_pool_checkout_sized(pool, bytes, &a) == 0);
    thread_must(bp_arena_used(a) == 0);
    p = bp_arena_alloc(a, bytes);
    thread_must(p != NULL);
    stamp(p, 64, key);
    return a;
}

static void *sized_units(void *arg)
{
    struct waiting *w = arg;
    struct rng rng = { (uint64_t)(uintptr_t)w };

    for (unsigned i = 0; i < times(60000, 400); i++) {
        size_t small = (size_t)1 << (6 + rng_below(&rng, 4)), large = (size_t)1 << (12 + rng_below(&rng, 4));
        bool first = rng_below(&rng, 2) == 0;
        bp_arena *a = sized(w->pool, first ? small : large, i);
        bp_arena *b = sized(w->pool, first ? large : small, i + 1);

        if (i % 32 == 0)
            sched_yield();
        thread_must(stamped((char *)bp_arena_alloc(a, 0) - bp_arena_used(a), 64, i));
        thread_must(stamped((char *)bp_arena_alloc(b, 0) - bp_arena_used(b), 64, i + 1));
        thread_must(bp_pool_give_back(w->pool, i % 3 == 0 ? a : b) == 0);
        thread_must(bp_pool_give_back(w->pool, i % 3 == 0 ? b : a) == 0);
    }
    atomic_store(&w->done, true);
    return NULL;
}

/* The figures are true at any moment: an arena that is exchanged for a better one is not given back twice. */
START_TEST(sized_by_many_threads)
{
    struct bp_pool_config c = pool_config();
    struct waiting w[3];
    bp_backing *f;
    bp_pool *pool;

    f = faulty_over(bp_backing_mmap());
    c.max_idle = _i == 0 ? 64 : 2;
    pool = pool_on(f, &c);
    for (int i = 0; i < 3; i++) {
        memset(&w[i], 0, sizeof w[i]);
        w[i].pool = pool;
        ck_assert_int_eq(pthread_create(&w[i].thread, NULL, sized_units, &w[i]), 0);
    }
    while (!atomic_load(&w[0].done) || !atomic_load(&w[1].done) || !atomic_load(&w[2].done)) {
        struct bp_pool_stats s = stats_of(pool);

        must(s.live <= 9); /* two for each, and one more while it chooses */
        must(s.give_backs <= s.checkouts);
        sched_yield();
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
    threads_passed();
    ck_assert_uint_eq(stats_of(pool).live, 0);
    all_accounted_for(pool);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

static Suite *live_suite(void)
{
    Suite *s = suite_create("live");
    TCase *tc = add_case(s, "each_live");

    tcase_add_loop_test(tc, threads_and_sites, 0, 2);
    tcase_add_test(tc, heirs_are_named);
    tcase_add_test(tc, handed_over);
    tcase_add_test(tc, many_and_stop);
    tcase_add_test(tc, the_pool_may_be_used_meanwhile);
    tcase_add_test(tc, each_live_errors);
    tc = add_case(s, "destroy");
    tcase_add_test(tc, destroy_names_the_holders);
    if (may_fork())
        tcase_add_test(tc, destroy_does_not_abort);
    tc = add_case(s, "sized");
    tcase_add_loop_test(tc, sized_finds_its_match, 0, 12);
    tcase_add_test(tc, sized_fails_only_as_checkout_does);
    tcase_add_loop_test(tc, sized_by_many_threads, 0, 2);
    return s;
}

int main(void)
{
    return run_suite(live_suite());
}
