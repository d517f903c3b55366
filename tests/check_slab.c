/* SPDX-License-Identifier: MIT
 * The slab backing, from inside: slots do not overlap, are aligned and as zero as they say, and chunks come
 * and go as slab.h has it, over every backing, with failures at every place and many threads.
 */
#include "support.h"

#include "backing_private.h"
#include "slab.h"

#include <pthread.h>

static bp_backing *f;

static struct slab *open_slab(bp_backing *inner, size_t slot, size_t most)
{
    struct slab *s = NULL;

    f = faulty_over(inner);
    ck_assert_int_eq(slab_create(f, slot, most, &s), 0);
    return s;
}

static void close_slab(struct slab *s)
{
    slab_destroy(s);
    faulty_gone(f);
}

static struct bp_extent slot_of(struct slab *s, size_t size)
{
    struct bp_extent e;

    memset(&e, 0xFF, sizeof e);
    must(backing_acquire(slab_backing(s), size, size, 64, &e) == 0);
    must(e.base != NULL && is_aligned(e.base, 64));
    must(e.size == size && e.committed == size && e.page == 0);
    must(e.known_zero_from <= size);
    return e;
}

static void back(struct slab *s, struct bp_extent *e)
{
    backing_dispose(slab_backing(s), e);
}

static const size_t sizes[] = { 64, 128, 192, 1024, 4096, 10240, 15360 };
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Slots of many chunks, each stamped from end to end; what is said to be zero is. */
START_TEST(slots)
{
    enum { MANY = 1500 };
    static struct bp_extent e[MANY];
    size_t size = sizes[_i / BACKINGS], many = size <= 1024 ? MANY : MANY / 10, i;
    struct place on;
    struct slab *s;

    place_open(&on, _i % BACKINGS);
    s = open_slab(on.backing, size, BP_UNLIMITED);
    for (i = 0; i < many; i++) {
        e[i] = slot_of(s, size);
        must(all_bytes((char *)e[i].base + e[i].known_zero_from, size - e[i].known_zero_from, 0));
        stamp(e[i].base, size, (unsigned)i);
    }
    ck_assert_uint_lt(faulty_stats(f).extents, 12); /* they grow */
    for (i = 0; i < many; i++)
        must(stamped(e[i].base, size, (unsigned)i));
    for (i = 0; i < many; i += 2) /* every other one comes and goes; its contents are what they may be */
        back(s, &e[i]);
    for (i = 0; i < many; i += 2) {
        e[i] = slot_of(s, size);
        must(all_bytes((char *)e[i].base + e[i].known_zero_from, size - e[i].known_zero_from, 0));
        stamp(e[i].base, size, (unsigned)i + 7);
    }
    for (i = 0; i < many; i++)
        must(stamped(e[i].base, size, (unsigned)i + (i % 2 == 0 ? 7 : 0)));
    for (i = 0; i < many; i++)
        back(s, &e[i]);
    close_slab(s);
    place_close(&on);
}
END_TEST

START_TEST(chunks_come_and_go)
{
    enum { MANY = 400 };
    static struct bp_extent e[MANY];
    struct slab *s = open_slab(bp_backing_mmap(), 1024, BP_UNLIMITED);
    size_t i, chunks;

    ck_assert_uint_eq(faulty_stats(f).extents, 0);
    for (i = 0; i < MANY; i++)
        e[i] = slot_of(s, 1024);
    chunks = faulty_stats(f).extents;
    ck_assert_uint_gt(chunks, 1);
    ck_assert_uint_le(faulty_stats(f).bytes, 2 * MANY * 1024 + SLAB_CHUNK_MIN);
    ck_assert_uint_eq(slab_trim(s), 0); /* all are in use */
    for (i = 0; i < MANY; i++)
        back(s, &e[i]);
    ck_assert_uint_eq(faulty_stats(f).extents, 1); /* one stays */
    for (i = 0; i < 100; i++) {      /* so that this asks for nothing */
        size_t before = faulty_stats(f).acquires;

        e[0] = slot_of(s, 1024);
        ck_assert_uint_eq(slab_trim(s), 0);
        back(s, &e[0]);
        ck_assert_uint_eq(faulty_stats(f).acquires, before);
    }
    ck_assert_uint_ge(slab_trim(s), SLAB_CHUNK_MIN);
    ck_assert_uint_eq(faulty_stats(f).extents, 0);
    ck_assert_uint_eq(slab_trim(s), 0);
    e[0] = slot_of(s, 1024);
    back(s, &e[0]);
    close_slab(s);
}
END_TEST

