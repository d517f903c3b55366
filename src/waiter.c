/* SPDX-License-Identifier: MIT
 *
 * Waiting for an arena: one queue per pool, first come, first served, by direct hand-off.
 *
 * An arena that comes back while somebody waits goes to the head of the queue under the lock, which takes the
 * waiter out of the queue: from then on it is served, and a timeout or a cancellation, which take the same
 * lock, come too late. What is left to do without the lock is to tell it (deliver): an async waiter by a call
 * of its function, a blocked thread, which is a waiter on that thread's stack, through a word that it
 * watches.
 *
 * While anybody waits no lane homes an arena (pool_lanes_open), and joining the queue takes out what lanes
 * hold, checked out or idle: so every arena that is given back comes by here.
 *
 * Spinning. To wake a thread that sleeps in the kernel takes 10 to 30 us, to be seen by one that
 * spins 0.1 us. So where waits are short a waiter spins first. How long is decided by a moving
 * average over the latest waits of the pool, from queueing to hand-off (what it takes the sleeper to
 * wake is not in it): up to twice that, and not at all when it is above SPIN_MAX_NS, the most that
 * spinning can gain. Spinners of the whole process number less than its processors, for who holds the
 * arena needs one to run on. The first waits of a pool find an average of 0 and spin for SPIN_MIN_NS.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "checks.h"
#include "lane.h"
#include "os_sync.h"


#define SPIN_MAX_NS UINT64_C(20000)
#define SPIN_MIN_NS UINT64_C(4000)
enum { PAUSES = 8 /* between two looks at the clock */ };

/* Threads that spin, in the process. Sync: relaxed; a hint. */
static _Atomic(unsigned) spinners;

enum waiter_state { WAITER_NEW, WAITER_QUEUED, WAITER_SERVED /* but not yet told */, WAITER_CALLED };

/* Changed under the pool's lock, but for the last step; read without it to refuse a waiter that is in use.
 * (The struct is in a header for C++ as well, which has no _Atomic.) */
static unsigned state_of(const struct bp_waiter *w)
{
    return __atomic_load_n(&w->state, __ATOMIC_ACQUIRE); /* pairs with set_state */
}

static void set_state(struct bp_waiter *w, enum waiter_state state)
{
    __atomic_store_n(&w->state, (unsigned)state, __ATOMIC_RELEASE); /* pairs with state_of */
}

/* ---- the queue; the pool's lock is held ---- */

static void queue_remove(bp_pool *pool, struct bp_waiter *w)
{
    *(w->prev != NULL ? &w->prev->next : &pool->first_waiter) = w->next;
    *(w->next != NULL ? &w->next->prev : &pool->last_waiter) = w->prev;
    pool->waiting--;
}

void waiter_queue(bp_pool *pool, struct bp_waiter *w)
{
    w->pool = pool;
    w->arena = NULL;
    w->error = 0;
    w->since_ns = os_now();
    set_state(w, WAITER_QUEUED);
    w->next = NULL;
    w->prev = pool->last_waiter;
    *(w->prev != NULL ? &w->prev->next : &pool->first_waiter) = w;
    pool->last_waiter = w;
    pool->waiting++;
    pool->waits++;
    lanes_drain(pool, LANE_IDLE | LANE_OUT, true);
}

/* The wait of `w` ends now. */
static void end_wait(bp_pool *pool, struct bp_waiter *w)
{
    uint64_t waited = os_now() - w->since_ns;
    uint64_t usual = atomic_load_explicit(&pool->usual_wait_ns, memory_order_relaxed);

    queue_remove(pool, w);
    set_state(w, WAITER_SERVED);
    w->next = NULL;
    pool->wait_ns += waited;
    /* Pairs with bp_pool_checkout_wait. */
    atomic_store_explicit(&pool->usual_wait_ns, usual - usual / 8 + waited / 8, memory_order_relaxed);
}

struct bp_waiter *waiter_serve(bp_pool *pool, struct arena *a)
{
    struct bp_waiter *w = pool->first_waiter;

