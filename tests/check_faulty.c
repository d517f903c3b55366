/* SPDX-License-Identifier: MIT
 * The faulty backing, on which the other tests rely: what is planned fails and nothing else does, what it
 * counts is so, and every breach of its contract ends the program with its line.
 *
 * malloc and mmap are wrapped (-Wl,--wrap=...), so that they fail on request.
 */
#include "support.h"

#include "failing_malloc.h"

#include <bumpool/conformance.h>

/* The names are the linker's. */
void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);

static bool no_mappings;

void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
    if (no_mappings) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(p, size, prot, flags, fd, offset);
}

static int acquire(bp_backing *b, struct bp_extent *e)
{
    return b->ops->acquire(b, 64, 64, 16, e);
}

/* Makes `n` calls of acquire; the extents go at once. What failed is written to `failed`. */
static size_t acquires(bp_backing *b, bool *failed, size_t n)
{
    size_t count = 0, i;

    for (i = 0; i < n; i++) {
        struct bp_extent e;
        int rc = acquire(b, &e);

        must(rc == 0 || rc == ENOMEM);
        failed[i] = rc != 0;
        count += failed[i];
        if (rc == 0)
            b->ops->dispose(b, &e);
    }
    return count;
}

static void plan_chance(bp_backing *b, unsigned ops, unsigned one_in, uint64_t seed, size_t fail_at)
{
    struct bp_faulty_plan plan = BP_FAULTY_PLAN_INIT;

    plan.ops = ops;
    plan.one_in = one_in;
    plan.seed = seed;
    plan.fail_at = fail_at;
    ck_assert_int_eq(bp_backing_faulty_plan(b, &plan), 0);
}

/* ---- without a failure ---- */

START_TEST(conforms)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_faulty_stats s;
    struct place on;
    bp_backing *f;

    place_open(&on, _i);
    f = faulty_over(on.backing);
    options.largest = times(MIB, 128 * KIB);
    ck_assert_int_eq(bp_conformance_run(f, &options, stderr), 0);
    s = faulty_stats(f);
    ck_assert_uint_eq(s.injected, 0);
    ck_assert_uint_gt(s.acquires, 4096);
    ck_assert_uint_gt(s.disposes, 4096);
    ck_assert(_i != ON_RESERVED || (s.commits > 0 && s.releases > 0 && s.populates > 0));
    faulty_gone(f);
    place_close(&on);
}
END_TEST

/* One that fails by chance in all it does is still as the contract has it. */
START_TEST(conforms_and_fails)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_reserved_config reserved = { sizeof reserved, MIB, 65536 };
    bp_backing *inner = NULL, *f;

    ck_assert_int_eq(bp_backing_reserved_create(&reserved, &inner), 0);
    f = faulty_over(inner);
    plan_chance(f, BP_FAULTY_COMMIT | BP_FAULTY_RELEASE | BP_FAULTY_POPULATE, 3, 1, 0);
    options.largest = 128 * KIB;
    ck_assert_int_eq(bp_conformance_run(f, &options, stderr), 0);
    ck_assert_uint_gt(faulty_stats(f).injected, 100);
    faulty_gone(f);
    bp_backing_destroy(inner);
}
END_TEST

START_TEST(has_the_ops_of_the_inner_one)
{
    struct bp_backing_ops ops = *bp_backing_reserved()->ops;
    bp_backing b = { &ops };
    bp_backing *f = faulty_over(bp_backing_malloc());

    ck_assert_ptr_null(f->ops->commit);
    ck_assert_ptr_null(f->ops->release);
    ck_assert_ptr_null(f->ops->populate);
    faulty_gone(f);
    f = faulty_over(bp_backing_mmap());
    ck_assert_ptr_null(f->ops->commit);
    ck_assert(f->ops->release != NULL && f->ops->populate != NULL);
    faulty_gone(f);
    f = faulty_over(bp_backing_reserved());
    ck_assert(f->ops->commit != NULL && f->ops->release != NULL && f->ops->populate != NULL);
    faulty_gone(f);
    ops.struct_size = offsetof(struct bp_backing_ops, release); /* the author never heard of the others */
    f = faulty_over(&b);
    ck_assert(f->ops->commit != NULL && f->ops->release == NULL && f->ops->populate == NULL);
    faulty_gone(f);
}
END_TEST

