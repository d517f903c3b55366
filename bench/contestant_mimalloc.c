/* SPDX-License-Identifier: MIT
 * `mimalloc` (mi_malloc and mi_free, block by block) and `mimalloc-heap` (a heap per unit, destroyed at its
 * end with everything in it, which is mimalloc's own answer to units of work).
 */
#include "contestants.h"

#ifdef HAVE_MIMALLOC

#include <stdlib.h>

#include <mimalloc.h>

#include "replay.h"

const char *mimalloc_version_text(void)
{
    static char text[32];
    int version = mi_version();

    if (version >= 1000) /* three digits up to 2.x, then two for each of minor and patch */
        snprintf(text, sizeof(text), "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    else
        snprintf(text, sizeof(text), "%d.%d.%d", version / 100, version / 10 % 10, version % 10);
    return text;
}

static void *blocks_setup(const struct workload *workload)
{
    struct kept *kept = calloc(1, sizeof(*kept));

    if (kept != NULL && !kept_init(kept, workload)) {
        free(kept);
        return NULL;
    }
    return kept;
}

static void blocks_teardown(void *state)
{
    kept_free(state);
    free(state);
}

static inline struct kept *blocks_begin(struct kept *kept)
{
    return kept;
}

static inline void blocks_end(struct kept *kept, size_t n)
{
    void **const blocks = kept->blocks;

    for (size_t i = 0; i < n; i++)
        mi_free(blocks[i]);
}

#define BLOCKS_ALLOC(state, unit, size, i) ((unit)->blocks[i] = mi_malloc(size))
#define BLOCKS_END(state, unit, n) blocks_end(unit, n)
REPLAY_DEFINE(blocks_replay, struct kept, struct kept, blocks_begin, BLOCKS_ALLOC, BLOCKS_END)

static bool blocks_live_begin(void *state)
{
    struct kept *kept = state;

    kept->used = 0;
    return true;
}

static void *blocks_live_alloc(void *state, size_t size)
{
    struct kept *kept = state;
    void *p;

    if (kept->used == kept->room)
        return NULL;
    p = mi_malloc(size);
    if (p != NULL)
        kept->blocks[kept->used++] = p;
    return p;
}

static void blocks_live_end(void *state)
{
    struct kept *kept = state;

    blocks_end(kept, kept->used);
}

const struct contestant contestant_mimalloc = {
    .name = "mimalloc",
    .summary = "mi_malloc and mi_free, block by block",
    .setup = blocks_setup,
    .teardown = blocks_teardown,
    .replay = blocks_replay,
    .unit_begin = blocks_live_begin,
    .unit_alloc = blocks_live_alloc,
    .unit_end = blocks_live_end,
};

struct unit_heap {
    mi_heap_t *heap; /* of the unit at work, in a live walk */
};

static void *heap_setup(const struct workload *workload)
{
    (void)workload;
    return calloc(1, sizeof(struct unit_heap));
}

#define HEAP_BEGIN(state) mi_heap_new()
#define HEAP_ALLOC(state, unit, size, i) mi_heap_malloc(unit, size)
#define HEAP_END(state, unit, n) ((void)(state), mi_heap_destroy(unit))
REPLAY_DEFINE(heap_replay, struct unit_heap, mi_heap_t, HEAP_BEGIN, HEAP_ALLOC, HEAP_END)

static bool heap_live_begin(void *state)
{
    struct unit_heap *s = state;

    s->heap = mi_heap_new();
    return s->heap != NULL;
}

static void *heap_live_alloc(void *state, size_t size)
{
    struct unit_heap *s = state;

    return mi_heap_malloc(s->heap, size);
}

static void heap_live_end(void *state)
{
    struct unit_heap *s = state;

    mi_heap_destroy(s->heap);
}

const struct contestant contestant_mimalloc_heap = {
    .name = "mimalloc-heap",
    .summary = "mi_heap_new per unit, mi_heap_destroy at its end",
    .setup = heap_setup,
    .teardown = free,
    .replay = heap_replay,
    .unit_begin = heap_live_begin,
    .unit_alloc = heap_live_alloc,
    .unit_end = heap_live_end,
};

#else

const char *mimalloc_version_text(void)
{
    return NULL;
}

#endif
