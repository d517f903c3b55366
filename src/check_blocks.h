/* SPDX-License-Identifier: MIT
 * The blocks that a checked arena knows: what checks.c and check_reports.c share. See checks.c.
 */
#ifndef CHECK_BLOCKS_H
#define CHECK_BLOCKS_H

#include "checks.h"

struct block {
    char *place, *place_end;
    char *start;
    size_t size;    /* bytes as asked for; of a mark: how many share the record */
    size_t align;   /* as asked for */
    size_t counted; /* bytes of it and of padding in `used`; of a mark: what `used` was */
    uint64_t mark;  /* the number of a mark, unique in the process, which has a record but no bytes; 0: a block */
    bool dropped;
    bool holed;     /* it shrank while it was not the last: what comes after it does not touch it */
    struct misuse_stack stack;
};

struct block_list {
    struct block *item;
    size_t count, room;
};

struct checks {
    unsigned what;           /* enum bp_check */
    atomic_bool idle;        /* given back. Relaxed: who comes too late may or may not be seen */
    struct misuse_stack from; /* where the arena was checked out. Sync: the pool's lock */
    struct arena *arena;
    size_t used;             /* bytes, see the head */
    struct block_list block; /* of the present unit of work */
    struct block_list last;  /* of the one before */
    const char *site;        /* what the arena was checked out for when blocks were dropped last */
    struct checks *next, *previous; /* sync: all_lock */
};

static inline const bp_pool *check_pool_of(const struct arena *a)
{
    return a->totals != NULL ? a->totals->pool : NULL;
}

/* "arena 0x... of pool "name" (checked out at site)". Returns `text`. */
const char *check_describe(const struct arena *a, char *text, size_t size);

/* Notes, for check_tell, that a byte of a red zone of `b`, or one of what was dropped, was written. It can be
 * read. */
void check_report_zone(struct arena *a, const struct block *b, const char *byte);
void check_report_dropped(struct arena *a, const char *byte);

/* After a tool's report about `address`: prints which block of which of these arenas it belongs to. */
void check_tell_of_address(const struct checks *all, const void *address);

#endif
