/* SPDX-License-Identifier: MIT
 * The rivals that are written here: three lists of nodes of 64 bytes. `take` gives NULL when a list is empty.
 */
#ifndef BENCH_POOL_LISTS_H
#define BENCH_POOL_LISTS_H

#include "bench.h"

#define LIST_LINE 64 /* bytes that processors pass back and forth as one */
#define LIST_CALL __attribute__((noinline))

/* A list behind a mutex. */
void *mutex_setup(size_t nodes, bool capped);
void mutex_teardown(void *list);
void *mutex_take(void *list) LIST_CALL;
void mutex_put(void *list, void *node) LIST_CALL;

/* Treiber's stack: a compare-and-swap on its top, with a tag beside it. */
void *treiber_setup(size_t nodes, bool capped);
void treiber_teardown(void *stack);
void *treiber_take(void *stack) LIST_CALL;
void treiber_put(void *stack, void *node) LIST_CALL;

/* A list of each thread's own, which shares nothing, checks nothing and has no cap: nothing can be faster. */
void *local_thread_begin(void *state);
void local_thread_end(void *own);
void *local_take(void) LIST_CALL;
void local_put(void *node) LIST_CALL;

#endif
