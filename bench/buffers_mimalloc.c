/* SPDX-License-Identifier: MIT
 * `mimalloc`: mi_malloc and mi_free of the same sizes.
 */
#include "buffers_loops.h"

#ifdef HAVE_MIMALLOC

#include <stdlib.h>

#include <mimalloc.h>

static void *blocks_setup(const struct buffers_load *load)
{
    (void)load;
    return malloc(1); /* mimalloc has no state for us to hold, but NULL would be a failure */
}

#define GET(state, size, thing) ((void)(state), ((thing) = mi_malloc(size)) != NULL ? 0 : ENOMEM)
#define PUT(state, size, thing) ((void)(state), mi_free(thing), 0)
#define DATA(thing) (thing)
BUFFERS_LOOPS(blocks, void *, GET, PUT, DATA)

const struct buffers_contestant buffers_contestant_mimalloc = {
    .common = {.name = "mimalloc", .summary = "mi_malloc and mi_free"},
    .reference = "pool",
    .setup = blocks_setup,
    .teardown = free,
    .work = blocks_work,
};

#endif
