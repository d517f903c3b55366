/* SPDX-License-Identifier: MIT
 * Arenas: marks and rewinding, scopes, cleanups.
 */
#include "support.h"

static struct misuse_log misuse;

/* ---- marks ---- */

START_TEST(rewind_goes_back)
{
    struct place on;
    bp_arena *a;
    bp_mark outer, inner;
    void *p, *q, *r;
    size_t used;

    place_open(&on, _i);
    a = spill_arena(on.backing, 16 * KIB);
    p = bp_arena_alloc(a, 100);
    stamp(p, 100, 1);
    outer = bp_arena_mark(a);
    q = bp_arena_alloc(a, 200);
    stamp(q, 200, 2);
    inner = bp_arena_mark(a);
    used = bp_arena_used(a);
    r = bp_arena_alloc(a, 300);
    stamp(r, 300, 3);

    ck_assert_int_eq(bp_arena_rewind(a, inner), 0);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert(stamped(p, 100, 1) && stamped(q, 200, 2));
    ck_assert(bp_arena_owns(a, q) && !bp_arena_owns(a, r));
    ck_assert_ptr_eq(seen(bp_arena_alloc(a, 300)), r);

    ck_assert_int_eq(bp_arena_rewind(a, outer), 0);
    ck_assert(stamped(p, 100, 1));
    ck_assert(bp_arena_owns(a, p) && !bp_arena_owns(a, q));
    ck_assert_ptr_eq(seen(bp_arena_alloc(a, 200)), q);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_uint_eq(bp_arena_high_water(a), used + round16(300));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(rewind_again_and_again)
{
    bp_arena *a = spill_arena(NULL, 4096);
    bp_mark mark;
    size_t used;
    int i;

    stamp(bp_arena_alloc(a, 50), 50, 1);
    mark = bp_arena_mark(a);
    used = bp_arena_used(a);
    for (i = 0; i < 10; i++) {
        ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
        ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
        ck_assert_uint_eq(bp_arena_used(a), used);
        stamp(bp_arena_alloc(a, (size_t)i * 1000 + 1), (size_t)i * 1000 + 1, 7);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(mark_of_the_empty_arena)
{
    bp_arena *a = spill_arena(NULL, 4096);
    bp_mark mark = bp_arena_mark(a);
    void *p = bp_arena_alloc(a, 64), *q;

    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100000));
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    ck_assert(!bp_arena_owns(a, p));
    q = bp_arena_alloc(a, 64);
    ck_assert_ptr_eq(seen(q), p);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* A stack of marks with a block at each level, small and larger than any extent by turns, so that marks
 * lie in the first extent, in spill extents and after oversize blocks; unwound by random steps. */
START_TEST(nested_marks_over_spill)
{
    enum { DEPTH = 60 };
    static const size_t sizes[] = { 16, 3000, 100, 70000, 1, 5000, 300000, 900 };
    struct place on;
    struct rng rng = rng_start("nested_marks_over_spill");
    bp_mark marks[DEPTH];
    void *blocks[DEPTH];
    size_t size[DEPTH], used[DEPTH], level, below, i, round;
    bp_arena *a;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    for (round = 0; round < times(30, 5); round++) {
        level = 0;
        for (i = 0; i < 10; i++) {
            for (; level < DEPTH; level++) {
                size[level] = sizes[rng_below(&rng, 8)];
                marks[level] = bp_arena_mark(a);
                used[level] = bp_arena_used(a);
                blocks[level] = bp_arena_alloc(a, size[level]);
                must(blocks[level] != NULL);
                stamp(blocks[level], size[level], (unsigned)level);
            }
            level = rng_below(&rng, DEPTH);
            must(bp_arena_rewind(a, marks[level]) == 0);
            must(bp_arena_used(a) == used[level]);
            must(!bp_arena_owns(a, blocks[level]));
            for (below = 0; below < level; below++) {
                must(bp_arena_owns(a, blocks[below]));
                must(stamped(blocks[below], size[below], (unsigned)below));
            }
            if (rng_below(&rng, 3) == 0)
                must(bp_arena_rewind(a, marks[level]) == 0);
        }
        bp_arena_reset(a);
        must(bp_arena_used(a) == 0);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(rewind_over_oversize_blocks)
{
    struct place on;
    bp_arena *a;
    bp_mark mark;
    unsigned char *small, *big, *big2, *small2, *again;
    size_t used;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    small = bp_arena_alloc(a, 64);
    stamp(small, 64, 1);
    big = bp_arena_alloc(a, MIB);
    stamp(big, MIB, 2);
    mark = bp_arena_mark(a);
    used = bp_arena_used(a);
    small2 = bp_arena_alloc(a, 64);
    stamp(small2, 64, 3);
    big2 = bp_arena_alloc(a, MIB);
    stamp(big2, MIB, 4);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert(stamped(small, 64, 1) && stamped(big, MIB, 2));
    ck_assert(bp_arena_owns(a, small) && bp_arena_owns(a, big) && bp_arena_owns(a, big + MIB - 1));
    ck_assert(!bp_arena_owns(a, small2) && !bp_arena_owns(a, big2) && !bp_arena_owns(a, big2 + MIB - 1));
    again = bp_arena_alloc(a, 64);
    ck_assert_ptr_eq(seen(again), small2);
    stamp(again, 64, 5);
    big2 = bp_arena_alloc(a, MIB);
    stamp(big2, MIB, 6);
    ck_assert(stamped(small, 64, 1) && stamped(big, MIB, 2) && stamped(again, 64, 5));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

static void mark_is_dead(bp_arena *a, bp_mark mark, void *block, size_t size, unsigned key)
{
    size_t used = bp_arena_used(a), remaining = bp_arena_remaining(a), capacity = bp_arena_capacity(a);

    ck_assert_int_eq(bp_arena_rewind(a, mark), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_MARK);
    ck_assert_ptr_eq(misuse.arena, a);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_uint_eq(bp_arena_remaining(a), remaining);
    ck_assert_uint_eq(bp_arena_capacity(a), capacity);
    ck_assert(stamped(block, size, key));
}

static void count_call(void *data)
{
    ++*(int *)data;
}

START_TEST(dead_marks)
{
    struct place on;
    bp_arena *a;
    bp_mark outer, inner, deep;
    void *p;
    int calls = 0;

    place_open(&on, _i);
    misuse_listen(&misuse);
    a = spill_arena(on.backing, 4096);
    p = bp_arena_alloc(a, 48);
    stamp(p, 48, 1);
    ck_assert_int_eq(bp_arena_on_reset(a, count_call, &calls), 0);
    outer = bp_arena_mark(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 500));
    inner = bp_arena_mark(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 200000));
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 5000));
    deep = bp_arena_mark(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 5000));

    ck_assert_int_eq(bp_arena_rewind(a, outer), 0);
    mark_is_dead(a, inner, p, 48, 1);
    mark_is_dead(a, deep, p, 48, 1);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(bp_arena_rewind(a, outer), 0); /* this one is alive */

    bp_arena_reset(a);
    ck_assert_int_eq(calls, 1);
    p = bp_arena_alloc(a, 16);
    stamp(p, 16, 2);
    mark_is_dead(a, outer, p, 16, 2);
    mark_is_dead(a, inner, p, 16, 2);
    mark_is_dead(a, deep, p, 16, 2);
    /* the next unit's cursor is past the marks: only the reset tells that they are dead */
    p = bp_arena_alloc(a, 3000);
    stamp(p, 3000, 3);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 200000));
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 20000));
    mark_is_dead(a, outer, p, 3000, 3);
    mark_is_dead(a, inner, p, 3000, 3);
    mark_is_dead(a, deep, p, 3000, 3);
    (void)bp_arena_mark(a); /* nor does it help them that the new unit has a mark of its own */
    mark_is_dead(a, outer, p, 3000, 3);
    mark_is_dead(a, inner, p, 3000, 3);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

