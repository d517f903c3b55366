/* SPDX-License-Identifier: MIT
 *
 * The lanes, from inside, with threads at work at once: what happens while a drain waits for its barrier,
 * revocations at any moment, two that give back the same arena, numbers of threads, and kernels without
 * membarrier.
 */
#include "lanes.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

/* ---- what happens while a drain waits for its barrier: the linker puts this in the barrier's place ---- */

bool __real_thread_barrier(void);
bool __wrap_thread_barrier(void);
static void (*in_barrier)(void);
static struct puppet hooked;
static bp_arena *in_barrier_got;

bool __wrap_thread_barrier(void)
{
    void (*hook)(void) = in_barrier;

    in_barrier = NULL;
    if (hook != NULL)
        hook();
    return __real_thread_barrier();
}

/* The owner of the lane finds it revoked, and brings what is idle itself. */
static void owner_comes_by(void)
{
    ck_assert_int_eq(puppet_do(&hooked, step_give_back), 0);
}

START_TEST(owner_settles_during_a_drain)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, 2);
    bp_arena *a[2];

    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do_many(&hooked, step_checkout_many, a, 2), 0);
    ck_assert_int_eq(puppet_do_many(&hooked, step_give_back_many, a, 1), 0);
    hooked.arena = a[1];
    in_barrier = owner_comes_by;
    if (pool->way == LANE_PLAIN) {
        ck_assert_ptr_eq(checkout(pool), a[1]);
        ck_assert_ptr_null((void *)in_barrier);
        ck_assert_ptr_eq(checkout(pool), a[0]);
        ck_assert_int_eq(bp_pool_give_back(pool, a[0]), 0);
        ck_assert_int_eq(bp_pool_give_back(pool, a[1]), 0);
    } else {
        owner_comes_by();
    }
    in_barrier = NULL;
    counts_are(pool, 2, 0);
    puppet_end(&hooked);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* The owner has the only one out and in again meanwhile: the other may miss it, but not a second time. */
static void owner_has_a_pair(void)
{
    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
}

START_TEST(owner_has_a_pair_during_a_drain)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, 1);
    bp_arena *a = NULL;
    int rc;

    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
    in_barrier = owner_has_a_pair;
    rc = bp_pool_checkout(pool, &a);
    ck_assert(rc == 0 || rc == EAGAIN);
    in_barrier = NULL;
    if (rc == EAGAIN) {
        counts_are(pool, 1, 0);
        ck_assert_int_eq(bp_pool_checkout(pool, &a), 0);
    }
    ck_assert_ptr_eq(a, hooked.arena);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    puppet_end(&hooked);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* One becomes idle in a lane where the drain has looked already, and the one that it is about to take is taken
 * by its owner: there is an arena at every moment, so nobody is refused. */
static struct puppet giver;

static void places_change(void)
{
    ck_assert_int_eq(puppet_do(&giver, step_give_back), 0);
    ck_assert_int_eq(puppet_do(&hooked, step_checkout), 0);
}

START_TEST(places_change_during_a_drain)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, 2);
    bp_arena *a;

    puppet_start(&giver, pool);
    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do(&giver, step_checkout), 0);
    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
    in_barrier = places_change;
    if (pool->way != LANE_PLAIN)
        places_change();
    a = checkout(pool);
    in_barrier = NULL;
    ck_assert_ptr_eq(a, giver.arena);
    counts_are(pool, 0, 2);
    ck_assert_uint_eq(stats_of(pool).refusals, 0);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    ck_assert_int_eq(puppet_do(&hooked, step_give_back), 0);
    puppet_end(&hooked);
    puppet_end(&giver);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* The owner keeps what it took meanwhile, and brings the rest with the newest at the head. */
static void owner_takes_one(void)
{
    ck_assert_int_eq(puppet_do(&hooked, step_checkout), 0);
}

START_TEST(owner_takes_one_during_a_drain)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 8, 4);
    bp_arena *a[4];

    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do_many(&hooked, step_checkout_many, a, 4), 0);
    ck_assert_int_eq(puppet_do_many(&hooked, step_give_back_many, a, 4), 0);
    in_barrier = owner_takes_one;
    if (pool->way == LANE_PLAIN) {
        for (size_t i = 3; i-- != 0;)
            ck_assert_ptr_eq(checkout(pool), a[i]);
        ck_assert_ptr_eq(hooked.arena, a[3]);
        counts_are(pool, 0, 4);
        for (size_t i = 0; i < 3; i++)
            ck_assert_int_eq(bp_pool_give_back(pool, a[i]), 0);
        ck_assert_int_eq(puppet_do(&hooked, step_give_back), 0);
    }
    in_barrier = NULL;
    counts_are(pool, 4, 0);
    puppet_end(&hooked);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* One that is out of the same lane is given back by a stranger meanwhile. */
