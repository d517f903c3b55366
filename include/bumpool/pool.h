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
 * fork, at any moment and in any thread: the child may go on with its copy of every pool, and with the arenas
 * that the forking thread had checked out; with the stock backings over private memory it shares nothing with
 * the parent. Arenas that other threads held, or were moving in or out, stay live in the child for ever, so
 * that there bp_pool_destroy says EBUSY. Threads that waited are in the parent alone; an async waiter stays
 * queued in both. A pool's reaper, eventfd and timerfd: see there. fork itself waits for pool calls of other
 * threads that hold a pool's lock, which is never for long. _Fork and vfork give none of this. Locks of a
 * backing are its own: of the stock ones `buffer` and `faulty` have one, which another thread may have held in
 * that very moment, so that the child should mint no arena over them. Do not fork inside an op of a backing.
 *
 * A process whose kernel comes to refuse membarrier(2) after its first pool was made (a seccomp filter set
 * late) can no longer take idle arenas out of the lanes of threads that are not at work in the pool: waiters,
 * trim and close do without them.
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
    uint64_t retain_ns;                /* ns for which bp_pool_tick and the reaper retain what was
                                          not needed; 0: not at all; BP_FOREVER: they do nothing */
    unsigned flags;                    /* of enum bp_pool_flag */
    unsigned checks;                   /* of enum bp_check (check.h); 0: what bp_check_default says */
};
#define BP_FOREVER UINT64_MAX
enum bp_pool_flag {
    BP_POOL_REAPER = 1 /* a thread of the library calls bp_pool_tick when it is due, and releases
                          all idle arenas when the system runs out of memory (PSI, where it may
                          be read). One thread serves all such pools of the process, and sleeps
                          while none needs it. It blocks all signals. In a child of fork it
                          starts anew with the pool's next mint, or new pool. */
};
#define BP_POOL_CONFIG_INIT                                                                              \
    { sizeof(struct bp_pool_config), NULL, BP_ARENA_SIZE_DEFAULT, BP_ARENA_SPILL, BP_ARENA_SPARE_DEFAULT, \
      64, (size_t)64 << 20, BP_UNLIMITED, 0, false, 2000000000, 0, 0 }

/* Creates a pool over `backing` (NULL: the mmap backing), which must outlive it. Mints nothing yet.
 * EINVAL: unknown struct_size, policy or flag, arena_size 0 or above PTRDIFF_MAX, out NULL, a backing without
 * acquire or dispose; ENOMEM; EAGAIN, EPERM, EMFILE or ENFILE: no reaper thread could be made. */
BP_API int bp_pool_create(bp_backing *backing, const struct bp_pool_config *config, bp_pool **out) BP_NODISCARD;

/* Disposes of the idle arenas and ends the pool, whose struct (some 14 KiB) is kept for the next
 * bp_pool_create. EBUSY while arenas are live or somebody waits: nothing is freed, and a message
 * names the first few live arenas (BP_MISUSE_LIVE_ARENAS, which does not abort). 0 for NULL. */
BP_API int bp_pool_destroy(bp_pool *pool);

/* Refuses checkouts and prewarm from now on, with ECANCELED, and ends every wait with
 * ECANCELED. Arenas may still be given back. Again is harmless. EINVAL for NULL. */
BP_API int bp_pool_close(bp_pool *pool);

