/* SPDX-License-Identifier: MIT
 * Arenas that grow: spill extents and the spares kept of them, growth in place over a reservation, and
 * zeroed memory in all the states that memory can be in.
 */
#include "support.h"

/* The inner backings of the growth tests: one with pages and one without. */
static bp_backing *inner(int i)
{
    return i == 0 ? bp_backing_malloc() : bp_backing_mmap();
}

/* ---- spill ---- */

START_TEST(chain_grows)
{
    enum { N = 4000 };
    static void *blocks[N];
    bp_backing *f;
    bp_arena *a;
    size_t i;

    f = faulty_over(inner(_i));
    a = spill_arena(f, 4096);
    for (i = 0; i < N; i++) {
        blocks[i] = bp_arena_alloc(a, 100);
        must(blocks[i] != NULL);
        stamp(blocks[i], 100, (unsigned)i);
    }
    for (i = 0; i < N; i++)
        must(stamped(blocks[i], 100, (unsigned)i) && bp_arena_owns(a, blocks[i]));
    ck_assert_uint_gt(faulty_stats(f).extents, 1);
    ck_assert_uint_ge(bp_arena_used(a), N * round16(100));
    ck_assert_uint_ge(bp_arena_capacity(a), bp_arena_used(a));
    ck_assert_uint_eq(bp_arena_high_water(a), bp_arena_used(a));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

/* The number of system calls must not follow the number of blocks, nor the memory twice the need. */
START_TEST(growth_is_geometric_and_bounded)
{
    bp_backing *f;
    bp_arena *a;
    size_t i, need = 16 * MIB;

    f = faulty_over(inner(_i));
    a = spill_arena(f, 4096);
    for (i = 0; i < need / 112; i++)
        must(bp_arena_alloc(a, 100) != NULL);
    ck_assert_uint_le(faulty_stats(f).acquires, 64);
    ck_assert_uint_le(faulty_stats(f).bytes, 3 * need);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

/* The base of growth is what small blocks needed so far; a huge block is no sign of more to come. */
START_TEST(huge_block_is_no_growth_base)
{
    bp_backing *f;
    bp_arena *a;
    size_t i, acquires, bytes;

    f = faulty_over(inner(_i));
    a = spill_arena(f, 4096);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 64 * MIB));
    acquires = faulty_stats(f).acquires;
    bytes = faulty_stats(f).bytes;
    ck_assert_uint_le(bytes, 66 * MIB);
    for (i = 0; i < MIB / 64; i++)
        must(bp_arena_alloc(a, 64) != NULL);
    ck_assert_uint_le(faulty_stats(f).acquires - acquires, 64);
    ck_assert_uint_le(faulty_stats(f).bytes - bytes, 8 * MIB);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(oversize_leaves_the_current_extent_in_use)
{
    bp_backing *f;
    bp_arena *a;
    char *p, *q, *big[20];
    size_t i;

    f = faulty_over(inner(_i));
    a = spill_arena(f, 64 * KIB);
    p = bp_arena_alloc(a, 64);
    for (i = 0; i < 20; i++) {
        big[i] = bp_arena_alloc(a, 10 * MIB);
        ck_assert_ptr_nonnull(big[i]);
        stamp(big[i], 4096, (unsigned)i);
        stamp(big[i] + 10 * MIB - 4096, 4096, (unsigned)i + 50);
        q = bp_arena_alloc(a, 64);
        ck_assert_ptr_eq(q, p + 64);
        stamp(q, 64, (unsigned)i);
        p = q;
    }
    for (i = 0; i < 20; i++) {
        ck_assert(stamped(big[i], 4096, (unsigned)i));
        ck_assert(stamped(big[i] + 10 * MIB - 4096, 4096, (unsigned)i + 50));
        ck_assert(bp_arena_owns(a, big[i]) && bp_arena_owns(a, big[i] + 10 * MIB - 1));
    }
    ck_assert_uint_le(faulty_stats(f).bytes, 204 * MIB);
    ck_assert_uint_ge(bp_arena_used(a), 200 * MIB);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(spares_zero_keeps_none)
{
    bp_backing *f;
    bp_arena *a;
    size_t capacity;
    bp_mark mark;
    int i;

    f = faulty_over(inner(_i));
    a = arena_on(f, 4096, BP_ARENA_SPILL, 0);
    capacity = bp_arena_capacity(a);
    for (i = 0; i < 3; i++) {
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 3000));
        mark = bp_arena_mark(a);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 3000));
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 100000));
        ck_assert_uint_gt(faulty_stats(f).extents, 1);
        if (i == 1) {
            ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
            ck_assert_uint_eq(bp_arena_used(a), round16(3000));
        }
        bp_arena_reset(a);
        ck_assert_uint_eq(faulty_stats(f).extents, 1);
        ck_assert_uint_eq(bp_arena_capacity(a), capacity);
        ck_assert_uint_eq(bp_arena_used(a), 0);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

