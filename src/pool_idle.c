/* SPDX-License-Identifier: MIT
 *
 * Care of idle arenas: prewarm, release, trim. Each takes a few arenas out of the pool, works on them
 * without the lock, and puts them back, so that no call of a backing happens under the lock and the other
 * threads never miss more than BATCH arenas. Idle arenas wait in two lists: `warm` ones were given back
 * since the last release, `cold` ones have been released or were never used. All cold ones are older than
 * all warm ones, and a second release has nothing to walk over.
 */
#define _GNU_SOURCE
#include "lane.h"
#include "pool_private.h"

enum { BATCH = 16 };

static void service_begin(bp_pool *pool, struct arena *a)
{
    a->state = STATE_SERVICED;
    pool->serviced++;
}

/* A counted arena has another footprint now. */
static void recount(bp_pool *pool, struct arena *a)
{
    pool->kept_bytes += a->footprint - a->accounted; /* modular */
    a->accounted = a->footprint;
    a->flags &= ~(uint32_t)ARENA_RESIZED;
}

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

        /* Places held for arenas that are checked out are not idle arenas: take them back. */
        if (pool->kept >= pool->max_idle && !lanes_drain(pool, true, 0))
            break;
        rc = pool_mint(pool, &a);
        if (rc != 0) {
            rc = rc == EAGAIN ? 0 : rc; /* max_arenas */
            break;
        }
        a->state = STATE_IN_TRANSIT; /* neither live nor idle, should lanes_drain drop the lock */
        pool->in_transit++;
        fits = keep_try(pool, a) || (lanes_drain(pool, true, 0) && keep_try(pool, a));
        pool->in_transit--;
        if (fits) {
            service_begin(pool, a);
            pthread_mutex_unlock(&pool->lock);
            rc = arena_prefault(a, pool->prefault);
            pthread_mutex_lock(&pool->lock);
            pool->serviced--;
            recount(pool, a);
            fits = rc == 0 && pool->kept_bytes <= pool->max_idle_bytes;
            if (!fits)
                keep_drop(pool, a);
        }
        if (!fits) {
            a->next = NULL;
            pool_dispose(pool, a);
            break;
        }
        a->state = STATE_IDLE;
        list_push_oldest(arena_is_dirty(a) ? &pool->warm : &pool->cold, a); /* nobody's cache knows it */
        done++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (added != NULL)
        *added = done;
    return rc;
}

size_t bp_pool_release_idle(bp_pool *arg)
{
    bp_pool *pool = pool_enter(arg, "release_idle");
    struct arena *batch[BATCH];
    size_t sum = 0, left;

    if (pool == NULL)
        return 0;
    pthread_mutex_lock(&pool->lock);
    lanes_drain(pool, false, 0);
    /* Those that come in meanwhile, or fail, are not for this call. */
    for (left = pool->warm.count; left != 0 && pool->warm.count != 0;) {
        size_t n = 0, released = 0, count = 0;
        bool done[BATCH];

        while (n < BATCH && left != 0 && pool->warm.count != 0) {
            batch[n] = list_pop_oldest(&pool->warm);
            service_begin(pool, batch[n++]);
            left--;
        }
        pthread_mutex_unlock(&pool->lock);
        for (size_t i = 0; i < n; i++) {
            size_t bytes = 0;
            bool dirty = arena_is_dirty(batch[i]);

            done[i] = !dirty || arena_release(batch[i], &bytes) == 0;
            count += dirty && done[i];
            released += bytes;
        }
        pthread_mutex_lock(&pool->lock);
        for (size_t i = 0; i < n; i++) {
            struct arena *a = batch[i];

            pool->serviced--;
            recount(pool, a); /* spares are gone */
            if (done[i]) {
                a->state = STATE_IDLE;
                list_push(&pool->cold, a); /* oldest first onto the head keeps the order */
            } else {
                pool_put_idle(pool, a);
            }
        }
        pool->releases += count;
        pool->released_bytes += released;
        sum += released;
    }
    pthread_mutex_unlock(&pool->lock);
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
        lanes_drain(pool, false, 0);
    do {
        size_t n = 0;

        chain = NULL;
        for (idle = pool_idle(pool); idle > limit && n < BATCH; idle--, n++) {
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
    pthread_mutex_unlock(&pool->lock);
    return 0;
}