/* The cursor is past the dead mark again, but the cleanup that was the newest when it was taken has run: the
 * mark is dead to see. At the least, nothing may be run for it. */
START_TEST(dead_mark_with_a_cleanup_that_has_run)
{
    bp_arena *a = spill_arena(NULL, 16 * KIB);
    bp_mark outer = bp_arena_mark(a), inner;
    int early = 0, late = 0;
    void *p;

    misuse_listen(&misuse);
    ck_assert_int_eq(bp_arena_on_reset(a, count_call, &early), 0);
    inner = bp_arena_mark(a);
    ck_assert_int_eq(bp_arena_rewind(a, outer), 0);
    ck_assert_int_eq(early, 1);
    p = bp_arena_alloc(a, 1000);
    stamp(p, 1000, 1);
    mark_is_dead(a, inner, p, 1000, 1);
    ck_assert_int_eq(bp_arena_on_reset(a, count_call, &late), 0);
    mark_is_dead(a, inner, p, 1000, 1);
    ck_assert_int_eq(late, 0);
    bp_arena_reset(a);
    ck_assert_int_eq(early, 1);
    ck_assert_int_eq(late, 1);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(marks_survive_what_happens_above_them)
{
    bp_arena *a = spill_arena(NULL, 4096);
    bp_mark low, high;
    void *p = bp_arena_alloc(a, 100);
    int i;

    misuse_listen(&misuse);
    stamp(p, 100, 1);
    low = bp_arena_mark(a);
    for (i = 0; i < 100; i++) {
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 700));
        high = bp_arena_mark(a);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, i % 7 == 0 ? 100000 : 70));
        ck_assert_int_eq(bp_arena_rewind(a, high), 0);
    }
    ck_assert_int_eq(bp_arena_rewind(a, low), 0);
    ck_assert_uint_eq(bp_arena_used(a), round16(100));
    ck_assert(stamped(p, 100, 1));
    ck_assert_int_eq(misuse.count, 0);
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- scopes ---- */

