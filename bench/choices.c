/* SPDX-License-Identifier: MIT
 * bumpool-bench choices: the measurements behind two decisions of doc/design.md.
 *
 * How a block is aligned: three ways to write the inline path, replaying a trace over one warm buffer; ratios
 * to the way that was chosen, paired by round. How a thread finds its arenas again: choices_pairs.c.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "choices.h"
#include "counters.h"
#include "replay.h"
#include "table.h"

enum { ROUNDS = 21, WAYS = 3 };

/* ---- three inline paths ---- */

struct bump {
    char *cursor, *end;
    char *start;
};

static struct bump *bump_begin(struct bump *a)
{
    a->cursor = a->start;
    return a;
}

/* The size is rounded up; the cursor is always aligned. */
static inline void *alloc_round_size(struct bump *a, size_t size)
{
    char *p = a->cursor;

    if (UNLIKELY(size > (size_t)(a->end - p)))
        return NULL;
    a->cursor = p + ((size + 15) & ~(size_t)15);
    return p;
}

/* The cursor is rounded up first; blocks of a smaller alignment could be packed. Needs an aligned end. */
static inline void *alloc_round_cursor(struct bump *a, size_t size)
{
    uintptr_t p = ((uintptr_t)a->cursor + 15) & ~(uintptr_t)15;

    if (UNLIKELY(size > (size_t)((uintptr_t)a->end - p)))
        return NULL;
    a->cursor = (char *)p + size;
    return (char *)p;
}

/* The same for any alignment and any end: padding is checked, then the size. */
static inline void *alloc_check_pad(struct bump *a, size_t size)
{
    size_t pad = (size_t)(0 - (uintptr_t)a->cursor) & 15, room = (size_t)(a->end - a->cursor);
    char *p;

    if (UNLIKELY(pad > room || size > room - pad))
        return NULL;
    p = a->cursor + pad;
    a->cursor = p + size;
    return p;
}

#define END(state, unit, n) ((void)(n))
#define ALLOC(state, unit, size, i) alloc_round_size(unit, size)
REPLAY_DEFINE(replay_round_size, struct bump, struct bump, bump_begin, ALLOC, END)
#undef ALLOC
#define ALLOC(state, unit, size, i) alloc_round_cursor(unit, size)
REPLAY_DEFINE(replay_round_cursor, struct bump, struct bump, bump_begin, ALLOC, END)
#undef ALLOC
#define ALLOC(state, unit, size, i) alloc_check_pad(unit, size)
REPLAY_DEFINE(replay_check_pad, struct bump, struct bump, bump_begin, ALLOC, END)

/* ---- tables ---- */

static void print(const char *title, const char *const *names, double ns[WAYS][ROUNDS])
{
    printf("\n%s\n%-44s %10s  %s\n", title, "", "ns", "ratio to the first (min .. max)");
    for (size_t w = 0; w < WAYS; w++) {
        double ratios[ROUNDS], times[ROUNDS]; /* figure_of puts its values in order */

        for (size_t r = 0; r < ROUNDS; r++)
            ratios[r] = ns[w][r] / ns[0][r];
        memcpy(times, ns[w], sizeof(times));
        struct figure ratio = figure_of(ratios, ROUNDS);

        printf("%-44s %10.2f  %.2f (%.2f .. %.2f)\n", names[w], figure_of(times, ROUNDS).median, ratio.median,
               ratio.min, ratio.max);
    }
}

static int paths(const char *path)
{
    static bool (*const replays[])(void *, const struct trace *, uint64_t *) = {
        replay_round_size, replay_round_cursor, replay_check_pad};
    static const char *const names[] = {"size rounded up (chosen)", "cursor rounded up",
                                        "padding and size both checked"};
    double ns[WAYS][ROUNDS];
    uint64_t digest, expected = 0;
    struct trace trace;
    struct bump bump;
    char title[128];
    int status = trace_read(path, &trace);

    if (status != DONE)
        return status;
    bump.start = aligned_alloc(4096, (trace.max_unit_bytes + 8191) & ~(size_t)4095);
    if (bump.start == NULL) {
        complain("out of memory");
        trace_free(&trace);
        return FAILED;
    }
    bump.end = bump.start + ((trace.max_unit_bytes + 4096) & ~(size_t)15);
    for (size_t r = 0; r < ROUNDS + 1 && status == DONE; r++) {
        for (size_t w = 0; w < WAYS; w++) {
            size_t way = (w + r) % WAYS;
            uint64_t start = counter_cpu_time();
            bool good = replays[way](&bump, &trace, &digest);

            if (!good || (expected != 0 && digest != expected)) {
                complain("%s: the ways disagree", path);
                status = FAILED;
            }
            expected = digest;
            if (r != 0) /* the first warms up */
                ns[way][r - 1] = (double)(counter_cpu_time() - start) / (double)trace.units;
        }
    }
    if (status == DONE) {
        snprintf(title, sizeof(title), "inline path: ns per unit, %zu units, %zu allocations", trace.units,
                 trace.allocs);
        print(title, names, ns);
    }
    free(bump.start);
    trace_free(&trace);
    return status;
}

int choices_main(int argc, char **argv)
{
    int status = DONE;

    if (argc == 3 && strcmp(argv[1], "--pairs") == 0)
        return choices_pairs_alone(strtol(argv[2], NULL, 10));
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: " PROGRAM " choices [TRACE]...\n"
             "       " PROGRAM " choices --pairs N\n\n"
             "Measures the ways that doc/design.md chose between: a checkout and give_back pair, and\n"
             "for every trace the inline path of an allocation. With --pairs, does N pairs and nothing\n"
             "else: for a tool that counts instructions.");
        return DONE;
    }
    for (int i = 1; i < argc && status == DONE; i++) { /* a bad one is told before the work */
        struct trace trace;

        status = trace_read(argv[i], &trace);
        if (status == DONE)
            trace_free(&trace);
    }
    if (status != DONE)
        return status;
    status = choices_pairs(); /* which pins its threads */
    pin_to_cpu();
    for (int i = 1; i < argc && status == DONE; i++)
        status = paths(argv[i]);
    return status;
}
