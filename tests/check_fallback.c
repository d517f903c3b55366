/* SPDX-License-Identifier: MIT
 * The fallback backing: the second of its two is asked exactly when the first fails, every op reaches the
 * backing that the extent came from, as that one knows the extent, and an op that one of the two lacks is
 * answered for it.
 *
 * What shows whose an extent is: each of the two is often under a faulty backing, which counts, and ends the
 * program when an extent comes that it did not give, or with other members. malloc is wrapped.
 */
#include "support.h"

#include "failing_malloc.h"

#include <bumpool/conformance.h>

static bp_backing *over(bp_backing *first, bp_backing *second)
{
    bp_backing *b = NULL;

    ck_assert_int_eq(bp_backing_fallback_create(first, second, &b), 0);
    return b;
}

static void counts_are_now(bp_backing *b, size_t first, size_t second)
{
    size_t counts[2] = { 99, 99 };

    ck_assert_int_eq(bp_backing_fallback_counts(b, &counts[0], &counts[1]), 0);
    ck_assert_uint_eq(counts[0], first);
    ck_assert_uint_eq(counts[1], second);
}

static void gone(bp_backing *b)
{
    counts_are_now(b, 0, 0);
    bp_backing_destroy(b);
}

/* ---- a backing that looks at its data ---- */

/* Over malloc; its data is an address that only it can know. */
struct particular {
    bp_backing backing;
    size_t extents;
};

static int particular_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                              struct bp_extent *out)
{
    struct particular *p = (struct particular *)self;
    bp_backing *inner = bp_backing_malloc();
    int rc = inner->ops->acquire(inner, min, preferred, align, out);

    if (rc == 0) {
        out->data = (char *)out->base + 7;
        p->extents++;
    }
    return rc;
}

static void particular_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct particular *p = (struct particular *)self;
    bp_backing *inner = bp_backing_malloc();

    ck_assert_ptr_eq(extent->data, (char *)extent->base + 7);
    inner->ops->dispose(inner, extent);
    p->extents--;
}

static int particular_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    (void)offset;
    (void)length;
    ck_assert_ptr_eq(extent->data, (char *)extent->base + 7);
    return EPERM;
}

static const struct bp_backing_ops particular_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "particular",
    .acquire = particular_acquire,
    .dispose = particular_dispose,
    .populate = particular_populate,
};

/* ---- conformance ---- */

static const int pairs[][2] = {
    { ON_MALLOC, ON_MALLOC }, { ON_MALLOC, ON_RESERVED }, { ON_RESERVED, ON_MALLOC }, { ON_BUFFER, ON_MMAP },
    { ON_MMAP, ON_BUFFER },   { ON_RESERVED, ON_MMAP },
};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };

/* Extents of the first, but for what it cannot have; then, when it fails at every other call, of both. */
START_TEST(conforms)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_reserved_config reserved = { sizeof reserved, MIB, 65536 }; /* GiBs take TSan long */
    struct bp_faulty_plan plan = { sizeof plan, BP_FAULTY_ACQUIRE, 0, false, 2, (uint64_t)_i };
    bp_backing *under[2], *b;
    struct place on[2];
    size_t used, i;

    for (i = 0; i < 2; i++) {
        place_open(&on[i], pairs[_i][i]);
        if (pairs[_i][i] == ON_RESERVED)
            ck_assert_int_eq(bp_backing_reserved_create(&reserved, &on[i].backing), 0);
        under[i] = faulty_over(on[i].backing);
    }
    b = over(under[0], under[1]);
    options.largest = 64 * KIB;
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
    ck_assert_uint_gt(faulty_stats(under[0]).acquires, 4096);
    used = faulty_stats(under[1]).acquires;
    ck_assert_uint_gt(used, 0); /* for what is impossible */
    ck_assert_uint_lt(used, 4096);
    ck_assert_int_eq(bp_backing_faulty_plan(under[0], &plan), 0);
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
    ck_assert_uint_gt(faulty_stats(under[1]).acquires - used, 2000);
    gone(b);
    for (i = 0; i < 2; i++) {
        faulty_gone(under[i]);
        if (pairs[_i][i] == ON_RESERVED)
            bp_backing_destroy(on[i].backing);
        place_close(&on[i]);
    }
}
END_TEST

