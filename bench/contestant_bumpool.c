/* SPDX-License-Identifier: MIT
 * bumpool: one pool for the whole pass; every unit checks an arena out and gives it back.
 *
 * The pools differ in their backing only. The configuration is the default one, except that all spill extents
 * are kept over a reset: like `limit`, these are measured in the steady state, and the few units far above
 * the default cap would turn the row into one about their system calls.
 */
#include "contestants.h"

#include <stdlib.h>

#include <bumpool.h>

#include "replay.h"

struct pooled {
    bp_pool *pool;
    bp_arena *arena; /* of the unit at work, in a live walk */
    void *memory;    /* of the buffer backing */
    struct bp_buffer_backing buffer;
};

static void pooled_teardown(void *state)
{
    struct pooled *s = state;

    /* EBUSY is possible only when a unit failed in the middle: the arena and the pool are left then */
    if (bp_pool_destroy(s->pool) == 0)
        free(s->memory);
    free(s);
}

static void *pooled_setup(bp_backing *backing, struct pooled *s)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;

    config.name = "bench";
    config.max_spare = BP_UNLIMITED;
    config.max_idle_bytes = BP_UNLIMITED;
    if (s == NULL)
        return NULL;
    if (bp_pool_create(backing, &config, &s->pool) != 0) {
        free(s->memory);
        free(s);
        return NULL;
    }
    return s;
}

static void *malloc_setup(const struct workload *workload)
{
    (void)workload;
    return pooled_setup(bp_backing_malloc(), calloc(1, sizeof(struct pooled)));
}

static void *mmap_setup(const struct workload *workload)
{
    (void)workload;
    return pooled_setup(bp_backing_mmap(), calloc(1, sizeof(struct pooled)));
}

static void *reserved_setup(const struct workload *workload)
{
    (void)workload;
    return pooled_setup(bp_backing_reserved(), calloc(1, sizeof(struct pooled)));
}

static void *buffer_setup(const struct workload *workload)
{
    struct pooled *s = calloc(1, sizeof(*s));
    /* room for the first extent and for spill extents that double: untouched pages cost nothing */
    size_t size = workload->max_unit_bytes * 4 + ((size_t)1 << 20);

    if (s == NULL)
        return NULL;
    s->memory = malloc(size);
    if (s->memory == NULL || bp_backing_buffer_init(&s->buffer, s->memory, size) != 0) {
        free(s->memory);
        free(s);
        return NULL;
    }
    return pooled_setup(&s->buffer.backing, s);
}

static inline bp_arena *pooled_begin(struct pooled *s)
{
    bp_arena *arena;

    return bp_pool_checkout(s->pool, &arena) == 0 ? arena : NULL;
}

#define ALLOC(state, unit, size, i) bp_arena_alloc(unit, size)
#define END(state, unit, n) ((void)bp_pool_give_back((state)->pool, unit))
REPLAY_DEFINE(pooled_replay, struct pooled, bp_arena, pooled_begin, ALLOC, END)

static bool live_begin(void *state)
{
    struct pooled *s = state;

    s->arena = pooled_begin(s);
    return s->arena != NULL;
}

static void *live_alloc(void *state, size_t size)
{
    struct pooled *s = state;

    return bp_arena_alloc(s->arena, size);
}

static void live_end(void *state)
{
    struct pooled *s = state;

    END(s, s->arena, 0);
}

#define CONTESTANT(kind, what)                                                              \
    const struct contestant contestant_bumpool_##kind = {                                   \
        .name = "bumpool-" #kind,                                                           \
        .summary = "bumpool: checkout and give_back of an arena per unit, pool over " what, \
        .setup = kind##_setup,                                                              \
        .teardown = pooled_teardown,                                                        \
        .replay = pooled_replay,                                                            \
        .unit_begin = live_begin,                                                           \
        .unit_alloc = live_alloc,                                                           \
        .unit_end = live_end,                                                               \
    }

CONTESTANT(malloc, "malloc");
CONTESTANT(mmap, "mmap");
CONTESTANT(reserved, "a reservation");
CONTESTANT(buffer, "a caller's buffer");

#ifdef HAVE_MIMALLOC
static void *mimalloc_setup(const struct workload *workload)
{
    (void)workload;
    return pooled_setup(bp_backing_mimalloc(), calloc(1, sizeof(struct pooled)));
}

CONTESTANT(mimalloc, "mimalloc");
#endif
