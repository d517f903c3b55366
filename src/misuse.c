/* SPDX-License-Identifier: MIT
 *
 * The misuse handler: one pair of function and data for the process, under a mutex so that a report sees
 * the two halves of one call of bp_set_misuse_handler.
 */
#define _GNU_SOURCE
#include "config.h"

#include "misuse_private.h"
#include "os.h"

#ifdef HAVE_EXECINFO_H
#include <execinfo.h>
#endif
#include <errno.h>
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

enum { MESSAGE = 256 };

static int call(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                const struct misuse_stack *stack, const char *message)
{
    void (*fn)(const struct bp_misuse *misuse, void *data);
    void *data;

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

static int report(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                  const struct misuse_stack *stack, const char *format, va_list args)
{
    char message[MESSAGE];

    (void)vsnprintf(message, sizeof message, format, args);
    return call(kind, pool, arena, stack, message);
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

/* ---- noted, to be told later ---- */

struct noted {
    struct noted *next;
    enum bp_misuse_kind kind;
    const bp_pool *pool;
    const bp_arena *arena;
    struct misuse_stack stack;
    char message[MESSAGE];
};

/* Oldest first; `noted_last` is valid while there is a first. A thread's, so that what is found in an arena can be
 * told when the arena is somebody else's already. What a handler's longjmp leaves here is told next time. */
static _Thread_local struct noted *noted_first __attribute__((tls_model("initial-exec")));
static _Thread_local struct noted *noted_last __attribute__((tls_model("initial-exec")));

void misuse_note_block(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena,
                       const struct misuse_stack *stack, const char *format, ...)
{
    int saved = errno;
    struct noted *n = malloc(sizeof *n);
    va_list args;

    va_start(args, format);
    if (n != NULL) {
        n->next = NULL;
        n->kind = kind;
        n->pool = pool;
        n->arena = arena;
        n->stack.depth = 0;
        if (stack != NULL)
            n->stack = *stack;
        (void)vsnprintf(n->message, sizeof n->message, format, args);
        *(noted_first != NULL ? &noted_last->next : &noted_first) = n;
        noted_last = n;
    } else { /* better now than not at all */
        (void)report(kind, pool, arena, stack, format, args);
    }
    va_end(args);
    os_restore_errno(saved);
}

void misuse_tell(void)
{
    while (BP_UNLIKELY(noted_first != NULL)) {
        struct noted n = *noted_first;

        free(noted_first);
        noted_first = n.next;
        (void)call(n.kind, n.pool, n.arena, &n.stack, n.message);
    }
}

/* ---- stacks ---- */

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
