/* SPDX-License-Identifier: MIT
 * The guard backing: that wrong accesses fault or are told, how long a range stays in quarantine, and what
 * happens where the system refuses. Needs the linker options of refusing.h and failing_malloc.h.
 */
#include "limits.h"

#include "failing_malloc.h"
#include "os.h"
#include "refusing.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>

/* Address space of an extent of `size` bytes. */
static size_t span_of(size_t size)
{
    return ((size + page_size() - 1) & ~(page_size() - 1)) + 2 * page_size();
}

static char *start_of(const struct bp_extent *e)
{
    return (char *)((uintptr_t)e->base & ~(uintptr_t)(page_size() - 1)) - page_size();
}

static bp_backing *guard_with(size_t quarantine)
{
    struct bp_guard_config config = BP_GUARD_CONFIG_INIT;
    bp_backing *b = NULL;

    config.quarantine = quarantine;
    ck_assert_int_eq(bp_backing_guard_create(&config, &b), 0);
    return b;
}

static void dispose(bp_backing *b, const struct bp_extent *e)
{
    b->ops->dispose(b, e);
}

/* ---- contract ---- */

START_TEST(guard_conforms)
{
    static const size_t quarantines[] = { 0, 1, 100000, 16 * MIB };
    bp_backing *b = guard_with(quarantines[_i]);

    conforms(b);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(shared_guard_conforms)
{
    ck_assert_ptr_eq(bp_backing_guard(), bp_backing_guard());
    conforms(bp_backing_guard());
    bp_backing_destroy(bp_backing_guard());
    conforms(bp_backing_guard());
}
END_TEST

START_TEST(guard_config)
{
    static const size_t bad[] = { 0, 1, sizeof(size_t), sizeof(struct bp_guard_config) - 1,
                                  sizeof(struct bp_guard_config) + 1, SIZE_MAX };
    struct bp_guard_config c = BP_GUARD_CONFIG_INIT;
    bp_backing *const untouched = bp_backing_malloc();
    bp_backing *b = untouched;
    size_t i;
    int rc;

    ck_assert_int_eq(bp_backing_guard_create(&c, NULL), EINVAL);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c.struct_size = bad[i];
        ck_assert_int_eq(bp_backing_guard_create(&c, &b), EINVAL);
    }
    errno = E2BIG;
    failing_malloc_plan(1, true);
    rc = bp_backing_guard_create(NULL, &b);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_ptr_eq(b, untouched);
    ck_assert_int_eq(bp_backing_guard_create(NULL, &b), 0);
    ck_assert_ptr_ne(b, bp_backing_guard());
    ck_assert_str_eq(b->ops->name, "guard");
    bp_backing_destroy(b);
}
END_TEST

/* As small as can be, and up against the end of a page. */
START_TEST(layout)
{
    static const size_t sizes[] = { 1, 15, 16, 17, 1000, 4080, 4095, 4096, 4097, 10000, 65536, MIB + 1 };
    bp_backing *b = bp_backing_guard();
    size_t i, align;

    errno = E2BIG;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (align = 16; align <= 256 * KIB; align *= 2) {
            struct bp_extent e = got(b, sizes[i], 2 * sizes[i] + MIB, align);

            ck_assert_uint_eq(e.size, (sizes[i] + align - 1) & ~(align - 1));
            ck_assert(is_aligned(e.base, align));
            ck_assert(is_aligned((char *)e.base + e.size, page_size()));
            ck_assert_uint_eq(e.committed, e.size);
            ck_assert_uint_eq(e.known_zero_from, 0);
            ck_assert_uint_eq(e.page, 0);
            ck_assert(all_bytes(e.base, e.size, 0));
            memset(e.base, 0xFF, e.size);
            dispose(b, &e);
        }
    }
    ck_assert_int_eq(errno, E2BIG);
}
END_TEST

