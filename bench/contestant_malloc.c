/* SPDX-License-Identifier: MIT
 * `malloc`: the C library's malloc and free, block by block.
 */
#include "contestants.h"

#include <stdlib.h>

#include "libc_heap.h"
#include "replay.h"

struct heap {
    struct libc_heap libc;
    struct kept kept;
};

bool kept_init(struct kept *kept, const struct workload *workload)
{
    kept->used = 0;
    kept->room = workload->max_unit_allocs + 1;
    kept->blocks = calloc(kept->room, sizeof(*kept->blocks));
    return kept->blocks != NULL;
}

void kept_free(struct kept *kept)
{
    free(kept->blocks);
}

static void *heap_setup(const struct workload *workload)
{
    struct heap *heap = calloc(1, sizeof(*heap));

    if (heap != NULL && !kept_init(&heap->kept, workload)) {
        free(heap);
        return NULL;
    }
    if (heap != NULL)
        libc_heap_find(&heap->libc);
    return heap;
}

static void heap_teardown(void *state)
{
    struct heap *heap = state;

    kept_free(&heap->kept);
    free(heap);
}

static inline struct heap *heap_begin(struct heap *heap)
{
    return heap;
}

static inline void heap_end(struct heap *heap, size_t n)
{
    void (*const release)(void *) = heap->libc.release;
    void **const blocks = heap->kept.blocks;

    for (size_t i = 0; i < n; i++)
        release(blocks[i]);
}

#define ALLOC(state, unit, size, i) ((unit)->kept.blocks[i] = (unit)->libc.allocate(size))
#define END(state, unit, n) heap_end(unit, n)
REPLAY_DEFINE(heap_replay, struct heap, struct heap, heap_begin, ALLOC, END)

static bool live_begin(void *state)
{
    struct heap *heap = state;

    heap->kept.used = 0;
    return true;
}

static void *live_alloc(void *state, size_t size)
{
    struct heap *heap = state;
    void *p;

    if (heap->kept.used == heap->kept.room)
        return NULL;
    p = heap->libc.allocate(size);
    if (p != NULL)
        heap->kept.blocks[heap->kept.used++] = p;
    return p;
}

static void live_end(void *state)
{
    struct heap *heap = state;

    heap_end(heap, heap->kept.used);
}

const struct contestant contestant_malloc = {
    .name = "malloc",
    .summary = "malloc and free of the C library, block by block",
    .setup = heap_setup,
    .teardown = heap_teardown,
    .replay = heap_replay,
    .unit_begin = live_begin,
    .unit_alloc = live_alloc,
    .unit_end = live_end,
};
