/* SPDX-License-Identifier: MIT
 *
 * The exported copies of the header's inline functions, for callers without a C compiler and for
 * -DBP_NO_INLINE.
 */
#include <stddef.h>

struct bp_arena;
struct bp_pool;
struct bp_buckets;
struct bp_buffer;
void *bp_arena_alloc(struct bp_arena *a, size_t size);
void *bp_arena_alloc_aligned(struct bp_arena *a, size_t size, size_t align);
void *bp_arena_alloc_array(struct bp_arena *a, size_t n, size_t size, size_t align);
int bp_pool_checkout(struct bp_pool *pool, struct bp_arena **out);
int bp_pool_give_back(struct bp_pool *pool, struct bp_arena *arena);
int bp_buckets_get(struct bp_buckets *b, size_t size, struct bp_buffer *out);
int bp_buckets_put(struct bp_buckets *b, struct bp_buffer *buffer);

#define BP_INLINE BP_API
#define BP_POOL_DEFINE
#include <bumpool.h>