START_TEST(sizes_that_wrap)
{
    size_t half = (size_t)1 << (sizeof(size_t) * 8 - 1), i;
    size_t most = (size_t)PTRDIFF_MAX & ~(page_size() - 1);
    bp_backing *b = bp_backing_guard();

    for (i = 0; i < 3; i++) {
        refused_to(b, most - i * page_size(), most, 16);
        refused_to(b, PTRDIFF_MAX - i, SIZE_MAX, page_size());
    }
    refused_to(b, SIZE_MAX, SIZE_MAX, 16);
    refused_to(b, 1, 1, half);
    refused_to(b, 1, 1, half / 2);
    refused_to(b, half / 2 + 1, half, half / 2);
    refused_to(b, most - half / 4, most, half / 4);
}
END_TEST

START_TEST(guard_carries_arenas)
{
    bp_backing *b = guard_with(_i == 0 ? 0 : MIB);

    carries_arenas(b);
    bp_backing_destroy(b);
}
END_TEST

/* ---- faults ---- */

START_TEST(wrong_accesses_fault)
{
    static const size_t sizes[] = { 16, 100, 4096, 10000 };
    size_t page = page_size();
    bp_backing *b = guard_with(_i % 2 == 0 ? BP_QUARANTINE_DEFAULT : 16 * page);
    struct bp_extent e = got(b, sizes[_i], sizes[_i], 16);
    char *base = e.base, *end = base + e.size, *first = (char *)((uintptr_t)base & ~(uintptr_t)(page - 1));

    ck_assert(!faults(base, WRITE) && !faults(end - 1, WRITE)); /* the looking works */
    ck_assert(!faults(first, READ) && !faults(first, WRITE));
    ck_assert(faults(end, READ) && faults(end, WRITE));
    ck_assert(faults(end + page - 1, READ));
    ck_assert(faults(first - 1, READ) && faults(first - 1, WRITE));
    ck_assert(faults(first - page, READ));
    memset(base, 1, e.size);
    dispose(b, &e);
    ck_assert(faults(base, READ) && faults(base, WRITE));
    ck_assert(faults(end - 1, READ) && faults(first, READ));
    ck_assert(is_mapped(start_of(&e), span_of(e.size))); /* inaccessible, and nobody else's */
    bp_backing_destroy(b);
}
END_TEST

/* A block that runs over at the end of an arena. */
START_TEST(arena_overrun_faults)
{
    bp_arena *a = fixed_arena(bp_backing_guard(), 1000);
    char *p = bp_arena_alloc(a, 1000);

    ck_assert_ptr_nonnull(p);
    ck_assert(!faults(p + 999, WRITE));
    /* what follows to the end of the extent is alignment, 64 bytes at most */
    ck_assert(faults((char *)(((uintptr_t)p + 1000 + 63) & ~(uintptr_t)63), WRITE));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert(faults(p, READ)); /* use after destroy */
}
END_TEST

START_TEST(bytes_before_are_told)
{
    static const struct {
        size_t at, n; /* n bytes are written from `at` bytes before the extent on */
        unsigned char value;
    } cases[] = { { 1, 1, 0 },    { 1, 1, 7 },                     { 16, 16, 0 },
                  { 4000, 1, 1 }, { 4096 - 48, 4096 - 48, 1 }, { 100, 5, 9 } };
    bp_backing *b = guard_with(_i % 2 == 0 ? 0 : MIB);
    struct bp_extent e = got(b, 48, 48, 16);
    struct misuse_log log;
    char expected[256];

    ck_assert_uint_eq(page_size() % 4096, 0);
    misuse_listen(&log);
    memset((char *)e.base - cases[_i].at, cases[_i].value, cases[_i].n);
    errno = E2BIG;
    dispose(b, &e);
    ck_assert_int_eq(errno, E2BIG);
    misuse_was(&log, BP_MISUSE_OVERRUN);
    ck_assert_ptr_null(log.pool);
    ck_assert_ptr_null(log.arena);
    snprintf(expected, sizeof expected,
             "guard backing: extent of 48 bytes at %p: %zu bytes before it were written, the first of them "
             "%zu before it",
             e.base, cases[_i].n, cases[_i].at);
    ck_assert_str_eq(log.message, expected);
    ck_assert(_i % 2 == 0 || faults(e.base, READ)); /* it went on */
    e = got(b, 48, 48, 16);
    memset(e.base, 1, 48);
    dispose(b, &e);
    ck_assert_int_eq(log.count, 0);
    bp_set_misuse_handler(NULL, NULL);
    bp_backing_destroy(b);
}
END_TEST