/* An arena and a pool over it, with extents that go through every op. */
START_TEST(arenas_and_pools)
{
    bp_backing *f = faulty_over(bp_backing_reserved());
    bp_pool *pool = pool_on(f, NULL);
    bp_arena *a = taken(pool);
    char *p;

    faulty_plan(f, BP_FAULTY_RELEASE | BP_FAULTY_COMMIT, 1, false);
    ck_assert_ptr_null(bp_arena_alloc(a, MIB)); /* commit */
    p = bp_arena_alloc(a, MIB);
    ck_assert_ptr_nonnull(p);
    stamp(p, MIB, 1);
    given(pool, a);
    faulty_plan(f, BP_FAULTY_RELEASE, 1, false);
    ck_assert_uint_eq(bp_pool_release_idle(pool), 0);
    ck_assert_uint_eq(faulty_stats(f).injected, 1);
    ck_assert_uint_ge(bp_pool_release_idle(pool), MIB);
    a = fixed_arena(f, 3 * MIB);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 2 * MIB));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- plans ---- */

START_TEST(fails_as_planned)
{
    bp_backing *f = faulty_over(bp_backing_reserved());
    const struct bp_backing_ops *ops = f->ops;
    struct bp_extent e, kept;
    size_t released = 99;

    faulty_plan(f, BP_FAULTY_ACQUIRE | BP_FAULTY_COMMIT, 2, false);
    ck_assert_int_eq(acquire(f, &e), 0);
    ck_assert_int_eq(ops->release(f, &e, 0, page_size(), &released), 0); /* counts for no plan */
    kept = e;
    ck_assert_int_eq(ops->commit(f, &e, MIB), ENOMEM);
    ck_assert_int_eq(memcmp(&kept, &e, sizeof e), 0);
    ck_assert_int_eq(ops->commit(f, &e, MIB), 0);
    ck_assert_uint_ge(e.committed, MIB);
    ck_assert_uint_eq(faulty_stats(f).injected, 1);
    faulty_plan(f, BP_FAULTY_COMMIT, 1, true);
    ck_assert_int_eq(ops->commit(f, &e, MIB), 0); /* which is committed */
    ck_assert_int_eq(ops->commit(f, &e, e.committed + 1), ENOMEM);
    faulty_plan(f, BP_FAULTY_RELEASE | BP_FAULTY_POPULATE, 1, true);
    ck_assert_uint_eq(faulty_stats(f).injected, 0);
    released = 99;
    ck_assert_int_eq(ops->release(f, &e, 0, page_size(), &released), EINVAL);
    ck_assert_uint_eq(released, 99);
    ck_assert_int_eq(ops->populate(f, &e, 0, page_size()), EINVAL);
    ck_assert_uint_eq(faulty_stats(f).injected, 2);
    ck_assert_int_eq(bp_backing_faulty_plan(f, NULL), 0);
    ck_assert_int_eq(ops->populate(f, &e, 0, page_size()), 0);
    ck_assert_uint_eq(faulty_stats(f).injected, 0);
    ops->dispose(f, &e);
    faulty_plan(f, BP_FAULTY_ACQUIRE, 1, false);
    memset(&e, 0x55, sizeof e);
    kept = e;
    ck_assert_int_eq(acquire(f, &e), ENOMEM);
    ck_assert_int_eq(memcmp(&kept, &e, sizeof e), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(which_calls_fail)
{
    bp_backing *f = faulty_over(bp_backing_malloc());
    bool failed[50];
    size_t i;

    for (i = 0; i <= 50; i++) {
        faulty_plan(f, BP_FAULTY_ALL, i, false);
        ck_assert_uint_eq(acquires(f, failed, 50), i != 0);
        ck_assert(i == 0 || failed[i - 1]);
        faulty_plan(f, BP_FAULTY_ACQUIRE, i, true);
        ck_assert_uint_eq(acquires(f, failed, 50), i == 0 ? 0 : 51 - i);
        ck_assert(i < 2 || !failed[i - 2]);
        ck_assert_uint_eq(faulty_stats(f).injected, i == 0 ? 0 : 51 - i);
        faulty_plan(f, BP_FAULTY_ALL & ~(unsigned)BP_FAULTY_ACQUIRE, i, true);
        ck_assert_uint_eq(acquires(f, failed, 50), 0);
    }
    faulty_gone(f);
}
END_TEST

START_TEST(chance_is_repeatable)
{
    enum { N = 4000 };
    static bool first[N], again[N];
    struct bp_faulty_plan plan = { sizeof plan, BP_FAULTY_ALL, 0, false, 10, 7 };
    bp_backing *f = faulty_over(bp_backing_malloc()), *other;
    size_t count, i;

    plan_chance(f, BP_FAULTY_ACQUIRE, 10, 7, 0);
    count = acquires(f, first, N);
    ck_assert_uint_gt(count, N / 10 / 2);
    ck_assert_uint_lt(count, N / 10 * 2);
    ck_assert_uint_eq(faulty_stats(f).injected, count);
    plan_chance(f, BP_FAULTY_ALL, 10, 7, 0);
    ck_assert_uint_eq(acquires(f, again, N), count);
    ck_assert_int_eq(memcmp(first, again, sizeof first), 0);
    /* from the beginning, too; a call that is to fail anyway changes nothing for the others */
    plan.fail_at = 5;
    ck_assert_int_eq(bp_backing_faulty_create(bp_backing_malloc(), &plan, &other), 0);
    acquires(other, again, N);
    for (i = 0; i < N; i++)
        must(again[i] == (first[i] || i == 4));
    faulty_gone(other);
    plan_chance(f, BP_FAULTY_ACQUIRE, 10, 8, 0);
    acquires(f, again, N);
    ck_assert_int_ne(memcmp(first, again, sizeof first), 0);
    plan_chance(f, BP_FAULTY_ACQUIRE, 1, 7, 0);
    ck_assert_uint_eq(acquires(f, again, N), N);
    plan_chance(f, BP_FAULTY_COMMIT, 1, 7, 0);
    ck_assert_uint_eq(acquires(f, again, N), 0);
    faulty_gone(f);
}
END_TEST

struct caller {
    pthread_t thread;
    bp_backing *f;
    size_t failures;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    size_t i;

    for (i = 0; i < times(5000, 200); i++) {
        struct bp_extent e;
        int rc = acquire(c->f, &e);

        thread_must(rc == 0 || rc == ENOMEM);
        c->failures += rc != 0;
        if (rc == 0)
            c->f->ops->dispose(c->f, &e);
    }
    return NULL;
}

START_TEST(threads_are_counted)
{
    struct caller callers[4];
    bp_backing *f = faulty_over(bp_backing_malloc());
    struct bp_faulty_stats s;
    size_t failures = 0, i;

    plan_chance(f, BP_FAULTY_ALL, 5, 1, 100);
    for (i = 0; i < 4; i++) {
        callers[i] = (struct caller){ .f = f };
        ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(callers[i].thread, NULL), 0);
        failures += callers[i].failures;
    }
    threads_passed();
    s = faulty_stats(f);
    ck_assert_uint_eq(s.injected, failures);
    ck_assert_uint_eq(s.acquires, 4 * times(5000, 200));
    ck_assert_uint_eq(s.disposes, s.acquires - failures);
    faulty_gone(f);
}
END_TEST

/* ---- figures ---- */

START_TEST(figures)
{
    bp_backing *f = faulty_over(bp_backing_reserved());
    const struct bp_backing_ops *ops = f->ops;
    struct bp_faulty_stats s = faulty_stats(f), zero;
    struct bp_extent e[2];
    size_t released;

    memset(&zero, 0, sizeof zero);
    ck_assert_int_eq(memcmp(&s, &zero, sizeof s), 0);
    ck_assert_int_eq(acquire(f, &e[0]), 0);
    ck_assert_int_eq(acquire(f, &e[1]), 0);
    ck_assert_uint_eq(faulty_stats(f).bytes, e[0].size + e[1].size);
    faulty_plan(f, BP_FAULTY_ALL, 1, true);
    ck_assert_int_eq(acquire(f, &e[1]), ENOMEM);
    ck_assert_int_eq(ops->commit(f, &e[0], MIB), ENOMEM);
    ck_assert_int_eq(ops->release(f, &e[0], 0, 1, &released), EINVAL);
    ck_assert_int_eq(ops->populate(f, &e[0], 0, 1), EINVAL);
    ck_assert_int_eq(ops->populate(f, &e[0], 0, 1), EINVAL);
    ops->dispose(f, &e[0]);
    s = faulty_stats(f);
    ck_assert_uint_eq(s.injected, 5);
    ck_assert_uint_eq(s.extents, 1);
    ck_assert_uint_eq(s.bytes, e[1].size);
    ck_assert_uint_eq(s.acquires, 3);
    ck_assert_uint_eq(s.disposes, 1);
    ck_assert_uint_eq(s.commits, 1);
    ck_assert_uint_eq(s.releases, 1);
    ck_assert_uint_eq(s.populates, 2);
    faulty_plan(f, BP_FAULTY_ALL, 0, false); /* ends no count but that of failures */
    s = faulty_stats(f);
    ck_assert_uint_eq(s.injected, 0);
    ck_assert_uint_eq(s.acquires, 3);
    ops->dispose(f, &e[1]);
    faulty_gone(f);
}
END_TEST

START_TEST(errors)
{
    static const size_t sizes[] = { 0, 1, sizeof(size_t), sizeof(struct bp_faulty_plan) - 1,
                                    sizeof(struct bp_faulty_plan) + 1, SIZE_MAX };
    struct bp_faulty_plan plan = BP_FAULTY_PLAN_INIT;
    struct bp_backing_ops ops = *bp_backing_malloc()->ops;
    bp_backing insane = { NULL }, *inner = bp_backing_malloc(), *out = inner, *f = faulty_over(inner);
    struct bp_faulty_stats s;
    size_t i;

    plan.fail_at = 1;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        plan.struct_size = sizes[i];
        ck_assert_int_eq(bp_backing_faulty_create(inner, &plan, &out), EINVAL);
        ck_assert_int_eq(bp_backing_faulty_plan(f, &plan), EINVAL);
    }
    plan.struct_size = sizeof plan;
    plan.ops = BP_FAULTY_ALL + 1;
    ck_assert_int_eq(bp_backing_faulty_create(inner, &plan, &out), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_plan(f, &plan), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_create(NULL, NULL, &out), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_create(inner, NULL, NULL), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_create(&insane, NULL, &out), EINVAL);
    insane.ops = &ops;
    ops.dispose = NULL;
    ck_assert_int_eq(bp_backing_faulty_create(&insane, NULL, &out), EINVAL);
    ck_assert_ptr_eq(out, inner);

    ck_assert_int_eq(bp_backing_faulty_plan(NULL, NULL), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_plan(inner, NULL), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_stats(NULL, &s), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_stats(inner, &s), EINVAL);
    ck_assert_int_eq(bp_backing_faulty_stats(f, NULL), EINVAL);
    for (i = 0; i < 3; i++) { /* no plan got through */
        struct bp_extent e;

        ck_assert_int_eq(acquire(f, &e), 0);
        f->ops->dispose(f, &e);
    }
    faulty_gone(f);
}
END_TEST

