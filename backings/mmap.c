/* SPDX-License-Identifier: MIT
 * The mmap backing: each extent is a private anonymous mapping of its own.
 *
 * Fresh mappings are zero, committed as a whole, and cost memory only where they are touched. Release drops
 * pages and keeps the mapping; MADV_DONTNEED makes them read as zero, MADV_FREE leaves old bytes or zeros as
 * the kernel pleases, so it never lowers known_zero_from (what was zero stays zero either way).
 *
 * Huge pages. Where the system backs every mapping with transparent huge pages, releasing 4 KiB from the
 * middle of one splits it: the memory does not come back at once and the rest of the 2 MiB is worse off for
 * good. So extents that are large enough to hold huge pages have a granule of 2 MiB there, and are aligned
 * to it, which makes granules and huge pages the same thing. What lies past the last whole granule of an
 * extent cannot be huge; see pages.h.
 */
#include <bumpool.h>

#include "configs.h"
#include "pages.h"

#include <stdlib.h>

struct mmap_backing {
    bp_backing backing;
    bool populate, lazy_free;
};

static struct mmap_backing shared;

/* Maps at least `size` bytes. 0 or ENOMEM, whatever the system says: a caller can do the same about all. */
static int map(const struct mmap_backing *b, size_t size, size_t align, struct bp_extent *out)
{
    size_t page = os_page_size(), granule = page, huge = os_thp_page();
    void *base;

    if (!os_round_up(size, page, &size))
        return ENOMEM;
    if (huge != 0 && size >= huge && os_map(size, align > huge ? align : huge, &base) == 0)
        granule = huge;
    else if (os_map(size, align, &base) != 0) /* small, or no room for the alignment */
        return ENOMEM;
    if (b->populate && os_populate(base, size) != 0) {
        os_unmap(base, size);
        return ENOMEM;
    }
    *out = (struct bp_extent){.base = base, .size = size, .committed = size, .page = granule};
    return 0;
}

static int mmap_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    const struct mmap_backing *b = (const struct mmap_backing *)self;
    int err = map(b, preferred, align, out);

    if (err != 0 && min < preferred)
        err = map(b, min, align, out);
    return err;
}

static void mmap_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    os_unmap(extent->base, extent->size);
}

static int mmap_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                        size_t *released)
{
    const struct mmap_backing *b = (const struct mmap_backing *)self;

    return pages_release(extent, offset, length, b->lazy_free, released);
}

static int mmap_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    return pages_populate(extent, offset, length);
}

static void mmap_destroy(bp_backing *self)
{
    if (self != &shared.backing)
        free(self);
}

static const struct bp_backing_ops mmap_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "mmap",
    .acquire = mmap_acquire,
    .dispose = mmap_dispose,
    .release = mmap_release,
    .populate = mmap_populate,
    .destroy = mmap_destroy,
};

static struct mmap_backing shared = {{&mmap_ops}, false, false};

bp_backing *bp_backing_mmap(void)
{
    return &shared.backing;
}

int bp_backing_mmap_create(const struct bp_mmap_config *config, bp_backing **out)
{
    struct bp_mmap_config c = BP_MMAP_CONFIG_INIT;
    struct mmap_backing *b;
    int saved = errno;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    *b = (struct mmap_backing){{&mmap_ops}, c.populate, c.lazy_free};
    *out = &b->backing;
    return 0;
}