static jmp_buf way_out;

static void jump_out(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
    longjmp(way_out, 1);
}

START_TEST(handler_that_jumps)
{
    bp_backing *b = guard_with(MIB);
    struct bp_extent e = got(b, 100, 100, 16);
    struct misuse_log log;
    volatile bool jumped = false;

    bp_set_misuse_handler(jump_out, NULL);
    ((char *)e.base)[-3] ^= 1;
    if (setjmp(way_out) == 0)
        dispose(b, &e);
    else
        jumped = true;
    ck_assert(jumped);
    memset(e.base, 1, e.size); /* as it was */
    ((char *)e.base)[-3] ^= 1;
    misuse_listen(&log);
    dispose(b, &e);
    ck_assert_int_eq(log.count, 0);
    bp_set_misuse_handler(NULL, NULL);
    bp_backing_destroy(b);
}
END_TEST

static int overrun_and_dispose(void *data)
{
    bp_backing *b = bp_backing_guard();
    struct bp_extent e;

    (void)data;
    (void)signal(SIGABRT, SIG_DFL);
    need(b->ops->acquire(b, 100, 100, 16, &e) == 0);
    ((char *)e.base)[-1] = 1;
    dispose(b, &e);
    return 0;
}

START_TEST(nobody_listens)
{
    int status = status_of(overrun_and_dispose, NULL);

    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

/* ---- quarantine ---- */

static char *unmapped[4096];
static size_t unmapped_count;

static void note_unmapped(void *p, size_t size)
{
    (void)size;
    must(unmapped_count < sizeof unmapped / sizeof unmapped[0]);
    unmapped[unmapped_count++] = p;
}

static void watch_unmapping(void)
{
    unmapped_count = 0;
    watch_munmap(note_unmapped);
}

/* One byte less or more than ten extents. */
START_TEST(bound_is_exact)
{
    size_t span = span_of(1000), i;
    bp_backing *b = guard_with(_i == 0 ? 10 * span : _i == 1 ? 10 * span - 1 : 11 * span - 1);
    size_t holds = _i == 1 ? 9 : 10;
    struct bp_extent e[40];

    for (i = 0; i < 40; i++)
        e[i] = got(b, 1000, 1000, 16);
    watch_unmapping();
    for (i = 0; i < 40; i++) {
        memset(e[i].base, 1, 1000);
        dispose(b, &e[i]);
        ck_assert_uint_eq(unmapped_count, i < holds ? 0 : i + 1 - holds);
        if (i >= holds)
            ck_assert_ptr_eq(unmapped[i - holds], start_of(&e[i - holds])); /* the oldest */
        ck_assert_uint_eq(pages_resident(start_of(&e[i]), span), 0);
    }
    for (i = 40 - holds; i < 40; i++)
        ck_assert(is_mapped(start_of(&e[i]), span));
    ck_assert_uint_eq(unmapped_count, 40 - holds);
    bp_backing_destroy(b);
    ck_assert_uint_eq(unmapped_count, 40);
    refuse_nothing();
}
END_TEST

START_TEST(larger_than_the_bound)
{
    size_t span = span_of(1000);
    bp_backing *b = guard_with(2 * span);
    struct bp_extent small[2], large;

    small[0] = got(b, 1000, 1000, 16);
    small[1] = got(b, 1000, 1000, 16);
    large = got(b, 2 * span, 2 * span, 16);
    watch_unmapping();
    dispose(b, &small[0]);
    dispose(b, &small[1]);
    dispose(b, &large);
    ck_assert_uint_eq(unmapped_count, 1);
    ck_assert_ptr_eq(unmapped[0], start_of(&large));
    ck_assert(is_mapped(start_of(&small[0]), span) && is_mapped(start_of(&small[1]), span));
    bp_backing_destroy(b);
    ck_assert_uint_eq(unmapped_count, 3);
    refuse_nothing();
}
END_TEST

START_TEST(no_quarantine)
{
    bp_backing *b = guard_with(0);
    struct bp_extent e;
    size_t i;

    watch_unmapping();
    for (i = 1; i <= 20; i++) {
        e = got(b, i * 500, i * 500, 16);
        dispose(b, &e);
        ck_assert_uint_eq(unmapped_count, i);
        ck_assert_ptr_eq(unmapped[i - 1], start_of(&e));
    }
    bp_backing_destroy(b);
    ck_assert_uint_eq(unmapped_count, 20);
    refuse_nothing();
}
END_TEST

/* Random sizes and orders against a plain queue: what is in it, nobody gets. */
START_TEST(quarantine_against_a_model)
{
    enum { HELD = 32, QUEUE = 4096 };
    static struct bp_extent queue[QUEUE];
    struct rng r = rng_start("quarantine_against_a_model");
    size_t bound = 100 * page_size(), head = 0, tail = 0, bytes = 0, gone = 0, count = 0, step, i;
    struct bp_extent held[HELD], e;
    bp_backing *b = guard_with(bound);

    watch_unmapping();
    for (step = 0; step < times(4000, 500); step++) {
        if (count < HELD && rng_below(&r, 2) == 0) {
            size_t size = 1 + rng_below(&r, rng_below(&r, 8) == 0 ? 120 * page_size() : 3 * page_size());

            e = got(b, size, size, (size_t)16 << rng_below(&r, 6));
            for (i = head; i < tail; i++)
                must(start_of(&e) + span_of(e.size) <= start_of(&queue[i]) ||
                     start_of(&queue[i]) + span_of(queue[i].size) <= start_of(&e));
            memset(e.base, 1, e.size);
            held[count++] = e;
        } else if (count > 0) {
            i = rng_below(&r, count);
            e = held[i];
            held[i] = held[--count];
            dispose(b, &e);
            if (span_of(e.size) > bound) {
                must(unmapped[gone++] == start_of(&e));
            } else {
                queue[tail++] = e;
                bytes += span_of(e.size);
            }
            while (bytes > bound) {
                must(unmapped[gone++] == start_of(&queue[head]));
                bytes -= span_of(queue[head++].size);
            }
            must(unmapped_count == gone);
        }
    }
    while (count > 0)
        dispose(b, &held[--count]);
    refuse_nothing();
    bp_backing_destroy(b);
}
END_TEST

/* ---- refusals ---- */

START_TEST(acquire_refused)
{
    static const enum refusable what[] = { MMAP, MPROTECT };
    bp_backing *b = guard_with(MIB);
    struct bp_extent e, untouched;
    size_t before, i;
    int rc;

    memset(&untouched, 0x55, sizeof untouched);
    for (i = 0; i < 2; i++) {
        before = address_space();
        refuse(what[i], 1, 1, ENOMEM);
        watch_unmapping();
        refused_to(b, 1000, 100000, 16);
        ck_assert_uint_eq(calls_refused(what[i]), 1);
        ck_assert_uint_eq(unmapped_count, what[i] == MPROTECT);
        refuse_nothing();
        if (limits_can_be_tested("acquire_refused: address space"))
            ck_assert_uint_eq(address_space(), before);
    }
    e = untouched;
    errno = E2BIG;
    refuse(MMAP, 0, 0, 0); /* counts */
    failing_malloc_plan(1, false);
    rc = b->ops->acquire(b, 1000, 1000, 16, &e);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    ck_assert_uint_eq(calls_made(MMAP), 0);
    refuse_nothing();
    bp_backing_destroy(b);
}
END_TEST

/* Disposing and destroying need no memory. */
START_TEST(dispose_does_not_allocate)
{
    bp_backing *b = guard_with(20 * page_size());
    struct bp_extent e[20];
    size_t i, calls;

    for (i = 0; i < 20; i++)
        e[i] = got(b, 100, 100, 16);
    failing_malloc_plan(1, true);
    for (i = 0; i < 20; i++)
        dispose(b, &e[i]);
    bp_backing_destroy(b);
    calls = failing_malloc_calls();
    failing_malloc_plan(0, false);
    ck_assert_uint_eq(calls, 0);
}
END_TEST

/* The new mapping in the old one's place is refused (0), and mprotect too (1): its memory goes anyhow. */
START_TEST(hiding_refused)
{
    size_t size = 8 * page_size();
    bp_backing *b = guard_with(MIB);
    struct bp_extent e = got(b, size, size, 16);

    memset(e.base, 1, size);
    refuse(MMAP_FIXED, 1, 1, ENOMEM);
    if (_i == 1)
        refuse(MPROTECT, 1, 1, ENOMEM);
    watch_unmapping();
    errno = E2BIG;
    dispose(b, &e);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(calls_refused(MMAP_FIXED), 1);
    ck_assert_uint_eq(calls_refused(MPROTECT), _i == 1);
    ck_assert_uint_eq(unmapped_count, 0);
    ck_assert_uint_eq(pages_resident(e.base, size), 0);
    if (may_fork())
        ck_assert(faults(e.base, READ) == (_i == 0));
    ck_assert(is_mapped(start_of(&e), span_of(size)));
    bp_backing_destroy(b);
    ck_assert_uint_eq(unmapped_count, 1);
    refuse_nothing();
}
END_TEST

/* A range that cannot be unmapped stays, inaccessible, and is tried again, before younger ones. */
START_TEST(unmapping_refused)
{
    size_t span = span_of(100), quarantine = _i == 0 ? 0 : 2 * span, i;
    size_t holds = quarantine / span;
    bp_backing *b = guard_with(quarantine);
    struct bp_extent e[8];

    for (i = 0; i < 8; i++)
        e[i] = got(b, 100, 100, 16);
    for (i = 0; i < holds; i++)
        dispose(b, &e[i]);
    refuse(MUNMAP, 1, 6, ENOMEM);
    watch_unmapping();
    for (i = holds; i < holds + 2; i++) {
        errno = E2BIG;
        dispose(b, &e[i]);
        ck_assert_int_eq(errno, E2BIG);
        ck_assert_uint_eq(unmapped_count, 0);
        ck_assert_uint_eq(pages_resident(start_of(&e[i]), span), 0);
        if (may_fork())
            ck_assert(faults(e[i].base, READ));
    }
    refuse(MUNMAP, 0, 0, 0); /* the system has come round */
    dispose(b, &e[holds + 2]);
    ck_assert_uint_eq(unmapped_count, 3);
    for (i = 0; i < 3; i++)
        ck_assert_int_eq((unmapped[0] == start_of(&e[i])) + (unmapped[1] == start_of(&e[i])) +
                             (unmapped[2] == start_of(&e[i])), 1);
    for (i = holds + 3; i < 8; i++)
        dispose(b, &e[i]);
    ck_assert_uint_eq(unmapped_count, 8 - holds);
    bp_backing_destroy(b);
    ck_assert_uint_eq(unmapped_count, 8);
    refuse_nothing();
}
END_TEST

/* The last chance: what destroy cannot unmap serves other mappings of the library. */
START_TEST(destroy_refused)
{
    size_t span = span_of(100);
    bp_backing *b = guard_with(MIB);
    struct bp_extent e[2], again;

    e[0] = got(b, 100, 100, 16);
    e[1] = got(b, 100, 100, 16);
    dispose(b, &e[0]);
    dispose(b, &e[1]);
    watch_unmapping();
    refuse(MUNMAP, 1, 1, ENOMEM);
    errno = E2BIG;
    bp_backing_destroy(b);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(calls_refused(MUNMAP), 1);
    ck_assert_uint_ge(unmapped_count, 2); /* the other one, and then the kept one: a munmap worked */
    ck_assert_ptr_eq(unmapped[0], start_of(&e[1]));
    ck_assert_ptr_eq(unmapped[1], start_of(&e[0]));
    refuse_nothing();

    b = guard_with(MIB);
    e[0] = got(b, 100, 100, 16);
    dispose(b, &e[0]);
    refuse(MUNMAP, 1, 1, ENOMEM);
    bp_backing_destroy(b);
    refuse_nothing();
    again = got(bp_backing_mmap(), span, span, 16);
    ck_assert_ptr_eq(again.base, start_of(&e[0]));
    ck_assert(all_bytes(again.base, span, 0));
    bp_backing_mmap()->ops->dispose(bp_backing_mmap(), &again);
}
END_TEST

START_TEST(refusals_under_load)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    bp_backing *b = guard_with(_i / 2 == 0 ? 0 : MIB);
    enum refusable kind = _i % 2 == 0 ? MUNMAP : MMAP_FIXED;

    refuse(kind, 100, 1000, ENOMEM);
    options.largest = 128 * KIB;
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
    ck_assert_uint_eq(calls_refused(kind), kind == MMAP_FIXED && _i / 2 == 0 ? 0 : 1000); /* none is hidden */
    refuse_nothing();
    bp_backing_destroy(b);
}
END_TEST

