/* SPDX-License-Identifier: MIT
 * `malloc`: the C library's malloc and free, block by block.
 *
 * A shared mimalloc replaces malloc, free and even glibc's own aliases of them in every program that is
 * linked with it, as this one may be. The C library's functions are therefore asked of the C library itself,
 * and called through pointers, which costs what any call into a shared library does.
 */
#include "contestants.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

struct libc_heap {
    void *(*allocate)(size_t size);
    void (*release)(void *block);
    struct kept kept;
};

/* POSIX has a data pointer from dlsym hold a function's address; ISO C has no cast for it. */
static void libc_functions(struct libc_heap *heap)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *allocate = libc != NULL ? dlsym(libc, "malloc") : NULL;
    void *release = libc != NULL ? dlsym(libc, "free") : NULL;

    heap->allocate = malloc;
    heap->release = free;
    if (allocate != NULL && release != NULL) {
        memcpy(&heap->allocate, &allocate, sizeof(allocate));
        memcpy(&heap->release, &release, sizeof(release));
    }
    if (libc != NULL)
        dlclose(libc); /* only the count: the C library stays */
}

bool malloc_is_replaced(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    bool replaced = false;

    if (libc != NULL) { /* not by the address of malloc itself: that may be the program's own PLT entry */
        replaced = dlsym(libc, "malloc") != dlsym(RTLD_NEXT, "malloc");
        dlclose(libc);
    }
    return replaced;
}

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
    struct libc_heap *heap = calloc(1, sizeof(*heap));

    if (heap != NULL && !kept_init(&heap->kept, workload)) {
        free(heap);
        return NULL;
    }
    if (heap != NULL)
        libc_functions(heap);
    return heap;
}

static void heap_teardown(void *state)
{
    struct libc_heap *heap = state;

    kept_free(&heap->kept);
    free(heap);
}

static inline struct libc_heap *heap_begin(struct libc_heap *heap)
{
    return heap;
}

static inline void heap_end(struct libc_heap *heap, size_t n)
{
    void (*const release)(void *) = heap->release;
    void **const blocks = heap->kept.blocks;

    for (size_t i = 0; i < n; i++)
        release(blocks[i]);
}

#define ALLOC(state, unit, size, i) ((unit)->kept.blocks[i] = (unit)->allocate(size))
#define END(state, unit, n) heap_end(unit, n)
REPLAY_DEFINE(heap_replay, struct libc_heap, struct libc_heap, heap_begin, ALLOC, END)

static bool live_begin(void *state)
{
    struct libc_heap *heap = state;

    heap->kept.used = 0;
    return true;
}

static void *live_alloc(void *state, size_t size)
{
    struct libc_heap *heap = state;
    void *p;

    if (heap->kept.used == heap->kept.room)
        return NULL;
    p = heap->allocate(size);
    if (p != NULL)
        heap->kept.blocks[heap->kept.used++] = p;
    return p;
}

static void live_end(void *state)
{
    struct libc_heap *heap = state;

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
