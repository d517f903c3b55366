/* SPDX-License-Identifier: MIT
 * Async waiters, how they are called and cancelled, and the eventfd of a pool.
 */
#include "waiting.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>

static struct misuse_log misuse;
static bp_arena *const untouched = (bp_arena *)(void *)&misuse;

static bp_pool *pool_of(size_t max_arenas)
{
    struct bp_pool_config c = pool_config();

    c.arena_size = 4096;
    c.max_arenas = max_arenas;
    return pool_on(NULL, &c);
}

/* A waiter that notes what it is told. */
struct told {
    struct bp_waiter waiter;
    atomic_int count;
    int error;
    bp_arena *arena;
    unsigned turn; /* which call of all it was */
    pthread_t thread;
};

static atomic_uint turns;

static void note(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    struct told *t = waiter->data;

    t->arena = arena;
    t->error = error;
    t->turn = atomic_fetch_add(&turns, 1);
    t->thread = pthread_self();
    atomic_fetch_add(&t->count, 1);
}

static void told_init(struct told *t)
{
    memset(t, 0, sizeof *t);
    t->waiter = (struct bp_waiter)BP_WAITER_INIT(note, t);
}

static void ask(struct told *t, bp_pool *pool)
{
    told_init(t);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t->waiter), 0);
}

/* Called once, with an arena. */
static bp_arena *got(struct told *t)
{
    ck_assert_int_eq(atomic_load(&t->count), 1);
    ck_assert_int_eq(t->error, 0);
    ck_assert_ptr_nonnull(t->arena);
    ck_assert_int_eq(bp_waiter_cancel(&t->waiter), EALREADY);
    return t->arena;
}

static void *give_it_back(void *arg)
{
    struct told *t = arg;

    thread_must(bp_pool_give_back(t->waiter.pool, t->arena) == 0);
    return NULL;
}

/* ---- calls ---- */

