/* SPDX-License-Identifier: MIT
 *
 * What is no lane's, from inside: arenas that come back where they did not go out, pointers that are no
 * arenas, threads that ended, and threads and pools without lanes. In both ways of storing to a lane.
 */
#include "lanes.h"

#include "failing_malloc.h"

/* ---- given back where it did not go out ---- */

enum { DEPTH = 5 };

/* One of five is taken out of the lane: of the front, or below it; with others idle, or all out. */
START_TEST(evicted_at_any_depth)
{
    bool idle = _i / WAYS % 2 != 0;
    size_t which = (size_t)(_i / WAYS / 2);
    bp_pool *pool = make_pool(way_of(_i), 64, BP_UNLIMITED);
    struct misuse_log log;
    struct puppet other;
    bp_arena *a[DEPTH], *i1 = NULL, *i2 = NULL;
    struct lane_slot *slot;
    struct lane *lane;

    puppet_start(&other, pool);
    take_many(pool, a, DEPTH);
    lane = lane_mine(pool);
    if (idle) { /* two under the front; the front itself is out */
        bp_arena *i3 = taken(pool);

        i1 = taken(pool);
        i2 = taken(pool);
        given(pool, i1);
        given(pool, i2);
        given(pool, i3);
        given(pool, a[DEPTH - 1]);
        must(taken(pool) == a[DEPTH - 1]);
        must(taken(pool) == i3);
        given(pool, a[DEPTH - 1]);
        must(taken(pool) == a[DEPTH - 1]);
        other.arena = i3;
        ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    }
    ck_assert_ptr_eq(lane->front[pool->way], home_of(a[DEPTH - 1]));
    slot = home_of(a[which]);
    other.arena = a[which];
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    ck_assert(slot_is_vacant(slot));
    counts_are(pool, idle ? 4 : 1, DEPTH - 1);

    misuse_listen(&log);
    ck_assert_int_eq(bp_pool_give_back(pool, a[which]), EINVAL);
    misuse_was(&log, BP_MISUSE_DOUBLE_GIVE_BACK);
    ck_assert_ptr_eq(log.arena, a[which]);
    counts_are(pool, idle ? 4 : 1, DEPTH - 1);

    /* The others are none the worse for it. */
    for (size_t i = 0; i < DEPTH; i++)
        if (i != which) {
            given(pool, a[i]);
            ck_assert_int_eq(bp_pool_give_back(pool, a[i]), EINVAL);
            misuse_was(&log, BP_MISUSE_DOUBLE_GIVE_BACK);
        }
    bp_set_misuse_handler(NULL, NULL);
    for (size_t i = DEPTH; i-- != 0;)
        if (i != which)
            must(taken(pool) == a[i]);
    if (idle) {
        must(taken(pool) == i2);
        must(taken(pool) == i1);
    }
    must(taken(pool) == a[which]); /* out of the other's lane, its newest */
    counts_are(pool, idle ? 1 : 0, idle ? DEPTH + 2 : DEPTH);
    give_many(pool, a, DEPTH);
    if (idle) {
        given(pool, i1);
        given(pool, i2);
    }
    puppet_end(&other);
    threads_passed();
    pool_gone(pool);
}
END_TEST

static void is_refused(bp_pool *pool, struct misuse_log *log, const void *p, enum bp_misuse_kind kind)
{
    struct bp_pool_stats before = stats_of(pool), after;

    ck_assert_int_eq(bp_pool_give_back(pool, (bp_arena *)(uintptr_t)p), EINVAL);
    misuse_was(log, kind);
    after = stats_of(pool);
    ck_assert_uint_eq(after.idle, before.idle);
    ck_assert_uint_eq(after.live, before.live);
    ck_assert_uint_eq(after.give_backs, before.give_backs);
}

