/* SPDX-License-Identifier: MIT
 * `bumpool` and `bumpool-wait`: a pool of arenas with the default configuration, as a program uses it: what
 * is inline in the header is inline here.
 */
#include "pool_contestants.h"

#include <bumpool.h>

#include "pool_loops.h"

void *bumpool_setup(size_t things, bool capped)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    bp_pool *pool;

    if (capped)
        config.max_arenas = things;
    if (config.max_idle < things)
        config.max_idle = things; /* the lists keep all of theirs too */
    return bp_pool_create(NULL, &config, &pool) == 0 ? pool : NULL;
}

void bumpool_teardown(void *pool)
{
    if (bp_pool_destroy(pool) != 0)
        complain("bumpool: the pool cannot be destroyed");
}

/* The loop tries again after EAGAIN, which a wait must never give. */
static inline int no_refusal(int error)
{
    return UNLIKELY(error == EAGAIN) ? EPROTO : error;
}

#define TRY(own, thing) bp_pool_checkout(own, &(thing))
#define WAIT(own, thing) no_refusal(bp_pool_checkout_wait(own, -1, &(thing)))
#define PUT(own, thing) bp_pool_give_back(own, thing)
POOL_LOOPS(try, bp_arena, TRY, PUT)
POOL_LOOPS(wait, bp_arena, WAIT, PUT)

const struct pool_contestant pool_contestant_bumpool = {
    .name = "bumpool",
    .summary = "bp_pool_checkout and bp_pool_give_back",
    .cases = IN_PAIR | IN_HELD | IN_SHARE | IN_OTHERS,
    .setup = bumpool_setup,
    .teardown = bumpool_teardown,
    .pairs = try_pairs,
    .held = try_held,
};

const struct pool_contestant pool_contestant_bumpool_wait = {
    .name = "bumpool-wait",
    .summary = "bp_pool_checkout_wait and bp_pool_give_back",
    .cases = IN_SHARE | IN_HANDOFF,
    .setup = bumpool_setup,
    .teardown = bumpool_teardown,
    .pairs = wait_pairs,
    .held = wait_held,
};
