/* SPDX-License-Identifier: MIT
 * The contestants of bumpool-bench pool by name.
 */
#ifndef BENCH_POOL_CONTESTANTS_H
#define BENCH_POOL_CONTESTANTS_H

#include "pool.h"

extern const struct pool_contestant pool_contestant_bumpool;
extern const struct pool_contestant pool_contestant_bumpool_call;
extern const struct pool_contestant pool_contestant_bumpool_wait;
extern const struct pool_contestant pool_contestant_mutex;
extern const struct pool_contestant pool_contestant_treiber;
extern const struct pool_contestant pool_contestant_local;
extern const struct pool_contestant pool_contestant_malloc;
extern const struct pool_contestant pool_contestant_mimalloc;
extern const struct pool_contestant pool_contestant_apr;

/* A pool, for all of bumpool's. */
void *bumpool_setup(size_t things, bool capped);
void bumpool_teardown(void *pool);

#endif
