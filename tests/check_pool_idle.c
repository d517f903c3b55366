/* SPDX-License-Identifier: MIT
 * Pools: what is done to idle arenas (release_idle, trim, wiping, prefaulting) and what stats tell of it.
 */
#include "support.h"

static struct misuse_log misuse;

/* ---- release_idle ---- */

/* The address of the page that p lies in. */
static char *page_of(char *p)
{
    return p - ((uintptr_t)p & (page_size() - 1));
}

START_TEST(release_returns_touched_pages)
{
    struct bp_pool_config c = pool_config();
    size_t page = page_size(), n, released;
    bp_pool *pool;
    bp_arena *a;
    char *p;

    no_huge_pages();
    c.arena_size = 8 * MIB;
    pool = pool_on(_i == 0 ? bp_backing_mmap() : bp_backing_reserved(), &c);
    ck_assert_uint_eq(bp_pool_release_idle(pool), 0);
    for (n = 64 * KIB; n <= 4 * MIB; n *= 4) {
        a = taken(pool);
        p = bp_arena_alloc(a, n);
        ck_assert_ptr_nonnull(p);
        stamp(p, n, 1);
        given(pool, a);
        ck_assert_uint_ge(pages_resident(p, n), n / page - 2);
        released = bp_pool_release_idle(pool);
        ck_assert_uint_ge(released, n - 2 * page);
        ck_assert_uint_le(released, n + 2 * page); /* only what was touched */
        ck_assert_uint_le(pages_resident(page_of(p) + page, n - page), 1); /* really gone */
        ck_assert_uint_eq(bp_pool_release_idle(pool), 0); /* clean already */
        counts_are(pool, 1, 0);

        a = taken(pool);
        ck_assert_ptr_eq(seen(bp_arena_zalloc(a, n)), p); /* the address range was kept */
        ck_assert_uint_le(pages_resident(page_of(p) + page, n - page), 1); /* not written for zeros */
        ck_assert(all_bytes(p, n, 0));
        memset(p, 0x3C, n);
        bp_arena_reset(a);
        ck_assert(all_bytes(bp_arena_zalloc(a, n), n, 0));
        given(pool, a);
        ck_assert_uint_gt(bp_pool_release_idle(pool), 0);
    }
    pool_gone(pool);
}
END_TEST