    end_wait(pool, w);
    a->state = STATE_LIVE;
    if (a->checks != NULL)
        check_set_live(a, NULL);
    a->holder = (int32_t)w->thread;
    atomic_store_explicit(&a->home, NULL, memory_order_relaxed); /* read under the lock */
    pool->slow_checkouts++;
    w->arena = &a->pub;
    return w;
}

struct bp_waiter *waiters_cancel(bp_pool *pool)
{
    struct bp_waiter *first = pool->first_waiter, *next;

    for (struct bp_waiter *w = first; w != NULL; w = next) {
        next = w->next;
        end_wait(pool, w);
        w->error = ECANCELED;
        w->next = next;
        pool->cancels++;
    }
    return first;
}

/* ---- telling them; no lock ---- */

/* A thread that blocks. */
struct blocked {
    struct bp_waiter waiter;
    _Atomic(uint32_t) word; /* pairs with itself in the other thread */
};
enum { BLOCKED = 0, PARKED, DELIVERED };

static void wake_blocked(struct bp_waiter *w, bp_arena *arena, int error)
{
    struct blocked *b = (struct blocked *)(void *)w;

    (void)arena;
    (void)error;
    /* Once the word says DELIVERED the thread may be gone and its stack with it: the kernel takes
     * the address for a number, and whoever sleeps there by then sees a spurious wake-up. */
    if (atomic_exchange_explicit(&b->word, DELIVERED, memory_order_acq_rel) == PARKED)
        os_wake(&b->word);
}

/* Async waiters to be told by this thread once the function that it is in has returned, so that a chain of
 * functions that give their arenas back at once does not nest. Oldest first. */
static _Thread_local struct {
    struct bp_waiter *first, *last;
    bool calling;
} told __attribute__((tls_model("initial-exec")));

static void deliver(struct bp_waiter *chain)
{
    while (chain != NULL) {
        struct bp_waiter *w = chain;

        chain = w->next;
        if (w->fn == wake_blocked) {
            wake_blocked(w, w->arena, w->error);
        } else {
            w->next = NULL;
            *(told.first != NULL ? &told.last->next : &told.first) = w;
            told.last = w;
        }
    }
    if (told.calling)
        return;
    told.calling = true;
    while (told.first != NULL) {
        struct bp_waiter *w = told.first;

        told.first = w->next;
        set_state(w, WAITER_CALLED); /* it is the caller's again */
        w->fn(w, w->arena, w->error);
    }
    told.calling = false;
}

static void chain_append(struct bp_waiter **chain, struct bp_waiter *w)
{
    while (*chain != NULL)
        chain = &(*chain)->next;
    *chain = w;
}

/* Serves the head of the queue if there is an arena or a place for one. An arena that cannot be made is the
 * head's error, unless others are live and will come back. */
static struct bp_waiter *serve_head(bp_pool *pool)
{
    struct arena *a = pool_take_idle(pool);
    struct bp_waiter *w;
    int rc;

    if (a != NULL) {
        keep_drop(pool, a);
        return waiter_serve(pool, a);
    }
    if (pool->total >= pool->max_arenas)
        return NULL;
    rc = pool_mint(pool, &a);
    if (rc == 0) {
        if (pool->first_waiter != NULL) {
            pool->misses++;
            return waiter_serve(pool, a);
        }
        a->next = NULL; /* nobody is there any more; */
        pool_dispose(pool, a);
        return pool->first_waiter != NULL ? serve_head(pool) : NULL; /* or somebody who came meanwhile */
    }
    a = pool->first_waiter != NULL ? pool_take_quarantined(pool) : NULL;
    if (a != NULL) {
        keep_drop(pool, a);
        return waiter_serve(pool, a);
    }
    if (rc == EAGAIN || pool->first_waiter == NULL || pool->total - pool->in_transit > pool_idle(pool))
        return NULL;
    w = pool->first_waiter;
    end_wait(pool, w);
    w->error = rc;
    return w;
}

