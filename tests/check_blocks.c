/* SPDX-License-Identifier: MIT
 * Pools of fixed-size blocks: sizes, the bound, what is made ahead and kept, over every backing.
 */
#include "buckets.h"


static struct bp_blocks_config blocks_config(void)
{
    struct bp_blocks_config c = BP_BLOCKS_CONFIG_INIT;

    return c;
}

static bp_buckets *blocks_on(bp_backing *backing, const struct bp_blocks_config *config)
{
    bp_buckets *b = NULL;

    ck_assert_int_eq(bp_buckets_create_blocks(backing, config, &b), 0);
    ck_assert_ptr_nonnull(b);
    return b;
}

static const size_t sizes[] = { 1, 63, 64, 65, 100, 4096, 5000, 16383, 16384, 16385, 65536, 100000, MIB };
enum { SIZES = sizeof sizes / sizeof sizes[0] };

START_TEST(sizes_of_blocks)
{
    struct bp_blocks_config c = blocks_config();
    size_t size = sizes[_i / BACKINGS], whole = (size + 63) & ~(size_t)63, k;
    struct bp_buffer x[20], big = BP_BUFFER_INIT;
    struct place on;
    bp_buckets *b;

    place_open(&on, _i % BACKINGS);
    c.block_size = size;
    b = blocks_on(on.backing, &c);
    ck_assert_uint_eq(buckets_stats_of(b).buckets, 1);
    ck_assert_uint_eq(bucket_of(b, 0).size, whole);
    for (k = 0; k < 20; k++) {
        x[k] = got(b, k % 2 == 0 ? 0 : size);
        must(x[k].capacity == whole && !x[k].transient);
        stamp(x[k].data, whole, (unsigned)k);
    }
    for (k = 0; k < 20; k++)
        must(stamped(x[k].data, whole, (unsigned)k));
    ck_assert_int_eq(bp_buckets_get(b, whole + 1, &big), EINVAL);
    ck_assert_int_eq(bp_buckets_get(b, opaque(SIZE_MAX), &big), EINVAL);
    ck_assert_int_eq(bp_buckets_get(b, opaque(SIZE_MAX - 62), &big), EINVAL);
    ck_assert_int_eq(bp_buckets_get_wait(b, whole + 1, -1, &big), EINVAL);
    ck_assert_int_eq(bp_buckets_checkout(b, whole + 1, &big.arena), EINVAL);
    ck_assert_ptr_null(big.arena);
    errno = 0;
    ck_assert_ptr_null(bp_buckets_pool(b, whole + 1));
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_ptr_nonnull(bp_buckets_pool(b, 0));
    buckets_add_up(b, 20);
    for (k = 0; k < 20; k++)
        put_back(b, &x[k]);
    ck_assert_uint_eq(bp_buckets_free_count(b), 20);
    buckets_add_up(b, 0);
    buckets_gone(b);
    place_close(&on);
}
END_TEST

START_TEST(all_are_kept)
{
    enum { MANY = 500 };
    static struct bp_buffer x[MANY];
    struct bp_blocks_config c = blocks_config();
    struct bp_buffer one_more;
    bp_backing *f;
    uint64_t next = 0;
    bp_buckets *b;
    size_t k, held;

    f = faulty_over(bp_backing_mmap());
    c.block_size = 1000;
    c.max_blocks = MANY;
    b = blocks_on(f, &c);
    for (k = 0; k < MANY; k++)
        x[k] = got(b, 0);
    ck_assert_int_eq(bp_buckets_get(b, 0, &one_more), EAGAIN);
    ck_assert_uint_eq(bucket_of(b, 0).refusals, 1);
    ck_assert_uint_eq(bp_buckets_free_count(b), 0);
    ck_assert_uint_eq(bp_buckets_total_count(b), MANY);
    for (k = 0; k < MANY; k++)
        put_back(b, &x[k]);
    ck_assert_uint_eq(bp_buckets_free_count(b), MANY);
    held = faulty_stats(f).extents;
    ck_assert_int_eq(bp_buckets_tick(b, 1, &next), 0);
    ck_assert_int_eq(bp_buckets_tick(b, UINT64_C(1) << 60, &next), 0);
    ck_assert_uint_eq(next, UINT64_MAX);
    ck_assert_uint_eq(bp_buckets_free_count(b), MANY);
    ck_assert_uint_eq(bucket_of(b, 0).discarded, 0);
    ck_assert_uint_eq(faulty_stats(f).extents, held);
    ck_assert_int_eq(bp_buckets_trim(b, 10), 0);
    ck_assert_uint_eq(bp_buckets_total_count(b), 10);
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    faulty_gone(f);
    buckets_gone(b);
}
END_TEST

