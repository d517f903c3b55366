/* SPDX-License-Identifier: MIT
 *
 * Care of what a bucket pool keeps idle: all pools in turn, and the cap on the bytes of all together.
 *
 * What is kept is counted in one number that the pools share (struct kept_budget), never above the cap. A
 * pool that would have to go above it asks here for room, with no lock held: so no two pools' locks are ever
 * held at once. What is made free may be taken by another before the one that asked looks again; then that
 * one goes without.
 */
#define _GNU_SOURCE
#include "buckets_private.h"

/* ---- upkeep ---- */

int bp_buckets_prewarm(bp_buckets *arg, size_t size, size_t n, size_t *added)
{
    struct buckets *b = buckets_enter(arg, "prewarm");
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (added != NULL)
        *added = 0;
    if (b == NULL || !buckets_index(b, size, &i) || i == TRANSIENT)
        return EINVAL;
    rc = buckets_make_pool(b, i, &pool);
    return rc == 0 ? bp_pool_prewarm(pool, n, added) : rc;
}

/* Chunks that no buffer is in go back, too. */
static size_t trim_slabs(struct buckets *b)
{
    size_t bytes = 0;

    for (size_t i = 0; i < b->sizes; i++)
        if (place_pool(&b->places[i]) != NULL && b->places[i].slab != NULL)
            bytes += slab_trim(b->places[i].slab);
    return bytes;
}

size_t bp_buckets_release_idle(bp_buckets *arg)
{
    struct buckets *b = buckets_enter(arg, "release_idle");
    size_t bytes = 0;

    if (b == NULL)
        return 0;
    for (size_t i = 0; i <= b->sizes; i++)
        if (buckets_each(b, i) != NULL)
            bytes += bp_pool_release_idle(buckets_each(b, i));
    return bytes + trim_slabs(b);
}

int bp_buckets_trim(bp_buckets *arg, size_t keep)
{
    struct buckets *b = buckets_enter(arg, "trim");

    if (b == NULL)
        return EINVAL;
    for (size_t i = 0; i <= b->sizes; i++)
        if (buckets_each(b, i) != NULL)
            (void)bp_pool_trim(buckets_each(b, i), keep);
    (void)trim_slabs(b);
    return 0;
}

int bp_buckets_tick(bp_buckets *arg, uint64_t now_ns, uint64_t *next_ns)
{
    struct buckets *b = buckets_enter(arg, "tick");
    uint64_t first = UINT64_MAX;

    if (b == NULL)
        return EINVAL;
    for (size_t i = 0; i <= b->sizes; i++) {
        uint64_t next = UINT64_MAX;

        if (buckets_each(b, i) != NULL)
            (void)bp_pool_tick(buckets_each(b, i), now_ns, &next);
        first = next < first ? next : first;
    }
    if (next_ns != NULL)
        *next_ns = first;
    return 0;
}

/* ---- the cap on bytes ---- */

/* Which place a pool of `b` has. */
static struct place *place_of(struct buckets *b, const bp_pool *pool)
{
    for (size_t i = 0; i < b->sizes; i++)
        if (place_pool(&b->places[i]) == pool)
            return &b->places[i];
    return &b->transient;
}

static struct buckets *buckets_of(struct kept_budget *budget)
{
    return (struct buckets *)(void *)((char *)budget - offsetof(struct buckets, budget));
}

void buckets_emptied(struct kept_budget *budget, bp_pool *pool)
{
    struct slab *slab = place_of(buckets_of(budget), pool)->slab;

    if (slab != NULL)
        (void)slab_trim(slab);
}

static bool has_room(const struct kept_budget *budget, size_t bytes)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed); /* a number */

    return bytes <= budget->max - used;
}

/* The pool that keeps most bytes idle, or NULL: none keeps any. */
static bp_pool *fullest(const struct buckets *b)
{
    bp_pool *best = NULL;
    size_t most = 0;

    for (size_t i = 0; i <= b->sizes; i++) {
        bp_pool *pool = buckets_each(b, i);
        size_t bytes;

        if (pool == NULL)
            continue;
        pthread_mutex_lock(&pool->lock);
        bytes = pool_idle_bytes(pool);
        pthread_mutex_unlock(&pool->lock);
        if (bytes > most) {
            most = bytes;
            best = pool;
        }
    }
    return best;
}

void buckets_make_room(struct kept_budget *budget, bp_pool *asker, size_t bytes)
{
    struct buckets *b = buckets_of(budget);

    /* Places held for what is out are the first to go: they are no memory that anybody keeps. */
    for (size_t i = 0; i <= b->sizes && !has_room(budget, bytes); i++) {
        bp_pool *pool = buckets_each(b, i);

        if (pool != NULL && pool != asker) /* which has done so */
            pool_drop_places(pool);
    }
    /* Bounded, for others may fill up what is made free here. */
    for (size_t rounds = b->sizes + 1; rounds != 0 && !has_room(budget, bytes); rounds--) {
        bp_pool *pool = fullest(b);
        size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed); /* a number */
        size_t most = budget->max - bytes; /* at least 0: who asks for more than there can be is not heard */

        if (pool == NULL || (used > most && pool_shed(pool, used - most) == 0))
            break;
    }
}