/* ---- its own memory ---- */

START_TEST(very_many_extents)
{
    enum { N = 3000 };
    struct rng r = rng_start("very_many_extents");
    bp_backing *f = faulty_over(bp_backing_malloc());
    static struct bp_extent e[N];
    size_t calls, i, k;
    bool got = true;

    failing_malloc_plan(0, false);
    for (i = 0; i < N; i++)
        got = got && acquire(f, &e[i]) == 0;
    calls = failing_malloc_calls();
    ck_assert(got);
    ck_assert_uint_eq(calls, N); /* the inner one's */
    ck_assert_uint_eq(faulty_stats(f).extents, N);
    for (i = N; i > 0; i--) {
        k = rng_below(&r, i);
        f->ops->dispose(f, &e[k]);
        e[k] = e[i - 1];
    }
    faulty_gone(f);
}
END_TEST

START_TEST(no_memory_for_itself)
{
    bp_backing *f = bp_backing_malloc(), *out = f;
    struct bp_buffer_backing buffer;
    struct bp_extent e[4000];
    static char memory[512 * 1024];
    size_t i, count = 0;
    int rc;

    errno = E2BIG;
    failing_malloc_plan(1, true);
    rc = bp_backing_faulty_create(f, NULL, &out);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_ptr_eq(out, f);

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    f = faulty_over(&buffer.backing);
    no_mappings = true;
    ck_assert_int_eq(acquire(f, &e[0]), ENOMEM); /* not even the first table */
    no_mappings = false;
    ck_assert_int_eq(acquire(f, &e[count++]), 0);
    no_mappings = true;
    while (count < 4000 && acquire(f, &e[count]) == 0)
        count++;
    no_mappings = false;
    ck_assert_uint_lt(count, 4000); /* the table cannot grow */
    ck_assert_uint_eq(faulty_stats(f).extents, count);
    ck_assert_int_eq(acquire(f, &e[count++]), 0);
    ck_assert_int_eq(errno, E2BIG);
    for (i = 0; i < count; i++)
        f->ops->dispose(f, &e[i]);
    faulty_gone(f);
    /* the extents that had no entry went back where they came from */
    must(buffer.backing.ops->acquire(&buffer.backing, sizeof memory - 64, sizeof memory, 16, &e[0]) == 0);
}
END_TEST

