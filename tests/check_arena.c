/* SPDX-License-Identifier: MIT
 * Arenas: creation, alignment, the limits of a fixed arena, hostile sizes, and the facts an arena tells.
 */
#include "support.h"

/* ---- creation ---- */

START_TEST(create_null_config_and_backing)
{
    bp_arena *a = NULL;

    ck_assert_int_eq(bp_arena_create(NULL, NULL, &a), 0);
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    ck_assert_uint_eq(bp_arena_high_water(a), 0);
    ck_assert_uint_ge(bp_arena_remaining(a), BP_ARENA_SIZE_DEFAULT);
    ck_assert_uint_eq(bp_arena_capacity(a), bp_arena_remaining(a));
    stamp(bp_arena_alloc(a, BP_ARENA_SIZE_DEFAULT), BP_ARENA_SIZE_DEFAULT, 1);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(create_holds_size_without_growing)
{
    static const size_t sizes[] = { 1, 15, 16, 17, 64, 1000, 4096, 4097, 65536, 3 * MIB + 5 };
    struct place on;
    size_t i;

    place_open(&on, _i);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bp_arena *a = spill_arena(on.backing, sizes[i]);
        size_t capacity = bp_arena_capacity(a);
        void *p = bp_arena_alloc(a, sizes[i]);

        ck_assert_ptr_nonnull(p);
        stamp(p, sizes[i], 3);
        ck_assert_uint_eq(bp_arena_capacity(a), capacity);
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }
    place_close(&on);
}
END_TEST

static void create_fails(bp_backing *backing, const struct bp_arena_config *config, int error)
{
    bp_arena *untouched = (bp_arena *)&untouched, *a = untouched;

    ck_assert_int_eq(bp_arena_create(backing, config, &a), error);
    ck_assert_ptr_eq(a, untouched);
}

START_TEST(create_refuses_bad_config)
{
    const struct bp_arena_config init = BP_ARENA_CONFIG_INIT;
    struct bp_arena_config c = init;
    struct place on;

    place_open(&on, _i);
    c.struct_size = 0;
    create_fails(on.backing, &c, EINVAL);
    c.struct_size = sizeof c - 1;
    create_fails(on.backing, &c, EINVAL);
    c.struct_size = sizeof c + 8;
    create_fails(on.backing, &c, EINVAL);
    c.struct_size = SIZE_MAX;
    create_fails(on.backing, &c, EINVAL);

    c = init;
    c.size = 0;
    create_fails(on.backing, &c, EINVAL);
    c.size = (size_t)PTRDIFF_MAX + 1;
    create_fails(on.backing, &c, EINVAL);
    c.size = SIZE_MAX;
    create_fails(on.backing, &c, EINVAL);
    c.size = SIZE_MAX - 100; /* the bookkeeping on top of it would wrap */
    create_fails(on.backing, &c, EINVAL);

    c = init;
    c.policy = (enum bp_arena_policy)2;
    create_fails(on.backing, &c, EINVAL);
    c.policy = (enum bp_arena_policy)-1;
    create_fails(on.backing, &c, EINVAL);

    c = init;
    ck_assert_int_eq(bp_arena_create(on.backing, &c, NULL), EINVAL);
    ck_assert_int_eq(bp_arena_create(on.backing, NULL, NULL), EINVAL);

    /* legal, but more than there is */
    c.size = PTRDIFF_MAX;
    create_fails(on.backing, &c, ENOMEM);
    c.policy = BP_ARENA_FIXED;
    create_fails(on.backing, &c, ENOMEM);
    c.size = (size_t)PTRDIFF_MAX - 600;
    create_fails(on.backing, &c, ENOMEM);
    place_close(&on);
}
END_TEST

START_TEST(create_refuses_bad_backing)
{
    struct bp_backing_ops ops = *bp_backing_mmap()->ops;
    bp_backing b = { NULL };
    bp_arena *a = (bp_arena *)&b, *const before = a;
    bp_pool *pool = (bp_pool *)&b, *const pool_before = pool;

    for (int i = 0; i < 5; i++) {
        ops = *bp_backing_mmap()->ops;
        b.ops = &ops;
        if (i == 0)
            b.ops = NULL;
        else if (i == 1)
            ops.acquire = NULL;
        else if (i == 2)
            ops.dispose = NULL;
        else
            ops.struct_size = i == 3 ? 0 : offsetof(struct bp_backing_ops, dispose);
        ck_assert_int_eq(bp_arena_create(&b, NULL, &a), EINVAL);
        ck_assert_int_eq(bp_pool_create(&b, NULL, &pool), EINVAL);
        ck_assert_ptr_eq(a, before);
        ck_assert_ptr_eq(pool, pool_before);
    }
}
END_TEST

