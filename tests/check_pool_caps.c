/* SPDX-License-Identifier: MIT
 * Pools: the caps on idle arenas, idle bytes and all arenas, prewarming up to them, and many arenas at once.
 */
#include "support.h"

/* Committed bytes that one idle arena of this configuration counts for. */
static size_t bytes_of_one(bp_backing *backing, struct bp_pool_config c)
{
    bp_pool *pool;
    size_t bytes;

    c.max_idle = c.max_idle_bytes = c.max_arenas = BP_UNLIMITED;
    pool = pool_on(backing, &c);
    given(pool, taken(pool));
    bytes = stats_of(pool).idle_bytes;
    ck_assert_uint_ge(bytes, c.arena_size < 65536 ? c.arena_size : 4096);
    pool_gone(pool);
    return bytes;
}

/* ---- caps ---- */

START_TEST(max_idle)
{
    static const size_t caps[] = { 0, 1, 3, BP_UNLIMITED };
    struct bp_pool_config c = pool_config();
    size_t cap = caps[_i], kept = cap < 8 ? cap : 8, i, round;
    bp_backing *f;
    bp_arena *a[8];
    bp_pool *pool;

    f = faulty_over(bp_backing_malloc());
    c.max_idle = cap;
    pool = pool_on(f, &c);
    for (round = 0; round < 3; round++) {
        for (i = 0; i < 8; i++) {
            a[i] = taken(pool);
            stamp(bp_arena_alloc(a[i], 3000), 3000, 1);
        }
        counts_are(pool, 0, 8);
        for (i = 0; i < 8; i++) {
            size_t idle = i + 1 < cap ? i + 1 : cap;

            given(pool, a[i]);
            counts_are(pool, idle, 8 - i - 1);
            ck_assert_uint_eq(faulty_stats(f).extents, idle + 8 - i - 1);
        }
        ck_assert_uint_eq(faulty_stats(f).extents, kept);
    }
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

START_TEST(max_idle_bytes_in_whole_arenas)
{
    struct bp_pool_config c = pool_config();
    struct place on;
    size_t one, k, i, j;

    place_open(&on, _i);
    c.arena_size = 10000;
    one = bytes_of_one(on.backing, c);
    for (k = 0; k <= 4; k++)
        for (j = 0; j < 3; j++) { /* exactly k, one byte less, nearly k + 1 */
            size_t keeps = j == 1 ? (k == 0 ? 4 : k - 1) : k;
            bp_arena *a[6];
            bp_pool *pool;

            c.max_idle_bytes = j == 0 ? k * one : j == 1 ? k * one - 1 : k * one + one - 1;
            if (k == 0 && j == 1)
                c.max_idle_bytes = 4 * one; /* k * one - 1 would be unlimited */
            pool = pool_on(on.backing, &c);
            for (i = 0; i < 6; i++)
                a[i] = taken(pool);
            for (i = 0; i < 6; i++) {
                given(pool, a[i]);
                must(stats_of(pool).idle_bytes <= c.max_idle_bytes);
            }
            counts_are(pool, keeps, 0);
            ck_assert_uint_eq(stats_of(pool).idle_bytes, keeps * one);
            pool_gone(pool);
        }
    place_close(&on);
}
END_TEST

/* Arenas that grew count for what they hold, and none of it escapes the cap. */
START_TEST(max_idle_bytes_of_grown_arenas)
{
    struct rng rng = rng_start("max_idle_bytes_of_grown_arenas");
    struct bp_pool_config c = pool_config();
    bp_backing *f;
    bp_arena *a[5];
    bp_pool *pool;
    size_t i, round;

    f = faulty_over(_i == 0 ? bp_backing_malloc() : _i == 1 ? bp_backing_mmap() : bp_backing_reserved());
    c.arena_size = 4096;
    c.max_spare = _i == 0 ? BP_UNLIMITED : BP_ARENA_SPARE_DEFAULT;
    c.max_idle_bytes = MIB;
    pool = pool_on(f, &c);
    for (round = 0; round < times(60, 10); round++) {
        for (i = 0; i < 5; i++) {
            size_t most = rng_below(&rng, 4) == 0 ? 3 * MIB : 100000;

            a[i] = taken(pool);
            must(bp_arena_alloc(a[i], 1 + rng_below(&rng, most)) != NULL);
            must(bp_arena_alloc(a[i], 1 + rng_below(&rng, 9000)) != NULL);
        }
        for (i = 0; i < 5; i++) {
            given(pool, a[i]);
            must(stats_of(pool).idle_bytes <= MIB);
        }
        if (_i < 2) /* all of their memory is committed */
            must(faulty_stats(f).bytes <= MIB + 16 * KIB);
    }
    /* too large to keep at all */
    a[0] = taken(pool);
    must(bp_arena_alloc(a[0], 8 * MIB) != NULL);
    given(pool, a[0]);
    ck_assert_uint_le(stats_of(pool).idle_bytes, MIB);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* At max_idle the newest stay: what was given back last is what the caches know. */
START_TEST(oldest_makes_room)
{
    struct bp_pool_config c = pool_config();
    bp_arena *a[6];
    bp_pool *pool;
    size_t i;

    c.max_idle = 3;
    pool = pool_on(NULL, &c);
    for (i = 0; i < 6; i++)
        a[i] = taken(pool);
    for (i = 0; i < 6; i++)
        given(pool, a[i]);
    counts_are(pool, 3, 0);
    ck_assert_uint_eq(stats_of(pool).disposals, 3);
    for (i = 6; i-- > 3;)
        ck_assert_ptr_eq(taken(pool), a[i]);
    for (i = 3; i < 6; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

/* But one that is too large does not drive the small ones out. */
START_TEST(too_large_goes_itself)
{
    struct bp_pool_config c = pool_config();
    bp_arena *small[2], *large;
    bp_pool *pool;

    c.max_idle = 2;
    c.arena_size = 64 * KIB;
    c.max_idle_bytes = 128 * KIB;
    pool = pool_on(bp_backing_reserved(), &c);
    large = taken(pool);
    small[0] = taken(pool);
    small[1] = taken(pool);
    must(bp_arena_alloc(large, 500 * KIB) != NULL);
    given(pool, small[0]);
    given(pool, small[1]);
    given(pool, large);
    counts_are(pool, 2, 0);
    ck_assert_ptr_eq(taken(pool), small[1]);
    ck_assert_ptr_eq(taken(pool), small[0]);
    given(pool, small[0]);
    given(pool, small[1]);
    pool_gone(pool);
}
END_TEST

START_TEST(max_arenas)
{
    struct bp_pool_config c = pool_config();
    bp_arena *untouched = (bp_arena *)(void *)&c, *a = NULL, *b = NULL, *x = untouched;
    bp_pool *pool;

    c.max_arenas = 0;
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
    ck_assert_ptr_eq(x, untouched);
    ck_assert_uint_eq(stats_of(pool).refusals, 1);
    ck_assert_int_eq(bp_pool_prewarm(pool, 4, NULL), 0);
    counts_are(pool, 0, 0);
    pool_gone(pool);

    c.max_arenas = 2;
    pool = pool_on(NULL, &c);
    a = taken(pool);
    b = taken(pool);
    ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
    ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
    ck_assert_ptr_eq(x, untouched);
    counts_are(pool, 0, 2);
    given(pool, a);
    counts_are(pool, 1, 1);
    ck_assert_ptr_eq(taken(pool), a);
    given(pool, a);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0); /* the place is free again */
    counts_are(pool, 0, 1);
    a = taken(pool);
    ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
    ck_assert_uint_eq(stats_of(pool).refusals, 3);
    ck_assert_uint_eq(stats_of(pool).peak_arenas, 2);
    given(pool, a);
    given(pool, b);
    pool_gone(pool);

    /* an arena that the idle caps dispose of frees its place too */
    c.max_idle = 0;
    pool = pool_on(NULL, &c);
    a = taken(pool);
    b = taken(pool);
    given(pool, a);
    a = taken(pool);
    ck_assert_int_eq(bp_pool_checkout(pool, &x), EAGAIN);
    given(pool, a);
    given(pool, b);
    counts_are(pool, 0, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(destroy_waits_for_live_arenas)
{
    bp_backing *f;
    bp_arena *a, *b;
    bp_pool *pool;
    void *p;

    ck_assert_int_eq(bp_pool_destroy(NULL), 0);
    f = faulty_over(bp_backing_malloc());
    pool = pool_on(f, NULL);
    a = taken(pool);
    b = taken(pool);
    given(pool, b);
    p = bp_arena_alloc(a, 1000);
    stamp(p, 1000, 1);
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    ck_assert_uint_eq(faulty_stats(f).extents, 2); /* nothing is freed */
    counts_are(pool, 1, 1);
    ck_assert(stamped(p, 1000, 1));
    ck_assert_ptr_eq(taken(pool), b);
    ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
    given(pool, a);
    given(pool, b);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
    faulty_gone(f);
}
END_TEST

/* ---- prewarm ---- */

START_TEST(prewarm_adds_idle_arenas)
{
    struct place on;
    bp_pool *pool;
    size_t added = 99, i;
    bp_arena *a[6];

    place_open(&on, _i);
    pool = pool_on(on.backing, NULL);
    ck_assert_int_eq(bp_pool_prewarm(pool, 0, &added), 0);
    ck_assert_uint_eq(added, 0);
    ck_assert_int_eq(bp_pool_prewarm(pool, 4, &added), 0);
    ck_assert_uint_eq(added, 4);
    counts_are(pool, 4, 0);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1, NULL), 0);
    counts_are(pool, 5, 0);
    ck_assert_uint_eq(stats_of(pool).mints, 5);
    for (i = 0; i < 6; i++)
        a[i] = taken(pool);
    ck_assert_uint_eq(stats_of(pool).hits, 5);
    ck_assert_uint_eq(stats_of(pool).mints, 6);
    for (i = 0; i < 6; i++) {
        ck_assert_uint_eq(bp_arena_used(a[i]), 0);
        stamp(bp_arena_alloc(a[i], 65536), 65536, (unsigned)i);
        given(pool, a[i]);
    }
    pool_gone(pool);
    place_close(&on);
}
END_TEST

START_TEST(prewarm_stops_at_the_caps)
{
    struct bp_pool_config c = pool_config();
    size_t one = bytes_of_one(NULL, c), added;
    bp_arena *a;
    bp_pool *pool;

    c.max_idle = 3;
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 100, &added), 0);
    ck_assert_uint_eq(added, 3);
    added = 99;
    ck_assert_int_eq(bp_pool_prewarm(pool, SIZE_MAX, &added), 0);
    ck_assert_uint_eq(added, 0);
    a = taken(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, SIZE_MAX, &added), 0);
    ck_assert_uint_eq(added, 1);
    given(pool, a); /* over the cap now */
    counts_are(pool, 3, 0);
    pool_gone(pool);

    c = pool_config();
    c.max_idle = c.max_idle_bytes = BP_UNLIMITED;
    c.max_arenas = 5;
    pool = pool_on(NULL, &c);
    a = taken(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, SIZE_MAX, &added), 0);
    ck_assert_uint_eq(added, 4);
    counts_are(pool, 4, 1);
    given(pool, a);
    pool_gone(pool);

    c = pool_config();
    c.max_idle_bytes = 2 * one + one / 2;
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 10, &added), 0);
    ck_assert_uint_eq(added, 2);
    ck_assert_uint_le(stats_of(pool).idle_bytes, c.max_idle_bytes);
    pool_gone(pool);

    c = pool_config();
    c.max_idle_bytes = 0;
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 10, &added), 0);
    ck_assert_uint_eq(added, 0);
    counts_are(pool, 0, 0);
    pool_gone(pool);

    c = pool_config();
    c.max_idle = 0;
    pool = pool_on(NULL, &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 10, &added), 0);
    ck_assert_uint_eq(added, 0);
    pool_gone(pool);
}
END_TEST

