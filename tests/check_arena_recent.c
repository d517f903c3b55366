/* SPDX-License-Identifier: MIT
 *
 * What an arena remembers of its units of work, from inside: when a reset is a store, the most that was used
 * lately, the sums over the arenas of a pool, and the release of what is beyond a unit's need.
 */
#include "support.h"

#include "arena_private.h"

static struct arena_totals totals; /* of the arenas of the running test */

static void totals_are_new(void)
{
    memset(&totals, 0, sizeof totals);
}

static size_t sum_of_peaks(void)
{
    size_t sum = 0, i;

    for (i = 0; i < 48; i++)
        sum += atomic_load(&totals.high_water_log2[i]);
    return sum;
}

/* Nothing is left of arenas that were closed. */
static void totals_are_zero(void)
{
    size_t i;

    for (i = 0; i < 48; i++)
        ck_assert_uint_eq(atomic_load(&totals.high_water_log2[i]), 0);
    ck_assert_uint_eq(atomic_load(&totals.touched), 0);
    ck_assert_uint_eq(atomic_load(&totals.resident), 0);
    ck_assert_uint_eq(atomic_load(&totals.reserved), 0);
    ck_assert_uint_eq(atomic_load(&totals.committed), 0);
}

/* An arena as a pool opens it, but for `sums` NULL. */
static struct arena *opened(bp_backing *backing, size_t size, enum bp_arena_policy policy, size_t max_spare,
                            struct arena_totals *sums)
{
    struct bp_arena_config config = BP_ARENA_CONFIG_INIT;
    struct arena *a = aligned_alloc(64, (sizeof *a + 63) & ~(size_t)63);

    ck_assert_ptr_nonnull(a);
    memset(a, 0, sizeof *a);
    config.size = size;
    config.policy = policy;
    config.max_spare = max_spare;
    ck_assert_int_eq(arena_open(a, backing, &config, sums), 0);
    return a;
}

static void closed(struct arena *a)
{
    arena_reset(a);
    arena_close(a);
    free(a);
}

/* One block of `n` bytes, written to. */
static char *used(struct arena *a, size_t n)
{
    char *p = bp_arena_alloc(&a->pub, n);

    must(p != NULL);
    memset(seen(p), 0xA5, n);
    return p;
}

/* A unit of work; whether its reset is a store. */
static bool unit(struct arena *a, size_t n)
{
    bool quick;

    (void)used(a, n);
    quick = arena_resets_by_a_store(a);
    arena_reset(a);
    must(bp_arena_used(&a->pub) == 0);
    must(a->pub.quick_end == NULL || (a->pub.quick_end >= a->first.start && a->pub.quick_end <= a->first.touched));
    return quick;
}

static bool is_quick(struct arena *a)
{
    return arena_resets_by_a_store(a);
}

/* ---- quick resets ---- */

START_TEST(steady_state_is_quick)
{
    struct place on;
    struct arena *a;
    int i;

    totals_are_new();
    place_open(&on, _i);
    a = opened(on.backing, 64 * KIB, BP_ARENA_SPILL, 0, &totals);
    ck_assert_ptr_eq(a->pub.quick_end, a->first.start);
    ck_assert(is_quick(a)); /* nothing was used */
    ck_assert(!unit(a, 1000));
    for (i = 0; i < 10; i++) {
        ck_assert(unit(a, 1000));
        ck_assert(unit(a, 16));
    }
    ck_assert(!unit(a, 1009));
    ck_assert(unit(a, 1024));
    ck_assert(!unit(a, 30000));
    ck_assert(unit(a, 30000));
    closed(a);
    totals_are_zero();
    place_close(&on);
}
END_TEST

START_TEST(recent_use_is_what_was_used)
{
    struct place on;
    struct arena *a;
    int i;

    totals_are_new();
    place_open(&on, _i);
    a = opened(on.backing, 64 * KIB, BP_ARENA_SPILL, 0, &totals);
    ck_assert_uint_eq(arena_take_recent(a), 0);
    ck_assert(!unit(a, 50000));
    ck_assert(unit(a, 1600));
    ck_assert_uint_eq(arena_take_recent(a), 50000);
    ck_assert_uint_eq(arena_take_recent(a), 0);
    ck_assert(is_quick(a)); /* unused units stay quick and count for nothing */
    arena_reset(a);
    ck_assert_uint_eq(arena_take_recent(a), 0);

    /* after the spike: one slow reset in each period, and again for more than that */
    for (i = 0; i < 5; i++) {
        ck_assert(!unit(a, 1600));
        ck_assert(unit(a, 1600));
        ck_assert(unit(a, 800));
        ck_assert(!unit(a, 3200));
        ck_assert(unit(a, 3200));
        ck_assert_uint_eq(arena_take_recent(a), 3200);
    }
    ck_assert_uint_eq(bp_arena_high_water(&a->pub), 50000);

    /* in a chain of segments the sum counts */
    for (i = 0; i < 100; i++)
        (void)used(a, 8000);
    arena_reset(a);
    arena_unflag(a, ARENA_RESIZED); /* as the pool does; now the extents are gone that it needed */
    arena_reset_slow(a);
    ck_assert(is_quick(a));
    ck_assert_uint_ge(arena_take_recent(a), 800000);
    ck_assert_uint_ge(bp_arena_high_water(&a->pub), 800000);
    closed(a);
    totals_are_zero();
    place_close(&on);
}
END_TEST