START_TEST(has_the_ops_of_both)
{
    struct bp_backing_ops ops = *bp_backing_reserved()->ops;
    bp_backing older = { &ops };
    bp_backing *malloc_only = over(bp_backing_malloc(), bp_backing_malloc());
    bp_backing *one = over(bp_backing_mmap(), bp_backing_malloc());
    bp_backing *two = over(bp_backing_malloc(), bp_backing_reserved()), *b;

    ck_assert(malloc_only->ops->commit == NULL && malloc_only->ops->release == NULL);
    ck_assert(malloc_only->ops->populate == NULL);
    ck_assert(one->ops->commit == NULL && one->ops->release != NULL && one->ops->populate != NULL);
    ck_assert(two->ops->commit != NULL && two->ops->release != NULL && two->ops->populate != NULL);
    ops.struct_size = offsetof(struct bp_backing_ops, release); /* the author never heard of the others */
    b = over(&older, bp_backing_malloc());
    ck_assert(b->ops->commit != NULL && b->ops->release == NULL && b->ops->populate == NULL);
    gone(b);
    gone(malloc_only);
    gone(one);
    gone(two);
}
END_TEST

/* ---- who is asked ---- */

START_TEST(second_when_the_first_is_full)
{
    static char memory[64 * 1024];
    struct bp_buffer_backing buffer;
    struct bp_extent e[12];
    bp_backing *first, *second, *b;
    size_t i, k;

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    first = faulty_over(&buffer.backing);
    second = faulty_over(bp_backing_malloc());
    b = over(first, second);
    for (i = 0; i < 12; i++) {
        ck_assert_int_eq(b->ops->acquire(b, 8 * KIB, 8 * KIB, 16, &e[i]), 0);
        stamp(e[i].base, e[i].size, (unsigned)i);
        counts_are_now(b, i < 8 ? i + 1 : 8, i < 8 ? 0 : i - 7);
        ck_assert((i < 8) == ((char *)e[i].base >= memory && (char *)e[i].base < memory + sizeof memory));
    }
    ck_assert_uint_eq(faulty_stats(second).acquires, 4);

    /* one of each goes back; the next one has room in the first again */
    b->ops->dispose(b, &e[9]);
    counts_are_now(b, 8, 3);
    ck_assert_uint_eq(faulty_stats(second).extents, 3);
    b->ops->dispose(b, &e[2]);
    counts_are_now(b, 7, 3);
    ck_assert_uint_eq(faulty_stats(first).extents, 7);
    ck_assert_int_eq(b->ops->acquire(b, 8 * KIB, 8 * KIB, 16, &e[2]), 0);
    counts_are_now(b, 8, 3);
    stamp(e[2].base, e[2].size, 2);
    ck_assert_uint_eq(faulty_stats(second).acquires, 4);
    for (k = 0; k < 12; k++) {
        i = k * 5 % 12;
        if (i == 9)
            continue;
        ck_assert(stamped(e[i].base, e[i].size, (unsigned)i));
        b->ops->dispose(b, &e[i]);
    }
    gone(b);
    faulty_gone(first);
    faulty_gone(second);
}
END_TEST

START_TEST(both_fail)
{
    bp_backing *first = faulty_over(bp_backing_malloc()), *second = faulty_over(bp_backing_mmap());
    bp_backing *b = over(first, second);
    struct bp_extent e, untouched;

    memset(&untouched, 0x55, sizeof untouched);
    e = untouched;
    faulty_plan(first, BP_FAULTY_ALL, 1, true);
    faulty_plan(second, BP_FAULTY_ALL, 1, false);
    ck_assert_int_eq(b->ops->acquire(b, 64, 64, 16, &e), ENOMEM);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    counts_are_now(b, 0, 0);
    ck_assert_int_eq(b->ops->acquire(b, 64, 64, 16, &e), 0);
    counts_are_now(b, 0, 1);
    ck_assert_uint_eq(e.page, page_size());
    b->ops->dispose(b, &e);
    gone(b);
    faulty_gone(first);
    faulty_gone(second);
}
END_TEST

START_TEST(no_memory_for_the_node)
{
    bp_backing *first = faulty_over(bp_backing_mmap()), *b = over(first, bp_backing_mmap()), *out = first;
    struct bp_extent e, untouched;
    int rc[2];

    memset(&untouched, 0x55, sizeof untouched);
    e = untouched;
    errno = E2BIG;
    failing_malloc_plan(1, true);
    rc[0] = b->ops->acquire(b, 64, 64, 16, &e);
    rc[1] = bp_backing_fallback_create(first, first, &out);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc[0], ENOMEM);
    ck_assert_int_eq(rc[1], ENOMEM);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    ck_assert_ptr_eq(out, first);
    ck_assert_uint_eq(faulty_stats(first).extents, 0);
    gone(b);
    faulty_gone(first);
}
END_TEST

