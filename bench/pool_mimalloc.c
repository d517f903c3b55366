/* SPDX-License-Identifier: MIT
 * `mimalloc`: mi_malloc(64) and mi_free.
 */
#include "pool_contestants.h"

#ifdef HAVE_MIMALLOC

#include <stdlib.h>

#include <mimalloc.h>

#include "pool_loops.h"

static void *blocks_setup(size_t things, bool capped)
{
    (void)things;
    (void)capped;
    return malloc(1); /* mimalloc has no state for us to hold, but NULL would be a failure */
}

#define TAKE(own, thing) ((void)(own), ((thing) = mi_malloc(64)) != NULL ? 0 : ENOMEM)
#define PUT(own, thing) ((void)(own), mi_free(thing), 0)
POOL_LOOPS(blocks, void, TAKE, PUT)

const struct pool_contestant pool_contestant_mimalloc = {
    .name = "mimalloc",
    .summary = "mi_malloc(64) and mi_free",
    .cases = IN_PAIR | IN_HELD,
    .setup = blocks_setup,
    .teardown = free,
    .pairs = blocks_pairs,
    .held = blocks_held,
};

#endif