static void stranger_gives_back(void)
{
    ck_assert_int_eq(puppet_do(&hooked, step_give_back), 0);
}

START_TEST(eviction_during_a_drain)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 8, 3);
    struct puppet owner;
    bp_arena *a[3], *got[2];

    puppet_start(&owner, pool);
    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do_many(&owner, step_checkout_many, a, 3), 0);
    ck_assert_int_eq(puppet_do_many(&owner, step_give_back_many, a, 1), 0);
    hooked.arena = a[1];
    in_barrier = stranger_gives_back;
    got[0] = checkout(pool);
    if (in_barrier != NULL) /* no barrier: this is the other way */
        stranger_gives_back();
    in_barrier = NULL;
    got[1] = checkout(pool);
    ck_assert_ptr_ne(got[0], got[1]);
    ck_assert(got[0] == a[0] || got[0] == a[1]);
    ck_assert(got[1] == a[0] || got[1] == a[1]);
    counts_are(pool, 0, 3);
    ck_assert_int_eq(puppet_do_many(&owner, step_give_back_many, a + 2, 1), 0);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(bp_pool_give_back(pool, got[i]), 0);
    counts_are(pool, 3, 0);
    puppet_end(&owner);
    puppet_end(&hooked);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* A second drain begins and ends while the first is at its barrier; there is an arena for each. */
static void another_drains(void)
{
    ck_assert_int_eq(puppet_do(&hooked, step_checkout), 0);
    in_barrier_got = hooked.arena;
}

START_TEST(two_drains_at_once)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, 2);
    struct puppet one, two;
    bp_arena *a;

    puppet_start(&one, pool);
    puppet_start(&two, pool);
    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do(&one, step_checkout), 0);
    ck_assert_int_eq(puppet_do(&two, step_checkout), 0);
    ck_assert_int_eq(puppet_do(&one, step_give_back), 0);
    ck_assert_int_eq(puppet_do(&two, step_give_back), 0);
    in_barrier_got = NULL;
    in_barrier = another_drains;
    ck_assert_int_eq(bp_pool_checkout(pool, &a), 0); /* there were two */
    in_barrier = NULL;
    ck_assert_ptr_ne(a, in_barrier_got);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    if (in_barrier_got != NULL)
        ck_assert_int_eq(puppet_do(&hooked, step_give_back), 0);
    puppet_end(&one);
    puppet_end(&two);
    puppet_end(&hooked);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* The owner settles, and another drain begins, while this one waits: what its barrier does not cover is not
 * its to take, for the owner may be storing again. */
static void next_drain_begins(void)
{
    struct lane *lane = &hooked.pool->lanes[home_of(hooked.arena)->lane];

    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
    ck_assert_uint_eq(atomic_load(&lane->revoked), 0);
    revoke_by_hand(hooked.pool, lane, LANE_IDLE);
}

START_TEST(drain_leaves_the_next_one_its_own)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, BP_UNLIMITED);
    struct lane_slot *slot;
    struct lane *lane;

    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
    slot = home_of(hooked.arena);
    lane = &pool->lanes[slot->lane];
    in_barrier = next_drain_begins;
    if (pool->way == LANE_PLAIN) {
        ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
        ck_assert_ptr_eq(home_of(hooked.arena), slot);
        ck_assert_uint_eq(lane->wanted, LANE_IDLE);
        ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
        ck_assert_int_eq(bp_pool_trim(pool, 0), 0); /* whose barrier does */
        ck_assert_uint_eq(lane->wanted, 0);
        counts_are(pool, 0, 0);
    }
    in_barrier = NULL;
    puppet_end(&hooked);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* ---- the same arena given back by two threads at once ---- */

struct duel {
    bp_pool *pool;
    bp_arena *arena;
    pthread_barrier_t start, end;
    size_t rounds;
    int results[2];
    atomic_int reports;
};

static void count_report(const struct bp_misuse *m, void *data)
{
    struct duel *d = data;

    thread_must(m->kind == BP_MISUSE_DOUBLE_GIVE_BACK);
    atomic_fetch_add(&d->reports, 1);
}

static void *duel_second(void *data)
{
    struct duel *d = data;

    for (size_t i = 0; i < d->rounds; i++) {
        pthread_barrier_wait(&d->start);
        d->results[1] = bp_pool_give_back(d->pool, d->arena);
        pthread_barrier_wait(&d->end);
    }
    return NULL;
}

