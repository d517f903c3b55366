/* SPDX-License-Identifier: MIT
 *
 * What the programs about bucket pools share.
 */
#ifndef BUCKETS_H
#define BUCKETS_H

#include "support.h"

static inline struct bp_buckets_config buckets_config(void)
{
    struct bp_buckets_config c = BP_BUCKETS_CONFIG_INIT;

    return c;
}

static inline bp_buckets *buckets_on(bp_backing *backing, const struct bp_buckets_config *config)
{
    bp_buckets *b = NULL;

    ck_assert_int_eq(bp_buckets_create(backing, config, &b), 0);
    ck_assert_ptr_nonnull(b);
    return b;
}

static inline void buckets_gone(bp_buckets *b)
{
    ck_assert_int_eq(bp_buckets_destroy(b), 0);
}

/* Without the padding. */
static inline bool same_buffer(const struct bp_buffer *x, const struct bp_buffer *y)
{
    return x->data == y->data && x->size == y->size && x->capacity == y->capacity && x->arena == y->arena &&
           x->bucket == y->bucket && x->transient == y->transient;
}

/* A buffer of at least `size` bytes, with what is true of all looked at. */
static inline struct bp_buffer got(bp_buckets *b, size_t size)
{
    struct bp_buffer buffer;

    memset(&buffer, 0xFF, sizeof buffer);
    must(bp_buckets_get(b, size, &buffer) == 0);
    must(buffer.data != NULL && is_aligned(buffer.data, 64));
    must(buffer.size == size && buffer.capacity >= size);
    return buffer;
}

static inline void put_back(bp_buckets *b, struct bp_buffer *buffer)
{
    static const struct bp_buffer empty = BP_BUFFER_INIT;

    must(bp_buckets_put(b, buffer) == 0);
    must(same_buffer(buffer, &empty));
}

static inline struct bp_buckets_stats buckets_stats_of(bp_buckets *b)
{
    struct bp_buckets_stats s;

    memset(&s, 0xFF, sizeof s);
    must(bp_buckets_stats(b, &s) == 0);
    return s;
}

static inline struct bp_bucket_stats bucket_of(bp_buckets *b, size_t i)
{
    struct bp_bucket_stats s;

    memset(&s, 0xFF, sizeof s);
    must(bp_buckets_bucket_stats(b, i, &s) == 0);
    return s;
}

/* The figures agree with each other and with what is out. */
static inline void buckets_add_up(bp_buckets *b, uint64_t live)
{
    struct bp_buckets_stats s = buckets_stats_of(b);
    uint64_t gets = s.transients, puts = s.transients - s.transients_live, idle = 0, out = s.transients_live;
    size_t i;

    for (i = 0; i < s.buckets; i++) {
        struct bp_bucket_stats of = bucket_of(b, i);

        gets += of.hits + of.misses;
        puts += of.returned;
        idle += of.depth;
        out += of.live;
        must(of.hits + of.misses - of.returned == of.live);
    }
    must(s.gets == gets);
    must(s.puts == puts);
    must(s.idle == idle);
    must(s.live == out);
    must(s.live == live);
    must(s.gets - s.puts == s.live);
    must(bp_buckets_free_count(b) == idle);
    must(bp_buckets_total_count(b) == idle + out);
}

#endif
