/* SPDX-License-Identifier: MIT
 * The inside of a pool: what lane.c, waiter.c and pool*.c share.
 */
#ifndef POOL_PRIVATE_H
#define POOL_PRIVATE_H

#include "arena_private.h"
#include "misuse_private.h"
#include "thread.h"

#include <pthread.h>

enum arena_state {
    STATE_VACANT = 0, /* no arena, just its place in a slab; in `vacant`, linked by next */
    STATE_LIVE,       /* checked out */
    STATE_HOMED,      /* in the care of a lane, whose slot says whether idle or checked out */
    STATE_IDLE,       /* in `warm` */
    STATE_COLD,       /* in `cold` */
    STATE_GIVEN_BACK, /* on its way in: being reset, by the thread whose bp_lane_offset is its home */
    STATE_IN_TRANSIT, /* being made or unmade */
    STATE_SERVICED    /* idle, taken out for prewarm, release or tick */
};

/* Idle arenas, newest at the head. Sync: the pool's lock. */
struct arena_list {
    struct arena *head, *tail;
    size_t count;
    enum arena_state state; /* of what is in it */
};

/* The two ways of storing to a lane. A pool keeps to one; the slot of the other stays closed. */
enum lane_way {
    LANE_PLAIN, /* plain stores; whoever else looks calls thread_barrier first */
    LANE_SEQ_CST
};

enum { LANE_SLOTS = 32 };

enum slot_state { SLOT_IDLE, SLOT_OUT, SLOT_CLOSED };
enum { LANE_IDLE = 1 << SLOT_IDLE, LANE_OUT = 1 << SLOT_OUT };

/* Bytes that several pools may keep idle together: those of a bucket pool. */
struct kept_budget {
    _Atomic(size_t) used; /* Sync: relaxed; a number and nothing else */
    size_t max;           /* BP_UNLIMITED: not counted. Constant, this and below */
    /* Called without a lock, for `bytes` of at most `max`: `asker`, one of the pools, would keep an arena of
     * that size. Has others go. */
    void (*make_room)(struct kept_budget *budget, bp_pool *asker, size_t bytes);
    /* The same. The pool has no arenas any more. */
    void (*emptied)(struct kept_budget *budget, bp_pool *pool);
};

/* A place for an arena in a lane. */
struct lane_slot {
    _Atomic(struct arena *) arena; /* homed here, or slot_nobody: vacant. Sync: written under the pool's
                                      lock; relaxed; pairs with the owner's slot_arena */
    _Atomic(uint32_t) state; /* enum slot_state, of the arena. Sync: written by the owner
                                only; pairs with take_wanted */
    uint8_t seen;            /* what the state was when the arena was taken away. Sync: the pool's lock */
    uint8_t index;           /* this and the next: constant */
    uint16_t lane;
};

struct lane_deep {
    _Alignas(64) struct lane_slot slots[LANE_SLOTS];
    uint8_t stack[LANE_SLOTS]; /* the owner's: idle slots under the front, newest last */
    unsigned slab;             /* the owner's: see pool_find */
};

/* One thread's places in a pool: see lane.h. */
struct lane {
    _Alignas(64) struct lane_slot *front[2]; /* by lane_way: the slot used last, or lane_closed_slot. This and
                                 `covered`: the owner's */
    _Atomic(size_t) checkouts;   /* without the lock. Sync: written by the owner; relaxed; pairs with stats */
    _Atomic(uint32_t) revoked;   /* somebody is taking, or took, arenas away. Sync: written
                                    under the pool's lock; pairs with lane_store */
    uint32_t covered;            /* slots in the stack */
    struct lane_deep *deep;      /* NULL until the owner's first slow call. Sync: as `homed` for others */
    uint64_t ticket;             /* of the drain that revoked it first since it was settled. Sync, here and
                                    below: the pool's lock */
    uint32_t homed;              /* slots that are not vacant, as bits */
    uint16_t wanted;             /* what the revoker is to take: LANE_IDLE, LANE_OUT */
    uint16_t cooldown;           /* slow checkouts to pass before the owner homes an arena again */
};
static_assert(sizeof(struct lane) == 64, "a cache line");
/* In programs (pool.h) these are struct bp_lane and bp_lane_slot. */
static_assert(offsetof(struct lane, checkouts) == 2 * sizeof(void *), "ABI: inlined into programs");
static_assert(offsetof(struct lane, revoked) == 3 * sizeof(void *), "ABI: inlined into programs");
static_assert(offsetof(struct lane_slot, state) == sizeof(void *), "ABI: inlined into programs");
static_assert(SLOT_IDLE == 0 && SLOT_OUT == 1 && LANE_PLAIN == 0, "ABI: inlined into programs");

