/* SPDX-License-Identifier: MIT
 *
 * Retention that follows demand: bp_pool_tick, and the timerfd that says when.
 *
 * How many arenas stay. Idle arenas are reused newest first. So as many stay in use as were live at one time
 * lately, and the others sink to the old end of the lists and keep their `idle_since`: what is older than
 * retain_ns was above the demand of that time. Its pages go first, later the arena.
 *
 * How much of each stays. Every tick asks the idle arenas how much was used of them since the last (arena_take_recent),
 * and adds that, by powers of two, to `demand`, which is halved before: a histogram of the recent past in which
 * nothing older than some ten ticks counts. An arena with far more resident than the 95th percentile is cut
 * back to it. A spike of one arena thus goes at once where many others say otherwise, and after some six ticks where it
 * is the only one; a load that keeps using much keeps it.
 *
 * Ticks come PERIODS to a retain_ns. All that a tick does to an arena it does without the lock, to few at a
 * time, and it stops when it has done enough for one call.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "lane.h"
#include "os_sync.h"

#define PERIODS 4                         /* ticks in a retain_ns */
#define DISPOSE_AFTER 8                   /* retain_ns for which a released arena stays */
#define PERIOD_MIN UINT64_C(1000000)      /* ns; also the pause before what did not fit into one tick */
#define TICK_ARENAS ((size_t)64)          /* most arenas that one tick releases, disposes of or cuts back */
#define TICK_BYTES ((size_t)64 << 20)     /* bytes after which it releases no more */
#define CUT_MIN ((size_t)65536)           /* bytes; to cut less is not worth a system call */
#define WEIGHT ((uint32_t)1024)           /* of one arena in `demand` */
enum { CHUNK = 256 /* arenas looked at in one go under the lock */ };

