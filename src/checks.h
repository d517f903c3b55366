/* SPDX-License-Identifier: MIT
 * Checked mode, for arena.c, arena_data.c and the pool: see <bumpool/check.h> for what it does.
 *
 * Every function that takes an arena may be called by its holder, or for an idle one by the pool, and unless
 * said otherwise only for a checked one.
 */
#ifndef CHECKS_H
#define CHECKS_H

#include "arena_private.h"
#include "misuse_private.h"

/* What a configuration's `checks` come to: flags without BP_CHECK_OFF. */
unsigned check_effective(unsigned config);

/* ---- life ---- */

/* The bookkeeping for an arena to be, *out NULL if there are to be no checks; replaces the backing where the
 * checks ask for it. 0 or ENOMEM. */
int check_make(unsigned config, bp_backing **backing, struct checks **out);
void check_unmake(struct checks *c); /* NULL is left alone */

void check_begin(struct arena *a, struct checks *c); /* the arena is complete, but for this */
void check_end(struct arena *a);                     /* it is about to lose its extents */
void check_gone(struct arena *a);                    /* has lost them: its place, if it has one, is left as one
                                                        that was given back. Checked or not */

/* ---- blocks ---- */

/* bp_arena_alloc_slow and bp_arena_realloc. */
void *check_alloc(struct arena *a, size_t size, size_t align);
void *check_realloc(struct arena *a, char *p, size_t old_size, size_t new_size);

/* Drops all blocks. Where the cursor is to go in the first segment. */
char *check_reset(struct arena *a);

/* Completes a mark; whether it is alive; drops all blocks since. True: the cursor and the segments are to stay
 * as they are. */
void check_mark(struct arena *a, bp_mark *mark);
bool check_mark_is_alive(const struct arena *a, const bp_mark *mark);
bool check_rewind(struct arena *a, const bp_mark *mark);
void check_unmark(struct arena *a, const bp_mark *mark); /* nobody has it any more */

bool check_owns(const struct arena *a, const void *p);

/* ---- idle arenas ---- */

/* The arena goes to the pool, or comes from it; `from` says where in the program it was checked out, NULL: not
 * known. The pool's lock is held. */
void check_set_idle(struct arena *a);
void check_set_live(struct arena *a, const struct misuse_stack *from);

/* Where that was. */
const struct misuse_stack *check_live_since(const struct arena *a);

/* For any arena: reports a call on an arena that has been given back. */
bool check_is_idle(const struct arena *a, const char *call);

/* Looks at what was dropped, and reports. No lock may be held. */
void check_look(struct arena *a);

/* Reports what this thread has found in calls of other functions here, which only take note of it: a handler may
 * leave by longjmp or use the arena, so it is called when all is done, before a public call returns. */
void check_tell(void);

/* For an empty arena: looks at what was dropped for the last time, since its pages are about to change. */
void check_settle(struct arena *a);

/* ---- what tools see; any arena, checked or not ---- */

void check_show(struct arena *a, char *p, const char *end);
void check_hide(struct arena *a, char *p, const char *end); /* if what is dropped is hidden */
void check_show_extent(struct arena *a, const struct bp_extent *extent); /* before it is disposed of */

/* fork: around it, in the thread that forks. */
void check_before_fork(void);
void check_after_fork(void);

#endif
