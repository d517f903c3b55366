/* SPDX-License-Identifier: MIT
 * Bucket pools with many threads: no buffer has two holders, the figures add up, the cap on bytes is never
 * exceeded; buffers that others put back; and fork at any moment.
 */
#include "buckets.h"


#include <pthread.h>
#include <sched.h>
#include <signal.h>

enum { THREADS = 4, HELD = 12 };

static bp_backing *f;
static bp_buckets *b;
static atomic_bool over;

static bp_backing *inner(int i)
{
    return i == 0 ? bp_backing_malloc() : i == 1 ? bp_backing_mmap() : bp_backing_reserved();
}

/* ---- who has what ---- */

static void mark(struct bp_buffer *x, unsigned key)
{
    size_t n = x->capacity < 200 ? x->capacity : 200;

    stamp(x->data, n, key);
    stamp((char *)x->data + x->capacity - n, n, key + 1);
}

static bool marked(struct bp_buffer *x, unsigned key)
{
    size_t n = x->capacity < 200 ? x->capacity : 200;

    return (x->capacity < 400 || stamped(x->data, n, key)) &&
           stamped((char *)x->data + x->capacity - n, n, key + 1);
}

static size_t some_size(struct rng *rng)
{
    return rng_below(rng, (size_t)1 << (4 + rng_below(rng, 15)));
}

static void *get_and_put(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg;
    struct rng rng = { id + 1 };
    struct bp_buffer x[HELD];
    size_t i, k;

    memset(x, 0, sizeof x);
    for (i = 0; i < times(30000, 600); i++) {
        k = rng_below(&rng, HELD);
        if (x[k].data != NULL) {
            thread_must(marked(&x[k], id * 100 + (unsigned)k));
            thread_must(bp_buckets_put(b, &x[k]) == 0);
        } else if (rng_below(&rng, 200) == 0) {
            (void)bp_buckets_trim(b, rng_below(&rng, 10));
        } else if (rng_below(&rng, 200) == 0) {
            (void)bp_buckets_release_idle(b);
        } else if (rng_below(&rng, 200) == 0) {
            thread_must(bp_buckets_prewarm(b, rng_below(&rng, 65536), 3, NULL) == 0);
        } else if (rng_below(&rng, 100) == 0) {
            (void)bp_buckets_tick(b, i * 100000, NULL);
        } else {
            thread_must(bp_buckets_get(b, some_size(&rng), &x[k]) == 0);
            mark(&x[k], id * 100 + (unsigned)k);
        }
    }
    for (k = 0; k < HELD; k++)
        if (x[k].data != NULL) {
            thread_must(marked(&x[k], id * 100 + (unsigned)k));
            thread_must(bp_buckets_put(b, &x[k]) == 0);
        }
    return NULL;
}

/* Looks at the figures all the time. */
static void *look(void *max_kept_bytes)
{
    struct bp_buckets_stats s;

    while (!atomic_load(&over)) {
        thread_must(bp_buckets_stats(b, &s) == 0);
        thread_must(s.idle_bytes <= *(size_t *)max_kept_bytes);
        sched_yield();
    }
    return NULL;
}

START_TEST(many_threads)
{
    struct bp_buckets_config c = buckets_config();
    pthread_t t[THREADS], looker;
    size_t i;

    f = faulty_over(inner(_i / 2));
    c.max_size = 65536;
    c.step = _i % 2 == 0 ? BP_BUCKETS_DOUBLE : BP_BUCKETS_QUARTER;
    c.max_kept_bytes = 600000;
    c.retain_ns = 4000000;
    b = buckets_on(f, &c);
    atomic_store(&over, false);
    ck_assert_int_eq(pthread_create(&looker, NULL, look, &c.max_kept_bytes), 0);
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, get_and_put, (void *)(uintptr_t)i), 0);
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(t[i], NULL), 0);
    atomic_store(&over, true);
    ck_assert_int_eq(pthread_join(looker, NULL), 0);
    threads_passed();
    buckets_add_up(b, 0);
    ck_assert_uint_le(buckets_stats_of(b).idle_bytes, c.max_kept_bytes);
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    faulty_gone(f);
    buckets_gone(b);
}
END_TEST