/* Blocks that shrink or are dropped before the end of the unit count too. */
START_TEST(recent_use_within_a_unit)
{
    struct arena *a;
    bp_mark mark;
    char *p;
    int i;

    totals_are_new();
    a = opened(bp_backing_mmap(), 64 * KIB, BP_ARENA_SPILL, 0, &totals);
    for (i = 0; i < 3; i++) {
        p = used(a, 4096);
        ck_assert_ptr_eq(seen(bp_arena_realloc(&a->pub, p, 4096, 16)), p);
        if (i == 0)
            ck_assert(!is_quick(a));
        arena_reset(a);
        ck_assert_uint_eq(atomic_load(&totals.touched), 4096);
        ck_assert_uint_eq(arena_take_recent(a), 4096);
    }
    mark = bp_arena_mark(&a->pub);
    (void)used(a, 6400);
    ck_assert_int_eq(bp_arena_rewind(&a->pub, mark), 0);
    ck_assert_uint_eq(atomic_load(&totals.touched), 6400); /* as of the last rewind */
    (void)used(a, 160);
    ck_assert(!is_quick(a));
    arena_reset(a);
    ck_assert(is_quick(a));
    ck_assert_uint_eq(arena_take_recent(a), 6400);
    closed(a);
    totals_are_zero();
}
END_TEST

START_TEST(standalone_arenas_go_by_touched)
{
    struct arena *a = opened(bp_backing_mmap(), 64 * KIB, BP_ARENA_SPILL, 0, NULL);
    size_t bytes;

    ck_assert(!unit(a, 30000));
    ck_assert_ptr_eq(a->pub.quick_end, a->first.touched);
    ck_assert(unit(a, 30000));
    ck_assert_int_eq(arena_release_beyond(a, 4096, &bytes), 0);
    ck_assert_ptr_eq(a->pub.quick_end, a->first.touched);
    ck_assert(unit(a, 4096));
    ck_assert(!unit(a, 4097));
    closed(a);
}
END_TEST

static void no_cleanup(void *data)
{
    ++*(int *)data;
}

/* Each flag alone makes the reset of an empty arena slow, until it is gone. */
START_TEST(every_flag_of_slow_resets)
{
    static const enum arena_flag flags[] = { ARENA_CLEANUPS, ARENA_SPILLED, ARENA_MARKED,
                                             ARENA_RESIZED,  ARENA_WIPE,    ARENA_IN_CLEANUP,
                                             ARENA_SITED,    ARENA_UNCOUNTED };
    struct arena_totals *sums = _i == 0 ? &totals : NULL;
    uint32_t all = 0;
    struct arena *a;
    size_t i;

    totals_are_new();
    a = opened(bp_backing_mmap(), 64 * KIB, BP_ARENA_SPILL, 0, sums);
    ck_assert(!unit(a, 1000));
    for (i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        all |= (uint32_t)flags[i];
        ck_assert(is_quick(a));
        arena_flag(a, flags[i]);
        ck_assert(!is_quick(a));
        arena_unflag(a, flags[i]);
        ck_assert(!is_quick(a)); /* it comes back with the next reset, */
        ck_assert(!unit(a, 1000));
        ck_assert(unit(a, 1000));
    }
    /* A checked arena is made as one, and stays one. */
    ck_assert_uint_eq(all | ARENA_CHECKED, ARENA_SLOW_RESET);
    arena_flag(a, ARENA_RESIZED);
    ck_assert_uint_eq(arena_take_recent(a), 1008);
    ck_assert(!is_quick(a));
    arena_unflag(a, ARENA_RESIZED);
    ck_assert(!unit(a, 1000));

    /* which does not bring it back for flags that it leaves alone */
    for (i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i] != ARENA_RESIZED && flags[i] != ARENA_WIPE && flags[i] != ARENA_IN_CLEANUP)
            continue;
        arena_flag(a, flags[i]);
        ck_assert(!unit(a, 1000));
        ck_assert(!unit(a, 1000));
        ck_assert((a->flags & (uint32_t)flags[i]) != 0);
        arena_unflag(a, flags[i]);
        ck_assert(!unit(a, 1000));
        ck_assert(unit(a, 1000));
    }
    closed(a);
    totals_are_zero();
}
END_TEST

