/* SPDX-License-Identifier: MIT
 *
 * The lanes, from inside: links the library's objects, so that both ways of storing to a lane are run (by
 * plain stores and membarrier, and by seq_cst operations) whatever the machine would choose. Here step by
 * step, one thread at a time, and the owner's operations in halves.
 */
#include "lanes.h"

START_TEST(pair_stays_in_the_lane)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    bp_arena *a = checkout(pool), *first = a;
    struct lane *lane = lane_mine(pool);
    struct lane_slot *slot = home_of(a);

    ck_assert_ptr_eq(lane_here(pool), lane);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
        ck_assert_ptr_eq(lane->front[pool->way], slot);
        ck_assert_uint_eq(state_of(slot), SLOT_IDLE);
        ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
        a = checkout(pool);
        ck_assert_ptr_eq(a, first);
        ck_assert_ptr_eq(home_of(a), slot);
        ck_assert_uint_eq(state_of(slot), SLOT_OUT);
        ck_assert_uint_eq(bp_pool_live_count(pool), 1);
    }
    ck_assert_uint_eq(atomic_load(&lane->checkouts), 100);
    ck_assert_uint_eq(pool->slow_checkouts, 1);
    /* The front of the other way is never anything but closed. */
    ck_assert_ptr_eq(lane->front[pool->way == LANE_PLAIN ? LANE_SEQ_CST : LANE_PLAIN], &lane_closed_slot);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

START_TEST(idle_arena_of_another_thread_is_found)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, 1);
    struct puppet other;
    bp_arena *a;

    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    a = checkout(pool);
    ck_assert_ptr_eq(a, other.arena);
    ck_assert_int_eq(puppet_do(&other, step_checkout), EAGAIN);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

START_TEST(arena_is_given_back_by_another_thread)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    struct misuse_log log;
    struct puppet other;

    puppet_start(&other, pool);
    for (int i = 0; i < 200; i++) { /* more than the cooldown: homed and not homed */
        ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
        ck_assert_int_eq(bp_pool_give_back(pool, other.arena), 0);
        ck_assert_uint_eq(bp_pool_live_count(pool), 0);
        ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    }
    /* The thread that checked it out must not be able to give it back once more. */
    misuse_listen(&log);
    ck_assert_int_eq(puppet_do(&other, step_give_back), EINVAL);
    misuse_was(&log, BP_MISUSE_DOUBLE_GIVE_BACK);
    bp_set_misuse_handler(NULL, NULL);
    puppet_end(&other);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

START_TEST(place_held_for_a_live_arena_is_taken_back)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 1, BP_UNLIMITED);
    struct puppet other;
    bp_arena *a;

    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
    ck_assert_uint_eq(arena_of(other.arena)->state, STATE_HOMED);
    a = checkout(pool);
    ck_assert(is_live(a));
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0); /* the one idle arena there may be */
    ck_assert(is_live(other.arena));
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    ck_assert_uint_eq(bp_pool_live_count(pool), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

START_TEST(lane_of_an_ended_thread_is_inherited)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    bp_arena *first;
    struct puppet other;

    for (int i = 0; i < 2 * THREAD_IDS; i++) {
        puppet_start(&other, pool);
        ck_assert_int_eq(puppet_do(&other, step_pair), 0);
        if (i == 0)
            first = other.arena;
        ck_assert_ptr_eq(other.arena, first);
        puppet_end(&other);
        ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    }
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* A trim wants what is idle and no more: what is out stays where it is, and its owner is back in its lane. */
START_TEST(drain_of_the_idle_leaves_those_that_are_out)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 64, BP_UNLIMITED);
    struct puppet other;
    bp_arena *a[8];
    struct lane *lane;
    uint64_t slow;

    puppet_start(&other, pool);
    for (size_t i = 0; i < 8; i++)
        a[i] = checkout(pool);
    lane = lane_mine(pool);
    for (size_t i = 0; i < 8; i += 3) /* 0, 3, 6 */
        ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
    ck_assert_int_eq(puppet_do(&other, step_trim), 0);
    counts_are(pool, 0, 5);
    ck_assert_uint_eq(lane->homed, 0xB6); /* of 8 slots, without 0, 3, 6 */
    ck_assert_uint_eq(pool->kept, 5);
    slow = pool->slow_checkouts;
    for (size_t i = 0; i < 8; i++)
        if (i % 3 != 0) {
            ck_assert_uint_eq(state_of(home_of(a[i])), SLOT_OUT);
            ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
        }
    counts_are(pool, 5, 0);
    for (size_t i = 8; i-- != 0;)
        if (i % 3 != 0)
            ck_assert_ptr_eq(checkout(pool), a[i]);
    ck_assert_uint_eq(pool->slow_checkouts, slow);
    for (size_t i = 0; i < 8; i++)
        if (i % 3 != 0)
            ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

