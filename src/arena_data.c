/* SPDX-License-Identifier: MIT
 *
 * Allocation with contents: zeroed, resized, copied and formatted blocks.
 */
#define _GNU_SOURCE
#include "arena_private.h"

#include "checks.h"

#include <limits.h>
#include <stdio.h>

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *bp_arena_zalloc(bp_arena *pub, size_t size)
{
    struct arena *a = arena_of(pub);
    char *p = bp_arena_alloc(pub, size);
    const char *dirty;

    if (p == NULL)
        return NULL;
    dirty = (a->flags & ARENA_CHECKED) != 0 ? p + size : segment_zero_frontier(arena_segment_of(a, p));
    if (p < dirty)
        memset(p, 0, size < (size_t)(dirty - p) ? size : (size_t)(dirty - p));
    return p;
}

void *bp_arena_calloc(bp_arena *pub, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return no_memory();
    return bp_arena_zalloc(pub, n * size);
}

/* The last block, resized where it is; NULL when it cannot be. */
static void *resize_last(struct arena *a, char *p, size_t new_size)
{
    if (new_size > (size_t)(a->current->end - p))
        return NULL;
    if (p + round_up_16(new_size) > a->pub.limit && arena_commit(a, p + round_up_16(new_size)) != 0)
        return NULL;
    arena_raise_peak(a); /* in case it shrinks */
    a->pub.cursor = p + round_up_16(new_size);
    return p;
}

void *bp_arena_realloc(bp_arena *pub, void *block, size_t old_size, size_t new_size)
{
    struct arena *a = arena_of(pub);
    char *p = block;
    const char *lowest;
    void *q;

    if (p == NULL)
        return bp_arena_alloc(pub, new_size);
    if (old_size > PTRDIFF_MAX - BP_ALIGNMENT || new_size > PTRDIFF_MAX - BP_ALIGNMENT)
        return no_memory();
    if ((a->flags & ARENA_CHECKED) != 0)
        return check_realloc(a, p, old_size, new_size);
    /* A block below the floor belongs to the time before a mark: growing it would put bytes of it where
     * a rewind drops them, shrinking it would put younger blocks below the mark. Nor is every block that
     * ends at the cursor in the current segment: the one below may touch it. */
    lowest = (a->flags & ARENA_MARKED) != 0 ? a->floor : a->current->start;
    if (p + round_up_16(old_size) == pub->cursor && (uintptr_t)p >= (uintptr_t)lowest) {
        q = resize_last(a, p, new_size);
        if (q != NULL)
            return q;
    }
    if (new_size <= old_size)
        return p;
    q = bp_arena_alloc(pub, new_size);
    if (q != NULL)
        memcpy(q, p, old_size);
    return q;
}

void *bp_arena_memdup(bp_arena *pub, const void *p, size_t size)
{
    void *q = bp_arena_alloc(pub, size);

    if (q != NULL && size != 0)
        memcpy(q, p, size);
    return q;
}

char *bp_arena_strdup(bp_arena *pub, const char *s)
{
    return bp_arena_memdup(pub, s, strlen(s) + 1);
}

char *bp_arena_strndup(bp_arena *pub, const char *s, size_t n)
{
    size_t length = strnlen(s, n);
    char *q;

    if (length == SIZE_MAX)
        return no_memory();
    q = bp_arena_alloc(pub, length + 1);
    if (q != NULL) {
        memcpy(q, s, length);
        q[length] = '\0';
    }
    return q;
}

/* Something wrote up to n bytes at p, past the cursor: what was known to be zero has to be so again. */
static void unwrite(struct segment *s, char *p, size_t n)
{
    char *zero = segment_zero_frontier(s);

    zero = zero > p ? zero : p;
    if (zero < p + n)
        memset(zero, 0, (size_t)(p + n - zero));
    if (p + n > s->resident)
        s->resident = p + n;
}

char *bp_arena_vprintf(bp_arena *pub, const char *format, va_list args)
{
    struct arena *a = arena_of(pub);
    size_t room = (size_t)(pub->limit - pub->cursor) < INT_MAX ? (size_t)(pub->limit - pub->cursor) : INT_MAX;
    va_list again;
    char *p = pub->cursor;
    int length;

    va_copy(again, args);
    /* Into the room there is: most strings fit and are formatted once. */
    length = vsnprintf(room != 0 ? p : NULL, room, format, args);
    if (length >= 0 && (size_t)length < room) {
        pub->cursor = p + round_up_16((size_t)length + 1);
    } else {
        unwrite(a->current, p, room);
        p = length >= 0 ? bp_arena_alloc(pub, (size_t)length + 1) : NULL;
        if (p != NULL)
            (void)vsnprintf(p, (size_t)length + 1, format, again);
    }
    va_end(again);
    return p;
}

char *bp_arena_printf(bp_arena *pub, const char *format, ...)
{
    va_list args;
    char *p;

    va_start(args, format);
    p = bp_arena_vprintf(pub, format, args);
    va_end(args);
    return p;
}
