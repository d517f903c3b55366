/* SPDX-License-Identifier: MIT
 *
 * The segments of an arena: extents acquired, committed, kept as spares and disposed of, and the sums over the
 * arenas of a pool that follow from it. Invariants: see arena.c.
 */
#define _GNU_SOURCE
#include "segment.h"

#include "backing_private.h"
#include "checks.h"

#define SEGMENT_HEADER ((sizeof(struct segment) + 63) & ~(size_t)63)

/* ---- sums over the arenas of a pool ----
 *
 * Everything here pairs with itself and with the loads of bp_pool_stats. Subtraction is addition of the
 * negative: unsigned, modular. */

static void raise_to(_Atomic(size_t) *most, size_t n)
{
    size_t seen = atomic_load_explicit(most, memory_order_relaxed);

    while (seen < n && !atomic_compare_exchange_weak_explicit(most, &seen, n, memory_order_relaxed,
                                                              memory_order_relaxed))
        ;
}

void arena_totals_add(struct arena *a, size_t reserved, size_t committed)
{
    struct arena_totals *t = a->totals;
    size_t before;

    if (t == NULL)
        return;
    atomic_fetch_add_explicit(&t->reserved, reserved, memory_order_relaxed);
    before = atomic_fetch_add_explicit(&t->committed, committed, memory_order_relaxed);
    raise_to(&t->peak_committed, before + committed);
}

static void footprint_add(struct arena *a, size_t reserved, size_t committed)
{
    a->footprint += committed;
    if (a->totals != NULL)
        arena_flag(a, ARENA_RESIZED);
    arena_totals_add(a, reserved, committed);
}

/* The element of high_water_log2 that counts an arena with this peak. */
_Atomic(size_t) *arena_peak_counter(struct arena_totals *t, size_t peak)
{
    size_t log2 = 63 - (size_t)__builtin_clzll(peak | 1);

    return &t->high_water_log2[min_size(log2, sizeof t->high_water_log2 / sizeof t->high_water_log2[0] - 1)];
}

void arena_peak_set(struct arena *a, size_t peak)
{
    struct arena_totals *t = a->totals;
    size_t before = a->peak;

    a->peak = peak;
    if (t == NULL)
        return;
    raise_to(&t->high_water, peak);
    if (arena_peak_counter(t, peak) != arena_peak_counter(t, before)) {
        atomic_fetch_sub_explicit(arena_peak_counter(t, before), 1, memory_order_relaxed);
        atomic_fetch_add_explicit(arena_peak_counter(t, peak), 1, memory_order_relaxed);
    }
}

void arena_count(struct arena *a, size_t touched, size_t resident)
{
    if (touched != a->counted_touched)
        atomic_fetch_add_explicit(&a->totals->touched, touched - a->counted_touched, memory_order_relaxed);
    if (resident != a->counted_resident)
        atomic_fetch_add_explicit(&a->totals->resident, resident - a->counted_resident, memory_order_relaxed);
    a->counted_touched = touched;
    a->counted_resident = resident;
}

char *segment_dirty_end(const struct segment *s)
{
    return s->resident > s->touched ? s->resident : s->touched;
}

/* The end of what may be resident, from the base, in whole granules: the rest of the last one was never
 * written, but it is there. */
size_t segment_dirty_extent(const struct segment *s)
{
    size_t to = (size_t)(segment_dirty_end(s) - (char *)s->extent.base);

    if (s->extent.page != 0)
        to += (0 - to) & (s->extent.page - 1);
    return min_size(to, s->extent.committed);
}

static void sum_up(const struct segment *chain, size_t *touched, size_t *resident)
{
    for (const struct segment *s = chain; s != NULL; s = s->older) {
        *touched += (size_t)(s->touched - s->start);
        *resident += segment_dirty_extent(s);
    }
}

/* Brings the totals up to date with the watermarks. */
void arena_recount(struct arena *a)
{
    size_t touched = 0, resident = 0;

    arena_unflag(a, ARENA_UNCOUNTED);
    if (a->totals == NULL)
        return;
    sum_up(a->newest, &touched, &resident);
    sum_up(a->spare, &touched, &resident);
    arena_count(a, touched, resident);
}

/* After a reset or rewind: not when a wipe will lower the watermarks again, and every time the same ones. */
void arena_recount_if_due(struct arena *a)
{
    if ((a->flags & (ARENA_UNCOUNTED | ARENA_WIPE)) == ARENA_UNCOUNTED)
        arena_recount(a);
}

/* ---- segments ---- */

char *segment_limit(const struct segment *s)
{
    char *committed = (char *)s->extent.base + (s->extent.committed & ~(size_t)(BP_ALIGNMENT - 1));

    return committed < s->end ? committed : s->end;
}