static int step_prewarm_2(struct puppet *p)
{
    size_t added = 0;
    int rc = bp_pool_prewarm(p->pool, 2, &added);

    return rc != 0 ? rc : added == 2 ? 0 : -1;
}

/* Prewarm at the cap wants the places held for those that are out: they become nobody's. */
START_TEST(drain_of_those_that_are_out_makes_them_live)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 8, BP_UNLIMITED);
    struct puppet other;
    bp_arena *a[8];
    struct lane *lane;

    puppet_start(&other, pool);
    for (size_t i = 0; i < 8; i++)
        a[i] = checkout(pool);
    lane = lane_mine(pool);
    for (size_t i = 0; i < 8; i += 3)
        ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
    ck_assert_int_eq(puppet_do(&other, step_prewarm_2), 0);
    ck_assert_uint_eq(lane->homed, 0x49);
    for (size_t i = 0; i < 8; i++)
        if (i % 3 != 0)
            ck_assert(is_live(a[i]));
        else
            ck_assert_uint_eq(state_of(home_of(a[i])), SLOT_IDLE);
    counts_are(pool, 5, 5);
    /* They come back in their own right, and the two that nobody used go. */
    for (size_t i = 0; i < 8; i++)
        if (i % 3 != 0)
            ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
    counts_are(pool, 8, 0);
    for (size_t i = 8; i-- != 0;)
        if (i % 3 != 0)
            ck_assert_ptr_eq(checkout(pool), a[i]);
    ck_assert_ptr_eq(checkout(pool), a[6]);
    ck_assert_ptr_eq(checkout(pool), a[3]);
    ck_assert_ptr_eq(checkout(pool), a[0]);
    for (size_t i = 0; i < 8; i++)
        ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* Whose arena another had to take does not home the next ones; after a trim it may at once. */