START_TEST(destroy_null_is_nothing)
{
    ck_assert_int_eq(bp_arena_destroy(NULL), 0);
}
END_TEST

START_TEST(version_is_the_headers)
{
    ck_assert_str_eq(bp_version(), BP_VERSION_STRING);
}
END_TEST

/* ---- a caller's buffer ---- */

/* Every size of buffer from the smallest: refused with ENOMEM, or an arena of at least 64 bytes that is
 * wholly inside it. */
START_TEST(buffer_of_any_size)
{
    enum { MOST = 2048, GUARD = 64 };
    alignas(64) static unsigned char memory[MOST + 2 * GUARD];
    size_t size, offset;

    for (offset = 0; offset < 17; offset += 1 + offset % 2)
        for (size = 64; size + offset <= MOST; size += 8) {
            unsigned char *mem = memory + GUARD + offset;
            struct bp_buffer_backing buffer;
            bp_arena *a = (bp_arena *)memory;
            size_t i, blocks = 0;
            int e;

            memset(memory, 0xEE, sizeof memory);
            e = bp_backing_buffer_init(&buffer, mem, size);
            if (e != 0) {
                must(e == EINVAL && size < 64 + 16 + 64);
                continue;
            }
            e = bp_arena_create(&buffer.backing, NULL, &a);
            must(e == 0 || (e == ENOMEM && size < 1024 && (unsigned char *)a == memory));
            must(size > 64 || e == ENOMEM);
            if (e == 0) {
                void *p;

                must(bp_arena_capacity(a) >= 64);
                must(size < 1024 || bp_arena_capacity(a) >= size - 512 - 128);
                while ((p = bp_arena_alloc(a, 16)) != NULL) {
                    must((unsigned char *)p >= mem && (unsigned char *)p + 16 <= mem + size);
                    memset(p, 0x55, 16);
                    blocks++;
                }
                must(errno == ENOMEM);
                must(blocks * 16 >= 64);
                must(bp_arena_destroy(a) == 0);
            }
            for (i = 0; i < sizeof memory; i++)
                if (memory + i < mem || memory + i >= mem + size)
                    must(memory[i] == 0xEE);
        }
}
END_TEST

