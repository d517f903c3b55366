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

/* fork: around it, in the thread that forks. */
void misuse_before_fork(void);
void misuse_after_fork(void);

#endif
