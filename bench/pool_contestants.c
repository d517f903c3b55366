/* SPDX-License-Identifier: MIT
 * The list of contestants, and the loops of those whose functions are in this program.
 */
#include "pool_contestants.h"

#include <stdlib.h>

#include "pool_lists.h"
#include "pool_loops.h"

/* The lists have no way to be out of memory: an empty one is like a pool at its cap. */
#define MUTEX_TAKE(own, thing) (((thing) = mutex_take(own)) != NULL ? 0 : EAGAIN)
#define MUTEX_PUT(own, thing) (mutex_put(own, thing), 0)
#define TREIBER_TAKE(own, thing) (((thing) = treiber_take(own)) != NULL ? 0 : EAGAIN)
#define TREIBER_PUT(own, thing) (treiber_put(own, thing), 0)
#define LOCAL_TAKE(own, thing) ((void)(own), ((thing) = local_take()) != NULL ? 0 : ENOMEM)
#define LOCAL_PUT(own, thing) ((void)(own), local_put(thing), 0)
POOL_LOOPS(mutex, void, MUTEX_TAKE, MUTEX_PUT)
POOL_LOOPS(treiber, void, TREIBER_TAKE, TREIBER_PUT)
POOL_LOOPS(local, void, LOCAL_TAKE, LOCAL_PUT)

const struct pool_contestant pool_contestant_mutex = {
    .name = "mutex",
    .summary = "a list behind a pthread mutex",
    .cases = IN_PAIR | IN_HELD | IN_SHARE,
    .setup = mutex_setup,
    .teardown = mutex_teardown,
    .pairs = mutex_pairs,
    .held = mutex_held,
};

const struct pool_contestant pool_contestant_treiber = {
    .name = "treiber",
    .summary = "a lock-free stack with a tag (Treiber's)",
    .cases = IN_PAIR | IN_HELD | IN_SHARE,
    .setup = treiber_setup,
    .teardown = treiber_teardown,
    .pairs = treiber_pairs,
    .held = treiber_held,
};

static void *local_setup(size_t things, bool capped)
{
    (void)things;
    (void)capped;
    return malloc(1); /* the lists are the threads'; but NULL would be a failure */
}

const struct pool_contestant pool_contestant_local = {
    .name = "local",
    .summary = "a list of each thread's own: shares and checks nothing, a lower bound for calls",
    .cases = IN_PAIR | IN_HELD,
    .setup = local_setup,
    .teardown = free,
    .thread_begin = local_thread_begin,
    .thread_end = local_thread_end,
    .pairs = local_pairs,
    .held = local_held,
};

/* Its code is in pool_handoff.c. */
static const struct pool_contestant pool_contestant_futex = {
    .name = "futex",
    .summary = "one word: FUTEX_WAIT, or a store and FUTEX_WAKE; never spins",
    .cases = IN_HANDOFF,
};

const struct pool_contestant *const pool_contestants[] = {
    &pool_contestant_local,
    &pool_contestant_bumpool,
    &pool_contestant_bumpool_call,
    &pool_contestant_bumpool_wait,
    &pool_contestant_mutex,
    &pool_contestant_treiber,
    &pool_contestant_malloc,
#ifdef HAVE_MIMALLOC
    &pool_contestant_mimalloc,
#endif
#ifdef HAVE_APR
    &pool_contestant_apr,
#endif
    &pool_contestant_futex,
    NULL,
};

const char *const pool_contestants_left_out[] = {
#ifndef HAVE_MIMALLOC
    "mimalloc",
#endif
#ifndef HAVE_APR
    "apr",
#endif
    NULL,
};