START_TEST(given_back_by_two_at_once)
{
    struct duel d = { .pool = make_pool(LANE_SEQ_CST, 4, 1), .rounds = times(20000, 200) };
    pthread_t second;

    pthread_barrier_init(&d.start, NULL, 2);
    pthread_barrier_init(&d.end, NULL, 2);
    bp_set_misuse_handler(count_report, &d);
    ck_assert_int_eq(pthread_create(&second, NULL, duel_second, &d), 0);
    for (size_t i = 0; i < d.rounds; i++) {
        lane_mine(d.pool)->cooldown = 0;
        d.arena = checkout(d.pool);
        pthread_barrier_wait(&d.start);
        d.results[0] = bp_pool_give_back(d.pool, d.arena);
        pthread_barrier_wait(&d.end);
        thread_must((d.results[0] == 0) != (d.results[1] == 0));
        thread_must(d.results[0] + d.results[1] == EINVAL);
        thread_must(bp_pool_idle_count(d.pool) == 1);
    }
    pthread_join(second, NULL);
    bp_set_misuse_handler(NULL, NULL);
    threads_passed();
    ck_assert_int_eq(atomic_load(&d.reports), (int)d.rounds);
    ck_assert_int_eq(bp_pool_destroy(d.pool), 0);
}
END_TEST

/* ---- numbers of threads ---- */

static pthread_key_t late_key;
static bp_pool *late_pool;

/* Comes round again after the library's own destructor, up to the last round. */
static void late_destructor(void *data)
{
    bp_arena *a = checkout(late_pool);

    thread_must(bp_pool_give_back(late_pool, a) == 0);
    pthread_setspecific(late_key, data);
}

static void *late_thread(void *data)
{
    thread_must(pthread_setspecific(late_key, data) == 0);
    return NULL;
}

START_TEST(numbers_come_back)
{
    pthread_t thread;

    late_pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    ck_assert_int_eq(pthread_key_create(&late_key, late_destructor), 0);
    for (int i = 0; i < 2 * THREAD_IDS; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, late_thread, late_pool), 0);
        pthread_join(thread, NULL);
    }
    threads_passed();
    ck_assert_int_eq(pthread_create(&thread, NULL, late_thread, late_pool), 0);
    pthread_join(thread, NULL);
    pthread_key_delete(late_key);
    ck_assert_ptr_nonnull(lane_mine(late_pool));
    ck_assert_int_eq(bp_pool_destroy(late_pool), 0);
}
END_TEST

/* ---- revocation at every moment of the owner's fast path ---- */

enum { STORM_HOLDS = 40, STORM_IDLE = 24 }; /* more than the slots; and room for fewer */

struct storm {
    bp_pool *pool;
    size_t pairs; /* the owner's, in the end */
    uint64_t seed;
    atomic_bool over;
};

/* Whether a block that was stamped says so still: else somebody else has the arena too. */
static bool storm_give(bp_pool *pool, bp_arena *a, uint64_t *block, uint64_t key)
{
    bool mine = *(uint64_t *)seen(block) == key;

    return bp_pool_give_back(pool, a) == 0 && mine;
}

static void *storm_owner(void *data)
{
    struct storm *s = data;
    struct rng rng = { s->seed };
    bp_arena *held[STORM_HOLDS];
    uint64_t *block[STORM_HOLDS];
    size_t n = 0, most = 1;

    for (bool over = false; !over || n != 0; over = over || atomic_load(&s->over)) {
        if (rng_below(&rng, 512) == 0)
            most = 1 + rng_below(&rng, STORM_HOLDS);
        if (!over && n < most && (n == 0 || rng_below(&rng, 2) == 0)) {
            held[n] = checkout(s->pool);
            block[n] = held[n] != NULL ? bp_arena_alloc(held[n], 64) : NULL;
            thread_must(block[n] != NULL);
            if (block[n] == NULL)
                break;
            *block[n] = (uintptr_t)held[n];
            n++;
            s->pairs++;
        } else {
            size_t k = rng_below(&rng, 2) == 0 ? n - 1 : rng_below(&rng, n);

            thread_must(storm_give(s->pool, held[k], block[k], (uintptr_t)held[k]));
            held[k] = held[--n];
            block[k] = block[n];
        }
    }
    return NULL;
}

