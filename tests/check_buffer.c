/* SPDX-License-Identifier: MIT
 * The buffer backing: conformance over buffers of several sizes and alignments, and that every byte of the
 * buffer is handed out, goes to one holder at a time, and comes back.
 */
#include "support.h"

#include <bumpool/conformance.h>

/* The free list of `b` is one block of everything again. */
static void buffer_is_whole(struct bp_buffer_backing *b)
{
    struct bp_extent e;

    ck_assert_ptr_eq(b->free_list, b->memory);
    ck_assert_int_eq(b->backing.ops->acquire(&b->backing, b->size, b->size, 16, &e), 0);
    ck_assert_ptr_eq(e.base, b->memory);
    ck_assert_uint_eq(e.size, b->size);
    ck_assert_ptr_null(b->free_list);
    b->backing.ops->dispose(&b->backing, &e);
    ck_assert_ptr_eq(b->free_list, b->memory);
}

START_TEST(buffer_conforms)
{
    static const size_t sizes[] = { 64, 100, 4 * KIB, 64 * KIB, 4 * MIB };
    size_t size = sizes[_i / 2], off = _i % 2 == 0 ? 0 : 3;
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_buffer_backing b;
    char *memory = malloc(size + 64);

    ck_assert_ptr_nonnull(memory);
    memset(memory, 0x77, size + 64);
    /* with an offset, the alignment costs up to 15 bytes */
    ck_assert_int_eq(bp_backing_buffer_init(&b, memory + off, size + 16), 0);
    ck_assert_uint_ge(b.size, size - 15);
    options.largest = times(MIB, 128 * KIB);
    ck_assert_int_eq(bp_conformance_run(&b.backing, &options, stderr), 0);
    buffer_is_whole(&b);
    ck_assert_msg(all_bytes(memory, off, 0x77), "before the buffer");
    ck_assert_msg(all_bytes(memory + off + size + 16, 48 - off, 0x77), "after the buffer");
    free(memory);
}
END_TEST

START_TEST(buffer_init_errors)
{
    static char memory[256];
    struct bp_buffer_backing b;

    ck_assert_int_eq(bp_backing_buffer_init(NULL, memory, 256), EINVAL);
    ck_assert_int_eq(bp_backing_buffer_init(&b, NULL, 256), EINVAL);
    ck_assert_int_eq(bp_backing_buffer_init(&b, memory, 0), EINVAL);
    ck_assert_int_eq(bp_backing_buffer_init(&b, memory, 63), EINVAL);
    ck_assert_int_eq(bp_backing_buffer_init(&b, memory, (size_t)PTRDIFF_MAX + 1), EINVAL);
    ck_assert_int_eq(bp_backing_buffer_init(&b, memory, SIZE_MAX), EINVAL);
}
END_TEST

/* Of all misalignments and sizes: exactly the whole units are used, all of them by a single extent. */
START_TEST(buffer_gives_everything)
{
    alignas(64) static char memory[256];
    struct bp_buffer_backing b;
    struct bp_extent e;
    size_t off, size;

    for (off = 0; off <= 16; off++) {
        for (size = 0; size <= 160; size++) {
            size_t pad = (16 - off % 16) % 16, room = size > pad ? (size - pad) & ~(size_t)15 : 0;
            int err = bp_backing_buffer_init(&b, memory + off, size);

            ck_assert_int_eq(err, room < 64 ? EINVAL : 0);
            if (err != 0)
                continue;
            ck_assert_int_eq(b.backing.ops->acquire(&b.backing, 64, 1000, 16, &e), 0);
            ck_assert_ptr_eq(e.base, memory + off + pad);
            ck_assert_uint_eq(e.size, room);
            ck_assert_uint_eq(e.committed, room);
            ck_assert_uint_eq(e.known_zero_from, room);
            ck_assert_int_eq(b.backing.ops->acquire(&b.backing, 1, 1, 16, &e), ENOMEM);
            b.backing.ops->dispose(&b.backing, &e);
            buffer_is_whole(&b);
        }
    }
}
END_TEST

