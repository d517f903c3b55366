/* SPDX-License-Identifier: MIT
 *
 * Lanes with many arenas, from inside: their order, what takes a lock and what does not, counts, and caps
 * over all lanes. In both ways of storing to a lane.
 */
#include "lanes.h"

enum { MOST = 100 }; /* arenas at once, more than a lane has slots */
enum { LIFO, FIFO, SHUFFLED, ORDERS };

/* Puts `a` into the order in which it is to be given back. */
static void put_in_order(bp_arena **a, size_t n, int order, struct rng *rng)
{
    for (size_t i = 0; order == LIFO && i < n / 2; i++) {
        bp_arena *t = a[i];

        a[i] = a[n - 1 - i];
        a[n - 1 - i] = t;
    }
    for (size_t i = n; order == SHUFFLED && i > 1; i--) {
        size_t k = rng_below(rng, i);
        bp_arena *t = a[i - 1];

        a[i - 1] = a[k];
        a[k] = t;
    }
}

/* ---- newest first ---- */

START_TEST(newest_first_at_any_depth)
{
    static const size_t few[] = { 1, 2, 3, 31, 32, 33, 34, 63, 64, 65, MOST };
    int order = _i / WAYS;
    struct rng rng = rng_start("newest_first_at_any_depth");
    bp_arena *a[MOST];

    for (size_t i = 0; i < times(MOST, sizeof few / sizeof *few); i++) {
        size_t n = slow_run() ? few[i] : i + 1;
        bp_pool *pool = make_pool(way_of(_i), MOST + 3, BP_UNLIMITED);

        take_many(pool, a, n);
        for (int round = 0; round < 8; round++) {
            put_in_order(a, n, order, &rng);
            give_many(pool, a, n);
            must(bp_pool_idle_count(pool) == (round > 5 ? n + 3 : n));
            if (round == 3)
                (void)bp_pool_release_idle(pool);
            else if (round == 4)
                must(bp_pool_trim(pool, n) == 0);
            else if (round == 5)
                must(bp_pool_prewarm(pool, 3, NULL) == 0); /* the oldest: not to be seen */
            for (size_t k = n; k-- != 0;)
                must(taken(pool) == a[k]);
        }
        give_many(pool, a, n);
        pool_gone(pool);
    }
}
END_TEST

/* Random operations beside a plain stack. What falls off its lower end was disposed of; NULL is one that
 * prewarm made. */
struct stack {
    bp_arena *at[2 * MOST];
    size_t n, cap;
};

static void stack_drop_oldest(struct stack *s, size_t n)
{
    memmove(s->at, s->at + n, (s->n - n) * sizeof *s->at);
    s->n -= n;
}

static void stack_push(struct stack *s, bp_arena *a)
{
    if (s->n == s->cap)
        stack_drop_oldest(s, 1);
    s->at[s->n++] = a;
}

static void stack_prewarm(struct stack *s, bp_pool *pool, size_t n)
{
    size_t added = SIZE_MAX, room = s->cap - s->n;

    must(bp_pool_prewarm(pool, n, &added) == 0);
    must(added == (n < room ? n : room));
    memmove(s->at + added, s->at, s->n * sizeof *s->at);
    memset(s->at, 0, added * sizeof *s->at);
    s->n += added;
}

/* What a checkout is to give: the newest, or one that is not known. */
static bp_arena *stack_checkout(struct stack *s, bp_pool *pool, bp_arena *const *held, size_t n)
{
    bp_arena *a = taken(pool), *expected = s->n != 0 ? s->at[--s->n] : NULL;

    must(expected != NULL ? a == expected : !has(held, n, a) && !has(s->at, s->n, a));
    return a;
}