START_TEST(release_where_nobody_can)
{
    bp_pool *pool;
    bp_arena *a;
    struct place on;

    place_open(&on, _i);
    pool = pool_on(on.backing, NULL);
    a = taken(pool);
    stamp(bp_arena_alloc(a, 65536), 65536, 1);
    given(pool, a);
    if (_i == ON_MALLOC || _i == ON_BUFFER)
        ck_assert_uint_eq(bp_pool_release_idle(pool), 0);
    else
        ck_assert_uint_gt(bp_pool_release_idle(pool), 0);
    counts_are(pool, 1, 0);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert(all_bytes(bp_arena_zalloc(a, 60000), 60000, 0));
    given(pool, a);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

START_TEST(release_skips_clean_and_live_arenas)
{
    bp_backing *f;
    bp_arena *a[4];
    bp_pool *pool;
    void *p;
    size_t i, releases;

    no_huge_pages();
    f = faulty_over(bp_backing_mmap());
    pool = pool_on(f, NULL);
    for (i = 0; i < 4; i++)
        a[i] = taken(pool);
    p = bp_arena_alloc(a[0], 60000);
    stamp(p, 60000, 1);
    stamp(bp_arena_alloc(a[1], 60000), 60000, 2);
    given(pool, a[1]);
    given(pool, a[2]); /* untouched */
    given(pool, a[3]);
    ck_assert_uint_ge(bp_pool_release_idle(pool), 50000);
    ck_assert(stamped(p, 60000, 1)); /* live arenas are left alone */
    releases = faulty_stats(f).releases;
    ck_assert_uint_le(releases, 1);
    ck_assert_uint_eq(stats_of(pool).releases, 1);
    ck_assert_uint_eq(bp_pool_release_idle(pool), 0);
    ck_assert_uint_eq(faulty_stats(f).releases, releases); /* no system call for arenas that nobody touched since */
    given(pool, a[0]);
    ck_assert_ptr_eq(taken(pool), a[0]); /* warm before those that were released */
    stamp(bp_arena_alloc(a[0], 60000), 60000, 1);
    given(pool, a[0]);
    ck_assert_uint_ge(bp_pool_release_idle(pool), 50000);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

START_TEST(release_keeps_the_order)
{
    bp_pool *pool = pool_on(NULL, NULL);
    bp_arena *a[40];
    size_t i;

    for (i = 0; i < 40; i++) /* more than are under work at a time */
        a[i] = taken(pool);
    for (i = 0; i < 40; i++) {
        stamp(bp_arena_alloc(a[i], 20000), 20000, 1);
        given(pool, a[i]);
    }
    ck_assert_uint_gt(bp_pool_release_idle(pool), 0);
    counts_are(pool, 40, 0);
    for (i = 40; i-- > 0;)
        ck_assert_ptr_eq(taken(pool), a[i]);
    for (i = 0; i < 40; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

START_TEST(release_disposes_of_spares)
{
    struct bp_pool_config c = pool_config();
    bp_backing *f;
    bp_arena *a;
    bp_pool *pool;

    f = faulty_over(_i == 0 ? bp_backing_mmap() : bp_backing_malloc());
    c.arena_size = 4096;
    pool = pool_on(f, &c);
    a = taken(pool);
    stamp(bp_arena_alloc(a, 4096), 4096, 1);
    stamp(bp_arena_alloc(a, 200000), 200000, 1);
    given(pool, a);
    ck_assert_uint_gt(faulty_stats(f).extents, 1);
    (void)bp_pool_release_idle(pool);
    ck_assert_uint_eq(faulty_stats(f).extents, 1);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, faulty_stats(f).bytes);
    counts_are(pool, 1, 0);
    ck_assert_ptr_eq(taken(pool), a);
    stamp(bp_arena_alloc(a, 200000), 200000, 1);
    given(pool, a);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- trim ---- */

START_TEST(trim_disposes_oldest_first)
{
    bp_backing *f;
    bp_arena *a[5];
    bp_pool *pool;
    size_t i;

    f = faulty_over(bp_backing_malloc());
    pool = pool_on(f, NULL);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    for (i = 0; i < 5; i++)
        a[i] = taken(pool);
    for (i = 0; i < 5; i++)
        given(pool, a[i]);
    ck_assert_int_eq(bp_pool_trim(pool, 5), 0);
    ck_assert_int_eq(bp_pool_trim(pool, 6), 0);
    ck_assert_int_eq(bp_pool_trim(pool, SIZE_MAX), 0);
    counts_are(pool, 5, 0);
    ck_assert_int_eq(bp_pool_trim(pool, 2), 0);
    counts_are(pool, 2, 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 2);
    ck_assert_uint_eq(stats_of(pool).disposals, 3);
    ck_assert_ptr_eq(taken(pool), a[4]);
    ck_assert_ptr_eq(taken(pool), a[3]);
    given(pool, a[4]);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0); /* live ones are no business of trim */
    counts_are(pool, 0, 1);
    ck_assert_uint_eq(faulty_stats(f).extents, 1);
    stamp(bp_arena_alloc(a[3], 1000), 1000, 1);
    given(pool, a[3]);
    counts_are(pool, 1, 0);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- stats ---- */

START_TEST(stats_of_a_life)
{
    struct bp_pool_config c = pool_config();
    struct bp_pool_stats s;
    bp_backing *f;
    bp_arena *a, *b, *x = NULL;
    bp_pool *pool;
    size_t i, added, released;

    f = faulty_over(bp_backing_mmap());
    c.arena_size = 16 * KIB;
    c.max_idle = 2;
    c.max_arenas = 3;
    pool = pool_on(f, &c);
    ck_assert_int_eq(bp_pool_stats(pool, NULL), EINVAL);
    s = stats_of(pool);
    for (i = 0; i < sizeof s; i++)
        ck_assert_int_eq(((unsigned char *)&s)[i], 0);

    ck_assert_int_eq(bp_pool_prewarm(pool, 1, &added), 0);
    s = stats_of(pool);
    ck_assert_uint_eq(s.mints, 1);
    ck_assert_uint_eq(s.idle, 1);
    ck_assert_uint_eq(s.peak_arenas, 1);
    ck_assert_uint_eq(s.idle_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.reserved_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.committed_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.checkouts + s.hits + s.give_backs, 0);

    a = taken(pool); /* the idle one */
    b = taken(pool); /* a new one */
    x = taken(pool);
    s = stats_of(pool);
    ck_assert_uint_eq(s.checkouts, 3);
    ck_assert_uint_eq(s.hits, 1);
    ck_assert_uint_eq(s.mints, 3);
    ck_assert_uint_eq(s.live, 3);
    ck_assert_uint_eq(s.idle, 0);
    ck_assert_uint_eq(s.idle_bytes, 0);
    ck_assert_uint_eq(s.peak_arenas, 3);
    ck_assert_uint_eq(s.reserved_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.committed_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.spills, 0);

    {
        bp_arena *untouched = x;

        ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
        ck_assert_ptr_eq(x, untouched);
    }
    ck_assert_uint_eq(stats_of(pool).refusals, 1);
    ck_assert_uint_eq(stats_of(pool).checkouts, 3);

    stamp(bp_arena_alloc(a, 10000), 10000, 1);
    ck_assert_ptr_nonnull(bp_arena_alloc(b, 100000));
    s = stats_of(pool);
    ck_assert_uint_eq(s.spills, faulty_stats(f).acquires - 3);
    ck_assert_uint_ge(s.spills, 1);
    ck_assert_uint_eq(s.reserved_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.committed_bytes, faulty_stats(f).bytes);

    given(pool, b);
    s = stats_of(pool);
    ck_assert_uint_eq(s.give_backs, 1);
    ck_assert_uint_ge(s.high_water, 100000);
    ck_assert_uint_lt(s.high_water, 200000);
    given(pool, a);
    given(pool, x); /* over max_idle: x or another one goes */
    s = stats_of(pool);
    ck_assert_uint_eq(s.give_backs, 3);
    ck_assert_uint_eq(s.disposals, 1);
    ck_assert_uint_eq(s.idle, 2);
    ck_assert_uint_eq(s.live, 0);
    ck_assert_uint_eq(s.idle_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.committed_bytes, faulty_stats(f).bytes);
    ck_assert_uint_eq(s.peak_arenas, 3);

    released = bp_pool_release_idle(pool);
    s = stats_of(pool);
    ck_assert_uint_ge(s.releases, 1);
    ck_assert_uint_eq(s.released_bytes, released);
    ck_assert_uint_eq(s.idle_bytes, faulty_stats(f).bytes);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    s = stats_of(pool);
    ck_assert_uint_eq(s.disposals, 3);
    ck_assert_uint_eq(s.idle, 0);
    ck_assert_uint_eq(s.idle_bytes, 0);
    ck_assert_uint_eq(s.reserved_bytes, 0);
    ck_assert_uint_eq(s.committed_bytes, 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 0);
    for (i = 0; i < sizeof s.reserved / sizeof s.reserved[0]; i++)
        ck_assert_uint_eq(s.reserved[i], 0);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* Of an arena over a reservation only what is committed counts as kept. */
START_TEST(stats_of_reserved_arenas)
{
    struct bp_pool_config c = pool_config();
    struct bp_pool_stats s;
    bp_arena *a;
    bp_pool *pool;

    c.arena_size = 4096;
    pool = pool_on(bp_backing_reserved(), &c);
    a = taken(pool);
    s = stats_of(pool);
    ck_assert_uint_ge(s.reserved_bytes, 16 * MIB);
    ck_assert_uint_lt(s.committed_bytes, MIB);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 4 * MIB));
    s = stats_of(pool);
    ck_assert_uint_ge(s.committed_bytes, 4 * MIB);
    ck_assert_uint_le(s.committed_bytes, 12 * MIB);
    ck_assert_uint_eq(s.spills, 0);
    given(pool, a);
    s = stats_of(pool);
    ck_assert_uint_ge(s.idle_bytes, 4 * MIB);
    ck_assert_uint_eq(s.idle_bytes, s.committed_bytes);
    pool_gone(pool);
}
END_TEST

/* ---- zero_on_give_back ---- */

/* No byte of the pattern may be had by the next unit, wherever the last one left it. */
static bool wiped(bp_arena *a, size_t n)
{
    const unsigned char *p = seen(bp_arena_alloc(a, n));
    size_t i;

    must(p != NULL);
    for (i = 0; i < n; i++)
        if (p[i] == 0xA9)
            return false;
    return true;
}

static void write_pattern(bp_arena *a, size_t n)
{
    void *p = seen(bp_arena_alloc(a, n));

    must(p != NULL);
    memset(p, 0xA9, n);
}

START_TEST(zero_on_give_back)
{
    struct bp_pool_config c = pool_config();
    bp_arena *a;
    bp_pool *pool;
    bp_mark mark;
    struct place on;
    int round;

    place_open(&on, _i);
    c.arena_size = 32 * KIB;
    c.zero_on_give_back = true;
    pool = pool_on(on.backing, &c);
    a = taken(pool);
    write_pattern(a, 32 * KIB);
    given(pool, a);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert(wiped(a, 32 * KIB));
    given(pool, a);

    ck_assert_ptr_eq(taken(pool), a); /* rewound */
    mark = bp_arena_mark(a);
    write_pattern(a, 30000);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    given(pool, a);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert(wiped(a, 32 * KIB));
    given(pool, a);

    ck_assert_ptr_eq(taken(pool), a); /* reset by the holder */
    write_pattern(a, 30000);
    bp_arena_reset(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 64));
    given(pool, a);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert(wiped(a, 32 * KIB));
    given(pool, a);

    ck_assert_ptr_eq(taken(pool), a); /* shrunk */
    {
        void *p = bp_arena_alloc(a, 30000);

        memset(p, 0xA9, 30000);
        ck_assert_ptr_nonnull(bp_arena_realloc(a, p, 30000, 10));
    }
    given(pool, a);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert(wiped(a, 32 * KIB));
    given(pool, a);

    for (round = 0; round < 4; round++) { /* in spill extents and grown parts, retired in several ways */
        ck_assert_ptr_eq(taken(pool), a);
        mark = bp_arena_mark(a);
        write_pattern(a, 20000);
        write_pattern(a, 20000);
        write_pattern(a, 100000);
        write_pattern(a, 50000);
        if (round == 1)
            ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
        if (round == 2)
            bp_arena_reset(a);
        given(pool, a);
        ck_assert_ptr_eq(taken(pool), a);
        ck_assert(wiped(a, 20000));
        ck_assert(wiped(a, 20000));
        ck_assert(wiped(a, 100000));
        ck_assert(wiped(a, 50000));
        given(pool, a);
    }
    pool_gone(pool);
    place_close(&on);
}
END_TEST

static void leave_a_pattern(void *data)
{
    write_pattern(data, 5000);
}

START_TEST(zero_on_give_back_after_cleanups)
{
    struct bp_pool_config c = pool_config();
    bp_arena *a;
    bp_pool *pool;

    c.zero_on_give_back = true;
    pool = pool_on(NULL, &c);
    a = taken(pool);
    ck_assert_int_eq(bp_arena_on_reset(a, leave_a_pattern, a), 0);
    given(pool, a);
    ck_assert_ptr_eq(taken(pool), a);
    ck_assert(wiped(a, 60000));
    given(pool, a);
    pool_gone(pool);
}
END_TEST

/* ---- prefault ---- */

static void fill(void *p, size_t n)
{
    memset(seen(p), 1, n);
}

START_TEST(prefault_makes_pages_resident)
{
    struct bp_pool_config c = pool_config();
    size_t page = page_size(), n = 256 * KIB;
    bp_arena *a;
    bp_pool *pool;
    char *p;
    long before, after;

    no_huge_pages();
    c.arena_size = MIB;
    c.prefault = n;
    pool = pool_on(_i == 0 ? bp_backing_mmap() : bp_backing_reserved(), &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2, NULL), 0);
    a = taken(pool);
    p = bp_arena_alloc(a, n - page); /* what the bookkeeping moves the first block by is less than a page */
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_ge(pages_resident(p, n - page), (n - page) / page - 1);
    before = faults_so_far();
    fill(p, n - page);
    after = faults_so_far();
    if (faults_are_ours())
        ck_assert_int_eq(after - before, 0);
    /* and no more than that was made resident */
    p = bp_arena_alloc(a, MIB - n);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_le(pages_resident(p, MIB - n), 2);
    given(pool, a);
    pool_gone(pool);
}
END_TEST

START_TEST(prefault_is_clamped_and_never_an_error)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool;
    bp_arena *a;
    size_t added = 0;
    struct place on;

    place_open(&on, _i);
    c.prefault = 4 * MIB; /* more than most of these arenas have */
    pool = pool_on(on.backing, &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2, &added), 0);
    ck_assert_uint_eq(added, 2);
    a = taken(pool);
    stamp(bp_arena_alloc(a, 65536), 65536, 1);
    given(pool, a);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