/* And where the library sets them. */
START_TEST(what_makes_resets_slow)
{
    struct arena_totals *sums = _i == 0 ? &totals : NULL;
    int cleanups = 0;
    struct arena *a;
    bp_mark mark;

    totals_are_new();
    a = opened(bp_backing_reserved(), 64 * KIB, BP_ARENA_SPILL, MIB, sums);
    ck_assert(!unit(a, 1000));
    ck_assert(unit(a, 1000));

    ck_assert_int_eq(bp_arena_on_reset(&a->pub, no_cleanup, &cleanups), 0);
    ck_assert(!is_quick(a));
    arena_reset(a);
    ck_assert_int_eq(cleanups, 1);
    ck_assert(unit(a, 1000));

    mark = bp_arena_mark(&a->pub);
    ck_assert(!is_quick(a));
    ck_assert_int_eq(bp_arena_rewind(&a->pub, mark), 0);
    ck_assert(!is_quick(a));
    arena_reset(a);
    ck_assert(unit(a, 1000));

    (void)used(a, MIB); /* commits: the pool has to hear of it */
    ck_assert_int_eq((a->flags & ARENA_RESIZED) != 0, sums != NULL);
    ck_assert(!is_quick(a));
    arena_reset(a);
    ck_assert_int_eq(is_quick(a), sums == NULL);
    arena_unflag(a, ARENA_RESIZED);
    arena_reset_slow(a);
    ck_assert(unit(a, MIB));
    closed(a);

    a = opened(bp_backing_mmap(), 4096, BP_ARENA_SPILL, MIB, sums);
    (void)used(a, 16);
    (void)used(a, 100000);
    ck_assert((a->flags & ARENA_SPILLED) != 0 && !is_quick(a));
    arena_reset(a);
    arena_unflag(a, ARENA_RESIZED);
    arena_reset_slow(a);
    ck_assert(unit(a, 16));
    (void)used(a, 16);
    (void)used(a, 100000); /* from a spare: nothing is resized */
    ck_assert((a->flags & ARENA_RESIZED) == 0 && !is_quick(a));
    arena_reset(a);
    ck_assert(unit(a, 16));
    closed(a);

    a = opened(bp_backing_mmap(), 4096, BP_ARENA_FIXED, 0, sums);
    ck_assert(!unit(a, 4096));
    ck_assert((a->flags & ARENA_FIXED) != 0 && unit(a, 4096));
    closed(a);
    totals_are_zero();
}
END_TEST

START_TEST(sites_last_for_a_unit)
{
    static const char here[] = "here";
    struct arena *a;

    totals_are_new();
    a = opened(bp_backing_mmap(), 4096, BP_ARENA_SPILL, 0, &totals);
    ck_assert(!unit(a, 100));
    atomic_store(&a->site, here);
    arena_flag(a, ARENA_SITED);
    (void)used(a, 50);
    bp_arena_reset(&a->pub); /* the holder's own: it still holds the arena */
    ck_assert_ptr_eq(atomic_load(&a->site), here);
    ck_assert(!is_quick(a));
    ck_assert_uint_eq(bp_arena_used(&a->pub), 0);
    (void)used(a, 50);
    arena_reset(a);
    ck_assert_ptr_null(atomic_load(&a->site));
    ck_assert_uint_eq(a->flags & ARENA_SITED, 0);
    ck_assert(unit(a, 50));
    closed(a);
}
END_TEST

/* ---- sums over arenas ---- */

static size_t in_bucket(size_t i)
{
    return atomic_load(&totals.high_water_log2[i]);
}

START_TEST(peaks_are_counted_by_size)
{
    enum { N = 16 };
    struct arena *a[N];
    size_t i;

    totals_are_new();
    for (i = 0; i < N; i++) {
        a[i] = opened(bp_backing_malloc(), MIB, BP_ARENA_SPILL, 0, &totals);
        ck_assert_uint_eq(in_bucket(0), i + 1);
    }
    for (i = 4; i < N; i++) {
        (void)unit(a[i], (size_t)1 << i);
        ck_assert_uint_eq(in_bucket(i), i < 8 ? 1 : 2); /* with that of the step before */
        ck_assert_uint_eq(sum_of_peaks(), N);
        if (i >= 8) {
            ck_assert_uint_eq(atomic_load(&totals.high_water), (size_t)1 << i);
        }
        if (i >= 7 && i < N - 1) {
            (void)unit(a[i], ((size_t)1 << (i + 1)) - 16);
            ck_assert_uint_eq(in_bucket(i), i == 7 ? 1 : 2);
            (void)unit(a[i], (size_t)1 << (i + 1));
            ck_assert_uint_eq(in_bucket(i), i == 7 ? 0 : 1);
            ck_assert_uint_eq(in_bucket(i + 1), 1);
            (void)unit(a[i], 16); /* a peak does not go down */
            (void)arena_take_recent(a[i]);
            (void)unit(a[i], 16);
            ck_assert_uint_eq(in_bucket(i + 1), 1);
        }
    }
    ck_assert_uint_eq(in_bucket(0), 4);
    for (i = 0; i < N; i++) {
        ck_assert_uint_eq(sum_of_peaks(), N - i);
        closed(a[i]);
    }
    totals_are_zero();
}
END_TEST

#if SIZE_MAX > 0xFFFFFFFF
/* Addresses that nobody looks at. */
static int nowhere_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                           struct bp_extent *out)
{
    (void)self;
    (void)min;
    *out = (struct bp_extent){ .base = (void *)(uintptr_t)align, .size = preferred, .committed = preferred };
    return 0;
}

static void nowhere_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    (void)extent;
}

