/* SPDX-License-Identifier: MIT
 * Bucket pools: buffers of differing sizes, off the heap, from a ladder of pools.
 *
 *     struct bp_buffer buffer;
 *     if (bp_buckets_get(buckets, 5000, &buffer) == 0) {
 *         ... buffer.data[0, buffer.capacity) ...
 *         bp_buckets_put(buckets, &buffer);
 *     }
 *
 * Each bucket is a pool (pool.h) of arenas of one size; a request goes to the smallest that suffices. So all
 * that holds for pools holds here: newest first, lanes per thread, waiting in order, caps, tick, statistics.
 *
 * Buffers of less than 16 KiB share extents of the backing, 64 KiB to 1 MiB each, which go back to it when
 * none of their buffers is left; so release_idle has nothing of them to release. Larger ones have an extent
 * each, which costs what the backing makes of it: with the reserved backing a reservation each, with huge
 * pages one of these.
 *
 * A size above the largest bucket's gives a transient buffer: one of just that size, whose memory goes back
 * to the backing when it is put back.
 *
 * Thread rule: every function may be called by any number of threads at once, except bp_buckets_destroy.
 *
 * A NULL bucket pool is valid: every buffer is a transient one from malloc, under the same rules.
 *
 * Steady state: no system call, no page fault, no malloc, no lock, for threads that each get what they put (see
 * pool.h). One that needs more buffers than it has takes those that others keep idle before new ones are made; that
 * costs a membarrier(2).
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_BUCKETS_H
#define BUMPOOL_BUCKETS_H

BP_BEGIN_DECLS

typedef struct bp_buckets bp_buckets;

enum bp_buckets_step {
    BP_BUCKETS_DOUBLE = 0, /* each size is twice the one before: at most half of a buffer is waste */
    BP_BUCKETS_QUARTER = 2 /* four sizes for each doubling, below 256 all multiples of 64: at most a fifth */
};

struct bp_buckets_config {
    size_t struct_size;
    const char *name;      /* for messages; copied, cut to 23 bytes; NULL: "buckets". The pool of a bucket is
                              called name/size */
    size_t min_size;       /* bytes of the smallest bucket; rounded up to a power of two, at least 64 */
    size_t max_size;       /* bytes that the largest bucket has at least */
    enum bp_buckets_step step;
    size_t max_kept;       /* idle buffers kept in one bucket; 0: none */
    size_t max_kept_bytes; /* bytes of idle buffers kept in all buckets together; 0: none. Where they are used
                              up, the bucket that keeps most bytes makes room, oldest first */
    size_t max_live;       /* buffers of one bucket that are out or idle at a time, and transient ones
                              that are out; 0: none */
    size_t preallocate;    /* buffers made ahead in every bucket, as by bp_buckets_prewarm; at most max_kept
                              and max_live */
    bool zero_on_put;      /* overwrite a buffer with zeros when it is put back */
    uint64_t retain_ns;    /* as in bp_pool_config, with bp_buckets_tick */
    unsigned flags;        /* of enum bp_pool_flag */
    unsigned checks;       /* of enum bp_check; 0: what bp_check_default says */
};
#define BP_BUCKETS_CONFIG_INIT                                                                       \
    { sizeof(struct bp_buckets_config), NULL, 64, (size_t)1 << 20, BP_BUCKETS_DOUBLE, 64, (size_t)64 << 20, \
      BP_UNLIMITED, 0, false, 2000000000, 0, 0 }

/* Creates a bucket pool over `backing` (NULL: the mmap backing), which must outlive it. EINVAL: unknown
 * struct_size, step or flag, min_size 0 or above max_size, max_size above PTRDIFF_MAX / 2, preallocate above
 * max_kept or max_live (or, in bytes of all buckets, max_kept_bytes), out NULL, a backing without acquire or
 * dispose; ENOMEM or the backing's error, also when the buffers to be made ahead cannot be: nothing is held
 * then. The pool of a bucket (some 14 KiB) is made with its first use. */
