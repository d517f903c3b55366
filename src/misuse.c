/* SPDX-License-Identifier: MIT
 *
 * The misuse handler: one pair of function and data for the process, under a mutex so that a report sees
 * the two halves of one call of bp_set_misuse_handler.
 */
#define _GNU_SOURCE
#include "config.h"

#include "misuse_private.h"

#ifdef HAVE_EXECINFO_H
#include <execinfo.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
/* Sync: handler_lock. */
static void (*handler)(const struct bp_misuse *misuse, void *data);
static void *handler_data;

void bp_set_misuse_handler(void (*fn)(const struct bp_misuse *misuse, void *data), void *data)
{
    pthread_mutex_lock(&handler_lock);
    handler = fn;
    handler_data = data;
    pthread_mutex_unlock(&handler_lock);
}

/* One write, so that lines of several threads do not mix; no stdio, whose locks the program may hold. */
static void print(const struct bp_misuse *misuse)
{
    char line[320];
    const char *what = misuse->kind == BP_MISUSE_LIVE_ARENAS ? "" : "misuse: ";
    int length = snprintf(line, sizeof line, "bumpool: %s%s\n", what, misuse->message);

    if (length > 0)
        (void)!write(STDERR_FILENO, line, strlen(line));
    if (misuse->stack_depth != 0) {
        const char *where = misuse->kind == BP_MISUSE_LIVE_ARENAS ?
                                "bumpool: the first of them was checked out at\n" :
                                "bumpool: the block was allocated at\n";
        struct misuse_stack stack = { .depth = misuse->stack_depth };

        memcpy(stack.frames, misuse->stack, stack.depth * sizeof stack.frames[0]);
        (void)!write(STDERR_FILENO, where, strlen(where));
        misuse_stack_print(&stack);
    }
}

static int report(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                  const struct misuse_stack *stack, const char *format, va_list args)
{
    void (*fn)(const struct bp_misuse *misuse, void *data);
    char message[256];
    void *data;

    (void)vsnprintf(message, sizeof message, format, args);
    pthread_mutex_lock(&handler_lock);
    fn = handler;
    data = handler_data;
    pthread_mutex_unlock(&handler_lock);

    struct bp_misuse misuse = { kind, message, pool, arena, NULL, 0 };

    if (stack != NULL && stack->depth != 0) {
        misuse.stack = stack->frames;
        misuse.stack_depth = stack->depth;
    }
    if (fn != NULL) {
        fn(&misuse, data);
    } else {
        print(&misuse);
        if (kind != BP_MISUSE_LIVE_ARENAS)
            abort();
    }
    return kind == BP_MISUSE_BUSY_ARENA || kind == BP_MISUSE_LIVE_ARENAS || kind == BP_MISUSE_CLEANUP_ALLOCATES ?
               EBUSY :
               EINVAL;
}

int misuse_report(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena, const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = report(kind, pool, arena, NULL, format, args);
    va_end(args);
    return rc;
}

int misuse_report_block(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                        const struct misuse_stack *stack, const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = report(kind, pool, arena, stack, format, args);
    va_end(args);
    return rc;
}

void misuse_stack_print(const struct misuse_stack *stack)
{
#ifdef HAVE_EXECINFO_H
    backtrace_symbols_fd(stack->frames, (int)stack->depth, STDERR_FILENO);
#else
    (void)stack;
#endif
}

void misuse_stack_take(struct misuse_stack *stack, const void *first)
{
    stack->depth = 0;
#ifdef HAVE_EXECINFO_H
    void *frames[MISUSE_FRAMES + 4]; /* some are the library's own, or a tool's */
    int n = backtrace(frames, MISUSE_FRAMES + 4), i = 1;

    while (first != NULL && i < n && frames[i] != first)
        i++;
    while (i < n && stack->depth < MISUSE_FRAMES)
        stack->frames[stack->depth++] = frames[i++];
#else
    (void)first;
#endif
}

void misuse_before_fork(void)
{
    pthread_mutex_lock(&handler_lock);
}

void misuse_after_fork(void)
{
    pthread_mutex_unlock(&handler_lock);
}
