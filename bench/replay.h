/* SPDX-License-Identifier: MIT
 * The replay loop, compiled once into each contestant with its allocator inlined.
 *
 * REPLAY_DEFINE(function, state_type, unit_type, BEGIN, ALLOC, END) defines
 *
 *     static bool function(void *state, const struct trace *trace, uint64_t *digest)
 *
 * where BEGIN(state) gives the unit's handle (a pointer, NULL: out of memory), ALLOC(state, unit, size, i)
 * the i-th block of the unit, and END(state, unit, n) drops its n blocks. They are static inline functions
 * or macros of the contestant; everything else, above all what is done with a block, is the same for all.
 *
 * What is done with a block is volatile access to its first and last byte. That keeps the compiler from
 * dropping or moving it, and as a char may be any object's, it also keeps the compiler from holding an
 * arena's cursor in a register from one allocation to the next: no real user's code could do that.
 * The digest is two sums (order counts), cheap enough not to hide the allocator behind a multiplication.
 */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include "bench.h"

struct replay_digest {
    uint64_t sum, mix;
};

static inline void replay_touch(void *block, size_t size, struct replay_digest *digest)
{
    volatile unsigned char *bytes = block;

    bytes[0] = (unsigned char)size;
    bytes[size - 1] = (unsigned char)(size >> 8);
    digest->sum += size + bytes[0];
    digest->mix += digest->sum;
}

static inline uint64_t replay_finish(const struct replay_digest *digest)
{
    return digest->sum ^ (digest->mix << 20 | digest->mix >> 44);
}

#define REPLAY_DEFINE(function, state_type, unit_type, BEGIN, ALLOC, END)           \
    static bool function(void *opaque, const struct trace *trace, uint64_t *digest) \
    {                                                                               \
        state_type *const state = opaque;                                           \
        const uint32_t *sizes = trace->sizes;                                       \
        const uint32_t *const counts = trace->counts;                               \
        const size_t units = trace->units;                                          \
        struct replay_digest d = {0, 0};                                            \
                                                                                    \
        for (size_t u = 0; u < units; u++) {                                        \
            const size_t count = counts[u];                                         \
            unit_type *const unit = BEGIN(state);                                   \
                                                                                    \
            if (UNLIKELY(unit == NULL))                                             \
                return false;                                                       \
            for (size_t i = 0; i < count; i++) {                                    \
                const size_t size = sizes[i];                                       \
                void *const block = ALLOC(state, unit, size, i);                    \
                                                                                    \
                if (UNLIKELY(block == NULL)) {                                      \
                    END(state, unit, i);                                            \
                    return false;                                                   \
                }                                                                   \
                replay_touch(block, size, &d);                                      \
            }                                                                       \
            END(state, unit, count);                                                \
            sizes += count;                                                         \
        }                                                                           \
        *digest = replay_finish(&d);                                                \
        return true;                                                                \
    }

#endif