START_TEST(no_more_than_ever_needed)
{
    struct slab *s = open_slab(bp_backing_malloc(), 64, 3);
    struct bp_extent e[3];
    size_t i;

    for (i = 0; i < 3; i++)
        e[i] = slot_of(s, 64);
    ck_assert_uint_eq(faulty_stats(f).extents, 1);
    ck_assert_uint_lt(faulty_stats(f).bytes, 1024);
    for (i = 0; i < 3; i++)
        back(s, &e[i]);
    close_slab(s);
}
END_TEST

START_TEST(what_it_cannot)
{
    struct slab *s = open_slab(bp_backing_malloc(), 128, BP_UNLIMITED);
    struct bp_extent e = { 0 };

    ck_assert_int_eq(backing_acquire(slab_backing(s), 129, 129, 64, &e), ENOMEM);
    ck_assert_int_eq(backing_acquire(slab_backing(s), 128, 128, 128, &e), ENOMEM);
    ck_assert_ptr_null(e.base);
    ck_assert_int_eq(backing_acquire(slab_backing(s), 16, 16, 16, &e), 0); /* less is a whole one */
    ck_assert_uint_eq(e.size, 128);
    back(s, &e);
    close_slab(s);
}
END_TEST

/* Small memory: a chunk is what fits, down to a header and a slot. */
START_TEST(small_memory)
{
    static _Alignas(64) char memory[20000];
    struct bp_buffer_backing buffer;
    struct bp_extent e[20000 / 1024];
    struct slab *s;
    size_t n = 0, i;

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    s = open_slab(&buffer.backing, 1024, BP_UNLIMITED);
    while (n < sizeof e / sizeof e[0] && backing_acquire(slab_backing(s), 1024, 1024, 64, &e[n]) == 0) {
        stamp(e[n].base, 1024, (unsigned)n);
        n++;
    }
    ck_assert_uint_ge(n, 18);
    for (i = 0; i < n; i++) {
        must(stamped(e[i].base, 1024, (unsigned)i));
        back(s, &e[i]);
    }
    close_slab(s);
}
END_TEST

START_TEST(populate)
{
    struct slab *s = open_slab(bp_backing_mmap(), 12288, BP_UNLIMITED);
    struct bp_extent e = slot_of(s, 12288);

    no_huge_pages();
    ck_assert_int_eq(backing_populate(slab_backing(s), &e, 0, e.size), 0);
    ck_assert_uint_eq(pages_resident(e.base, e.size), 2);
    ck_assert(all_bytes(e.base, e.size, 0));
    stamp(e.base, e.size, 5);
    ck_assert_int_eq(backing_populate(slab_backing(s), &e, 100, 9000), 0);
    ck_assert_int_eq(backing_populate(slab_backing(s), &e, 4096, 0), 0);
    ck_assert(stamped(e.base, e.size, 5));
    back(s, &e);
    close_slab(s);
}
END_TEST

/* ---- failures ---- */