START_TEST(like_a_stack)
{
    static const size_t caps[] = { 1, 2, 7, 31, 32, 33, 40, 64, MOST };
    struct rng rng = rng_start("like_a_stack");

    for (size_t c = 0; c < sizeof caps / sizeof *caps; c++) {
        struct stack s = { .cap = caps[c] };
        bp_pool *pool = make_pool(way_of(_i), s.cap, BP_UNLIMITED);
        bp_arena *held[MOST];
        size_t n = 0, k;

        for (size_t i = times(20000, 1000); i != 0; i--) {
            size_t most = i / 512 % 2 != 0 ? MOST : 20; /* a long time within the slots, and one beyond */

            switch (rng_below(&rng, 512)) {
            case 0:
                k = rng_below(&rng, s.n + 2);
                must(bp_pool_trim(pool, k) == 0);
                if (k < s.n)
                    stack_drop_oldest(&s, s.n - k);
                break;
            case 1:
                (void)bp_pool_release_idle(pool);
                break;
            case 2:
                stack_prewarm(&s, pool, rng_below(&rng, 5));
                break;
            default:
                if (n < most && (n == 0 || rng_below(&rng, 2) == 0)) {
                    held[n] = stack_checkout(&s, pool, held, n);
                    if (rng_below(&rng, 4) == 0) /* a reset that is more than a store */
                        must(bp_arena_alloc(held[n], rng_below(&rng, 3000)) != NULL);
                    n++;
                } else {
                    k = rng_below(&rng, 2) == 0 ? n - 1 : rng_below(&rng, n);
                    given(pool, held[k]);
                    stack_push(&s, held[k]);
                    held[k] = held[--n];
                }
            }
            must(bp_pool_idle_count(pool) == s.n);
            must(bp_pool_live_count(pool) == n);
        }
        give_many(pool, held, n);
        pool_gone(pool);
    }
}
END_TEST

/* ---- no lock: the linker has every pthread_mutex_lock of the library come here ---- */

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
static _Thread_local size_t locks_taken;

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
    locks_taken++;
    return __real_pthread_mutex_lock(lock);
}

START_TEST(as_many_as_slots_take_no_lock)
{
    struct rng rng = rng_start("as_many_as_slots_take_no_lock");
    bp_pool *pool = make_pool(way_of(_i), LANE_SLOTS, BP_UNLIMITED);
    bp_arena *a[LANE_SLOTS + 1];
    struct lane *lane;
    size_t before = locks_taken;

    take_many(pool, a, LANE_SLOTS);
    must(locks_taken > before); /* the control: it does count */
    give_many(pool, a, LANE_SLOTS);
    lane = lane_mine(pool);
    for (size_t k = 1; k <= LANE_SLOTS; k++)
        for (int order = 0; order < ORDERS; order++) {
            uint64_t slow = pool->slow_checkouts, fast = atomic_load(&lane->checkouts);

            before = locks_taken;
            for (int round = 0; round < 5; round++) {
                take_many(pool, a, k);
                put_in_order(a, k, order, &rng);
                give_many(pool, a, k);
            }
            must(locks_taken == before);
            must(pool->slow_checkouts == slow);
            must(atomic_load(&lane->checkouts) == fast + 5 * k);
        }
    counts_are(pool, LANE_SLOTS, 0);
    ck_assert_uint_eq(stats_of(pool).hits, stats_of(pool).checkouts - LANE_SLOTS);
    pool_gone(pool);
}
END_TEST

/* Also where each unit of work allocates, and while others are out that stay out. */
START_TEST(work_below_arenas_that_stay_out_takes_no_lock)
{
    bp_pool *pool = make_pool(way_of(_i), LANE_SLOTS, BP_UNLIMITED);
    bp_arena *stay[LANE_SLOTS - 3], *a[3];
    size_t before = 0;

    take_many(pool, stay, LANE_SLOTS - 3);
    for (int round = 0; round < 20; round++) {
        if (round == 2)
            before = locks_taken;
        take_many(pool, a, 3);
        for (size_t i = 0; i < 3; i++)
            must(bp_arena_alloc(a[i], 1000) != NULL);
        give_many(pool, a, 3);
    }
    must(locks_taken == before);
    give_many(pool, stay, LANE_SLOTS - 3);
    pool_gone(pool);
}
END_TEST

/* ---- counts and caps ---- */

START_TEST(counts_go_with_every_step)
{
    bp_pool *pool = make_pool(way_of(_i), MOST, BP_UNLIMITED);
    struct rng rng = rng_start("counts_go_with_every_step");
    struct bp_pool_stats s;
    bp_arena *a[MOST];
    size_t each, n = MOST - 20;

    for (size_t i = 0; i < n; i++) {
        a[i] = taken(pool);
        counts_are(pool, 0, i + 1);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.checkouts, n);
    ck_assert_uint_eq(s.hits + s.give_backs + s.idle_bytes, 0);
    each = s.committed_bytes / n;
    put_in_order(a, n, SHUFFLED, &rng);
    for (size_t i = 0; i < n; i++) {
        given(pool, a[i]);
        counts_are(pool, i + 1, n - i - 1);
        s = stats_of(pool);
        ck_assert_uint_eq(s.give_backs, i + 1);
        ck_assert_uint_eq(s.idle_bytes, (i + 1) * each);
    }
    for (size_t i = n; i-- != 0;) {
        must(taken(pool) == a[i]);
        s = stats_of(pool);
        ck_assert_uint_eq(s.idle_bytes, i * each);
        ck_assert_uint_eq(s.hits, n - i);
    }
    give_many(pool, a, n);
    s = stats_of(pool);
    ck_assert_uint_eq(s.checkouts, 2 * n);
    ck_assert_uint_eq(s.give_backs, 2 * n);
    ck_assert_uint_eq(s.hits, n);
    ck_assert_uint_eq(s.mints, n);
    ck_assert_uint_eq(s.disposals + s.refusals, 0);
    pool_gone(pool);
}
END_TEST

