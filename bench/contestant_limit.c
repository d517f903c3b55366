/* SPDX-License-Identifier: MIT
 * `limit`: the least that a correct arena can do.
 *
 * Written by hand for this one purpose: one warm buffer as large as the largest unit, a cursor and an end in
 * memory, a bounds check, 16-byte alignment by rounding the size up, and a unit's end that sets the
 * cursor back. No pool, no growth, no second thread, no misuse check: everything a library adds is
 * measured against this.
 */
#include "contestants.h"

#include <stdlib.h>
#include <string.h>

#include "replay.h"

struct limit {
    char *cursor, *end;
    char *start;
};

static void *limit_setup(const struct workload *workload)
{
    struct limit *a = calloc(1, sizeof(*a));
    size_t size = workload->max_unit_bytes + 64;

    if (a == NULL)
        return NULL;
    size = (size + 4095) & ~(size_t)4095;
    a->start = aligned_alloc(4096, size);
    if (a->start == NULL) {
        free(a);
        return NULL;
    }
    a->cursor = a->start;
    a->end = a->start + size;
    return a;
}

static void limit_teardown(void *state)
{
    struct limit *a = state;

    free(a->start);
    free(a);
}

static inline struct limit *limit_begin(struct limit *a)
{
    return a;
}

static inline void *limit_alloc(struct limit *a, size_t size)
{
    char *p = a->cursor;

    if (UNLIKELY(size > (size_t)(a->end - p)))
        return NULL;
    a->cursor = p + ((size + 15) & ~(size_t)15);
    return p;
}

static inline void limit_end(struct limit *a)
{
    a->cursor = a->start;
}

#define ALLOC(state, unit, size, i) limit_alloc(unit, size)
#define END(state, unit, n) limit_end(unit)
REPLAY_DEFINE(limit_replay, struct limit, struct limit, limit_begin, ALLOC, END)

static bool live_begin(void *state)
{
    (void)state;
    return true;
}

static void *live_alloc(void *state, size_t size)
{
    return limit_alloc(state, size);
}

static void live_end(void *state)
{
    limit_end(state);
}

const struct contestant contestant_limit = {
    .name = "limit",
    .summary = "hand-written inline arena over one warm buffer: the least possible work",
    .setup = limit_setup,
    .teardown = limit_teardown,
    .replay = limit_replay,
    .unit_begin = live_begin,
    .unit_alloc = live_alloc,
    .unit_end = live_end,
};
