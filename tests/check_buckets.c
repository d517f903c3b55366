/* SPDX-License-Identifier: MIT
 * Bucket pools: which bucket a size goes to, at every boundary; sizes that nobody has; transient buffers; the
 * configuration; contents and reuse over every backing; the NULL bucket pool.
 */
#include "buckets.h"


static struct misuse_log misuse;

/* ---- sizes ---- */

/* The ladder as the header describes it. */
static size_t size_after(size_t size, enum bp_buckets_step step)
{
    size_t octave = 1;

    if (step == BP_BUCKETS_DOUBLE)
        return size * 2;
    while (octave * 2 <= size)
        octave *= 2;
    return size + (octave / 4 < 64 ? 64 : octave / 4);
}

static const struct range {
    size_t min, max;
} ranges[] = {
    { 1, 1 },       { 64, 64 },        { 65, 65 },          { 64, 65 },         { 100, 5000 },
    { 64, MIB },    { 256, 257 },      { 4096, 100000 },    { 16384, 16385 },   { 20000, 3 * MIB },
    { 64, 16384 },  { 64, 16383 },     { 16385, 16385 },    { 32768, 8 * MIB }, { 128, 16 * MIB },
};
enum { RANGES = sizeof ranges / sizeof ranges[0] };

/* At each size and its neighbours: the smallest bucket that suffices. */
START_TEST(every_boundary)
{
    struct bp_buckets_config c = buckets_config();
    size_t size, i = 0, below = 0, count = 0;
    bp_buckets *b;

    c.step = _i % 2 == 0 ? BP_BUCKETS_DOUBLE : BP_BUCKETS_QUARTER;
    c.min_size = ranges[_i / 2].min;
    c.max_size = ranges[_i / 2].max;
    b = buckets_on(NULL, &c);
    count = buckets_stats_of(b).buckets;
    for (size = 64; size < c.min_size; size *= 2)
        ;
    for (; i < count; i++, below = size, size = size_after(size, c.step)) {
        size_t tries[] = { below + 1, below + 2, (below + size) / 2 + 1, size - 1, size }, k;

        ck_assert_uint_eq(bucket_of(b, i).size, size);
        for (k = 0; k < sizeof tries / sizeof tries[0]; k++) {
            struct bp_buffer x = got(b, tries[k]);
            bp_arena *a = NULL;

            must(x.capacity == size && !x.transient);
            stamp(x.data, x.capacity < 70000 ? x.capacity : 70000, (unsigned)k);
            put_back(b, &x);
            must(bp_buckets_pool(b, tries[k]) == bp_buckets_pool(b, size));
            must(bp_buckets_checkout(b, tries[k], &a) == 0);
            must(bp_arena_remaining(a) == size);
            must(bp_buckets_give_back(b, a) == 0);
        }
    }
    ck_assert_uint_ge(below, c.max_size);
    ck_assert(i < 2 || bucket_of(b, i - 2).size < c.max_size); /* none that is not needed */
    ck_assert_int_eq(bp_buckets_bucket_stats(b, count, &(struct bp_bucket_stats){ 0 }), EINVAL);
    {
        struct bp_buffer x = got(b, 0), y = got(b, below + 1);

        ck_assert_uint_eq(x.capacity, bucket_of(b, 0).size);
        ck_assert(y.transient && !x.transient);
        buckets_add_up(b, 2);
        put_back(b, &x);
        put_back(b, &y);
    }
    buckets_add_up(b, 0);
    buckets_gone(b);
}
END_TEST