/* A backing whose populate gives an arena back: what another thread may do at that moment. */
static struct busy {
    bp_backing backing;
    struct bp_backing_ops ops;
    bp_pool *pool;
    bp_arena *arena;
    size_t idle;
} busy;

static int busy_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    bp_backing *mapped = bp_backing_mmap();

    (void)self;
    return mapped->ops->acquire(mapped, min, preferred, align, out);
}

static void busy_dispose(bp_backing *self, const struct bp_extent *extent)
{
    bp_backing *mapped = bp_backing_mmap();

    (void)self;
    mapped->ops->dispose(mapped, extent);
}

static int busy_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    (void)extent;
    (void)offset;
    (void)length;
    if (busy.arena != NULL)
        given(busy.pool, busy.arena);
    busy.arena = NULL;
    busy.idle = bp_pool_idle_count(busy.pool);
    return 0;
}

START_TEST(prewarm_beside_a_give_back)
{
    struct bp_pool_config c = pool_config();
    size_t added = 99;

    busy.ops = (struct bp_backing_ops){ .struct_size = sizeof busy.ops, .name = "busy", .acquire = busy_acquire,
                                        .dispose = busy_dispose, .populate = busy_populate };
    busy.backing.ops = &busy.ops;
    c.max_idle = 1;
    c.prefault = 4096;
    busy.pool = pool_on(&busy.backing, &c);
    busy.arena = taken(busy.pool);
    ck_assert_int_eq(bp_pool_prewarm(busy.pool, 4, &added), 0);
    ck_assert_uint_le(busy.idle, 1);
    counts_are(busy.pool, 1, 0);
    ck_assert_uint_eq(stats_of(busy.pool).checkouts, stats_of(busy.pool).give_backs);
    pool_gone(busy.pool);
}
END_TEST