/* All begin with the same buckets, none of which is made yet. */
static pthread_barrier_t gate;

static void *first_use(void *unused)
{
    struct bp_buffer x;
    size_t size;

    pthread_barrier_wait(&gate);
    for (size = 64; size <= 128 * KIB; size *= 2) {
        thread_must(bp_buckets_get(b, size, &x) == 0);
        mark(&x, 1);
        thread_must(marked(&x, 1));
        thread_must(bp_buckets_put(b, &x) == 0);
    }
    return unused;
}

START_TEST(first_use_by_all)
{
    struct bp_buckets_config c = buckets_config();
    pthread_t t[THREADS];
    size_t i, round;

    c.max_size = 65536;
    ck_assert_int_eq(pthread_barrier_init(&gate, NULL, THREADS), 0);
    for (round = 0; round < times(50, 3); round++) {
        f = faulty_over(bp_backing_mmap());
        b = buckets_on(f, &c);
        for (i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&t[i], NULL, first_use, NULL), 0);
        for (i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_join(t[i], NULL), 0);
        threads_passed();
        buckets_add_up(b, 0);
        buckets_gone(b);
        faulty_gone(f);
    }
    pthread_barrier_destroy(&gate);
}
END_TEST

/* ---- from hand to hand ---- */

static struct {
    pthread_mutex_t lock;
    struct bp_buffer x[32];
    size_t n, done;
} belt = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *put_only(void *unused)
{
    size_t left = times(20000, 400);

    while (left != 0) {
        struct bp_buffer x = BP_BUFFER_INIT;

        pthread_mutex_lock(&belt.lock);
        if (belt.n != 0)
            x = belt.x[--belt.n];
        pthread_mutex_unlock(&belt.lock);
        if (x.data == NULL) {
            sched_yield();
            continue;
        }
        thread_must(marked(&x, 5));
        thread_must(bp_buckets_put(b, &x) == 0);
        left--;
    }
    return unused;
}

START_TEST(put_by_another)
{
    struct rng rng = { 1 };
    size_t left = times(20000, 400);
    pthread_t other;

    f = faulty_over(bp_backing_mmap());
    b = buckets_on(f, NULL);
    ck_assert_int_eq(pthread_create(&other, NULL, put_only, NULL), 0);
    while (left != 0) {
        struct bp_buffer x = BP_BUFFER_INIT;

        must(bp_buckets_get(b, some_size(&rng), &x) == 0);
        mark(&x, 5);
        for (;;) {
            bool placed = false;

            pthread_mutex_lock(&belt.lock);
            if (belt.n < 32) {
                belt.x[belt.n++] = x;
                placed = true;
            }
            pthread_mutex_unlock(&belt.lock);
            if (placed)
                break;
            sched_yield();
        }
        left--;
    }
    ck_assert_int_eq(pthread_join(other, NULL), 0);
    threads_passed();
    buckets_add_up(b, 0);
    buckets_gone(b);
    faulty_gone(f);
}
END_TEST

/* ---- fork ---- */

static bp_buckets *churned; /* keeps nothing: every buffer is made, and unmade */

static void *churn(void *unused)
{
    struct bp_buffer x;

    while (!atomic_load(&over)) {
        thread_must(bp_buckets_get(churned, 64, &x) == 0);
        thread_must(bp_buckets_put(churned, &x) == 0);
    }
    return unused;
}

