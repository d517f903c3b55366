/* SPDX-License-Identifier: MIT
 * A contestant that is none: malloc that writes down what it is asked for. Its state is a struct recorder.
 * The digest of a live walk with it is the one that all others must reproduce.
 */
#ifndef BENCH_RECORD_H
#define BENCH_RECORD_H

#include "bench.h"

struct recorder {
    struct trace_builder builder;
    struct recorded_block *newest;
};

/* Only the unit_ functions. */
extern const struct contestant recording;

#endif
