/* SPDX-License-Identifier: MIT
 * Pools: hand arenas out, take them back, keep idle ones warm under caps.
 *
 *     bp_arena *a;
 *     if (bp_pool_checkout(pool, &a) == 0) {
 *         ... bp_arena_alloc(a, n) ...
 *         bp_pool_give_back(pool, a);
 *     }
 *
 * Thread rule: every function may be called by any number of threads at once, except bp_pool_destroy,
 * during and after which nobody else may use the pool. An arena may be given back by another thread than
 * the one that checked it out.
 *
 * Misuse (see misuse.h) is checked before anything is changed: an arena given back twice, to another pool
 * or no arena at all, and any call with a destroyed pool. What cannot be seen is an arena given back by a
 * stale pointer while somebody else has it checked out again, or by two threads in the same few ns.
 *
 * A NULL pool is valid: checkout makes a fresh arena of the default configuration with malloc and
 * give_back frees it, under the same rules. It keeps nothing idle.
 *
 * fork: a child of a process in which no other thread was inside a pool call, or ending, may go on with its copy of
 * the pool and of the arenas; with the stock backings over private memory the two share nothing. Arenas that
 * other threads had checked out stay live in the child.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_POOL_H
#define BUMPOOL_POOL_H

BP_BEGIN_DECLS

struct bp_pool_config {
    size_t struct_size;
    const char *name;                  /* for messages; copied, cut to 31 bytes; NULL: "pool" */
    size_t arena_size;                 /* as bp_arena_config.size, for every arena of the pool */
    enum bp_arena_policy arena_policy; /* as bp_arena_config.policy */
    size_t max_spare;                  /* as bp_arena_config.max_spare, per arena */
    size_t max_idle;                   /* arenas kept idle, over all threads; 0: none */
    size_t max_idle_bytes;             /* committed bytes of idle arenas kept; 0: none */
    size_t max_arenas;                 /* idle and live arenas together; 0: checkout always says EAGAIN */
    size_t prefault;                   /* bytes of each arena that prewarm makes resident */
    bool zero_on_give_back;            /* overwrite what a unit of work touched before the arena can be had
                                          by the next one */
};
#define BP_POOL_CONFIG_INIT                                                                              \
    { sizeof(struct bp_pool_config), NULL, BP_ARENA_SIZE_DEFAULT, BP_ARENA_SPILL, BP_ARENA_SPARE_DEFAULT, \
      64, (size_t)64 << 20, BP_UNLIMITED, 0, false }

/* Creates a pool over `backing` (NULL: the mmap backing), which must outlive it. Mints nothing yet.
 * EINVAL: unknown struct_size or policy, arena_size 0 or above PTRDIFF_MAX, out NULL, a backing without
 * acquire or dispose; ENOMEM. */
BP_API int bp_pool_create(bp_backing *backing, const struct bp_pool_config *config, bp_pool **out) BP_NODISCARD;

/* Disposes of the idle arenas and ends the pool, whose struct (some 9 KiB) is kept for the next
 * bp_pool_create. EBUSY while arenas are live: nothing is freed. 0 for NULL. */
BP_API int bp_pool_destroy(bp_pool *pool);

/* Hands out an empty arena: the one that this thread gave back last, else the newest idle one, last of all
 * those that other threads gave back last, else a new one. Never blocks. EAGAIN: max_arenas
 * exist and none is idle, or those that are are just then in the hands of release_idle, trim or prewarm;
 * ENOMEM or the backing's error: no idle arena and none could be made; EINVAL: out NULL. Cost: a thread
 * that reuses its own arena takes no lock and no atomic read-modify-write. */
BP_API int bp_pool_checkout(bp_pool *pool, bp_arena **out) BP_NODISCARD;

/* Takes an arena back and resets it; it is the caller's no more, whatever the caps say. At max_idle the
 * oldest idle arena makes room; an arena over max_idle_bytes loses its spares first, and is disposed of if
 * that is not enough. EINVAL and EBUSY for misuse only;
 * EINVAL without a report for NULL. Cost as checkout. */
BP_API int bp_pool_give_back(bp_pool *pool, bp_arena *arena);

/* Mints up to `n` idle arenas ahead of need, fewer where a cap comes first (that is no error), each with
 * the first `prefault` bytes resident. *added (may be NULL) is the number added, on error too: ENOMEM or
 * the backing's error stops the work, what was added stays. A backing that cannot populate is no error. The
 * NULL pool keeps nothing: 0, and none added. */
BP_API int bp_pool_prewarm(bp_pool *pool, size_t n, size_t *added);

/* Arenas in the pool / checked out. A moment's value when other threads are at work. Cost: a lock. */
BP_API size_t bp_pool_idle_count(bp_pool *pool);
BP_API size_t bp_pool_live_count(bp_pool *pool);

/* Returns the physical pages that idle arenas touched to the system and keeps the arenas; spare spill
 * extents are disposed of, and counted. Arenas that nobody touched since cost nothing. Returns the bytes
 * released. The arenas under work (16 at a time) are not to be had meanwhile. */
BP_API size_t bp_pool_release_idle(bp_pool *pool);

/* Disposes of idle arenas, oldest first, until at most `keep` are left. 0; EINVAL for a destroyed pool. */
BP_API int bp_pool_trim(bp_pool *pool, size_t keep);

/* Figures since creation, and of now. Bytes are of the arenas' extents, not of the pool's bookkeeping.
 * Members are only ever added in the place of `reserved`. */
struct bp_pool_stats {
    uint64_t checkouts;      /* successful ones */
    uint64_t hits;           /* of these, served by an idle arena */
    uint64_t give_backs;     /* successful ones */
    uint64_t mints;          /* arenas made, by checkout and prewarm */
    uint64_t disposals;      /* arenas unmade, by caps, trim and destroy */
    uint64_t spills;         /* spill extents acquired */
    uint64_t releases;       /* arenas whose pages release_idle returned */
    uint64_t released_bytes; /* pages returned by release_idle */
    uint64_t refusals;       /* checkouts that got EAGAIN */
    uint64_t idle, live;     /* arenas now */
    uint64_t peak_arenas;    /* the most idle + live there were */
    uint64_t idle_bytes;     /* committed bytes counted against max_idle_bytes now */
    uint64_t reserved_bytes; /* address space of all arenas now */
    uint64_t committed_bytes; /* of that, committed */
    uint64_t high_water;     /* most bytes that one arena had in use, as of its last reset or rewind */
    uint64_t reserved[48];   /* 0 */
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

/* ---- scope ---- for compilers with the cleanup attribute */
#if defined(__GNUC__) || defined(__clang__)
struct bp_pool_scope_guard {
    bp_pool *pool;
    bp_arena *arena;
};
BP_API struct bp_pool_scope_guard bp_pool_scope_begin(bp_pool *pool);
BP_API void bp_pool_scope_end(struct bp_pool_scope_guard *guard);

/* Declares `bp_arena *const name`, checked out of `pool`, or NULL with errno set to checkout's error, and
 * gives it back when control leaves the enclosing block by any way but longjmp and exit. */
#define BP_POOL_SCOPE(name, pool)                                                     \
    __attribute__((cleanup(bp_pool_scope_end))) struct bp_pool_scope_guard name##_guard = \
        bp_pool_scope_begin(pool);                                                    \
    bp_arena *const name = name##_guard.arena
#endif

BP_END_DECLS

#endif