/* Pointers that are no arenas of the pool, among them such as are found inside it. */
static void wild_ones_are_refused(bp_pool *pool, bp_pool *another, struct lane *lane)
{
    struct misuse_log log;
    bp_arena *a = taken(another), *alone = fixed_arena(bp_backing_malloc(), 4096);
    char *slab = (char *)pool->slabs[0];
    int local;

    misuse_listen(&log);
    ck_assert_int_eq(bp_pool_give_back(pool, NULL), EINVAL); /* which is no misuse */
    ck_assert_int_eq(log.count, 0);
    is_refused(pool, &log, (const void *)1, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, (const void *)UINTPTR_MAX, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, &local, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, pool, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, lane, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, lane->deep, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, &lane_closed_slot, BP_MISUSE_FOREIGN_ARENA);
    for (size_t i = 0; i < LANE_SLOTS; i++)
        is_refused(pool, &log, &lane->deep->slots[i], BP_MISUSE_FOREIGN_ARENA);
    for (size_t i = 1; i < sizeof(struct arena); i += i < 16 ? 1 : 16)
        is_refused(pool, &log, slab + i, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, slab - sizeof(struct arena), BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, slab + SLAB_FIRST * sizeof(struct arena), BP_MISUSE_FOREIGN_ARENA);
    ck_assert_uint_eq(arena_of((bp_arena *)(void *)slab)->state, STATE_VACANT);
    is_refused(pool, &log, slab, BP_MISUSE_DOUBLE_GIVE_BACK); /* a place where no arena was yet */
    is_refused(pool, &log, a, BP_MISUSE_FOREIGN_ARENA);
    given(another, a);
    is_refused(pool, &log, a, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, alone, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_arena_destroy(alone), 0);
    bp_set_misuse_handler(NULL, NULL);
}

START_TEST(wild_pointers)
{
    bp_pool *pool = make_pool(way_of(_i), 64, BP_UNLIMITED);
    bp_pool *another = make_pool(way_of(_i), 64, BP_UNLIMITED);
    bp_arena *a[6];
    struct puppet other;
    struct lane *lane;

    puppet_start(&other, pool);
    take_many(pool, a, 6);
    lane = lane_mine(pool);
    wild_ones_are_refused(pool, another, lane); /* the front is out */
    give_many(pool, a, 3);
    wild_ones_are_refused(pool, another, lane); /* it is idle */
    ck_assert_int_eq(puppet_do(&other, step_trim), 0);
    wild_ones_are_refused(pool, another, lane); /* it was taken away */
    give_many(pool, a + 3, 3);
    wild_ones_are_refused(pool, another, lane);
    counts_are(pool, 3, 0);
    for (size_t i = 6; i-- != 3;)
        must(taken(pool) == a[i]);
    give_many(pool, a + 3, 3);
    puppet_end(&other);
    threads_passed();
    pool_gone(pool);
    pool_gone(another);
}
END_TEST

/* Where a slot is there can have been arenas of a pool that is no more, and a program can still have their
 * addresses. Slots whose arenas others gave back, the front among them, are not to be taken for arenas. */
START_TEST(slots_are_no_arenas)
{
    bp_pool *pool = make_pool(way_of(_i), 64, BP_UNLIMITED);
    struct misuse_log log;
    struct puppet other;
    struct lane *lane;
    bp_arena *a[6];

    puppet_start(&other, pool);
    for (size_t front = 0; front < 6; front++) {
        take_many(pool, a, 6);
        lane = lane_mine(pool);
        lane->cooldown = 0;
        given(pool, a[front]);
        must(taken(pool) == a[front]);
        ck_assert_int_eq(puppet_do_many(&other, step_give_back_many, a, 6), 0);
        ck_assert(slot_is_vacant(lane->front[pool->way]));
        misuse_listen(&log);
        is_refused(pool, &log, lane->front[pool->way], BP_MISUSE_FOREIGN_ARENA);
        for (size_t i = 0; i < LANE_SLOTS; i++)
            is_refused(pool, &log, &lane->deep->slots[i], BP_MISUSE_FOREIGN_ARENA);
        bp_set_misuse_handler(NULL, NULL);
        counts_are(pool, 6, 0);
        lane->cooldown = 0;
    }
    puppet_end(&other);
    threads_passed();
    pool_gone(pool);
}
END_TEST

/* ---- threads that end, threads that are too many ---- */

