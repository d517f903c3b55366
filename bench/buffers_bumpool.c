/* SPDX-License-Identifier: MIT
 * `bumpool` and `quarter`: a bucket pool of all sizes, with the default configuration but for the caps.
 */
#include "buffers_loops.h"

#include <bumpool.h>

static void *setup(const struct buffers_load *load, enum bp_buckets_step step)
{
    struct bp_buckets_config config = BP_BUCKETS_CONFIG_INIT;
    size_t things = load->threads * load->depth;
    bp_buckets *buckets;

    config.min_size = BUFFERS_LEAST;
    config.max_size = BUFFERS_MOST;
    config.step = step;
    config.max_kept_bytes = BP_UNLIMITED; /* as the lists, which keep all of theirs */
    if (config.max_kept < things)
        config.max_kept = things;
    errno = bp_buckets_create(NULL, &config, &buckets);
    return errno == 0 ? buckets : NULL;
}

void *buffers_buckets_setup(const struct buffers_load *load)
{
    return setup(load, BP_BUCKETS_DOUBLE);
}

static void *quarter_setup(const struct buffers_load *load)
{
    return setup(load, BP_BUCKETS_QUARTER);
}

void buffers_buckets_teardown(void *buckets)
{
    if (bp_buckets_destroy(buckets) != 0)
        complain("bumpool: the bucket pool cannot be destroyed");
}

#define GET(state, size, thing) bp_buckets_get(state, size, &(thing))
#define PUT(state, size, thing) bp_buckets_put(state, &(thing))
#define DATA(thing) ((thing).data)
BUFFERS_LOOPS(inlined, struct bp_buffer, GET, PUT, DATA)

const struct buffers_contestant buffers_contestant_bumpool = {
    .common = {.name = "bumpool",
               .summary = "bp_buckets_get and bp_buckets_put, each size twice the one before"},
    .reference = "pool",
    .setup = buffers_buckets_setup,
    .teardown = buffers_buckets_teardown,
    .work = inlined_work,
};

const struct buffers_contestant buffers_contestant_bumpool_quarter = {
    .common = {.name = "quarter", .summary = "the same, four sizes to a doubling"},
    .reference = "pool",
    .setup = quarter_setup,
    .teardown = buffers_buckets_teardown,
    .work = inlined_work,
};