/* ---- name ---- */

START_TEST(name_is_copied_and_cut)
{
    struct bp_pool_config c = pool_config();
    bp_arena *stranger = spill_arena(NULL, 4096);
    char name[64];
    bp_pool *pool;

    misuse_listen(&misuse);
    snprintf(name, sizeof name, "%s", "0123456789abcdef0123456789ABCDE!overlong");
    c.name = name;
    pool = pool_on(NULL, &c);
    memset(name, 'z', sizeof name); /* the caller's copy may go */
    ck_assert_int_eq(bp_pool_give_back(pool, stranger), EINVAL);
    ck_assert_ptr_nonnull(strstr(misuse.message, "0123456789abcdef0123456789ABCDE"));
    ck_assert_ptr_null(strstr(misuse.message, "ABCDE!"));
    pool_gone(pool);
    misuse.count = 0;
    c.name = "";
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(bp_pool_give_back(pool, stranger), EINVAL);
    ck_assert_int_eq(misuse.count, 1);
    pool_gone(pool);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_int_eq(bp_arena_destroy(stranger), 0);
}
END_TEST

static Suite *idle_suite(void)
{
    Suite *s = suite_create("pool idle");
    TCase *tc = add_case(s, "release");

    tcase_add_loop_test(tc, release_returns_touched_pages, 0, 2);
    tcase_add_loop_test(tc, release_where_nobody_can, 0, BACKINGS);
    tcase_add_test(tc, release_skips_clean_and_live_arenas);
    tcase_add_test(tc, release_keeps_the_order);
    tcase_add_loop_test(tc, release_disposes_of_spares, 0, 2);
    tc = add_case(s, "trim");
    tcase_add_test(tc, trim_disposes_oldest_first);
    tc = add_case(s, "stats");
    tcase_add_test(tc, stats_of_a_life);
    tcase_add_test(tc, stats_of_reserved_arenas);
    tc = add_case(s, "wipe");
    tcase_add_loop_test(tc, zero_on_give_back, 0, BACKINGS);
    tcase_add_test(tc, zero_on_give_back_after_cleanups);
    tc = add_case(s, "prefault");
    tcase_add_loop_test(tc, prefault_makes_pages_resident, 0, 2);
    tcase_add_loop_test(tc, prefault_is_clamped_and_never_an_error, 0, BACKINGS);
    tc = add_case(s, "name");
    tcase_add_test(tc, name_is_copied_and_cut);
    return s;
}

int main(void)
{
    return run_suite(idle_suite());
}