START_TEST(peaks_of_any_size)
{
    static const struct bp_backing_ops ops = {
        .struct_size = sizeof ops, .name = "nowhere", .acquire = nowhere_acquire, .dispose = nowhere_dispose
    };
    bp_backing nowhere = { &ops };
    struct arena *a;
    size_t i;

    totals_are_new();
    a = opened(&nowhere, (size_t)1 << 51, BP_ARENA_FIXED, 0, &totals);
    for (i = 4; i <= 50; i++) {
        must(bp_arena_alloc(&a->pub, (size_t)1 << i) != NULL);
        arena_reset(a);
        ck_assert_uint_eq(in_bucket(i < 47 ? i : 47), 1);
        ck_assert_uint_eq(sum_of_peaks(), 1);
    }
    closed(a);
    totals_are_zero();
}
END_TEST
#endif

START_TEST(peak_of_what_was_committed)
{
    struct arena *a, *b;
    size_t most;

    totals_are_new();
    a = opened(bp_backing_reserved(), 64 * KIB, BP_ARENA_SPILL, 0, &totals);
    ck_assert_uint_eq(atomic_load(&totals.peak_committed), atomic_load(&totals.committed));
    b = opened(bp_backing_mmap(), 64 * KIB, BP_ARENA_SPILL, 0, &totals);
    (void)used(a, 5 * MIB);
    (void)used(b, 3 * MIB);
    most = atomic_load(&totals.committed);
    ck_assert_uint_ge(most, 8 * MIB);
    ck_assert_uint_eq(atomic_load(&totals.peak_committed), most);
    closed(b);
    ck_assert_uint_lt(atomic_load(&totals.committed), most);
    ck_assert_uint_eq(atomic_load(&totals.peak_committed), most);
    closed(a);
    ck_assert_uint_eq(atomic_load(&totals.peak_committed), most);
    totals_are_zero();
}
END_TEST

START_TEST(touched_and_resident_bytes)
{
    size_t page = page_size(), bytes, spare;
    struct arena *a, *b;

    totals_are_new();
    a = opened(bp_backing_mmap(), 16 * page, BP_ARENA_SPILL, MIB, &totals);
    b = opened(bp_backing_malloc(), 16 * page, BP_ARENA_SPILL, MIB, &totals);
    ck_assert_uint_eq(atomic_load(&totals.touched), 0);
    (void)unit(a, page + 16);
    ck_assert_uint_eq(atomic_load(&totals.touched), page + 16);
    ck_assert_uint_eq(atomic_load(&totals.resident), 2 * page);
    (void)unit(a, 2 * page);
    (void)unit(a, page);
    ck_assert_uint_eq(atomic_load(&totals.touched), 2 * page);
    ck_assert_uint_eq(atomic_load(&totals.resident), 2 * page);
    (void)unit(b, 112); /* no pages are known of */
    ck_assert_uint_eq(atomic_load(&totals.touched), 2 * page + 112);
    ck_assert_uint_eq(atomic_load(&totals.resident), 2 * page + 112);
    closed(b);
    ck_assert_uint_eq(atomic_load(&totals.touched), 2 * page);

    ck_assert_int_eq(arena_prefault(a, 5 * page - 100), 0);
    ck_assert_uint_eq(atomic_load(&totals.touched), 2 * page);
    ck_assert_uint_eq(atomic_load(&totals.resident), 5 * page);
    arena_wipe(a);
    ck_assert_uint_eq(atomic_load(&totals.touched), 0);
    ck_assert_uint_eq(atomic_load(&totals.resident), 5 * page);
    ck_assert(!unit(a, page));
    ck_assert_uint_eq(arena_excess(a, 0), 5 * page);
    ck_assert_int_eq(arena_release(a, &bytes), 0);
    ck_assert_uint_eq(bytes, 5 * page);
    ck_assert_uint_eq(atomic_load(&totals.touched), 0);
    ck_assert_uint_eq(atomic_load(&totals.resident), 0);
    ck_assert_uint_eq(arena_excess(a, 0), 0);

    (void)used(a, 12 * page);
    (void)used(a, 20 * page);
    arena_reset(a);
    spare = a->spare_bytes;
    ck_assert_uint_gt(spare, 20 * page);
    ck_assert_uint_eq(atomic_load(&totals.touched), 32 * page);
    ck_assert_uint_ge(atomic_load(&totals.resident), 33 * page);
    ck_assert_uint_eq(arena_excess(a, 0), spare + 12 * page);
    arena_drop_spares(a);
    ck_assert_uint_eq(atomic_load(&totals.touched), 12 * page);
    ck_assert_uint_eq(atomic_load(&totals.resident), 12 * page);

    (void)used(a, 12 * page); /* closed with a chain in use */
    (void)used(a, 20 * page);
    arena_close(a);
    free(a);
    totals_are_zero();
}
END_TEST