/* All but a little of what is reserved is never committed, and a commit that fails leaves a smaller chunk. */
START_TEST(lazy_commit)
{
    struct bp_reserved_config c = BP_RESERVED_CONFIG_INIT;
    bp_backing *reserved = NULL;
    struct bp_extent e[200];
    struct slab *s;
    size_t i;

    c.commit_step = 4096;
    ck_assert_int_eq(bp_backing_reserved_create(&c, &reserved), 0);
    s = open_slab(reserved, 512, BP_UNLIMITED);
    faulty_plan(f, BP_FAULTY_COMMIT, 1, true);
    for (i = 0; i < 200; i++) {
        e[i] = slot_of(s, 512);
        stamp(e[i].base, 512, (unsigned)i);
    }
    ck_assert_uint_gt(faulty_stats(f).injected, 0);
    ck_assert_uint_gt(faulty_stats(f).extents, 20); /* 4 KiB each */
    for (i = 0; i < 200; i++) {
        must(stamped(e[i].base, 512, (unsigned)i));
        back(s, &e[i]);
    }
    close_slab(s);
    bp_backing_destroy(reserved);
}
END_TEST

START_TEST(failures_everywhere)
{
    enum { MANY = 300 };
    static struct bp_extent e[MANY];
    size_t fail_at, i, n;

    for (fail_at = 1;; fail_at++) {
        struct slab *s = open_slab(_i == 0 ? bp_backing_mmap() : bp_backing_reserved(), 1024, BP_UNLIMITED);

        faulty_plan(f, BP_FAULTY_ALL, fail_at, false);
        for (i = n = 0; i < MANY; i++) {
            struct bp_extent before, *slot = &e[n];

            memset(slot, 0x5A, sizeof *slot);
            before = *slot;
            if (backing_acquire(slab_backing(s), 1024, 1024, 64, slot) == 0)
                n++;
            else
                must(faulty_stats(f).injected != 0 && memcmp(slot, &before, sizeof before) == 0);
        }
        ck_assert_uint_ge(n + 1, MANY);
        while (n != 0)
            back(s, &e[--n]);
        i = faulty_stats(f).injected;
        close_slab(s);
        if (i == 0)
            break;
    }
    ck_assert_uint_gt(fail_at, 1);
}
END_TEST

/* ---- threads ---- */

static void *come_and_go(void *arg)
{
    struct slab *s = arg;
    struct bp_extent e[16];
    struct rng rng = { (uint64_t)(uintptr_t)&rng };
    size_t held = 0, i;

    for (i = 0; i < times(20000, 500); i++) {
        if (held < 16 && rng_below(&rng, 2) == 0) {
            if (backing_acquire(slab_backing(s), 4096, 4096, 64, &e[held]) != 0) {
                thread_must(false);
                break;
            }
            stamp(e[held].base, 64, (unsigned)held);
            held++;
        } else if (held != 0) {
            held--;
            thread_must(stamped(e[held].base, 64, (unsigned)held));
            back(s, &e[held]);
        }
    }
    while (held-- != 0)
        back(s, &e[held]);
    return NULL;
}

START_TEST(threads)
{
    struct slab *s = open_slab(bp_backing_mmap(), 4096, BP_UNLIMITED);
    pthread_t t[4];
    size_t i;

    for (i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, come_and_go, s), 0);
    for (i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(t[i], NULL), 0);
    threads_passed();
    ck_assert_uint_le(faulty_stats(f).extents, 1);
    close_slab(s);
}
END_TEST

static Suite *slab_suite(void)
{
    Suite *s = suite_create("slab");
    TCase *tc = add_case(s, "slots");

    tcase_add_loop_test(tc, slots, 0, SIZES * BACKINGS);
    tcase_add_test(tc, chunks_come_and_go);
    tcase_add_test(tc, no_more_than_ever_needed);
    tcase_add_test(tc, what_it_cannot);
    tcase_add_test(tc, small_memory);
    tcase_add_test(tc, populate);
    tc = add_case(s, "failures");
    tcase_add_test(tc, lazy_commit);
    tcase_add_loop_test(tc, failures_everywhere, 0, 2);
    tc = add_case(s, "threads");
    tcase_add_test(tc, threads);
    return s;
}

int main(void)
{
    return run_suite(slab_suite());
}