/* ---- limits of a process ---- */

static int at_address_space_limit(void *data)
{
    bp_backing *b = data;
    struct bp_extent e, untouched = { .size = 12345 };
    size_t before = address_space(), i;

    need(before > 0 && limit(RLIMIT_AS, before + 64 * MIB) == 0);
    e = untouched;
    need(b->ops->acquire(b, 64 * MIB, 64 * MIB, 16, &e) == ENOMEM);
    need(b->ops->acquire(b, 40 * MIB, 40 * MIB, 32 * MIB, &e) == ENOMEM);
    need(e.size == 12345 && e.base == NULL);
    need(address_space() == before);
    for (i = 0; i < 100; i++) {
        need(b->ops->acquire(b, 62 * MIB, 62 * MIB, 16, &e) == 0);
        dispose(b, &e); /* too large for the quarantine */
    }
    need(address_space() == before);
    /* what is in quarantine is address space in use */
    for (i = 0; b->ops->acquire(b, 4 * MIB, 4 * MIB, 16, &e) == 0; i++) {
        need(i < 100);
        dispose(b, &e);
    }
    need(i >= 14 && i <= 15);
    bp_backing_destroy(b);
    need(address_space() <= before);
    return 0;
}

START_TEST(address_space_limit)
{
    bp_backing *b;

    if (!limits_can_be_tested("address_space_limit"))
        return;
    b = guard_with(61 * MIB);
    in_child(at_address_space_limit, b);
    bp_backing_destroy(b);
}
END_TEST