enum { TEAM = 5, EACH = 20, CAP = 50 }; /* TEAM * EACH arenas want to be idle, CAP may */

/* A pool with room for CAP idle arenas, by their number or by their bytes. */
static bp_pool *capped_pool(enum lane_way way, bool bytes, size_t *each)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool = make_pool(way, 1, BP_UNLIMITED);

    bp_arena *a = taken(pool);

    *each = stats_of(pool).committed_bytes;
    given(pool, a);
    pool_gone(pool);
    c.arena_size = 4096;
    c.max_idle = bytes ? BP_UNLIMITED : CAP;
    c.max_idle_bytes = bytes ? CAP * *each + *each / 2 : BP_UNLIMITED;
    pool = pool_on(NULL, &c);
    if (way == LANE_SEQ_CST)
        pool->way = way;
    return pool;
}

static void caps_hold(bp_pool *pool, size_t each)
{
    struct bp_pool_stats s = stats_of(pool);

    must(s.idle <= CAP);
    must(s.idle_bytes == s.idle * each);
    pthread_mutex_lock(&pool->lock);
    must(pool->kept <= CAP);
    must(pool->kept >= s.idle);
    must(pool->kept_bytes == pool->kept * each);
    pthread_mutex_unlock(&pool->lock);
}

START_TEST(caps_are_for_all_lanes_together)
{
    size_t each;
    bp_pool *pool = capped_pool(way_of(_i), _i / WAYS != 0, &each);
    struct rng rng = rng_start("caps_are_for_all_lanes_together");
    struct puppet team[TEAM];
    bp_arena *a[TEAM][EACH], *all[CAP];
    uint64_t misses;

    for (size_t t = 0; t < TEAM; t++) {
        puppet_start(&team[t], pool);
        ck_assert_int_eq(puppet_do_many(&team[t], step_checkout_many, a[t], EACH), 0);
        caps_hold(pool, each);
    }
    counts_are(pool, 0, TEAM * EACH);
    ck_assert_uint_eq(pool->kept, CAP); /* the first have homes for theirs */
    for (int round = 0; round < 6; round++) {
        size_t left[TEAM], total = TEAM * EACH;

        for (size_t t = 0; t < TEAM; t++)
            left[t] = EACH;
        while (total != 0) {
            size_t t = rng_below(&rng, TEAM);

            if (left[t] == 0)
                continue;
            total--;
            left[t]--;
            ck_assert_int_eq(puppet_do_many(&team[t], step_give_back_many, &a[t][left[t]], 1), 0);
            caps_hold(pool, each);
            must(bp_pool_idle_count(pool) == (TEAM * EACH - total < CAP ? TEAM * EACH - total : CAP));
        }
        counts_are(pool, CAP, 0);
        for (size_t t = 0; t < TEAM; t++)
            ck_assert_int_eq(puppet_do_many(&team[t], step_checkout_many, a[t], EACH), 0);
        counts_are(pool, 0, TEAM * EACH);
        caps_hold(pool, each);
    }
    for (size_t t = 0; t < TEAM; t++)
        ck_assert_int_eq(puppet_do_many(&team[t], step_give_back_many, a[t], EACH), 0);
    counts_are(pool, CAP, 0);
    /* One thread can have all of them, and no new one is made. */
    misses = pool->misses;
    take_many(pool, all, CAP);
    ck_assert_uint_eq(pool->misses, misses);
    counts_are(pool, 0, CAP);
    give_many(pool, all, CAP);
    counts_are(pool, CAP, 0);
    for (size_t t = 0; t < TEAM; t++)
        puppet_end(&team[t]);
    threads_passed();
    pool_gone(pool);
}
END_TEST

/* The same with all threads at work at once, looked at when they rest. */
struct member {
    pthread_t thread;
    bp_pool *pool;
    struct rng rng;
    pthread_barrier_t *barrier;
    size_t rounds, ops;
};

