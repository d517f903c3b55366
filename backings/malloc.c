/* SPDX-License-Identifier: MIT
 * The malloc backing: extents from aligned_alloc.
 *
 * The portable one, and the right one for arenas that are small or few: no page granularity, and the
 * C library's checkers see the extents. The whole extent is committed, nothing is known about its contents
 * (even a fresh block may be somebody's old one), and nothing can be released but all of it.
 *
 * aligned_alloc wants a size that is a multiple of the alignment, so the extent has the rounded size.
 */
#include <bumpool.h>

#include "os.h"

#include <stdlib.h>

/* NULL when there is no such memory; *size becomes what was taken. */
static void *take(size_t *size, size_t align)
{
    int saved = errno;
    void *p = NULL;

    if (os_round_up(*size, align, size))
        p = aligned_alloc(align, *size);
    os_restore_errno(saved);
    return p;
}

static int malloc_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    size_t size = preferred;
    void *base = take(&size, align);

    (void)self;
    if (base == NULL && min < preferred) {
        size = min;
        base = take(&size, align);
    }
    if (base == NULL)
        return ENOMEM;
    *out = (struct bp_extent){.base = base, .size = size, .committed = size, .known_zero_from = size};
    return 0;
}

static void malloc_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    free(extent->base);
}

static const struct bp_backing_ops malloc_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "malloc",
    .acquire = malloc_acquire,
    .dispose = malloc_dispose,
};

bp_backing *bp_backing_malloc(void)
{
    static bp_backing shared = {&malloc_ops};

    return &shared;
}
