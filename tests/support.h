/* SPDX-License-Identifier: MIT
 *
 * What the Check programs share: a way to fail from hot loops and from threads, the backings to loop
 * over, a recorder of misuse, a seeded generator, and looks at page faults and residency.
 *
 * Environment: BP_SEED fixes the generator (the seed in use is printed); BP_SLOW=1 shrinks heavy loops
 * for runs under Valgrind; CK_FORK=no (Check's own) leaves out the tests that need a process of their own.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bumpool.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1048576)

/* ck_assert_*() records a position on every call, passed or not: too slow for loops of millions, and a
 * system call that check_syscalls must not make. This one works only when it fails. */
#define must(e)                                             \
    do {                                                    \
        if (!(e))                                           \
            ck_abort_msg("Assertion '%s' failed", #e);      \
    } while (0)

/* A failing ck_assert in another thread than the test's would longjmp across stacks under CK_FORK=no.
 * Threads note the first failure here; the test asserts threads_passed() after joining them. */
static _Atomic(const char *) support_thread_failure;

#define SUPPORT_STR_(x) #x
#define SUPPORT_STR(x) SUPPORT_STR_(x)
#define thread_must(e)                                                                          \
    do {                                                                                        \
        if (!(e)) {                                                                             \
            const char *none_ = NULL;                                                           \
            atomic_compare_exchange_strong(&support_thread_failure, &none_,                     \
                                           __FILE__ ":" SUPPORT_STR(__LINE__) ": " #e);         \
        }                                                                                       \
    } while (0)

static inline void threads_passed(void)
{
    const char *failure = atomic_exchange(&support_thread_failure, (const char *)NULL);

    ck_assert_msg(failure == NULL, "in a thread: %s", failure == NULL ? "" : failure);
}

static inline bool slow_run(void)
{
    const char *s = getenv("BP_SLOW");

    return s != NULL && *s != '\0' && strcmp(s, "0") != 0;
}

/* `n`, or `few` in a slow run. */
static inline size_t times(size_t n, size_t few)
{
    return slow_run() ? few : n;
}

/* Whether a test may fork, take a signal or set limits without harm to the tests after it. */
static inline bool may_fork(void)
{
    const char *s = getenv("CK_FORK");

    return s == NULL || strcmp(s, "no") != 0;
}

/* Requests that nothing can satisfy are part of the tests; a sanitizer's malloc must refuse them like
 * the C library's, not end the program. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SUPPORT_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define SUPPORT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(SUPPORT_ASAN)
#define SUPPORT_SANITIZED 1
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#elif defined(__SANITIZE_THREAD__) || defined(SUPPORT_TSAN)
#define SUPPORT_SANITIZED 1
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif

/* ---- values that the compiler must not see through ---- */

/* Hostile sizes are constants; without this the compiler warns of each, or answers for the library. */
__attribute__((noinline, unused)) static size_t opaque(size_t n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

/* A block as memory with contents: a fresh allocation is undefined to the compiler, and comparing it
 * with a block that was dropped may be answered at compile time. */
static inline void *seen(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

/* For a result that the test has no use for, of a function that warns when it is not used. */
static inline void ignore(const void *p)
{
    (void)p;
}

static inline bool is_aligned(const void *p, size_t align)
{
    return ((uintptr_t)p & (align - 1)) == 0;
}

static inline size_t round16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* ---- contents ---- */

static inline void stamp(void *p, size_t n, unsigned key)
{
    unsigned char *b = seen(p);
    size_t i;

    for (i = 0; i < n; i++)
        b[i] = (unsigned char)(key * 167u + (unsigned)i * 31u + 1u);
}

static inline bool stamped(void *p, size_t n, unsigned key)
{
    const unsigned char *b = seen(p);
    size_t i;

    for (i = 0; i < n; i++)
        if (b[i] != (unsigned char)(key * 167u + (unsigned)i * 31u + 1u))
            return false;
    return true;
}

static inline bool all_bytes(void *p, size_t n, unsigned char value)
{
    const unsigned char *b = seen(p);

    return n == 0 || (b[0] == value && memcmp(b, b + 1, n - 1) == 0);
}

/* ---- random numbers (splitmix64) ---- */

struct rng {
    uint64_t state;
};

static inline struct rng rng_start(const char *what)
{
    const char *s = getenv("BP_SEED");
    struct rng r;

    r.state = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    fprintf(stderr, "%s: BP_SEED=%" PRIu64 "\n", what, r.state);
    return r;
}

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline size_t rng_below(struct rng *r, size_t n)
{
    return (size_t)(rng_next(r) % n);
}

/* ---- backings ---- */

enum { ON_MALLOC, ON_MMAP, ON_RESERVED, ON_BUFFER, BACKINGS };

/* Where a loop test takes its memory from; ON_BUFFER has 32 MiB. */
struct place {
    const char *name;
    bp_backing *backing;
    void *memory;
    struct bp_buffer_backing buffer;
};

static inline void place_open(struct place *t, int kind)
{
    static const char *const names[BACKINGS] = { "malloc", "mmap", "reserved", "buffer" };

    t->name = names[kind];
    t->memory = NULL;
    switch (kind) {
    case ON_MALLOC:
        t->backing = bp_backing_malloc();
        break;
    case ON_MMAP:
        t->backing = bp_backing_mmap();
        break;
    case ON_RESERVED:
        t->backing = bp_backing_reserved();
        break;
    default:
        t->memory = malloc(32 * MIB);
        ck_assert_ptr_nonnull(t->memory);
        memset(t->memory, 0x99, 2 * MIB); /* a caller's buffer is dirty */
        ck_assert_int_eq(bp_backing_buffer_init(&t->buffer, t->memory, 32 * MIB), 0);
        t->backing = &t->buffer.backing;
        break;
    }
    ck_assert_ptr_nonnull(t->backing);
}

static inline void place_close(struct place *t)
{
    free(t->memory);
    t->memory = NULL;
}

/* ---- a backing that fails on demand ---- */

static inline bp_backing *faulty_over(bp_backing *inner)
{
    bp_backing *f = NULL;

    ck_assert_int_eq(bp_backing_faulty_create(inner, NULL, &f), 0);
    ck_assert_ptr_nonnull(f);
    return f;
}

/* From now on the fail_at-th call (from 1; 0: none) of `ops` fails, and every later one if `persistent`. */
static inline void faulty_plan(bp_backing *f, unsigned ops, size_t fail_at, bool persistent)
{
    struct bp_faulty_plan plan = BP_FAULTY_PLAN_INIT;

    plan.ops = ops;
    plan.fail_at = fail_at;
    plan.persistent = persistent;
    must(bp_backing_faulty_plan(f, &plan) == 0);
}

static inline struct bp_faulty_stats faulty_stats(bp_backing *f)
{
    struct bp_faulty_stats s;

    memset(&s, 0xFF, sizeof s);
    must(bp_backing_faulty_stats(f, &s) == 0);
    return s;
}

/* Nothing may be lost. */
static inline void faulty_gone(bp_backing *f)
{
    ck_assert_uint_eq(faulty_stats(f).extents, 0);
    ck_assert_uint_eq(faulty_stats(f).bytes, 0);
    bp_backing_destroy(f);
}

/* ---- arenas ---- */

static inline bp_arena *arena_on(bp_backing *backing, size_t size, enum bp_arena_policy policy,
                                 size_t max_spare)
{
    struct bp_arena_config config = BP_ARENA_CONFIG_INIT;
    bp_arena *a = NULL;

    config.size = size;
    config.policy = policy;
    config.max_spare = max_spare;
    ck_assert_int_eq(bp_arena_create(backing, &config, &a), 0);
    ck_assert_ptr_nonnull(a);
    return a;
}

static inline bp_arena *fixed_arena(bp_backing *backing, size_t size)
{
    return arena_on(backing, size, BP_ARENA_FIXED, 0);
}

static inline bp_arena *spill_arena(bp_backing *backing, size_t size)
{
    return arena_on(backing, size, BP_ARENA_SPILL, BP_ARENA_SPARE_DEFAULT);
}

/* ---- pools ---- */

static inline struct bp_pool_config pool_config(void)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;

    return c;
}

static inline bp_pool *pool_on(bp_backing *backing, const struct bp_pool_config *config)
{
    bp_pool *pool = NULL;

    ck_assert_int_eq(bp_pool_create(backing, config, &pool), 0);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static inline bp_arena *taken(bp_pool *pool)
{
    bp_arena *a = NULL;

    must(bp_pool_checkout(pool, &a) == 0);
    must(a != NULL);
    return a;
}

static inline void given(bp_pool *pool, bp_arena *a)
{
    must(bp_pool_give_back(pool, a) == 0);
}

static inline struct bp_pool_stats stats_of(bp_pool *pool)
{
    struct bp_pool_stats s;

    memset(&s, 0xFF, sizeof s);
    must(bp_pool_stats(pool, &s) == 0);
    return s;
}

static inline void counts_are(bp_pool *pool, size_t idle, size_t live)
{
    struct bp_pool_stats s = stats_of(pool);

    ck_assert_uint_eq(bp_pool_idle_count(pool), idle);
    ck_assert_uint_eq(bp_pool_live_count(pool), live);
    ck_assert_uint_eq(s.idle, idle);
    ck_assert_uint_eq(s.live, live);
}

/* Frees what a test has left of a pool; every arena must be back. */
static inline void pool_gone(bp_pool *pool)
{
    ck_assert_uint_eq(bp_pool_live_count(pool), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}

/* ---- misuse ---- */

struct misuse_log {
    int count;
    enum bp_misuse_kind kind;
    const bp_pool *pool;
    const bp_arena *arena;
    char message[256];
};

static inline void misuse_note(const struct bp_misuse *m, void *data)
{
    struct misuse_log *log = data;

    log->count++;
    log->kind = m->kind;
    log->pool = m->pool;
    log->arena = m->arena;
    snprintf(log->message, sizeof log->message, "%s", m->message == NULL ? "" : m->message);
}

static inline void misuse_listen(struct misuse_log *log)
{
    memset(log, 0, sizeof *log);
    bp_set_misuse_handler(misuse_note, log);
}

/* Exactly one report since the last look, of this kind; its message is one line. */
static inline void misuse_was(struct misuse_log *log, enum bp_misuse_kind kind)
{
    ck_assert_int_eq(log->count, 1);
    ck_assert_int_eq((int)log->kind, (int)kind);
    ck_assert_uint_gt(strlen(log->message), 0);
    ck_assert_ptr_null(strchr(log->message, '\n'));
    log->count = 0;
}

/* ---- pages ---- */

static inline size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Residency is asserted in pages of the base size: no huge page may blur it. */
static inline void no_huge_pages(void)
{
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

/* Of the pages that lie wholly inside [p, p + n), how many are resident. */
static inline size_t pages_resident(const void *p, size_t n)
{
    size_t page = page_size(), count = 0, pages, i;
    uintptr_t from = ((uintptr_t)p + page - 1) & ~(uintptr_t)(page - 1);
    uintptr_t to = ((uintptr_t)p + n) & ~(uintptr_t)(page - 1);
    unsigned char *map;

    if (to <= from)
        return 0;
    pages = (to - from) / page;
    map = malloc(pages);
    ck_assert_ptr_nonnull(map);
    ck_assert_int_eq(mincore((void *)from, to - from, map), 0);
    for (i = 0; i < pages; i++)
        count += map[i] & 1;
    free(map);
    return count;
}

/* Page faults of this thread so far, minor and major. */
static inline long faults_so_far(void)
{
    struct rusage u;

    if (getrusage(RUSAGE_THREAD, &u) != 0)
        return -1;
    return u.ru_minflt + u.ru_majflt;
}

/* Whether a page fault in a loop is the library's: the sanitizers and Valgrind write memory of their own
 * beside every access. */
static inline bool faults_are_ours(void)
{
#ifdef SUPPORT_SANITIZED
    return false;
#else
    return !slow_run() && faults_so_far() >= 0;
#endif
}

/* ---- running ---- */

static inline TCase *add_case(Suite *s, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, 600); /* a net for hangs, not a measure of speed */
    suite_add_tcase(s, tc);
    return tc;
}

static inline int run_suite(Suite *s)
{
    SRunner *runner = srunner_create(s);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