/* Random extents against a map of who owns which unit; nothing overlaps, nothing is lost. */
START_TEST(buffer_against_a_model)
{
    enum { UNITS = 512, HELD = 40 };
    alignas(4096) static char memory[UNITS * 16];
    static unsigned char owner[UNITS];
    struct bp_extent held[HELD];
    struct bp_buffer_backing b;
    struct rng r = rng_start("buffer_against_a_model");
    size_t step, i, k, count = 0;

    memset(owner, 0, sizeof owner);
    ck_assert_int_eq(bp_backing_buffer_init(&b, memory, sizeof memory), 0);
    for (step = 0; step < times(100000, 5000); step++) {
        if (count < HELD && rng_below(&r, 100) < 55) {
            size_t min = 1 + rng_below(&r, 600), preferred = min + rng_below(&r, 300);
            size_t align = (size_t)16 << rng_below(&r, 7), best = 0, start, run, first = UNITS;
            struct bp_extent e;
            int err = b.backing.ops->acquire(&b.backing, min, preferred, align, &e);

            for (start = 0; start < UNITS; start++) { /* the most there is at an aligned place */
                if (start * 16 % align != 0)
                    continue;
                for (run = 0; start + run < UNITS && owner[start + run] == 0; run++)
                    ;
                best = run * 16 > best ? run * 16 : best;
                if (first == UNITS && run * 16 >= round16(preferred))
                    first = start;
            }
            must(err == (best < min ? ENOMEM : 0));
            if (err != 0)
                continue;
            must(is_aligned(e.base, align));
            must(e.size == (round16(preferred) < best ? round16(preferred) : best));
            start = (size_t)((char *)e.base - memory) / 16;
            must(first == UNITS || start == first);
            for (i = start; i < start + e.size / 16; i++) {
                must(owner[i] == 0);
                owner[i] = 1;
            }
            memset(e.base, 0xee, e.size);
            held[count++] = e;
        } else if (count > 0) {
            i = rng_below(&r, count);
            k = (size_t)((char *)held[i].base - memory) / 16;
            memset(owner + k, 0, held[i].size / 16);
            b.backing.ops->dispose(&b.backing, &held[i]);
            held[i] = held[--count];
        }
    }
    while (count > 0)
        b.backing.ops->dispose(&b.backing, &held[--count]);
    buffer_is_whole(&b);
}
END_TEST

struct crowd {
    struct bp_buffer_backing b;
    atomic_uchar owner[64]; /* by unit of 16 bytes: extents that have it */
    alignas(16) char memory[64 * 16];
};

static void *crowd_work(void *data)
{
    struct crowd *c = data;
    struct rng r = { (uint64_t)(uintptr_t)&r };
    size_t step, i, first;

    for (step = 0; step < times(50000, 2000); step++) {
        size_t size = 1 + rng_below(&r, 200);
        struct bp_extent e;

        if (c->b.backing.ops->acquire(&c->b.backing, size, size, (size_t)16 << rng_below(&r, 3), &e) != 0)
            continue;
        first = (size_t)((char *)e.base - c->memory) / 16;
        for (i = first; i < first + e.size / 16; i++)
            thread_must(atomic_fetch_add(&c->owner[i], 1) == 0);
        for (i = first; i < first + e.size / 16; i++)
            atomic_fetch_sub(&c->owner[i], 1);
        c->b.backing.ops->dispose(&c->b.backing, &e);
    }
    return NULL;
}

START_TEST(buffer_threads)
{
    static struct crowd c;
    pthread_t threads[4];
    size_t i;

    memset(&c, 0, sizeof c);
    ck_assert_int_eq(bp_backing_buffer_init(&c.b, c.memory, sizeof c.memory), 0);
    for (i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, crowd_work, &c), 0);
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    threads_passed();
    buffer_is_whole(&c.b);
}
END_TEST

static Suite *buffer_suite(void)
{
    Suite *s = suite_create("buffer");
    TCase *tc = add_case(s, "buffer");

    tcase_add_loop_test(tc, buffer_conforms, 0, 10);
    tcase_add_test(tc, buffer_init_errors);
    tcase_add_test(tc, buffer_gives_everything);
    tcase_add_test(tc, buffer_against_a_model);
    tcase_add_test(tc, buffer_threads);
    return s;
}

int main(void)
{
    return run_suite(buffer_suite());
}