/* Arenas live in slabs that never move or shrink while the pool lives: number k holds SLAB_FIRST << k of
 * them. So a pointer is checked against the pool before it is followed, and a given-back arena that was
 * disposed of can still be told. */
enum { SLAB_FIRST = 8, SLABS = 32, FIRST_DEEPS = 2 };

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
    uint64_t retain_ns;
    unsigned checks;                      /* enum bp_check; with any, lanes stay closed */
    bool wipe;
    bool reaped;                          /* BP_POOL_REAPER */
    struct kept_budget *budget;           /* shared with other pools, or NULL */
    char name[32];
    struct bp_pool *next_known, *previous_known; /* all pools, dead or alive. Sync, both:
                                                    known_lock of pool_life.c */

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
    uint64_t slow_checkouts, misses, refusals, mints, disposals, releases, released_bytes, cuts;

    /* waiter.c */
    struct bp_waiter *first_waiter, *last_waiter;
    size_t waiting;          /* waiters in the queue */
    uint64_t waits, timeouts, cancels, wait_ns;
    _Atomic(uint64_t) usual_wait_ns; /* a moving average, see waiter.c. Written under the lock; relaxed */
    int event_fd;            /* -1: none */
    bool armed;              /* event_fd is not readable and becomes so when an arena can be had */
    bool closed;

    /* pool_tick.c */
    uint64_t tick_ns;        /* the latest time that bp_pool_tick was told */
    uint64_t next_tick_ns;
    unsigned quiet_ticks;    /* how many in a row had nothing to do, up to QUIET_MAX */
    uint32_t demand[48];     /* recent high-water marks by log2, see pool_tick.c */
    int tick_fd;             /* -1: none */
    uint64_t timer_ns;       /* what that is to be set to */
    uint64_t looks;          /* at the idle arenas, by ticks; */
    uint64_t look_ns[40];    /* when the latest ones were */
    bool cutting;            /* the last tick found more to cut back than it may */
    bool asleep;             /* no tick is due until the next mint, */
    bool wake_tick;          /* which sets this: pool_leave is to call pool_wake_tick */

    /* reaper.c. Sync: reaper_lock */
    struct bp_pool *next_reaped;
    uint64_t reap_ns;        /* when its tick is due */

    _Alignas(64) struct arena_totals totals;

    /* What a pair in the first threads touches, close together: a thread that uses many pools needs one page
     * of each and not three. */
    struct arena first_slab[SLAB_FIRST];      /* slabs[0]; the last place is used first */
    struct lane_deep first_deeps[FIRST_DEEPS]; /* of the lanes of the first threads, last first */
    struct lane lanes[THREAD_IDS + 1];        /* see bp_lane_offset. The last is for threads
                                                 without a number, and always closed */
};

/* The place in slab number k that lies at `p`, or NULL. */
static inline struct arena *slab_find(const bp_pool *pool, unsigned k, const bp_arena *p)
{
    uintptr_t offset = (uintptr_t)p - (uintptr_t)pool->slabs[k];

    if (offset >= (sizeof(struct arena) * SLAB_FIRST) << k || offset % sizeof(struct arena) != 0)
        return NULL;
    return (struct arena *)((char *)pool->slabs[k] + offset);
}

/* The arena at `p` if that is a place in one of the pool's slabs, whatever its state; NULL
 * else. Does not follow `p`. *slab is where to look first, and where it was found: one that
 * is given back most often lies where the one before did. */