START_TEST(prewarm_counts_right_on_error)
{
    bp_backing *f;
    bp_pool *pool;
    size_t added = 99;

    f = faulty_over(bp_backing_mmap());
    pool = pool_on(f, NULL);
    faulty_plan(f, BP_FAULTY_ACQUIRE, 4, true);
    ck_assert_int_eq(bp_pool_prewarm(pool, 10, &added), ENOMEM);
    ck_assert_uint_eq(added, 3);
    counts_are(pool, 3, 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 3);
    added = 99;
    ck_assert_int_eq(bp_pool_prewarm(pool, 1, &added), ENOMEM);
    ck_assert_uint_eq(added, 0);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1, NULL), ENOMEM);
    faulty_plan(f, BP_FAULTY_ALL, 0, false);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2, &added), 0);
    ck_assert_uint_eq(added, 2);
    counts_are(pool, 5, 0);
    pool_gone(pool);
    faulty_gone(f);
}
END_TEST

/* ---- many at once ---- */

static void many_live(bp_backing *backing, size_t n, size_t arena_size)
{
    struct bp_pool_config c = pool_config();
    bp_arena **a = malloc(n * sizeof *a);
    void **p = malloc(n * sizeof *p);
    bp_pool *pool;
    size_t i, round;

    ck_assert(a != NULL && p != NULL);
    c.arena_size = arena_size;
    c.max_idle = c.max_idle_bytes = BP_UNLIMITED;
    pool = pool_on(backing, &c);
    for (round = 0; round < 2; round++) {
        for (i = 0; i < n; i++) {
            a[i] = taken(pool);
            p[i] = bp_arena_alloc(a[i], arena_size);
            must(p[i] != NULL);
            stamp(p[i], arena_size, (unsigned)i);
        }
        counts_are(pool, 0, n);
        for (i = 0; i < n; i++)
            must(stamped(p[i], arena_size, (unsigned)i));
        for (i = 0; i < n; i++)
            given(pool, a[i * 7919 % n]); /* n is no multiple of the prime: each one once */
        counts_are(pool, n, 0);
    }
    ck_assert_uint_eq(stats_of(pool).mints, n);
    ck_assert_uint_eq(stats_of(pool).peak_arenas, n);
    ck_assert_int_eq(bp_pool_trim(pool, n / 2), 0);
    counts_are(pool, n / 2, 0);
    pool_gone(pool);
    free(p);
    free(a);
}