static size_t leave_early(bp_arena *a, int way)
{
    size_t inside;

    BP_ARENA_SCOPE(a);
    stamp(bp_arena_alloc(a, 100), 100, 1);
    if (way == 0)
        return bp_arena_used(a);
    {
        BP_ARENA_SCOPE(a);
        stamp(bp_arena_alloc(a, 9000), 9000, 2);
        inside = bp_arena_used(a);
        if (way == 1)
            return inside;
    }
    return bp_arena_used(a);
}

START_TEST(scopes)
{
    bp_arena *a = spill_arena(NULL, 4096);
    void *p = bp_arena_alloc(a, 40);
    size_t used = bp_arena_used(a);
    int i;

    stamp(p, 40, 9);
    ck_assert_uint_eq(leave_early(a, 0), used + round16(100));
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_uint_ge(leave_early(a, 1), used + round16(100) + round16(9000));
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_uint_eq(leave_early(a, 2), used + round16(100));
    ck_assert_uint_eq(bp_arena_used(a), used);
    for (i = 0; i < 10; i++) {
        BP_ARENA_SCOPE(a);
        ck_assert_uint_eq(bp_arena_used(a), used);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 1000));
        if (i == 3)
            continue;
        if (i == 7)
            break;
    }
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert(stamped(p, 40, 9));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- cleanups ---- */

struct trace {
    bp_arena *arena;
    int order[64], count;
    void *block; /* stamped, 64 bytes, key 1 */
    int result;
    bp_mark mark;
};

struct note {
    struct trace *trace;
    int id;
};

static void write_down(void *data)
{
    struct note *n = data;

    n->trace->order[n->trace->count++] = n->id;
}

static void registered(bp_arena *a, struct note *n, struct trace *t, int id)
{
    n->trace = t;
    n->id = id;
    ck_assert_int_eq(bp_arena_on_reset(a, write_down, n), 0);
}

START_TEST(cleanups_run_newest_first)
{
    struct place on;
    struct trace t = { 0 };
    struct note n[40];
    bp_arena *a;
    int i;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    for (i = 0; i < 40; i++) {
        ck_assert_ptr_nonnull(bp_arena_alloc(a, i % 5 == 0 ? 9000 : 60)); /* some lie in spill extents */
        registered(a, &n[i], &t, i);
    }
    ck_assert_int_eq(t.count, 0);
    bp_arena_reset(a);
    ck_assert_int_eq(t.count, 40);
    for (i = 0; i < 40; i++)
        ck_assert_int_eq(t.order[i], 39 - i);
    bp_arena_reset(a); /* each runs once */
    ck_assert_int_eq(t.count, 40);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    t.count = 0;
    registered(a, &n[0], &t, 7);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(t.count, 1);
    ck_assert_int_eq(t.order[0], 7);
    place_close(&on);
}
END_TEST

START_TEST(registration_takes_32_bytes)
{
    struct trace t = { 0 };
    struct note n;
    bp_arena *a = fixed_arena(NULL, 4096);
    size_t used;

    ck_assert_ptr_nonnull(bp_arena_alloc(a, 1));
    used = bp_arena_used(a);
    ck_assert_int_eq(bp_arena_on_reset(a, NULL, &n), EINVAL);
    ck_assert_uint_eq(bp_arena_used(a), used);
    registered(a, &n, &t, 1);
    ck_assert_uint_eq(bp_arena_used(a), used + 32);
    /* none left, then exactly enough */
    bp_arena_reset(a);
    ck_assert_int_eq(t.count, 1);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 4096 - 16));
    ck_assert_int_eq(bp_arena_on_reset(a, write_down, &n), ENOMEM);
    ck_assert_uint_eq(bp_arena_used(a), 4096 - 16);
    bp_arena_reset(a);
    ck_assert_int_eq(t.count, 1);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 4096 - 32));
    registered(a, &n, &t, 2);
    ck_assert_uint_eq(bp_arena_remaining(a), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(t.count, 2);
    ck_assert_int_eq(t.order[1], 2);
}
END_TEST

