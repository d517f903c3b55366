/* SPDX-License-Identifier: MIT
 * Calling the ops of a backing. The one place that knows which ops may be missing.
 *
 * An op is missing when it is NULL or lies beyond the struct_size of the backing's author. acquire and
 * dispose are never missing: whoever is given a backing asks backing_is_sane first. Nothing else is checked
 * here that the contract demands of a backing: <bumpool/conformance.h> is for that.
 */
#ifndef BUMPOOL_SRC_BACKING_PRIVATE_H
#define BUMPOOL_SRC_BACKING_PRIVATE_H

#include <bumpool.h>

#include <errno.h>

#define BACKING_HAS(ops_, op)                                                                          \
    ((ops_)->struct_size >= offsetof(struct bp_backing_ops, op) + sizeof((ops_)->op) && (ops_)->op != NULL)

/* Whether the backing has what none may lack. */
static inline bool backing_is_sane(const bp_backing *b)
{
    return b->ops != NULL && BACKING_HAS(b->ops, acquire) && BACKING_HAS(b->ops, dispose);
}

static inline int backing_acquire(bp_backing *b, size_t min, size_t preferred, size_t align,
                                  struct bp_extent *out)
{
    return b->ops->acquire(b, min, preferred, align, out);
}

static inline void backing_dispose(bp_backing *b, const struct bp_extent *extent)
{
    b->ops->dispose(b, extent);
}

/* 0 when at least `size` bytes are committed afterwards; a `size` beyond the extent is ENOMEM. */
static inline int backing_commit(bp_backing *b, struct bp_extent *extent, size_t size)
{
    if (BP_LIKELY(size <= extent->committed))
        return 0;
    if (size > extent->size || !BACKING_HAS(b->ops, commit))
        return ENOMEM;
    return b->ops->commit(b, extent, size);
}

/* *released is set in every case: 0 when the backing cannot or the op failed. */
static inline int backing_release(bp_backing *b, struct bp_extent *extent, size_t offset, size_t length,
                                  size_t *released)
{
    *released = 0;
    if (length == 0 || !BACKING_HAS(b->ops, release))
        return 0;
    return b->ops->release(b, extent, offset, length, released);
}

/* A backing that cannot populate is no error: the pages come with the first write. */
static inline int backing_populate(bp_backing *b, struct bp_extent *extent, size_t offset, size_t length)
{
    if (length == 0 || !BACKING_HAS(b->ops, populate))
        return 0;
    return b->ops->populate(b, extent, offset, length);
}

#endif
