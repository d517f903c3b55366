/* SPDX-License-Identifier: MIT
 *
 * The arena.
 *
 * An arena bumps a cursor up through its current segment. Invariants, true between any two calls:
 *
 *   - cursor and limit are multiples of 16; current->start <= cursor <= limit <= current->end, and
 *     everything below limit is committed.
 *   - `newest` heads the chain of segments in use, newest first, ending with `first`; `current` is one
 *     of them. A block too large for the growth sequence gets a segment of its own, which joins the
 *     chain but does not become current: the room left in the current segment stays in use, and
 *     one large block does not inflate all that follow.
 *   - a byte at or past max(touched, base + known_zero_from) of a segment and not below the cursor (for
 *     the current one) or top (for others) reads as zero. zalloc relies on it; whoever lowers a
 *     cursor or writes past it raises `touched`.
 *
 * Growth in place comes before spilling: a backing that commits on demand (reserved) has one extent,
 * contiguous, whose limit follows what is committed. Spill segments double from the size of the current
 * one up to SPILL_MAX, so that n bytes take O(log n) extents and waste at most half of what they use.
 *
 * Retired segments become spares, up to max_spare committed bytes, largest first since the newest are the
 * largest; the next unit of work that spills finds them and asks the backing for nothing.
 */
#define _GNU_SOURCE
#include "segment.h"

#include "backing_private.h"
#include "checks.h"
#include "configs.h"
#include "misuse_private.h"

enum { SMALLEST_USEFUL = 64 /* usable bytes a default-sized arena accepts */ };
#define ARENA_HEADER ((sizeof(struct arena) + 63) & ~(size_t)63)
#define SPILL_MIN ((size_t)4096)
#define SPILL_MAX ((size_t)4 << 20) /* bytes; beyond it doubling saves few calls and wastes much memory */

struct cleanup {
    void (*fn)(void *data);
    void *data;
    struct cleanup *next;
};

