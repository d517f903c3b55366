/* SPDX-License-Identifier: MIT
 * `malloc`: the C library's malloc(64) and free, which a pool of small structs often replaces. Asked of the C
 * library itself and called through pointers; libc_heap.c says why.
 */
#include "pool_contestants.h"

#include <stdlib.h>

#include "libc_heap.h"
#include "pool_loops.h"

static void *heap_setup(size_t things, bool capped)
{
    struct libc_heap *heap = malloc(sizeof(*heap));

    (void)things;
    (void)capped;
    if (heap != NULL)
        libc_heap_find(heap);
    return heap;
}

#define TAKE(own, thing) (((thing) = ((struct libc_heap *)(own))->allocate(64)) != NULL ? 0 : ENOMEM)
#define PUT(own, thing) (((struct libc_heap *)(own))->release(thing), 0)
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
