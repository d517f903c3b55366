/* SPDX-License-Identifier: MIT
 * The inside of an arena: what arena.c, arena_data.c and the pool share.
 */
#ifndef ARENA_PRIVATE_H
#define ARENA_PRIVATE_H

#include <bumpool.h>

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* One extent of an arena. The first one's segment lies in struct arena; a spill segment's lies at the
 * base of its own extent. All pointers are multiples of BP_ALIGNMENT.
 *
 *     base      start              touched          end
 *      |header   |blocks ... cursor  |never handed out |
 *
 * While the segment is current, the cursor is the arena's and may be past `touched`. */
struct segment {
    char *start;           /* first usable byte */
    char *touched;         /* no byte from here to end was handed out since acquire or release, except
                              below the cursor. Raised when the cursor goes down. */
    char *end;             /* end of the usable bytes, committed or not */
    char *top;             /* end of the blocks in use; kept only while the segment is not current */
    char *resident;        /* pages from start to here may be resident though `touched` is lower */
    struct segment *older; /* the segment chained before this one; in the spare list, the next spare */
    struct bp_extent extent;
};

enum arena_flag {
    ARENA_CLEANUPS = 1,    /* cleanups are registered */
    ARENA_SPILLED = 2,     /* more segments than the first are in use */
    ARENA_MARKED = 4,      /* a mark was taken since the last reset: `floor` counts */
    ARENA_RESIZED = 8,     /* `footprint` changed since whoever keeps account of it last looked */
    ARENA_WIPE = 16,       /* what is dropped at give_back is overwritten */
    ARENA_FIXED = 32,      /* no spill */
    ARENA_IN_CLEANUP = 64, /* a cleanup is running */
    ARENA_SITED = 128,     /* `site` is set */
    ARENA_UNCOUNTED = 256, /* a watermark or the chain changed since the pool's totals were
                              brought up to date */
    ARENA_CHECKED = 512,   /* `checks` is set, for the life of the arena: limit is kept at the cursor */
    /* the reset of an arena with none of these is one compare and one store */
    ARENA_SLOW_RESET = ARENA_CLEANUPS | ARENA_SPILLED | ARENA_MARKED | ARENA_RESIZED | ARENA_WIPE |
                       ARENA_IN_CLEANUP | ARENA_SITED | ARENA_UNCOUNTED | ARENA_CHECKED
};

/* Sums over the arenas of one pool. Sync: relaxed atomics, changed beside system calls, and in slow resets
 * and rewinds when a watermark has risen. */
struct arena_totals {
    const bp_pool *pool;        /* this and the next for messages. Constant */
    const char *pool_name;
    _Atomic(size_t) reserved;   /* bytes of address space */
    _Atomic(size_t) committed;  /* bytes of these committed */
    _Atomic(size_t) peak_committed;
    _Atomic(size_t) touched;    /* bytes that blocks reached since mint or release */
    _Atomic(size_t) resident;   /* an estimate: touched and prefaulted bytes in whole pages */
    _Atomic(uint64_t) spills;   /* spill extents acquired */
    _Atomic(size_t) high_water; /* the most bytes one arena had in use */
    _Atomic(size_t) high_water_log2[48]; /* arenas by their peak, see bp_pool_stats */
};

/* Sync: everything here belongs to the arena's holder (the thread that has it checked out, or the pool
 * under its lock), except where noted. The first line holds all that checkout, allocation in
 * the first extent, and give_back need. */
