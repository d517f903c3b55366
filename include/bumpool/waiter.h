/* SPDX-License-Identifier: MIT
 * Waiting for an arena when max_arenas exist and none is idle.
 *
 * There is one queue per pool, for threads that block and for async waiters. It is served first come, first
 * served, by direct hand-off: an arena that comes back goes to the waiter at the head and never through the
 * idle list, so nobody overtakes, not even the releaser that comes round again. A waiter is part of the
 * queue by itself: waiting allocates nothing, and there may be any number of waiters. Hand-off and timeout
 * or cancellation exclude each other: an arena is given to the waiter or to the next one, never to nobody.
 *
 * An arena that is given back may also be disposed of (trim, tick); then the waiter at the
 * head gets a new one. If that cannot be made, it gets ENOMEM or the backing's error, unless
 * other arenas are live and will come back.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_WAITER_H
#define BUMPOOL_WAITER_H

BP_BEGIN_DECLS

/* As bp_pool_checkout, but waits for up to timeout_ns (ns; negative: for ever; 0: not at all,
 * ETIMEDOUT) where that says EAGAIN. ETIMEDOUT: the time passed, by CLOCK_MONOTONIC;
 * ECANCELED: the pool is or was closed; EAGAIN: max_arenas is 0. Signal handlers run
 * meanwhile and the wait goes on: there is no EINTR. Not a cancellation point.
 *
 * When waits in this pool have been short lately, it spins for up to twice the time they
 * took, 20 us at most, before it sleeps; never more threads than there are other processors
 * to hold the arenas, and not at all when waits are longer than that. */
BP_API int bp_pool_checkout_wait(bp_pool *pool, int64_t timeout_ns, bp_arena **out) BP_NODISCARD;

/* A place in the queue, owned by the caller, who keeps it where it is until `fn` is called or
 * bp_waiter_cancel has returned 0. */
struct bp_waiter {
    /* Called once per successful bp_pool_checkout_async: with an arena and 0, or with NULL and an error.
     * With no lock held, in the thread that gave the arena back, or had done with it (release_idle,
     * trim, prewarm, tick: the reaper, too), or closed the pool, or in bp_pool_checkout_async itself.
     * The waiter is the caller's again: `fn` may queue it anew, or free it, and may use the pool in any
     * way but destroy it. Calls that follow from one another are made one after the other, not nested:
     * what `fn` sets off in its thread is called when it has returned, which it must (no longjmp), and
     * without waiting for an arena itself: whoever holds that may be one of those not yet called. */
    void (*fn)(struct bp_waiter *waiter, bp_arena *arena, int error);
    void *data; /* the caller's */
    /* The library's. */
    bp_pool *pool;
    struct bp_waiter *next, *prev;
    bp_arena *arena;
    uint64_t since_ns;
    long thread;
    int error;
    unsigned state;
    void *unused[4];
};
#define BP_WAITER_INIT(fn, data) { (fn), (data), NULL, NULL, NULL, NULL, 0, 0, 0, 0, { NULL, NULL, NULL, NULL } }

/* Has waiter->fn called with an arena as soon as one can be had: before this returns when
 * that is now (inside the fn of another, after that has returned). 0: fn was or will be called. Else it will
 * not: EINVAL: waiter or its fn NULL; EBUSY: the waiter is queued already; ECANCELED: the pool is closed;
 * ENOMEM or the backing's error: an arena could have been made but was not; EAGAIN: max_arenas is 0. */
BP_API int bp_pool_checkout_async(bp_pool *pool, struct bp_waiter *waiter) BP_NODISCARD;

/* Takes a waiter out of the queue. 0: fn was not and will not be called. EALREADY: too late:
 * fn has been, is being or is about to be called, and what it gets is the caller's to give
 * back. EINVAL: NULL, or never queued. */
BP_API int bp_waiter_cancel(struct bp_waiter *waiter);

/* *fd: an eventfd(2) that is readable from when an arena can be had until a checkout finds
 * none (EAGAIN), which makes it unreadable again: wait for it with poll or epoll, then check
 * out until that fails. There is no need to read it. In a closed pool it stays readable. Who
 * does not want every arena there is should watch it edge-triggered (EPOLLET), or only while
 * it wants one. A checkout that finds none costs a system call in a pool with an eventfd.
 * Waiters in the queue come first. It belongs to the pool, which closes it when destroyed:
 * every call gives the same one. Non-blocking, close-on-exec. In a child of fork it is closed,
 * and a call there makes another. EINVAL: fd NULL or pool NULL; EMFILE, ENFILE, ENOMEM. */
BP_API int bp_pool_eventfd(bp_pool *pool, int *fd);

BP_END_DECLS

#endif