static void *member_main(void *data)
{
    struct member *m = data;
    bp_arena *held[2 * EACH];
    size_t n = 0;

    for (size_t r = 0; r < m->rounds; r++) {
        for (size_t i = 0; i < m->ops; i++)
            if (n < 2 * EACH && (n == 0 || rng_below(&m->rng, 2) == 0)) {
                held[n] = checkout(m->pool);
                if (held[n] == NULL)
                    return NULL;
                n++;
            } else {
                size_t k = rng_below(&m->rng, n);

                thread_must(bp_pool_give_back(m->pool, held[k]) == 0);
                held[k] = held[--n];
            }
        pthread_barrier_wait(m->barrier); /* rest, as it comes */
        pthread_barrier_wait(m->barrier);
        while (n < EACH)
            thread_must((held[n++] = checkout(m->pool)) != NULL);
        pthread_barrier_wait(m->barrier); /* now there are more than may be idle */
        while (n != 0)
            thread_must(bp_pool_give_back(m->pool, held[--n]) == 0);
        pthread_barrier_wait(m->barrier); /* all idle */
        pthread_barrier_wait(m->barrier);
    }
    return NULL;
}

START_TEST(caps_hold_with_threads_at_work)
{
    size_t each;
    bp_pool *pool = capped_pool(way_of(_i), _i / WAYS != 0, &each);
    uint64_t seed = rng_start("caps_hold_with_threads_at_work").state;
    size_t rounds = times(20, 3);
    struct member team[TEAM];
    pthread_barrier_t barrier;

    pthread_barrier_init(&barrier, NULL, TEAM + 1);
    for (size_t t = 0; t < TEAM; t++) {
        team[t] = (struct member){ .pool = pool, .rng = { seed + t }, .barrier = &barrier, .rounds = rounds,
                                   .ops = times(2000, 200) };
        ck_assert_int_eq(pthread_create(&team[t].thread, NULL, member_main, &team[t]), 0);
    }
    for (size_t r = 0; r < rounds; r++) {
        pthread_barrier_wait(&barrier);
        caps_hold(pool, each);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        caps_hold(pool, each);
        counts_are(pool, CAP, 0);
        pthread_barrier_wait(&barrier);
    }
    for (size_t t = 0; t < TEAM; t++)
        pthread_join(team[t].thread, NULL);
    pthread_barrier_destroy(&barrier);
    threads_passed();
    ck_assert_uint_eq(stats_of(pool).checkouts, stats_of(pool).give_backs);
    pool_gone(pool);
}
END_TEST

/* An arena that grew while it was out is counted with what it grew to, wherever in the lane it is. */
START_TEST(growth_is_counted)
{
    bp_pool *pool = make_pool(way_of(_i), LANE_SLOTS, BP_UNLIMITED);
    struct bp_pool_stats s;
    bp_arena *a[5];

    take_many(pool, a, 5);
    give_many(pool, a, 5);
    take_many(pool, a, 5);
    for (size_t i = 0; i < 5; i++) {
        must(bp_arena_alloc(a[i], (i + 1) * 10000) != NULL);
        given(pool, a[i]);
        s = stats_of(pool);
        pthread_mutex_lock(&pool->lock);
        must(pool->kept_bytes >= s.idle_bytes);
        pthread_mutex_unlock(&pool->lock);
    }
    s = stats_of(pool);
    ck_assert_uint_eq(s.idle_bytes, s.committed_bytes);
    ck_assert_uint_gt(s.committed_bytes, 150000);
    for (size_t i = 5; i-- != 0;)
        must(taken(pool) == a[i]);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    give_many(pool, a, 5);
    pool_gone(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane depth");
    TCase *t = add_case(suite, "order");

    tcase_add_loop_test(t, newest_first_at_any_depth, 0, WAYS * ORDERS);
    tcase_add_loop_test(t, like_a_stack, 0, WAYS);
    tcase_add_loop_test(t, as_many_as_slots_take_no_lock, 0, WAYS);
    tcase_add_loop_test(t, work_below_arenas_that_stay_out_takes_no_lock, 0, WAYS);

    t = add_case(suite, "caps");
    tcase_add_loop_test(t, counts_go_with_every_step, 0, WAYS);
    tcase_add_loop_test(t, caps_are_for_all_lanes_together, 0, WAYS * 2);
    tcase_add_loop_test(t, caps_hold_with_threads_at_work, 0, WAYS * 2);
    tcase_add_loop_test(t, growth_is_counted, 0, WAYS);
    return run_suite(suite);
}