static inline struct arena *pool_find(bp_pool *pool, const bp_arena *p, unsigned *slab)
{
    unsigned k = atomic_load_explicit(&pool->slab_count, memory_order_acquire);
    struct arena *a = *slab < k ? slab_find(pool, *slab, p) : NULL;

    while (a == NULL && k-- != 0) {
        a = slab_find(pool, k, p);
        if (a != NULL)
            *slab = k;
    }
    return a;
}

/* The pool behind the argument of a public call: the pool of NULL callers for NULL; NULL, reported, for a
 * destroyed one. */
bp_pool *pool_enter(bp_pool *pool, const char *call);

/* ---- all below: the lock is held, unless said otherwise ---- */

void list_push(struct arena_list *list, struct arena *a);        /* newest */
void list_push_oldest(struct arena_list *list, struct arena *a);
struct arena *list_pop(struct arena_list *list);                 /* newest, or NULL */
struct arena *list_pop_oldest(struct arena_list *list);
struct arena *list_remove(struct arena_list *list, struct arena *a);

/* Counts `a` against the caps if it fits. Goes with keep_drop. */
bool keep_try(bp_pool *pool, struct arena *a);
void keep_drop(bp_pool *pool, struct arena *a);

/* Puts a counted arena into the idle list, as the newest. */
void pool_put_idle(bp_pool *pool, struct arena *a);

/* Takes the newest idle arena out of the lists, still counted, or NULL. With a quarantine: the oldest,
 * and not as long as a new one may be made. */
struct arena *pool_take_idle(bp_pool *pool);

/* When no arena could be made: takes one out of the quarantine, or NULL. */
struct arena *pool_take_quarantined(bp_pool *pool);

/* How badly an empty arena suits a unit of work of `bytes`; 0 is best. For its holder too. */
size_t pool_misfit(const struct arena *a, size_t bytes);

/* Takes one of the newest few idle arenas out of the lists, still counted, that suits better than another; or
 * NULL. */
struct arena *pool_take_better(bp_pool *pool, size_t bytes, const struct arena *than);

/* Whether `a`, a place in one of the pool's slabs, is checked out. */
bool pool_is_live(const struct arena *a);

/* For a new pool, without the lock: the slab that is part of it. */
void pool_first_slab(bp_pool *pool);

/* Makes an empty arena, LIVE and not counted; drops the lock meanwhile. EAGAIN at max_arenas, ENOMEM, or the
 * backing's error. */
int pool_mint(bp_pool *pool, struct arena **out);

/* Unmakes empty arenas, linked by next and not counted; drops the lock meanwhile. */
void pool_dispose(bp_pool *pool, struct arena *chain);

/* Takes an idle arena out for work without the lock. It stays counted. */
void service_begin(bp_pool *pool, struct arena *a);

/* The work is done, and the footprint may have changed. The arena is to go to a list, or not
 * to be counted. False: it grew by more than the budget has, and is not to be kept. */
bool service_end(bp_pool *pool, struct arena *a);

/* In the child of a fork: what other threads had taken out for work stays with them, who are not there, for
 * ever. */
void service_abandon(bp_pool *pool);

/* Idle arenas, wherever they are; a moment's value while lanes are in use. */
size_t pool_idle(bp_pool *pool);

/* The bytes of these that count against the caps. */
size_t pool_idle_bytes(const bp_pool *pool);

/* Takes the places back that lanes hold for arenas that are out. No lock. */
void pool_drop_places(bp_pool *pool);

/* Disposes of idle arenas, oldest first, until `bytes` less are kept. Returns by how many. No
 * lock. */
size_t pool_shed(bp_pool *pool, size_t bytes);

/* bp_pool_give_back, but an arena that was given back already is EALREADY and not reported. */
int pool_give_back_once(bp_pool *pool, bp_arena *arena);

/* The same for an arena that the caller's lane has out, and whose blocks begin at `data`. False: it is none. */
bool pool_give_back_mine(bp_pool *pool, bp_arena *arena, const void *data, int *rc);

/* ---- pool_life.c: for bucket pools; no lock ---- */

