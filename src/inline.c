/* SPDX-License-Identifier: MIT
 *
 * The exported copies of the header's inline functions, for callers without a C compiler and for
 * -DBP_NO_INLINE.
 */
#include <stddef.h>

struct bp_arena;
void *bp_arena_alloc(struct bp_arena *a, size_t size);
void *bp_arena_alloc_aligned(struct bp_arena *a, size_t size, size_t align);
void *bp_arena_alloc_array(struct bp_arena *a, size_t n, size_t size, size_t align);

#define BP_INLINE BP_API
#include <bumpool.h>