#define AREAS_MAX 300000
#define AREAS_LEFT 4000

/* Splits a mapping page by page until the system refuses, and then gives some areas back. */
static bool leave_few_areas(void)
{
    size_t page = page_size(), pages = 2 * AREAS_MAX, i;
    char *p = mmap(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return false;
    for (i = 0; i < pages; i += 2)
        if (mprotect(p + i * page, page, PROT_READ) != 0)
            return errno == ENOMEM && i > AREAS_LEFT && munmap(p, AREAS_LEFT * page) == 0;
    return false;
}

/* Extents until the system refuses areas, and once more after all of them were disposed of: an extent is two
 * areas, and one that is disposed of becomes one with its neighbours. */
static int at_area_limit(void *data)
{
    static struct bp_extent e[AREAS_LEFT];
    bp_backing *b = data;
    size_t before, n, round, i;

    memset(e, 1, sizeof e);
    need(leave_few_areas());
    before = address_space();
    for (round = 0; round < 3; round++) {
        for (n = 0; n < AREAS_LEFT && b->ops->acquire(b, 100, 100, 16, &e[n]) == 0; n++)
            *(char *)e[n].base = 1;
        need(n > AREAS_LEFT / 2 - 100 && n < AREAS_LEFT / 2 + 100);
        need(n % 997 != 0);
        for (i = 0; i < n; i++) /* from the middle, in no good order */
            dispose(b, &e[(i * 997 + n / 2) % n]);
    }
    bp_backing_destroy(b);
    need(address_space() - before < MIB); /* malloc's, for the nodes */
    return 0;
}

START_TEST(area_limit)
{
    size_t max = proc_number("/proc/sys/vm/max_map_count", "");
    bp_backing *b;

    if (max == 0 || max > AREAS_MAX) {
        fprintf(stderr, "SKIP: area_limit: vm.max_map_count is %zu, the test reaches %d\n", max, AREAS_MAX);
        return;
    }
    if (!limits_can_be_tested("area_limit"))
        return;
    b = guard_with(_i == 0 ? 0 : _i == 1 ? 8 * MIB : SIZE_MAX);
    in_child(at_area_limit, b);
    bp_backing_destroy(b);
}
END_TEST

/* ---- fork and threads ---- */

static bp_backing *forked;
static struct bp_extent before_fork[8];

static int child_goes_on(void *data)
{
    struct bp_extent e[30];
    size_t i;

    (void)data;
    for (i = 0; i < 4; i++)
        dispose(forked, &before_fork[i]);
    for (i = 0; i < 30; i++) {
        need(forked->ops->acquire(forked, 3000, 3000, 16, &e[i]) == 0);
        need(all_bytes(e[i].base, e[i].size, 0));
        memset(e[i].base, 2, e[i].size);
    }
    for (i = 0; i < 30; i++)
        dispose(forked, &e[i]);
    bp_backing_destroy(forked);
    return 0;
}

START_TEST(child_of_fork)
{
    size_t span = span_of(3000), i;

    forked = guard_with(5 * span);
    for (i = 0; i < 8; i++) {
        before_fork[i] = got(forked, 3000, 3000, 16);
        memset(before_fork[i].base, 1, 3000);
    }
    for (i = 4; i < 8; i++)
        dispose(forked, &before_fork[i]);
    in_child(child_goes_on, NULL);
    for (i = 0; i < 4; i++)
        ck_assert(all_bytes(before_fork[i].base, 3000, 1));
    for (i = 4; i < 8; i++)
        ck_assert(is_mapped(start_of(&before_fork[i]), span) && faults(before_fork[i].base, READ));
    for (i = 0; i < 4; i++)
        dispose(forked, &before_fork[i]);
    bp_backing_destroy(forked);
}
END_TEST

static atomic_int half_done, forking;

static void *half_do(void *data)
{
    (void)data;
    os_list_lock();
    atomic_store(&half_done, 1);
    while (atomic_load(&forking) == 0)
        sched_yield();
    usleep(20000); /* for fork to get there; if it does not, nothing is tested this time */
    atomic_store(&half_done, 0);
    os_list_unlock();
    return NULL;
}

static int finds_it_done(void *data)
{
    (void)data;
    (void)alarm(60); /* a lock that nobody lets go of */
    os_list_lock();
    need(atomic_load(&half_done) == 0);
    os_list_unlock();
    return 0;
}

/* With a pool about, fork waits for whoever is changing a list. */
START_TEST(fork_waits)
{
    bp_pool *pool = pool_on(NULL, NULL);
    pthread_t thread;
    size_t i;

    for (i = 0; i < 5; i++) {
        atomic_store(&half_done, 0);
        atomic_store(&forking, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, half_do, NULL), 0);
        pthread_detach(thread); /* in the child nobody could join it, which the thread sanitizer minds */
        while (atomic_load(&half_done) == 0)
            sched_yield();
        atomic_store(&forking, 1);
        in_child(finds_it_done, NULL);
        os_list_lock(); /* the thread is done with the flags */
        os_list_unlock();
    }
    pool_gone(pool);
}
END_TEST