/* ---- checkout and give_back ----
 *
 * bp_pool_checkout and bp_pool_give_back are inline where the compiler allows it, since a call into
 * a shared library costs more than what they do; the library exports a copy of both (see BP_INLINE).
 * Not under ThreadSanitizer, which cannot see the barrier that the inline path relies on.
 *
 * bp_pool_checkout hands out an empty arena: the one that this thread gave back last, else the
 * newest idle one, last of all those that other threads gave back last, else a new one. Never
 * blocks, and does not overtake waiters. EAGAIN: max_arenas exist and none is idle, or those
 * that are are just then in the hands of release_idle, tick, trim or prewarm; ENOMEM or the
 * backing's error: no idle arena and none could be made; ECANCELED: the pool is closed; EINVAL:
 * out NULL. Cost: a thread that reuses its own arenas (up to 32 at a time) takes no lock and no
 * atomic read-modify-write, some 3 ns for both calls. bp_pool_checkout_wait is in waiter.h.
 *
 * bp_pool_give_back takes an arena back and resets it; it is the caller's no more, whatever the caps say.
 * At max_idle the oldest idle arena makes room, unless all of them are other threads' newest; an arena over
 * max_idle_bytes loses its spares first, and is disposed of if that is not enough. EINVAL and EBUSY for
 * misuse only; EINVAL without a report for NULL. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BP_POOL_OUT_OF_LINE
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(BP_NO_INLINE) || !(defined(__GNUC__) || defined(__clang__))
#define BP_POOL_OUT_OF_LINE
#endif

/* The slow paths of the two; call those. */
BP_API int bp_pool_checkout_slow(bp_pool *pool, bp_arena **out) BP_NODISCARD;
BP_API int bp_pool_checkout_revoked(bp_pool *pool, bp_arena *arena, bp_arena **out) BP_NODISCARD;
BP_API int bp_pool_give_back_slow(bp_pool *pool, bp_arena *arena);
BP_API int bp_pool_give_back_revoked(bp_pool *pool, bp_arena *arena);

#if defined(__GNUC__) || defined(__clang__)
/* The library's: where the calling thread's place lies in every pool, in bytes from its start. */
BP_API extern __thread size_t bp_lane_offset __attribute__((tls_model("initial-exec")));
#endif

#if !defined(BP_POOL_OUT_OF_LINE) || defined(BP_POOL_DEFINE)

/* The library's: the calling thread's place in every pool (src/lane.h). The offsets are part of the ABI. */
struct bp_lane_slot {
    bp_arena *arena;
    uint32_t state; /* 0: idle, 1: out, 2: there is nothing here */
} __attribute__((may_alias));
struct bp_lane {
    struct bp_lane_slot *front, *other;
    size_t checkouts;
    uint32_t revoked;
} __attribute__((may_alias));