START_TEST(revoked_at_any_moment)
{
    struct storm s = { .pool = make_pool((enum lane_way)_i, STORM_IDLE, BP_UNLIMITED),
                       .seed = rng_start("revoked_at_any_moment").state };
    size_t rounds = 0, most = times(200000, 2000), mine = 0;
    uint64_t revocations = 0, enough = times(3000, 50);
    struct bp_pool_stats stats;
    pthread_t owner;
    uint64_t *block;
    bp_arena *a;

    ck_assert_int_eq(pthread_create(&owner, NULL, storm_owner, &s), 0);
    while (revocations < enough && rounds < most) { /* where they do not run at once there are few */
        uint64_t before = revocations;

        switch (rounds++ % 4) {
        case 0:
            thread_must(bp_pool_trim(s.pool, rounds % 3) == 0);
            break;
        case 1:
            a = checkout(s.pool);
            mine++;
            block = bp_arena_alloc(a, 64);
            thread_must(block != NULL);
            if (block != NULL)
                *block = UINT64_MAX;
            thread_must(storm_give(s.pool, a, block, UINT64_MAX));
            break;
        case 2:
            (void)bp_pool_release_idle(s.pool);
            break;
        default: /* takes the places of those that are out */
            thread_must(bp_pool_prewarm(s.pool, STORM_IDLE, NULL) == 0);
        }
        thread_must(bp_pool_idle_count(s.pool) <= STORM_IDLE);
        pthread_mutex_lock(&s.pool->lock);
        for (unsigned i = 0; i < s.pool->lanes_used; i++)
            s.pool->lanes[i].cooldown = 0; /* back into the lanes at once: that is what is tested */
        revocations = s.pool->tickets;
        pthread_mutex_unlock(&s.pool->lock);
        if (revocations == before)
            sched_yield();
    }
    atomic_store(&s.over, true);
    pthread_join(owner, NULL);
    threads_passed();
    ck_assert_int_eq(bp_pool_stats(s.pool, &stats), 0);
    ck_assert_uint_eq(stats.live, 0);
    ck_assert_uint_eq(stats.checkouts, stats.give_backs);
    ck_assert_uint_eq(stats.checkouts, s.pairs + mine);
    ck_assert_uint_eq(stats.mints, stats.disposals + stats.idle);
    ck_assert_int_eq(bp_pool_destroy(s.pool), 0);
}
END_TEST

/* ---- a kernel that takes membarrier away ---- */

static bool refuse_membarrier(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

START_TEST(barrier_refused_later)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, BP_UNLIMITED);
    struct puppet other;

    if (pool->way != LANE_PLAIN || !refuse_membarrier()) {
        fprintf(stderr, "check_lane_races: SKIP barrier_refused_later: no membarrier here, or no seccomp\n");
        ck_assert_int_eq(bp_pool_destroy(pool), 0);
        return;
    }
    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    /* It cannot be taken out of a lane whose owner might be using it; the owner brings it when it comes. */
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

START_TEST(barrier_refused_at_start)
{
    if (!refuse_membarrier()) {
        fprintf(stderr, "check_lane_races: SKIP barrier_refused_at_start: no seccomp here\n");
        return;
    }
    /* As in a process that starts without: pthread_once has run here, so the pool is told. */
    ck_assert(!thread_barrier());
    bp_pool *pool = make_pool(LANE_SEQ_CST, 4, 1);
    struct puppet other;
    bp_arena *a;

    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    a = checkout(pool);
    ck_assert_ptr_eq(a, other.arena);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    puppet_end(&other);
    threads_passed();
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane races");
    TCase *t = add_case(suite, "drain");

    tcase_add_test(t, owner_settles_during_a_drain);
    tcase_add_test(t, owner_has_a_pair_during_a_drain);
    tcase_add_test(t, places_change_during_a_drain);
    tcase_add_test(t, owner_takes_one_during_a_drain);
    tcase_add_test(t, eviction_during_a_drain);
    tcase_add_test(t, two_drains_at_once);
    tcase_add_test(t, drain_leaves_the_next_one_its_own);
    tcase_add_loop_test(t, revoked_at_any_moment, 0, WAYS);
    if (!UNDER_TSAN) {
        t = add_case(suite, "threads");
        tcase_add_test(t, given_back_by_two_at_once);     /* the two race for the arena: that is the misuse */
        tcase_add_loop_test(t, numbers_come_back, 0, WAYS); /* TSan is gone before the last destructors */
    }
    if (may_fork()) { /* a seccomp filter stays for the life of its process */
        t = add_case(suite, "no membarrier");
        tcase_add_test(t, barrier_refused_later);
        tcase_add_test(t, barrier_refused_at_start);
    }
    return run_suite(suite);
}