START_TEST(at_once)
{
    bp_pool *pool = pool_of(2);
    struct told t[3];

    ask(&t[0], pool);
    ask(&t[1], pool);
    ck_assert_ptr_ne(got(&t[0]), got(&t[1]));
    ck_assert(pthread_equal(t[1].thread, pthread_self()) != 0);
    counts_are(pool, 0, 2);
    ask(&t[2], pool);
    ck_assert_int_eq(atomic_load(&t[2].count), 0);
    ck_assert_uint_eq(stats_of(pool).waiting, 1);
    ck_assert_uint_eq(stats_of(pool).waits, 1);
    given(pool, t[0].arena);
    given(pool, t[1].arena);
    given(pool, got(&t[2]));
    ask(&t[0], pool); /* an idle one */
    given(pool, got(&t[0]));
    ck_assert_int_eq(bp_pool_checkout_async(NULL, &t[0].waiter), 0); /* the NULL pool always has one */
    ck_assert_int_eq(atomic_load(&t[0].count), 2);
    given(NULL, t[0].arena);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

START_TEST(by_another_thread)
{
    bp_pool *pool = pool_of(1);
    struct told first, second;
    pthread_t thread;

    ask(&first, pool);
    stamp(bp_arena_alloc(got(&first), 100), 100, 1);
    ask(&second, pool);
    ck_assert_int_eq(pthread_create(&thread, NULL, give_it_back, &first), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    threads_passed();
    ck_assert_ptr_eq(got(&second), first.arena);
    ck_assert(pthread_equal(second.thread, pthread_self()) == 0);
    ck_assert_uint_eq(bp_arena_used(second.arena), 0);
    given(pool, second.arena);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

struct blocker {
    struct waiting w;
    unsigned turn;
};

static void *block_and_note(void *arg)
{
    struct blocker *b = arg;

    b->w.rc = bp_pool_checkout_wait(b->w.pool, -1, &b->w.arena);
    b->turn = atomic_fetch_add(&turns, 1);
    thread_must(bp_pool_give_back(b->w.pool, b->w.arena) == 0);
    return NULL;
}

static void note_and_give_back(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    note(waiter, arena, error);
    thread_must(bp_pool_give_back(waiter->pool, arena) == 0);
}

/* Those who block and those who are called stand in one line. */
START_TEST(one_queue)
{
    enum { EACH = 8 };
    bp_pool *pool = pool_of(1);
    bp_arena *a = taken(pool);
    struct blocker b[EACH];
    struct told t[EACH];

    atomic_store(&turns, 0);
    for (unsigned i = 0; i < EACH; i++) {
        memset(&b[i], 0, sizeof b[i]);
        b[i].w.pool = pool;
        ck_assert_int_eq(pthread_create(&b[i].w.thread, NULL, block_and_note, &b[i]), 0);
        await(stats_of(pool).waiting == 2 * i + 1);
        told_init(&t[i]);
        t[i].waiter.fn = note_and_give_back;
        ck_assert_int_eq(bp_pool_checkout_async(pool, &t[i].waiter), 0);
    }
    given(pool, a);
    for (unsigned i = 0; i < EACH; i++)
        ck_assert_int_eq(pthread_join(b[i].w.thread, NULL), 0);
    threads_passed();
    for (unsigned i = 0; i < EACH; i++) {
        ck_assert_int_eq(b[i].w.rc, 0);
        ck_assert_int_eq(atomic_load(&t[i].count), 1);
        ck_assert_uint_eq(b[i].turn, 2 * i);
        ck_assert_uint_eq(t[i].turn, 2 * i + 1);
    }
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

/* ---- from inside a call ---- */

static struct {
    size_t calls, left;
    const char *lowest, *highest; /* where on the stack the calls were */
    bool inside, nested;
} chain;

static void enter_chain(void)
{
    const char here = 0;
    const char *at = seen((void *)(uintptr_t)&here);

    chain.nested |= chain.inside;
    chain.inside = true;
    chain.calls++;
    if (chain.lowest == NULL || at < chain.lowest)
        chain.lowest = at;
    if (chain.highest == NULL || at > chain.highest)
        chain.highest = at;
}

static void pass_on(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    enter_chain();
    must(error == 0);
    must(bp_pool_give_back(waiter->pool, arena) == 0);
    chain.inside = false;
}

static void ask_again(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    enter_chain();
    must(error == 0);
    if (chain.left-- != 0)
        must(bp_pool_checkout_async(waiter->pool, waiter) == 0);
    must(bp_pool_give_back(waiter->pool, arena) == 0);
    chain.inside = false;
}

static void free_and_pass_on(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    bp_pool *pool = waiter->pool;

    enter_chain();
    must(error == 0);
    memset(waiter, 0xEE, sizeof *waiter);
    free(waiter);
    must(bp_pool_give_back(pool, arena) == 0);
    chain.inside = false;
}

static void chain_was_flat(size_t calls)
{
    ck_assert_uint_eq(chain.calls, calls);
    ck_assert(!chain.nested);
    /* All at the same depth but for the first, which may come by another way. */
    ck_assert_int_lt(chain.highest - chain.lowest, 8192);
    memset(&chain, 0, sizeof chain);
}

START_TEST(chains_do_not_nest)
{
    const size_t n = times(10000, 1000);
    bp_pool *pool = pool_of(1);
    bp_arena *a = taken(pool);
    struct bp_waiter *w = calloc(n, sizeof *w), again = BP_WAITER_INIT(ask_again, NULL);

    ck_assert_ptr_nonnull(w);
    memset(&chain, 0, sizeof chain);
    for (size_t i = 0; i < n; i++) {
        w[i].fn = pass_on;
        must(bp_pool_checkout_async(pool, &w[i]) == 0);
    }
    given(pool, a);
    chain_was_flat(n);
    free(w);

    a = taken(pool);
    chain.left = n;
    ck_assert_int_eq(bp_pool_checkout_async(pool, &again), 0);
    given(pool, a); /* each call queues its waiter before it gives back: served at once, called later */
    chain_was_flat(n + 1);

    a = taken(pool);
    for (size_t i = 0; i < n; i++) {
        struct bp_waiter *mine = malloc(sizeof *mine);

        must(mine != NULL);
        *mine = (struct bp_waiter)BP_WAITER_INIT(free_and_pass_on, NULL);
        must(bp_pool_checkout_async(pool, mine) == 0);
    }
    given(pool, a);
    chain_was_flat(n);
    all_accounted_for(pool);
    ck_assert_uint_eq(stats_of(pool).checkouts, 3 * n + 4);
    pool_gone(pool);
}
END_TEST

static void give_back_and_ask_again(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    enter_chain();
    must(error == 0);
    must(bp_pool_give_back(waiter->pool, arena) == 0);
    if (chain.left-- != 0)
        must(bp_pool_checkout_async(waiter->pool, waiter) == 0); /* there is an arena: served at once */
    chain.inside = false;
}

START_TEST(served_at_once_from_inside)
{
    const size_t n = times(10000, 1000);
    bp_pool *pool = pool_of(1);
    struct bp_waiter again = BP_WAITER_INIT(give_back_and_ask_again, NULL);

    memset(&chain, 0, sizeof chain);
    chain.left = n;
    ck_assert_int_eq(bp_pool_checkout_async(pool, &again), 0);
    chain_was_flat(n + 1);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

/* ---- cancel, errors ---- */

static struct {
    struct told *served, *queued;
    int cancel_served, ask_served, cancel_queued, ask_queued;
} inside;

static void look_at_the_others(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    bp_pool *pool = waiter->pool;

    note(waiter, arena, error);
    must(bp_pool_give_back(pool, arena) == 0);
    /* It is the next one's now, who is called when this has returned. */
    must(atomic_load(&inside.served->count) == 0);
    inside.cancel_served = bp_waiter_cancel(&inside.served->waiter);
    inside.ask_served = bp_pool_checkout_async(pool, &inside.served->waiter);
    inside.cancel_queued = bp_waiter_cancel(&inside.queued->waiter);
    inside.ask_queued = bp_pool_checkout_async(pool, &inside.queued->waiter);
}

START_TEST(served_but_not_told)
{
    bp_pool *pool = pool_of(1);
    bp_arena *a = taken(pool);
    struct told t[4];

    for (int i = 0; i < 4; i++)
        told_init(&t[i]);
    t[0].waiter.fn = look_at_the_others;
    inside.served = &t[1];
    inside.queued = &t[2];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(bp_pool_checkout_async(pool, &t[i].waiter), 0);
    given(pool, a);
    ck_assert_int_eq(atomic_load(&t[0].count), 1);
    ck_assert_int_eq(inside.cancel_served, EALREADY);
    ck_assert_int_eq(inside.ask_served, EBUSY);
    ck_assert_int_eq(inside.cancel_queued, 0);
    ck_assert_int_eq(inside.ask_queued, 0); /* anew, and the last in the queue */
    ck_assert_ptr_eq(got(&t[1]), a);
    counts_are(pool, 0, 1);
    ck_assert_int_eq(atomic_load(&t[2].count) + atomic_load(&t[3].count), 0);
    given(pool, a);
    ck_assert_ptr_eq(got(&t[3]), a);
    ck_assert_int_eq(atomic_load(&t[2].count), 0);
    given(pool, a);
    ck_assert_ptr_eq(got(&t[2]), a);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t[1].waiter), 0); /* once it was told it is free again */
    given(pool, a);
    ck_assert_int_eq(atomic_load(&t[1].count), 2);
    given(pool, a);
    ck_assert_uint_eq(stats_of(pool).cancels, 1);
    counts_are(pool, 1, 0);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

START_TEST(cancel)
{
    bp_pool *pool = pool_of(1), *later;
    struct told t[4];
    struct bp_pool_stats s;

    ask(&t[0], pool);
    for (int i = 1; i < 4; i++)
        ask(&t[i], pool);
    ck_assert_int_eq(bp_waiter_cancel(&t[2].waiter), 0);
    ck_assert_int_eq(bp_waiter_cancel(&t[2].waiter), EALREADY);
    ck_assert_int_eq(bp_waiter_cancel(&t[3].waiter), 0);
    s = stats_of(pool);
    ck_assert_uint_eq(s.waiting, 1);
    ck_assert_uint_eq(s.waits, 3);
    ck_assert_uint_eq(s.cancels, 2);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t[3].waiter), 0); /* anew: behind the others */
    ck_assert_int_eq(bp_waiter_cancel(&t[1].waiter), 0);
    given(pool, got(&t[0]));
    given(pool, got(&t[3]));
    ck_assert_int_eq(atomic_load(&t[1].count) + atomic_load(&t[2].count), 0);
    counts_are(pool, 1, 0);
    all_accounted_for(pool);
    pool_gone(pool);
    for (int i = 0; i < 4; i++) /* the pool is gone */
        ck_assert_int_eq(bp_waiter_cancel(&t[i].waiter), EALREADY);
    later = pool_of(1); /* in the same memory */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(bp_waiter_cancel(&t[i].waiter), EALREADY);
    ck_assert_int_eq(bp_waiter_cancel(NULL), EINVAL);
    told_init(&t[0]);
    ck_assert_int_eq(bp_waiter_cancel(&t[0].waiter), EINVAL);
    pool_gone(later);
}
END_TEST

START_TEST(errors)
{
    static struct gate g;
    struct bp_pool_config c = pool_config();
    bp_pool *pool = pool_of(1), *none = pool_of(0), *broken;
    bp_arena *a = taken(pool);
    struct told t;
    int fd = -5;

    told_init(&t);
    ck_assert_int_eq(bp_pool_checkout_async(pool, NULL), EINVAL);
    t.waiter.fn = NULL;
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t.waiter), EINVAL);
    ck_assert_int_eq(bp_pool_checkout_async(none, &t.waiter), EINVAL);
    t.waiter.fn = note;
    ck_assert_int_eq(bp_pool_checkout_async(none, &t.waiter), EAGAIN);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t.waiter), 0);
    ck_assert_int_eq(bp_pool_checkout_async(pool, &t.waiter), EBUSY);
    ck_assert_int_eq(bp_pool_checkout_async(none, &t.waiter), EBUSY);
    ck_assert_uint_eq(stats_of(pool).waiting, 1);
    given(pool, a);
    given(pool, got(&t));

    gate_init(&g);
    broken = pool_on(&g.backing, &c);
    faulty_plan(g.f, BP_FAULTY_ACQUIRE, 1, true);
    told_init(&t);
    ck_assert_int_eq(bp_pool_checkout_async(broken, &t.waiter), ENOMEM);
    ck_assert_int_eq(bp_pool_close(broken), 0);
    ck_assert_int_eq(bp_pool_checkout_async(broken, &t.waiter), ECANCELED);
    ck_assert_int_eq(atomic_load(&t.count), 0);
    pool_gone(broken);
    gate_gone(&g);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_checkout_async(broken, &t.waiter), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(bp_pool_eventfd(broken, &fd), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_int_eq(bp_pool_eventfd(NULL, &fd), EINVAL);
    ck_assert_int_eq(bp_pool_eventfd(pool, NULL), EINVAL);
    ck_assert_int_eq(misuse.count, 0);
    ck_assert_int_eq(fd, -5);
    bp_set_misuse_handler(NULL, NULL);
    pool_gone(none);
    pool_gone(pool);
}
END_TEST

