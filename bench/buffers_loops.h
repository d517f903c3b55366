/* SPDX-License-Identifier: MIT
 * The loops of all contestants, so that they differ in their two calls alone; pool_loops.h says what those
 * must be. Everyone has the size loaded from the list of sizes, whether of use or not.
 */
#ifndef BENCH_BUFFERS_LOOPS_H
#define BENCH_BUFFERS_LOOPS_H

#include <errno.h>

#include "buffers.h"

#define BUFFERS_INLINE static inline __attribute__((always_inline))

/* What a holder does with a buffer. Untouched it is, it must still have been asked where it is. */
BUFFERS_INLINE void buffers_use(char *data, size_t size, enum buffers_touch touch)
{
    volatile char *bytes = data;

    __asm__ volatile("" : : "r"(data), "r"(size));
    if (touch == TOUCH_NOTHING)
        return;
    for (size_t i = 0; touch == TOUCH_PAGES && i < size; i += 4096)
        bytes[i] = 1;
    bytes[0] = 1;
    bytes[size - 1] = 1;
}

/* GET(state, size, thing) sets `thing`; PUT(state, size, thing). Both give 0 or an errno value. DATA(thing)
 * is where its bytes are. The compiler makes a loop of its own for each way to touch. */
#define BUFFERS_LOOPS(prefix, type, GET, PUT, DATA)                                                      \
    BUFFERS_INLINE int prefix##_pairs(void *state, const struct buffers_load *load, size_t count,        \
                                      enum buffers_touch touch)                                          \
    {                                                                                                    \
        const size_t *const sizes = load->sizes;                                                         \
        const size_t mask = load->mask;                                                                  \
                                                                                                         \
        for (size_t i = 0; i < count; i++) {                                                             \
            const size_t size = sizes[i & mask];                                                         \
            type thing;                                                                                  \
            int error = GET(state, size, thing);                                                         \
                                                                                                         \
            if (UNLIKELY(error != 0))                                                                    \
                return error;                                                                            \
            buffers_use(DATA(thing), size, touch);                                                       \
            error = PUT(state, size, thing);                                                             \
            if (UNLIKELY(error != 0))                                                                    \
                return error;                                                                            \
        }                                                                                                \
        return 0;                                                                                        \
    }                                                                                                    \
                                                                                                         \
    static int prefix##_held(void *state, const struct buffers_load *load, size_t count)                 \
    {                                                                                                    \
        const size_t depth = load->depth;                                                                \
        type things[BUFFERS_KEPT];                                                                       \
        int error = 0;                                                                                   \
                                                                                                         \
        for (size_t done = 0; done < count && error == 0; done += depth) {                               \
            size_t held = 0;                                                                             \
                                                                                                         \
            while (held < depth) {                                                                       \
                const size_t size = load->sizes[(done + held) & load->mask];                             \
                                                                                                         \
                error = GET(state, size, things[held]);                                                  \
                if (UNLIKELY(error != 0))                                                                \
                    break;                                                                               \
                buffers_use(DATA(things[held]), size, load->touch);                                      \
                held++;                                                                                  \
            }                                                                                            \
            for (size_t i = 0; i < held; i++) {                                                          \
                const size_t k = load->oldest_first ? i : held - 1 - i;                                  \
                int bad = PUT(state, load->sizes[(done + k) & load->mask], things[k]);                   \
                                                                                                         \
                error = error != 0 ? error : bad;                                                        \
            }                                                                                            \
        }                                                                                                \
        return error;                                                                                    \
    }                                                                                                    \
                                                                                                         \
    static int prefix##_work(void *state, const struct buffers_load *load, size_t count)                 \
    {                                                                                                    \
        if (load->depth > 1)                                                                             \
            return prefix##_held(state, load, count);                                                    \
        if (load->touch == TOUCH_NOTHING)                                                                \
            return prefix##_pairs(state, load, count, TOUCH_NOTHING);                                    \
        if (load->touch == TOUCH_ENDS)                                                                   \
            return prefix##_pairs(state, load, count, TOUCH_ENDS);                                       \
        return prefix##_pairs(state, load, count, TOUCH_PAGES);                                          \
    }

#endif
