/* SPDX-License-Identifier: MIT
 * The segments of an arena, for arena.c and arena_idle.c: struct segment is in arena_private.h.
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include "arena_private.h"

enum { SEGMENT_ALIGN = 64 }; /* of extents: blocks of an empty arena start on a cache line */

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- sums over the arenas of a pool; nothing happens for an arena that is not of one ---- */

void arena_totals_add(struct arena *a, size_t reserved, size_t committed); /* modular */
_Atomic(size_t) *arena_peak_counter(struct arena_totals *t, size_t peak);  /* counts arenas with this peak */
void arena_peak_set(struct arena *a, size_t peak);
void arena_count(struct arena *a, size_t touched, size_t resident); /* of a pool: what the totals are to hold */

/* Brings the totals up to date with the watermarks; the second after a reset or rewind: not when a wipe will lower
 * the watermarks again, and every time the same ones. */
void arena_recount(struct arena *a);
void arena_recount_if_due(struct arena *a);

/* ---- one segment ---- */

/* Where what may be resident ends; the same from the base, in whole granules: the rest of the last one was never
 * written, but it is there. */
char *segment_dirty_end(const struct segment *s);
size_t segment_dirty_extent(const struct segment *s);

/* Up to where blocks may be handed out without a commit. */
char *segment_limit(const struct segment *s);

/* `header` bytes at the base belong to the segment's holder and are not zero. */
void segment_init(struct segment *s, const struct bp_extent *extent, size_t header);

/* Bytes up to `end` are no longer known zero. */
void segment_touch(struct arena *a, struct segment *s, char *end);

/* 0 or ENOMEM. */
int segment_commit(struct arena *a, struct segment *s, const char *upto);

/* Overwrites what was handed out of a segment that is not in use. */
void segment_wipe(struct arena *a, struct segment *s);

/* ---- further segments ---- */

/* With room for `min` bytes of blocks, better `preferred`, its struct at the base. NULL: no memory. */
struct segment *segment_acquire(struct arena *a, size_t min, size_t preferred);
void segment_dispose(struct arena *a, struct segment *s);

/* Takes the segments newer than `keep` out of the chain; the cursor is no longer in any of them. */
void segments_retire(struct arena *a, struct segment *keep);

/* The smallest spare with room for `need` usable bytes, taken out of the list; NULL if none. */
struct segment *spare_take(struct arena *a, size_t need);
struct segment *spare_unlink(struct arena *a, struct segment **link);
void spares_dispose(struct arena *a);

#endif