static void pause_for(size_t n)
{
    for (volatile size_t left = n; left != 0; left--)
        ;
}

static void *use_it(void *arg)
{
    struct waiting *w = arg;

    for (size_t i = 0; !atomic_load(&w->done); i++) {
        bp_arena *a = NULL;

        thread_must(bp_pool_checkout_wait(w->pool, -1, &a) == 0);
        pause_for(i % 512);
        thread_must(bp_pool_give_back(w->pool, a) == 0);
    }
    return NULL;
}

/* Cancel at the moment of hand-off, which another thread does: called or cancelled, never both, never
 * neither. */
START_TEST(cancel_races_with_give_back)
{
    bp_pool *pool = pool_of(1);
    size_t cancelled = 0, served = 0;
    struct waiting w[2];

    for (int i = 0; i < 2; i++) {
        memset(&w[i], 0, sizeof w[i]);
        w[i].pool = pool;
        ck_assert_int_eq(pthread_create(&w[i].thread, NULL, use_it, &w[i]), 0);
    }
    for (size_t i = 0; i < times(40000, 500); i++) {
        struct told *t = malloc(sizeof *t);
        int rc;

        must(t != NULL);
        told_init(t);
        must(bp_pool_checkout_async(pool, &t->waiter) == 0);
        pause_for(i * 7 % 4096);
        rc = bp_waiter_cancel(&t->waiter);
        must(rc == 0 || rc == EALREADY);
        if (rc == 0) {
            cancelled++;
            must(atomic_load(&t->count) == 0);
            memset(t, 0xEE, sizeof *t); /* it is the caller's: nobody may look at it any more */
        } else {
            while (atomic_load(&t->count) == 0)
                sched_yield();
            served++;
            must(t->error == 0 && bp_arena_used(t->arena) == 0);
            given(pool, t->arena);
        }
        free(t);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&w[i].done, true);
        ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
    }
    threads_passed();
    ck_assert_uint_eq(stats_of(pool).cancels, cancelled);
    if (!slow_run()) { /* in a few tries it may be the same each time */
        ck_assert_uint_gt(cancelled, 0);
        ck_assert_uint_gt(served, 0);
    }
    fprintf(stderr, "cancel: %zu came in time, %zu too late\n", cancelled, served);
    counts_are(pool, 1, 0);
    all_accounted_for(pool);
    pool_gone(pool);
}
END_TEST

