/* SPDX-License-Identifier: MIT
 *
 * What becomes of an arena while it is idle: wiped, cut back, made resident.
 */
#define _GNU_SOURCE
#include "segment.h"

#include "backing_private.h"
#include "checks.h"

/* The watermarks of the first segment went down. */
static void lowered(struct arena *a)
{
    if (a->pub.quick_end > a->first.touched)
        a->pub.quick_end = a->first.touched;
}

void arena_wipe(struct arena *a)
{
    if (a->checks != NULL)
        check_settle(a);
    segment_wipe(a, &a->first);
    lowered(a);
    arena_recount(a);
}

static bool segment_can_release(const struct arena *a, const struct segment *s)
{
    return s->extent.page != 0 && BACKING_HAS(a->backing->ops, release);
}

bool arena_is_dirty(const struct arena *a)
{
    return a->spare != NULL || (segment_dirty_end(&a->first) > a->first.start && segment_can_release(a, &a->first));
}

static size_t dirty_bytes(const struct segment *s)
{
    return (size_t)(segment_dirty_end(s) - s->start);
}

/* Disposes of the dirtiest spares until the others have at most `keep` dirty bytes; returns the committed
 * bytes of those that went. Dirty bytes are what a spare costs in memory, and compare with bytes in use. */
static size_t trim_spares(struct arena *a, size_t keep)
{
    size_t before = a->spare_bytes, dirty = 0;

    if (keep == 0) {
        spares_dispose(a);
        return before;
    }
    for (const struct segment *s = a->spare; s != NULL; s = s->older)
        dirty += dirty_bytes(s);
    while (dirty > keep) {
        struct segment **most = &a->spare;

        for (struct segment **link = &a->spare->older; *link != NULL; link = &(*link)->older)
            if (dirty_bytes(*link) > dirty_bytes(*most))
                most = link;
        dirty -= dirty_bytes(*most);
        segment_dispose(a, spare_unlink(a, most));
    }
    return before - a->spare_bytes;
}

/* Where, from the base of the first extent, a release that keeps `keep` bytes of blocks starts. */
static size_t release_from(const struct segment *s, size_t keep)
{
    size_t from = (size_t)(s->start - (char *)s->extent.base) + min_size(keep, (size_t)(s->end - s->start));

    return from + ((0 - from) & (s->extent.page - 1));
}

int arena_release_beyond(struct arena *a, size_t keep, size_t *bytes)
{
    struct segment *s = &a->first;
    char *base = s->extent.base;
    size_t from, to, released;
    int rc = 0;

    if (a->checks != NULL)
        check_settle(a);
    *bytes = trim_spares(a, keep - min_size(keep, dirty_bytes(s)));
    if (segment_can_release(a, s)) {
        from = release_from(s, keep);
        to = segment_dirty_extent(s);
        if (from < to) {
            s->extent.known_zero_from = (size_t)(segment_zero_frontier(s) - base);
            rc = backing_release(a->backing, &s->extent, from, to - from, &released);
            if (rc == 0) {
                *bytes += released;
                if (s->touched > base + from)
                    s->touched = base + from;
                s->resident = base + from;
                lowered(a);
            }
        }
    }
    arena_recount(a);
    return rc;
}

int arena_release(struct arena *a, size_t *bytes)
{
    return arena_release_beyond(a, 0, bytes);
}

size_t arena_take_recent(struct arena *a)
{
    size_t recent = a->recent;

    a->recent = 0;
    if (a->pub.quick_end != NULL)
        a->pub.quick_end = a->first.start;
    return recent;
}

size_t arena_excess(const struct arena *a, size_t keep)
{
    const struct segment *s = &a->first;
    size_t from, to;

    if (!segment_can_release(a, s))
        return a->spare_bytes;
    from = release_from(s, keep);
    to = segment_dirty_extent(s);
    return a->spare_bytes + (from < to ? to - from : 0);
}

int arena_prefault(struct arena *a, size_t bytes)
{
    struct segment *s = &a->first;
    size_t from = (size_t)(s->start - (char *)s->extent.base);
    int rc;

    bytes = min_size(bytes, (size_t)(s->end - s->start));
    if (bytes == 0 || a->checks != NULL) /* a tool may forbid to touch it */
        return 0;
    rc = arena_commit(a, s->start + bytes);
    if (rc == 0)
        rc = backing_populate(a->backing, &s->extent, from, bytes);
    if (rc == 0 && s->start + bytes > s->resident)
        s->resident = s->start + round_up_16(bytes);
    arena_recount(a);
    return rc;
}