/* ---- breaches ---- */

static const char *const breaches[] = {
    "acquire: min is 0 or preferred below min",
    "acquire: min is 0 or preferred below min",
    "acquire: align is no power of two of at least 16",
    "acquire: align is no power of two of at least 16",
    "acquire: out is NULL",
    "dispose: extent is NULL",
    "dispose: extent is not outstanding",
    "dispose: extent is not outstanding",
    "dispose: extent has another size than acquire gave",
    "dispose: page or data of the extent were changed",
    "release: page or data of the extent were changed",
    "commit: known_zero_from is beyond the extent",
    "populate: committed is not what the backing said last",
    "commit: committed is not what the backing said last",
    "release: range is not committed",
    "populate: range is not committed",
    "release: range is not committed",
    "commit: size is beyond the extent",
    "release: released is NULL",
    "destroy: extents are outstanding",
};
enum { BREACHES = sizeof breaches / sizeof breaches[0] };

static void commit_breach(bp_backing *f, int i)
{
    const struct bp_backing_ops *ops = f->ops;
    struct bp_extent e, was;
    size_t released;

    if (acquire(f, &e) != 0)
        return;
    was = e;
    switch (i) {
    case 0:
        (void)ops->acquire(f, 0, 64, 16, &e);
        break;
    case 1:
        (void)ops->acquire(f, 65, 64, 16, &e);
        break;
    case 2:
        (void)ops->acquire(f, 64, 64, 8, &e);
        break;
    case 3:
        (void)ops->acquire(f, 64, 64, 48, &e);
        break;
    case 4:
        (void)ops->acquire(f, 64, 64, 16, NULL);
        break;
    case 5:
        ops->dispose(f, NULL);
        break;
    case 6:
        ops->dispose(f, &e);
        ops->dispose(f, &was);
        break;
    case 7:
        e.base = (char *)e.base + 16;
        ops->dispose(f, &e);
        break;
    case 8:
        e.size += 16;
        ops->dispose(f, &e);
        break;
    case 9:
        e.page *= 2;
        ops->dispose(f, &e);
        break;
    case 10:
        e.data = &e;
        (void)ops->release(f, &e, 0, 1, &released);
        break;
    case 11:
        e.known_zero_from = e.size + 1;
        (void)ops->commit(f, &e, 1);
        break;
    case 12:
        e.committed--;
        (void)ops->populate(f, &e, 0, 1);
        break;
    case 13:
        (void)ops->commit(f, &e, e.committed + 1); /* fine */
        e.committed = was.committed;
        (void)ops->commit(f, &e, e.committed + 1);
        break;
    case 14:
        (void)ops->release(f, &e, e.committed, 1, &released);
        break;
    case 15:
        (void)ops->populate(f, &e, e.committed + 1, 0);
        break;
    case 16:
        (void)ops->release(f, &e, 16, SIZE_MAX, &released);
        break;
    case 17:
        (void)ops->commit(f, &e, e.size + 1);
        break;
    case 18:
        (void)ops->release(f, &e, 0, 1, NULL);
        break;
    default:
        bp_backing_destroy(f);
        break;
    }
}