/* ---- eventfd ---- */

static bool readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    int n = poll(&p, 1, 0);

    ck_assert_int_ge(n, 0);
    ck_assert_int_eq(p.revents & ~POLLIN, 0);
    return n == 1;
}

static int eventfd_of(bp_pool *pool)
{
    int fd = -1;

    ck_assert_int_eq(bp_pool_eventfd(pool, &fd), 0);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(eventfd_says_when)
{
    bp_pool *pool = pool_of(2);
    bp_arena *a = taken(pool), *b, *c = untouched;
    int fd = eventfd_of(pool);

    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert(readable(fd)); /* there is a place for one more */
    ck_assert_int_eq(eventfd_of(pool), fd);
    b = taken(pool);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(bp_pool_checkout(pool, &c), EAGAIN);
        ck_assert(!readable(fd));
    }
    given(pool, a);
    ck_assert(readable(fd));
    a = taken(pool);
    ck_assert(readable(fd)); /* nobody has found none since */
    ck_assert_int_eq(bp_pool_checkout_wait(pool, 0, &c), ETIMEDOUT);
    ck_assert(!readable(fd));
    given(pool, b);
    ck_assert_int_eq(bp_pool_trim(pool, 0), 0); /* nor is it there, but another can be made */
    ck_assert(readable(fd));
    b = taken(pool);
    ck_assert_int_eq(bp_pool_checkout(pool, &c), EAGAIN);
    ck_assert(!readable(fd));
    ck_assert_int_eq(bp_pool_close(pool), 0);
    ck_assert(readable(fd));
    ck_assert_int_eq(bp_pool_checkout(pool, &c), ECANCELED);
    ck_assert(readable(fd)); /* for everybody who polls is to hear of it */
    ck_assert_ptr_eq(c, untouched);
    given(pool, a);
    given(pool, b);
    pool_gone(pool);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

/* Who gives back signals after the lock, and may be so slow that its arena is taken, and a checkout refused,
 * before. What its signal does is done here by hand. A poller that finds none must not be woken for ever. */
START_TEST(late_signal_is_taken_back)
{
    bp_pool *pool = pool_of(1);
    bp_arena *a = taken(pool), *b = untouched;
    const uint64_t one = 1;
    int fd = eventfd_of(pool);

    ck_assert_int_eq(bp_pool_checkout(pool, &b), EAGAIN);
    for (int i = 0; i < 3; i++) {
        ck_assert(!readable(fd));
        ck_assert_int_eq((int)write(fd, &one, sizeof one), (int)sizeof one);
        ck_assert(readable(fd));
        ck_assert_int_eq(i == 0 ? bp_pool_checkout(pool, &b)
                                : i == 1 ? bp_pool_checkout_sized(pool, 100, &b)
                                         : bp_pool_checkout_wait(pool, 0, &b), i == 2 ? ETIMEDOUT : EAGAIN);
        ck_assert(!readable(fd));
    }
    ck_assert_ptr_eq(b, untouched);
    given(pool, a);
    ck_assert(readable(fd)); /* nor was the next signal lost */
    pool_gone(pool);
}
END_TEST

START_TEST(eventfd_at_creation)
{
    struct bp_pool_config c = pool_config();
    bp_pool *none = pool_of(0), *one = pool_of(1);
    bp_arena *a = taken(one);
    struct told t;

    ck_assert(!readable(eventfd_of(none)));
    ck_assert_int_eq(bp_pool_close(none), 0);
    ck_assert(readable(eventfd_of(none)));
    ck_assert(!readable(eventfd_of(one)));
    given(one, a);
    ck_assert(readable(eventfd_of(one)));
    pool_gone(none);
    pool_gone(one);

    one = pool_on(NULL, &c); /* no limit, nothing idle */
    ck_assert(readable(eventfd_of(one)));
    pool_gone(one);

    one = pool_of(1); /* one is idle, in this thread's lane */
    given(one, taken(one));
    ck_assert(readable(eventfd_of(one)));
    a = taken(one);
    ask(&t, one);
    ck_assert_int_eq(bp_pool_checkout(one, &a), EAGAIN);
    given(one, a);
    ck_assert(!readable(eventfd_of(one))); /* it went to the waiter */
    given(one, got(&t));
    ck_assert(readable(eventfd_of(one)));
    pool_gone(one);

    one = pool_of(1);
    ck_assert_int_eq(bp_pool_close(one), 0);
    ck_assert(readable(eventfd_of(one)));
    pool_gone(one);
}
END_TEST

static struct {
    bp_pool *pool;
    pthread_barrier_t turn;
} other;

static void *hold_in_lane(void *unused)
{
    bp_arena *a;

    for (int i = 0; i < 3; i++) {
        a = taken(other.pool);
        given(other.pool, a);
    }
    a = taken(other.pool); /* out of this thread's lane */
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn);
    given(other.pool, a);
    pthread_barrier_wait(&other.turn);
    return unused;
}

