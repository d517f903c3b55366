/* SPDX-License-Identifier: MIT
 * The mimalloc backing: extents from mi_malloc_aligned. A library of its own, so that the core depends on
 * libc alone; nothing here uses more of bumpool than its headers.
 *
 * For programs that run on mimalloc already: extents then come from, and go back to, the heap that the
 * rest of the program uses. As with malloc, everything is committed and nothing is known to be zero:
 * mimalloc does not say whether a block is fresh.
 */
#include <bumpool.h>

#include <errno.h>
#include <mimalloc.h>

/* mimalloc prints a warning for sizes that no object can have; it does not get to see them. */
static void *take(size_t size, size_t align)
{
    int saved = errno;
    void *p = size > (size_t)PTRDIFF_MAX ? NULL : mi_malloc_aligned(size, align);

    *(volatile int *)&errno = saved; /* not dropped as redundant, as a plain one may be */
    return p;
}

static int mimalloc_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                            struct bp_extent *out)
{
    size_t size = preferred;
    void *base = take(size, align);

    (void)self;
    if (base == NULL && min < preferred) {
        size = min;
        base = take(size, align);
    }
    if (base == NULL)
        return ENOMEM;
    *out = (struct bp_extent){.base = base, .size = size, .committed = size, .known_zero_from = size};
    return 0;
}

static void mimalloc_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    mi_free(extent->base);
}

static const struct bp_backing_ops mimalloc_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "mimalloc",
    .acquire = mimalloc_acquire,
    .dispose = mimalloc_dispose,
};

bp_backing *bp_backing_mimalloc(void)
{
    static bp_backing shared = {&mimalloc_ops};

    return &shared;
}
