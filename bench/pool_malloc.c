/* SPDX-License-Identifier: MIT
 * `malloc`: the C library's malloc(64) and free, which a pool of small structs often replaces. Asked of the C
 * library itself and called through pointers; contestant_malloc.c says why.
 */
#include "pool_contestants.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "pool_loops.h"

struct heap {
    void *(*allocate)(size_t size);
    void (*release)(void *block);
};

static void *heap_setup(size_t things, bool capped)
{
    struct heap *heap = malloc(sizeof(*heap));
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *allocate = libc != NULL ? dlsym(libc, "malloc") : NULL;
    void *release = libc != NULL ? dlsym(libc, "free") : NULL;

    (void)things;
    (void)capped;
    if (heap != NULL) {
        heap->allocate = malloc;
        heap->release = free;
        if (allocate != NULL && release != NULL) {
            memcpy(&heap->allocate, &allocate, sizeof(allocate));
            memcpy(&heap->release, &release, sizeof(release));
        }
    }
    if (libc != NULL)
        dlclose(libc);
    return heap;
}

#define TAKE(own, thing) (((thing) = ((struct heap *)(own))->allocate(64)) != NULL ? 0 : ENOMEM)
#define PUT(own, thing) (((struct heap *)(own))->release(thing), 0)
POOL_LOOPS(heap, void, TAKE, PUT)

const struct pool_contestant pool_contestant_malloc = {
    .name = "malloc",
    .summary = "the C library's malloc(64) and free",
    .cases = IN_PAIR | IN_HELD,
    .setup = heap_setup,
    .teardown = free,
    .pairs = heap_pairs,
    .held = heap_held,
};