START_TEST(rewind_runs_the_newer_only)
{
    struct place on;
    struct trace t = { 0 };
    struct note n[6];
    bp_arena *a;
    bp_mark m1, m2;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    registered(a, &n[0], &t, 0);
    m1 = bp_arena_mark(a);
    registered(a, &n[1], &t, 1);
    registered(a, &n[2], &t, 2);
    m2 = bp_arena_mark(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 50000));
    registered(a, &n[3], &t, 3);
    registered(a, &n[4], &t, 4);
    ck_assert_int_eq(bp_arena_rewind(a, m2), 0);
    ck_assert_int_eq(t.count, 2);
    ck_assert(t.order[0] == 4 && t.order[1] == 3);
    ck_assert_int_eq(bp_arena_rewind(a, m2), 0);
    ck_assert_int_eq(t.count, 2);
    registered(a, &n[5], &t, 5);
    ck_assert_int_eq(bp_arena_rewind(a, m1), 0);
    ck_assert_int_eq(t.count, 5);
    ck_assert(t.order[2] == 5 && t.order[3] == 2 && t.order[4] == 1);
    bp_arena_reset(a);
    ck_assert_int_eq(t.count, 6);
    ck_assert_int_eq(t.order[5], 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(t.count, 6);
    place_close(&on);
}
END_TEST

/* Reads every block of the unit, and allocates and writes memory of its own. */
static void read_and_allocate(void *data)
{
    struct trace *t = data;
    size_t size = t->count == 0 ? 64 : 60000;
    void *p = bp_arena_alloc(t->arena, size);

    t->count++;
    if (p == NULL || !stamped(t->block, 64, 1) || !bp_arena_owns(t->arena, t->block))
        t->result = -1;
    else
        memset(p, 0xDB, size);
}