/* In a pool that wipes, the same unit over and over changes nothing. */
START_TEST(wiped_arenas_are_counted_after_the_wipe)
{
    size_t page = page_size();
    struct arena *a;
    int i;

    totals_are_new();
    a = opened(bp_backing_mmap(), 16 * page, BP_ARENA_SPILL, MIB, &totals);
    arena_flag(a, ARENA_WIPE);
    for (i = 0; i < 3; i++) {
        ck_assert(!unit(a, 3 * page));
        ck_assert_uint_eq(atomic_load(&totals.touched), 0); /* not raised for the moment until the wipe */
        arena_wipe(a);
        ck_assert_uint_eq(atomic_load(&totals.touched), 0);
        ck_assert_uint_eq(atomic_load(&totals.resident), 3 * page);
        ck_assert_uint_eq(pages_resident(a->first.start, 3 * page), 3);
    }
    closed(a);
    totals_are_zero();
}
END_TEST

/* ---- release beyond what is needed ---- */

/* The mmap backing with a granule of sixteen pages. */

static int coarse_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    size_t granule = 16 * page_size();
    int rc;

    (void)self;
    align = align > granule ? align : granule;
    rc = bp_backing_mmap()->ops->acquire(bp_backing_mmap(), min, preferred, align, out);
    if (rc == 0)
        out->page = granule;
    return rc;
}

static void coarse_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    bp_backing_mmap()->ops->dispose(bp_backing_mmap(), extent);
}

static int coarse_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                          size_t *released)
{
    (void)self;
    return bp_backing_mmap()->ops->release(bp_backing_mmap(), extent, offset, length, released);
}

static const struct bp_backing_ops coarse_ops = {
    .struct_size = sizeof coarse_ops,
    .name = "coarse",
    .acquire = coarse_acquire,
    .dispose = coarse_dispose,
    .release = coarse_release,
};
static bp_backing coarse = { &coarse_ops };

enum { OF_MMAP, OF_RESERVED, OF_MALLOC, OF_LAZY, OF_COARSE, KINDS };

struct source {
    bp_backing *backing;
    size_t granule; /* 0: no release */
};

static void source_open(struct source *s, int kind)
{
    struct bp_mmap_config lazy = BP_MMAP_CONFIG_INIT;
    /* extents no larger than they have to be, so that arenas spill, committed page by page */
    struct bp_reserved_config small = { sizeof small, page_size(), page_size() };

    no_huge_pages();
    s->granule = page_size();
    switch (kind) {
    case OF_MMAP:
        s->backing = bp_backing_mmap();
        break;
    case OF_RESERVED:
        ck_assert_int_eq(bp_backing_reserved_create(&small, &s->backing), 0);
        break;
    case OF_MALLOC:
        s->backing = bp_backing_malloc();
        s->granule = 0;
        break;
    case OF_LAZY:
        lazy.lazy_free = true;
        ck_assert_int_eq(bp_backing_mmap_create(&lazy, &s->backing), 0);
        break;
    default:
        s->backing = &coarse;
        s->granule = 16 * page_size();
        break;
    }
}

static void source_close(struct source *s)
{
    bp_backing_destroy(s->backing); /* leaves those alone that are shared */
}

/* All of the first extent, as zalloc gives it. */
static void reads_as_zero(struct arena *a)
{
    size_t n = (size_t)(a->first.end - a->first.start);
    char *p = bp_arena_zalloc(&a->pub, n);

    ck_assert_ptr_eq(seen(p), a->first.start);
    ck_assert(all_bytes(p, n, 0));
    arena_reset(a);
}

static size_t up(size_t n, size_t unit_size)
{
    return (n + unit_size - 1) / unit_size * unit_size;
}

/* `dirty` bytes were used, then all beyond `keep` was released. */
static void released_beyond(struct source *s, size_t size, size_t dirty, size_t keep, bool precise)
{
    struct arena *a = opened(s->backing, size, BP_ARENA_SPILL, 0, &totals);
    size_t page = page_size(), whole = a->first.extent.size, bytes = 77, from, to;
    char *start = a->first.start;

    ck_assert_ptr_eq(start, a->first.extent.base);
    if (dirty != 0)
        (void)unit(a, dirty);
    ck_assert_int_eq(arena_release_beyond(a, keep, &bytes), 0);
    if (s->granule == 0) {
        ck_assert_uint_eq(bytes, 0);
        ck_assert_uint_eq(arena_excess(a, 0), 0);
        ck_assert_uint_eq(atomic_load(&totals.touched), round16(dirty));
        reads_as_zero(a);
        closed(a);
        return;
    }
    from = keep < whole ? up(keep, s->granule) : whole;
    to = up(dirty, s->granule);
    to = to < a->first.extent.committed ? to : a->first.extent.committed;
    ck_assert_uint_eq(bytes, from < to ? to - from : 0);
    if (from < to)
        ck_assert_uint_eq(arena_excess(a, 0), from);
    ck_assert_uint_eq(atomic_load(&totals.touched), round16(dirty) < from ? round16(dirty) : from);
    ck_assert_uint_eq(atomic_load(&totals.resident), to < from ? to : from);
    ck_assert(a->pub.quick_end <= a->first.touched);
    if (precise) {
        size_t kept = dirty < from ? dirty : from;

        ck_assert_uint_eq(pages_resident(start, up(kept, page)), up(kept, page) / page);
        if (from < to)
            ck_assert_uint_eq(pages_resident(start + from, whole - from), 0);
    }
    /* again: nothing is left to do */
    ck_assert_int_eq(arena_release_beyond(a, keep, &bytes), 0);
    ck_assert_uint_eq(bytes, 0);
    if (dirty != 0 && keep != 0) { /* a unit that was allowed for meets its pages again */
        long faults = faults_so_far();
        size_t n = keep < dirty ? keep : dirty;

        memset(seen(bp_arena_alloc(&a->pub, n)), 1, n);
        if (faults_are_ours() && precise)
            ck_assert_int_eq(faults_so_far() - faults, 0);
        arena_reset(a);
    }
    reads_as_zero(a);
    closed(a);
}

