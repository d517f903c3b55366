/* SPDX-License-Identifier: MIT
 * Measuring one case: all contestants, side by side, in rounds.
 */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include "bench.h"
#include "gitwalk.h"
#include "table.h"

/* A live walk when `walk` is given, else a replay. */
struct bench_case {
    const char *name;
    const char *source;
    struct gitwalk *walk;
    const struct trace *trace; /* of the live walk: what was recorded of it */
    uint64_t expected;         /* digest of a pass */
};

struct method {
    const struct contestant *const *contestants; /* those taking part */
    size_t contestant_count;
    size_t rounds;
    uint64_t least_ns; /* a measurement repeats passes until it is at least as long as this */
};

/* The digest that every replay of the trace must give, computed with no allocator at all. */
bool replay_expected(const struct trace *trace, uint64_t *digest);

/* Fills *out (whose rows are the caller's to free). DONE; FAILED when contestants disagree or give bad
 * memory; BAD_INPUT when the repository failed. Says why. */
int run_case(const struct bench_case *bench_case, const struct method *method, struct results *out);

#endif
