/* SPDX-License-Identifier: MIT
 *
 * The misuse handler: one pair of function and data for the process, under a mutex so that a report sees
 * the two halves of one call of bp_set_misuse_handler.
 */
#define _GNU_SOURCE
#include "misuse_private.h"

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
}

int misuse_report(enum bp_misuse_kind kind, const bp_pool *pool, const bp_arena *arena, const char *format, ...)
{
    void (*fn)(const struct bp_misuse *misuse, void *data);
    char message[256];
    void *data;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    pthread_mutex_lock(&handler_lock);
    fn = handler;
    data = handler_data;
    pthread_mutex_unlock(&handler_lock);

    struct bp_misuse misuse = { kind, message, pool, arena };

    if (fn != NULL) {
        fn(&misuse, data);
    } else {
        print(&misuse);
        if (kind != BP_MISUSE_LIVE_ARENAS)
            abort();
    }
    return kind == BP_MISUSE_BUSY_ARENA || kind == BP_MISUSE_LIVE_ARENAS ? EBUSY : EINVAL;
}

void misuse_before_fork(void)
{
    pthread_mutex_lock(&handler_lock);
}

void misuse_after_fork(void)
{
    pthread_mutex_unlock(&handler_lock);
}
