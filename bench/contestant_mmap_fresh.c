/* SPDX-License-Identifier: MIT
 * `mmap-fresh`: what arenas without a pool often are. Every unit maps a new arena (64 KiB, as bumpool's
 * default) and more mappings when it outgrows it, and unmaps them all at its end. The allocation path is
 * the same as that of `limit`.
 */
#include "contestants.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "replay.h"

#define CHUNK_SIZE ((size_t)65536)

struct chunk {
    struct chunk *previous;
    size_t size;
};

struct fresh {
    char *cursor, *end;
    struct chunk *newest;
};

_Static_assert(sizeof(struct chunk) % 16 == 0, "the first block after a chunk's header must be aligned");

static bool add_chunk(struct fresh *a, size_t size)
{
    size_t need = (size + sizeof(struct chunk) + CHUNK_SIZE - 1) & ~(CHUNK_SIZE - 1);
    struct chunk *c = mmap(NULL, need, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (c == MAP_FAILED)
        return false;
    c->previous = a->newest;
    c->size = need;
    a->newest = c;
    a->cursor = (char *)(c + 1);
    a->end = (char *)c + need;
    return true;
}

static COLD void *alloc_slow(struct fresh *a, size_t size)
{
    char *p;

    if (!add_chunk(a, size))
        return NULL;
    p = a->cursor;
    a->cursor = p + ((size + 15) & ~(size_t)15);
    return p;
}

static inline struct fresh *fresh_begin(struct fresh *a)
{
    return add_chunk(a, 1) ? a : NULL;
}

static inline void *fresh_alloc(struct fresh *a, size_t size)
{
    char *p = a->cursor;

    if (UNLIKELY(size > (size_t)(a->end - p)))
        return alloc_slow(a, size);
    a->cursor = p + ((size + 15) & ~(size_t)15);
    return p;
}

static inline void fresh_end(struct fresh *a)
{
    while (a->newest != NULL) {
        struct chunk *previous = a->newest->previous;

        munmap(a->newest, a->newest->size);
        a->newest = previous;
    }
}

#define ALLOC(state, unit, size, i) fresh_alloc(unit, size)
#define END(state, unit, n) fresh_end(unit)
REPLAY_DEFINE(fresh_replay, struct fresh, struct fresh, fresh_begin, ALLOC, END)

static void *fresh_setup(const struct workload *workload)
{
    (void)workload;
    return calloc(1, sizeof(struct fresh));
}

static bool live_begin(void *state)
{
    return fresh_begin(state) != NULL;
}

static void *live_alloc(void *state, size_t size)
{
    return fresh_alloc(state, size);
}

static void live_end(void *state)
{
    fresh_end(state);
}

const struct contestant contestant_mmap_fresh = {
    .name = "mmap-fresh",
    .summary = "a fresh arena from mmap per unit, unmapped at its end",
    .setup = fresh_setup,
    .teardown = free,
    .replay = fresh_replay,
    .unit_begin = live_begin,
    .unit_alloc = live_alloc,
    .unit_end = live_end,
};