START_TEST(a_breach_ends_the_program)
{
    bp_backing *f = faulty_over(bp_backing_reserved());
    char expected[200], line[200];
    ssize_t n, length = 0;
    int ends[2], status;
    pid_t pid;

    ck_assert_int_eq(pipe(ends), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct rlimit none = { 0, 0 };

        (void)setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        commit_breach(f, _i);
        _exit(0);
    }
    close(ends[1]);
    while ((n = read(ends[0], line + length, sizeof line - 1 - (size_t)length)) > 0)
        length += n;
    line[length] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    snprintf(expected, sizeof expected, "bumpool: faulty backing over reserved: %s\n", breaches[_i]);
    ck_assert_str_eq(line, expected);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    faulty_gone(f);
}
END_TEST

static Suite *faulty_suite(void)
{
    Suite *s = suite_create("faulty");
    TCase *tc = add_case(s, "without a failure");

    tcase_add_loop_test(tc, conforms, 0, BACKINGS);
    tcase_add_test(tc, conforms_and_fails);
    tcase_add_test(tc, has_the_ops_of_the_inner_one);
    tcase_add_test(tc, arenas_and_pools);
    tc = add_case(s, "plans");
    tcase_add_test(tc, fails_as_planned);
    tcase_add_test(tc, which_calls_fail);
    tcase_add_test(tc, chance_is_repeatable);
    tcase_add_test(tc, threads_are_counted);
    tc = add_case(s, "figures");
    tcase_add_test(tc, figures);
    tcase_add_test(tc, errors);
    tc = add_case(s, "memory");
    tcase_add_test(tc, very_many_extents);
    tcase_add_test(tc, no_memory_for_itself);
    tc = add_case(s, "breaches");
    if (may_fork())
        tcase_add_loop_test(tc, a_breach_ends_the_program, 0, BREACHES);
    return s;
}

int main(void)
{
    return run_suite(faulty_suite());
}