/* bp_pool_create with a budget, or NULL. */
int pool_create(bp_backing *backing, const struct bp_pool_config *config, struct kept_budget *budget,
                bp_pool **out);

/* What stands in the way of the end of a pool. */
struct pool_users {
    size_t live, waiting;
    bool any;      /* these, or arenas on their way in or out */
    char who[160]; /* the first few live arenas */
    struct misuse_stack first; /* where the first of them was checked out */
};

/* Before the end: takes it out of the reaper's hands and looks who uses it. */
void pool_hold(bp_pool *pool, struct pool_users *users);
void pool_unhold(bp_pool *pool); /* it goes on */
void pool_end(bp_pool *pool);    /* held and without users */

/* buckets.c: fork, around the pools. */
void buckets_before_fork(void);
void buckets_after_fork(void);

/* pool_print.c: as a JSON string, whatever its bytes. */
void print_json_string(FILE *file, const char *s);

/* Whether threads may home arenas in their lanes: not while somebody waits for the next one, nor in checked
 * mode, where the newest is not to be reused. */
static inline bool pool_lanes_open(const bp_pool *pool)
{
    return pool->first_waiter == NULL && !pool->armed && !pool->closed && pool->checks == 0;
}

/* The way out of every call that may have made an arena or a place for one available: serves
 * waiters, drops the lock, delivers, among them `served` (or NULL), what waiter_serve gave. */
void pool_leave(bp_pool *pool, struct bp_waiter *served);

/* Hands `a`, LIVE and not counted, to the first waiter. For pool_leave. */
struct bp_waiter *waiter_serve(bp_pool *pool, struct arena *a);

/* After an EAGAIN that the caller is to hear of; may drop the lock. */
void waiter_refused(bp_pool *pool);

/* Ends every wait. For pool_leave. */
struct bp_waiter *waiters_cancel(bp_pool *pool);

/* In the child of a fork: drops the waiters whose threads are in the parent. */
void waiters_after_fork(bp_pool *pool);

/* A checkout that waits: 0, an error, or EINPROGRESS: `waiter` is queued. No lock. */
int pool_checkout_or_queue(bp_pool *pool, struct bp_waiter *waiter, bp_arena **out);

/* Puts `waiter` into the queue. Drops the lock, once it is there, to take what lanes hold; do
 * not touch it then. */
void waiter_queue(bp_pool *pool, struct bp_waiter *waiter);

/* An arena was made, or one taken that had been released: the tick, should it be put off, is
 * due again soon. For whoever then goes by pool_leave. */
static inline void pool_is_busy(bp_pool *pool)
{
    if (BP_UNLIKELY(pool->asleep || pool->quiet_ticks != 0)) {
        pool->asleep = false;
        pool->quiet_ticks = 0;
        pool->wake_tick = true;
    }
}

/* Has the tick called that was put off. No lock. */
void pool_wake_tick(bp_pool *pool);

/* Releases up to RELEASE_BATCH of the oldest warm arenas that have been idle since `until` (a look, see
 * pool_tick.c) or longer; drops the lock meanwhile. Returns how many it took, adds up the bytes. */
enum { RELEASE_BATCH = 16 };
size_t pool_release_some(bp_pool *pool, size_t most, uint64_t until, size_t *bytes);

/* Describes the first few live arenas in `text`, which is empty when there are none; where the first was checked
 * out in *first, if that is known. Returns how many are live. */
size_t pool_describe_live(bp_pool *pool, char *text, size_t size, struct misuse_stack *first);

/* reaper.c: a pool with BP_POOL_REAPER comes and goes; a tick is due earlier than was said. No lock. */
int reaper_add(bp_pool *pool);

/* Takes a pool out of the reaper's hands, waiting until it has done with it. The thread stays, for
 * reaper_unhold: to give the pool back, or with NULL, whereupon the thread ends if it has no other. */
void reaper_hold(bp_pool *pool);
void reaper_unhold(bp_pool *pool);

void reaper_wake(bp_pool *pool, uint64_t due_ns); /* its tick is due then, or earlier */
void reaper_before_fork(void);
void reaper_after_fork(bool child);

#endif
