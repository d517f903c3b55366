/* SPDX-License-Identifier: MIT
 * `pool-call` and `bumpool-call`: the same as `pool` and `bumpool`, but all are calls into the shared
 * library, as for a program in another language. They compare with each other, and with the rivals, which are
 * called too.
 */
#define BP_NO_INLINE
#include "buffers_loops.h"

#include <bumpool.h>

#define POOL_GET(state, size, thing) bp_pool_checkout(state, &(thing))
#define POOL_PUT(state, size, thing) bp_pool_give_back(state, thing)
#define POOL_DATA(thing) ((thing)->cursor)
BUFFERS_LOOPS(pool, bp_arena *, POOL_GET, POOL_PUT, POOL_DATA)

#define GET(state, size, thing) bp_buckets_get(state, size, &(thing))
#define PUT(state, size, thing) bp_buckets_put(state, &(thing))
#define DATA(thing) ((thing).data)
BUFFERS_LOOPS(buckets, struct bp_buffer, GET, PUT, DATA)

const struct buffers_contestant buffers_contestant_pool_call = {
    .common = {.name = "pool-call", .summary = "as pool, by calls into the shared library alone"},
    .reference = "pool-call",
    .setup = buffers_pool_setup,
    .teardown = buffers_pool_teardown,
    .work = pool_work,
};

const struct buffers_contestant buffers_contestant_bumpool_call = {
    .common = {.name = "bumpool-call", .summary = "as bumpool, likewise; to be compared with pool-call"},
    .reference = "pool-call",
    .setup = buffers_buckets_setup,
    .teardown = buffers_buckets_teardown,
    .work = buckets_work,
};
