/* SPDX-License-Identifier: MIT
 * `pool` and `pool-alloc`: a plain pool whose arenas are as large as the largest buffer of the load. The
 * first is what bucket pools are measured by: no size is looked at, and no block is allocated. The second
 * allocates one, as a program does that has no bucket pool.
 */
#include "buffers_loops.h"

#include <bumpool.h>

void *buffers_pool_setup(const struct buffers_load *load)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    size_t things = load->threads * load->depth;
    bp_pool *pool;

    config.arena_size = load->most;
    config.max_idle_bytes = BP_UNLIMITED; /* one arena of some loads is as much as the default */
    if (config.max_idle < things)
        config.max_idle = things;
    errno = bp_pool_create(NULL, &config, &pool);
    return errno == 0 ? pool : NULL;
}

void buffers_pool_teardown(void *pool)
{
    if (bp_pool_destroy(pool) != 0)
        complain("pool: cannot be destroyed");
}

#define GET(state, size, thing) bp_pool_checkout(state, &(thing))
#define PUT(state, size, thing) bp_pool_give_back(state, thing)
#define DATA(thing) ((thing)->cursor)
BUFFERS_LOOPS(plain, bp_arena *, GET, PUT, DATA)

struct block {
    bp_arena *arena;
    char *data;
};

static inline int block_get(bp_pool *pool, size_t size, struct block *out)
{
    int error = bp_pool_checkout(pool, &out->arena);

    if (UNLIKELY(error != 0))
        return error;
    out->data = bp_arena_alloc(out->arena, size);
    if (UNLIKELY(out->data == NULL)) {
        (void)bp_pool_give_back(pool, out->arena);
        return ENOMEM;
    }
    return 0;
}

#define BLOCK_GET(state, size, thing) block_get(state, size, &(thing))
#define BLOCK_PUT(state, size, thing) bp_pool_give_back(state, (thing).arena)
#define BLOCK_DATA(thing) ((thing).data)
BUFFERS_LOOPS(block, struct block, BLOCK_GET, BLOCK_PUT, BLOCK_DATA)

const struct buffers_contestant buffers_contestant_pool = {
    .common = {.name = "pool",
               .summary = "bp_pool_checkout and bp_pool_give_back, arenas of the largest size"},
    .reference = "pool",
    .setup = buffers_pool_setup,
    .teardown = buffers_pool_teardown,
    .work = plain_work,
};

const struct buffers_contestant buffers_contestant_pool_alloc = {
    .common = {.name = "pool-alloc", .summary = "the same with a bp_arena_alloc in between"},
    .reference = "pool",
    .setup = buffers_pool_setup,
    .teardown = buffers_pool_teardown,
    .work = block_work,
};