START_TEST(thread_ends_with_arenas_idle_and_out)
{
    bp_pool *pool = make_pool(way_of(_i), 64, BP_UNLIMITED);
    struct misuse_log log;
    struct puppet first, heir;
    bp_arena *a[12], *got[12];
    struct lane *lane;

    puppet_start(&first, pool);
    ck_assert_int_eq(puppet_do_many(&first, step_checkout_many, a, 12), 0);
    lane = &pool->lanes[home_of(a[0])->lane];
    ck_assert_int_eq(puppet_do_many(&first, step_give_back_many, a, 6), 0);
    puppet_end(&first);
    counts_are(pool, 6, 6);

    /* The next thread with that number finds what is idle in order, and those that are out in their slots. */
    puppet_start(&heir, pool);
    ck_assert_int_eq(puppet_do_many(&heir, step_give_back_many, a + 7, 2), 0);
    ck_assert_ptr_eq(&pool->lanes[home_of(a[7])->lane], lane);
    ck_assert_int_eq(puppet_do_many(&heir, step_checkout_many, got, 8), 0);
    ck_assert_ptr_eq(got[0], a[8]);
    ck_assert_ptr_eq(got[1], a[7]);
    for (size_t i = 0; i < 6; i++)
        ck_assert_ptr_eq(got[2 + i], a[5 - i]);
    counts_are(pool, 0, 12);
    ck_assert_int_eq(puppet_do_many(&heir, step_give_back_many, got, 4), 0);
    puppet_end(&heir);
    counts_are(pool, 4, 8);

    /* All that is still out comes back by a stranger, once. */
    misuse_listen(&log);
    for (size_t i = 4; i < 8; i++) {
        given(pool, got[i]);
        ck_assert_int_eq(bp_pool_give_back(pool, got[i]), EINVAL);
        misuse_was(&log, BP_MISUSE_DOUBLE_GIVE_BACK);
    }
    bp_set_misuse_handler(NULL, NULL);
    give_many(pool, a + 9, 3);
    given(pool, a[6]); /* out of the first thread's lane, through all this */
    counts_are(pool, 12, 0);
    take_many(pool, got, 12);
    for (size_t i = 0; i < 12; i++)
        ck_assert(has(got, 12, a[i]));
    give_many(pool, got, 12);
    ck_assert_uint_eq(pool->mints, 12);
    threads_passed();
    pool_gone(pool);
}
END_TEST

enum { CROWD = THREAD_IDS + 12, CROWD_EACH = 3 };

START_TEST(more_threads_than_lanes)
{
    bp_pool *pool = make_pool(way_of(_i), CROWD * CROWD_EACH, BP_UNLIMITED);
    static struct puppet crowd[CROWD];
    static bp_arena *a[CROWD][CROWD_EACH];
    size_t homed = 0;

    for (size_t t = 0; t < CROWD; t++) {
        puppet_start(&crowd[t], pool);
        ck_assert_int_eq(puppet_do_many(&crowd[t], step_checkout_many, a[t], CROWD_EACH), 0);
        for (size_t i = 0; i < CROWD_EACH; i++)
            homed += arena_of(a[t][i])->state == STATE_HOMED;
    }
    ck_assert_uint_ge(homed, (THREAD_IDS - 1) * CROWD_EACH); /* the test's own thread may have one */
    ck_assert_uint_le(homed, THREAD_IDS * CROWD_EACH);
    counts_are(pool, 0, CROWD * CROWD_EACH);
    for (int round = 0; round < 3; round++)
        for (size_t t = 0; t < CROWD; t++) {
            bp_arena *before[CROWD_EACH];

            memcpy(before, a[t], sizeof before);
            ck_assert_int_eq(puppet_do_many(&crowd[t], step_give_back_many, a[t], CROWD_EACH), 0);
            counts_are(pool, CROWD_EACH, (CROWD - 1) * CROWD_EACH);
            ck_assert_int_eq(puppet_do_many(&crowd[t], step_checkout_many, a[t], CROWD_EACH), 0);
            for (size_t i = 0; i < CROWD_EACH; i++)
                must(a[t][i] == before[CROWD_EACH - 1 - i]);
        }
    /* Everybody gives back what is another's: with a lane and without, in all combinations. */
    for (size_t t = 0; t < CROWD; t++) {
        bp_arena **anothers = a[(t + CROWD / 2) % CROWD];

        ck_assert_int_eq(puppet_do_many(&crowd[t], step_give_back_many, anothers, CROWD_EACH), 0);
    }
    counts_are(pool, CROWD * CROWD_EACH, 0);
    ck_assert_uint_eq(pool->mints, CROWD * CROWD_EACH);
    for (size_t t = 0; t < CROWD; t++)
        puppet_end(&crowd[t]);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    counts_are(pool, 0, 0);
    threads_passed();
    pool_gone(pool);
}
END_TEST