START_TEST(cleanup_reads_and_allocates)
{
    struct place on;
    struct trace t = { 0 };
    bp_arena *a;
    bp_mark mark;
    size_t used, i;
    unsigned char *p;

    place_open(&on, _i);
    a = spill_arena(on.backing, 16 * KIB);
    t.arena = a;
    mark = bp_arena_mark(a);
    used = bp_arena_used(a);
    for (i = 0; i < 2; i++) {
        t.count = 0;
        ck_assert_int_eq(bp_arena_on_reset(a, read_and_allocate, &t), 0);
        ck_assert_int_eq(bp_arena_on_reset(a, read_and_allocate, &t), 0);
        t.block = bp_arena_alloc(a, 64);
        stamp(t.block, 64, 1);
        if (i == 0)
            ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
        else
            bp_arena_reset(a);
        ck_assert_int_eq(t.count, 2);
        ck_assert_int_eq(t.result, 0);
        ck_assert_uint_eq(bp_arena_used(a), used);
        /* what the cleanup wrote is dirt like any other */
        p = bp_arena_zalloc(a, 8 * KIB);
        ck_assert(all_bytes(p, 8 * KIB, 0));
        p = bp_arena_zalloc(a, 100000);
        ck_assert(all_bytes(p, 100000, 0));
        bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

static void try_to_register(void *data)
{
    struct trace *t = data;

    t->count++;
    t->result = bp_arena_on_reset(t->arena, try_to_register, t);
}

START_TEST(cleanup_may_not_register)
{
    struct trace t = { 0 };
    bp_arena *a = spill_arena(NULL, 4096);

    misuse_listen(&misuse);
    t.arena = a;
    ck_assert_int_eq(bp_arena_on_reset(a, try_to_register, &t), 0);
    bp_arena_reset(a);
    ck_assert_int_eq(t.result, EBUSY);
    ck_assert_int_eq(t.count, 1);
    ck_assert_int_eq(misuse.count, 0); /* an error, not a misuse */
    bp_arena_reset(a);
    ck_assert_int_eq(t.count, 1);
    ck_assert_int_eq(bp_arena_on_reset(a, try_to_register, &t), 0); /* allowed again outside */
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(t.count, 2);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

enum { TRY_RESET, TRY_REWIND, TRY_DESTROY, TRIES };

struct tangle {
    bp_arena *arena;
    bp_mark mark;
    void *block;
    int way, result, intact, ran;
};

static void drop_from_inside(void *data)
{
    struct tangle *t = data;

    t->ran++;
    if (t->way == TRY_RESET) {
        bp_arena_reset(t->arena);
        t->result = EBUSY;
    } else if (t->way == TRY_REWIND) {
        t->result = bp_arena_rewind(t->arena, t->mark);
    } else {
        t->result = bp_arena_destroy(t->arena);
    }
    t->intact = stamped(t->block, 64, 1);
}

START_TEST(cleanup_may_not_drop)
{
    int outer;

    for (outer = 0; outer < TRIES; outer++) {
        struct tangle t = { 0 };
        struct trace trace = { 0 };
        struct note n[2];
        bp_arena *a = spill_arena(NULL, 4096);

        misuse_listen(&misuse);
        t.arena = a;
        t.way = _i;
        t.result = -1;
        t.mark = bp_arena_mark(a);
        t.block = bp_arena_alloc(a, 64);
        stamp(t.block, 64, 1);
        registered(a, &n[0], &trace, 0);
        ck_assert_int_eq(bp_arena_on_reset(a, drop_from_inside, &t), 0);
        registered(a, &n[1], &trace, 1);
        if (outer == TRY_RESET)
            bp_arena_reset(a);
        else if (outer == TRY_REWIND)
            ck_assert_int_eq(bp_arena_rewind(a, t.mark), 0);
        else
            ck_assert_int_eq(bp_arena_destroy(a), 0);
        misuse_was(&misuse, BP_MISUSE_BUSY_ARENA);
        ck_assert_ptr_eq(misuse.arena, a);
        ck_assert_int_eq(t.ran, 1);
        ck_assert_int_eq(t.result, EBUSY);
        ck_assert(t.intact);
        ck_assert_int_eq(trace.count, 2); /* the others ran as if nothing had happened */
        ck_assert(trace.order[0] == 1 && trace.order[1] == 0);
        if (outer != TRY_DESTROY) {
            ck_assert_uint_eq(bp_arena_used(a), 0);
            ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
            bp_arena_reset(a); /* no longer busy */
            ck_assert_int_eq(misuse.count, 0);
            ck_assert_int_eq(bp_arena_destroy(a), 0);
        }
        bp_set_misuse_handler(NULL, NULL);
    }
}
END_TEST

START_TEST(many_cleanups)
{
    bp_arena *a = spill_arena(NULL, 4096);
    bp_mark mark;
    int calls = 0, i;

    for (i = 0; i < 10000; i++)
        must(bp_arena_on_reset(a, count_call, &calls) == 0);
    mark = bp_arena_mark(a);
    for (i = 0; i < 10000; i++)
        must(bp_arena_on_reset(a, count_call, &calls) == 0);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_int_eq(calls, 10000);
    bp_arena_reset(a);
    ck_assert_int_eq(calls, 20000);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

static Suite *marks_suite(void)
{
    Suite *s = suite_create("arena marks");
    TCase *tc = add_case(s, "marks");

    tcase_add_loop_test(tc, rewind_goes_back, 0, BACKINGS);
    tcase_add_test(tc, rewind_again_and_again);
    tcase_add_test(tc, mark_of_the_empty_arena);
    tcase_add_loop_test(tc, nested_marks_over_spill, 0, BACKINGS);
    tcase_add_loop_test(tc, rewind_over_oversize_blocks, 0, BACKINGS);
    tcase_add_loop_test(tc, dead_marks, 0, BACKINGS);
    tcase_add_test(tc, dead_mark_with_a_cleanup_that_has_run);
    tcase_add_test(tc, marks_survive_what_happens_above_them);
    tc = add_case(s, "scopes");
    tcase_add_test(tc, scopes);
    tc = add_case(s, "cleanups");
    tcase_add_loop_test(tc, cleanups_run_newest_first, 0, BACKINGS);
    tcase_add_test(tc, registration_takes_32_bytes);
    tcase_add_loop_test(tc, rewind_runs_the_newer_only, 0, BACKINGS);
    tcase_add_loop_test(tc, cleanup_reads_and_allocates, 0, BACKINGS);
    tcase_add_test(tc, cleanup_may_not_register);
    tcase_add_loop_test(tc, cleanup_may_not_drop, 0, TRIES);
    tcase_add_test(tc, many_cleanups);
    return s;
}

int main(void)
{
    return run_suite(marks_suite());
}
