/* SPDX-License-Identifier: MIT
 * The rival that is written here: lists of free buffers, one for each power of two.
 */
#ifndef BENCH_BUFFERS_LISTS_H
#define BENCH_BUFFERS_LISTS_H

#include "bench.h"

struct lists;

/* NULL: out of memory. */
struct lists *lists_create(void);
void lists_destroy(struct lists *lists);
/* NULL: out of memory. `size` is from 1 on. */
void *lists_get(struct lists *lists, size_t size) __attribute__((noinline));
void lists_put(struct lists *lists, void *data, size_t size) __attribute__((noinline));

#endif
