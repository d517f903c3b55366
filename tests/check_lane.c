/* SPDX-License-Identifier: MIT
 *
 * The lanes, from inside: links the library's objects, so that both ways of storing to a lane are run
 * (by plain stores and membarrier, and by seq_cst operations) whatever the machine would choose.
 */
#include "support.h"

#include "lane.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/syscall.h>

enum { WAYS = 2 };

#if defined(__SANITIZE_THREAD__) || defined(SUPPORT_TSAN)
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

/* A pool whose lanes work in the given way. */
static bp_pool *make_pool(enum lane_way way, size_t max_idle, size_t max_arenas)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    bp_pool *pool;

    c.max_idle = max_idle;
    c.max_arenas = max_arenas;
    c.arena_size = 4096;
    ck_assert_int_eq(bp_pool_create(NULL, &c, &pool), 0);
    if (way == LANE_SEQ_CST)
        pool->way = way;
    return pool;
}

static bp_arena *checkout(bp_pool *pool)
{
    bp_arena *a = NULL;

    thread_must(bp_pool_checkout(pool, &a) == 0);
    return a;
}

/* ---- a second thread that does what it is told, step by step ---- */

struct puppet {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int (*step)(bp_pool *pool, bp_arena **arena);
    bp_pool *pool;
    bp_arena *arena;
    int result;
    bool busy, over;
};

static void *puppet_main(void *data)
{
    struct puppet *p = data;

    pthread_mutex_lock(&p->lock);
    while (!p->over) {
        if (p->busy) {
            p->result = p->step(p->pool, &p->arena);
            p->busy = false;
            pthread_cond_broadcast(&p->changed);
        }
        pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void puppet_start(struct puppet *p, bp_pool *pool)
{
    *p = (struct puppet){ .pool = pool };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, puppet_main, p), 0);
}

static int puppet_do(struct puppet *p, int (*step)(bp_pool *pool, bp_arena **arena))
{
    pthread_mutex_lock(&p->lock);
    p->step = step;
    p->busy = true;
    pthread_cond_broadcast(&p->changed);
    while (p->busy)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return p->result;
}

static void puppet_end(struct puppet *p)
{
    pthread_mutex_lock(&p->lock);
    p->over = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
}

static int step_checkout(bp_pool *pool, bp_arena **arena)
{
    return bp_pool_checkout(pool, arena);
}

static int step_give_back(bp_pool *pool, bp_arena **arena)
{
    return bp_pool_give_back(pool, *arena);
}

static int step_pair(bp_pool *pool, bp_arena **arena)
{
    int rc = bp_pool_checkout(pool, arena);

    return rc != 0 ? rc : bp_pool_give_back(pool, *arena);
}

/* ---- the tests ---- */

START_TEST(pair_stays_in_the_lane)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    bp_arena *a = checkout(pool), *first = a;
    struct lane *lane = lane_mine(pool);

    ck_assert_ptr_eq(lane->homed, a);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
        ck_assert_uint_eq(atomic_load(&lane->slot[pool->way]), (uintptr_t)first);
        ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
        a = checkout(pool);
        ck_assert_ptr_eq(a, first);
        ck_assert_uint_eq(atomic_load(&lane->slot[pool->way]), (uintptr_t)first | LANE_OUT);
        ck_assert_uint_eq(bp_pool_live_count(pool), 1);
    }
    ck_assert_uint_eq(atomic_load(&lane->checkouts), 100);
    ck_assert_uint_eq(pool->slow_checkouts, 1);
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
    a = checkout(pool);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0); /* the one idle arena there may be */
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

/* The same in slow motion: the owner has found its slot in order, and before it stores, the other is through. */
START_TEST(given_back_by_two_owner_last)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    struct puppet other;
    struct lane *lane;
    bool stands;

    puppet_start(&other, pool);
    other.arena = checkout(pool);
    lane = lane_mine(pool);
    ck_assert_ptr_eq(lane->homed, other.arena);
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    ck_assert(lane_store(lane, (uintptr_t)other.arena, pool->way));
    pthread_mutex_lock(&pool->lock);
    stands = lane_settle_store(pool, lane, (uintptr_t)other.arena);
    pthread_mutex_unlock(&pool->lock);
    ck_assert(!stands);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
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
    bool evicted;

    ck_assert(!lane_store(lane, (uintptr_t)a, pool->way));
    pthread_mutex_lock(&pool->lock);
    evicted = lane_evict(pool, lane, arena_of(a));
    pthread_mutex_unlock(&pool->lock);
    ck_assert(!evicted);
    ck_assert_uint_eq(bp_pool_idle_count(pool), 1);
    ck_assert_ptr_eq(checkout(pool), a); /* through the slow path, which clears `revoked` */
    ck_assert_uint_eq(atomic_load(&lane->revoked), 0);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    ck_assert_int_eq(bp_pool_destroy(pool), 0);
}
END_TEST

/* The owner's store becomes visible only after the other is through: both are let pass, and the arena must still
 * have one holder. */