struct arena {
    _Alignas(64) struct bp_arena pub; /* arenas of different threads share no cache line */
    uint16_t flags;       /* enum arena_flag. Change by arena_flag and arena_unflag */
    uint16_t state;       /* the pool's. Sync, this and the next: the pool's lock */
    int32_t holder;       /* the pool's: the thread that checked it out, while LIVE */
    _Atomic(void *) home; /* the pool's: the lane slot this arena is homed in, or see STATE_GIVEN_BACK. Sync:
                             written under the pool's lock, read by the holder */
    struct segment first; /* `start`, `touched` and `end` in the first line */
    struct segment *current;
    struct segment *newest; /* head of the chain in use */
    struct segment *spare;  /* retired segments kept for the next unit */
    struct cleanup *cleanups;
    char *floor;       /* blocks below it lie under a mark: never resized in place */
    size_t earlier;    /* bytes used in the chain, without the current segment */
    size_t peak;       /* high water, as of the last time `used` went down */
    size_t recent;     /* the same since arena_take_recent, which is for arenas of pools */
    size_t counted_touched, counted_resident; /* what totals->touched and totals->resident
                                                 hold for this arena */
    _Atomic(const char *) site; /* the pool's: what it is checked out for, or NULL. Sync:
                                   relaxed; written by the holder, read by bp_pool_each_live */
    size_t epoch;      /* resets of the arena while marked: dates marks */
    size_t max_spare;
    size_t spare_bytes; /* committed bytes of the spares */
    size_t footprint;   /* committed bytes of all segments, spares included */
    size_t accounted;   /* the pool's: the footprint it counts. Sync: the pool's lock */
    bp_backing *backing;
    struct arena_totals *totals; /* NULL: not of a pool */
    struct arena *next;          /* the pool's lists. Sync, here and below: the pool's lock */
    union {
        struct arena *prev;
        void *buffer;            /* while checked out, the holder's: a bucket pool's buffer, where that is not
                                    at the start of the first extent */
    };
    uint64_t idle_since;         /* the number of the look of bp_pool_tick that came next, see pool_tick.c */
    struct checks *checks;       /* checks.c's; NULL: not checked. Constant */
};

static_assert(offsetof(struct bp_arena, cursor) == 0, "ABI: inlined into programs");
static_assert(offsetof(struct bp_arena, limit) == sizeof(char *), "ABI: inlined into programs");
static_assert(offsetof(struct bp_arena, quick_end) == 2 * sizeof(char *), "ABI: inlined into programs");
static_assert(offsetof(struct bp_arena, start) == 3 * sizeof(char *), "ABI: inlined into programs");
static_assert(sizeof(struct bp_arena) == 4 * sizeof(char *), "ABI: inlined into programs");
static_assert(sizeof(char *) != 8 || sizeof(struct arena) == 320, "five cache lines in a slab of the pool");

static inline struct arena *arena_of(bp_arena *a)
{
    return (struct arena *)(void *)a;
}

static inline const struct arena *arena_of_const(const bp_arena *a)
{
    return (const struct arena *)(const void *)a;
}

/* No overflow: callers have checked that n is at most PTRDIFF_MAX. */
static inline size_t round_up_16(size_t n)
{
    return (n + (BP_ALIGNMENT - 1)) & ~(size_t)(BP_ALIGNMENT - 1);
}

size_t check_used(const struct arena *a); /* of a checked arena, as if it were not */

static inline size_t arena_used(const struct arena *a)
{
    if (BP_UNLIKELY((a->flags & ARENA_CHECKED) != 0))
        return check_used(a);
    return a->earlier + (size_t)(a->pub.cursor - a->current->start);
}

/* Everything from here to the segment's end reads as zero, apart from blocks in use. */
static inline char *segment_zero_frontier(const struct segment *s)
{
    char *known = (char *)s->extent.base + s->extent.known_zero_from;

    return known > s->touched ? known : s->touched;
}

/* Checks `config` against the rules of bp_arena_config. 0 or EINVAL. */
int arena_config_check(const struct bp_arena_config *config);

/* Turns the zeroed memory at `a` into an empty arena with a first extent whose first `header` bytes are left
 * alone. 0, ENOMEM or the backing's error; nothing is held then. */
int arena_open(struct arena *a, bp_backing *backing, const struct bp_arena_config *config,
               struct arena_totals *totals);

/* Disposes of every extent, without cleanups. */
void arena_close(struct arena *a);

/* `size` bytes, at most PTRDIFF_MAX - BP_ALIGNMENT, in the current segment or a further one, whatever the policy.
 * NULL with errno. */