BP_API int bp_buckets_create(bp_backing *backing, const struct bp_buckets_config *config,
                             bp_buckets **out) BP_NODISCARD;

/* Ends it, as bp_pool_destroy: EBUSY while buffers are out, and a message names the first few. 0 for NULL. */
BP_API int bp_buckets_destroy(bp_buckets *b);

/* Refuses gets and checkouts from now on, with ECANCELED, and ends every wait with it. Buffers that are out
 * may still be put back. EINVAL for NULL. */
BP_API int bp_buckets_close(bp_buckets *b);

/* ---- fixed-size blocks ---- a bucket pool with one bucket */
struct bp_blocks_config {
    size_t struct_size;
    const char *name;   /* as above; NULL: "blocks" */
    size_t block_size;  /* bytes; rounded up to a multiple of 64 */
    size_t max_blocks;  /* blocks there may be, out and idle */
    size_t preallocate; /* blocks made ahead; EINVAL above max_blocks */
    bool zero_on_put;
    unsigned checks;
};
#define BP_BLOCKS_CONFIG_INIT { sizeof(struct bp_blocks_config), NULL, 4096, BP_UNLIMITED, 0, false, 0 }

/* A pool of blocks, which keeps all that were ever made. bp_buckets_get with a size of 0 gives a block;
 * EAGAIN: all max_blocks are out; a size above block_size is EINVAL: there are no transient blocks. Every
 * other function of this page applies. Errors: as bp_buckets_create; block_size 0. */
BP_API int bp_buckets_create_blocks(bp_backing *backing, const struct bp_blocks_config *config,
                                    bp_buckets **out) BP_NODISCARD;

/* ---- buffers ---- */

/* A buffer that is out. The caller's: may be copied and moved, but not changed, and is put back once. */
struct bp_buffer {
    void *data;      /* the first byte, aligned to 64 (in checked mode to 16); NULL: not out */
    size_t size;     /* bytes asked for */
    size_t capacity; /* bytes that may be used, at least `size`; in checked mode just that, so that what is
                        written beyond is seen */
    bp_arena *arena; /* the library's, this and the next */
    uint32_t bucket;
    bool transient;  /* above the largest bucket: not kept */
};
#define BP_BUFFER_INIT { NULL, 0, 0, NULL, 0, false }

/* A buffer of at least `size` bytes, contents unspecified. EAGAIN: max_live are out; ENOMEM or the backing's
 * error; ECANCELED: closed; EINVAL: out NULL. Cost: a pool's checkout and some arithmetic, inline. */
BP_NODISCARD BP_API int bp_buckets_get_slow(bp_buckets *b, size_t size, struct bp_buffer *out);

/* Puts a buffer back and empties *buffer. Misuse (reported, EINVAL, nothing changed): a buffer that is not
 * out (put back already, or never got), another bucket pool's, one whose data was changed (an inner pointer),
 * one of a destroyed bucket pool. EINVAL without a report: buffer NULL. */
BP_API int bp_buckets_put_slow(bp_buckets *b, struct bp_buffer *buffer);

/* For the inline path, which has checked `arena` out: on its first use since it was made or lately looked at;
 * and when the thread's place in the pool turned out to be taken from it. */
BP_NODISCARD BP_API
int bp_buckets_get_first(bp_buckets *b, size_t size, bp_arena *arena, struct bp_buffer *out);
BP_NODISCARD BP_API
int bp_buckets_get_revoked(bp_buckets *b, size_t size, bp_arena *arena, struct bp_buffer *out);

/* As bp_buckets_get, but waits as bp_pool_checkout_wait does where that says EAGAIN. */
BP_NODISCARD BP_API
int bp_buckets_get_wait(bp_buckets *b, size_t size, int64_t timeout_ns, struct bp_buffer *out);

/* ---- the same with arenas ---- to bump-allocate from a buffer */

