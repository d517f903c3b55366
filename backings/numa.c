/* SPDX-License-Identifier: MIT
 * The numa backing: each extent is a private anonymous mapping whose pages come from one node.
 *
 * As the mmap backing otherwise, huge pages included: see there. The policy belongs to the range of
 * addresses, so it holds for pages that come back after a release, and for a child of fork.
 */
#include <bumpool.h>

#include "configs.h"
#include "os_place.h"
#include "pages.h"

#include <stdlib.h>

struct numa_backing {
    bp_backing backing;
    unsigned node;
    bool strict;
};

static int map(const struct numa_backing *b, size_t size, size_t align, struct bp_extent *out)
{
    size_t page = os_page_size(), granule = page, huge = os_thp_page();
    void *base;

    if (!os_round_up(size, page, &size))
        return ENOMEM;
    if (huge != 0 && size >= huge &&
        os_map_node(size, align > huge ? align : huge, b->node, b->strict, &base) == 0)
        granule = huge;
    else if (os_map_node(size, align, b->node, b->strict, &base) != 0) /* small, or no room to align */
        return ENOMEM;
    *out = (struct bp_extent){.base = base, .size = size, .committed = size, .page = granule};
    return 0;
}

static int numa_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    const struct numa_backing *b = (const struct numa_backing *)self;
    int err = map(b, preferred, align, out);

    if (err != 0 && min < preferred)
        err = map(b, min, align, out);
    return err;
}

static void numa_dispose(bp_backing *self, const struct bp_extent *extent)
{
    const struct numa_backing *b = (const struct numa_backing *)self;

    os_unmap_node(extent->base, extent->size, b->node, b->strict);
}

static int numa_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                        size_t *released)
{
    (void)self;
    return pages_release(extent, offset, length, false, released);
}

static int numa_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    return pages_populate(extent, offset, length);
}

static void numa_destroy(bp_backing *self)
{
    free(self);
}

static const struct bp_backing_ops numa_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "numa",
    .acquire = numa_acquire,
    .dispose = numa_dispose,
    .release = numa_release,
    .populate = numa_populate,
    .destroy = numa_destroy,
};

int bp_backing_numa_create(const struct bp_numa_config *config, bp_backing **out)
{
    struct bp_numa_config c = BP_NUMA_CONFIG_INIT;
    struct numa_backing *b;
    int saved = errno, err;
    void *probe;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0 || c.node >= OS_NODES)
        return EINVAL;
    /* whether there is such a node is for the kernel to say, and acquire can only say ENOMEM */
    err = os_map_node(os_page_size(), os_page_size(), c.node, c.strict, &probe);
    if (err != 0)
        return err;
    os_unmap_node(probe, os_page_size(), c.node, c.strict);
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    *b = (struct numa_backing){{&numa_ops}, c.node, c.strict};
    *out = &b->backing;
    return 0;
}
