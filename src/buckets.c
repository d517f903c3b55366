/* SPDX-License-Identifier: MIT
 *
 * Bucket pools: buffers, and arenas, handed out and taken back.
 *
 * A buffer is an arena all of whose room has been handed out as one block. In the common case get and put are
 * a pool's checkout and give_back and some arithmetic, inline (buckets.h). All else comes here: buckets whose
 * pool is not made yet, transient buffers, checked ones, buffers that are put back by another thread or in
 * another order, and misuse.
 *
 * A transient buffer is a spill segment of an arena that keeps none, so that a reset gives it back.
 */
#define _GNU_SOURCE
#include "buckets_private.h"

#include "lane.h"
#include "misuse_private.h"

#define OF_BUCKETS "of bucket pool \"%s\""

/* ---- where a size goes ---- */

bool buckets_index(const struct buckets *b, size_t size, uint32_t *i)
{
    if (b->sizes != 0 && size <= b->max_size) {
        *i = bucket_number(bp_buckets_find_(&b->pub, size));
        return true;
    }
    *i = TRANSIENT;
    return !b->blocks;
}

/* The pool for a size, and the number of its place. */
static int find_pool(struct buckets *b, size_t size, uint32_t *i, bp_pool **pool)
{
    return buckets_index(b, size, i) ? buckets_make_pool(b, *i, pool) : EINVAL;
}

/* The pool that `arena` is a place of, and the number of its own place, or NULL. Does not follow `arena`. */
static bp_pool *owner(struct buckets *b, const bp_arena *arena, uint32_t *i)
{
    for (size_t k = 0; k <= b->sizes; k++) {
        bp_pool *pool = buckets_each(b, k);
        unsigned slab = 0;

        if (pool != NULL && pool_find(pool, arena, &slab) != NULL) {
            *i = k < b->sizes ? (uint32_t)k : TRANSIENT;
            return pool;
        }
    }
    return NULL;
}

/* ---- get ---- */

/* Makes the room for a transient buffer. Checked arenas have ways of their own. */
static int reserve(const struct buckets *b, bp_arena *arena, size_t size)
{
    return b->checks == 0 ? arena_reserve(arena_of(arena), size) : 0;
}

/* Hands out `n` bytes at the cursor of an empty arena, which has room for them, or in checked mode a
 * block. */
static int carve(const struct buckets *b, bp_arena *arena, size_t n)
{
    char *data = arena->cursor;
    int rc;

    if (b->checks != 0) {
        data = bp_arena_alloc(arena, n);
        rc = data != NULL ? 0 : errno;
    } else {
        rc = arena_commit(arena_of(arena), data + round_up_16(n));
        if (rc == 0)
            arena->cursor = data + round_up_16(n);
    }
    if (rc == 0)
        arena_of(arena)->buffer = data;
    return rc;
}

/* Makes a buffer of an arena for place `i`: one that is empty, and has the room if it is transient. */
static int make_buffer(const struct buckets *b, uint32_t i, bp_arena *arena, size_t size,
                       struct bp_buffer *out)
{
    size_t n = size;
    int rc;

    if (i != TRANSIENT && (b->checks == 0 || (b->blocks && size == 0)))
        n = b->bucket[i].capacity;
    if (i != TRANSIENT && b->checks == 0 && (uintptr_t)arena->quick_end - (uintptr_t)arena->start == n) {
        /* as bp_buckets_get does */
        *out = (struct bp_buffer){ arena->start, size, n, arena, bucket_place(i), false };
        return 0;
    }
    rc = carve(b, arena, n);
    if (rc != 0)
        return rc;
    *out = (struct bp_buffer){ arena_of(arena)->buffer, size, n, arena,
                               (i == TRANSIENT ? TRANSIENT : bucket_place(i)) | TO_RESET, i == TRANSIENT };
    return 0;
}

/* The same for one that was just checked out of `pool`, which gets it back on failure. */
static int finish_get(struct buckets *b, bp_pool *pool, uint32_t i, bp_arena *arena, size_t size,
                      struct bp_buffer *out)
{
    int rc = i == TRANSIENT ? reserve(b, arena, size) : 0;

    if (rc == 0)
        rc = make_buffer(b, i, arena, size, out);
    if (rc != 0)
        (void)bp_pool_give_back(pool, arena);
    return rc;
}

/* Whoever holds several buffers of a size finds the front of his lane out: makes the next idle one the front, if
 * there is one. */
static bool uncover(bp_buckets *pub, size_t size)
{
#ifndef BP_POOL_OUT_OF_LINE
    /* Pairs with where it is made. */
    bp_pool *pool = __atomic_load_n(&bp_buckets_at_(pub, bp_buckets_find_(pub, size))->pool, __ATOMIC_ACQUIRE);
    struct lane *lane = lane_here(pool);

    /* A lane that covers something is one of a pool that has been made: until then there is no more than lanes. */
    return lane->covered != 0 && pool->way == LANE_PLAIN &&
           slot_own_state(lane->front[LANE_PLAIN]) != SLOT_IDLE && lane_uncover(lane, LANE_PLAIN);
#else
    (void)pub;
    (void)size;
    return false;
#endif
}

