/* SPDX-License-Identifier: MIT
 *
 * Care of idle arenas: prewarm, release, trim. Each takes a few arenas out of the pool, works on
 * them without the lock, and puts them back, so that no call of a backing happens under the lock
 * and the other threads never miss more than RELEASE_BATCH arenas. Idle arenas wait in two lists:
 * `warm` ones were given back since the last release, `cold` ones have been released or were never
 * used. All cold ones are older than all warm ones, and a second release has nothing to walk over.
 */
#define _GNU_SOURCE
#include "checks.h"
#include "lane.h"
#include "pool_private.h"

int bp_pool_prewarm(bp_pool *arg, size_t n, size_t *added)
{
    bp_pool *pool = pool_enter(arg, "prewarm");
    size_t done = 0;
    int rc = 0;

    if (added != NULL)
        *added = 0;
    if (pool == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    while (done < n && rc == 0) {
        struct arena *a;
        bool fits;

        if (pool->closed) {
            rc = ECANCELED;
            break;
        }
        /* Places held for arenas that are checked out are not idle arenas: take them back. */
        if (pool->kept >= pool->max_idle && !lanes_drain(pool, LANE_OUT, false))
            break;
        rc = pool_mint(pool, &a);
        if (rc != 0) {
            rc = rc == EAGAIN ? 0 : rc; /* max_arenas */
            break;
        }
        a->state = STATE_IN_TRANSIT; /* neither live nor idle, should lanes_drain drop the lock */
        pool->in_transit++;
        fits = keep_try(pool, a) || (lanes_drain(pool, LANE_OUT, false) && keep_try(pool, a));
        pool->in_transit--;
        if (fits) {
            service_begin(pool, a);
            pthread_mutex_unlock(&pool->lock);
            rc = arena_prefault(a, pool->prefault);
            pthread_mutex_lock(&pool->lock);
            fits = service_end(pool, a) && rc == 0 && pool->kept_bytes <= pool->max_idle_bytes;
            if (fits) /* as the oldest: nobody's cache knows it */
                list_push_oldest(arena_is_dirty(a) ? &pool->warm : &pool->cold, a);
            else
                keep_drop(pool, a);
        }
        if (!fits) {
            a->next = NULL;
            pool_dispose(pool, a);
            break;
        }
        done++;
    }
    pool_leave(pool, NULL);
    if (added != NULL)
        *added = done;
    check_tell();
    return rc;
}

size_t pool_release_some(bp_pool *pool, size_t most, uint64_t until, size_t *bytes)
{
    struct arena *batch[RELEASE_BATCH];
    size_t n = 0, released = 0, count = 0;
    bool done[RELEASE_BATCH];

    while (n < RELEASE_BATCH && n < most && pool->warm.count != 0 && pool->warm.tail->idle_since <= until) {
        batch[n] = list_pop_oldest(&pool->warm);
        service_begin(pool, batch[n++]);
    }
    if (n == 0)
        return 0;
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < n; i++) {
        size_t returned = 0;
        bool dirty = arena_is_dirty(batch[i]);

        done[i] = !dirty || arena_release(batch[i], &returned) == 0;
        count += dirty && done[i];
        released += returned;
    }
    pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < n; i++) { /* oldest first onto the head keeps the order */
        (void)service_end(pool, batch[i]); /* it has not grown */
        if (!done[i])
            batch[i]->idle_since = pool->looks; /* tried again when that is long ago */
        list_push(done[i] ? &pool->cold : &pool->warm, batch[i]);
    }
    pool->releases += count;
    pool->released_bytes += released;
    *bytes += released;
    return n;
}

size_t bp_pool_release_idle(bp_pool *arg)
{
    bp_pool *pool = pool_enter(arg, "release_idle");
    size_t sum = 0, left, n;

    if (pool == NULL)
        return 0;
    pthread_mutex_lock(&pool->lock);
    lanes_drain(pool, LANE_IDLE, false);
    /* Those that come in meanwhile, or fail, are not for this call. */
    for (left = pool->warm.count; left != 0; left -= n) {
        n = pool_release_some(pool, left, UINT64_MAX, &sum);
        if (n == 0)
            break;
    }
    pool_leave(pool, NULL);
    check_tell();
    return sum;
}

void pool_drop_places(bp_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    lanes_drain(pool, LANE_OUT, true);
    pool_leave(pool, NULL);
}

/* Up to RELEASE_BATCH of the oldest idle arenas, linked by next and not counted any more, until they come to
 * `bytes`; *shed is what they come to. */
static struct arena *take_oldest(bp_pool *pool, size_t bytes, size_t *shed)
{
    struct arena *chain = NULL;
    size_t sum = 0;

    for (size_t n = 0; n < RELEASE_BATCH && sum < bytes; n++) {
        struct arena *a = list_pop_oldest(&pool->cold);

        if (a == NULL)
            a = list_pop_oldest(&pool->warm);
        if (a == NULL)
            break;
        sum += a->accounted;
        keep_drop(pool, a);
        a->next = chain;
        chain = a;
    }
    *shed = sum;
    return chain;
}

size_t pool_shed(bp_pool *pool, size_t bytes)
{
    size_t sum = 0;

    pthread_mutex_lock(&pool->lock);
    while (sum < bytes) {
        size_t shed;
        struct arena *chain = take_oldest(pool, bytes - sum, &shed);

        /* The newest of each thread are the last to go. */
        if (chain == NULL && lanes_drain(pool, LANE_IDLE, false))
            chain = take_oldest(pool, bytes - sum, &shed);
        if (chain == NULL)
            break;
        sum += shed;
        pool_dispose(pool, chain);
    }
    pool_leave(pool, NULL);
    return sum;
}

int bp_pool_trim(bp_pool *arg, size_t limit)
{
    bp_pool *pool = pool_enter(arg, "trim");
    struct arena *a, *chain;
    size_t idle;

    if (pool == NULL)
        return EINVAL;
    pthread_mutex_lock(&pool->lock);
    /* Arenas in lanes are the newest: leave them unless the lists are too short. */
    idle = pool_idle(pool);
    if (idle > limit && pool->warm.count + pool->cold.count < idle - limit)
        lanes_drain(pool, LANE_IDLE, false);
    do {
        size_t n = 0;

        chain = NULL;
        for (idle = pool_idle(pool); idle > limit && n < RELEASE_BATCH; idle--, n++) {
            a = list_pop_oldest(&pool->cold);
            if (a == NULL)
                a = list_pop_oldest(&pool->warm);
            if (a == NULL)
                break;
            keep_drop(pool, a);
            a->next = chain;
            chain = a;
        }
        if (chain != NULL)
            pool_dispose(pool, chain);
    } while (chain != NULL);
    pool_leave(pool, NULL);
    check_tell();
    return 0;
}
