/* SPDX-License-Identifier: MIT
 *
 * Retention that follows demand: bp_pool_tick, and the timerfd that says when.
 *
 * How many arenas stay. Idle arenas are reused newest first. So as many stay in use as were live at one time
 * lately, and the others sink to the old end of the lists and keep their `idle_since`: what is older than
 * retain_ns was above the demand of that time. Its pages go first, later the arena.
 *
 * How much of each stays. Every look asks the idle arenas how much was used of them since the last
 * (arena_take_recent), and adds that, by powers of two, to `demand`, which is halved before: a histogram
 * of the recent past in which nothing older than some ten looks counts. An arena with far more resident
 * than the 95th percentile is cut back to it. A spike of one arena thus goes at once where many others say
 * otherwise, and after some six looks where it is the only one; a load that keeps using much keeps it.
 *
 * Ticks come PERIODS to a retain_ns, and each is a look; but those that only finish what the
 * last one left, 1 ms after it, are none, or the recent past would be a few ms.
 *
 * Nobody reads a clock to say since when an arena is idle. So that is counted in looks: an
 * arena is idle, for all that is known, since the look that came next. Taking the time of the
 * look before instead would have an arena that comes after a long pause be old at once.
 *
 * All that a tick does to an arena it does without the lock, to few at a time, and it stops
 * when it has done enough for one call.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "checks.h"
#include "lane.h"
#include "os_sync.h"

#define PERIODS 4                         /* looks in a retain_ns */
#define DISPOSE_AFTER 8                   /* retain_ns for which a released arena stays */
#define QUIET_MAX 5                       /* a quiet pool is looked at every 2^5 periods: DISPOSE_AFTER */
#define PERIOD_MIN UINT64_C(1000000)      /* ns; also the pause before what did not fit into one tick */
#define TICK_ARENAS ((size_t)64)          /* most arenas that one tick releases, disposes of or cuts back */
#define TICK_BYTES ((size_t)64 << 20)     /* bytes after which it releases no more */
#define CUT_MIN ((size_t)65536)           /* bytes; to cut less is not worth a system call */
#define WEIGHT ((uint32_t)1024)           /* of one arena in `demand` */
enum { CHUNK = 256 /* arenas looked at in one go under the lock */ };

static_assert(sizeof((bp_pool *)0)->look_ns / sizeof(uint64_t) > PERIODS * DISPOSE_AFTER + 2, "cutoff looks back as far");

