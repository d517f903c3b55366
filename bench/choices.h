/* SPDX-License-Identifier: MIT
 * bumpool-bench choices: what its parts share, and small pools that show what was not chosen.
 *
 * These have one place for each thread or each CPU in front of a list behind a mutex. They check no misuse,
 * count nothing, keep no caps, and nobody can take an idle thing out of a place: less than a pool has to do.
 */
#ifndef BENCH_CHOICES_H
#define BENCH_CHOICES_H

#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* ---- the ways of a thread to find its arenas again: choices_pairs.c ---- */

int choices_pairs(void);
/* That many pairs with the library and nothing else. */
int choices_pairs_alone(long count);

/* ---- the small pools: choices_slots.c, choices_rseq.c ---- */

enum {
    CHOICE_LINE = 64,   /* bytes that processors pass back and forth as one */
    CHOICE_SHIFT = 6,   /* its logarithm */
    CHOICE_SLOTS = 8192 /* the most processors that a Linux for x86-64 can be built for */
};

/* As much of an arena as checkout and give_back look at. */
struct choice_thing {
    _Alignas(CHOICE_LINE) char *cursor;
    char *quick_end, *start;
    struct choice_thing *next; /* in the list */
    atomic_bool held;          /* for the check of rseq alone */
};

enum { CHOICE_IDLE, CHOICE_OUT };

struct choice_slot {
    _Alignas(CHOICE_LINE) _Atomic(struct choice_thing *) thing; /* NULL: none */
    /* As in a lane; of choice_plain alone. */
    _Atomic(uint32_t) state;
    _Atomic(uint32_t) revoked; /* never, but who uses the slot looks */
};

struct choice_pool {
    struct choice_slot slots[CHOICE_SLOTS]; /* first: a slot is found by adding to the pool's address */
    _Alignas(CHOICE_LINE) pthread_mutex_t lock;
    struct choice_thing *list;
    struct choice_thing *things; /* all of them */
    size_t count;
};

/* All things are in the list at first. */
void *choice_setup(size_t things, bool capped);
void choice_teardown(void *pool);

/* The list. NULL: it is empty. */
struct choice_thing *choice_list_take(struct choice_pool *pool) __attribute__((noinline));
void choice_list_put(struct choice_pool *pool, struct choice_thing *thing) __attribute__((noinline));

/* What a pool's give_back does to an arena that is simple to reset. The things of these pools all are. */
static inline void choice_reset(struct choice_thing *thing)
{
    if (UNLIKELY(thing->cursor > thing->quick_end))
        abort();
    thing->cursor = thing->start;
}

extern const struct pool_contestant choice_plain, choice_exchange, choice_mutex, choice_rseq;

/* NULL, or why there is no rseq here. */
const char *choice_rseq_missing(void);
/* Threads that are moved and interrupted take and put things: DONE if none was held twice, and none is lost.
 * What was done goes to `text`. */
int choice_rseq_check(char *text, size_t room);

#endif