/* Random ladders, random sizes: large enough, no smaller bucket is, and no larger size gets less. */
START_TEST(smallest_that_suffices)
{
    struct rng rng = rng_start("smallest_that_suffices");
    size_t round, k;

    for (round = 0; round < times(60, 8); round++) {
        struct bp_buckets_config c = buckets_config();
        size_t count, i, last = 0;
        bp_buckets *b;

        c.step = round % 2 == 0 ? BP_BUCKETS_DOUBLE : BP_BUCKETS_QUARTER;
        c.min_size = 1 + rng_below(&rng, (size_t)1 << (1 + rng_below(&rng, 16)));
        c.max_size = c.min_size + rng_below(&rng, (size_t)1 << (1 + rng_below(&rng, 21)));
        b = buckets_on(bp_backing_malloc(), &c);
        count = buckets_stats_of(b).buckets;
        for (k = 0; k < 300; k++) {
            size_t size = rng_below(&rng, c.max_size + 1);
            struct bp_buffer x = got(b, size);

            for (i = 0; i < count && bucket_of(b, i).size < size; i++)
                ;
            must(i < count && x.capacity == bucket_of(b, i).size);
            if (size > 256 && size > bucket_of(b, 0).size) /* what is wasted */
                must(c.step == BP_BUCKETS_DOUBLE ? x.capacity < 2 * size :
                                                   x.capacity - size <= x.capacity / 5);
            put_back(b, &x);
        }
        for (k = 0; k <= c.max_size; k += 1 + c.max_size / 1000) {
            struct bp_buffer x = got(b, k);

            must(x.capacity >= last);
            last = x.capacity;
            put_back(b, &x);
        }
        buckets_add_up(b, 0);
        buckets_gone(b);
    }
}
END_TEST

static void refused(bp_buckets *b, size_t size, int error)
{
    struct bp_buffer x, before;
    bp_arena *a = NULL;

    memset(&x, 0x5A, sizeof x);
    before = x;
    ck_assert_int_eq(bp_buckets_get(b, size, &x), error);
    ck_assert_int_eq(bp_buckets_get_wait(b, size, 0, &x), error);
    ck_assert_mem_eq(&x, &before, sizeof x);
    ck_assert_int_eq(bp_buckets_checkout(b, size, &a), error);
    ck_assert_ptr_null(a);
}

START_TEST(hostile_sizes)
{
    struct bp_buckets_config c = buckets_config();
    bp_buckets *b;
    size_t i;
    static const size_t sizes[] = {
        SIZE_MAX,        SIZE_MAX - 1,     SIZE_MAX - 62,    SIZE_MAX - 63,      SIZE_MAX - 64,
        SIZE_MAX - 4096, SIZE_MAX / 2 + 2, PTRDIFF_MAX,      PTRDIFF_MAX - 1,    PTRDIFF_MAX - 15,
        PTRDIFF_MAX - 16, PTRDIFF_MAX - 4096, PTRDIFF_MAX / 2 + 2,
    };

    b = _i == 2 ? NULL : buckets_on(_i == 0 ? bp_backing_mmap() : bp_backing_malloc(), &c);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        refused(b, opaque(sizes[i]), ENOMEM);
    ck_assert_uint_eq(buckets_stats_of(b).live, 0);
    ck_assert_int_eq(bp_buckets_prewarm(b, SIZE_MAX, 1, NULL), EINVAL);
    if (b != NULL)
        buckets_gone(b);

    /* a ladder to the top of the address space: the sizes exist, the memory does not */
    c.max_size = PTRDIFF_MAX / 2;
    c.step = BP_BUCKETS_QUARTER;
    b = buckets_on(bp_backing_malloc(), &c);
    refused(b, opaque(PTRDIFF_MAX / 2), ENOMEM);
    refused(b, opaque(PTRDIFF_MAX / 2 + 1), ENOMEM);
    refused(b, opaque(SIZE_MAX), ENOMEM);
    for (i = 0; i < buckets_stats_of(b).buckets; i++)
        must(i == 0 || bucket_of(b, i).size > bucket_of(b, i - 1).size);
    buckets_add_up(b, 0);
    buckets_gone(b);
}
END_TEST

/* ---- configuration ---- */

static int sane_op(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    (void)self;
    (void)min;
    (void)preferred;
    (void)align;
    (void)out;
    return ENOMEM;
}

static void create_is(bp_backing *backing, const struct bp_buckets_config *c, int error)
{
    bp_buckets *const untouched = (bp_buckets *)(void *)&misuse, *b = untouched;

    ck_assert_int_eq(bp_buckets_create(backing, c, &b), error);
    ck_assert_ptr_eq(b, untouched);
}