START_TEST(release_keeps_what_it_should)
{
    size_t page = page_size(), size = 83 * page, i, j; /* no whole number of coarse granules */
    const size_t amounts[] = { 0, 1, 16, page - 1, page, page + 1, 5 * page + 100, 16 * page, 17 * page,
                               80 * page, 81 * page, size - 16, size };
    struct source s;

    totals_are_new();
    source_open(&s, _i);
    for (i = 0; i < sizeof amounts / sizeof amounts[0]; i++) {
        for (j = 0; j < sizeof amounts / sizeof amounts[0]; j++)
            released_beyond(&s, size, amounts[i], amounts[j], _i != OF_LAZY);
        released_beyond(&s, size, amounts[i], size + 1, _i != OF_LAZY); /* larger than the extent */
        released_beyond(&s, size, amounts[i], SIZE_MAX, _i != OF_LAZY);
    }
    source_close(&s);
    totals_are_zero();
}
END_TEST

START_TEST(release_of_prefaulted_pages)
{
    size_t page = page_size(), bytes;
    struct source s;
    struct arena *a;

    totals_are_new();
    source_open(&s, _i);
    a = opened(s.backing, 32 * page, BP_ARENA_SPILL, 0, &totals);
    (void)unit(a, 100);
    ck_assert_int_eq(arena_prefault(a, 20 * page), 0);
    ck_assert_uint_eq(pages_resident(a->first.start, 32 * page), 20);
    ck_assert_int_eq(arena_release_beyond(a, 10 * page - 1, &bytes), 0);
    ck_assert_uint_eq(bytes, 10 * page);
    ck_assert_uint_eq(pages_resident(a->first.start, 32 * page), 10);
    ck_assert_uint_eq(arena_excess(a, 0), 10 * page);
    ck_assert_uint_eq(atomic_load(&totals.touched), 112);
    ck_assert_uint_eq(atomic_load(&totals.resident), 10 * page);
    ck_assert_int_eq(arena_release_beyond(a, 0, &bytes), 0);
    ck_assert_uint_eq(bytes, 10 * page);
    ck_assert_uint_eq(pages_resident(a->first.start, 32 * page), 0);
    reads_as_zero(a);
    closed(a);
    source_close(&s);
    totals_are_zero();
}
END_TEST

/* An arena with its own struct at the base: the page that it shares with blocks stays. */
START_TEST(release_beside_a_header)
{
    size_t page = page_size(), bytes;
    struct arena *a;
    bp_arena *pub;
    char *p;

    no_huge_pages();
    pub = arena_on(bp_backing_mmap(), 16 * page, BP_ARENA_FIXED, 0);
    a = arena_of(pub);
    p = used(a, 16 * page);
    arena_reset(a);
    ck_assert_int_eq(arena_release_beyond(a, page, &bytes), 0); /* up to somewhere in the second page */
    ck_assert_uint_eq(bytes, a->first.extent.size - 2 * page);
    ck_assert_uint_eq(pages_resident(a->first.extent.base, 16 * page), 2);
    ck_assert_ptr_eq(seen(bp_arena_zalloc(pub, 16 * page)), p);
    ck_assert(all_bytes(p, 16 * page, 0));
    memset(p, 1, 16 * page);
    arena_reset(a);
    ck_assert_uint_eq(arena_excess(a, 0), a->first.extent.size - page);
    ck_assert_int_eq(arena_release(a, &bytes), 0);
    ck_assert_uint_eq(bytes, a->first.extent.size - page);
    ck_assert_ptr_eq(seen(bp_arena_zalloc(pub, 16 * page)), p);
    ck_assert(all_bytes(p, 16 * page, 0));
    ck_assert_int_eq(bp_arena_destroy(pub), 0);
}
END_TEST

static size_t spares(const struct arena *a)
{
    size_t n = 0;

    for (const struct segment *s = a->spare; s != NULL; s = s->older)
        n++;
    return n;
}

/* A first extent of which 8 pages are used, and three spares with 10, 20 and 40 dirty pages. */
static struct arena *with_spares(bp_backing *backing)
{
    size_t page = page_size();
    struct arena *a = opened(backing, 9 * page, BP_ARENA_SPILL, 100 * MIB, &totals);