BP_INLINE BP_NODISCARD int bp_pool_checkout(bp_pool *pool, bp_arena **out)
{
    struct bp_lane *lane;
    struct bp_lane_slot *slot;
    bp_arena *arena;

    if (BP_UNLIKELY(pool == NULL || out == NULL))
        return bp_pool_checkout_slow(pool, out);
    lane = (struct bp_lane *)(void *)((char *)pool + bp_lane_offset);
    slot = lane->front;
    if (BP_UNLIKELY(__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != 0))
        return bp_pool_checkout_slow(pool, out);
    arena = __atomic_load_n(&slot->arena, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->state, 1, __ATOMIC_RELEASE);
    __asm__ volatile("" ::: "memory"); /* pairs with thread_barrier in src/lane.c */
    if (BP_UNLIKELY(__atomic_load_n(&lane->revoked, __ATOMIC_ACQUIRE) != 0))
        return bp_pool_checkout_revoked(pool, arena, out);
    __atomic_store_n(&lane->checkouts, __atomic_load_n(&lane->checkouts, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    *out = arena;
    return 0;
}

BP_INLINE int bp_pool_give_back(bp_pool *pool, bp_arena *arena)
{
    struct bp_lane *lane;
    struct bp_lane_slot *slot;

    if (BP_UNLIKELY(pool == NULL))
        return bp_pool_give_back_slow(pool, arena);
    lane = (struct bp_lane *)(void *)((char *)pool + bp_lane_offset);
    slot = lane->front;
    /* Only the pool's own arenas get into a slot, so `arena` is no wild pointer once it is found there. */
    if (BP_UNLIKELY(__atomic_load_n(&slot->arena, __ATOMIC_RELAXED) != arena ||
                    __atomic_load_n(&slot->state, __ATOMIC_RELAXED) != 1 || arena->cursor > arena->quick_end))
        return bp_pool_give_back_slow(pool, arena);
    arena->cursor = arena->start;
    __atomic_store_n(&slot->state, 0, __ATOMIC_RELEASE);
    __asm__ volatile("" ::: "memory"); /* pairs with thread_barrier in src/lane.c */
    if (BP_UNLIKELY(__atomic_load_n(&lane->revoked, __ATOMIC_ACQUIRE) != 0))
        return bp_pool_give_back_revoked(pool, arena);
    return 0;
}

#else
BP_API int bp_pool_checkout(bp_pool *pool, bp_arena **out) BP_NODISCARD;
BP_API int bp_pool_give_back(bp_pool *pool, bp_arena *arena);
#endif

/* The same for a caller who knows about how many bytes it will use: of the newest few idle
 * arenas, the one whose pages in use so far suit that best, so that large units of work meet
 * again the arenas that large units have used and the others stay small. A hint: the arena
 * may be any. Cost: a lock, unless the arena that this thread gave back last suits. */
BP_API int bp_pool_checkout_sized(bp_pool *pool, size_t bytes, bp_arena **out) BP_NODISCARD;

/* The same as bp_pool_checkout, with a name for what the arena is used for, shown by
 * bp_pool_each_live. `site` must stay valid until the arena is given back; a string literal
 * does. BP_POOL_CHECKOUT names its own line. Cost: a few ns more. */
BP_API int bp_pool_checkout_at(bp_pool *pool, const char *site, bp_arena **out) BP_NODISCARD;
#define BP_POOL_CHECKOUT(pool, out) bp_pool_checkout_at((pool), BP_POOL_SITE_(__FILE__, __LINE__), (out))
#define BP_POOL_SITE_(file, line) BP_POOL_SITE__(file, line)
#define BP_POOL_SITE__(file, line) file ":" #line

/* Mints up to `n` idle arenas ahead of need, fewer where a cap comes first (that is no error), each
 * with the first `prefault` bytes resident. *added (may be NULL) is the number added, on error too:
 * ENOMEM or the backing's error stops the work, what was added stays. ECANCELED: the pool is closed.
 * A backing that cannot populate is no error. The NULL pool keeps nothing: 0, and none added. */
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

/* ---- giving memory back unasked ----
 *
 * What the pool retains follows demand. An arena that was not needed for retain_ns has its pages released,
 * and is disposed of when it was not needed for eight times as long. Since idle arenas are reused newest
 * first, those in excess of the most that were live at a time are the ones not needed. An arena that
 * touched far more than units of work have used lately (the 95th percentile over the recent periods) is
 * cut back to that: a spike ages out, and a steady load never meets a page fault on its account.
 *
 * This happens in bp_pool_tick, and in nothing else. Call it, or have it called: by an event loop with
 * bp_pool_timerfd, or by the reaper (BP_POOL_REAPER). */

/* Does what is due at `now_ns`, a time in ns of any clock that does not go back, CLOCK_MONOTONIC where
 * there is a reaper or a timerfd. Oldest first and off the lock, at most 64 arenas or about 64 MiB in
 * one call, so that there is no cliff. *next_ns (may be NULL) is when to call again: at most a quarter
 * of retain_ns (or 1 ms) away while the pool is in use, later the longer it is not, UINT64_MAX when
 * the pool holds no arenas. Earlier calls do nothing and cost a lock. An arena is idle, for this,
 * since the first call that was due after it came back. 0; EINVAL for a destroyed pool. */
BP_API int bp_pool_tick(bp_pool *pool, uint64_t now_ns, uint64_t *next_ns);

/* *fd: a timerfd(2) that becomes readable when bp_pool_tick is due; the tick sets it anew, there
 * is no need to read it. It belongs to the pool, which closes it when destroyed: every call gives
 * the same one. CLOCK_MONOTONIC, non-blocking, close-on-exec. In a child of fork it is closed,
 * and a call there makes another. EINVAL: fd NULL or pool NULL; EMFILE, ENFILE, ENOMEM. */
BP_API int bp_pool_timerfd(bp_pool *pool, int *fd);

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