START_TEST(buffer_on_the_stack)
{
    unsigned char memory[8192];
    struct bp_buffer_backing buffer;
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    bp_arena *a = NULL;
    void *p, *q;

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    c.size = 8192; /* an explicit size is not a wish */
    create_fails(&buffer.backing, &c, ENOMEM);
    ck_assert_int_eq(bp_arena_create(&buffer.backing, NULL, &a), 0);
    p = bp_arena_alloc(a, 5000);
    ck_assert_ptr_nonnull(p);
    stamp(p, 5000, 9);
    errno = 0;
    ck_assert_ptr_null(bp_arena_alloc(a, 5000));
    ck_assert_int_eq(errno, ENOMEM);
    q = bp_arena_alloc(a, 1000);
    ck_assert_ptr_nonnull(q);
    stamp(q, 1000, 10);
    ck_assert(stamped(p, 5000, 9));
    bp_arena_reset(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 6000));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    /* the memory is all there again */
    c.size = 7000;
    ck_assert_int_eq(bp_arena_create(&buffer.backing, &c, &a), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- alignment ---- */

START_TEST(every_size_and_alignment)
{
    static const size_t sizes[] = { 0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 100, 255, 4095, 4096, 4097, 20000 };
    enum { SIZES = sizeof sizes / sizeof sizes[0], ALIGNS = 19, FILLERS = 3 };
    static unsigned char *blocks[FILLERS][ALIGNS][SIZES];
    struct place on;
    bp_arena *a;
    size_t f, g, s;

    place_open(&on, _i);
    a = spill_arena(on.backing, 64 * KIB);
    for (f = 0; f < FILLERS; f++)
        for (g = 0; g < ALIGNS; g++)
            for (s = 0; s < SIZES; s++) {
                size_t align = (size_t)1 << g;
                unsigned char *p;

                ck_assert_ptr_nonnull(bp_arena_alloc(a, f * 17)); /* moves the cursor off the alignment */
                p = bp_arena_alloc_aligned(a, sizes[s], align);
                must(p != NULL);
                must(is_aligned(p, align) && is_aligned(p, BP_ALIGNMENT));
                must(sizes[s] == 0 || (bp_arena_owns(a, p) && bp_arena_owns(a, p + sizes[s] - 1)));
                stamp(p, sizes[s], (unsigned)(f * 1000 + g * 20 + s));
                blocks[f][g][s] = p;
                p = bp_arena_alloc(a, sizes[s]);
                must(p != NULL && is_aligned(p, BP_ALIGNMENT));
                memset(p, 0xFF, sizes[s]);
            }
    for (f = 0; f < FILLERS; f++)
        for (g = 0; g < ALIGNS; g++)
            for (s = 0; s < SIZES; s++)
                must(stamped(blocks[f][g][s], sizes[s], (unsigned)(f * 1000 + g * 20 + s)));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(alignment_above_a_page)
{
    struct place on;
    size_t align;
    bp_arena *a;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    for (align = 4096; align <= 4 * MIB; align *= 2) {
        unsigned char *p = bp_arena_alloc_aligned(a, 100, align);

        ck_assert_msg(p != NULL, "%s: align %zu", on.name, align);
        ck_assert(is_aligned(p, align));
        stamp(p, 100, (unsigned)align >> 4);
        ck_assert(bp_arena_owns(a, p));
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(bad_alignments)
{
    static const size_t bad[] = { 0, 3, 5, 6, 7, 9, 12, 15, 17, 24, 48, 96, 4095, 4097,
                                  SIZE_MAX, SIZE_MAX - 1, ((size_t)PTRDIFF_MAX + 1) | 16 };
    struct place on;
    bp_arena *a;
    size_t i, used;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
    used = bp_arena_used(a);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        ck_assert_ptr_null(bp_arena_alloc_aligned(a, opaque(8), opaque(bad[i])));
        ck_assert_int_eq(errno, EINVAL);
        errno = 0;
        ck_assert_ptr_null(bp_arena_alloc_array(a, opaque(2), opaque(8), opaque(bad[i])));
        ck_assert_int_eq(errno, EINVAL);
    }
    /* powers of two that no address has room for */
    for (i = (size_t)1 << (sizeof(size_t) * 8 - 2); i != 0; i <<= 1) {
        errno = 0;
        ck_assert_ptr_null(bp_arena_alloc_aligned(a, opaque(8), opaque(i)));
        ck_assert_int_eq(errno, ENOMEM);
    }
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

/* An aligned cursor may lie past the end; size and padding are compared with the room for every distance
 * of the cursor from the end. */
START_TEST(aligned_at_every_distance_from_the_end)
{
    struct place on;
    bp_arena *a;
    size_t left, align, size, room;

    place_open(&on, _i);
    a = fixed_arena(on.backing, 8192);
    room = bp_arena_remaining(a);
    for (left = 0; left <= 640; left += 16) {
        bp_mark start = bp_arena_mark(a);
        uintptr_t cursor;
        bp_mark here;

        must(bp_arena_alloc(a, room - left) != NULL);
        must(bp_arena_remaining(a) == left);
        cursor = (uintptr_t)bp_arena_alloc(a, 0);
        here = bp_arena_mark(a);
        for (align = 32; align <= 16384; align *= 2)
            for (size = 1; size <= 700; size += size < 40 ? 1 : 13) {
                size_t pad = (size_t)(0 - cursor) & (align - 1);
                void *p;

                errno = 0;
                p = bp_arena_alloc_aligned(a, size, align);
                if (pad <= left && size <= left - pad) {
                    must((uintptr_t)p == cursor + pad);
                    must(bp_arena_remaining(a) == left - pad - round16(size));
                    memset(p, 0x77, size);
                    must(bp_arena_rewind(a, here) == 0);
                } else {
                    must(p == NULL && errno == ENOMEM);
                    must(bp_arena_remaining(a) == left);
                }
            }
        must(bp_arena_rewind(a, start) == 0);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

struct overaligned {
    alignas(64) char lines[3][64];
};

START_TEST(new_and_new_array)
{
    bp_arena *a = spill_arena(NULL, 4096);
    char *c = bp_new(a, char);
    struct overaligned *o = bp_new(a, struct overaligned), *many;
    double *d;

    *c = 'c';
    ck_assert(is_aligned(o, 64));
    stamp(o, sizeof *o, 1);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 1));
    many = bp_new_array(a, struct overaligned, 50);
    ck_assert(is_aligned(many, 64));
    stamp(many, 50 * sizeof *many, 2);
    d = bp_new_array(a, double, 7);
    ck_assert(is_aligned(d, alignof(double)));
    stamp(d, 7 * sizeof *d, 3);
    ck_assert(stamped(o, sizeof *o, 1) && stamped(many, 50 * sizeof *many, 2) && *c == 'c');
    errno = 0;
    ck_assert_ptr_null(bp_new_array(a, struct overaligned, opaque(SIZE_MAX / 64)));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_ptr_nonnull(bp_new_array(a, struct overaligned, 0));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- limits ---- */

START_TEST(fixed_holds_exactly_its_size)
{
    static const size_t sizes[] = { 1, 16, 17, 100, 512, 4096, 5000, 65536, 1000000 };
    struct place on;
    size_t i, block;

    place_open(&on, _i);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i], bound = round16(size), n = 0;
        bp_arena *a = fixed_arena(on.backing, size);
        char *p, *first = NULL;

        ck_assert_uint_eq(bp_arena_remaining(a), bound);
        ck_assert_uint_eq(bp_arena_capacity(a), bound);
        while ((p = bp_arena_alloc(a, 1)) != NULL) {
            first = first == NULL ? p : first;
            *p = (char)n;
            n += 16;
            must(n <= bound);
        }
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_uint_eq(n, bound);
        ck_assert_uint_eq(bp_arena_used(a), bound);
        ck_assert_uint_eq(bp_arena_remaining(a), 0);
        ck_assert_uint_eq(bp_arena_capacity(a), bound);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 0));
        /* whole in one block, one byte too much, and the tail of each block size */
        for (block = 1; block <= size; block = block * 7 + 3) {
            size_t got = 0;

            bp_arena_reset(a);
            while ((p = bp_arena_alloc(a, block)) != NULL) {
                memset(p, 0x11, block);
                got += round16(block);
            }
            must(got == bound / round16(block) * round16(block));
            must(bp_arena_used(a) == got);
        }
        bp_arena_reset(a);
        errno = 0;
        ck_assert_ptr_null(bp_arena_alloc(a, bound + 1));
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_uint_eq(bp_arena_used(a), 0);
        p = bp_arena_alloc(a, size);
        ck_assert_ptr_eq(p, first);
        stamp(p, size, 5);
        ck_assert_ptr_null(bp_arena_alloc(a, 1));
        ck_assert(stamped(p, size, 5));
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }
    place_close(&on);
}
END_TEST

START_TEST(hostile_sizes)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 14, SIZE_MAX - 15, SIZE_MAX - 16,
                                    SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 2, (size_t)PTRDIFF_MAX + 1,
                                    PTRDIFF_MAX, (size_t)PTRDIFF_MAX - 15, (size_t)PTRDIFF_MAX - 600 };
    struct place on;
    size_t i, used;
    int policy;

    place_open(&on, _i);
    for (policy = 0; policy < 2; policy++) {
        bp_arena *a = arena_on(on.backing, 4096, (enum bp_arena_policy)policy, 0);
        unsigned char *p = bp_arena_alloc(a, 100);

        stamp(p, 100, 1);
        used = bp_arena_used(a);
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t n = opaque(sizes[i]);

#define REFUSED(call)                                                                  \
    do {                                                                               \
        errno = 0;                                                                     \
        ck_assert_msg((call) == NULL, "%s(%zx) gave a block", #call, n);               \
        ck_assert_msg(errno == ENOMEM, "%s(%zx): errno %d", #call, n, errno);          \
        ck_assert_uint_eq(bp_arena_used(a), used);                                     \
    } while (0)
            REFUSED(bp_arena_alloc(a, n));
            REFUSED(bp_arena_alloc_slow(a, n, 16));
            REFUSED(bp_arena_alloc_aligned(a, n, opaque(8)));
            REFUSED(bp_arena_alloc_aligned(a, n, opaque(64)));
            REFUSED(bp_arena_alloc_aligned(a, n, opaque(65536)));
            REFUSED(bp_arena_alloc_aligned(a, n, opaque((size_t)1 << (sizeof(size_t) * 8 - 1))));
            REFUSED(bp_arena_alloc_array(a, n, opaque(1), 8));
            REFUSED(bp_arena_alloc_array(a, opaque(1), n, 32));
            REFUSED(bp_arena_alloc_array(a, n, n, 8));
            REFUSED(bp_arena_zalloc(a, n));
            REFUSED(bp_arena_calloc(a, n, opaque(1)));
            REFUSED(bp_arena_calloc(a, opaque(1), n));
            REFUSED(bp_arena_calloc(a, n, n));
            REFUSED(bp_arena_realloc(a, NULL, 0, n));
            REFUSED(bp_arena_realloc(a, p, 100, n));
            REFUSED(bp_arena_memdup(a, p, n));
        }
        {
            size_t n = (size_t)1 << (sizeof(size_t) * 4);

            REFUSED(bp_arena_calloc(a, opaque(n), opaque(n))); /* the product is 0 */
            REFUSED(bp_arena_alloc_array(a, opaque(n), opaque(n), 8));
            REFUSED(bp_arena_calloc(a, opaque(n + 1), opaque(n))); /* a small product */
            REFUSED(bp_arena_calloc(a, opaque(SIZE_MAX / 2 + 1), opaque(2)));
            REFUSED(bp_arena_alloc_array(a, opaque(SIZE_MAX / 24 + 1), opaque(24), 8));
            REFUSED(bp_arena_alloc_array(a, opaque(SIZE_MAX / 24), opaque(24), 8));
        }
        ck_assert(stamped(p, 100, 1));
        p = bp_arena_alloc(a, 1000);
        ck_assert_ptr_nonnull(p);
        stamp(p, 1000, 2);
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }
    place_close(&on);
}
END_TEST

