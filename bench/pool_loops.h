/* SPDX-License-Identifier: MIT
 * The loops of all contestants, so that they differ in the two calls alone.
 *
 * What takes and puts must be a real call. It is, where it is in a shared library; the contestants that are
 * in this program have their functions in files of their own, noinline, away from the loops.
 *
 * Every thing has its first word read: a warm one is what a pool is for.
 */
#ifndef BENCH_POOL_LOOPS_H
#define BENCH_POOL_LOOPS_H

#include <errno.h>

#include "pool.h"

static inline void pool_touch(const void *thing)
{
    (void)*(const volatile uintptr_t *)thing;
}

/* TAKE(own, thing) sets `thing` and gives 0, or gives an errno value: EAGAIN when another thread has what
 * there is. PUT(own, thing) likewise; it never fails in a correct program. */
#define POOL_LOOPS(prefix, type, TAKE, PUT)                                                              \
    static int prefix##_pairs(void *own, size_t count)                                                   \
    {                                                                                                    \
        for (size_t i = 0; i < count; i++) {                                                             \
            type *thing;                                                                                 \
            unsigned failures = 0;                                                                       \
            int error;                                                                                   \
                                                                                                         \
            while (UNLIKELY((error = TAKE(own, thing)) != 0)) {                                          \
                if (error != EAGAIN)                                                                     \
                    return error;                                                                        \
                pool_back_off(++failures);                                                               \
            }                                                                                            \
            pool_touch(thing);                                                                           \
            if (UNLIKELY((error = PUT(own, thing)) != 0))                                                \
                return error;                                                                            \
        }                                                                                                \
        return 0;                                                                                        \
    }                                                                                                    \
                                                                                                         \
    static int prefix##_held(void *own, size_t count, size_t depth, bool oldest_first)                   \
    {                                                                                                    \
        type *things[HELD_MAX];                                                                          \
        int error;                                                                                       \
                                                                                                         \
        for (size_t done = 0; done < count; done += depth) {                                             \
            for (size_t i = 0; i < depth; i++) {                                                         \
                if (UNLIKELY((error = TAKE(own, things[i])) != 0))                                       \
                    return error;                                                                        \
                pool_touch(things[i]);                                                                   \
            }                                                                                            \
            for (size_t i = 0; i < depth; i++)                                                           \
                if (UNLIKELY((error = PUT(own, things[oldest_first ? i : depth - 1 - i])) != 0))         \
                    return error;                                                                        \
        }                                                                                                \
        return 0;                                                                                        \
    }

#endif