/* Reports a call on an arena that has been given back. */
static bool is_idle(const struct arena *a, const char *call)
{
    return (a->flags & ARENA_CHECKED) != 0 && check_is_idle(a, call);
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* Allocates from a further segment. */
static void *spill(struct arena *a, size_t size, size_t align)
{
    size_t current_size = (size_t)(a->current->end - a->current->start);
    size_t first_size = (size_t)(a->first.end - a->first.start);
    size_t growth, need = round_up_16(size);
    struct segment *s;
    char *p;

    if (align > BP_ALIGNMENT) {
        if (align > PTRDIFF_MAX || need > PTRDIFF_MAX - align)
            return no_memory();
        need += align;
    }
    if (need == 0)
        need = BP_ALIGNMENT;
    growth = min_size(current_size, SIZE_MAX / 2) * 2;
    growth = min_size(growth, first_size > SPILL_MAX ? first_size : SPILL_MAX);
    growth = growth > SPILL_MIN ? growth : SPILL_MIN;

    s = spare_take(a, need);
    if (s == NULL)
        s = need > growth / 2 ? segment_acquire(a, need, need) : segment_acquire(a, need, growth);
    if (s == NULL)
        return no_memory();
    p = s->start + ((size_t)(0 - (uintptr_t)s->start) & (align - 1));
    if (segment_commit(a, s, p + round_up_16(size)) != 0) {
        segment_dispose(a, s);
        return no_memory();
    }

    s->older = a->newest;
    a->newest = s;
    arena_flag(a, ARENA_SPILLED);
    s->top = p + round_up_16(size);
    if (need > (size_t)(s->end - s->start) / 2) {
        a->earlier += (size_t)(s->top - s->start);
        return p;
    }
    a->earlier = arena_used(a);
    a->current->top = a->pub.cursor;
    a->current = s;
    a->floor = s->start;
    a->pub.cursor = s->top;
    arena_set_limit(a, segment_limit(s));
    return p;
}

int arena_reserve(struct arena *a, size_t size)
{
    struct segment *s;
    size_t need;

    if (size > PTRDIFF_MAX - BP_ALIGNMENT)
        return ENOMEM;
    need = size != 0 ? round_up_16(size) : BP_ALIGNMENT;
    s = spare_take(a, need);
    if (s == NULL)
        s = segment_acquire(a, need, need);
    if (s == NULL)
        return ENOMEM;
    s->older = a->newest;
    a->newest = s;
    arena_flag(a, ARENA_SPILLED);
    a->earlier = arena_used(a);
    a->current->top = a->pub.cursor;
    a->current = s;
    a->floor = a->pub.cursor = s->start;
    arena_set_limit(a, segment_limit(s));
    return 0;
}

void *arena_alloc_alone(struct arena *a, size_t size, size_t align, char **end)
{
    struct segment *s;

    if (size > PTRDIFF_MAX - BP_ALIGNMENT - align)
        return no_memory();
    s = segment_acquire(a, round_up_16(size) + align, round_up_16(size) + align);
    if (s == NULL)
        return no_memory();
    if (segment_commit(a, s, s->end) != 0) {
        segment_dispose(a, s);
        return no_memory();
    }
    s->older = a->newest;
    a->newest = s;
    arena_flag(a, ARENA_SPILLED);
    s->top = *end = s->end;
    return s->end - round_up_16(size) - ((uintptr_t)(s->end - round_up_16(size)) & (align - 1));
}

struct segment *arena_segment_of(struct arena *a, const char *p)
{
    const struct segment *s = a->current;

    /* A block beyond the growth sequence lies in the newest segment, not in the current one. */
    return (uintptr_t)p >= (uintptr_t)s->start && (uintptr_t)p <= (uintptr_t)a->pub.cursor ? a->current : a->newest;
}

/* In the current segment; false when it is not to be had there. */
static bool bump(struct arena *a, size_t size, size_t align, void **out)
{
    size_t pad = (size_t)(0 - (uintptr_t)a->pub.cursor) & (align - 1);
    size_t room = (size_t)(a->current->end - a->pub.cursor);
    char *p;

    if (pad > room || size > room - pad)
        return false;
    p = a->pub.cursor + pad;
    *out = NULL;
    if (arena_commit(a, p + round_up_16(size)) == 0) {
        a->pub.cursor = p + round_up_16(size);
        *out = p;
    }
    return true;
}

void *arena_bump(struct arena *a, size_t size, size_t align)
{
    void *p;

    if (!bump(a, size, align, &p))
        return spill(a, size, align);
    return p != NULL ? p : no_memory();
}

void *bp_arena_alloc_slow(bp_arena *pub, size_t size, size_t align)
{
    struct arena *a = arena_of(pub);
    void *p;

    if ((a->flags & ARENA_CHECKED) != 0)
        return check_alloc(a, size, align);
    if (size > PTRDIFF_MAX - BP_ALIGNMENT)
        return no_memory();
    if (bump(a, size, align, &p))
        return p != NULL ? p : no_memory();
    return (a->flags & ARENA_FIXED) != 0 ? no_memory() : spill(a, size, align);
}

/* ---- life ---- */

int arena_config_check(const struct bp_arena_config *config)
{
    if (config->size == 0 || config->size > PTRDIFF_MAX)
        return EINVAL;
    if (config->policy != BP_ARENA_SPILL && config->policy != BP_ARENA_FIXED)
        return EINVAL;
    if (config->checks != BP_CHECK_OFF && (config->checks & ~(unsigned)BP_CHECK_ALL) != 0)
        return EINVAL;
    return 0;
}

/* The extent of an arena whose first `header` bytes are not for blocks. */
static int first_extent(bp_backing *backing, const struct bp_arena_config *config, size_t header,
                        struct bp_extent *extent)
{
    size_t preferred, min;

    if (config->size > PTRDIFF_MAX - BP_ALIGNMENT - header)
        return ENOMEM;
    preferred = header + round_up_16(config->size);
    min = preferred;
    if (config->size == BP_ARENA_SIZE_DEFAULT && config->policy == BP_ARENA_SPILL)
        min = header + SMALLEST_USEFUL;
    return backing_acquire(backing, min, preferred, SEGMENT_ALIGN, extent);
}

static void arena_init(struct arena *a, bp_backing *backing, const struct bp_arena_config *config, size_t header,
                       const struct bp_extent *extent, struct arena_totals *totals, struct checks *checks)
{
    a->backing = backing;
    a->totals = totals;
    a->max_spare = config->max_spare;
    segment_init(&a->first, extent, header);
    if (config->policy == BP_ARENA_FIXED) {
        size_t size = round_up_16(config->size);

        arena_flag(a, ARENA_FIXED);
        if ((size_t)(a->first.end - a->first.start) > size)
            a->first.end = a->first.start + size;
    }
    a->current = a->newest = &a->first;
    a->floor = a->pub.cursor = a->pub.quick_end = a->pub.start = a->first.start;
    a->pub.limit = segment_limit(&a->first);
    if (a->pub.limit < a->pub.cursor) /* less than the header is committed, or just that */
        a->pub.limit = a->pub.cursor;
    a->footprint = extent->committed;
    arena_totals_add(a, extent->size, extent->committed);
    if (totals != NULL)
        atomic_fetch_add_explicit(arena_peak_counter(totals, a->peak), 1, memory_order_relaxed);
    if (checks != NULL)
        check_begin(a, checks);
    check_hide(a, a->first.start, (char *)extent->base + extent->committed);
}

int arena_open(struct arena *a, bp_backing *backing, const struct bp_arena_config *config,
               struct arena_totals *totals)
{
    struct bp_extent extent;
    struct checks *checks;
    int rc = check_make(config->checks, &backing, &checks);

    if (rc != 0)
        return rc;
    rc = first_extent(backing, config, 0, &extent);
    if (rc == 0)
        arena_init(a, backing, config, 0, &extent, totals, checks);
    else
        check_unmake(checks);
    return rc;
}

void arena_close(struct arena *a)
{
    struct bp_extent extent;

    if (a->checks != NULL)
        check_end(a);
    spares_dispose(a);
    a->max_spare = 0;
    segments_retire(a, &a->first);
    arena_totals_add(a, 0 - a->first.extent.size, 0 - a->first.extent.committed);
    if (a->totals != NULL) {
        arena_count(a, 0, 0);
        atomic_fetch_sub_explicit(arena_peak_counter(a->totals, a->peak), 1, memory_order_relaxed);
    }
    extent = a->first.extent; /* the arena may lie in it */
    check_show_extent(a, &extent);
    check_gone(a);
    backing_dispose(a->backing, &extent);
}

int bp_arena_create(bp_backing *backing, const struct bp_arena_config *config, bp_arena **out)
{
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    struct bp_extent extent;
    struct checks *checks;
    struct arena *a;
    int rc;

    if (backing == NULL)
        backing = bp_backing_malloc();
    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0 || arena_config_check(&c) != 0 ||
        !backing_is_sane(backing))
        return EINVAL;
    rc = check_make(c.checks, &backing, &checks);
    if (rc != 0)
        return rc;
    rc = first_extent(backing, &c, ARENA_HEADER, &extent);
    if (rc != 0) {
        check_unmake(checks);
        return rc;
    }
    rc = backing_commit(backing, &extent, ARENA_HEADER);
    if (rc != 0) {
        backing_dispose(backing, &extent);
        check_unmake(checks);
        return rc;
    }
    a = extent.base;
    memset(a, 0, sizeof *a);
    arena_init(a, backing, &c, ARENA_HEADER, &extent, NULL, checks);
    *out = &a->pub;
    return 0;
}