START_TEST(zero_sizes)
{
    struct place on;
    bp_arena *a;
    unsigned char *p;

    place_open(&on, _i);
    a = fixed_arena(on.backing, 4096);
    p = bp_arena_alloc(a, 16);
#define ALIGNED_AND_NOT_NULL(call)                           \
    do {                                                     \
        const void *z_ = (call);                             \
        ck_assert_msg(z_ != NULL, "%s gave NULL", #call);    \
        ck_assert(is_aligned(z_, BP_ALIGNMENT));             \
    } while (0)
    ALIGNED_AND_NOT_NULL(bp_arena_alloc(a, opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_zalloc(a, opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_calloc(a, opaque(0), opaque(8)));
    ALIGNED_AND_NOT_NULL(bp_arena_calloc(a, opaque(8), opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_calloc(a, opaque(SIZE_MAX), opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_calloc(a, opaque(0), opaque(SIZE_MAX)));
    ALIGNED_AND_NOT_NULL(bp_arena_alloc_array(a, opaque(SIZE_MAX), opaque(0), 16));
    ALIGNED_AND_NOT_NULL(bp_arena_alloc_array(a, opaque(0), opaque(SIZE_MAX), 16));
    ALIGNED_AND_NOT_NULL(bp_arena_realloc(a, NULL, 0, opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_realloc(a, p, 16, opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_memdup(a, "", opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_alloc_slow(a, opaque(0), 16));
    ck_assert(is_aligned(bp_arena_alloc_aligned(a, opaque(0), 256), 256));
    /* also when there is nothing left */
    bp_arena_reset(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 4096));
    ALIGNED_AND_NOT_NULL(bp_arena_alloc(a, opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_zalloc(a, opaque(0)));
    ALIGNED_AND_NOT_NULL(bp_arena_memdup(a, "", opaque(0)));
    ck_assert_uint_eq(bp_arena_used(a), 4096);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

/* ---- facts ---- */

START_TEST(facts_in_one_extent)
{
    struct place on;
    bp_arena *a;
    size_t capacity;
    unsigned char *p, *q, outside;

    place_open(&on, _i);
    a = spill_arena(on.backing, 16 * KIB);
    capacity = bp_arena_capacity(a);
    ck_assert_uint_ge(capacity, 16 * KIB);
    ck_assert(!bp_arena_owns(a, NULL));
    ck_assert(!bp_arena_owns(a, &outside));
    ck_assert(!bp_arena_owns(a, a)); /* the bookkeeping is no block */
    p = bp_arena_alloc(a, 1);
    ck_assert_uint_eq(bp_arena_used(a), 16);
    ck_assert(bp_arena_owns(a, p) && bp_arena_owns(a, p + 15));
    ck_assert(!bp_arena_owns(a, p + 16));
    ck_assert(!bp_arena_owns(a, p - 1));
    q = bp_arena_alloc_aligned(a, 32, 4096);
    ck_assert_uint_eq(bp_arena_used(a), (size_t)(q - p) + 32);
    ck_assert(bp_arena_owns(a, q - 1)); /* padding counts */
    ck_assert_uint_eq(bp_arena_used(a) + bp_arena_remaining(a), capacity);
    ck_assert_uint_eq(bp_arena_high_water(a), bp_arena_used(a));
    bp_arena_reset(a);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    ck_assert_uint_eq(bp_arena_remaining(a), capacity);
    ck_assert_uint_eq(bp_arena_capacity(a), capacity);
    ck_assert_uint_eq(bp_arena_high_water(a), (size_t)(q - p) + 32);
    ck_assert(!bp_arena_owns(a, p) && !bp_arena_owns(a, q));
    ck_assert_ptr_eq(bp_arena_alloc(a, 1), p);
    ck_assert_uint_eq(bp_arena_high_water(a), (size_t)(q - p) + 32);
    ck_assert(bp_arena_owns(a, p));
    ck_assert(!bp_arena_owns(a, NULL));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(facts_of_one_arena_are_not_anothers)
{
    struct place on;
    bp_arena *a, *b;
    unsigned char *p, *q;

    place_open(&on, _i);
    a = spill_arena(on.backing, 16 * KIB);
    b = spill_arena(on.backing, 16 * KIB);
    p = bp_arena_alloc(a, 64);
    q = bp_arena_alloc(b, 64);
    ck_assert(bp_arena_owns(a, p) && !bp_arena_owns(a, q));
    ck_assert(bp_arena_owns(b, q) && !bp_arena_owns(b, p));
    bp_arena_reset(a);
    ck_assert(bp_arena_owns(b, q));
    ck_assert_uint_eq(bp_arena_used(b), 64);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert(bp_arena_owns(b, q));
    ck_assert_int_eq(bp_arena_destroy(b), 0);
    place_close(&on);
}
END_TEST

START_TEST(cursor_and_limit_bound_the_fast_path)
{
    struct place on;
    bp_arena *a;
    char *p;

    place_open(&on, _i);
    a = spill_arena(on.backing, 16 * KIB);
    ck_assert(is_aligned(a->cursor, BP_ALIGNMENT) && is_aligned(a->limit, BP_ALIGNMENT));
    ck_assert(a->cursor <= a->limit);
    p = bp_arena_alloc(a, 100);
    ck_assert(is_aligned(a->cursor, BP_ALIGNMENT) && is_aligned(a->limit, BP_ALIGNMENT));
    ck_assert_ptr_eq(a->cursor, p + round16(100));
    memset(a->cursor, 0x5A, (size_t)(a->limit - a->cursor)); /* [cursor, limit) may be written */
    ck_assert_uint_le((size_t)(a->limit - a->cursor), bp_arena_remaining(a));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

static Suite *arena_suite(void)
{
    Suite *s = suite_create("arena");
    TCase *tc = add_case(s, "create");

    tcase_add_test(tc, create_null_config_and_backing);
    tcase_add_loop_test(tc, create_holds_size_without_growing, 0, BACKINGS);
    tcase_add_loop_test(tc, create_refuses_bad_config, 0, BACKINGS);
    tcase_add_test(tc, create_refuses_bad_backing);
    tcase_add_test(tc, destroy_null_is_nothing);
    tcase_add_test(tc, version_is_the_headers);
    tc = add_case(s, "buffer");
    tcase_add_test(tc, buffer_of_any_size);
    tcase_add_test(tc, buffer_on_the_stack);
    tc = add_case(s, "alignment");
    tcase_add_loop_test(tc, every_size_and_alignment, 0, BACKINGS);
    tcase_add_loop_test(tc, alignment_above_a_page, 0, BACKINGS);
    tcase_add_loop_test(tc, bad_alignments, 0, BACKINGS);
    tcase_add_loop_test(tc, aligned_at_every_distance_from_the_end, 0, BACKINGS);
    tcase_add_test(tc, new_and_new_array);
    tc = add_case(s, "limits");
    tcase_add_loop_test(tc, fixed_holds_exactly_its_size, 0, BACKINGS);
    tcase_add_loop_test(tc, hostile_sizes, 0, BACKINGS);
    tcase_add_loop_test(tc, zero_sizes, 0, BACKINGS);
    tc = add_case(s, "facts");
    tcase_add_loop_test(tc, facts_in_one_extent, 0, BACKINGS);
    tcase_add_loop_test(tc, facts_of_one_arena_are_not_anothers, 0, BACKINGS);
    tcase_add_loop_test(tc, cursor_and_limit_bound_the_fast_path, 0, BACKINGS);
    return s;
}

int main(void)
{
    return run_suite(arena_suite());
}