static void uneven_unit(bp_arena *a)
{
    size_t i;

    for (i = 0; i < 300; i++) {
        bp_mark mark = bp_arena_mark(a);

        stamp(bp_arena_alloc(a, 500), 500, 1);
        stamp(bp_arena_alloc(a, i % 100 == 50 ? 40000 : 10), 10, 2);
        if (i % 7 == 0)
            must(bp_arena_rewind(a, mark) == 0);
    }
}

START_TEST(spares_unlimited_keeps_all)
{
    bp_backing *f;
    bp_arena *a;
    size_t capacity, extents, acquires, disposes, i;

    f = faulty_over(inner(_i));
    a = arena_on(f, 4096, BP_ARENA_SPILL, BP_UNLIMITED);
    uneven_unit(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 20 * MIB));
    capacity = bp_arena_capacity(a);
    extents = faulty_stats(f).extents;
    bp_arena_reset(a);
    ck_assert_uint_eq(faulty_stats(f).extents, extents);
    ck_assert_uint_eq(faulty_stats(f).disposes, 0);
    ck_assert_uint_eq(bp_arena_capacity(a), capacity);
    for (i = 0; i < 4; i++) { /* the spares may settle in another order at first */
        uneven_unit(a);
        bp_arena_reset(a);
    }
    acquires = faulty_stats(f).acquires;
    disposes = faulty_stats(f).disposes;
    for (i = 0; i < 100; i++) {
        uneven_unit(a);
        bp_arena_reset(a);
    }
    ck_assert_uint_eq(faulty_stats(f).acquires, acquires);
    ck_assert_uint_eq(faulty_stats(f).disposes, disposes);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(steady_state_asks_for_nothing)
{
    bp_backing *f;
    bp_arena *a;
    size_t acquires, disposes, i;

    f = faulty_over(inner(_i));
    a = spill_arena(f, 4096); /* the units below fit into the default max_spare */
    for (i = 0; i < 5; i++) {
        uneven_unit(a);
        bp_arena_reset(a);
    }
    acquires = faulty_stats(f).acquires;
    disposes = faulty_stats(f).disposes;
    for (i = 0; i < 200; i++) {
        uneven_unit(a);
        bp_arena_reset(a);
    }
    ck_assert_uint_eq(faulty_stats(f).acquires, acquires);
    ck_assert_uint_eq(faulty_stats(f).disposes, disposes);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(max_spare_is_a_bound)
{
    struct rng rng = rng_start("max_spare_is_a_bound");
    const size_t max_spare = 256 * KIB;
    bp_backing *f;
    bp_arena *a;
    size_t first, cycle, i;
    bool kept = false;

    f = faulty_over(inner(_i));
    a = arena_on(f, 4096, BP_ARENA_SPILL, max_spare);
    first = faulty_stats(f).bytes;
    for (cycle = 0; cycle < times(300, 60); cycle++) {
        size_t blocks = rng_below(&rng, 300);

        for (i = 0; i < blocks; i++)
            must(bp_arena_alloc(a, rng_below(&rng, rng_below(&rng, 40) == 0 ? 600000 : 900)) != NULL);
        bp_arena_reset(a);
        must(faulty_stats(f).bytes <= first + max_spare); /* a spike does not pin memory for ever */
        kept = kept || faulty_stats(f).extents > 1;
        must(bp_arena_capacity(a) <= faulty_stats(f).bytes);
    }
    ck_assert(kept);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

/* A spare too small for the block must be passed over, not overrun. */
START_TEST(small_spares_do_not_serve_big_blocks)
{
    bp_backing *f;
    bp_arena *a;
    unsigned char *p[40];
    size_t i, n;

    f = faulty_over(inner(_i));
    a = arena_on(f, 4096, BP_ARENA_SPILL, BP_UNLIMITED);
    for (n = 0; n < 8; n++) {
        for (i = 0; i < 40; i++) {
            size_t size = (size_t)500 << (n + i % 4), align = (size_t)16 << (i % 12);

            p[i] = bp_arena_alloc_aligned(a, size, align);
            must(p[i] != NULL && is_aligned(p[i], align));
            stamp(p[i], size, (unsigned)i);
        }
        for (i = 0; i < 40; i++)
            must(stamped(p[i], (size_t)500 << (n + i % 4), (unsigned)i));
        bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(fixed_never_asks_again)
{
    bp_backing *f;
    bp_arena *a;
    size_t i;

    f = faulty_over(_i == 2 ? bp_backing_reserved() : inner(_i));
    a = fixed_arena(f, 100000);
    ck_assert_uint_eq(faulty_stats(f).acquires, 1);
    for (i = 0; i < 10; i++) {
        while (bp_arena_alloc(a, 700) != NULL)
            ;
        ck_assert_ptr_null(bp_arena_alloc(a, 100001));
        bp_arena_reset(a);
    }
    ck_assert_uint_eq(faulty_stats(f).acquires, 1);
    ck_assert_uint_eq(faulty_stats(f).disposes, 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

/* ---- growth in place ---- */

START_TEST(reserved_grows_in_place)
{
    bp_backing *f;
    bp_arena *a;
    char *p, *first;
    size_t n = times(1024, 128), i, remaining;

    f = faulty_over(bp_backing_reserved());
    a = spill_arena(f, 4096);
    first = bp_arena_alloc(a, 64 * KIB);
    ck_assert_ptr_nonnull(first);
    stamp(first, 64 * KIB, 0);
    remaining = bp_arena_remaining(a);
    for (i = 1; i < n; i++) {
        p = bp_arena_alloc(a, 64 * KIB);
        must(p == first + i * 64 * KIB);
        stamp(p, 4096, (unsigned)i);
        must(bp_arena_remaining(a) == remaining - i * 64 * KIB);
    }
    for (i = 1; i < n; i++)
        must(stamped(first + i * 64 * KIB, 4096, (unsigned)i));
    ck_assert(stamped(first, 64 * KIB, 0));
    ck_assert_uint_eq(faulty_stats(f).extents, 1);
    ck_assert_uint_eq(bp_arena_used(a), n * 64 * KIB);
    bp_arena_reset(a);
    ck_assert_ptr_eq(seen(bp_arena_alloc(a, 1)), first);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

START_TEST(reserved_spills_at_the_end_of_the_reservation)
{
    struct bp_reserved_config c = BP_RESERVED_CONFIG_INIT;
    bp_backing *reserved = NULL;
    bp_backing *f;
    bp_arena *a;
    char *p[64];
    size_t i;

    c.reservation = MIB;
    c.commit_step = 4096;
    ck_assert_int_eq(bp_backing_reserved_create(&c, &reserved), 0);
    f = faulty_over(reserved);
    a = spill_arena(f, 4096);
    for (i = 0; i < 64; i++) {
        p[i] = bp_arena_alloc(a, 100000);
        ck_assert_ptr_nonnull(p[i]);
        stamp(p[i], 100000, (unsigned)i);
    }
    for (i = 0; i < 64; i++)
        ck_assert(stamped(p[i], 100000, (unsigned)i));
    ck_assert_uint_gt(faulty_stats(f).extents, 1);
    ck_assert_uint_le(faulty_stats(f).extents, 16);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 5 * MIB)); /* larger than a reservation */
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    a = fixed_arena(f, 3 * MIB);
    p[0] = bp_arena_alloc(a, 3 * MIB);
    ck_assert_ptr_nonnull(p[0]);
    stamp(p[0], 3 * MIB, 1);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
    bp_backing_destroy(reserved);
}
END_TEST

/* The commit step must not be taken block by block. */
START_TEST(reserved_commits_in_growing_steps)
{
    bp_backing *f;
    bp_arena *a;
    size_t i, commits;

    f = faulty_over(bp_backing_reserved());
    a = spill_arena(f, 4096);
    for (i = 0; i < 16 * MIB / 4096; i++)
        must(bp_arena_alloc(a, 4096) != NULL);
    ck_assert_uint_le(faulty_stats(f).commits, 40);
    commits = faulty_stats(f).commits;
    bp_arena_reset(a);
    for (i = 0; i < 16 * MIB / 4096; i++)
        must(bp_arena_alloc(a, 4096) != NULL);
    ck_assert_uint_eq(faulty_stats(f).commits, commits); /* committed stays committed */
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

/* ---- zeroed memory ---- */

/* Dirties [cursor, cursor + n) as a unit of work would. */
static void dirty(bp_arena *a, size_t n)
{
    memset(seen(bp_arena_alloc(a, n)), 0xA7, n);
}

static void zero_block(bp_arena *a, size_t n)
{
    unsigned char *p = bp_arena_zalloc(a, n);

    ck_assert_ptr_nonnull(p);
    ck_assert(is_aligned(p, BP_ALIGNMENT));
    ck_assert(all_bytes(p, n, 0));
    memset(p, 0xC3, n);
}

START_TEST(zalloc_in_every_state)
{
    struct place on;
    bp_arena *a;
    bp_mark mark;
    size_t i;

    place_open(&on, _i);
    a = spill_arena(on.backing, 64 * KIB);
    zero_block(a, 1000); /* fresh */
    zero_block(a, 200000); /* fresh, spilled or committed */
    bp_arena_reset(a);
    zero_block(a, 1000); /* used */
    zero_block(a, 65536);
    zero_block(a, 200000);
    bp_arena_reset(a);
    dirty(a, 20000);
    bp_arena_reset(a);
    zero_block(a, 10000);
    zero_block(a, 30000); /* begins in used memory and ends in fresh */
    mark = bp_arena_mark(a);
    dirty(a, 50000);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    zero_block(a, 60000); /* rewound */
    bp_arena_reset(a);
    for (i = 0; i < 200; i++) { /* blocks with padding and unwritten tails between */
        dirty(a, 1 + i * 37 % 900);
        zero_block(a, 1 + i * 53 % 1500);
        must(bp_arena_alloc_aligned(a, 40, 256) != NULL);
        if (i % 50 == 49)
            bp_arena_reset(a);
    }
    for (i = 0; i < 3; i++) {
        unsigned char *p = bp_arena_calloc(a, 1000, i * 100 + 3);

        ck_assert_ptr_nonnull(p);
        ck_assert(all_bytes(p, 1000 * (i * 100 + 3), 0));
        memset(p, 0x55, 1000 * (i * 100 + 3));
        if (i == 1)
            bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

/* Bytes that were handed out and are free again without a rewind: above a block that shrank, and behind
 * the cursor where a failed or shortened print has written. */
START_TEST(zalloc_after_shrink_and_print)
{
    struct place on;
    bp_arena *a;
    unsigned char *p;
    char *s;
    int i;

    place_open(&on, _i);
    a = fixed_arena(on.backing, 4096);
    for (i = 0; i < 2; i++) {
        p = bp_arena_alloc(a, 3000);
        memset(p, 0xEE, 3000);
        p = bp_arena_realloc(a, p, 3000, 100);
        ck_assert_ptr_nonnull(p);
        zero_block(a, 2500);
        bp_arena_reset(a);

        ck_assert_ptr_nonnull(bp_arena_alloc(a, 4096 - 64));
        ck_assert_ptr_null(bp_arena_printf(a, "%0200d", 7)); /* fills the room, then finds it too small */
        zero_block(a, 64);
        bp_arena_reset(a);

        s = bp_arena_printf(a, "%099d", 7);
        ck_assert_ptr_nonnull(s);
        ck_assert_uint_eq(bp_arena_used(a), round16(100));
        ck_assert_ptr_nonnull(bp_arena_realloc(a, s, 100, 10));
        zero_block(a, 4000);
        bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

/* Spill extents come and go dirty. */
START_TEST(zalloc_in_spares)
{
    struct rng rng = rng_start("zalloc_in_spares");
    bp_backing *f;
    bp_arena *a;
    size_t i, cycle;

    f = faulty_over(inner(_i));
    a = spill_arena(f, 4096);
    for (cycle = 0; cycle < times(60, 10); cycle++) {
        bp_mark mark = bp_arena_mark(a);

        for (i = 0; i < 60; i++) {
            size_t n = 1 + rng_below(&rng, 20) * rng_below(&rng, 3000);

            switch (rng_below(&rng, 4)) {
            case 0:
                zero_block(a, n);
                break;
            case 1:
                must(bp_arena_rewind(a, mark) == 0);
                break;
            case 2:
                mark = bp_arena_mark(a);
                break;
            default:
                dirty(a, n);
                break;
            }
        }
        bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(f);
}
END_TEST

static Suite *spill_suite(void)
{
    Suite *s = suite_create("arena spill");
    TCase *tc = add_case(s, "spill");

    tcase_add_loop_test(tc, chain_grows, 0, 2);
    tcase_add_loop_test(tc, growth_is_geometric_and_bounded, 0, 2);
    tcase_add_loop_test(tc, huge_block_is_no_growth_base, 0, 2);
    tcase_add_loop_test(tc, oversize_leaves_the_current_extent_in_use, 0, 2);
    tcase_add_loop_test(tc, spares_zero_keeps_none, 0, 2);
    tcase_add_loop_test(tc, spares_unlimited_keeps_all, 0, 2);
    tcase_add_loop_test(tc, steady_state_asks_for_nothing, 0, 2);
    tcase_add_loop_test(tc, max_spare_is_a_bound, 0, 2);
    tcase_add_loop_test(tc, small_spares_do_not_serve_big_blocks, 0, 2);
    tcase_add_loop_test(tc, fixed_never_asks_again, 0, 3);
    tc = add_case(s, "reserved");
    tcase_add_test(tc, reserved_grows_in_place);
    tcase_add_test(tc, reserved_spills_at_the_end_of_the_reservation);
    tcase_add_test(tc, reserved_commits_in_growing_steps);
    tc = add_case(s, "zero");
    tcase_add_loop_test(tc, zalloc_in_every_state, 0, BACKINGS);
    tcase_add_loop_test(tc, zalloc_after_shrink_and_print, 0, BACKINGS);
    tcase_add_loop_test(tc, zalloc_in_spares, 0, 2);
    return s;
}

int main(void)
{
    return run_suite(spill_suite());
}