/* ---- cleanups ---- */

int arena_check_not_busy(struct arena *a, const bp_pool *pool, const char *call)
{
    if ((a->flags & ARENA_IN_CLEANUP) == 0)
        return 0;
    return misuse_report(BP_MISUSE_BUSY_ARENA, pool, &a->pub, "%s of arena %p from inside its own cleanup", call,
                         (void *)a);
}

/* Runs the cleanups registered after `until`, newest first. */
static void run_cleanups(struct arena *a, const struct cleanup *until)
{
    arena_flag(a, ARENA_IN_CLEANUP);
    while (a->cleanups != until) {
        struct cleanup *c = a->cleanups;

        a->cleanups = c->next; /* first: it must not run again, whatever it does */
        c->fn(c->data);
    }
    arena_unflag(a, ARENA_IN_CLEANUP);
    if (a->cleanups == NULL)
        arena_unflag(a, ARENA_CLEANUPS);
}

int bp_arena_on_reset(bp_arena *pub, void (*fn)(void *data), void *data)
{
    struct arena *a = arena_of(pub);
    struct cleanup *c;

    if (fn == NULL)
        return EINVAL;
    if ((a->flags & ARENA_IN_CLEANUP) != 0)
        return EBUSY;
    c = bp_arena_alloc(pub, sizeof *c);
    if (c == NULL)
        return errno;
    *c = (struct cleanup){ fn, data, a->cleanups };
    a->cleanups = c;
    arena_flag(a, ARENA_CLEANUPS);
    return 0;
}

/* ---- reset, marks, destroy ---- */

void arena_raise_peak(struct arena *a)
{
    size_t used = arena_used(a);

    segment_touch(a, a->current, a->pub.cursor);
    if (used <= a->recent) /* which is at most `peak` */
        return;
    a->recent = used;
    if (used > a->peak)
        arena_peak_set(a, used);
}