static void pool_leave_slow(bp_pool *pool, struct bp_waiter *chain)
{
    int signal_fd = -1;
    bool wake;

    while (pool->first_waiter != NULL) {
        struct bp_waiter *w = serve_head(pool);

        if (w == NULL)
            break;
        chain_append(&chain, w);
    }
    if (pool->armed && (pool->closed || pool->warm.count + pool->cold.count != 0 || pool->total < pool->max_arenas)) {
        pool->armed = false;
        signal_fd = pool->event_fd;
    }
    wake = pool->wake_tick;
    pool->wake_tick = false;
    pthread_mutex_unlock(&pool->lock);
    if (signal_fd >= 0)
        os_event_set(signal_fd);
    if (wake)
        pool_wake_tick(pool);
    deliver(chain);
}

void pool_leave(bp_pool *pool, struct bp_waiter *served)
{
    if (BP_LIKELY(pool->first_waiter == NULL && !pool->armed && !pool->wake_tick && served == NULL))
        pthread_mutex_unlock(&pool->lock);
    else
        pool_leave_slow(pool, served);
}

void waiters_after_fork(bp_pool *pool)
{
    struct bp_waiter *next;

    for (struct bp_waiter *w = pool->first_waiter; w != NULL; w = next) {
        next = w->next;
        if (w->fn == wake_blocked)
            queue_remove(pool, w);
    }
    atomic_store_explicit(&spinners, 0, memory_order_relaxed); /* they are in the parent, too */
}

/* ---- blocking ---- */

static bool delivered(struct blocked *b)
{
    return atomic_load_explicit(&b->word, memory_order_acquire) == DELIVERED; /* pairs with wake_blocked */
}

/* Spins for as long as the waits of late suggest. True: served. */
static bool spin(struct blocked *b, uint64_t usual_wait_ns, uint64_t deadline)
{
    uint64_t budget = usual_wait_ns * 2 < SPIN_MIN_NS ? SPIN_MIN_NS : usual_wait_ns * 2;
    uint64_t until = os_now() + (budget < SPIN_MAX_NS ? budget : SPIN_MAX_NS);
    bool served = false;

    if (until > deadline)
        until = deadline;
    if (atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed) + 1 < os_processors()) {
        do {
            for (int i = 0; i < PAUSES && !served; i++) {
                os_pause();
                served = delivered(b);
            }
        } while (!served && os_now() < until);
    }
    atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
    return served;
}

/* Sleeps until served or the deadline. True: served. */
static bool park(struct blocked *b, uint64_t deadline)
{
    uint32_t expected = BLOCKED;

    /* Pairs with wake_blocked: either it finds PARKED, or this finds DELIVERED. */
    if (!atomic_compare_exchange_strong_explicit(&b->word, &expected, PARKED, memory_order_acq_rel,
                                                 memory_order_acquire) &&
        expected == DELIVERED)
        return true;
    while (!delivered(b))
        if (os_wait(&b->word, PARKED, deadline) == ETIMEDOUT)
            return delivered(b);
    return true;
}

