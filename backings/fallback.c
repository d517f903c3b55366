/* SPDX-License-Identifier: MIT
 * The fallback backing: extents of one backing and, where that fails, of another.
 *
 * Whose an extent is stands in a node of its own, to which extent->data points; the data of the backing that
 * it came from waits in there meanwhile. Every op hands that backing a copy of the extent with its own data,
 * and takes back the two members that an op may change.
 *
 * The fallback has an op when one of the two has it. For an extent of the other it answers as the contract
 * says of an extent whose `page` is 0, which is what a backing without commit and release gives: all is
 * committed, so that a commit of more is ENOMEM, and a release drops 0 bytes. A populate that cannot be is no
 * error: the pages come with the first write.
 */
#include <bumpool.h>

#include "backing_private.h"
#include "os.h"

#include <stdatomic.h>
#include <stdlib.h>

struct fallback_backing {
    bp_backing backing;
    struct bp_backing_ops ops;
    bp_backing *from[2];     /* first and second */
    atomic_size_t counts[2]; /* extents now. Relaxed, pairs with itself: figures, which order nothing. */
};

struct node {
    int which;  /* of the two backings */
    void *data; /* of that one */
};

static int fallback_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                            struct bp_extent *out)
{
    struct fallback_backing *b = (struct fallback_backing *)self;
    int saved = errno, which;
    struct node *node = malloc(sizeof *node); /* first: then there is nothing to undo */
    struct bp_extent extent;

    os_restore_errno(saved);
    if (node == NULL)
        return ENOMEM;
    for (which = 0; which < 2; which++) {
        if (backing_acquire(b->from[which], min, preferred, align, &extent) != 0)
            continue;
        *node = (struct node){ which, extent.data };
        extent.data = node;
        atomic_fetch_add_explicit(&b->counts[which], 1, memory_order_relaxed);
        *out = extent;
        return 0;
    }
    free(node);
    return ENOMEM;
}

/* The extent as the backing knows it that it came from, which is the result. */
static bp_backing *inner_of(bp_backing *self, const struct bp_extent *extent, struct bp_extent *inner)
{
    struct fallback_backing *b = (struct fallback_backing *)self;
    const struct node *node = extent->data;

    *inner = *extent;
    inner->data = node->data;
    return b->from[node->which];
}

static void fallback_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct fallback_backing *b = (struct fallback_backing *)self;
    struct node *node = extent->data;
    struct bp_extent inner;
    bp_backing *from = inner_of(self, extent, &inner);

    backing_dispose(from, &inner);
    atomic_fetch_sub_explicit(&b->counts[node->which], 1, memory_order_relaxed);
    free(node);
}

static int fallback_commit(bp_backing *self, struct bp_extent *extent, size_t size)
{
    struct bp_extent inner;
    bp_backing *from = inner_of(self, extent, &inner);
    int err = backing_commit(from, &inner, size);

    extent->committed = inner.committed;
    return err;
}

static int fallback_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                            size_t *released)
{
    struct bp_extent inner;
    bp_backing *from = inner_of(self, extent, &inner);
    size_t bytes;
    int err = backing_release(from, &inner, offset, length, &bytes);

    extent->known_zero_from = inner.known_zero_from;
    if (err == 0)
        *released = bytes;
    return err;
}

static int fallback_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    struct bp_extent inner;
    bp_backing *from = inner_of(self, extent, &inner);

    return backing_populate(from, &inner, offset, length);
}

static void fallback_destroy(bp_backing *self)
{
    free(self);
}

int bp_backing_fallback_create(bp_backing *first, bp_backing *second, bp_backing **out)
{
    const struct bp_backing_ops *one, *two;
    struct fallback_backing *b;
    int saved = errno;

    if (first == NULL || second == NULL || out == NULL || !backing_is_sane(first) || !backing_is_sane(second))
        return EINVAL;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    one = first->ops;
    two = second->ops;
    *b = (struct fallback_backing){ .from = { first, second } };
    b->ops = (struct bp_backing_ops){
        .struct_size = sizeof b->ops,
        .name = "fallback",
        .acquire = fallback_acquire,
        .dispose = fallback_dispose,
        .commit = BACKING_HAS(one, commit) || BACKING_HAS(two, commit) ? fallback_commit : NULL,
        .release = BACKING_HAS(one, release) || BACKING_HAS(two, release) ? fallback_release : NULL,
        .populate = BACKING_HAS(one, populate) || BACKING_HAS(two, populate) ? fallback_populate : NULL,
        .destroy = fallback_destroy,
    };
    b->backing.ops = &b->ops;
    *out = &b->backing;
    return 0;
}

int bp_backing_fallback_counts(bp_backing *backing, size_t *first, size_t *second)
{
    struct fallback_backing *b = (struct fallback_backing *)backing;

    if (b == NULL || first == NULL || second == NULL || b->backing.ops == NULL ||
        b->backing.ops->acquire != fallback_acquire)
        return EINVAL;
    *first = atomic_load_explicit(&b->counts[0], memory_order_relaxed);
    *second = atomic_load_explicit(&b->counts[1], memory_order_relaxed);
    return 0;
}