START_TEST(owner_keeps_away_for_a_while)
{
    bp_pool *pool = make_pool((enum lane_way)(_i % WAYS), 4, BP_UNLIMITED);
    bool evicted = _i / WAYS != 0;
    struct puppet other;
    struct lane *lane;
    bp_arena *mine;
    unsigned away;

    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    lane = &pool->lanes[home_of(other.arena)->lane];
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    ck_assert_uint_eq(lane->cooldown, 0);
    ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
    ck_assert_uint_eq(state_of(home_of(other.arena)), SLOT_OUT);
    if (!evicted)
        ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    mine = evicted ? other.arena : checkout(pool);
    ck_assert_ptr_eq(mine, other.arena);
    if (evicted)
        ck_assert_int_eq(bp_pool_give_back(pool, mine), 0);
    away = lane->cooldown;
    ck_assert_uint_gt(away, 8);
    for (; away != 0; away--) {
        ck_assert_uint_eq(lane->cooldown, away);
        ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
        ck_assert(is_live(other.arena));
        ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
        ck_assert_uint_eq(arena_of(other.arena)->state, away == 1 ? STATE_HOMED : STATE_IDLE);
    }
    if (!evicted)
        ck_assert_int_eq(bp_pool_give_back(pool, mine), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* ---- a revocation that meets one operation of the owner ---- */

enum { STORE_FIRST, DRAIN_FIRST, BEFORE_TAKING, TIMINGS };
enum { WANTS = 3, FLIGHTS = WAYS * OPS * 2 * WANTS * TIMINGS };

static int step_drain(struct puppet *p)
{
    pthread_mutex_lock(&p->pool->lock);
    lanes_drain(p->pool, p->want, false);
    pthread_mutex_unlock(&p->pool->lock);
    return 0;
}

/* Arenas 0 and 1 are idle, 2 and 3 out; 4 is the one of the operation, 5 the front where 4 is not. */
static size_t set_the_scene(bp_pool *pool, bp_arena **a, int op, bool front, bp_arena **idle)
{
    size_t n = 0;

    for (size_t i = 0; i < 6; i++)
        a[i] = checkout(pool);
    for (size_t i = 0; i < 2; i++)
        given(pool, idle[n++] = a[i]);
    if (op == OP_CHECKOUT) {
        given(pool, idle[n++] = a[4]);
        if (!front) {
            given(pool, a[5]);
            must(checkout(pool) == a[5]);
        }
    } else if (front) {
        given(pool, a[4]);
        must(checkout(pool) == a[4]);
    } else {
        given(pool, idle[n++] = a[5]);
    }
    must((lane_here(pool)->front[pool->way] == home_of(a[4])) == front);
    return n;
}

START_TEST(operation_in_flight)
{
    bool front = _i / WAYS / OPS % 2 != 0;
    int op = _i / WAYS % OPS, timing = _i / WAYS / OPS / 2 / WANTS;
    unsigned want = 1 + (unsigned)(_i / WAYS / OPS / 2 % WANTS);
    uint32_t stored = op == OP_CHECKOUT ? SLOT_OUT : SLOT_IDLE, old = SLOT_OUT - stored;
    uint32_t seen = timing == DRAIN_FIRST ? old : stored;
    bool taken = (want >> seen & 1) != 0, stands;
    bp_pool *pool = make_pool((enum lane_way)(_i % WAYS), 64, BP_UNLIMITED);
    struct puppet other;
    bp_arena *a[6], *idle[6], *got[6];
    size_t n = set_the_scene(pool, a, op, front, idle);
    struct lane *lane = lane_mine(pool);
    struct lane_slot *slot = home_of(a[4]);

    puppet_start(&other, pool);
    other.want = want;
    if (timing == DRAIN_FIRST)
        puppet_do(&other, step_drain);
    else if (timing == BEFORE_TAKING)
        revoke_by_hand(pool, lane, want);
    make_front(pool, lane, slot, op);
    if (timing == STORE_FIRST) {
        ck_assert(!lane_store(lane, slot, stored, pool->way));
        puppet_do(&other, step_drain); /* the owner's look at `revoked` comes after it */
        ck_assert_uint_eq(atomic_load(&lane->revoked), 1);
    } else {
        ck_assert(lane_store(lane, slot, stored, pool->way));
    }
    stands = settle_by_hand(pool, lane, slot, stored);

    ck_assert_int_eq(stands, !taken || seen == stored);
    ck_assert_uint_eq(atomic_load(&lane->revoked), 0);
    ck_assert_uint_eq(lane->wanted, 0);
    if (taken) {
        ck_assert_uint_eq(arena_of(a[4])->state, seen == SLOT_OUT ? STATE_LIVE : STATE_IDLE);
        ck_assert(slot_is_vacant(slot));
    } else {
        ck_assert_ptr_eq(home_of(a[4]), slot);
        ck_assert_uint_eq(state_of(slot), stored);
    }
    for (size_t i = 0; i < 4; i++) { /* the others are where they were, unless they were wanted */
        bool out = i >= 2;

        if ((want & (out ? LANE_OUT : LANE_IDLE)) != 0)
            ck_assert_uint_eq(arena_of(a[i])->state, out ? STATE_LIVE : STATE_IDLE);
        else
            ck_assert_uint_eq(state_of(home_of(a[i])), out ? SLOT_OUT : SLOT_IDLE);
    }

    /* An operation that is void is done again, as pool.c does. */
    if (op == OP_GIVE_BACK) {
        if (!stands)
            ck_assert_int_eq(bp_pool_give_back(pool, a[4]), 0);
        idle[n++] = a[4];
    } else if (stands) {
        n--; /* it was the newest */
    }
    counts_are(pool, n, 6 - n);
    for (size_t i = 0; i < n; i++)
        got[i] = checkout(pool);
    if (timing == BEFORE_TAKING || (want & LANE_IDLE) == 0) /* else a stranger took them, in no order */
        for (size_t i = 0; i < n; i++)
            ck_assert_ptr_eq(got[i], idle[n - 1 - i]);
    for (size_t i = 0; i < n; i++) {
        size_t found = 0;

        for (size_t j = 0; j < n; j++)
            found += got[j] == idle[i];
        ck_assert_uint_eq(found, 1);
    }
    counts_are(pool, 0, 6);
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
    counts_are(pool, 6, 0);
    ck_assert_uint_eq(pool->mints, 6);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* ---- the same arena given back by two, in slow motion ---- */

/* The owner has found its slot in order, and before it stores, the other is through.
 * In the odd rounds the slot is not the front. */
START_TEST(given_back_by_two_owner_last)
{
    bp_pool *pool = make_pool((enum lane_way)(_i / 2), 4, BP_UNLIMITED);
    struct puppet other;
    struct lane_slot *slot;
    struct lane *lane;
    bp_arena *newer;

    puppet_start(&other, pool);
    other.arena = checkout(pool);
    slot = home_of(other.arena);
    lane = lane_mine(pool);
    if (_i % 2 != 0) {
        newer = checkout(pool);
        ck_assert_int_eq(bp_pool_give_back(pool, newer), 0);
    }
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    make_front(pool, lane, slot, OP_GIVE_BACK);
    ck_assert(lane_store(lane, slot, SLOT_IDLE, pool->way));
    ck_assert(!settle_by_hand(pool, lane, slot, SLOT_IDLE));
    ck_assert_uint_eq(bp_pool_idle_count(pool), _i % 2 != 0 ? 2 : 1);
    if (_i % 2 != 0)
        ck_assert_ptr_eq(checkout(pool), newer);
    ck_assert_ptr_eq(checkout(pool), other.arena);
    ck_assert_int_eq(bp_pool_give_back(pool, other.arena), 0);
    if (_i % 2 != 0)
        ck_assert_int_eq(bp_pool_give_back(pool, newer), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* And the owner first. */
START_TEST(given_back_by_two_owner_first)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    bp_arena *a = checkout(pool);
    struct lane *lane = lane_mine(pool);
    struct lane_slot *slot = home_of(a);
    bool evicted;

    ck_assert(!lane_store(lane, slot, SLOT_IDLE, pool->way));
    pthread_mutex_lock(&pool->lock);
    evicted = lane_evict(pool, slot);
    pthread_mutex_unlock(&pool->lock);
    ck_assert(!evicted);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    ck_assert_ptr_eq(checkout(pool), a); /* finds it revoked, and clears that */
    ck_assert_uint_eq(atomic_load(&lane->revoked), 0);
    ck_assert_ptr_eq(home_of(a), slot);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* The owner's store becomes visible only after the other is through: both are let pass, and the arena must
 * still have one holder. In the odd rounds the slot is not the front. */
START_TEST(given_back_by_two_store_late)
{
    bp_pool *pool = make_pool((enum lane_way)(_i / 2), 4, BP_UNLIMITED);
    struct puppet other;
    struct lane_slot *slot;
    bp_arena *a, *newer = NULL, *mine;

    puppet_start(&other, pool);
    a = other.arena = checkout(pool);
    slot = home_of(a);
    if (_i % 2 != 0) {
        newer = checkout(pool);
        ck_assert_int_eq(bp_pool_give_back(pool, newer), 0);
    }
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    make_front(pool, lane_mine(pool), slot, OP_GIVE_BACK);
    atomic_store(&slot->state, SLOT_IDLE); /* the late store */
    ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
    ck_assert_ptr_eq(other.arena, a);
    mine = checkout(pool);
    if (newer != NULL)
        ck_assert_ptr_eq(mine, newer);
    ck_assert_ptr_ne(mine, a);
    ck_assert_ptr_ne(mine, slot);
    ck_assert_int_eq(bp_pool_give_back(pool, mine), 0);
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    counts_are(pool, 2, 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* A lane that others emptied still says what it held; in a destroyed pool that must not be followed. */
START_TEST(leftover_in_a_dead_pool)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    struct misuse_log log;
    struct puppet other;
    bp_arena *a;

    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
    ck_assert_int_eq(bp_pool_give_back(pool, other.arena), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
    misuse_listen(&log);
    ck_assert_int_eq(puppet_do(&other, step_give_back), EINVAL);
    misuse_was(&log, BP_MISUSE_DEAD_POOL);
    puppet_end(&other);

    pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
    ck_assert_int_eq(puppet_do(&other, step_checkout), EINVAL);
    misuse_was(&log, BP_MISUSE_DEAD_POOL);
    puppet_end(&other);
    ck_assert_int_eq(bp_pool_checkout(pool, &a), EINVAL);
    misuse_was(&log, BP_MISUSE_DEAD_POOL);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane");
    TCase *t = add_case(suite, "lane");

    tcase_add_loop_test(t, pair_stays_in_the_lane, 0, WAYS);
    tcase_add_loop_test(t, idle_arena_of_another_thread_is_found, 0, WAYS);
    tcase_add_loop_test(t, arena_is_given_back_by_another_thread, 0, WAYS);
    tcase_add_loop_test(t, place_held_for_a_live_arena_is_taken_back, 0, WAYS);
    tcase_add_loop_test(t, lane_of_an_ended_thread_is_inherited, 0, WAYS);
    tcase_add_loop_test(t, drain_of_the_idle_leaves_those_that_are_out, 0, WAYS);
    tcase_add_loop_test(t, drain_of_those_that_are_out_makes_them_live, 0, WAYS);
    tcase_add_loop_test(t, owner_keeps_away_for_a_while, 0, WAYS * 2);
    tcase_add_loop_test(t, leftover_in_a_dead_pool, 0, WAYS);

    t = add_case(suite, "in flight");
    tcase_add_loop_test(t, operation_in_flight, 0, FLIGHTS);
    tcase_add_loop_test(t, given_back_by_two_owner_last, 0, 2 * WAYS);
    tcase_add_loop_test(t, given_back_by_two_owner_first, 0, WAYS);
    tcase_add_loop_test(t, given_back_by_two_store_late, 0, 2 * WAYS);
    return run_suite(suite);
}