START_TEST(eventfd_hears_of_lanes)
{
    pthread_t thread;
    bp_arena *a;
    int fd;

    other.pool = pool_of(1);
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, 2), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_in_lane, NULL), 0);
    pthread_barrier_wait(&other.turn);
    fd = eventfd_of(other.pool);
    if (_i == 0) { /* an idle lane when the fd is made, too */
        ck_assert(!readable(fd));
        ck_assert_int_eq(bp_pool_checkout(other.pool, &a), EAGAIN);
    }
    ck_assert(!readable(fd));
    pthread_barrier_wait(&other.turn);
    pthread_barrier_wait(&other.turn);
    ck_assert(readable(fd));
    given(other.pool, taken(other.pool));
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&other.turn);
    pool_gone(other.pool);
}
END_TEST

START_TEST(eventfd_where_there_is_none)
{
    bp_pool *pool = pool_of(1), *second = pool_of(1);
    struct rlimit before, few;
    int fd = -5, known = eventfd_of(second), again = -1, rc;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    errno = 77;
    rc = bp_pool_eventfd(pool, &fd);
    ck_assert_int_eq(errno, 77);
    ck_assert_int_eq(bp_pool_eventfd(second, &again), 0); /* it is there already */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(rc, EMFILE);
    ck_assert_int_eq(fd, -5);
    ck_assert_int_eq(again, known);
    ck_assert(readable(eventfd_of(pool)));
    pool_gone(pool);
    pool_gone(second);
}
END_TEST