static void *until_over(void *arg)
{
    struct rng rng = { (uint64_t)(uintptr_t)arg };
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x, y;
    bp_buckets *own;

    while (!atomic_load(&over)) {
        thread_must(bp_buckets_get(b, some_size(&rng), &x) == 0);
        thread_must(bp_buckets_get(NULL, 100, &y) == 0);
        thread_must(bp_buckets_put(b, &x) == 0);
        thread_must(bp_buckets_put(NULL, &y) == 0);
        if (rng_below(&rng, 4) == 0)
            (void)bp_buckets_trim(b, 0);
        thread_must(bp_buckets_create(NULL, &c, &own) == 0);
        thread_must(bp_buckets_get(own, some_size(&rng), &x) == 0);
        thread_must(bp_buckets_put(own, &x) == 0);
        thread_must(bp_buckets_destroy(own) == 0);
    }
    return NULL;
}

/* In the child, after a fork from among all that: everything works, in buckets that were in use and in new
 * ones, and what the forking thread held is as it was. */
static void child(struct bp_buffer *held)
{
    struct bp_buckets_config c = buckets_config();
    bp_buckets *own = NULL;
    struct bp_buffer x;
    size_t size;

    if (!marked(held, 77) || bp_buckets_put(b, held) != 0)
        _exit(2);
    for (size = 1; size <= 2 * MIB; size *= 3) {
        if (bp_buckets_get(b, size, &x) != 0)
            _exit(3);
        mark(&x, 1);
        if (!marked(&x, 1) || bp_buckets_put(b, &x) != 0)
            _exit(4);
    }
    if (bp_buckets_get(churned, 64, &x) != 0 || bp_buckets_put(churned, &x) != 0)
        _exit(7);
    if (bp_buckets_get(NULL, 50, &x) != 0 || bp_buckets_put(NULL, &x) != 0)
        _exit(5);
    if (bp_buckets_create(NULL, &c, &own) != 0 || bp_buckets_get(own, 5, &x) != 0 ||
        bp_buckets_put(own, &x) != 0 || bp_buckets_destroy(own) != 0)
        _exit(6);
    (void)bp_buckets_trim(b, 0);
    (void)bp_buckets_destroy(b); /* EBUSY where other threads held some */
    _exit(0);
}

static void note_nothing(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
}

START_TEST(fork_from_among_threads)
{
    struct bp_buckets_config c = buckets_config();
    pthread_t t[3];
    size_t i, round;

    bp_set_misuse_handler(note_nothing, NULL);
    b = buckets_on(NULL, NULL);
    c.max_kept = 0;
    churned = buckets_on(NULL, &c);
    atomic_store(&over, false);
    for (i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, until_over, (void *)(uintptr_t)(i + 1)), 0);
    ck_assert_int_eq(pthread_create(&t[2], NULL, churn, NULL), 0);
    for (round = 0; round < times(150, 10); round++) {
        struct bp_buffer held = got(b, 1000);
        int status = -1, tries;
        pid_t pid, ended = 0;

        mark(&held, 77);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
            child(&held);
        for (tries = 0; tries < 600000 && (ended = waitpid(pid, &status, WNOHANG)) == 0; tries++)
            usleep(100);
        if (ended == 0) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            ck_abort_msg("the child hangs");
        }
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is 0x%x",
                      (unsigned)status);
        ck_assert(marked(&held, 77));
        put_back(b, &held);
    }
    atomic_store(&over, true);
    for (i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(t[i], NULL), 0);
    threads_passed();
    buckets_add_up(b, 0);
    buckets_gone(b);
    buckets_gone(churned);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

static Suite *threads_suite(void)
{
#ifdef SUPPORT_SANITIZED
    const bool malloc_survives_fork = false;
#else
    const bool malloc_survives_fork = true;
#endif
    Suite *s = suite_create("buckets and threads");
    TCase *tc = add_case(s, "threads");

    tcase_add_loop_test(tc, many_threads, 0, 6);
    tcase_add_test(tc, first_use_by_all);
    tcase_add_test(tc, put_by_another);
    if (may_fork() && malloc_survives_fork) {
        tc = add_case(s, "fork");
        tcase_add_test(tc, fork_from_among_threads);
    }
    return s;
}

int main(void)
{
    return run_suite(threads_suite());
}