/* An arena with at least `size` bytes of room in one piece, as bp_pool_checkout. */
BP_API int bp_buckets_checkout(bp_buckets *b, size_t size, bp_arena **out) BP_NODISCARD;
BP_NODISCARD BP_API
int bp_buckets_checkout_wait(bp_buckets *b, size_t size, int64_t timeout_ns, bp_arena **out);

/* As bp_pool_checkout_async, with all that waiter.h says; bp_waiter_cancel ends it. For a transient arena the
 * room is made by bp_buckets_buffer or as the arena is used, not ahead. */
BP_API int bp_buckets_checkout_async(bp_buckets *b, size_t size, struct bp_waiter *waiter) BP_NODISCARD;

/* Makes a buffer of an arena that was checked out of `b` for `size` bytes and has not been used since: for
 * the function of an async waiter. On failure the arena is still the caller's. ENOMEM; EINVAL; misuse as in
 * put. */
BP_API int bp_buckets_buffer(bp_buckets *b, bp_arena *arena, size_t size, struct bp_buffer *out) BP_NODISCARD;

/* Gives an arena back, as bp_pool_give_back. Cost: finds its bucket, some 2 ns for each. */
BP_API int bp_buckets_give_back(bp_buckets *b, bp_arena *arena);

/* ---- upkeep ---- all buckets in turn, as the function of the same name of pool.h */

/* Makes up to `n` buffers ahead in the bucket for `size`, committed and resident. *added as there. EINVAL:
 * there is no such bucket. */
BP_API int bp_buckets_prewarm(bp_buckets *b, size_t size, size_t n, size_t *added);
BP_API size_t bp_buckets_release_idle(bp_buckets *b);
BP_API int bp_buckets_trim(bp_buckets *b, size_t keep); /* in each bucket */
BP_API int bp_buckets_tick(bp_buckets *b, uint64_t now_ns, uint64_t *next_ns);

/* The pool that serves `size` bytes, for what only a pool has (an eventfd, its figures, its live arenas); not
 * to be closed or destroyed alone. For a size above the largest bucket's the pool of the transient arenas,
 * whose memory is in spill extents. NULL with errno: ENOMEM; EINVAL, where there can be none. */
BP_API bp_pool *bp_buckets_pool(bp_buckets *b, size_t size);

/* ---- figures ---- */

struct bp_buckets_stats {
    uint64_t buckets;       /* how many there are */
    uint64_t gets, puts;    /* checkouts and give_backs among them. A get that finds no memory once it has an
                               arena counts as both */
    uint64_t transients;    /* gets above the largest bucket */
    uint64_t transients_live;
    uint64_t idle, live;    /* now; transient ones are never idle */
    uint64_t idle_bytes;    /* counted against max_kept_bytes now, what transient ones leave among them */
    uint64_t reserved[9];   /* 0 */
};
BP_API int bp_buckets_stats(bp_buckets *b, struct bp_buckets_stats *out);

struct bp_bucket_stats {
    uint64_t size;        /* bytes of a buffer */
    uint64_t hits;        /* gets served by an idle buffer */
    uint64_t misses;      /* gets that made one */
    uint64_t returned;    /* puts */
    uint64_t discarded;   /* buffers unmade, by caps, trim and tick */
    uint64_t depth;       /* idle buffers now, kept for the next get */
    uint64_t live;        /* buffers out now */
    uint64_t refusals;    /* gets that found max_live out */
    uint64_t reserved[8]; /* 0 */
};

/* The figures of bucket number `i`, smallest first. EINVAL: there is no such bucket, or a NULL. */
BP_API int bp_buckets_bucket_stats(bp_buckets *b, size_t i, struct bp_bucket_stats *out);

/* Prints both, buckets never used left out, as bp_pool_print_stats does. */
BP_API int bp_buckets_print_stats(bp_buckets *b, FILE *file, enum bp_stats_format format);