START_TEST(bad_configurations)
{
    static const struct bp_backing_ops no_dispose = { .struct_size = sizeof no_dispose, .acquire = sane_op };
    bp_backing bad = { &no_dispose }, worse = { NULL };
    struct bp_buckets_config c;

#define REFUSED(change)             \
    do {                            \
        c = buckets_config();       \
        change;                     \
        create_is(NULL, &c, EINVAL); \
    } while (0)
    REFUSED(c.struct_size = 0);
    REFUSED(c.struct_size = sizeof c - 1);
    REFUSED(c.struct_size = sizeof c + 8);
    REFUSED(c.min_size = 0);
    REFUSED(c.min_size = c.max_size + 1);
    REFUSED(c.max_size = (size_t)PTRDIFF_MAX / 2 + 1);
    REFUSED(c.max_size = SIZE_MAX);
    REFUSED(c.step = (enum bp_buckets_step)1);
    REFUSED(c.step = (enum bp_buckets_step)3);
    REFUSED(c.step = (enum bp_buckets_step)-1);
    REFUSED(c.flags = 2);
    REFUSED(c.checks = 64);
    REFUSED(c.checks = BP_CHECK_OFF | BP_CHECK_FILL);
    REFUSED((c.preallocate = 65, c.max_kept = 64));
    REFUSED((c.preallocate = 5, c.max_live = 4));
    REFUSED((c.preallocate = 1, c.max_kept = 0));
    REFUSED((c.preallocate = 1, c.max_kept_bytes = 2 * c.max_size - 65));
    REFUSED((c.preallocate = SIZE_MAX, c.max_kept = BP_UNLIMITED));
#undef REFUSED
    c = buckets_config();
    create_is(&bad, &c, EINVAL);
    create_is(&worse, &c, EINVAL);
    ck_assert_int_eq(bp_buckets_create(NULL, &c, NULL), EINVAL);
}
END_TEST

START_TEST(preallocated)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x[8];
    bp_backing *f;
    bp_buckets *b;
    size_t before, i, k;

    c.max_size = 65536;
    c.preallocate = 4;
    c.max_kept_bytes = 4 * (2 * 65536 - 64);
    c.name = "an exact fit";
    f = faulty_over(_i == 0 ? bp_backing_mmap() : bp_backing_malloc());
    b = buckets_on(f, &c);
    ck_assert_uint_eq(bp_buckets_free_count(b), 4 * buckets_stats_of(b).buckets);
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, c.max_kept_bytes);
    before = faulty_stats(f).acquires;
    for (i = 64; i <= 65536; i *= 2) {
        for (k = 0; k < 4; k++)
            x[k] = got(b, i);
        for (k = 0; k < 4; k++)
            put_back(b, &x[k]);
    }
    ck_assert_uint_eq(faulty_stats(f).acquires, before);
    buckets_add_up(b, 0);
    buckets_gone(b);
    faulty_gone(f);
}
END_TEST

/* ---- buffers ---- */

START_TEST(contents_and_reuse)
{
    enum { SIZES = 12, MOST = 40 };
    /* Valgrind has no address space for that many reservations. */
    const size_t each = _i == ON_RESERVED && slow_run() ? 4 : MOST;
    static struct bp_buffer x[SIZES][MOST];
    struct bp_buckets_config c = buckets_config();
    struct place on;
    bp_buckets *b;
    size_t round, s, k;

    place_open(&on, _i);
    c.max_size = 65536;
    c.min_size = 64;
    b = buckets_on(on.backing, &c);
    for (round = 0; round < 3; round++) {
        for (k = 0; k < each; k++)
            for (s = 0; s < SIZES; s++) {
                x[s][k] = got(b, ((size_t)33 << s) > 70000 ? 70000 : (size_t)33 << s);
                stamp(x[s][k].data, x[s][k].capacity, (unsigned)(s * each + k));
            }
        buckets_add_up(b, SIZES * each);
        for (s = 0; s < SIZES; s++)
            for (k = 0; k < each; k++)
                must(stamped(x[s][k].data, x[s][k].capacity, (unsigned)(s * each + k)));
        for (s = 0; s < SIZES; s++)
            for (k = 0; k < each; k++)
                put_back(b, &x[s][round % 2 == 0 ? k : each - 1 - k]);
        buckets_add_up(b, 0);
    }
    /* the newest first */
    x[0][0] = got(b, 5000);
    {
        void *data = x[0][0].data;

        put_back(b, &x[0][0]);
        x[0][0] = got(b, 8192);
        ck_assert_ptr_eq(x[0][0].data, data);
        put_back(b, &x[0][0]);
    }
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    ck_assert_uint_eq(bp_buckets_total_count(b), 0);
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, 0);
    buckets_gone(b);
    place_close(&on);
}
END_TEST

