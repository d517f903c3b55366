/* SPDX-License-Identifier: MIT
 * The recorder.
 */
#include "record.h"

#include <stdalign.h>
#include <stdlib.h>

struct recorded_block {
    alignas(max_align_t) struct recorded_block *previous;
};

static bool record_begin(void *state)
{
    struct recorder *r = state;

    r->newest = NULL;
    return trace_builder_unit(&r->builder);
}

static void *record_alloc(void *state, size_t size)
{
    struct recorder *r = state;
    struct recorded_block *block;

    if (!trace_builder_alloc(&r->builder, size))
        return NULL;
    block = malloc(sizeof(*block) + size);
    if (block == NULL)
        return NULL;
    block->previous = r->newest;
    r->newest = block;
    return block + 1;
}

static void record_end(void *state)
{
    struct recorder *r = state;

    while (r->newest != NULL) {
        struct recorded_block *previous = r->newest->previous;

        free(r->newest);
        r->newest = previous;
    }
}

const struct contestant recording = {
    .name = "recording",
    .unit_begin = record_begin,
    .unit_alloc = record_alloc,
    .unit_end = record_end,
};