/* ---- no memory for a lane ---- */

enum { UNTOUCHED = 12345 };

static int step_without_memory(struct puppet *p)
{
    int rc;

    failing_malloc_plan(1, true);
    errno = UNTOUCHED;
    rc = step_checkout_many(p);
    if (rc == 0)
        rc = step_give_back_many(p);
    if (errno != UNTOUCHED)
        rc = -1;
    if (failing_malloc_injected() == 0) /* the control */
        rc = -2;
    failing_malloc_plan(0, false);
    return rc;
}

/* Uses up what a pool has for its first threads and arenas: what is left to ask malloc for is lanes. */
static void leave_lanes_to_malloc(bp_pool *pool, struct puppet *second)
{
    bp_arena *a[50];

    take_many(pool, a, 50);
    give_many(pool, a, 50);
    must(bp_pool_trim(pool, 0) == 0);
    puppet_start(second, pool);
    ck_assert_int_eq(puppet_do(second, step_pair), 0);
    must(bp_pool_trim(pool, 0) == 0);
}

static int step_has_lane(struct puppet *p)
{
    return lane_here(p->pool)->deep != NULL;
}

START_TEST(no_memory_for_a_lane)
{
    bp_pool *pool = make_pool(way_of(_i), 64, BP_UNLIMITED);
    struct misuse_log log;
    struct puppet other, second;
    bp_arena *mine, *a[40];

    leave_lanes_to_malloc(pool, &second);
    mine = taken(pool);
    puppet_start(&other, pool);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(puppet_do_many(&other, step_without_memory, a, 40), 0);
        ck_assert_int_eq(puppet_do(&other, step_has_lane), 0);
        counts_are(pool, 40, 1);
    }
    ck_assert_int_eq(puppet_do_many(&other, step_checkout_many, a, 1), 0); /* now there is memory */
    ck_assert_int_eq(puppet_do(&other, step_has_lane), 1);
    ck_assert_ptr_ne(a[0], mine);
    ck_assert_ptr_nonnull(home_of(a[0]));
    ck_assert_int_eq(puppet_do_many(&other, step_give_back_many, a, 1), 0);
    misuse_listen(&log);
    ck_assert_int_eq(puppet_do_many(&other, step_give_back_many, a, 1), EINVAL);
    misuse_was(&log, BP_MISUSE_DOUBLE_GIVE_BACK);
    bp_set_misuse_handler(NULL, NULL);
    given(pool, mine);
    counts_are(pool, 41, 0);
    puppet_end(&other);
    puppet_end(&second);
    threads_passed();
    pool_gone(pool);
}
END_TEST