/* Idle buffers, and idle and live ones together, in all buckets; for a pool of blocks what is free, and what
 * there is. */
BP_API size_t bp_buckets_free_count(bp_buckets *b);
BP_API size_t bp_buckets_total_count(bp_buckets *b);

/* ---- the inline paths ---- */

/* What they need; the rest is the library's. The offsets are part of the ABI. */
struct bp_bucket {
    bp_pool *pool;   /* until it is made, and where the inline paths are not to be taken, one in which no
                        thread has a place; never NULL */
    size_t capacity; /* bytes */
};
#define BP_BUCKETS_SMALL 16384
struct bp_buckets {
    struct bp_bucket none; /* for what has no bucket: its pool is never made */
    size_t quick_max;      /* sizes above it and BP_BUCKETS_SMALL take the slow path; 0 in checked mode, and
                              when destroyed */
    size_t quick_min;      /* the size of the first bucket */
    uint32_t step;         /* enum bp_buckets_step */
    uint32_t base;         /* what bp_buckets_find_ has too much */
    uint32_t span;         /* bytes of the buckets that follow; 0 as quick_max */
    uint32_t unused;
    /* Where the buckets for small sizes are, by (size + 63) / 64. Like all such places, in bytes from the
     * start of this struct. */
    uint16_t small[BP_BUCKETS_SMALL / 64 + 8];
    /* struct bp_bucket bucket[]; */
};

#ifndef BP_NO_INLINE

static inline struct bp_bucket *bp_buckets_at_(bp_buckets *b, uint32_t place)
{
    return (struct bp_bucket *)(void *)((char *)b + place);
}

/* The place of the smallest bucket for a size of at most quick_max: from a table where that is small, for the
 * bsr instruction costs some processors 1.5 ns. Else buckets are numbered by the octave of size - 1, then its
 * first bits; that the very first is among these makes one octave too much, which is in `base`. */
static inline uint32_t bp_buckets_find_(const bp_buckets *b, size_t size)
{
    uint32_t log2, i = 0;

    if (BP_LIKELY(size <= BP_BUCKETS_SMALL))
        return b->small[(size + 63) / 64];
    if (size > b->quick_min) {
        log2 = 63 ^ (uint32_t)__builtin_clzll((unsigned long long)size - 1);
        i = (uint32_t)((size - 1) >> (log2 - b->step)) + (log2 << b->step) - b->base;
    }
    return (uint32_t)(sizeof *b + i * sizeof(struct bp_bucket));
}

/* Compilers take these for too large to inline where there is more than one call, which then costs as much as a
 * third of a pair. */
#if defined(BP_POOL_DEFINE) || !(defined(__GNUC__) || defined(__clang__))
#define BP_BUCKETS_INLINE_ BP_INLINE
#else
#define BP_BUCKETS_INLINE_ BP_INLINE __attribute__((always_inline))
#endif