static uint64_t saturating_mul(uint64_t a, uint64_t b)
{
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

/* The time before which an arena must have become idle to have been so for `age`. */
static bool cutoff(const bp_pool *pool, uint64_t age, uint64_t *until)
{
    if (pool->tick_ns - pool->first_tick_ns < age)
        return false; /* what was before the first tick is not known */
    *until = pool->tick_ns - age;
    return true;
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

/* Arenas that may have too much resident, as found under the lock at one time or other. */
struct suspects {
    struct arena *arenas[TICK_ARENAS];
    size_t count;
};

/* Asks the warm arenas what was used of them since the last tick. Returns how many were used. */
static size_t look(bp_pool *pool, struct suspects *suspects)
{
    size_t used = 0, left = pool->warm.count;
    struct arena *a = pool->warm.head;

    while (a != NULL && left-- != 0) {
        size_t recent = arena_take_recent(a);

        if (recent != 0) {
            note_demand(pool, recent);
            a->idle_since = pool->tick_ns;
            used++;
        }
        if (suspects->count < TICK_ARENAS && arena_resident(a) > CUT_MIN)
            suspects->arenas[suspects->count++] = a;
        if (left % CHUNK == 0) {
            pthread_mutex_unlock(&pool->lock);
            pthread_mutex_lock(&pool->lock);
            if (a->state != STATE_IDLE) /* it went away meanwhile, and its links with it: once more from the start */
                a = NULL;
        }
        a = a != NULL ? a->next : pool->warm.head;
    }
    return used;
}

/* Cuts suspects back to what is used of the others. Drops the lock. Returns how many. */
static size_t cut(bp_pool *pool, struct suspects *suspects)
{
    size_t demand = usual_demand(pool), count = 0;

    if (demand > SIZE_MAX / 2 - CUT_MIN)
        return 0;
    for (size_t i = 0; i < suspects->count; i++) {
        struct arena *a = suspects->arenas[i];
        size_t bytes = 0;

        if (a->state != STATE_IDLE || arena_resident(a) < 2 * demand + CUT_MIN)
            continue;
        list_remove(&pool->warm, a);
        service_begin(pool, a);
        pthread_mutex_unlock(&pool->lock);
        (void)arena_release_beyond(a, demand, &bytes); /* if it fails, the next tick finds it again */
        pthread_mutex_lock(&pool->lock);
        service_end(pool, a);
        pool_put_idle(pool, a);
        pool->released_bytes += bytes;
        pool->cuts += bytes != 0;
        count += bytes != 0;
    }
    return count;
}

/* Releases what has been idle for retain_ns. Drops the lock. *more: it was too much for one tick. */
static size_t release_old(bp_pool *pool, bool *more)
{
    size_t count = 0, bytes = 0, n;
    uint64_t until;

    if (!cutoff(pool, pool->retain_ns, &until))
        return 0;
    while (count < TICK_ARENAS && bytes < TICK_BYTES && (n = pool_release_some(pool, 1, until, &bytes)) != 0)
        count += n;
    *more |= pool->warm.count != 0 && pool->warm.tail->idle_since <= until && count != 0;
    return count;
}

/* Disposes of what has been idle for much longer. Drops the lock. */
static size_t dispose_old(bp_pool *pool, bool *more)
{
    struct arena *chain = NULL;
    size_t count = 0;
    uint64_t until;

    if (!cutoff(pool, saturating_mul(pool->retain_ns, DISPOSE_AFTER), &until))
        return 0;
    while (count < TICK_ARENAS && pool->cold.count != 0 && pool->cold.tail->idle_since <= until) {
        struct arena *a = list_pop_oldest(&pool->cold);

        keep_drop(pool, a);
        a->next = chain;
        chain = a;
        count++;
    }
    *more |= pool->cold.count != 0 && pool->cold.tail->idle_since <= until;
    if (chain != NULL)
        pool_dispose(pool, chain);
    return count;
}

/* When to come again, given whether this tick had anything to do. The longer a pool is quiet the later. */
static uint64_t next_tick(bp_pool *pool, bool busy, bool more)
{
    uint64_t period = pool->retain_ns / PERIODS > PERIOD_MIN ? pool->retain_ns / PERIODS : PERIOD_MIN;
    uint64_t longest = saturating_mul(pool->retain_ns, DISPOSE_AFTER);

    if (more)
        return pool->tick_ns + PERIOD_MIN;
    if (pool->total == 0)
        return UINT64_MAX;
    pool->quiet_ticks = busy || pool->warm.count != 0 ? 0 : pool->quiet_ticks + (pool->quiet_ticks < 32);
    period = saturating_mul(period, UINT64_C(1) << pool->quiet_ticks);
    if (period > longest && longest > PERIOD_MIN)
        period = longest;
    return period > UINT64_MAX - 1 - pool->tick_ns ? UINT64_MAX - 1 : pool->tick_ns + period;
}

static void tick(bp_pool *pool, uint64_t now_ns)
{
    struct suspects suspects = { .count = 0 };
    bool more = false, busy;

    if (pool->first_tick_ns == 0)
        pool->first_tick_ns = now_ns;
    pool->tick_ns = now_ns;
    pool->next_tick_ns = now_ns + PERIOD_MIN; /* for whoever comes while the lock is dropped */
    for (unsigned i = 0; i < sizeof pool->demand / sizeof pool->demand[0]; i++)
        pool->demand[i] /= 2;
    lanes_drain(pool, LANE_IDLE, 0);
    busy = look(pool, &suspects) != 0;
    busy |= cut(pool, &suspects) != 0;
    busy |= release_old(pool, &more) != 0;
    busy |= dispose_old(pool, &more) != 0;
    pool->next_tick_ns = next_tick(pool, busy, more);
    pool->asleep = pool->next_tick_ns == UINT64_MAX;
}

int bp_pool_tick(bp_pool *arg, uint64_t now_ns, uint64_t *next_ns)
{
    bp_pool *pool = pool_enter(arg, "tick");
    uint64_t next;
    int fd = -1;

    if (pool == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    if (pool->retain_ns == BP_FOREVER) {
        pool->next_tick_ns = UINT64_MAX;
    } else if (now_ns >= pool->next_tick_ns || pool->asleep) {
        tick(pool, now_ns > pool->tick_ns ? now_ns : pool->tick_ns);
        fd = pool->tick_fd;
    }
    next = pool->next_tick_ns;
    pool_leave(pool, NULL);
    if (fd >= 0)
        os_timer_set(fd, next);
    if (next_ns != NULL)
        *next_ns = next;
    return 0;
}

void pool_wake_tick(bp_pool *pool)
{
    uint64_t due = os_now() + pool->retain_ns / PERIODS;
    int fd;

    pthread_mutex_lock(&pool->lock);
    pool->next_tick_ns = 0; /* whatever the caller's clock is */
    pool->quiet_ticks = 0;
    fd = pool->tick_fd;
    pthread_mutex_unlock(&pool->lock);
    if (fd >= 0)
        os_timer_set(fd, due);
    if (pool->reaped)
        reaper_wake(pool);
}

int bp_pool_timerfd(bp_pool *arg, int *fd)
{
    bp_pool *pool = arg != NULL ? pool_enter(arg, "timerfd") : NULL;
    int made, unused = -1, rc;

    if (pool == NULL || fd == NULL)
        return EINVAL;
    rc = os_timer(&made);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&pool->lock);
    if (pool->tick_fd < 0) {
        pool->tick_fd = made;
        pool->next_tick_ns = 0; /* the first tick is due now: it starts the clock */
    } else {
        unused = made;
    }
    *fd = pool->tick_fd;
    pthread_mutex_unlock(&pool->lock);
    if (unused < 0)
        os_timer_set(made, pool->retain_ns == BP_FOREVER ? UINT64_MAX : 1);
    os_close(unused);
    return 0;
}
