/* SPDX-License-Identifier: MIT */
#include <bumpool.h>

int bp_buckets_get_slow(bp_buckets *b, size_t size, struct bp_buffer *out)
{
    (void)b;
    (void)size;
    (void)out;
    return ENOSYS;
}

int bp_buckets_commit_slow(bp_buckets *b, bp_arena *arena, size_t size, struct bp_buffer *out)
{
    (void)arena;
    return bp_buckets_get_slow(b, size, out);
}

int bp_buckets_put_slow(bp_buckets *b, struct bp_buffer *buffer)
{
    (void)b;
    (void)buffer;
    return ENOSYS;
}