/* Any reset, but for `quick_end`. */
static void drop_blocks(struct arena *a)
{
    char *to;

    if ((a->flags & ARENA_CLEANUPS) != 0)
        run_cleanups(a, NULL);
    arena_raise_peak(a);
    to = (a->flags & ARENA_CHECKED) != 0 ? check_reset(a) : a->first.start;
    if ((a->flags & ARENA_SPILLED) != 0) {
        a->current->top = a->pub.cursor;
        segments_retire(a, &a->first);
        segment_touch(a, &a->first, a->first.top);
        a->current = &a->first;
        a->pub.limit = segment_limit(&a->first);
        a->earlier = 0;
    }
    if ((a->flags & ARENA_MARKED) != 0)
        a->epoch++;
    a->pub.cursor = to;
    arena_set_limit(a, a->pub.limit);
    arena_unflag(a, ARENA_SPILLED | ARENA_MARKED);
    arena_recount_if_due(a);
}

/* At the end of a reset: how far the next units of work may go without another slow one. No further than
 * `recent`, so that going beyond it is noticed. */
static void settle_quick_end(struct arena *a)
{
    if ((a->flags & ARENA_SLOW_RESET) == 0) /* otherwise it is NULL */
        a->pub.quick_end = a->first.start + min_size(a->recent, (size_t)(a->first.touched - a->first.start));
}

void arena_reset_slow(struct arena *a)
{
    drop_blocks(a);
    if ((a->flags & ARENA_SITED) != 0) {
        atomic_store_explicit(&a->site, NULL, memory_order_relaxed); /* pairs with bp_pool_each_live */
        arena_unflag(a, ARENA_SITED);
    }
    settle_quick_end(a);
}

void bp_arena_reset(bp_arena *pub)
{
    struct arena *a = arena_of(pub);

    if (arena_check_not_busy(a, NULL, "reset") != 0 || check_is_idle(a, "reset"))
        return;
    if (arena_resets_by_a_store(a)) {
        pub->cursor = a->first.start;
    } else {
        drop_blocks(a); /* its holder keeps it, so the site stays */
        settle_quick_end(a);
        if ((a->flags & ARENA_CHECKED) != 0)
            check_tell();
    }
}

int bp_arena_destroy(bp_arena *pub)
{
    struct arena *a = arena_of(pub);

    if (a == NULL)
        return 0;
    if (a->totals != NULL)
        return misuse_report(BP_MISUSE_POOL_ARENA, NULL, pub, "arena %p belongs to a pool: give it back instead",
                             (void *)a);
    if (arena_check_not_busy(a, NULL, "destroy") != 0)
        return EBUSY;
    arena_reset(a);
    arena_close(a);
    check_tell();
    return 0;
}

void bp_arena_wipe(bp_arena *pub)
{
    struct arena *a = arena_of(pub);

    bool always = (a->flags & ARENA_WIPE) != 0;

    if (arena_check_not_busy(a, NULL, "wipe") != 0 || check_is_idle(a, "wipe"))
        return;
    arena_flag(a, ARENA_WIPE); /* for the spill extents that go now */
    drop_blocks(a);
    if (!always)
        arena_unflag(a, ARENA_WIPE);
    for (struct segment *s = a->spare; s != NULL; s = s->older)
        segment_wipe(a, s);
    arena_wipe(a);
    settle_quick_end(a);
    check_tell();
}

bp_mark bp_arena_mark(bp_arena *pub)
{
    struct arena *a = arena_of(pub);
    bp_mark mark = { pub->cursor, a->current, a->newest, a->cleanups, NULL, a->earlier, a->epoch };

    if (is_idle(a, "mark"))
        return (bp_mark){ NULL, NULL, NULL, NULL, NULL, 0, 0 }; /* dead */
    mark.floor = (a->flags & ARENA_MARKED) != 0 ? a->floor : a->current->start;
    arena_flag(a, ARENA_MARKED);
    a->floor = pub->cursor;
    if ((a->flags & ARENA_CHECKED) != 0)
        check_mark(a, &mark);
    return mark;
}

static bool mark_is_alive(const struct arena *a, const bp_mark *mark)
{
    bool segment_found = false, newest_found = false;
    const struct cleanup *c = a->cleanups;

    if ((a->flags & ARENA_CHECKED) != 0 ? !check_mark_is_alive(a, mark) :
                                          mark->epoch != a->epoch || (a->flags & ARENA_MARKED) == 0)
        return false;
    for (const struct segment *s = a->newest; s != NULL; s = s->older) {
        newest_found |= s == mark->newest;
        if (s == mark->segment) {
            const char *top = s == a->current ? a->pub.cursor : s->top;

            segment_found = mark->cursor >= s->start && mark->cursor <= top;
        }
    }
    while (c != NULL && c != mark->cleanup)
        c = c->next;
    return segment_found && newest_found && c == mark->cleanup;
}