/* ---- every op ---- */

START_TEST(data_is_the_backings_own)
{
    struct particular p = { { &particular_ops }, 0 };
    bp_backing *first = faulty_over(bp_backing_reserved()), *b = over(first, &p.backing), *outer;
    struct bp_extent e, f;

    faulty_plan(first, BP_FAULTY_ACQUIRE, 1, true);
    ck_assert_int_eq(b->ops->acquire(b, 100, 100, 16, &e), 0);
    ck_assert_uint_eq(p.extents, 1);
    ck_assert_int_eq(b->ops->populate(b, &e, 0, 100), EPERM);
    /* one in another */
    outer = over(first, b);
    ck_assert_int_eq(outer->ops->acquire(outer, 100, 100, 16, &f), 0);
    ck_assert_uint_eq(p.extents, 2);
    ck_assert_int_eq(outer->ops->populate(outer, &f, 0, 100), EPERM);
    counts_are_now(b, 0, 2);
    counts_are_now(outer, 0, 1);
    outer->ops->dispose(outer, &f);
    b->ops->dispose(b, &e);
    ck_assert_uint_eq(p.extents, 0);
    gone(outer);
    gone(b);
    faulty_gone(first);
}
END_TEST

START_TEST(ops_reach_the_one_that_has_them)
{
    bp_backing *first = faulty_over(bp_backing_malloc()), *second = faulty_over(bp_backing_reserved());
    bp_backing *b = over(first, second);
    const struct bp_backing_ops *ops = b->ops;
    struct bp_extent m, r, was;
    size_t released = 99, page = page_size();

    ck_assert_int_eq(ops->acquire(b, 4 * page, 4 * page, 16, &m), 0);
    faulty_plan(first, BP_FAULTY_ACQUIRE, 1, false);
    ck_assert_int_eq(ops->acquire(b, 4 * page, 4 * page, 16, &r), 0);
    counts_are_now(b, 1, 1);

    /* the one without: nothing to commit, nothing to release, nothing to populate */
    ck_assert_uint_eq(m.page, 0);
    ck_assert_uint_eq(m.committed, m.size);
    was = m;
    ck_assert_int_eq(ops->commit(b, &m, m.size), 0);
    ck_assert_int_eq(ops->commit(b, &m, 1), 0);
    stamp(m.base, m.size, 5);
    ck_assert_int_eq(ops->release(b, &m, 0, m.size, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert(stamped(m.base, m.size, 5));
    ck_assert_int_eq(ops->populate(b, &m, 0, m.size), 0);
    ck_assert_int_eq(memcmp(&was, &m, sizeof m), 0);

    /* the one with them */
    ck_assert_uint_eq(r.page, page);
    ck_assert_uint_lt(r.committed, r.size);
    ck_assert_int_eq(ops->commit(b, &r, MIB), 0);
    ck_assert_uint_ge(r.committed, MIB);
    memset(r.base, 1, MIB);
    r.known_zero_from = MIB;
    ck_assert_int_eq(ops->release(b, &r, 1, MIB - 1, &released), 0);
    ck_assert_uint_eq(released, MIB - page);
    ck_assert_uint_eq(r.known_zero_from, page);
    ck_assert_int_eq(ops->populate(b, &r, 0, MIB), 0);
    ck_assert_uint_eq(faulty_stats(second).commits, 1);
    ck_assert_uint_eq(faulty_stats(second).releases, 1);
    ck_assert_uint_eq(faulty_stats(second).populates, 1);

    /* their errors are passed on, with nothing changed */
    was = r;
    released = 99;
    faulty_plan(second, BP_FAULTY_ALL, 1, true);
    ck_assert_int_eq(ops->commit(b, &r, r.committed + 1), ENOMEM);
    ck_assert_int_eq(ops->release(b, &r, 0, page, &released), EINVAL);
    ck_assert_int_eq(ops->populate(b, &r, 0, page), EINVAL);
    ck_assert_uint_eq(released, 99);
    ck_assert_int_eq(memcmp(&was, &r, sizeof r), 0);
    ops->dispose(b, &m);
    ops->dispose(b, &r);
    gone(b);
    faulty_gone(first);
    faulty_gone(second);
}
END_TEST

/* ---- arenas and pools ---- */

/* A pool whose first arenas have a place that cannot release, and the others one that can: only what went
 * counts. */
START_TEST(pool_over_both)
{
    static char memory[300 * 1024];
    struct bp_pool_config c = pool_config();
    struct bp_buffer_backing buffer;
    bp_backing *b;
    bp_arena *a[4];
    bp_pool *pool;
    size_t i, k;

    no_huge_pages();
    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    b = over(&buffer.backing, bp_backing_mmap());
    c.arena_size = 128 * KIB;
    c.arena_policy = BP_ARENA_FIXED;
    pool = pool_on(b, &c);
    for (k = 0; k < 3; k++) {
        for (i = 0; i < 4; i++) {
            char *p;

            a[i] = taken(pool);
            p = bp_arena_alloc(a[i], 100 * KIB);
            ck_assert_ptr_nonnull(p);
            stamp(p, 100 * KIB, (unsigned)i);
        }
        counts_are_now(b, 2, 2);
        for (i = 0; i < 4; i++)
            given(pool, a[i]);
        i = bp_pool_release_idle(pool);
        ck_assert_uint_ge(i, 2 * 96 * KIB);
        ck_assert_uint_le(i, 2 * 136 * KIB);
        ck_assert_uint_eq(bp_pool_release_idle(pool), 0);
        for (i = 0; i < 4; i++) {
            a[i] = taken(pool);
            ck_assert(all_bytes(bp_arena_zalloc(a[i], 100 * KIB), 100 * KIB, 0));
        }
        for (i = 0; i < 4; i++)
            given(pool, a[i]);
    }
    pool_gone(pool);
    gone(b);
}
END_TEST

START_TEST(arena_spills_to_the_second)
{
    static char memory[64 * 1024];
    struct bp_buffer_backing buffer;
    bp_backing *b;
    bp_arena *a;
    char *p[100];
    size_t i, first, second;

    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, sizeof memory), 0);
    b = over(&buffer.backing, _i == 0 ? bp_backing_malloc() : bp_backing_reserved());
    a = arena_on(b, 4096, BP_ARENA_SPILL, 0);
    for (i = 0; i < 100; i++) {
        p[i] = bp_arena_alloc(a, 5000);
        ck_assert_ptr_nonnull(p[i]);
        stamp(p[i], 5000, (unsigned)i);
    }
    ck_assert_int_eq(bp_backing_fallback_counts(b, &first, &second), 0);
    ck_assert(first >= 1 && second >= 1);
    for (i = 0; i < 100; i++)
        ck_assert(stamped(p[i], 5000, (unsigned)i));
    bp_arena_reset(a);
    counts_are_now(b, 1, 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    gone(b);
}
END_TEST

START_TEST(errors)
{
    struct bp_backing_ops ops = *bp_backing_malloc()->ops;
    bp_backing *good = bp_backing_malloc(), insane = { NULL }, *out = good, *b = over(good, good);
    size_t one = 7, two = 7;

    ck_assert_int_eq(bp_backing_fallback_create(NULL, good, &out), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_create(good, NULL, &out), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_create(good, good, NULL), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_create(good, &insane, &out), EINVAL);
    insane.ops = &ops;
    ops.acquire = NULL;
    ck_assert_int_eq(bp_backing_fallback_create(&insane, good, &out), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_create(good, &insane, &out), EINVAL);
    ck_assert_ptr_eq(out, good);
    ck_assert_int_eq(bp_backing_fallback_counts(NULL, &one, &two), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_counts(good, &one, &two), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_counts(b, NULL, &two), EINVAL);
    ck_assert_int_eq(bp_backing_fallback_counts(b, &one, NULL), EINVAL);
    ck_assert(one == 7 && two == 7);
    gone(b);
}
END_TEST

static Suite *fallback_suite(void)
{
    Suite *s = suite_create("fallback");
    TCase *tc = add_case(s, "conformance");

    tcase_add_loop_test(tc, conforms, 0, PAIRS);
    tcase_add_test(tc, has_the_ops_of_both);
    tc = add_case(s, "acquire");
    tcase_add_test(tc, second_when_the_first_is_full);
    tcase_add_test(tc, both_fail);
    tcase_add_test(tc, no_memory_for_the_node);
    tcase_add_test(tc, errors);
    tc = add_case(s, "ops");
    tcase_add_test(tc, data_is_the_backings_own);
    tcase_add_test(tc, ops_reach_the_one_that_has_them);
    tc = add_case(s, "use");
    tcase_add_test(tc, pool_over_both);
    tcase_add_loop_test(tc, arena_spills_to_the_second, 0, 2);
    return s;
}

int main(void)
{
    return run_suite(fallback_suite());
}
