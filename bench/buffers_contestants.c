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

const struct buffers_contestant *const buffers_contestants[] = {
    &buffers_contestant_pool,
    &buffers_contestant_pool_alloc,
    &buffers_contestant_bumpool,
    &buffers_contestant_bumpool_quarter,
    &buffers_contestant_pool_call,
    &buffers_contestant_bumpool_call,
    &buffers_contestant_mutex,
    &buffers_contestant_malloc,
#ifdef HAVE_MIMALLOC
    &buffers_contestant_mimalloc,
#endif
    NULL,
};

const char *const buffers_contestants_left_out[] = {
#ifndef HAVE_MIMALLOC
    "mimalloc",
#endif
    NULL,
};
