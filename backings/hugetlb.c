/* SPDX-License-Identifier: MIT
 * The hugetlb backing: extents of huge pages, as far as there are any.
 *
 * Three kinds of memory, tried in this order. `hugetlb`: pages that the administrator set aside
 * (vm.nr_hugepages), which are huge for sure. `advised`: ordinary memory, aligned to huge pages, that the
 * kernel was asked to back with them, which it does when it finds some. `plain`: what is too small for that,
 * or where the system does not want it. The granule follows: that of `advised` is a huge page, for the reason
 * given in mmap.c.
 *
 * `hugetlb` memory is not released. Its pages were reserved by mmap, so that no access can fail for want of
 * one. Dropping them (MADV_DONTNEED, since Linux 5.18) either keeps them reserved (since 6.9): then nobody
 * else gets them and nothing is won; or gives them up (before, and pages in excess of the pool still): then
 * another process can take them, and our next access is a SIGBUS. So its granule is 0, which says just that.
 */
#include <bumpool.h>

#include "configs.h"
#include "os_place.h"
#include "pages.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Relaxed, pairs with itself: figures, which order nothing. */
struct kind {
    atomic_size_t extents, bytes, total;
};

struct hugetlb_backing {
    bp_backing backing;
    size_t page; /* 0: the system's default */
    bool strict;
    struct kind hugetlb, advised, plain; /* extent->data is one of them */
};

static struct hugetlb_backing shared;

static size_t page_of(const struct hugetlb_backing *b)
{
    return b->page != 0 ? b->page : os_huge_page();
}

static void fill(struct kind *kind, void *base, size_t size, size_t granule, struct bp_extent *out)
{
    atomic_fetch_add_explicit(&kind->extents, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&kind->bytes, size, memory_order_relaxed);
    atomic_fetch_add_explicit(&kind->total, 1, memory_order_relaxed);
    *out = (struct bp_extent){.base = base, .size = size, .committed = size, .page = granule, .data = kind};
}

static int map_hugetlb(struct hugetlb_backing *b, size_t size, size_t align, struct bp_extent *out)
{
    size_t page = page_of(b);
    void *base;

    if (page == 0 || !os_round_up(size, page, &size) || os_map_huge(size, page, align, &base) != 0)
        return ENOMEM;
    fill(&b->hugetlb, base, size, 0, out);
    return 0;
}

static int map_small(struct hugetlb_backing *b, size_t size, size_t align, struct bp_extent *out)
{
    size_t page = os_page_size(), huge = os_advised_page();
    void *base;

    if (!os_round_up(size, page, &size))
        return ENOMEM;
    if (huge != 0 && size >= huge && os_map(size, align > huge ? align : huge, &base) == 0) {
        if (os_advise_huge(base, size) == 0) {
            fill(&b->advised, base, size, huge, out);
            return 0;
        }
    } else if (os_map(size, align, &base) != 0) { /* small, or no room for the alignment */
        return ENOMEM;
    }
    fill(&b->plain, base, size, page, out);
    return 0;
}

static int hugetlb_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                           struct bp_extent *out)
{
    struct hugetlb_backing *b = (struct hugetlb_backing *)self;
    int err = map_hugetlb(b, preferred, align, out);

    if (err != 0 && min < preferred)
        err = map_hugetlb(b, min, align, out);
    if (err == 0 || b->strict)
        return err;
    err = map_small(b, preferred, align, out);
    if (err != 0 && min < preferred)
        err = map_small(b, min, align, out);
    return err;
}

static void hugetlb_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct hugetlb_backing *b = (struct hugetlb_backing *)self;
    struct kind *kind = extent->data;

    if (kind == &b->hugetlb)
        os_unmap_huge(extent->base, extent->size);
    else
        os_unmap(extent->base, extent->size);
    atomic_fetch_sub_explicit(&kind->extents, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&kind->bytes, extent->size, memory_order_relaxed);
}

static int hugetlb_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                           size_t *released)
{
    (void)self;
    if (extent->page == 0) {
        *released = 0;
        return 0;
    }
    return pages_release(extent, offset, length, false, released);
}

static int hugetlb_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    return pages_populate(extent, offset, length);
}

static void hugetlb_destroy(bp_backing *self)
{
    if (self != &shared.backing)
        free(self);
}

static const struct bp_backing_ops hugetlb_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "hugetlb",
    .acquire = hugetlb_acquire,
    .dispose = hugetlb_dispose,
    .release = hugetlb_release,
    .populate = hugetlb_populate,
    .destroy = hugetlb_destroy,
};

static struct hugetlb_backing shared = {.backing = {&hugetlb_ops}};

bp_backing *bp_backing_hugetlb(void)
{
    return &shared.backing;
}

int bp_backing_hugetlb_create(const struct bp_hugetlb_config *config, bp_backing **out)
{
    struct bp_hugetlb_config c = BP_HUGETLB_CONFIG_INIT;
    struct hugetlb_backing *b;
    int saved = errno;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    if (c.page_size != 0 && (c.page_size < os_page_size() || (c.page_size & (c.page_size - 1)) != 0))
        return EINVAL;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    *b = (struct hugetlb_backing){.backing = {&hugetlb_ops}, .page = c.page_size, .strict = c.strict};
    *out = &b->backing;
    return 0;
}

static void figures(struct kind *kind, size_t *extents, size_t *bytes, size_t *total)
{
    *extents = atomic_load_explicit(&kind->extents, memory_order_relaxed);
    *bytes = atomic_load_explicit(&kind->bytes, memory_order_relaxed);
    *total = atomic_load_explicit(&kind->total, memory_order_relaxed);
}

int bp_backing_hugetlb_stats(bp_backing *backing, struct bp_hugetlb_stats *out)
{
    struct hugetlb_backing *b = (struct hugetlb_backing *)backing;

    if (b == NULL || out == NULL || b->backing.ops != &hugetlb_ops)
        return EINVAL;
    figures(&b->hugetlb, &out->hugetlb, &out->hugetlb_bytes, &out->total_hugetlb);
    figures(&b->advised, &out->advised, &out->advised_bytes, &out->total_advised);
    figures(&b->plain, &out->plain, &out->plain_bytes, &out->total_plain);
    out->page_size = page_of(b);
    return 0;
}
