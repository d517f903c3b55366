/* SPDX-License-Identifier: MIT
 * Release and populate for backings whose extents are whole pages.
 *
 * Release rounds inward to extent->page, with one exception: the end of an extent that is no whole number of
 * granules (a granule may be larger than a page) goes with a release that reaches it. Populate rounds
 * outward to pages of the system.
 */
#ifndef BUMPOOL_BACKINGS_PAGES_H
#define BUMPOOL_BACKINGS_PAGES_H

#include <bumpool.h>

#include "os.h"

/* The granules that lie wholly in [offset, offset + length): [*start, *end). False: there is none. */
static inline bool pages_inside(const struct bp_extent *extent, size_t offset, size_t length, size_t *start,
                                size_t *end)
{
    size_t mask = extent->page - 1, lead = (0 - offset) & mask, stop = offset + length;

    if (stop != extent->size)
        stop &= ~mask;
    if (stop <= offset || stop - offset <= lead)
        return false;
    *start = offset + lead;
    *end = stop;
    return true;
}

/* [start, end) reads as zero from now on. */
static inline void pages_are_zero(struct bp_extent *extent, size_t start, size_t end)
{
    if (start < extent->known_zero_from && end >= extent->known_zero_from)
        extent->known_zero_from = start;
}

static inline int pages_release(struct bp_extent *extent, size_t offset, size_t length, bool lazy,
                                size_t *released)
{
    size_t start, end;
    bool zero;
    int err;

    if (!pages_inside(extent, offset, length, &start, &end)) {
        *released = 0;
        return 0;
    }
    err = os_release((char *)extent->base + start, end - start, lazy, &zero);
    if (err != 0)
        return err;
    if (zero)
        pages_are_zero(extent, start, end);
    *released = end - start;
    return 0;
}

static inline int pages_populate(struct bp_extent *extent, size_t offset, size_t length)
{
    size_t mask = os_page_size() - 1, start = offset & ~mask;

    if (length == 0)
        return 0;
    /* no overflow: the range lies in the extent, which is whole pages */
    return os_populate((char *)extent->base + start, ((offset + length + mask) & ~mask) - start);
}

#endif