START_TEST(thousands_live)
{
    struct place on;

    place_open(&on, _i);
    many_live(on.backing, times(2000, 50), 1024); /* Valgrind has no room for many reservations */
    place_close(&on);
}
END_TEST

START_TEST(a_hundred_thousand_live)
{
    many_live(bp_backing_malloc(), times(100000, 2000), 64);
}
END_TEST

START_TEST(a_buffer_used_up)
{
    enum { N = 64 };
    static char memory[64 * 1024];
    struct bp_pool_config c = pool_config();
    struct bp_buffer_backing buffer;
    bp_arena *a[N], *x = NULL;
    bp_pool *pool;
    size_t n = 0, i;

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    c.arena_size = 4096;
    pool = pool_on(&buffer.backing, &c);
    for (;;) {
        int e = bp_pool_checkout(pool, &x);

        if (e != 0) {
            ck_assert_int_eq(e, ENOMEM);
            break;
        }
        ck_assert_uint_lt(n, N);
        a[n++] = x;
    }
    ck_assert_uint_ge(n, 12);
    ck_assert_uint_le(n, 16);
    counts_are(pool, 0, n);
    given(pool, a[0]);
    ck_assert_ptr_eq(taken(pool), a[0]);
    for (i = 0; i < n; i++)
        given(pool, a[i]);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    for (i = 0; i < n; i++)
        a[i] = taken(pool); /* all of the memory is to be had again */
    for (i = 0; i < n; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

static Suite *caps_suite(void)
{
    Suite *s = suite_create("pool caps");
    TCase *tc = add_case(s, "caps");

    tcase_add_loop_test(tc, max_idle, 0, 4);
    tcase_add_loop_test(tc, max_idle_bytes_in_whole_arenas, 0, BACKINGS);
    tcase_add_loop_test(tc, max_idle_bytes_of_grown_arenas, 0, 3);
    tcase_add_test(tc, oldest_makes_room);
    tcase_add_test(tc, too_large_goes_itself);
    tcase_add_test(tc, max_arenas);
    tcase_add_test(tc, destroy_waits_for_live_arenas);
    tc = add_case(s, "prewarm");
    tcase_add_loop_test(tc, prewarm_adds_idle_arenas, 0, BACKINGS);
    tcase_add_test(tc, prewarm_stops_at_the_caps);
    tcase_add_test(tc, prewarm_beside_a_give_back);
    tcase_add_test(tc, prewarm_counts_right_on_error);
    tc = add_case(s, "many");
    tcase_add_loop_test(tc, thousands_live, 0, BACKINGS);
    tcase_add_test(tc, a_hundred_thousand_live);
    tcase_add_test(tc, a_buffer_used_up);
    return s;
}

int main(void)
{
    return run_suite(caps_suite());
}
