/* SPDX-License-Identifier: MIT
 * The inside of a bucket pool: what buckets*.c share.
 */
#ifndef BUCKETS_PRIVATE_H
#define BUCKETS_PRIVATE_H

#include "pool_private.h"
#include "slab.h"

/* From 64 bytes to half of the address space in quarters, and more than any configuration gives. */
enum { BUCKETS_MOST = 4 * 64 };

#define BUCKETS_ALIVE ((uintptr_t)0x6275636b)
#define BUCKETS_DEAD ((uintptr_t)0x6b637562)

/* The `bucket` of a transient buffer: none. */
#define TRANSIENT ((uint32_t)1 << 30)

/* A buffer's `bucket` is where that is in struct bp_buckets, or TRANSIENT. And this flag, when its arena is
 * to be reset when it is put back: so it is beyond all places, and the inline path leaves it to
 * bp_buckets_put_slow. */
#define TO_RESET ((uint32_t)1 << 31)

/* One bucket, or the pool of the transient buffers. */
struct place {
    _Atomic(bp_pool *) pool; /* NULL: not made yet. Release; pairs with place_pool */
    struct slab *slab;       /* its backing, or NULL. Sync: written before `pool`, constant after */
};

struct buckets {
    _Atomic(uintptr_t) magic; /* relaxed: a use that races with destroy is the program's error, seen or not */
    bp_backing *backing;
    struct bp_buckets_config config; /* but for the name, which is the caller's */
    size_t sizes;     /* how many buckets there are */
    size_t max_size;  /* bytes of the largest bucket; 0: there is none */
    unsigned checks;  /* of enum bp_check; 0: none, and the inline paths are open */
    bool blocks;      /* one bucket, and no transient buffers */
    char name[24];
    struct buckets *next_known, *previous_known; /* Sync: known_lock of buckets_life.c */
    struct kept_budget budget;

    pthread_mutex_t lock; /* held while a pool is made */
    bool closed;          /* Sync: the lock */

    struct place transient;
    struct place places[BUCKETS_MOST];

    _Alignas(64) struct bp_buckets pub;
    struct bp_bucket bucket[BUCKETS_MOST];
};
static_assert(offsetof(struct buckets, bucket) == offsetof(struct buckets, pub) + sizeof(struct bp_buckets),
              "ABI: inlined into programs");
static_assert(offsetof(struct bp_buckets, quick_max) == 2 * sizeof(size_t), "ABI: inlined into programs");
static_assert(offsetof(struct bp_buckets, quick_min) == 3 * sizeof(size_t), "ABI: inlined into programs");
static_assert(offsetof(struct bp_buckets, step) == 4 * sizeof(size_t), "ABI: inlined into programs");
static_assert(offsetof(struct bp_buckets, span) == 4 * sizeof(size_t) + 8, "ABI: inlined into programs");
static_assert(offsetof(struct bp_buckets, small) == 4 * sizeof(size_t) + 16, "ABI: inlined into programs");
static_assert(sizeof(struct bp_buckets) % sizeof(struct bp_bucket) == 0, "one grid for all of them");
static_assert(sizeof(struct bp_buckets) + BUCKETS_MOST * sizeof(struct bp_bucket) <= UINT16_MAX,
              "a place fits in an element of `small`");
static_assert(sizeof(struct bp_bucket) == 2 * sizeof(size_t), "ABI: inlined into programs");

/* The bucket pool behind the argument of a public call: that of NULL callers for NULL; NULL, reported, for a
 * destroyed one. */
struct buckets *buckets_enter(bp_buckets *arg, const char *call);

/* The pool of a place, or NULL: not made yet. */
static inline bp_pool *place_pool(const struct place *place)
{
    return atomic_load_explicit(&place->pool, memory_order_acquire); /* pairs with place_make */
}

/* Makes it if need be. `i` is the number of a bucket, or TRANSIENT. 0; ECANCELED, ENOMEM or the backing's
 * error. */
int buckets_make_pool(struct buckets *b, uint32_t i, bp_pool **out);

/* The place with that number. */
static inline struct place *buckets_place(struct buckets *b, uint32_t i)
{
    return i == TRANSIENT ? &b->transient : &b->places[i];
}

/* `i` from 0 to `sizes`, the last one for the transient buffers: for loops over all pools. NULL: not made. */
static inline bp_pool *buckets_each(const struct buckets *b, size_t i)
{
    return place_pool(i < b->sizes ? &b->places[i] : &b->transient);
}

/* Where the bucket with a number lies, as the inline paths have it, and back. */
static inline uint32_t bucket_place(uint32_t i)
{
    return (uint32_t)(sizeof(struct bp_buckets) + i * sizeof(struct bp_bucket));
}

static inline uint32_t bucket_number(uint32_t place)
{
    /* Of what is no place some number that no bucket has. */
    return (uint32_t)((place - sizeof(struct bp_buckets)) / sizeof(struct bp_bucket));
}

/* Of the budget: see there. */
void buckets_make_room(struct kept_budget *budget, bp_pool *asker, size_t bytes);
void buckets_emptied(struct kept_budget *budget, bp_pool *pool);

/* Where a size goes. False: nowhere. */
bool buckets_index(const struct buckets *b, size_t size, uint32_t *i);

#endif