START_TEST(given_back_by_two_store_late)
{
    bp_pool *pool = make_pool((enum lane_way)_i, 4, BP_UNLIMITED);
    struct puppet other;
    struct lane *lane;
    bp_arena *a, *mine;

    puppet_start(&other, pool);
    a = other.arena = checkout(pool);
    lane = lane_mine(pool);
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
    atomic_store(&lane->slot[pool->way], (uintptr_t)a); /* the late store */
    ck_assert_int_eq(puppet_do(&other, step_checkout), 0);
    ck_assert_ptr_eq(other.arena, a);
    mine = checkout(pool);
    ck_assert_ptr_ne(mine, a);
    ck_assert_int_eq(bp_pool_give_back(pool, mine), 0);
    ck_assert_int_eq(puppet_do(&other, step_give_back), 0);
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

/* The owner of the lane finds it revoked, and brings the arena itself. */
static void owner_comes_by(void)
{
    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
}

START_TEST(owner_settles_during_a_drain)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, 1);
    bp_arena *a;

    puppet_start(&hooked, pool);
    ck_assert_int_eq(puppet_do(&hooked, step_pair), 0);
    in_barrier = owner_comes_by;
    ck_assert_int_eq(bp_pool_checkout(pool, &a), 0);
    ck_assert_int_eq(bp_pool_give_back(pool, a), 0);
    in_barrier = NULL;
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

struct storm {
    bp_pool *pool;
    size_t pairs;
    atomic_bool over;
};

static void *storm_owner(void *data)
{
    struct storm *s = data;
    bp_arena *a;

    for (size_t i = 0; i < s->pairs; i++) {
        uint64_t *p;

        a = checkout(s->pool);
        p = bp_arena_alloc(a, 64);
        thread_must(p != NULL);
        if (p == NULL)
            break;
        *p = i;
        __asm__ volatile("" ::: "memory");
        thread_must(*p == i); /* else somebody else has it too */
        thread_must(bp_pool_give_back(s->pool, a) == 0);
    }
    atomic_store(&s->over, true);
    return NULL;
}

START_TEST(revoked_at_any_moment)
{
    struct storm s = { .pool = make_pool((enum lane_way)_i, 8, BP_UNLIMITED), .pairs = times(2000000, 20000) };
    struct bp_pool_stats stats;
    pthread_t owner;
    size_t rounds = 0, idle;
    bp_arena *a;

    ck_assert_int_eq(pthread_create(&owner, NULL, storm_owner, &s), 0);
    while (rounds < 3 || !atomic_load(&s.over)) { /* Valgrind may run one thread to its end first */
        switch (rounds++ % 3) {
        case 0:
            thread_must(bp_pool_trim(s.pool, 0) == 0);
            break;
        case 1:
            a = checkout(s.pool);
            *(uint64_t *)bp_arena_alloc(a, 64) = UINT64_MAX;
            thread_must(bp_pool_give_back(s.pool, a) == 0);
            break;
        default:
            (void)bp_pool_release_idle(s.pool);
        }
        idle = bp_pool_idle_count(s.pool);
        thread_must(idle <= 8);
        pthread_mutex_lock(&s.pool->lock);
        for (unsigned i = 0; i < s.pool->lanes_used; i++)
            s.pool->lanes[i].cooldown = 0; /* back into the lanes at once: that is what is tested */
        pthread_mutex_unlock(&s.pool->lock);
    }
    pthread_join(owner, NULL);
    threads_passed();
    ck_assert_int_eq(bp_pool_stats(s.pool, &stats), 0);
    ck_assert_uint_eq(stats.live, 0);
    ck_assert_uint_eq(stats.checkouts, stats.give_backs);
    ck_assert_uint_eq(stats.checkouts, s.pairs + (rounds + 1) / 3);
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

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

START_TEST(barrier_refused_later)
{
    bp_pool *pool = make_pool(LANE_PLAIN, 4, BP_UNLIMITED);
    struct puppet other;

    if (pool->way != LANE_PLAIN || !refuse_membarrier()) {
        fprintf(stderr, "check_lane: skipped barrier_refused_later: no membarrier here, or no seccomp\n");
        ck_assert_int_eq(bp_pool_destroy(pool), 0);
        return;
    }
    puppet_start(&other, pool);
    ck_assert_int_eq(puppet_do(&other, step_pair), 0);
    /* It cannot be taken out of a lane whose owner might be using it; the owner brings it when it comes by. */
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
        fprintf(stderr, "check_lane: skipped barrier_refused_at_start: no seccomp here\n");
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
    Suite *suite = suite_create("lane");
    TCase *t = add_case(suite, "protocol");

    tcase_add_loop_test(t, pair_stays_in_the_lane, 0, WAYS);
    tcase_add_loop_test(t, idle_arena_of_another_thread_is_found, 0, WAYS);
    tcase_add_loop_test(t, arena_is_given_back_by_another_thread, 0, WAYS);
    tcase_add_loop_test(t, place_held_for_a_live_arena_is_taken_back, 0, WAYS);
    tcase_add_loop_test(t, lane_of_an_ended_thread_is_inherited, 0, WAYS);
    tcase_add_loop_test(t, revoked_at_any_moment, 0, WAYS);
    tcase_add_loop_test(t, given_back_by_two_owner_last, 0, WAYS);
    tcase_add_loop_test(t, given_back_by_two_owner_first, 0, WAYS);
    tcase_add_loop_test(t, given_back_by_two_store_late, 0, WAYS);
    tcase_add_loop_test(t, leftover_in_a_dead_pool, 0, WAYS);
    tcase_add_test(t, owner_settles_during_a_drain);
    tcase_add_test(t, two_drains_at_once);
    if (!UNDER_TSAN) {
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
