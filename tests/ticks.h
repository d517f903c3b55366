/* SPDX-License-Identifier: MIT
 * What the tests of bp_pool_tick share: a clock of their own, and pools to be ticked. What a tick does depends
 * on the times that it was told, so nothing in them sleeps.
 */
#ifndef TICKS_H
#define TICKS_H

#include "support.h"

#include <poll.h>

#define MS UINT64_C(1000000)
#define RETAIN (1000 * MS)
#define PERIOD (RETAIN / 4)
#define LATE UINT64_C(1000000000000000) /* ns; the clock does not start at 0 with the pool */

static inline struct bp_pool_config tick_config(size_t arena_size)
{
    struct bp_pool_config c = pool_config();

    c.arena_size = arena_size;
    c.max_idle = c.max_idle_bytes = BP_UNLIMITED;
    c.retain_ns = RETAIN;
    return c;
}

static inline bp_pool *tick_pool(bp_backing *backing, size_t arena_size)
{
    struct bp_pool_config c = tick_config(arena_size);

    return pool_on(backing, &c);
}

static inline bp_backing *releasable(int i)
{
    return i == 0 ? bp_backing_mmap() : bp_backing_reserved();
}

/* Ticks and returns when the next one is due. */
static inline uint64_t ticked(bp_pool *pool, uint64_t now)
{
    uint64_t next = 0;

    must(bp_pool_tick(pool, now, &next) == 0);
    return next;
}

/* Ticks at all times that are due from `now` to `until`; returns the first that is later. */
static inline uint64_t tick_through(bp_pool *pool, uint64_t now, uint64_t until)
{
    while (now <= until) {
        uint64_t next = ticked(pool, now);

        must(next > now);
        now = next;
    }
    return now;
}

/* `n` arenas live at a time, each with `bytes` in use. */
static inline void use(bp_pool *pool, size_t n, size_t bytes)
{
    bp_arena *arenas[2048];

    must(n <= sizeof arenas / sizeof arenas[0]);
    for (size_t i = 0; i < n; i++) {
        char *p;

        arenas[i] = taken(pool);
        p = seen(bp_arena_alloc(arenas[i], bytes));
        must(p != NULL);
        for (size_t at = 0; at < bytes; at += 4096)
            p[at] = 1;
    }
    for (size_t i = n; i-- != 0;)
        given(pool, arenas[i]);
}

/* One arena with `bytes` in use; where they were. */
static inline char *use_at(bp_pool *pool, size_t bytes)
{
    bp_arena *a = taken(pool);
    char *p = bp_arena_alloc(a, bytes);

    must(p != NULL);
    memset(seen(p), 1, bytes);
    given(pool, a);
    return p;
}

static inline bool is_readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, 0) == 1;
}

enum { STEADY = 4, TICKS = 100 };

static inline void steady_units(bp_pool *pool)
{
    for (int i = 0; i < 5; i++)
        use(pool, STEADY, 100 * KIB);
    use(pool, 1, 3 * KIB);
}

#endif