START_TEST(lanes_go_with_their_pool)
{
    enum { THREADS = 6 };
    bp_pool *pool = make_pool(way_of(_i), 64, BP_UNLIMITED);
    struct puppet second, p[THREADS];
    bp_arena *a[THREADS][40];
    size_t lanes = 0;

    leave_lanes_to_malloc(pool, &second);
    for (size_t t = 0; t < THREADS; t++) {
        puppet_start(&p[t], pool);
        if (t % 3 == 0) {
            ck_assert_int_eq(puppet_do_many(&p[t], step_without_memory, a[t], 7), 0);
            continue;
        }
        ck_assert_int_eq(puppet_do_many(&p[t], step_checkout_many, a[t], 7), 0);
        ck_assert_int_eq(puppet_do_many(&p[t], step_give_back_many, a[t], 7), 0);
    }
    for (size_t i = 0; i < THREAD_IDS; i++)
        lanes += pool->lanes[i].deep != NULL;
    ck_assert_uint_eq(lanes, 2 + THREADS - THREADS / 3);
    puppet_end(&second);
    for (size_t t = 0; t < THREADS; t++)
        puppet_end(&p[t]);
    pool_gone(pool);
    /* The struct of a dead pool can be looked at; that nothing is left beside it is for Valgrind to see. */
    for (size_t i = 0; i <= THREAD_IDS; i++) {
        ck_assert_ptr_null(pool->lanes[i].deep);
        ck_assert_ptr_eq(pool->lanes[i].front[LANE_PLAIN], &lane_closed_slot);
        ck_assert_ptr_eq(pool->lanes[i].front[LANE_SEQ_CST], &lane_closed_slot);
    }
}
END_TEST

/* ---- pools without lanes ---- */

/* `pool` keeps nothing idle; `foreign` is another's arena. */
static void keeps_nothing(bp_pool *pool, bp_arena *foreign)
{
    struct misuse_log log;
    struct puppet other;
    bp_arena *a[40];

    puppet_start(&other, pool);
    for (int round = 0; round < 3; round++) {
        take_many(pool, a, 40);
        ck_assert_uint_eq(bp_pool_live_count(pool), 40);
        for (size_t i = 0; i < 40; i++) {
            must(bp_arena_alloc(a[i], 100) != NULL);
            must(!has(a, i, a[i]));
            if (i % 2 == 0)
                given(pool, a[i]);
            ck_assert_uint_eq(bp_pool_idle_count(pool), 0);
        }
        for (size_t i = 1; i < 40; i += 2)
            ck_assert_int_eq(puppet_do_many(&other, step_give_back_many, &a[i], 1), 0);
        ck_assert_uint_eq(bp_pool_live_count(pool), 0);
    }
    misuse_listen(&log);
    ck_assert_int_eq(bp_pool_give_back(pool, NULL), EINVAL);
    ck_assert_int_eq(log.count, 0);
    is_refused(pool, &log, (const void *)1, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, foreign, BP_MISUSE_FOREIGN_ARENA);
    is_refused(pool, &log, a[0], BP_MISUSE_DOUBLE_GIVE_BACK);
    ck_assert_int_eq(bp_pool_checkout(pool, NULL), EINVAL);
    ck_assert_int_eq(log.count, 0);
    bp_set_misuse_handler(NULL, NULL);
    puppet_end(&other);
    threads_passed();
}

START_TEST(pool_that_keeps_nothing)
{
    bp_pool *pool = make_pool(way_of(_i), 0, BP_UNLIMITED), *another = make_pool(way_of(_i), 1, BP_UNLIMITED);
    bp_arena *foreign = taken(another);

    keeps_nothing(pool, foreign);
    for (size_t i = 0; i <= THREAD_IDS; i++)
        ck_assert_ptr_null(pool->lanes[i].deep);
    ck_assert_uint_eq(pool->kept, 0);
    keeps_nothing(NULL, foreign);
    given(another, foreign);
    pool_gone(another);
    pool_gone(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane strays");
    TCase *t = add_case(suite, "give_back");

    tcase_add_loop_test(t, evicted_at_any_depth, 0, WAYS * 2 * DEPTH);
    tcase_add_loop_test(t, wild_pointers, 0, WAYS);
    tcase_add_loop_test(t, slots_are_no_arenas, 0, WAYS);

    t = add_case(suite, "no lane");
    tcase_add_loop_test(t, thread_ends_with_arenas_idle_and_out, 0, WAYS);
    tcase_add_loop_test(t, more_threads_than_lanes, 0, WAYS);
    tcase_add_loop_test(t, no_memory_for_a_lane, 0, WAYS);
    tcase_add_loop_test(t, lanes_go_with_their_pool, 0, WAYS);
    tcase_add_loop_test(t, pool_that_keeps_nothing, 0, WAYS);
    return run_suite(suite);
}