static atomic_bool stop;

static void *churn(void *data)
{
    bp_backing *b = data;

    while (!atomic_load(&stop)) {
        struct bp_extent e;

        thread_must(b->ops->acquire(b, 100, 100, 16, &e) == 0);
        memset(e.base, 1, e.size);
        b->ops->dispose(b, &e);
    }
    return NULL;
}

static int acquire_and_dispose(void *data)
{
    bp_backing *b = data;
    struct bp_extent e;
    size_t i;

    (void)alarm(60); /* a lock that nobody lets go of */
    for (i = 0; i < 10; i++) {
        need(b->ops->acquire(b, 100, 100, 16, &e) == 0);
        dispose(b, &e);
    }
    return 0;
}

/* fork in the middle of what other threads do: a pool has the library's locks held across it. */
START_TEST(fork_among_threads)
{
    pthread_t threads[2];
    bp_backing *b;
    bp_pool *pool;
    size_t i;

    if (BP_CF_ASAN || BP_CF_TSAN) {
        fprintf(stderr, "SKIP: fork_among_threads: a sanitizer's malloc may stay locked in the child\n");
        return;
    }
    b = guard_with(10 * span_of(100));
    pool = pool_on(NULL, NULL);
    atomic_store(&stop, false);
    for (i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, b), 0);
    for (i = 0; i < 200; i++)
        in_child(acquire_and_dispose, b);
    atomic_store(&stop, true);
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    threads_passed();
    pool_gone(pool);
    bp_backing_destroy(b);
}
END_TEST

