/* SPDX-License-Identifier: MIT
 * Pools: configuration, the cycle of checkout and give_back, the NULL pool, fork, and an address
 * space that is refused.
 */
#include "support.h"

static struct misuse_log misuse;

/* ---- configuration ---- */

static void create_fails(const struct bp_pool_config *config, int error)
{
    bp_pool *untouched = (bp_pool *)(void *)&untouched, *pool = untouched;

    ck_assert_int_eq(bp_pool_create(NULL, config, &pool), error);
    ck_assert_ptr_eq(pool, untouched);
}

START_TEST(create_refuses_bad_config)
{
    const struct bp_pool_config init = BP_POOL_CONFIG_INIT;
    struct bp_pool_config c = init;

    c.struct_size = 0;
    create_fails(&c, EINVAL);
    c.struct_size = sizeof c - 1;
    create_fails(&c, EINVAL);
    c.struct_size = sizeof c + 8;
    create_fails(&c, EINVAL);
    c.struct_size = SIZE_MAX;
    create_fails(&c, EINVAL);
    c = init;
    c.arena_size = 0;
    create_fails(&c, EINVAL);
    c.arena_size = (size_t)PTRDIFF_MAX + 1;
    create_fails(&c, EINVAL);
    c.arena_size = SIZE_MAX;
    create_fails(&c, EINVAL);
    c = init;
    c.arena_policy = (enum bp_arena_policy)2;
    create_fails(&c, EINVAL);
    ck_assert_int_eq(bp_pool_create(NULL, &init, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_create(NULL, NULL, NULL), EINVAL);
}
END_TEST

START_TEST(create_null_config)
{
    bp_pool *pool = pool_on(NULL, NULL);
    bp_arena *a;

    counts_are(pool, 0, 0);
    ck_assert_uint_eq(stats_of(pool).mints, 0); /* nothing is minted yet */
    a = taken(pool);
    stamp(bp_arena_alloc(a, BP_ARENA_SIZE_DEFAULT), BP_ARENA_SIZE_DEFAULT, 1);
    stamp(bp_arena_alloc(a, BP_ARENA_SIZE_DEFAULT), BP_ARENA_SIZE_DEFAULT, 1); /* spills */
    given(pool, a);
    pool_gone(pool);
}
END_TEST

START_TEST(create_mints_nothing)
{
    bp_backing *f;
    bp_pool *pool;

    f = faulty_over(bp_backing_malloc());
    pool = pool_on(f, NULL);
    ck_assert_uint_eq(faulty_stats(f).acquires, 0);
    pool_gone(pool);
    ck_assert_uint_eq(faulty_stats(f).acquires, 0);
    faulty_gone(f);
}
END_TEST

START_TEST(unmakeable_arenas)
{
    struct bp_pool_config c = pool_config();
    bp_arena *untouched = (bp_arena *)(void *)&c, *a = untouched;
    struct place on;
    bp_pool *pool;
    size_t added = 77;

    place_open(&on, _i);
    c.arena_size = PTRDIFF_MAX; /* legal, but more than there is */
    pool = pool_on(on.backing, &c);
    ck_assert_int_eq(bp_pool_checkout(pool, &a), ENOMEM);
    ck_assert_ptr_eq(a, untouched);
    ck_assert_int_eq(bp_pool_prewarm(pool, 3, &added), ENOMEM);
    ck_assert_uint_eq(added, 0);
    counts_are(pool, 0, 0);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

START_TEST(policy_and_size_reach_the_arenas)
{
    struct bp_pool_config c = pool_config();
    struct place on;
    bp_pool *pool;
    bp_arena *a;

    place_open(&on, _i);
    c.arena_size = 5000;
    c.arena_policy = BP_ARENA_FIXED;
    pool = pool_on(on.backing, &c);
    a = taken(pool);
    ck_assert_uint_eq(bp_arena_remaining(a), round16(5000));
    ck_assert_ptr_null(bp_arena_alloc(a, 5009));
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 5000));
    ck_assert_ptr_null(bp_arena_alloc(a, 1));
    given(pool, a);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

/* ---- checkout and give_back ---- */

START_TEST(newest_idle_first)
{
    struct place on;
    bp_arena *a, *b, *c;
    bp_pool *pool;
    int i;

    place_open(&on, _i);
    pool = pool_on(on.backing, NULL);
    a = taken(pool);
    b = taken(pool);
    c = taken(pool);
    ck_assert(a != b && b != c && a != c);
    counts_are(pool, 0, 3);
    given(pool, c);
    given(pool, a);
    given(pool, b);
    counts_are(pool, 3, 0);
    ck_assert_ptr_eq(taken(pool), b);
    ck_assert_ptr_eq(taken(pool), a);
    given(pool, b);
    ck_assert_ptr_eq(taken(pool), b);
    ck_assert_ptr_eq(taken(pool), c);
    counts_are(pool, 0, 3);
    given(pool, b);
    for (i = 0; i < 1000; i++) { /* the pool really is reused, not filled */
        ck_assert_ptr_eq(taken(pool), b);
        given(pool, b);
    }
    ck_assert_uint_eq(stats_of(pool).mints, 3);
    given(pool, a);
    given(pool, c);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

/* Used or not, few or more than any cache in front of the pool holds. */
START_TEST(newest_idle_first_of_many)
{
    enum { N = 100 };
    struct bp_pool_config c = pool_config();
    struct rng rng = rng_start("newest_idle_first_of_many");
    bp_arena *a[N], *swap;
    bp_pool *pool;
    size_t round, i, j, n;

    c.max_idle = N;
    pool = pool_on(_i == 0 ? bp_backing_mmap() : bp_backing_malloc(), &c);
    for (i = 0; i < N; i++)
        a[i] = taken(pool);
    for (round = 0; round < 20; round++) {
        n = 1 + rng_below(&rng, N); /* a[0] to a[n - 1] go and come, the others stay live */
        for (i = n - 1; i > 0; i--) {
            j = rng_below(&rng, i + 1);
            swap = a[i];
            a[i] = a[j];
            a[j] = swap;
        }
        for (i = 0; i < n; i++) {
            if (rng_below(&rng, 2) == 0)
                stamp(bp_arena_alloc(a[i], 10000), 10000, 1);
            given(pool, a[i]);
        }
        for (i = n; i-- > 0;)
            ck_assert_ptr_eq(taken(pool), a[i]);
    }
    for (i = 0; i < N; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

static void count_call(void *data)
{
    ++*(int *)data;
}

START_TEST(arenas_come_empty)
{
    struct place on;
    bp_pool *pool;
    bp_arena *a;
    size_t capacity;
    void *p;
    int calls = 0, i;

    place_open(&on, _i);
    pool = pool_on(on.backing, NULL);
    a = taken(pool);
    capacity = bp_arena_capacity(a);
    for (i = 1; i <= 50; i++) {
        ck_assert_uint_eq(bp_arena_used(a), 0);
        p = bp_arena_alloc(a, (size_t)i * 3000);
        ck_assert_ptr_nonnull(p);
        stamp(p, (size_t)i * 3000, 3);
        ck_assert_int_eq(bp_arena_on_reset(a, count_call, &calls), 0);
        (void)bp_arena_mark(a);
        if (i % 3 == 0)
            bp_arena_reset(a); /* the holder may, at any time */
        given(pool, a);
        ck_assert_int_eq(calls, i); /* cleanups run at give_back */
        ck_assert_ptr_eq(taken(pool), a);
        ck_assert(!bp_arena_owns(a, p));
    }
    ck_assert_uint_ge(bp_arena_capacity(a), capacity);
    given(pool, a);
    ck_assert_int_eq(calls, 50);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

START_TEST(out_null_and_give_back_null)
{
    bp_pool *pool = pool_on(NULL, NULL);

    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_checkout(pool, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_checkout(NULL, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_give_back(pool, NULL), EINVAL);
    ck_assert_int_eq(bp_pool_give_back(NULL, NULL), EINVAL);
    ck_assert_int_eq(misuse.count, 0); /* without a report */
    counts_are(pool, 0, 0);
    bp_set_misuse_handler(NULL, NULL);
    pool_gone(pool);
}
END_TEST

static int in_scope(bp_pool *pool, int way, bp_arena **seen_arena)
{
    BP_POOL_SCOPE(a, pool);

    *seen_arena = a;
    if (a == NULL)
        return errno;
    if (bp_pool_live_count(pool) != 1)
        return -1;
    if (way == 0)
        return -2;
    stamp(bp_arena_alloc(a, 1000), 1000, 1);
    return 0;
}

START_TEST(pool_scope)
{
    struct bp_pool_config c = pool_config();
    bp_arena *a = NULL, *b = NULL;
    bp_pool *pool;

    c.max_arenas = 1;
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(in_scope(pool, 0, &a), -2);
    counts_are(pool, 1, 0);
    ck_assert_int_eq(in_scope(pool, 1, &b), 0);
    ck_assert_ptr_eq(a, b);
    counts_are(pool, 1, 0);
    a = taken(pool);
    ck_assert_int_eq(in_scope(pool, 0, &b), EAGAIN);
    ck_assert_ptr_null(b);
    counts_are(pool, 0, 1);
    given(pool, a);
    pool_gone(pool);
}
END_TEST

/* ---- the NULL pool ---- */

START_TEST(null_pool)
{
    struct bp_pool_stats s;
    bp_arena *a, *b;
    size_t added = 99;
    void *p;
    int calls = 0;

    a = taken(NULL);
    b = taken(NULL);
    ck_assert_ptr_ne(a, b);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    ck_assert_uint_ge(bp_arena_remaining(a), BP_ARENA_SIZE_DEFAULT);
    p = bp_arena_alloc(a, 200000); /* the default policy */
    ck_assert_ptr_nonnull(p);
    stamp(p, 200000, 1);
    ck_assert_int_eq(bp_arena_on_reset(a, count_call, &calls), 0);
    ck_assert_uint_eq(bp_pool_idle_count(NULL), 0);
    ck_assert_int_eq(bp_pool_prewarm(NULL, 5, &added), 0);
    ck_assert_uint_eq(added, 0);
    ck_assert_int_eq(bp_pool_prewarm(NULL, 5, NULL), 0);
    ck_assert_uint_eq(bp_pool_idle_count(NULL), 0);
    ck_assert_uint_eq(bp_pool_release_idle(NULL), 0);
    ck_assert_int_eq(bp_pool_trim(NULL, 0), 0);
    ck_assert_int_eq(bp_pool_stats(NULL, &s), 0);
    ck_assert_uint_eq(s.idle, 0);
    ck_assert_int_eq(bp_pool_stats(NULL, NULL), EINVAL);
    given(NULL, a);
    ck_assert_int_eq(calls, 1);
    ck_assert_uint_eq(bp_pool_idle_count(NULL), 0);
    given(NULL, b);
    ck_assert_int_eq(bp_pool_destroy(NULL), 0);
    {
        BP_POOL_SCOPE(scoped, NULL);
        ck_assert_ptr_nonnull(scoped);
        stamp(bp_arena_alloc(scoped, 100), 100, 1);
    }
}
END_TEST

START_TEST(null_pool_keeps_the_rules)
{
    bp_pool *pool = pool_on(NULL, NULL);
    bp_arena *a = taken(NULL), *b = taken(pool), *own = spill_arena(NULL, 4096);

    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_give_back(NULL, b), EINVAL);
    misuse_was(&misuse, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_pool_give_back(NULL, own), EINVAL);
    misuse_was(&misuse, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_pool_give_back(pool, a), EINVAL);
    misuse_was(&misuse, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_arena_destroy(a), EINVAL);
    misuse_was(&misuse, BP_MISUSE_POOL_ARENA);
    stamp(bp_arena_alloc(a, 100), 100, 1); /* all are as they were */
    stamp(bp_arena_alloc(b, 100), 100, 1);
    given(NULL, a);
    ck_assert_int_eq(bp_pool_give_back(NULL, a), EINVAL); /* twice: it is no arena any more */
    ck_assert_int_eq(misuse.count, 1);
    ck_assert(misuse.kind == BP_MISUSE_FOREIGN_ARENA || misuse.kind == BP_MISUSE_DOUBLE_GIVE_BACK);
    bp_set_misuse_handler(NULL, NULL);
    given(pool, b);
    pool_gone(pool);
    ck_assert_int_eq(bp_arena_destroy(own), 0);
}
END_TEST

/* ---- fork ---- */

/* What a child does with its copy: 0 when all is right. No Check calls: the parent reports. */
static int child_life(bp_pool *pool, bp_arena *live, void *block)
{
    bp_arena *a = NULL, *b = NULL;
    int i;

    if (!stamped(block, 1000, 1) || bp_pool_live_count(pool) != 1 || bp_pool_idle_count(pool) != 2)
        return 1;
    memset(block, 0, 1000);
    for (i = 0; i < 100; i++) {
        if (bp_pool_checkout(pool, &a) != 0 || bp_pool_checkout(pool, &b) != 0)
            return 2;
        stamp(bp_arena_alloc(a, 40000), 40000, 2);
        stamp(bp_arena_alloc(b, 400000), 400000, 3);
        if (bp_pool_give_back(pool, a) != 0 || bp_pool_give_back(pool, b) != 0)
            return 3;
    }
    if (bp_pool_prewarm(pool, 2, NULL) != 0 || bp_pool_idle_count(pool) != 4)
        return 4;
    (void)bp_pool_release_idle(pool);
    if (bp_pool_give_back(pool, live) != 0 || bp_pool_trim(pool, 1) != 0 || bp_pool_idle_count(pool) != 1)
        return 5;
    return bp_pool_destroy(pool) == 0 ? 0 : 6;
}

START_TEST(fork_copies_the_pool)
{
    struct place on;
    bp_arena *a, *b, *c;
    bp_pool *pool;
    void *p, *q;
    pid_t child;
    int status, i;

    place_open(&on, _i);
    pool = pool_on(on.backing, NULL);
    a = taken(pool);
    b = taken(pool);
    c = taken(pool);
    p = bp_arena_alloc(a, 1000);
    stamp(p, 1000, 1);
    given(pool, b);
    given(pool, c);
    for (i = 0; i < 3; i++) {
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
            _exit(child_life(pool, a, p));
        q = bp_arena_alloc(taken(pool), 50000); /* the parent goes on at the same time */
        stamp(q, 50000, 7);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
        ck_assert(stamped(q, 50000, 7) && stamped(p, 1000, 1));
        counts_are(pool, 1, 2);
        given(pool, c); /* the newest was taken */
        counts_are(pool, 2, 1);
    }
    given(pool, a);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

/* ---- address space refused ---- */

START_TEST(address_space_refused)
{
    struct bp_pool_config c = pool_config();
    struct rlimit limit;
    static bp_arena *a[4096];
    bp_pool *pool;
    size_t n = 0, i;
    int e = 0;

    limit.rlim_cur = limit.rlim_max = 400 * MIB; /* less than the reservation of one arena */
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    c.max_idle = c.max_idle_bytes = BP_UNLIMITED;
    c.arena_size = MIB;
    pool = pool_on(_i == 0 ? bp_backing_reserved() : bp_backing_mmap(), &c);
    while (n < 4096 && (e = bp_pool_checkout(pool, &a[n])) == 0) {
        void *p = bp_arena_alloc(a[n], 100000);

        ck_assert_ptr_nonnull(p);
        stamp(p, 100000, 1);
        n++;
    }
    ck_assert_int_eq(e, ENOMEM);
    ck_assert_uint_ge(n, 4); /* reservations were halved while the system refused */
    counts_are(pool, 0, n);
    ck_assert_int_eq(bp_pool_give_back(pool, a[--n]), 0);
    ck_assert_int_eq(bp_pool_checkout(pool, &a[n]), 0);
    for (i = 0; i <= n; i++)
        given(pool, a[i]);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    a[0] = taken(pool);
    stamp(bp_arena_alloc(a[0], 20 * MIB), 20 * MIB, 1); /* all of it is to be had again */
    given(pool, a[0]);
    pool_gone(pool);
}
END_TEST

static Suite *pool_suite(void)
{
    Suite *s = suite_create("pool");
    TCase *tc = add_case(s, "create");

    tcase_add_test(tc, create_refuses_bad_config);
    tcase_add_test(tc, create_null_config);
    tcase_add_test(tc, create_mints_nothing);
    tcase_add_loop_test(tc, unmakeable_arenas, 0, BACKINGS);
    tcase_add_loop_test(tc, policy_and_size_reach_the_arenas, 0, BACKINGS);
    tc = add_case(s, "cycle");
    tcase_add_loop_test(tc, newest_idle_first, 0, BACKINGS);
    tcase_add_loop_test(tc, newest_idle_first_of_many, 0, 2);
    tcase_add_loop_test(tc, arenas_come_empty, 0, BACKINGS);
    tcase_add_test(tc, out_null_and_give_back_null);
    tcase_add_test(tc, pool_scope);
    tc = add_case(s, "null pool");
    tcase_add_test(tc, null_pool);
    tcase_add_test(tc, null_pool_keeps_the_rules);
    if (may_fork()) {
        tc = add_case(s, "fork");
        tcase_add_loop_test(tc, fork_copies_the_pool, 0, BACKINGS);
    }
    if (may_fork() && faults_are_ours()) { /* the limit stays, and sanitizers need terabytes */
        tc = add_case(s, "address space");
        tcase_add_loop_test(tc, address_space_refused, 0, 2);
    }
    return s;
}

int main(void)
{
    return run_suite(pool_suite());
}
