/* SPDX-License-Identifier: MIT
 * Giving memory back unasked, by bp_pool_tick: which arenas, and how much of them. When and in what
 * company is in check_pool_tick_calls.c.
 */
#include "ticks.h"

#include <pthread.h>

/* ---- ages ---- */

START_TEST(idle_arenas_age)
{
    bp_pool *pool = tick_pool(releasable(_i), MIB);
    uint64_t now, next = LATE;
    char *p;

    no_huge_pages();
    use(pool, 4, 200 * KIB);
    p = use_at(pool, 200 * KIB);
    ck_assert_uint_ge(pages_resident(p, 200 * KIB), 200 * KIB / page_size() - 1);
    do {
        struct bp_pool_stats s;

        now = next;
        next = ticked(pool, now);
        s = stats_of(pool);
        ck_assert_uint_gt(next, now);
        if (now - LATE < RETAIN) {
            ck_assert_uint_eq(s.releases, 0);
            ck_assert_uint_ge(s.resident_bytes, 4 * 200 * KIB);
        }
        if (now - LATE >= RETAIN + PERIOD) {
            ck_assert_uint_eq(s.releases, 4);
            ck_assert_uint_ge(s.released_bytes, 4 * 192 * KIB);
            ck_assert_uint_eq(s.resident_bytes, 0);
        }
        ck_assert_uint_eq(s.disposals, now - LATE < 8 * RETAIN ? 0 : 4);
        if (now - LATE < 8 * RETAIN) {
            ck_assert_uint_eq(s.idle, 4);
            if (s.releases != 0)
                ck_assert_uint_eq(pages_resident(p, 200 * KIB), 0);
        }
    } while (next != UINT64_MAX);
    ck_assert_uint_ge(now - LATE, 8 * RETAIN);
    ck_assert_uint_le(now - LATE, 17 * RETAIN);
    counts_are(pool, 0, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(what_cannot_be_released_is_disposed_of)
{
    bp_pool *pool = tick_pool(bp_backing_malloc(), 64 * KIB);
    uint64_t next;

    use(pool, 3, KIB);
    next = tick_through(pool, LATE, LATE + 4 * RETAIN);
    ck_assert_uint_eq(stats_of(pool).releases, 0);
    ck_assert_uint_eq(stats_of(pool).idle, 3);
    while (next != UINT64_MAX)
        next = ticked(pool, next);
    ck_assert_uint_eq(stats_of(pool).disposals, 3);
    pool_gone(pool);
}
END_TEST

/* Ticks that are rare, or were put off, must not take a young arena for an old one: it is as old as the first
 * tick after it came. */
START_TEST(what_came_between_two_ticks_is_young)
{
    struct bp_pool_config c = tick_config(256 * KIB);
    bp_pool *pool;
    uint64_t now = LATE;
    size_t added = 0;

    c.prefault = 64 * KIB;
    pool = pool_on(bp_backing_mmap(), &c);
    ck_assert_uint_eq(ticked(pool, now), UINT64_MAX); /* asleep */
    now += 100 * RETAIN;
    ck_assert_int_eq(bp_pool_prewarm(pool, 5, &added), 0);
    ck_assert_uint_eq(added, 5);
    ck_assert_uint_lt(ticked(pool, now), UINT64_MAX);
    counts_are(pool, 5, 0);
    ck_assert_uint_eq(stats_of(pool).releases, 0);

    /* A caller that comes ten times too late, with new arenas each time. */
    for (int i = 0; i < 5; i++) {
        struct bp_pool_stats before;

        now += 10 * RETAIN;
        ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
        ck_assert_int_eq(bp_pool_prewarm(pool, 5, &added), 0);
        before = stats_of(pool);
        (void)ticked(pool, now);
        ck_assert_uint_eq(stats_of(pool).releases, before.releases);
        ck_assert_uint_eq(stats_of(pool).disposals, before.disposals);
        counts_are(pool, 5, 0);
    }
    now = tick_through(pool, now + 1, now + RETAIN + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, 5); /* they do age from there */
    counts_are(pool, 5, 0);
    while (now != UINT64_MAX)
        now = ticked(pool, now);
    counts_are(pool, 0, 0);
    pool_gone(pool);
}
END_TEST

/* Prewarmed arenas without a prefault are cold from the start. */
START_TEST(prewarmed_arenas_age)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    uint64_t now = LATE;

    ck_assert_int_eq(bp_pool_prewarm(pool, 5, NULL), 0);
    do {
        counts_are(pool, 5, 0);
        now = ticked(pool, now);
    } while (now - LATE < 8 * RETAIN);
    while (now != UINT64_MAX)
        now = ticked(pool, now);
    counts_are(pool, 0, 0);
    ck_assert_uint_eq(stats_of(pool).released_bytes, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(arenas_used_without_an_allocation_are_needed)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    uint64_t now = LATE;

    for (int i = 0; i < 100; i++) {
        given(pool, taken(pool));
        given(pool, taken(pool));
        now = ticked(pool, now);
    }
    ck_assert_uint_eq(stats_of(pool).mints, 1);
    ck_assert_uint_eq(stats_of(pool).disposals, 0);
    pool_gone(pool);
}
END_TEST

/* ---- demand ---- */

START_TEST(steady_load_keeps_its_arenas)
{
    bp_pool *pool = tick_pool(releasable(_i), MIB);
    uint64_t now = LATE;
    struct bp_pool_stats s;
    long before, after;

    steady_units(pool);
    now = ticked(pool, now);
    steady_units(pool);
    (void)faults_so_far();
    before = faults_so_far();
    for (int i = 0; i < TICKS; i++) {
        uint64_t next;

        steady_units(pool);
        next = ticked(pool, now);
        must(next - now == PERIOD);
        now = next;
    }
    after = faults_so_far();
    s = stats_of(pool);
    if (faults_are_ours())
        ck_assert_int_eq(after - before, 0);
    ck_assert_uint_eq(s.mints, STEADY);
    ck_assert_uint_eq(s.releases, 0);
    ck_assert_uint_eq(s.released_bytes, 0);
    ck_assert_uint_eq(s.cuts, 0);
    ck_assert_uint_eq(s.disposals, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(as_many_stay_as_were_live)
{
    bp_pool *pool = tick_pool(releasable(_i), 256 * KIB);
    uint64_t now = LATE;
    struct bp_pool_stats s;

    use(pool, 10, 40 * KIB);
    while (now < LATE + 3 * RETAIN) {
        use(pool, 3, 40 * KIB);
        now = ticked(pool, now);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.releases, 7);
    ck_assert_uint_eq(s.idle, 10);
    ck_assert_uint_ge(s.resident_bytes, 3 * 40 * KIB);
    ck_assert_uint_le(s.resident_bytes, 3 * 48 * KIB);
    while (now < LATE + 10 * RETAIN) {
        use(pool, 3, 40 * KIB);
        now = ticked(pool, now);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.disposals, 7);
    ck_assert_uint_eq(s.releases, 7);
    ck_assert_uint_eq(s.idle, 3);
    use(pool, 3, 40 * KIB);
    ck_assert_uint_eq(stats_of(pool).mints, 10);
    pool_gone(pool);
}
END_TEST

#define GRANULE (2 * MIB)

/* The mmap backing as one that commits and releases 2 MiB at a time. */
static int coarse_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    int rc;

    (void)self;
    min = (min + GRANULE - 1) & ~(GRANULE - 1);
    preferred = (preferred + GRANULE - 1) & ~(GRANULE - 1);
    rc = bp_backing_mmap()->ops->acquire(bp_backing_mmap(), min, preferred, align > GRANULE ? align : GRANULE,
                                         out);
    if (rc == 0)
        out->page = GRANULE;
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

/* Every arena has a whole granule resident however little is used of it, and none of that could be cut: it
 * is no reason to take arenas in hand, which would make them all look young. */
START_TEST(coarse_granules_are_no_excess)
{
    static const struct bp_backing_ops ops = { .struct_size = sizeof ops, .name = "coarse",
                                               .acquire = coarse_acquire, .dispose = coarse_dispose,
                                               .release = coarse_release };
    bp_backing coarse = { &ops };
    bp_pool *pool = tick_pool(&coarse, GRANULE);
    uint64_t now = LATE;
    struct bp_pool_stats s;

    use(pool, 40, KIB);
    ck_assert_uint_ge(stats_of(pool).resident_bytes, 40 * GRANULE);
    while (now < LATE + 3 * RETAIN) {
        use(pool, 4, KIB);
        now = ticked(pool, now);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.releases, 36);
    ck_assert_uint_eq(s.idle, 40);
    ck_assert_uint_ge(s.resident_bytes, 4 * GRANULE);
    ck_assert_uint_le(s.resident_bytes, 8 * GRANULE); /* the extents have room for a header, too */
    while (now < LATE + 10 * RETAIN) {
        use(pool, 4, KIB);
        now = ticked(pool, now);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.disposals, 36);
    ck_assert_uint_eq(s.idle, 4);
    ck_assert_uint_eq(s.cuts, 0);
    ck_assert_uint_eq(s.mints, 40);
    pool_gone(pool);
}
END_TEST

/* Bursts that come again within retain_ns are demand, though nothing is used in most periods. */
START_TEST(bursts_keep_what_they_need)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    uint64_t now = LATE;

    for (int i = 0; i < 60; i++) {
        if (i % 3 == 0)
            use(pool, 10, 40 * KIB);
        now = ticked(pool, now);
    }
    ck_assert_uint_eq(stats_of(pool).mints, 10);
    ck_assert_uint_eq(stats_of(pool).releases, 0);
    ck_assert_uint_eq(stats_of(pool).cuts, 0);
    pool_gone(pool);
}
END_TEST

static size_t spike_bytes(void)
{
    return times(64, 4) * MIB;
}

START_TEST(spike_of_the_only_arena_is_cut)
{
    size_t spike = spike_bytes();
    bp_pool *pool = tick_pool(releasable(_i), spike);
    uint64_t now = LATE;
    struct bp_pool_stats s;
    char *p;

    no_huge_pages();
    use(pool, 1, 8 * KIB);
    now = ticked(pool, now);
    p = use_at(pool, spike);
    ck_assert_uint_ge(pages_resident(p, spike), spike / page_size() - 1);
    for (int i = 0; i < 10; i++) {
        use(pool, 1, 8 * KIB);
        now = ticked(pool, now);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.mints, 1);
    ck_assert_uint_eq(s.cuts, 1);
    ck_assert_uint_eq(s.releases, 0);
    ck_assert_uint_ge(s.released_bytes, spike - 128 * KIB);
    ck_assert_uint_le(pages_resident(p, spike) * page_size(), 128 * KIB);
    ck_assert_uint_le(s.resident_bytes, 128 * KIB);
    /* The pages that the small units use stayed. */
    ck_assert_uint_ge(pages_resident(p, 8 * KIB), 1);
    pool_gone(pool);
}
END_TEST

START_TEST(spike_among_many_is_cut_soon)
{
    size_t spike = spike_bytes();
    bp_pool *pool = tick_pool(releasable(_i), spike);
    uint64_t now = LATE;
    char *p;

    no_huge_pages();
    p = use_at(pool, spike);
    for (int i = 0; i < 4; i++) {
        use(pool, 40, 8 * KIB);
        now = ticked(pool, now);
    }
    ck_assert_uint_eq(stats_of(pool).cuts, 1);
    ck_assert_uint_le(pages_resident(p, spike) * page_size(), 128 * KIB);
    pool_gone(pool);
}
END_TEST

/* Over every backing: the spike is in spill extents, which are kept as spares. */
START_TEST(spare_extents_of_a_spike_are_cut)
{
    struct bp_pool_config c = tick_config(64 * KIB);
    struct place on;
    uint64_t now = LATE;
    bp_pool *pool;

    c.max_spare = BP_UNLIMITED;
    place_open(&on, _i);
    pool = pool_on(on.backing, &c);
    use(pool, 1, 8 * KIB);
    now = ticked(pool, now);
    for (int i = 0; i < 2; i++) {
        bp_arena *a = taken(pool);

        for (int k = 0; k < 1024; k++)
            ck_assert_ptr_nonnull(bp_arena_alloc(a, 8 * KIB));
        given(pool, a);
    }
    ck_assert_uint_ge(stats_of(pool).committed_bytes, (_i == ON_RESERVED ? 1 : 8) * MIB);
    for (int i = 0; i < 10; i++) {
        use(pool, 1, 8 * KIB);
        now = ticked(pool, now);
    }
    ck_assert_uint_eq(stats_of(pool).cuts, 1);
    ck_assert_uint_le(stats_of(pool).resident_bytes, 256 * KIB);
    pool_gone(pool);
    place_close(&on);
}
END_TEST

/* More arenas than a tick looks into have a good deal resident, and one of them far too much. */
START_TEST(spike_does_not_hide_in_a_crowd)
{
    const size_t crowd = 150;
    bp_pool *pool = tick_pool(bp_backing_mmap(), 8 * MIB);
    bp_arena *arenas[150];
    uint64_t now = LATE;

    for (size_t i = 0; i < crowd; i++) {
        arenas[i] = taken(pool);
        ck_assert_ptr_nonnull(bp_arena_alloc(arenas[i], i == 0 ? 8 * MIB : 128 * KIB));
    }
    for (size_t i = 0; i < crowd; i++)
        given(pool, arenas[i]);
    for (int i = 0; i < 10; i++) {
        use(pool, crowd, 128 * KIB);
        now = ticked(pool, now);
    }
    ck_assert_uint_eq(stats_of(pool).mints, crowd);
    ck_assert_uint_eq(stats_of(pool).cuts, 1);
    ck_assert_uint_le(stats_of(pool).resident_bytes, crowd * 256 * KIB);
    pool_gone(pool);
}
END_TEST

START_TEST(large_load_is_never_cut)
{
    size_t large = times(16, 2) * MIB;
    bp_pool *pool = tick_pool(releasable(_i), large);
    uint64_t now = LATE;
    long before = 0, after;

    for (int i = 0; i < TICKS; i++) {
        if (i % 3 == 0)
            use(pool, 1, large);
        use(pool, 1, 8 * KIB);
        now = ticked(pool, now);
        if (i == 0) {
            (void)faults_so_far();
            before = faults_so_far();
        }
    }
    after = faults_so_far();
    ck_assert_uint_eq(stats_of(pool).cuts, 0);
    ck_assert_uint_eq(stats_of(pool).released_bytes, 0);
    if (faults_are_ours())
        ck_assert_int_eq(after - before, 0);
    pool_gone(pool);
}
END_TEST

/* While old arenas go at 64 per ms, what is used in the same ms is not all of the recent past. */
START_TEST(backlog_does_not_shorten_memory)
{
    const size_t old = 15 * 64;
    struct bp_pool_config c = tick_config(8 * MIB);
    bp_pool *pool;
    uint64_t now = LATE, next;
    int backlog = 0;

    c.prefault = 4096;
    pool = pool_on(bp_backing_mmap(), &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, old, NULL), 0);
    next = ticked(pool, now);
    while (stats_of(pool).releases < old - 64) {
        if (next - now >= PERIOD)
            for (int k = 0; k < 2; k++) { /* large in one unit of each period */
                bp_arena *a = taken(pool);

                ck_assert_ptr_nonnull(bp_arena_alloc(a, 8 * MIB));
                given(pool, a);
            }
        else
            backlog++;
        use(pool, 1, 4096);
        now = next;
        next = ticked(pool, now);
        ck_assert_uint_lt(now, LATE + 4 * RETAIN);
    }
    ck_assert_int_ge(backlog, 12);
    use(pool, 1, 4096);
    now = next;
    (void)ticked(pool, now + PERIOD);
    ck_assert_uint_eq(stats_of(pool).cuts, 0);
    pool_gone(pool);
}
END_TEST

/* ---- lanes ---- */

struct other {
    bp_pool *pool;
    pthread_barrier_t *barrier;
};

static void *use_and_linger(void *arg)
{
    struct other *o = arg;

    use(o->pool, 5, 40 * KIB);
    pthread_barrier_wait(o->barrier);
    pthread_barrier_wait(o->barrier);
    use(o->pool, 5, 40 * KIB);
    return NULL;
}

START_TEST(idle_arenas_of_other_threads_are_seen)
{
    bp_pool *pool = tick_pool(bp_backing_mmap(), 256 * KIB);
    pthread_barrier_t barrier;
    pthread_t thread;
    struct other o = { pool, &barrier };

    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, use_and_linger, &o), 0);
    pthread_barrier_wait(&barrier);
    (void)tick_through(pool, LATE, LATE + RETAIN + PERIOD);
    ck_assert_uint_eq(stats_of(pool).releases, 5);
    ck_assert_uint_eq(stats_of(pool).resident_bytes, 0);
    pthread_barrier_wait(&barrier);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    counts_are(pool, 5, 0);
    pthread_barrier_destroy(&barrier);
    pool_gone(pool);
}
END_TEST