static uint64_t saturating_mul(uint64_t a, uint64_t b)
{
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

/* Never UINT64_MAX, which is no time. */
static uint64_t later(uint64_t time, uint64_t ns)
{
    return time + ns < time || time + ns == UINT64_MAX ? UINT64_MAX - 1 : time + ns;
}

static uint64_t period(const bp_pool *pool)
{
    return pool->retain_ns / PERIODS > PERIOD_MIN ? pool->retain_ns / PERIODS : PERIOD_MIN;
}

static uint64_t *look_time(bp_pool *pool, uint64_t look)
{
    return &pool->look_ns[look % (sizeof pool->look_ns / sizeof pool->look_ns[0])];
}

/* What `idle_since` must not be above for an arena to have been idle for `age`. False: none has. */
static bool cutoff(bp_pool *pool, uint64_t age, uint64_t *until)
{
    uint64_t known = sizeof pool->look_ns / sizeof pool->look_ns[0];

    for (uint64_t n = 1; n <= pool->looks && n <= known; n++)
        if (pool->tick_ns - *look_time(pool, pool->looks - n) >= age) {
            *until = pool->looks - n;
            return true;
        }
    return false;
}

static unsigned log2_of(size_t n)
{
    return (unsigned)(sizeof n * 8 - 1) - (unsigned)__builtin_clzl(n);
}

static void note_demand(bp_pool *pool, size_t bytes)
{
    unsigned i = log2_of(bytes);
    unsigned last = sizeof pool->demand / sizeof pool->demand[0] - 1;

    pool->demand[i < last ? i : last] += WEIGHT;
}

/* Bytes that 95 of 100 recent uses of an arena stayed below; SIZE_MAX when there were none. */
static size_t usual_demand(const bp_pool *pool)
{
    uint64_t sum = 0, below = 0;

    for (unsigned i = 0; i < sizeof pool->demand / sizeof pool->demand[0]; i++)
        sum += pool->demand[i];
    for (unsigned i = 0; i < sizeof pool->demand / sizeof pool->demand[0]; i++) {
        below += pool->demand[i];
        if (sum != 0 && below >= sum - sum / 20)
            return i + 1 < sizeof(size_t) * 8 ? (size_t)1 << (i + 1) : SIZE_MAX;
    }
    return SIZE_MAX;
}

/* Bytes in excess of `demand` from which an arena is cut back to it. */
static size_t too_much(size_t demand)
{
    return demand > SIZE_MAX - CUT_MIN ? SIZE_MAX : demand + CUT_MIN;
}

/* What one tick may still do. */
struct budget {
    size_t arenas, bytes;
};

static bool spent(const struct budget *left)
{
    return left->arenas == 0 || left->bytes == 0;
}

static void spend(struct budget *left, size_t arenas, size_t bytes)
{
    left->arenas -= arenas;
    left->bytes -= bytes < left->bytes ? bytes : left->bytes;
}

/* Arenas that may have too much resident, as found under the lock at one time or other. */
struct suspects {
    struct arena *arenas[TICK_ARENAS];
    size_t count;
};

/* Goes through the warm arenas: finds those with far more resident than `demand` and, where this
 * is a look, asks what was used of each since the last. Returns how many were used. */
static size_t look(bp_pool *pool, bool asks, size_t demand, struct suspects *suspects)
{
    size_t used = 0, left = pool->warm.count;
    struct arena *a = pool->warm.head;

    while (a != NULL && left-- != 0) {
        size_t recent = asks ? arena_take_recent(a) : 0;

        if (recent != 0) {
            note_demand(pool, recent);
            a->idle_since = pool->looks - 1;
            used++;
        }
        if (suspects->count < TICK_ARENAS && arena_excess(a, demand) >= too_much(demand))
            suspects->arenas[suspects->count++] = a;
        if (left % CHUNK == 0) {
            pthread_mutex_unlock(&pool->lock);
            pthread_mutex_lock(&pool->lock);
            if (a->state != STATE_IDLE) /* it went away meanwhile, and its links with it: once
                                           more from the start */
                a = NULL;
        }
        a = a != NULL ? a->next : pool->warm.head;
    }
    return used;
}

/* Cuts suspects back to what is used of the others. Drops the lock. True: they are too many for one tick. */
static bool cut(bp_pool *pool, struct suspects *suspects, struct budget *left)
{
    size_t demand = usual_demand(pool);

    for (size_t i = 0; i < suspects->count; i++) {
        struct arena *a = suspects->arenas[i];
        size_t bytes = 0;

        if (a->state != STATE_IDLE || arena_excess(a, demand) < too_much(demand))
            continue;
        if (spent(left))
            return true;
        list_remove(&pool->warm, a);
        service_begin(pool, a);
        pthread_mutex_unlock(&pool->lock);
        (void)arena_release_beyond(a, demand, &bytes); /* if it fails, the next look finds it again */
        pthread_mutex_lock(&pool->lock);
        (void)service_end(pool, a); /* it has not grown */
        pool_put_idle(pool, a);
        pool->released_bytes += bytes;
        pool->cuts += bytes != 0;
        spend(left, 1, bytes);
    }
    return false;
}

/* Releases what has been idle for retain_ns. Drops the lock. True: it is too much for one tick. */
static bool release_old(bp_pool *pool, struct budget *left)
{
    uint64_t until;

    if (!cutoff(pool, pool->retain_ns, &until))
        return false;
    while (!spent(left)) {
        size_t bytes = 0, count = pool_release_some(pool, 1, until, &bytes);

        if (count == 0)
            return false;
        spend(left, count, bytes);
    }
    return pool->warm.count != 0 && pool->warm.tail->idle_since <= until;
}

/* Disposes of what has been idle for much longer. Drops the lock. True: it is too much for one tick. */
static bool dispose_old(bp_pool *pool, struct budget *left)
{
    struct arena *chain = NULL;
    uint64_t until;
    bool more;

    if (!cutoff(pool, saturating_mul(pool->retain_ns, DISPOSE_AFTER), &until))
        return false;
    while (!spent(left) && pool->cold.count != 0 && pool->cold.tail->idle_since <= until) {
        struct arena *a = list_pop_oldest(&pool->cold);

        keep_drop(pool, a);
        a->next = chain;
        chain = a;
        spend(left, 1, 0);
    }
    more = pool->cold.count != 0 && pool->cold.tail->idle_since <= until;
    if (chain != NULL)
        pool_dispose(pool, chain);
    return more;
}

/* When to come again. The longer a pool is quiet the later. */
static uint64_t next_tick(bp_pool *pool, bool busy, bool more)
{
    if (more)
        return later(pool->tick_ns, PERIOD_MIN);
    if (pool->total == 0)
        return UINT64_MAX;
    if (busy || pool->total - pool->in_transit != pool->cold.count)
        pool->quiet_ticks = 0;
    else if (pool->quiet_ticks < QUIET_MAX)
        pool->quiet_ticks++;
    return later(pool->tick_ns, saturating_mul(period(pool), UINT64_C(1) << pool->quiet_ticks));
}

static void tick(bp_pool *pool, uint64_t now_ns)
{
    struct suspects suspects = { .count = 0 };
    struct budget left = { TICK_ARENAS, TICK_BYTES };
    bool looks = pool->looks == 0 || now_ns - *look_time(pool, pool->looks - 1) >= period(pool);
    bool busy = false, more = false;

    pool->tick_ns = now_ns;
    pool->next_tick_ns = later(now_ns, PERIOD_MIN); /* for whoever comes while the lock is dropped */
    if (looks) {
        *look_time(pool, pool->looks++) = now_ns;
        for (unsigned i = 0; i < sizeof pool->demand / sizeof pool->demand[0]; i++)
            pool->demand[i] /= 2;
        lanes_drain(pool, LANE_IDLE, false);
    }
    if (looks || pool->cutting) {
        busy = look(pool, looks, usual_demand(pool), &suspects) != 0;
        pool->cutting = cut(pool, &suspects, &left);
        more = pool->cutting;
    }
    more |= release_old(pool, &left);
    more |= dispose_old(pool, &left);
    busy |= left.arenas != TICK_ARENAS;
    pool->next_tick_ns = next_tick(pool, busy, more);
    pool->asleep = pool->next_tick_ns == UINT64_MAX;
}

/* Sets the timerfd to timer_ns. Called after every change of that: of several threads that do
 * so at once the last to set it has seen the last change. */
static void set_timer(bp_pool *pool)
{
    uint64_t set, wanted;
    int fd;

    pthread_mutex_lock(&pool->lock);
    fd = pool->tick_fd;
    wanted = pool->timer_ns;
    pthread_mutex_unlock(&pool->lock);
    do {
        set = wanted;
        os_timer_set(fd, set);
        pthread_mutex_lock(&pool->lock);
        wanted = pool->timer_ns;
        pthread_mutex_unlock(&pool->lock);
    } while (wanted != set);
}

int bp_pool_tick(bp_pool *arg, uint64_t now_ns, uint64_t *next_ns)
{
    bp_pool *pool = pool_enter(arg, "tick");
    bool set = false, empty;
    uint64_t next;

    if (pool == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    if (pool->retain_ns == BP_FOREVER) {
        pool->next_tick_ns = UINT64_MAX;
    } else if (now_ns >= pool->next_tick_ns || pool->asleep) {
        tick(pool, now_ns > pool->tick_ns ? now_ns : pool->tick_ns);
        set = pool->tick_fd >= 0;
    }
    next = pool->next_tick_ns;
    empty = pool->total == 0;
    if (set)
        pool->timer_ns = next;
    pool_leave(pool, NULL); /* which may serve a waiter with a new arena, and set the timer to
                               something else */
    if (set)
        set_timer(pool);
    if (empty && pool->budget != NULL)
        pool->budget->emptied(pool->budget, pool);
    if (next_ns != NULL)
        *next_ns = next;
    check_tell();
    return 0;
}

void pool_wake_tick(bp_pool *pool)
{
    uint64_t due = later(os_now(), period(pool));
    bool set;

    pthread_mutex_lock(&pool->lock);
    pool->next_tick_ns = 0; /* whatever the caller's clock is */
    pool->timer_ns = due;
    set = pool->tick_fd >= 0;
    pthread_mutex_unlock(&pool->lock);
    if (set)
        set_timer(pool);
    if (pool->reaped)
        reaper_wake(pool, due);
}

int bp_pool_timerfd(bp_pool *arg, int *fd)
{
    bp_pool *pool = arg != NULL ? pool_enter(arg, "timerfd") : NULL;
    int made, known, rc;

    if (pool == NULL || fd == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    known = pool->tick_fd;
    pthread_mutex_unlock(&pool->lock);
    if (known >= 0) {
        *fd = known;
        return 0;
    }
    rc = os_timer(&made);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&pool->lock);
    known = pool->tick_fd;
    if (known < 0) {
        pool->tick_fd = made;
        pool->next_tick_ns = 0; /* the first tick is due now: it starts the clock */
        pool->timer_ns = pool->retain_ns == BP_FOREVER ? UINT64_MAX : 1;
    }
    *fd = pool->tick_fd;
    pthread_mutex_unlock(&pool->lock);
    if (known < 0)
        set_timer(pool);
    else
        os_close(made);
    return 0;
}
