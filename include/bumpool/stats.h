/* SPDX-License-Identifier: MIT
 * What a pool says about itself: figures, and who holds its arenas.
 *
 * Thread rule: any thread at any time, as for all functions of a pool. The figures of one call belong
 * together as far as they change under the pool's lock; checkouts and give_backs that go through a thread's
 * own lane are counted there, so that counting costs no shared cache line, and are summed as they are found.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_STATS_H
#define BUMPOOL_STATS_H

#include <stdio.h>

BP_BEGIN_DECLS

/* Figures since creation, and of now. Bytes are of the arenas' extents, not of the pool's bookkeeping.
 * Members are only ever added in the place of `reserved`. */
struct bp_pool_stats {
    uint64_t checkouts;      /* successful ones */
    uint64_t hits;           /* of these, served without making an arena */
    uint64_t give_backs;     /* successful ones */
    uint64_t mints;          /* arenas made, by checkout and prewarm */
    uint64_t disposals;      /* arenas unmade, by caps, trim and tick */
    uint64_t spills;         /* spill extents acquired */
    uint64_t releases;       /* arenas whose pages release_idle and tick returned */
    uint64_t released_bytes; /* bytes returned by release_idle and tick, cuts included */
    uint64_t refusals;       /* checkouts that found none and were not to wait */
    uint64_t idle, live;     /* arenas now */
    uint64_t peak_arenas;    /* the most idle + live there were */
    uint64_t idle_bytes;     /* committed bytes counted against max_idle_bytes now */
    uint64_t reserved_bytes; /* address space of all arenas now */
    uint64_t committed_bytes; /* of that, committed */
    uint64_t high_water;     /* most bytes that one arena had in use, as of its last reset or rewind */
    uint64_t waits;          /* checkouts that had to queue, blocking and async */
    uint64_t timeouts;       /* of these, ended by their timeout */
    uint64_t cancels;        /* of these, ended by bp_waiter_cancel or bp_pool_close */
    uint64_t wait_ns;        /* ns that the waits, other than those that go on, took in all */
    uint64_t waiting;        /* waiters now */
    uint64_t touched_bytes;  /* bytes of all arenas now that blocks reached since they were minted or
                                released, as of each arena's last reset or rewind */
    uint64_t resident_bytes; /* an estimate of the physical memory behind the arenas: touched and prefaulted
                                bytes in whole pages */
    uint64_t peak_committed_bytes; /* the most committed_bytes there were */
    uint64_t cuts;           /* arenas cut back by bp_pool_tick because lately less was used of them */
    uint64_t reserved[23];   /* 0 */
    uint64_t high_water_log2[48]; /* arenas now by the most bytes that each had in use: element i counts those
                                of 2^i to 2^(i+1) - 1, element 0 also those never used, the last all above */
};

/* Fills *stats. Cost: a lock and a look at every lane. EINVAL: stats NULL. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* the function and the struct share their name, as in C */
#endif
BP_API int bp_pool_stats(bp_pool *pool, struct bp_pool_stats *stats);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

enum bp_stats_format {
    BP_STATS_TEXT = 0, /* lines for people */
    BP_STATS_JSON = 1  /* one object, with the names of struct bp_pool_stats, and the live arenas; RFC 8259 */
};

/* Prints the figures and the live arenas, in the text the first 16 of them, and flushes
 * `file`. 0; EINVAL: file NULL or an unknown format; the error of the write, or EIO, also when
 * the file had one before; ENOMEM. */
BP_API int bp_pool_print_stats(bp_pool *pool, FILE *file, enum bp_stats_format format);

/* One arena that is checked out. */
struct bp_live_arena {
    const bp_arena *arena; /* somebody else's: compare, do not use */
    const char *site;      /* as given to bp_pool_checkout_at, or NULL */
    long thread;           /* the kernel's number (gettid) of the thread that checked it out;
                              0: not known, since it was handed to an async waiter. When that
                              thread has ended, it may be a later one that took its place in the pool */
    size_t stack_depth;    /* in a checked pool: return addresses from where it was checked out, the */
    void *stack[8];        /* innermost first; 0: not known, as after a wait */
};

/* Calls `fn` for every arena that is checked out, until it returns something other than 0,
 * and returns that; else 0. The list is a moment's, taken before the first call: `fn` is
 * called without a lock and may use the pool. EINVAL: fn NULL; ENOMEM: no memory for the
 * list. Cost: a look at every arena of the pool, and a malloc. */
BP_API int bp_pool_each_live(bp_pool *pool, int (*fn)(const struct bp_live_arena *live, void *data), void *data);

BP_END_DECLS

#endif
