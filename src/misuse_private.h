/* SPDX-License-Identifier: MIT
 * Reporting a misuse to the process's handler.
 */
#ifndef MISUSE_PRIVATE_H
#define MISUSE_PRIVATE_H

#include <bumpool.h>

/* Formats the message, calls the handler and, if that returns, gives the errno value of the kind. No lock
 * may be held. */
int misuse_report(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena, const char *format, ...)
    BP_PRINTF(4, 5);

/* Where something was allocated or checked out: return addresses, the innermost first. */
enum { MISUSE_FRAMES = 8 };
struct misuse_stack {
    void *frames[MISUSE_FRAMES];
    size_t depth;
};

/* The same about a block. `stack` may be NULL. */
int misuse_report_block(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                        const struct misuse_stack *stack, const char *format, ...) BP_PRINTF(5, 6);

/* The same, but the handler is called by the next misuse_tell of this thread: for what is found in the middle of
 * something that a handler must not see, or leave by longjmp, half-done. Locks may be held. */
void misuse_note_block(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                       const struct misuse_stack *stack, const char *format, ...) BP_PRINTF(5, 6);

/* Calls the handler for what this thread has noted, oldest first. Last thing before a public call returns. */
void misuse_tell(void);

/* Fills *stack with return addresses, `first` the innermost (NULL: that of whoever calls this); empty where the
 * system cannot say. */
void misuse_stack_take(struct misuse_stack *stack, const void *first);

/* A line for each, to standard error, without malloc. */
void misuse_stack_print(const struct misuse_stack *stack);

/* fork: around it, in the thread that forks. */
void misuse_before_fork(void);
void misuse_after_fork(void);

#endif