    (void)used(a, 8 * page);
    (void)used(a, 20 * page);
    (void)used(a, 40 * page);
    (void)used(a, 10 * page);
    arena_reset(a);
    ck_assert_uint_eq(spares(a), 3);
    ck_assert_uint_eq(atomic_load(&totals.touched), 78 * page);
    return a;
}

START_TEST(spares_within_the_need_stay)
{
    /* pages kept; of these in the first extent; spares left; pages of these */
    static const size_t table[][4] = {
        { 0, 0, 0, 0 },    { 4, 4, 0, 0 },    { 8, 8, 0, 0 },    { 17, 8, 0, 0 },     { 18, 8, 1, 10 },
        { 37, 8, 1, 10 },  { 38, 8, 2, 30 },  { 77, 8, 2, 30 },  { 78, 8, 3, 70 },    { 1000, 8, 3, 70 },
    };
    size_t page = page_size(), i, bytes, before, committed, dirty;
    struct source s;
    struct arena *a;

    totals_are_new();
    source_open(&s, _i);
    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        a = with_spares(s.backing);
        before = a->spare_bytes;
        arena_unflag(a, ARENA_RESIZED);
        ck_assert_uint_eq(arena_excess(a, 0), before + (s.granule != 0 ? 8 * page : 0));
        ck_assert_int_eq(arena_release_beyond(a, table[i][0] * page, &bytes), 0);
        ck_assert_uint_eq(spares(a), table[i][2]);
        dirty = s.granule != 0 ? table[i][1] : 8;
        ck_assert_uint_eq(bytes, before - a->spare_bytes + (8 - dirty) * page);
        ck_assert_uint_eq(atomic_load(&totals.touched), (dirty + table[i][3]) * page);
        ck_assert_int_eq((a->flags & ARENA_RESIZED) != 0, table[i][2] != 3);
        committed = a->first.extent.committed;
        for (const struct segment *g = a->spare; g != NULL; g = g->older)
            committed += g->extent.committed;
        ck_assert_uint_eq(a->spare_bytes, committed - a->first.extent.committed);
        ck_assert_uint_eq(a->footprint, committed);
        ck_assert_uint_eq(atomic_load(&totals.committed), committed);
        if (table[i][2] == 3) { /* all that the same unit needs */
            uint64_t spilled = atomic_load(&totals.spills);

            (void)used(a, 8 * page);
            (void)used(a, 20 * page);
            (void)used(a, 40 * page);
            (void)used(a, 10 * page);
            ck_assert_uint_eq(atomic_load(&totals.spills), spilled);
        }
        closed(a);
        totals_are_zero();
    }
    source_close(&s);
}
END_TEST

START_TEST(release_fails)
{
    size_t page = page_size(), bytes = 77, before;
    struct source s;
    bp_backing *f;
    struct arena *a;
    int round;

    totals_are_new();
    source_open(&s, _i);
    f = faulty_over(s.backing);
    a = with_spares(f);
    for (round = 0; round < 2; round++) {
        before = a->spare_bytes;
        faulty_plan(f, BP_FAULTY_RELEASE, 1, false);
        ck_assert_int_eq(arena_release_beyond(a, 2 * page, &bytes), EINVAL);
        ck_assert_uint_eq(faulty_stats(f).injected, 1);
        ck_assert_uint_eq(bytes, before); /* the spares went, the pages stay */
        ck_assert_uint_eq(spares(a), 0);
        ck_assert_uint_eq(pages_resident(a->first.start, 9 * page), 8);
        ck_assert_uint_eq(atomic_load(&totals.touched), 8 * page);
        ck_assert_uint_eq(atomic_load(&totals.resident), 8 * page);
        ck_assert_uint_eq(arena_excess(a, 0), 8 * page);
    }
    arena_unflag(a, ARENA_RESIZED);
    arena_reset_slow(a);
    ck_assert(unit(a, 8 * page));
    faulty_plan(f, 0, 0, false);
    ck_assert_int_eq(arena_release_beyond(a, 2 * page, &bytes), 0);
    ck_assert_uint_eq(bytes, 6 * page);
    faulty_plan(f, BP_FAULTY_RELEASE, 1, false);
    ck_assert_int_eq(arena_release(a, &bytes), EINVAL);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_uint_eq(atomic_load(&totals.resident), 2 * page);
    reads_as_zero(a);
    (void)unit(a, 8 * page);
    ck_assert_int_eq(arena_release(a, &bytes), 0);
    ck_assert_uint_ge(bytes, 8 * page);
    closed(a);
    faulty_gone(f);
    source_close(&s);
    totals_are_zero();
}
END_TEST

/* ---- all together ---- */

static void sums_hold(struct arena *const *arena, size_t n)
{
    size_t touched = 0, resident = 0, i;

    for (i = 0; i < n; i++) {
        const struct arena *a = arena[i];
        int chain;

        for (chain = 0; chain < 2; chain++)
            for (const struct segment *s = chain == 0 ? a->newest : a->spare; s != NULL; s = s->older) {
                const char *end = s->resident > s->touched ? s->resident : s->touched;
                size_t size = (size_t)(end - (const char *)s->extent.base);

                touched += (size_t)(s->touched - s->start);
                size = s->extent.page != 0 ? up(size, s->extent.page) : size;
                resident += size < s->extent.committed ? size : s->extent.committed;
            }
    }
    must(atomic_load(&totals.touched) == touched);
    must(atomic_load(&totals.resident) == resident);
    must(sum_of_peaks() == n);
}