BP_BUCKETS_INLINE_ BP_NODISCARD int bp_buckets_get(bp_buckets *b, size_t size, struct bp_buffer *out)
{
#if !defined(BP_POOL_OUT_OF_LINE) || defined(BP_POOL_DEFINE)
    struct bp_bucket *bucket;
    struct bp_lane_slot *slot;
    struct bp_lane *lane;
    bp_arena *arena;
    bp_pool *pool;
    uint32_t place;
    char *data;
    size_t n;

    if (BP_UNLIKELY(b == NULL))
        return bp_buckets_get_slow(b, size, out);
    if (BP_UNLIKELY(out == NULL || (size > BP_BUCKETS_SMALL && size > b->quick_max)))
        return bp_buckets_get_slow(b, size, out);
    place = bp_buckets_find_(b, size);
    bucket = bp_buckets_at_(b, place);
    pool = __atomic_load_n(&bucket->pool, __ATOMIC_ACQUIRE); /* pairs with where it is made */
    /* From here on as in bp_pool_checkout. */
    lane = (struct bp_lane *)(void *)((char *)pool + bp_lane_offset);
    slot = lane->front;
    if (BP_UNLIKELY(__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != 0))
        return bp_buckets_get_slow(b, size, out);
    arena = __atomic_load_n(&slot->arena, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->state, 1, __ATOMIC_RELEASE);
    __asm__ volatile("" ::: "memory"); /* pairs with thread_barrier in src/lane.c */
    if (BP_UNLIKELY(__atomic_load_n(&lane->revoked, __ATOMIC_ACQUIRE) != 0))
        return bp_buckets_get_revoked(b, size, arena, out);
    n = __atomic_load_n(&lane->checkouts, __ATOMIC_RELAXED);
    __atomic_store_n(&lane->checkouts, n + 1, __ATOMIC_RELAXED);
    /* An arena all of whose room has been used before need not be told: what a reset would note is known, so
     * there is nothing to reset. For others the buffer says that put has to. */
    data = arena->start;
    if (BP_UNLIKELY((uintptr_t)arena->quick_end - (uintptr_t)data != bucket->capacity))
        return bp_buckets_get_first(b, size, arena, out);
    out->data = data;
    out->size = size;
    out->capacity = bucket->capacity;
    out->arena = arena;
    out->bucket = place;
    out->transient = false;
    return 0;
#else
    return bp_buckets_get_slow(b, size, out);
#endif
}

BP_BUCKETS_INLINE_ int bp_buckets_put(bp_buckets *b, struct bp_buffer *buffer)
{
#if !defined(BP_POOL_OUT_OF_LINE) || defined(BP_POOL_DEFINE)
    struct bp_lane_slot *slot;
    struct bp_lane *lane;
    bp_arena *arena;
    bp_pool *pool;
    uint32_t place;
    int rc;

    if (BP_UNLIKELY(b == NULL))
        return bp_buckets_put_slow(b, buffer);
    if (BP_UNLIKELY(buffer == NULL))
        return bp_buckets_put_slow(b, buffer);
    /* Whatever is in `bucket`, this is the place of one, or refused. */
    place = buffer->bucket & ~(uint32_t)(sizeof(struct bp_bucket) - 1);
    if (BP_UNLIKELY(place - (uint32_t)sizeof *b >= b->span))
        return bp_buckets_put_slow(b, buffer);
    /* Pairs with where it is made. */
    pool = __atomic_load_n(&bp_buckets_at_(b, place)->pool, __ATOMIC_ACQUIRE);
    lane = (struct bp_lane *)(void *)((char *)pool + bp_lane_offset);
    slot = lane->front;
    arena = buffer->arena;
    /* As in bp_pool_give_back: `arena` is no wild pointer once it is found in a slot. */
    if (BP_UNLIKELY(__atomic_load_n(&slot->arena, __ATOMIC_RELAXED) != arena ||
                    __atomic_load_n(&slot->state, __ATOMIC_RELAXED) != 1 || buffer->data != arena->start))
        return bp_buckets_put_slow(b, buffer);
    __atomic_store_n(&slot->state, 0, __ATOMIC_RELEASE);
    __asm__ volatile("" ::: "memory"); /* pairs with thread_barrier in src/lane.c */
    if (BP_UNLIKELY(__atomic_load_n(&lane->revoked, __ATOMIC_ACQUIRE) != 0)) {
        rc = bp_pool_give_back_revoked(pool, arena);
        if (rc != 0)
            return rc;
    }
    __builtin_memset(buffer, 0, sizeof *buffer);
    return 0;
#else
    return bp_buckets_put_slow(b, buffer);
#endif
}

#else
BP_API int bp_buckets_get(bp_buckets *b, size_t size, struct bp_buffer *out) BP_NODISCARD;
BP_API int bp_buckets_put(bp_buckets *b, struct bp_buffer *buffer);
#endif

BP_END_DECLS

#endif