static int wait_for(bp_pool *pool, struct blocked *b, uint64_t usual_wait_ns, uint64_t deadline)
{
    bool queued;

    if (usual_wait_ns <= SPIN_MAX_NS && spin(b, usual_wait_ns, deadline))
        return b->waiter.error;
    if (park(b, deadline))
        return b->waiter.error;
    pthread_mutex_lock(&pool->lock);
    queued = state_of(&b->waiter) == WAITER_QUEUED;
    if (queued) {
        end_wait(pool, &b->waiter);
        pool->timeouts++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (queued)
        return ETIMEDOUT;
    /* Served at the last moment: it is being told, and what it got is not lost. */
    (void)park(b, UINT64_MAX);
    return b->waiter.error;
}

int bp_pool_checkout_wait(bp_pool *arg, int64_t timeout_ns, bp_arena **out)
{
    bp_pool *pool;
    struct blocked b;
    uint64_t usual_wait_ns, deadline;
    int rc;

    pool = pool_enter(arg, "checkout_wait");
    if (pool == NULL || out == NULL)
        return EINVAL;
    if (timeout_ns == 0) {
        rc = bp_pool_checkout(arg, out);
        return rc == EAGAIN && pool->max_arenas != 0 ? ETIMEDOUT : rc;
    }
    memset(&b.waiter, 0, sizeof b.waiter);
    b.waiter.fn = wake_blocked;
    b.waiter.thread = thread_tid();
    atomic_init(&b.word, BLOCKED);
    rc = pool_checkout_or_queue(pool, &b.waiter, out);
    if (rc != EINPROGRESS)
        return rc;
    /* Pairs with end_wait. */
    usual_wait_ns = atomic_load_explicit(&pool->usual_wait_ns, memory_order_relaxed);
    deadline = timeout_ns < 0 ? UINT64_MAX : b.waiter.since_ns + (uint64_t)timeout_ns;
    rc = wait_for(pool, &b, usual_wait_ns, deadline);
    if (rc == 0)
        *out = b.waiter.arena;
    return rc;
}

/* ---- async ---- */

int bp_pool_checkout_async(bp_pool *arg, struct bp_waiter *waiter)
{
    bp_pool *pool = pool_enter(arg, "checkout_async");
    bp_arena *arena;
    int rc;

    if (pool == NULL || waiter == NULL || waiter->fn == NULL)
        return EINVAL;
    if (state_of(waiter) == WAITER_QUEUED || state_of(waiter) == WAITER_SERVED)
        return EBUSY;
    waiter->thread = 0;
    rc = pool_checkout_or_queue(pool, waiter, &arena);
    if (rc == EINPROGRESS)
        return 0;
    if (rc != 0)
        return rc;
    waiter->pool = pool;
    set_state(waiter, WAITER_SERVED);
    waiter->arena = arena;
    waiter->error = 0;
    waiter->next = NULL;
    deliver(waiter);
    return 0;
}

int bp_waiter_cancel(struct bp_waiter *waiter)
{
    bp_pool *pool = waiter != NULL ? waiter->pool : NULL;
    bool queued;

    if (pool == NULL)
        return EINVAL;
    /* Pairs with bp_pool_destroy. */
    if (atomic_load_explicit(&pool->magic, memory_order_relaxed) != POOL_ALIVE)
        return EALREADY; /* no pool is destroyed while anybody waits */
    pthread_mutex_lock(&pool->lock);
    queued = state_of(waiter) == WAITER_QUEUED;
    if (queued) {
        end_wait(pool, waiter);
        set_state(waiter, WAITER_CALLED); /* never to be */
        pool->cancels++;
    }
    pthread_mutex_unlock(&pool->lock);
    return queued ? 0 : EALREADY;
}

/* ---- eventfd ---- */

void waiter_refused(bp_pool *pool)
{
    if (pool->event_fd < 0)
        return;
    /* Also when it is armed already: a signal may have come late, for an arena that was taken since.
     *
     * First unreadable, then armed: the other way round this would swallow the signal of an arena that comes
     * back in between. One that came back before is found by pool_leave. */
    pthread_mutex_unlock(&pool->lock);
    os_event_clear(pool->event_fd);
    pthread_mutex_lock(&pool->lock);
    pool->armed = true;
    lanes_drain(pool, LANE_IDLE | LANE_OUT, true);
}

int bp_pool_eventfd(bp_pool *arg, int *fd)
{
    bp_pool *pool = arg != NULL ? pool_enter(arg, "eventfd") : NULL;
    int made, known, unused = -1, rc;

    if (pool == NULL || fd == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    known = pool->event_fd;
    pthread_mutex_unlock(&pool->lock);
    if (known >= 0) {
        *fd = known;
        return 0;
    }
    rc = os_event(true, &made);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&pool->lock);
    if (pool->event_fd < 0) {
        pool->event_fd = made;
        if (pool_idle(pool) == 0 && pool->total >= pool->max_arenas && !pool->closed)
            waiter_refused(pool);
    } else {
        unused = made;
    }
    *fd = pool->event_fd;
    pool_leave(pool, NULL);
    os_close(unused);
    return 0;
}