int bp_buckets_get_slow(bp_buckets *arg, size_t size, struct bp_buffer *out)
{
    struct buckets *b;
    bp_arena *arena;
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (arg != NULL && out != NULL && size <= arg->quick_max && uncover(arg, size))
        return bp_buckets_get(arg, size, out);
    b = buckets_enter(arg, "get");
    if (b == NULL || out == NULL)
        return EINVAL;
    rc = find_pool(b, size, &i, &pool);
    if (rc == 0)
        rc = bp_pool_checkout(pool, &arena);
    return rc == 0 ? finish_get(b, pool, i, arena, size, out) : rc;
}

int bp_buckets_get_first(bp_buckets *arg, size_t size, bp_arena *arena, struct bp_buffer *out)
{
    struct buckets *b = buckets_enter(arg, "get");
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (b == NULL)
        return EINVAL;
    rc = find_pool(b, size, &i, &pool); /* which is made */
    return rc == 0 ? finish_get(b, pool, i, arena, size, out) : rc;
}

int bp_buckets_get_revoked(bp_buckets *arg, size_t size, bp_arena *arena, struct bp_buffer *out)
{
    struct buckets *b = buckets_enter(arg, "get");
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (b == NULL)
        return EINVAL;
    rc = find_pool(b, size, &i, &pool); /* which is made */
    if (rc == 0)
        rc = bp_pool_checkout_revoked(pool, arena, &arena);
    return rc == 0 ? finish_get(b, pool, i, arena, size, out) : rc;
}

int bp_buckets_get_wait(bp_buckets *arg, size_t size, int64_t timeout_ns, struct bp_buffer *out)
{
    struct buckets *b = buckets_enter(arg, "get_wait");
    bp_arena *arena;
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (b == NULL || out == NULL)
        return EINVAL;
    rc = find_pool(b, size, &i, &pool);
    if (rc == 0)
        rc = bp_pool_checkout_wait(pool, timeout_ns, &arena);
    return rc == 0 ? finish_get(b, pool, i, arena, size, out) : rc;
}

/* ---- put ---- */

static bool is_live(bp_pool *pool, const struct arena *a)
{
    bool live;

    pthread_mutex_lock(&pool->lock);
    live = pool_is_live(a);
    pthread_mutex_unlock(&pool->lock);
    return live;
}

/* Where a buffer of the arena begins. */
static const void *data_of(const struct buckets *b, uint32_t i, const struct arena *a)
{
    return i == TRANSIENT || b->checks != 0 ? a->buffer : a->first.start;
}

static int put_twice(const struct buckets *b, const bp_pool *pool, const struct bp_buffer *buffer)
{
    return misuse_report(BP_MISUSE_DOUBLE_GIVE_BACK, pool, buffer->arena,
                         "put: buffer %p " OF_BUCKETS " has been put back already", buffer->data, b->name);
}

/* A buffer out of the caller's lane, though not of its front. False: it is none. */
static bool put_mine(bp_buckets *pub, const struct bp_buffer *buffer, int *rc)
{
    uint32_t place = buffer->bucket & ~TO_RESET & ~(uint32_t)(sizeof(struct bp_bucket) - 1);

    if (place - (uint32_t)sizeof *pub >= pub->span)
        return false;
    /* Pairs with where it is made. */
    return pool_give_back_mine(__atomic_load_n(&bp_buckets_at_(pub, place)->pool, __ATOMIC_ACQUIRE), buffer->arena,
                               buffer->data, rc);
}

int bp_buckets_put_slow(bp_buckets *arg, struct bp_buffer *buffer)
{
    struct buckets *b;
    uint32_t i;
    struct arena *a;
    bp_pool *pool;
    unsigned slab = 0;
    int rc;

    if (arg != NULL && buffer != NULL && put_mine(arg, buffer, &rc)) {
        if (rc == 0)
            *buffer = (struct bp_buffer)BP_BUFFER_INIT;
        return rc;
    }
    b = buckets_enter(arg, "put");
    if (b == NULL || buffer == NULL)
        return EINVAL;
    if (buffer->arena == NULL)
        return misuse_report(BP_MISUSE_DOUBLE_GIVE_BACK, NULL, NULL,
                             "put: an empty buffer, put back already or never got, to bucket pool \"%s\"",
                             b->name);
    i = buffer->bucket & ~TO_RESET;
    i = i == TRANSIENT ? TRANSIENT : bucket_number(i);
    pool = i < b->sizes || i == TRANSIENT ? place_pool(buckets_place(b, i)) : NULL;
    a = pool != NULL ? pool_find(pool, buffer->arena, &slab) : NULL;
    if (a == NULL)
        return misuse_report(BP_MISUSE_BAD_BUFFER, pool, buffer->arena, "put: buffer %p is none " OF_BUCKETS,
                             buffer->data, b->name);
    if (buffer->data != data_of(b, i, a)) {
        if (!is_live(pool, a))
            return put_twice(b, pool, buffer);
        return misuse_report(BP_MISUSE_BAD_BUFFER, pool, buffer->arena,
                             "put: %p is not where a buffer " OF_BUCKETS " begins: its data was changed",
                             buffer->data, b->name);
    }
    rc = pool_give_back_once(pool, buffer->arena);
    if (rc == EALREADY)
        return put_twice(b, pool, buffer);
    if (rc == 0)
        *buffer = (struct bp_buffer)BP_BUFFER_INIT;
    return rc;
}

