/* SPDX-License-Identifier: MIT
 * malloc that fails on request, for programs linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=realloc: calls made by the objects linked into
 * the program go through it, those made inside shared libraries do not. Off until planned. Any thread.
 *
 * Check may be linked statically and calls malloc for every assertion: note what happened, take the plan back
 * by failing_malloc_plan(0, false), then assert.
 */
#ifndef BUMPOOL_TESTS_FAILING_MALLOC_H
#define BUMPOOL_TESTS_FAILING_MALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the fail_at-th call (from 1; 0: none) returns NULL with ENOMEM, and every later one too if
 * `persistent`. Starts counting anew. */
void failing_malloc_plan(size_t fail_at, bool persistent);

/* Failures injected / calls seen since the plan was made. */
size_t failing_malloc_injected(void);
size_t failing_malloc_calls(void);

#endif