static Suite *tick_suite(void)
{
    Suite *s = suite_create("pool tick");
    TCase *tc = add_case(s, "ages");

    tcase_add_loop_test(tc, idle_arenas_age, 0, 2);
    tcase_add_test(tc, what_cannot_be_released_is_disposed_of);
    tcase_add_test(tc, what_came_between_two_ticks_is_young);
    tcase_add_test(tc, prewarmed_arenas_age);
    tcase_add_test(tc, arenas_used_without_an_allocation_are_needed);

    tc = add_case(s, "demand");
    tcase_add_loop_test(tc, steady_load_keeps_its_arenas, 0, 2);
    tcase_add_loop_test(tc, as_many_stay_as_were_live, 0, 2);
    tcase_add_test(tc, coarse_granules_are_no_excess);
    tcase_add_test(tc, bursts_keep_what_they_need);
    tcase_add_loop_test(tc, spike_of_the_only_arena_is_cut, 0, 2);
    tcase_add_loop_test(tc, spike_among_many_is_cut_soon, 0, 2);
    tcase_add_loop_test(tc, spare_extents_of_a_spike_are_cut, 0, ON_BUFFER);
    tcase_add_test(tc, spike_does_not_hide_in_a_crowd);
    tcase_add_loop_test(tc, large_load_is_never_cut, 0, 2);
    tcase_add_test(tc, backlog_does_not_shorten_memory);
    tcase_add_test(tc, idle_arenas_of_other_threads_are_seen);
    return s;
}

int main(void)
{
    return run_suite(tick_suite());
}