/* ---- arenas ---- */

/* Both ways to check out: `wait` or not. */
static int checkout(struct buckets *b, size_t size, bool wait, int64_t timeout_ns, bp_arena **out)
{
    bp_arena *arena;
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (b == NULL || out == NULL)
        return EINVAL;
    rc = find_pool(b, size, &i, &pool);
    if (rc == 0)
        rc = wait ? bp_pool_checkout_wait(pool, timeout_ns, &arena) : bp_pool_checkout(pool, &arena);
    if (rc != 0)
        return rc;
    rc = i == TRANSIENT ? reserve(b, arena, size) : 0;
    if (rc == 0)
        *out = arena;
    else
        (void)bp_pool_give_back(pool, arena);
    return rc;
}

int bp_buckets_checkout(bp_buckets *b, size_t size, bp_arena **out)
{
    return checkout(buckets_enter(b, "checkout"), size, false, 0, out);
}

int bp_buckets_checkout_wait(bp_buckets *b, size_t size, int64_t timeout_ns, bp_arena **out)
{
    return checkout(buckets_enter(b, "checkout_wait"), size, true, timeout_ns, out);
}

int bp_buckets_checkout_async(bp_buckets *arg, size_t size, struct bp_waiter *waiter)
{
    struct buckets *b = buckets_enter(arg, "checkout_async");
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (b == NULL || waiter == NULL || waiter->fn == NULL)
        return EINVAL;
    rc = find_pool(b, size, &i, &pool);
    return rc == 0 ? bp_pool_checkout_async(pool, waiter) : rc;
}

/* Whether nothing was allocated from the arena since its checkout. */
static bool is_unused(const struct arena *a)
{
    return a->pub.cursor == a->current->start && a->earlier == 0 && a->cleanups == NULL;
}

int bp_buckets_buffer(bp_buckets *arg, bp_arena *arena, size_t size, struct bp_buffer *out)
{
    struct buckets *b = buckets_enter(arg, "buffer");
    const struct arena *a;
    bp_pool *pool;
    uint32_t i;
    int rc;

    if (b == NULL || arena == NULL || out == NULL)
        return EINVAL;
    pool = owner(b, arena, &i);
    if (pool == NULL)
        return misuse_report(BP_MISUSE_FOREIGN_ARENA, NULL, arena, "buffer: %p is no arena " OF_BUCKETS,
                             (void *)arena, b->name);
    a = arena_of(arena);
    if (!is_live(pool, a))
        return misuse_report(BP_MISUSE_DOUBLE_GIVE_BACK, pool, arena,
                             "buffer: arena %p " OF_BUCKETS " has been given back already", (void *)arena,
                             b->name);
    if (!is_unused(a) || (i != TRANSIENT && size > b->bucket[i].capacity))
        return EINVAL;
    if (i == TRANSIENT && (a->current == &a->first || size > (size_t)(a->current->end - a->current->start))) {
        rc = reserve(b, arena, size);
        if (rc != 0)
            return rc;
    }
    return make_buffer(b, i, arena, size, out);
}

int bp_buckets_give_back(bp_buckets *arg, bp_arena *arena)
{
    struct buckets *b = buckets_enter(arg, "give_back");
    bp_pool *pool;
    uint32_t i;

    if (b == NULL || arena == NULL)
        return EINVAL;
    pool = owner(b, arena, &i);
    if (pool == NULL)
        return misuse_report(BP_MISUSE_FOREIGN_ARENA, NULL, arena, "give_back: %p is no arena " OF_BUCKETS,
                             (void *)arena, b->name);
    return bp_pool_give_back(pool, arena);
}

bp_pool *bp_buckets_pool(bp_buckets *arg, size_t size)
{
    struct buckets *b = buckets_enter(arg, "pool");
    bp_pool *pool;
    uint32_t i;
    int rc = b != NULL ? find_pool(b, size, &i, &pool) : EINVAL;

    if (rc == 0)
        return pool;
    errno = rc;
    return NULL;
}