START_TEST(made_ahead)
{
    struct bp_blocks_config c = blocks_config();
    struct bp_buffer x[100];
    bp_backing *f;
    size_t added = 0, before, k;
    bp_buckets *b;

    f = faulty_over(_i == 0 ? bp_backing_mmap() : bp_backing_reserved());
    c.block_size = 100;
    c.max_blocks = 100;
    c.preallocate = 90;
    b = blocks_on(f, &c);
    ck_assert_uint_eq(bp_buckets_free_count(b), 90);
    ck_assert_int_eq(bp_buckets_prewarm(b, 0, 20, &added), 0);
    ck_assert_uint_eq(added, 10);
    ck_assert_int_eq(bp_buckets_prewarm(b, 129, 20, &added), EINVAL);
    ck_assert_uint_eq(added, 0);
    before = faulty_stats(f).acquires + faulty_stats(f).commits;
    for (k = 0; k < 100; k++) {
        x[k] = got(b, 0);
        stamp(x[k].data, 128, (unsigned)k);
    }
    ck_assert_uint_eq(bucket_of(b, 0).hits, 100);
    ck_assert_uint_eq(bucket_of(b, 0).misses, 0);
    ck_assert_uint_eq(faulty_stats(f).acquires + faulty_stats(f).commits, before);
    for (k = 0; k < 100; k++)
        put_back(b, &x[k]);
    buckets_gone(b);
    faulty_gone(f);
}
END_TEST

/* A block is whole or not there, whatever its size: 65,536 is the size that is only a wish for other arenas. */
START_TEST(no_short_blocks)
{
    static _Alignas(64) char memory[100000];
    struct bp_buffer_backing buffer;
    struct bp_blocks_config c = blocks_config();
    struct bp_buffer x;
    bp_arena *a = NULL;
    bp_buckets *b;

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    c.block_size = BP_ARENA_SIZE_DEFAULT;
    b = blocks_on(&buffer.backing, &c);
    x = got(b, 0);
    stamp(x.data, x.capacity, 1);
    ck_assert_int_eq(bp_buckets_checkout(b, 0, &a), ENOMEM);
    ck_assert_ptr_null(a);
    put_back(b, &x);
    buckets_gone(b);
}
END_TEST

START_TEST(no_blocks_at_all)
{
    struct bp_blocks_config c = blocks_config();
    struct bp_buffer x;
    bp_buckets *b;

    c.max_blocks = 0;
    b = blocks_on(NULL, &c);
    ck_assert_int_eq(bp_buckets_get(b, 0, &x), EAGAIN);
    ck_assert_int_eq(bp_buckets_get_wait(b, 0, -1, &x), EAGAIN);
    buckets_gone(b);
}
END_TEST

static void create_is(const struct bp_blocks_config *c, int error)
{
    int dummy;
    bp_buckets *const untouched = (bp_buckets *)(void *)&dummy, *b = untouched;

    ck_assert_int_eq(bp_buckets_create_blocks(NULL, c, &b), error);
    ck_assert_ptr_eq(b, untouched);
}

START_TEST(bad_configurations)
{
    struct bp_blocks_config c;

#define REFUSED(change)      \
    do {                     \
        c = blocks_config(); \
        change;              \
        create_is(&c, EINVAL); \
    } while (0)
    REFUSED(c.struct_size = sizeof c - 1);
    REFUSED(c.struct_size = sizeof c + 1);
    REFUSED(c.block_size = 0);
    REFUSED(c.block_size = SIZE_MAX);
    REFUSED(c.block_size = (size_t)PTRDIFF_MAX / 2 + 1);
    REFUSED((c.max_blocks = 3, c.preallocate = 4));
    REFUSED(c.checks = 1u << 20);
#undef REFUSED
    c = blocks_config();
    ck_assert_int_eq(bp_buckets_create_blocks(NULL, &c, NULL), EINVAL);
    c.block_size = PTRDIFF_MAX / 2; /* a size like any other; but there is no such block */
    c.preallocate = 1;
    create_is(&c, ENOMEM);
}
END_TEST

START_TEST(zero_on_put)
{
    struct bp_blocks_config c = blocks_config();
    struct bp_buffer x;
    bp_buckets *b;
    size_t round;

    c.zero_on_put = true;
    c.block_size = 300;
    b = blocks_on(NULL, &c);
    for (round = 0; round < 5; round++) {
        x = got(b, 0);
        ck_assert(all_bytes(x.data, x.capacity, 0));
        stamp(x.data, x.capacity, 3);
        put_back(b, &x);
    }
    buckets_gone(b);
}
END_TEST

/* A checked block is a whole one also when its size is not said. */
START_TEST(checked)
{
    struct bp_blocks_config c = blocks_config();
    struct bp_buffer x = BP_BUFFER_INIT;
    bp_buckets *b;

    c.checks = BP_CHECK_FILL;
    b = blocks_on(NULL, &c);
    ck_assert_int_eq(bp_buckets_get(b, 0, &x), 0);
    ck_assert_uint_eq(x.capacity, 4096);
    put_back(b, &x);
    ck_assert_int_eq(bp_buckets_get(b, 1000, &x), 0);
    ck_assert_uint_eq(x.capacity, 1000);
    put_back(b, &x);
    buckets_gone(b);
}
END_TEST

static Suite *blocks_suite(void)
{
    Suite *s = suite_create("blocks");
    TCase *tc = add_case(s, "blocks");

    tcase_add_loop_test(tc, sizes_of_blocks, 0, SIZES * BACKINGS);
    tcase_add_test(tc, all_are_kept);
    tcase_add_loop_test(tc, made_ahead, 0, 2);
    tcase_add_test(tc, no_short_blocks);
    tcase_add_test(tc, no_blocks_at_all);
    tcase_add_test(tc, bad_configurations);
    tcase_add_test(tc, zero_on_put);
    tcase_add_test(tc, checked);
    return s;
}

int main(void)
{
    return run_suite(blocks_suite());
}
