/* SPDX-License-Identifier: MIT
 * The list of contestants, and the one whose functions are in this program.
 */
#include "buffers_loops.h"

#include "buffers_lists.h"

static void *mutex_setup(const struct buffers_load *load)
{
    (void)load;
    return lists_create();
}

static void mutex_teardown(void *state)
{
    lists_destroy(state);
}

#define GET(state, size, thing) (((thing) = lists_get(state, size)) != NULL ? 0 : ENOMEM)
#define PUT(state, size, thing) (lists_put(state, thing, size), 0)
#define DATA(thing) (thing)
BUFFERS_LOOPS(mutex, void *, GET, PUT, DATA)

const struct buffers_contestant buffers_contestant_mutex = {
    .common = {.name = "mutex", .summary = "lists of free buffers behind mutexes, one for each power of two"},
    .reference = "pool",
    .setup = mutex_setup,
    .teardown = mutex_teardown,
    .work = mutex_work,
};

/* ThreadSanitizer does not see how these two hand memory from thread to thread, and would take the writes of
 * both for a race. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_HEAPS
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define NO_HEAPS
#endif
#if defined(HAVE_MIMALLOC) && !defined(NO_HEAPS)
#define WITH_MIMALLOC
#endif

const struct buffers_contestant *const buffers_contestants[] = {
    &buffers_contestant_pool,
    &buffers_contestant_pool_alloc,
    &buffers_contestant_bumpool,
    &buffers_contestant_bumpool_quarter,
    &buffers_contestant_pool_call,
    &buffers_contestant_bumpool_call,
    &buffers_contestant_mutex,
#ifndef NO_HEAPS
    &buffers_contestant_malloc,
#endif
#ifdef WITH_MIMALLOC
    &buffers_contestant_mimalloc,
#endif
    NULL,
};

const char *const buffers_contestants_left_out[] = {
#ifdef NO_HEAPS
    "malloc",
#endif
#ifndef WITH_MIMALLOC
    "mimalloc",
#endif
    NULL,
};
