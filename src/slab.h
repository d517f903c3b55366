/* SPDX-License-Identifier: MIT
 * The slab backing, which is the library's own: equal small extents ("slots") carved out of larger ones
 * ("chunks") of another backing. For bucket pools, whose small buffers would otherwise take a page each.
 */
#ifndef BUMPOOL_SRC_SLAB_H
#define BUMPOOL_SRC_SLAB_H

#include <bumpool.h>

/* Slots are aligned to this, and a multiple of it. */
#define SLAB_ALIGN ((size_t)64)

/* Bytes of a chunk: the first, and the most they grow to. */
#define SLAB_CHUNK_MIN ((size_t)65536)
#define SLAB_CHUNK_MAX ((size_t)1 << 20)

struct slab;

/* A backing over `inner` that gives extents of `slot` bytes, a multiple of SLAB_ALIGN, of which there will be
 * no more than `most` at a time. 0 or ENOMEM. */
int slab_create(bp_backing *inner, size_t slot, size_t most, struct slab **out);

/* All extents have been disposed of. */
void slab_destroy(struct slab *s);

bp_backing *slab_backing(struct slab *s);

/* Gives the chunk back that is kept though no slot of it is in use. Returns its bytes; 0: there is none. Any
 * thread. */
size_t slab_trim(struct slab *s);

/* fork: around it, in the thread that forks. */
void slab_before_fork(struct slab *s);
void slab_after_fork(struct slab *s);

#endif