START_TEST(zero_on_put)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x;
    bp_buckets *b;
    size_t size, round;

    c.zero_on_put = true;
    b = buckets_on(NULL, &c);
    for (size = 64; size <= 2 * MIB; size *= 4)
        for (round = 0; round < 3; round++) {
            x = got(b, size);
            must(all_bytes(x.data, x.capacity, 0)); /* put back as zeros, or of the mmap backing */
            stamp(x.data, x.capacity, 3);
            put_back(b, &x);
        }
    buckets_gone(b);
}
END_TEST

START_TEST(transient)
{
    struct bp_buckets_config c = buckets_config();
    bp_backing *f;
    struct bp_buffer x, y;
    bp_arena *a = NULL;
    bp_buckets *b;
    size_t held, round;
    char *p;

    c.max_size = 4096;
    c.max_live = 2;
    f = faulty_over(_i == 0 ? bp_backing_malloc() : _i == 1 ? bp_backing_mmap() : bp_backing_reserved());
    b = buckets_on(f, &c);
    for (round = 0; round < 3; round++) {
        x = got(b, 4097);
        y = got(b, MIB + 5);
        ck_assert(x.transient && y.transient);
        ck_assert_uint_eq(x.capacity, 4097);
        stamp(x.data, x.capacity, 1);
        stamp(y.data, y.capacity, 2);
        ck_assert_int_eq(bp_buckets_get(b, 5000, &(struct bp_buffer)BP_BUFFER_INIT), EAGAIN);
        buckets_add_up(b, 2);
        ck_assert_uint_eq(buckets_stats_of(b).transients_live, 2);
        ck_assert_uint_eq(buckets_stats_of(b).transients, 2 * (round + 1) + round);
        ck_assert(stamped(x.data, x.capacity, 1) && stamped(y.data, y.capacity, 2));
        held = faulty_stats(f).extents;
        put_back(b, &x);
        put_back(b, &y);
        ck_assert_uint_eq(faulty_stats(f).extents, held - 2); /* back to the backing at once */
        ck_assert_uint_eq(bp_buckets_free_count(b), 0);

        ck_assert_int_eq(bp_buckets_checkout(b, 100000, &a), 0);
        p = bp_arena_alloc(a, 50000);
        ck_assert_ptr_eq((char *)bp_arena_alloc(a, 50000), p + 50000); /* the room is in one piece */
        stamp(p, 100000, 9);
        ck_assert(stamped(p, 100000, 9));
        ck_assert_int_eq(bp_buckets_give_back(b, a), 0);
    }
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    faulty_gone(f);
    buckets_gone(b);
}
END_TEST