static Suite *guard_suite(void)
{
    Suite *s = suite_create("guard");
    TCase *tc = add_case(s, "contract");

    tcase_add_loop_test(tc, guard_conforms, 0, 4);
    tcase_add_test(tc, shared_guard_conforms);
    tcase_add_test(tc, guard_config);
    tcase_add_test(tc, layout);
    tcase_add_test(tc, sizes_that_wrap);
    tcase_add_loop_test(tc, guard_carries_arenas, 0, 2);
    tc = add_case(s, "faults");
    if (may_fork()) {
        tcase_add_loop_test(tc, wrong_accesses_fault, 0, 4);
        tcase_add_test(tc, arena_overrun_faults);
        tcase_add_loop_test(tc, bytes_before_are_told, 0, 6);
        tcase_add_test(tc, nobody_listens);
    } else {
        fprintf(stderr, "SKIP: faults, limits and fork: CK_FORK=no\n");
    }
    tcase_add_test(tc, handler_that_jumps);
    tc = add_case(s, "quarantine");
    tcase_add_loop_test(tc, bound_is_exact, 0, 3);
    tcase_add_test(tc, larger_than_the_bound);
    tcase_add_test(tc, no_quarantine);
    tcase_add_test(tc, quarantine_against_a_model);
    tc = add_case(s, "refusals");
    tcase_add_test(tc, acquire_refused);
    tcase_add_test(tc, dispose_does_not_allocate);
    tcase_add_loop_test(tc, hiding_refused, 0, 2);
    tcase_add_loop_test(tc, unmapping_refused, 0, 2);
    tcase_add_test(tc, destroy_refused);
    tcase_add_loop_test(tc, refusals_under_load, 0, 4);
    if (may_fork()) {
        tc = add_case(s, "limits");
        tcase_add_test(tc, address_space_limit);
        tcase_add_loop_test(tc, area_limit, 0, 3);
        tc = add_case(s, "fork");
        tcase_add_test(tc, child_of_fork);
        tcase_add_test(tc, fork_waits);
        tcase_add_test(tc, fork_among_threads);
    }
    return s;
}

int main(void)
{
    return run_suite(guard_suite());
}