void *arena_bump(struct arena *a, size_t size, size_t align);

/* `size` bytes at the very end of a segment of their own, or, to be aligned, as close to it as can be. *end
 * is where that is. NULL with errno. */
void *arena_alloc_alone(struct arena *a, size_t size, size_t align, char **end);

/* The segment that `p`, just allocated, lies in. */
struct segment *arena_segment_of(struct arena *a, const char *p);

/* The slow path's allocation in an arena is over: where the next one may be inline. */
static inline void arena_set_limit(struct arena *a, char *limit)
{
    a->pub.limit = (a->flags & ARENA_CHECKED) != 0 ? a->pub.cursor : limit;
}

/* Makes the current segment usable up to `upto`. 0, or ENOMEM and nothing changed. */
int arena_commit(struct arena *a, char *upto);

/* For an empty arena that may spill: makes a further segment with room for `size` bytes in one piece the
 * current one, not committed ahead. 0 or ENOMEM. */
int arena_reserve(struct arena *a, size_t size);

/* Any reset at the end of a unit of work; idempotent. Not to be called from a cleanup. */
void arena_reset_slow(struct arena *a);

/* Takes note of the cursor before it goes down. */
void arena_raise_peak(struct arena *a);

/* Whether all that a reset has to do is to lower the cursor: so in a steady state, where the cursor stays
 * below its mark of earlier units. */
static inline bool arena_resets_by_a_store(const struct arena *a)
{
    return a->pub.cursor <= a->pub.quick_end;
}

/* Sets a flag; one of ARENA_SLOW_RESET makes the next reset a slow one. */
static inline void arena_flag(struct arena *a, enum arena_flag flag)
{
    a->flags = (uint16_t)(a->flags | (unsigned)flag);
    if ((flag & ARENA_SLOW_RESET) != 0)
        a->pub.quick_end = NULL;
}

/* Clears a flag. `quick_end` comes back with the next reset. */
static inline void arena_unflag(struct arena *a, enum arena_flag flag)
{
    a->flags = (uint16_t)(a->flags & ~(unsigned)flag);
}

/* Drops every block. Not to be called from a cleanup. */
static inline void arena_reset(struct arena *a)
{
    if (BP_LIKELY(arena_resets_by_a_store(a)))
        a->pub.cursor = a->first.start;
    else
        arena_reset_slow(a);
}

/* Reports BP_MISUSE_BUSY_ARENA when a cleanup of the arena is running: EBUSY, else 0. */
int arena_check_not_busy(struct arena *a, const bp_pool *pool, const char *call);

/* For an empty arena: overwrites what was handed out of the first extent with zeros. */
void arena_wipe(struct arena *a);

/* For an empty arena: whether arena_release has anything to do. */
bool arena_is_dirty(const struct arena *a);

/* For an empty arena: disposes of the spares and returns the touched pages of the first extent. 0 or the
 * backing's error; *bytes is what was returned, in either case. */
int arena_release(struct arena *a, size_t *bytes);
void arena_drop_spares(struct arena *a);

/* The same, but what a unit of work of `keep` bytes may need stays: the first `keep` bytes of
 * blocks, in whole granules of the backing, and as many spares as fit, by how far blocks reached
 * in them, into what the first extent's dirty bytes leave of `keep`; the dirtiest go first. */
int arena_release_beyond(struct arena *a, size_t keep, size_t *bytes);

/* For an empty arena: the most bytes that were in use since the last call (0: none), and
 * starts anew: the next unit of work that uses any will have a slow reset, which notes it.
 * Exact: a reset is quick only up to what was noted since. */
size_t arena_take_recent(struct arena *a);

/* For an empty arena: the most bytes that arena_release_beyond could return: touched and prefaulted pages
 * beyond `keep`, where the backing can release any, and the committed bytes of the spares. */
size_t arena_excess(const struct arena *a, size_t keep);

/* Makes the first `bytes` usable bytes of an empty arena resident, as far as the extent reaches. 0 or the
 * backing's error. */
int arena_prefault(struct arena *a, size_t bytes);

#endif