/* But for the telling. */
static int rewind_to(bp_arena *pub, bp_mark mark)
{
    struct arena *a = arena_of(pub);

    if (arena_check_not_busy(a, NULL, "rewind") != 0)
        return EBUSY;
    if (check_is_idle(a, "rewind"))
        return EINVAL;
    if (!mark_is_alive(a, &mark))
        return misuse_report(BP_MISUSE_DEAD_MARK, NULL, pub,
                             "arena %p rewound to a mark that is dead: reset, or rewound past, since", (void *)a);
    if (a->cleanups != mark.cleanup)
        run_cleanups(a, mark.cleanup);
    arena_raise_peak(a);
    if ((a->flags & ARENA_CHECKED) != 0 && check_rewind(a, &mark)) {
        a->floor = pub->cursor;
        return 0;
    }
    if (a->newest != mark.newest) {
        a->current->top = pub->cursor;
        segments_retire(a, mark.newest);
    }
    if (a->current != mark.segment) {
        a->current = mark.segment;
        segment_touch(a, a->current, a->current->top);
        pub->limit = segment_limit(a->current);
    }
    pub->cursor = mark.cursor;
    arena_set_limit(a, pub->limit);
    a->floor = mark.cursor;
    a->earlier = mark.earlier;
    if (a->newest == &a->first)
        arena_unflag(a, ARENA_SPILLED);
    arena_recount_if_due(a);
    return 0;
}

int bp_arena_rewind(bp_arena *pub, bp_mark mark)
{
    int rc = rewind_to(pub, mark);

    if ((arena_of(pub)->flags & ARENA_CHECKED) != 0)
        check_tell();
    return rc;
}

void bp_arena_scope_end(struct bp_arena_scope_guard *guard)
{
    /* Nobody has the mark any more: blocks below it may be resized again. */
    if (rewind_to(guard->arena, guard->mark) == 0) {
        struct arena *a = arena_of(guard->arena);

        a->floor = guard->mark.floor;
        if ((a->flags & ARENA_CHECKED) != 0) {
            check_unmark(a, &guard->mark);
            check_tell();
        }
    }
}

/* ---- facts ---- */

size_t bp_arena_used(const bp_arena *pub)
{
    const struct arena *a = arena_of_const(pub);

    return is_idle(a, "used") ? 0 : arena_used(a);
}

size_t bp_arena_capacity(const bp_arena *pub)
{
    const struct arena *a = arena_of_const(pub);
    size_t sum = 0;

    if (is_idle(a, "capacity"))
        return 0;
    if ((a->flags & ARENA_FIXED) != 0)
        return (size_t)(a->first.end - a->first.start);
    for (const struct segment *s = a->newest; s != NULL; s = s->older)
        sum += (size_t)(s->end - s->start);
    for (const struct segment *s = a->spare; s != NULL; s = s->older)
        sum += (size_t)(s->end - s->start);
    return sum;
}

size_t bp_arena_remaining(const bp_arena *pub)
{
    const struct arena *a = arena_of_const(pub);

    if (is_idle(a, "remaining"))
        return 0;
    if ((a->flags & ARENA_CHECKED) != 0 && (a->flags & ARENA_FIXED) != 0)
        return bp_arena_capacity(pub) - arena_used(a);
    return (size_t)(a->current->end - pub->cursor);
}

size_t bp_arena_high_water(const bp_arena *pub)
{
    const struct arena *a = arena_of_const(pub);
    size_t used;

    if (is_idle(a, "high_water"))
        return 0;
    used = arena_used(a);
    return used > a->peak ? used : a->peak;
}

bool bp_arena_owns(const bp_arena *pub, const void *p)
{
    const struct arena *a = arena_of_const(pub);
    uintptr_t x = (uintptr_t)p;

    if ((a->flags & ARENA_CHECKED) != 0)
        return !check_is_idle(a, "owns") && check_owns(a, p);
    for (const struct segment *s = a->newest; s != NULL; s = s->older)
        if (x >= (uintptr_t)s->start && x < (uintptr_t)(s == a->current ? pub->cursor : s->top))
            return true;
    return false;
}