static struct {
    bp_pool *pool;
    int fd;
    atomic_size_t left;
} polled;

/* Polls without a limit in time: a wake-up that is lost is a hang. */
static void *poll_and_check_out(void *unused)
{
    size_t i = 0;

    while (atomic_load(&polled.left) != 0) {
        struct pollfd p = { polled.fd, POLLIN, 0 };
        bp_arena *a[3];
        size_t n = 0;
        int rc = 0;

        thread_must(poll(&p, 1, -1) == 1);
        while (n < 3 && (rc = bp_pool_checkout(polled.pool, &a[n])) == 0)
            n++;
        thread_must(rc == 0 || rc == EAGAIN || rc == ECANCELED);
        if (i++ % 8 == 0)
            sched_yield();
        for (size_t k = 0; k < n; k++) {
            thread_must(bp_pool_give_back(polled.pool, a[k]) == 0);
            if (atomic_load(&polled.left) != 0 && atomic_fetch_sub(&polled.left, 1) == 1)
                thread_must(bp_pool_close(polled.pool) == 0); /* the others may sleep in poll by now */
        }
        if (rc == ECANCELED) /* and some arenas may have been had before it */
            break;
    }
    return unused;
}

START_TEST(no_wake_up_is_lost)
{
    pthread_t threads[4];

    polled.pool = pool_of(1 + (size_t)_i);
    polled.fd = eventfd_of(polled.pool);
    atomic_store(&polled.left, times(60000, 600));
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, poll_and_check_out, NULL), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    threads_passed();
    all_accounted_for(polled.pool);
    pool_gone(polled.pool);
}
END_TEST

static Suite *async_suite(void)
{
    Suite *s = suite_create("async");
    TCase *tc = add_case(s, "call");

    tcase_add_test(tc, at_once);
    tcase_add_test(tc, by_another_thread);
    tcase_add_test(tc, one_queue);
    tc = add_case(s, "chain");
    tcase_add_test(tc, chains_do_not_nest);
    tcase_add_test(tc, served_at_once_from_inside);
    tc = add_case(s, "cancel");
    tcase_add_test(tc, served_but_not_told);
    tcase_add_test(tc, cancel);
    tcase_add_test(tc, errors);
    tcase_add_test(tc, cancel_races_with_give_back);
    tc = add_case(s, "eventfd");
    tcase_add_test(tc, eventfd_says_when);
    tcase_add_test(tc, late_signal_is_taken_back);
    tcase_add_test(tc, eventfd_at_creation);
    tcase_add_loop_test(tc, eventfd_hears_of_lanes, 0, 2);
    if (may_fork()) /* no descriptor can be made meanwhile, by Valgrind neither */
        tcase_add_test(tc, eventfd_where_there_is_none);
    tcase_add_loop_test(tc, no_wake_up_is_lost, 0, 3);
    return s;
}

int main(void)
{
    return run_suite(async_suite());
}
