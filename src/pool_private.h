/* SPDX-License-Identifier: MIT
 * The inside of a pool: what pool.c, pool_idle.c, pool_stats.c and lane.c share.
 */
#ifndef POOL_PRIVATE_H
#define POOL_PRIVATE_H

#include "arena_private.h"
#include "thread.h"

#include <pthread.h>

enum arena_state {
    STATE_VACANT = 0, /* no arena, just its place in a slab; in `vacant`, linked by next */
    STATE_LIVE,       /* checked out */
    STATE_HOMED,      /* in the care of a lane, whose slot says whether idle or checked out */
    STATE_IDLE,       /* in `warm` or `cold` */
    STATE_GIVEN_BACK, /* on its way in: being reset, by the thread whose thread_offset is its home */
    STATE_IN_TRANSIT, /* being made or unmade */
    STATE_SERVICED    /* idle, taken out for prewarm, release or trim */
};

/* Idle arenas, newest at the head. Sync: the pool's lock. */
struct arena_list {
    struct arena *head, *tail;
    size_t count;
};

/* The two ways of storing to a lane. A pool keeps to one; the slot of the other stays closed. */
enum lane_way {
    LANE_PLAIN, /* plain stores; whoever else looks calls thread_barrier first */
    LANE_SEQ_CST
};

/* One thread's place in a pool: see lane.h. */
struct lane {
    _Alignas(THREAD_STRIDE) _Atomic(uintptr_t) slot[2]; /* by lane_way. lane_closed(), or the homed arena, + LANE_OUT.
                                 Sync: written by the owner only (release); pairs with lane_finish */
    _Atomic(unsigned) revoked;   /* somebody is taking, or took, the lane's arena away. Sync: written under
                                    the pool's lock; pairs with lane_store */
    unsigned cooldown;           /* slow checkouts to pass before the owner homes an arena again. Sync, here
                                    and below but for the counter: the pool's lock */
    struct arena *homed;
    uintptr_t seen;              /* what the slot held when the arena was taken away */
    uint64_t ticket;             /* of the drain that revoked it last */
    _Atomic(uint64_t) checkouts; /* through the slot. Sync: written by the owner; relaxed; pairs with stats */
};
static_assert(sizeof(struct lane) == THREAD_STRIDE, "see thread_offset");

enum { LANE_OUT = 1 };

/* What the slot of a lane with nothing homed says: that the lane itself is out. Any constant would match some
 * wild pointer given back, whose `home` would then be read; this one leads to `homed`, which is no lane. */
static inline uintptr_t lane_closed(const struct lane *lane)
{
    return (uintptr_t)lane + LANE_OUT;
}
static_assert(offsetof(struct lane, homed) == offsetof(struct arena, home), "see lane_closed");

/* Arenas live in slabs that never move or shrink while the pool lives: number k holds SLAB_FIRST << k of
 * them. So a pointer is checked against the pool before it is followed, and a given-back arena that was
 * disposed of can still be told. */
enum { SLAB_FIRST = 64, SLABS = 32 };

#define POOL_ALIVE ((uintptr_t)0x62756d70)
#define POOL_DEAD ((uintptr_t)0x64656164)

struct bp_pool {
    /* Read-mostly. */
    _Atomic(uintptr_t) magic; /* relaxed: a use that races with destroy is the program's error, seen or not */
    enum lane_way way;
    _Atomic(unsigned) slab_count;          /* release; pairs with the acquire in pool_find */
    struct arena *slabs[SLABS];            /* written before slab_count counts it, constant after */
    bp_backing *backing;
    struct bp_arena_config arena_config;
    size_t max_idle, max_idle_bytes, max_arenas, prefault;
    bool wipe;
    char name[32];
    bp_pool *next_dead; /* Sync: dead_lock of pool.c */

    _Alignas(64) pthread_mutex_t lock;
    /* Sync: the lock, down to the lanes. */
    struct arena_list warm;  /* idle arenas given back since the last release */
    struct arena_list cold;  /* idle arenas released, or never used: all older than the warm ones */
    struct arena *vacant;
    size_t total;            /* arenas in every state but VACANT */
    size_t in_transit;       /* of these, IN_TRANSIT */
    size_t serviced;         /* of these, SERVICED */
    size_t kept;             /* of these, counted against max_idle: IDLE, HOMED and SERVICED */
    size_t kept_bytes;       /* the same in committed bytes, against max_idle_bytes */
    size_t peak;             /* most arenas there were */
    unsigned lanes_used;     /* lanes above have never been used */
    uint64_t tickets;
    uint64_t slow_checkouts, misses, refusals, mints, disposals, releases, released_bytes;

    _Alignas(64) struct arena_totals totals;
    struct lane lanes[THREAD_IDS + 1]; /* the last is for threads without a number, and always closed */
};

/* The arena at `p` if that is a place in one of the pool's slabs, whatever its state; NULL else. Does not
 * follow `p`. Newest slab first: it is as large as all the others together. */
static inline struct arena *pool_find(bp_pool *pool, const bp_arena *p)
{
    unsigned k = atomic_load_explicit(&pool->slab_count, memory_order_acquire);

    while (k-- != 0) {
        uintptr_t offset = (uintptr_t)p - (uintptr_t)pool->slabs[k];

        if (offset < (sizeof(struct arena) * SLAB_FIRST) << k)
            return offset % sizeof(struct arena) == 0 ? (struct arena *)((char *)pool->slabs[k] + offset) : NULL;
    }
    return NULL;
}

/* The pool behind the argument of a public call: the pool of NULL callers for NULL; NULL, reported, for a
 * destroyed one. */
bp_pool *pool_enter(bp_pool *pool, const char *call);

/* ---- all below: the lock is held, unless said otherwise ---- */

void list_push(struct arena_list *list, struct arena *a);        /* newest */
void list_push_oldest(struct arena_list *list, struct arena *a);
struct arena *list_pop(struct arena_list *list);                 /* newest, or NULL */
struct arena *list_pop_oldest(struct arena_list *list);

/* Counts `a` against the caps if it fits. Goes with keep_drop. */
bool keep_try(bp_pool *pool, struct arena *a);
void keep_drop(bp_pool *pool, struct arena *a);

/* Puts a counted arena into the idle list, as the newest. */
void pool_put_idle(bp_pool *pool, struct arena *a);

/* Makes an empty arena, LIVE and not counted; drops the lock meanwhile. EAGAIN at max_arenas, ENOMEM, or the
 * backing's error. */
int pool_mint(bp_pool *pool, struct arena **out);

/* Unmakes empty arenas, linked by next and not counted; drops the lock meanwhile. */
void pool_dispose(bp_pool *pool, struct arena *chain);

/* Idle arenas, wherever they are; a moment's value while lanes are in use. */
size_t pool_idle(bp_pool *pool);

#endif
