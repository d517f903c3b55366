/* SPDX-License-Identifier: MIT
 * The contestants by name, and what those that free block by block have in common.
 */
#ifndef BENCH_CONTESTANTS_H
#define BENCH_CONTESTANTS_H

#include "bench.h"

extern const struct contestant contestant_limit;
extern const struct contestant contestant_bumpool_malloc;
extern const struct contestant contestant_bumpool_mmap;
extern const struct contestant contestant_bumpool_reserved;
extern const struct contestant contestant_bumpool_buffer;
extern const struct contestant contestant_bumpool_mimalloc;
extern const struct contestant contestant_mmap_fresh;
extern const struct contestant contestant_malloc;
extern const struct contestant contestant_mimalloc;
extern const struct contestant contestant_mimalloc_heap;

/* The blocks of the unit at work, for allocators that want each one back. The array is made once for the
 * largest unit: a program with malloc keeps these pointers in its own data structures for nothing. */
struct kept {
    void **blocks;
    size_t used, room; /* for the live walk; the replay loop counts in a register */
};

bool kept_init(struct kept *kept, const struct workload *workload);
void kept_free(struct kept *kept);

#endif