/* Random units of work and care on a few arenas: zalloc gives zeros, sums are right, `recent` is exact. */
START_TEST(random_units)
{
    enum { N = 3 };
    struct rng rng = rng_start("random_units");
    struct arena *arena[N];
    size_t most[N] = { 0 }, page = page_size(), rounds = times(20000, 300), i, bytes;
    struct source s;

    totals_are_new();
    source_open(&s, _i);
    for (i = 0; i < N; i++)
        arena[i] = opened(s.backing, (i + 1) * 20 * page + 16 * i, BP_ARENA_SPILL, i * 64 * page, &totals);
    for (; rounds != 0; rounds--) {
        size_t which = rng_below(&rng, N), steps = rng_below(&rng, 6);
        size_t largest = (size_t)16 << rng_below(&rng, 13);
        struct arena *a = arena[which];
        bp_mark mark = { 0 };
        bool marked = false;

        for (; steps != 0; steps--) {
            size_t n = rng_below(&rng, largest);
            char *p;

            switch (rng_below(&rng, 8)) {
            case 0:
                if (marked)
                    must(bp_arena_rewind(&a->pub, mark) == 0);
                else
                    mark = bp_arena_mark(&a->pub);
                marked = !marked;
                break;
            case 1:
                p = bp_arena_alloc(&a->pub, n);
                must(p != NULL);
                memset(seen(p), 7, n);
                most[which] = bp_arena_used(&a->pub) > most[which] ? bp_arena_used(&a->pub) : most[which];
                must(bp_arena_realloc(&a->pub, p, n, n / 2) != NULL);
                break;
            default:
                p = bp_arena_zalloc(&a->pub, n);
                must(p != NULL && all_bytes(p, n, 0));
                memset(seen(p), 8, n);
                break;
            }
            most[which] = bp_arena_used(&a->pub) > most[which] ? bp_arena_used(&a->pub) : most[which];
        }
        if (rng_below(&rng, 4) == 0)
            bp_arena_reset(&a->pub);
        arena_reset(a);
        sums_hold(arena, N);
        switch (rng_below(&rng, 8)) {
        case 0:
            must(arena_release(a, &bytes) == 0);
            break;
        case 1:
            must(arena_release_beyond(a, rng_below(&rng, 100 * page), &bytes) == 0);
            break;
        case 2:
            must(arena_prefault(a, rng_below(&rng, 20 * page)) == 0);
            break;
        case 3:
            arena_wipe(a);
            break;
        case 4:
            arena_drop_spares(a);
            break;
        case 5:
            must(arena_take_recent(a) == most[which]);
            most[which] = 0;
            break;
        default:
            arena_unflag(a, ARENA_RESIZED);
            break;
        }
        sums_hold(arena, N);
        must(a->pub.quick_end <= a->first.touched);
    }
    for (i = 0; i < N; i++)
        closed(arena[i]);
    totals_are_zero();
    source_close(&s);
}
END_TEST

static Suite *arena_recent_suite(void)
{
    Suite *s = suite_create("arena, recent use");
    TCase *tc = add_case(s, "quick resets");

    tcase_add_loop_test(tc, steady_state_is_quick, 0, BACKINGS);
    tcase_add_loop_test(tc, recent_use_is_what_was_used, 0, BACKINGS);
    tcase_add_test(tc, recent_use_within_a_unit);
    tcase_add_test(tc, standalone_arenas_go_by_touched);
    tcase_add_loop_test(tc, every_flag_of_slow_resets, 0, 2);
    tcase_add_loop_test(tc, what_makes_resets_slow, 0, 2);
    tcase_add_test(tc, sites_last_for_a_unit);
    tc = add_case(s, "sums");
    tcase_add_test(tc, peaks_are_counted_by_size);
#if SIZE_MAX > 0xFFFFFFFF
    tcase_add_test(tc, peaks_of_any_size);
#endif
    tcase_add_test(tc, peak_of_what_was_committed);
    tcase_add_test(tc, touched_and_resident_bytes);
    tcase_add_test(tc, wiped_arenas_are_counted_after_the_wipe);
    tc = add_case(s, "release");
    tcase_add_loop_test(tc, release_keeps_what_it_should, 0, KINDS);
    tcase_add_loop_test(tc, release_of_prefaulted_pages, OF_MMAP, OF_MALLOC);
    tcase_add_test(tc, release_beside_a_header);
    tcase_add_loop_test(tc, spares_within_the_need_stay, OF_MMAP, OF_LAZY);
    tcase_add_loop_test(tc, release_fails, OF_MMAP, OF_MALLOC);
    tc = add_case(s, "all together");
    tcase_add_loop_test(tc, random_units, 0, KINDS);
    return s;
}

int main(void)
{
    return run_suite(arena_recent_suite());
}
