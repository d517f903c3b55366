/* SPDX-License-Identifier: MIT
 * `malloc`: the C library's malloc and free of the same sizes.
 */
#include "buffers_loops.h"

#include <stdlib.h>

#include "libc_heap.h"

static void *heap_setup(const struct buffers_load *load)
{
    struct libc_heap *heap = malloc(sizeof(*heap));

    (void)load;
    if (heap != NULL)
        libc_heap_find(heap);
    return heap;
}

#define HEAP(state) ((struct libc_heap *)(state))
#define GET(state, size, thing) (((thing) = HEAP(state)->allocate(size)) != NULL ? 0 : ENOMEM)
#define PUT(state, size, thing) (HEAP(state)->release(thing), 0)
#define DATA(thing) (thing)
BUFFERS_LOOPS(heap, void *, GET, PUT, DATA)

const struct buffers_contestant buffers_contestant_malloc = {
    .common = {.name = "malloc", .summary = "malloc and free of the C library"},
    .reference = "pool",
    .setup = heap_setup,
    .teardown = free,
    .work = heap_work,
};