/* `header` bytes at the base belong to the segment's holder and are not zero. */
void segment_init(struct segment *s, const struct bp_extent *extent, size_t header)
{
    char *base = extent->base;

    s->extent = *extent;
    if (s->extent.known_zero_from < header)
        s->extent.known_zero_from = header;
    s->start = base + header;
    s->end = base + (extent->size & ~(size_t)(BP_ALIGNMENT - 1));
    s->touched = s->top = s->resident = s->start;
    s->older = NULL;
}

/* Bytes up to `end` are no longer known zero. */
void segment_touch(struct arena *a, struct segment *s, char *end)
{
    if (end > s->touched) {
        s->touched = end;
        arena_flag(a, ARENA_UNCOUNTED);
    }
}

int segment_commit(struct arena *a, struct segment *s, const char *upto)
{
    size_t before = s->extent.committed;
    char *base = s->extent.base;
    int rc = backing_commit(a->backing, &s->extent, (size_t)(upto - base));

    if (rc == 0 && s->extent.committed != before) {
        footprint_add(a, 0, s->extent.committed - before);
        check_hide(a, base + before, base + s->extent.committed); /* until blocks are made of it */
    }
    return rc;
}

int arena_commit(struct arena *a, char *upto)
{
    int rc = segment_commit(a, a->current, upto);

    if (rc == 0)
        arena_set_limit(a, segment_limit(a->current));
    return rc;
}

struct segment *segment_acquire(struct arena *a, size_t min, size_t preferred)
{
    struct bp_extent extent;
    struct segment *s;

    if (min > PTRDIFF_MAX - SEGMENT_HEADER)
        return NULL;
    if (backing_acquire(a->backing, min + SEGMENT_HEADER, preferred + SEGMENT_HEADER, SEGMENT_ALIGN, &extent) != 0)
        return NULL;
    if (backing_commit(a->backing, &extent, SEGMENT_HEADER) != 0) {
        backing_dispose(a->backing, &extent);
        return NULL;
    }
    s = extent.base;
    segment_init(s, &extent, SEGMENT_HEADER);
    footprint_add(a, extent.size, extent.committed);
    check_hide(a, s->start, (char *)extent.base + extent.committed);
    if (a->totals != NULL)
        atomic_fetch_add_explicit(&a->totals->spills, 1, memory_order_relaxed); /* pairs with bp_pool_stats */
    return s;
}

void segment_wipe(struct arena *a, struct segment *s)
{
    size_t offset = (size_t)(s->start - (char *)s->extent.base);

    check_show(a, s->start, s->touched);
    explicit_bzero(s->start, (size_t)(s->touched - s->start));
    check_hide(a, s->start, s->touched);
    /* The wiped part reads as zero now; it joins what is known zero behind it, if anything is. */
    if (s->extent.known_zero_from <= (size_t)(s->touched - (char *)s->extent.base))
        s->extent.known_zero_from = offset;
    if (s->touched > s->resident)
        s->resident = s->touched;
    s->touched = s->start;
}

void segment_dispose(struct arena *a, struct segment *s)
{
    struct bp_extent extent = s->extent; /* `s` lies in it */

    check_show_extent(a, &extent);
    footprint_add(a, 0 - extent.size, 0 - extent.committed);
    backing_dispose(a->backing, &extent);
}

/* Takes the segments newer than `keep` out of the chain; the cursor is no longer in any of them. */
void segments_retire(struct arena *a, struct segment *keep)
{
    while (a->newest != keep) {
        struct segment *s = a->newest;

        a->newest = s->older;
        segment_touch(a, s, s->top);
        if ((a->flags & ARENA_WIPE) != 0)
            segment_wipe(a, s);
        if (s->extent.committed <= a->max_spare && a->spare_bytes <= a->max_spare - s->extent.committed) {
            a->spare_bytes += s->extent.committed;
            s->older = a->spare;
            a->spare = s;
        } else {
            segment_dispose(a, s);
            arena_flag(a, ARENA_UNCOUNTED);
        }
    }
}

struct segment *spare_unlink(struct arena *a, struct segment **link)
{
    struct segment *s = *link;

    *link = s->older;
    a->spare_bytes -= s->extent.committed;
    return s;
}

void spares_dispose(struct arena *a)
{
    while (a->spare != NULL)
        segment_dispose(a, spare_unlink(a, &a->spare));
}

void arena_drop_spares(struct arena *a)
{
    spares_dispose(a);
    arena_recount(a);
}

/* The smallest spare with room for `need` usable bytes, taken out of the list; NULL if none. */
struct segment *spare_take(struct arena *a, size_t need)
{
    struct segment **best = NULL;

    for (struct segment **link = &a->spare; *link != NULL; link = &(*link)->older)
        if ((size_t)((*link)->end - (*link)->start) >= need &&
            (best == NULL || (*link)->end - (*link)->start < (*best)->end - (*best)->start))
            best = link;
    return best != NULL ? spare_unlink(a, best) : NULL;
}