START_TEST(null_bucket_pool)
{
    struct bp_buckets_stats before = buckets_stats_of(NULL), after;
    struct bp_buffer x = got(NULL, 0), y = got(NULL, 100), z = got(NULL, 3 * MIB);
    bp_arena *a = NULL;

    ck_assert(x.transient && y.transient && z.transient);
    stamp(y.data, 100, 1);
    stamp(z.data, 3 * MIB, 2);
    ck_assert(stamped(y.data, 100, 1));
    put_back(NULL, &y);
    put_back(NULL, &x);
    put_back(NULL, &z);
    ck_assert_int_eq(bp_buckets_checkout(NULL, 10000, &a), 0);
    ck_assert_uint_ge(bp_arena_remaining(a), 10000);
    ck_assert_int_eq(bp_buckets_give_back(NULL, a), 0);
    ck_assert_int_eq(bp_buckets_get_wait(NULL, 10, -1, &x), 0);
    put_back(NULL, &x);
    after = buckets_stats_of(NULL);
    ck_assert_uint_eq(after.buckets, 0);
    ck_assert_uint_eq(after.gets - before.gets, 5);
    ck_assert_uint_eq(after.puts - before.puts, 5);
    ck_assert_uint_eq(after.idle + after.live + after.idle_bytes, 0);

    ck_assert_int_eq(bp_buckets_close(NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_destroy(NULL), 0);
    ck_assert_int_eq(bp_buckets_prewarm(NULL, 10, 1, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_bucket_stats(NULL, 0, &(struct bp_bucket_stats){ 0 }), EINVAL);
    ck_assert_uint_eq(bp_buckets_release_idle(NULL), 0);
    ck_assert_int_eq(bp_buckets_trim(NULL, 0), 0);
    ck_assert_int_eq(bp_buckets_tick(NULL, 1, NULL), 0);
    ck_assert_uint_eq(bp_buckets_total_count(NULL), 0);
    ck_assert_ptr_nonnull(bp_buckets_pool(NULL, 1));
    x = got(NULL, 10);
    put_back(NULL, &x); /* it goes on */
}
END_TEST

START_TEST(null_arguments)
{
    struct bp_waiter w = BP_WAITER_INIT(NULL, NULL);
    bp_buckets *b = buckets_on(NULL, NULL);
    struct bp_buffer x = got(b, 10);

    ck_assert_int_eq(bp_buckets_get(b, 10, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_get(b, MIB, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_get_wait(b, 10, 0, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_put(b, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_put(NULL, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_checkout(b, 10, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_checkout_wait(b, 10, 0, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_checkout_async(b, 10, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_checkout_async(b, 10, &w), EINVAL);
    ck_assert_int_eq(bp_buckets_buffer(b, NULL, 10, &x), EINVAL);
    ck_assert_int_eq(bp_buckets_give_back(b, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_stats(b, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_bucket_stats(b, 0, NULL), EINVAL);
    ck_assert_int_eq(bp_buckets_print_stats(b, NULL, BP_STATS_TEXT), EINVAL);
    ck_assert_int_eq(bp_buckets_print_stats(b, stderr, (enum bp_stats_format)7), EINVAL);
    buckets_add_up(b, 1);
    put_back(b, &x);
    buckets_gone(b);
}
END_TEST

/* ---- checked: as production but for the capacity ---- */

START_TEST(checked)
{
    struct bp_buckets_config c = buckets_config();
    static const size_t sizes[] = { 0, 1, 63, 64, 65, 5000, 16384, 65537, MIB, MIB + 1, 2 * MIB };
    size_t i, round;
    bp_buckets *b;

    misuse_listen(&misuse);
    c.checks = BP_CHECK_FILL;
    b = buckets_on(bp_backing_mmap(), &c);
    for (round = 0; round < 3; round++)
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct bp_buffer x, moved;

            ck_assert_int_eq(bp_buckets_get(b, sizes[i], &x), 0);
            ck_assert_uint_eq(x.capacity, sizes[i]);
            ck_assert(is_aligned(x.data, 16));
            stamp(x.data, sizes[i], 3);
            moved = x;
            moved.data = (char *)moved.data + 16;
            ck_assert_int_eq(bp_buckets_put(b, &moved), EINVAL);
            misuse_was(&misuse, BP_MISUSE_BAD_BUFFER);
            moved = x;
            put_back(b, &x);
            ck_assert_int_eq(bp_buckets_put(b, &moved), EINVAL);
            misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
        }
    buckets_add_up(b, 0);
    buckets_gone(b);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

static Suite *buckets_suite(void)
{
    Suite *s = suite_create("buckets");
    TCase *tc = add_case(s, "sizes");

    tcase_add_loop_test(tc, every_boundary, 0, 2 * RANGES);
    tcase_add_test(tc, smallest_that_suffices);
    tcase_add_loop_test(tc, hostile_sizes, 0, 3);
    tc = add_case(s, "configuration");
    tcase_add_test(tc, bad_configurations);
    tcase_add_loop_test(tc, preallocated, 0, 2);
    tc = add_case(s, "buffers");
    tcase_add_loop_test(tc, contents_and_reuse, 0, BACKINGS);
    tcase_add_test(tc, zero_on_put);
    tcase_add_loop_test(tc, transient, 0, 3);
    tcase_add_test(tc, null_bucket_pool);
    tcase_add_test(tc, null_arguments);
    tcase_add_test(tc, checked);
    return s;
}

int main(void)
{
    return run_suite(buckets_suite());
}
