/* SPDX-License-Identifier: MIT
 * `apr`: apr_pool_create and apr_pool_destroy. Pools are made below one of the thread's own, with an
 * allocator of its own, as servers do it: neither has a lock then.
 */
#include "pool_contestants.h"

#ifdef HAVE_APR

#include <stdlib.h>

#include <apr_allocator.h>
#include <apr_general.h>
#include <apr_pools.h>

#include "pool_loops.h"

static void *apr_setup(size_t things, bool capped)
{
    (void)things;
    (void)capped;
    return apr_initialize() == APR_SUCCESS ? malloc(1) : NULL;
}

static void apr_teardown(void *state)
{
    free(state);
    apr_terminate();
}

static void *apr_thread_begin(void *state)
{
    apr_allocator_t *allocator;
    apr_pool_t *root;

    (void)state;
    if (apr_allocator_create(&allocator) != APR_SUCCESS)
        return NULL;
    if (apr_pool_create_ex(&root, NULL, NULL, allocator) != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, root);
    return root;
}

static void apr_thread_end(void *own)
{
    apr_pool_destroy(own);
}

#define TAKE(own, thing) (apr_pool_create(&(thing), own) == APR_SUCCESS ? 0 : ENOMEM)
#define PUT(own, thing) ((void)(own), apr_pool_destroy(thing), 0)
POOL_LOOPS(apr, apr_pool_t, TAKE, PUT)

const struct pool_contestant pool_contestant_apr = {
    .name = "apr",
    .summary = "apr_pool_create and apr_pool_destroy, below a pool of the thread's own",
    .cases = IN_PAIR | IN_HELD,
    .setup = apr_setup,
    .teardown = apr_teardown,
    .thread_begin = apr_thread_begin,
    .thread_end = apr_thread_end,
    .pairs = apr_pairs,
    .held = apr_held,
};

#endif
