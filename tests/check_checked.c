/* SPDX-License-Identifier: MIT
 * Checked arenas: what each check promises is found, with who, where and what, and nothing else is. Writes
 * that are errors are made where neither AddressSanitizer nor Valgrind sees them, so that the library has
 * to.
 */
#include "checked.h"

#include <setjmp.h>

static struct reports reports;

static void listen_again(void)
{
    reports_listen(&reports);
}

static void listen_no_more(void)
{
    nothing_reported(&reports);
    bp_set_misuse_handler(NULL, NULL);
}

/* ---- red zones ---- */

enum trigger { BY_CHECK, BY_RESET, BY_REWIND, BY_DESTROY, BY_SHRINK, BY_GROW, BY_MOVE, BY_WIPE, TRIGGERS };

/* Makes the arena look at the zones of its block. */
static void trigger(bp_arena *a, enum trigger how, bp_mark mark, void *p, size_t size)
{
    switch (how) {
    case BY_CHECK:
        ck_assert_uint_eq(bp_arena_check(a), 1);
        ck_assert_uint_eq(bp_arena_check(a), 0); /* one report is enough */
        break;
    case BY_RESET:
        bp_arena_reset(a);
        break;
    case BY_REWIND:
        ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
        break;
    case BY_SHRINK:
        ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, size, size - 1)), p);
        break;
    case BY_GROW:
        ck_assert_ptr_nonnull(bp_arena_realloc(a, p, size, size + 40));
        break;
    case BY_MOVE:
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 1));
        ck_assert_ptr_ne(seen(bp_arena_realloc(a, p, size, size + 40)), p);
        break;
    case BY_WIPE:
        bp_arena_wipe(a);
        break;
    default:
        break; /* the test destroys it anyway */
    }
}

START_TEST(overruns_are_found)
{
    static const size_t sizes[] = { 1, 15, 16, 17, 100, 4096 };
    static const ptrdiff_t offsets[] = { -16, -1, 0, 1, 15 }; /* below 0: before the block; else after it */
    unsigned checks = BP_CHECK_REDZONE | (_i % 2 != 0 ? CHECK_ZONES : 0);
    enum trigger how = (enum trigger)(_i / 2);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < sizeof offsets / sizeof offsets[0]; k++) {
            bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, checks);
            size_t size = sizes[i];
            char words[80], *p, *before;
            struct report r;
            bp_mark mark;

            before = bp_arena_alloc(a, 24);
            mark = bp_arena_mark(a);
            p = block_here(a, size);
            ck_assert_ptr_nonnull(before);
            ck_assert_ptr_nonnull(p);
            memset(before, 1, 24);
            memset(p, 2, size);
            poke(p, offsets[k] < 0 ? (size_t)offsets[k] : size + (size_t)offsets[k], 0x41);
            nothing_reported(&reports);
            trigger(a, how, mark, p, size);
            if (how == BY_DESTROY)
                ck_assert_int_eq(bp_arena_destroy(a), 0);
            r = reported(&reports, BP_MISUSE_OVERRUN, NULL, a);
            if (offsets[k] < 0)
                snprintf(words, sizeof words, "the byte %td before a block of %zu bytes", -offsets[k], size);
            else
                snprintf(words, sizeof words, "the byte %td after a block of %zu bytes", offsets[k] + 1,
                         size);
            says(&r, words);
            says(&r, offsets[k] < 0 ? "underrun" : "overrun");
            says(&r, "0x41");
            snprintf(words, sizeof words, "%p", (void *)p);
            says(&r, words);
            snprintf(words, sizeof words, "arena %p", (void *)a);
            says(&r, words);
            from_block_here(&r);
            if (how != BY_DESTROY)
                ck_assert_int_eq(bp_arena_destroy(a), 0); /* and not again */
            listen_no_more();
            listen_again();
        }
}
END_TEST

START_TEST(every_spoilt_block_is_told)
{
    bp_arena *a = checked_arena(NULL, 4096, BP_ARENA_SPILL, BP_CHECK_REDZONE | BP_CHECK_POISON);
    char *p[7];

    for (size_t i = 0; i < 7; i++) {
        p[i] = bp_arena_alloc(a, 900); /* over several extents */
        ck_assert_ptr_nonnull(p[i]);
        poke(p[i], 900, 0);
    }
    ck_assert_uint_eq(bp_arena_check(a), 7);
    ck_assert_int_eq(reports.count, 7);
    reports.count = 0;
    poke(p[3], 900, 7);
    bp_arena_reset(a);
    (void)reported(&reports, BP_MISUSE_OVERRUN, NULL, a);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

START_TEST(aligned_blocks_have_zones)
{
    for (size_t align = 32; align <= MIB; align *= 2) {
        bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, BP_CHECK_REDZONE | BP_CHECK_POISON);
        char *p;

        ck_assert_ptr_nonnull(bp_arena_alloc(a, 1));
        p = bp_arena_alloc_aligned(a, 10, align);
        ck_assert(p != NULL && is_aligned(p, align));
        memset(p, 1, 10);
        ck_assert_uint_eq(bp_arena_check(a), 0);
        poke(p, 10, 0x41);
        ck_assert_uint_eq(bp_arena_check(a), 1);
        poke(p, (size_t)-1, 0x41);
        ck_assert_uint_eq(bp_arena_check(a), 1);
        reports.count = 0;
        ck_assert_int_eq(bp_arena_destroy(a), 0);
        nothing_reported(&reports);
    }
    listen_no_more();
}
END_TEST

/* ---- poison ---- */

START_TEST(writes_to_what_was_dropped_are_found)
{
    unsigned checks = BP_CHECK_POISON | (_i % 2 != 0 ? BP_CHECK_REDZONE : 0) |
                      (_i / 2 % 2 != 0 ? BP_CHECK_QUARANTINE : 0);

    for (int found_by = 0; found_by < 5; found_by++) {
        bp_arena *a = checked_arena(NULL, 8192, BP_ARENA_SPILL, checks);
        char *p, words[80];
        struct report r;

        ck_assert_ptr_nonnull(bp_arena_alloc(a, 50));
        p = block_here(a, 100);
        memset(p, 1, 100);
        bp_arena_reset(a);
        ck_assert(peek_all(p, 100, 0xDB));
        ck_assert_uint_eq(bp_arena_check(a), 0);
        poke(p, 7, 0x41);
        switch (found_by) {
        case 0:
            ck_assert_uint_eq(bp_arena_check(a), 1);
            break;
        case 1:
            bp_arena_reset(a);
            break;
        case 2:
            bp_arena_wipe(a);
            break;
        case 3: /* at the latest where the memory is handed out again */
            for (int i = 0; i < 1000 && reports.count == 0; i++) {
                char *q = bp_arena_alloc(a, 60);

                ck_assert_ptr_nonnull(q);
                memset(q, 3, 60);
                if ((checks & BP_CHECK_QUARANTINE) != 0)
                    break;
            }
            if (reports.count == 0)
                bp_arena_reset(a);
            break;
        default:
            ck_assert_int_eq(bp_arena_destroy(a), 0);
            break;
        }
        r = reported(&reports, BP_MISUSE_USE_AFTER_DROP, NULL, a);
        says(&r, "byte 7 of a block of 100 bytes");
        snprintf(words, sizeof words, "%p", (void *)p);
        says(&r, words);
        from_block_here(&r);
        if (found_by != 4)
            ck_assert_int_eq(bp_arena_destroy(a), 0);
        listen_no_more();
        listen_again();
    }
}
END_TEST

START_TEST(rewound_and_moved_blocks_are_dropped)
{
    bp_arena *a = checked_arena(NULL, 8192, BP_ARENA_SPILL, BP_CHECK_POISON | BP_CHECK_REDZONE);
    char *p, *q;
    bp_mark mark;
    struct report r;

    mark = bp_arena_mark(a);
    p = block_here(a, 64);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    poke(p, 63, 1);
    ck_assert_uint_eq(bp_arena_check(a), 1);
    r = reported(&reports, BP_MISUSE_USE_AFTER_DROP, NULL, a);
    says(&r, "byte 63 of a block of 64 bytes");

    p = block_here(a, 64);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 1)); /* so that it must move */
    q = bp_arena_realloc(a, p, 64, 128);
    ck_assert_ptr_ne(seen(q), p);
    poke(p, 0, 1);
    ck_assert_uint_eq(bp_arena_check(a), 1);
    r = reported(&reports, BP_MISUSE_USE_AFTER_DROP, NULL, a);
    says(&r, "byte 0 of a block of 64 bytes");
    from_block_here(&r);
    /* under a mark the old block stays: a rewind brings it back */
    stamp(q, 128, 5);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 1));
    mark = bp_arena_mark(a);
    p = bp_arena_realloc(a, q, 128, 256);
    ck_assert(stamped(p, 128, 5) && stamped(q, 128, 5));
    stamp(q, 128, 6);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert(stamped(q, 128, 6));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

START_TEST(spares_are_looked_at)
{
    bp_arena *a = checked_arena(NULL, 4096, BP_ARENA_SPILL, BP_CHECK_POISON);
    char *p = NULL;
    struct report r;

    for (size_t i = 0; i < 100; i++) {
        p = bp_arena_alloc(a, 500);
        ck_assert_ptr_nonnull(p);
        memset(p, 1, 500);
    }
    bp_arena_reset(a); /* `p` is in a spare extent now */
    poke(p, 123, 1);
    for (size_t i = 0; i < 100; i++)
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 500));
    r = reported(&reports, BP_MISUSE_USE_AFTER_DROP, NULL, a);
    says(&r, "byte 123 of a block of 500 bytes");
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

/* ---- fill, quarantine ---- */

START_TEST(new_blocks_are_filled)
{
    unsigned checks = BP_CHECK_FILL | (_i != 0 ? BP_CHECK_REDZONE | BP_CHECK_POISON : 0);
    bp_arena *a = checked_arena(NULL, 4096, BP_ARENA_SPILL, checks);

    for (size_t size = 1; size < 9000; size += size / 3 + 1) {
        char *p = bp_arena_alloc(a, size);

        ck_assert_ptr_nonnull(p);
        ck_assert(peek_all(p, size, 0xAB));
        memset(p, 1, size);
        p = bp_arena_realloc(a, p, size, size + 100);
        ck_assert_ptr_nonnull(p);
        ck_assert(all_bytes(p, size, 1) && peek_all(p + size, 100, 0xAB));
        ck_assert(all_bytes(bp_arena_zalloc(a, size), size, 0));
        ck_assert(all_bytes(bp_arena_calloc(a, size, 3), size * 3, 0));
        if (size % 3 == 0)
            bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

START_TEST(text_is_exact)
{
    bp_arena *a = checked_arena(NULL, 4096, BP_ARENA_SPILL, CHECK_ZONES);
    char *s;

    s = bp_arena_strdup(a, "seven");
    ck_assert_str_eq(s, "seven");
    ck_assert_str_eq(bp_arena_strndup(a, "seven", 3), "sev");
    ck_assert_str_eq(bp_arena_printf(a, "%d-%s", 42, "x"), "42-x");
    ck_assert_str_eq(bp_arena_printf(a, "%s", ""), "");
    poke(s, 6, 'x');
    ck_assert_uint_eq(bp_arena_check(a), 1);
    (void)reported(&reports, BP_MISUSE_OVERRUN, NULL, a);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

START_TEST(dropped_memory_waits)
{
    bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, BP_CHECK_QUARANTINE);
    bp_arena *plain = checked_arena(NULL, 65536, BP_ARENA_SPILL, BP_CHECK_POISON);
    char *first = bp_arena_alloc(a, 1000), *p = first, *plain_first = bp_arena_alloc(plain, 1000);
    size_t units = 0;

    bp_arena_reset(plain);
    ck_assert_ptr_eq(seen(bp_arena_alloc(plain, 1000)), plain_first);
    do {
        bp_arena_reset(a);
        ck_assert_uint_eq(bp_arena_used(a), 0);
        p = bp_arena_alloc(a, 1000);
        ck_assert_ptr_nonnull(p);
        units++;
    } while (seen(p) != first && units < 1000);
    ck_assert_uint_ge(units, 32); /* half of the extent, at the least */
    ck_assert_uint_le(units, 65);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(bp_arena_destroy(plain), 0);
    listen_no_more();
}
END_TEST

/* ---- realloc ---- */

START_TEST(realloc_of_no_block)
{
    bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, check_sets[_i]);
    char *p = block_here(a, 100), local[100];
    bool zones = (check_sets[_i] & BP_CHECK_REDZONE) != 0;
    size_t used = bp_arena_used(a);
    struct report r;

    memset(p, 3, 100);
    errno = 0;
    ck_assert_ptr_null(bp_arena_realloc(a, local, 100, 200));
    ck_assert_int_eq(errno, EINVAL);
    r = reported(&reports, BP_MISUSE_BAD_BLOCK, NULL, a);
    ck_assert_uint_eq(r.depth, 0);
    ck_assert_ptr_null(bp_arena_realloc(a, p + 16, 84, 200));
    (void)reported(&reports, BP_MISUSE_BAD_BLOCK, NULL, a);
    for (int bad = 0; bad < 3; bad++) {
        errno = 0;
        ck_assert_ptr_null(bp_arena_realloc(a, p, bad == 0 ? 99 : 101, bad == 1 ? 10 : 300));
        ck_assert_int_eq(errno, EINVAL);
        r = reported(&reports, BP_MISUSE_BAD_BLOCK, NULL, a);
        says(&r, "100");
        from_block_here(&r);
    }
    if (zones) {
        ck_assert_ptr_null(bp_arena_realloc(a, p, 0, 10));
        (void)reported(&reports, BP_MISUSE_BAD_BLOCK, NULL, a);
    }
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert(all_bytes(p, 100, 3));
    bp_arena_reset(a);
    ck_assert_ptr_null(bp_arena_realloc(a, p, 100, 200)); /* dropped */
    (void)reported(&reports, BP_MISUSE_BAD_BLOCK, NULL, a);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

START_TEST(the_last_block_grows_in_place)
{
    bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, check_sets[_i]);
    char *p = bp_arena_alloc_aligned(a, 1, 64), *q;
    size_t size;

    memset(p, 9, 1);
    for (size = 1; size < 20000; size++) { /* byte by byte, as text is put together */
        ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, size, size + 1)), p);
        p[size] = 9;
    }
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, size, 30)), p);
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, 30, 500)), p);
    ck_assert(all_bytes(p, 30, 9));
    /* where it has to move it is still the one that was asked for */
    q = bp_arena_realloc(a, p, 500, 100000);
    ck_assert(q != NULL && is_aligned(q, 64) && all_bytes(q, 30, 9));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

/* ---- marks, cleanups ---- */

START_TEST(dead_marks_that_look_alive)
{
    bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, check_sets[_i]);
    bp_arena *other = checked_arena(NULL, 65536, BP_ARENA_SPILL, check_sets[_i]);
    bp_arena *plain = checked_arena(NULL, 65536, BP_ARENA_SPILL, BP_CHECK_OFF);
    bp_mark outer, inner, again;
    size_t used;

    outer = bp_arena_mark(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 64));
    inner = bp_arena_mark(a);
    ck_assert_int_eq(bp_arena_rewind(a, inner), 0);
    ck_assert_int_eq(bp_arena_rewind(a, outer), 0);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 64));
    again = bp_arena_mark(a); /* where `inner` was */
    used = bp_arena_used(a);
    ck_assert_int_eq(bp_arena_rewind(a, inner), EINVAL);
    (void)reported(&reports, BP_MISUSE_DEAD_MARK, NULL, a);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_int_eq(bp_arena_rewind(a, again), 0);
    ck_assert_int_eq(bp_arena_rewind(a, outer), 0);
    /* of the unit before */
    bp_arena_reset(a);
    again = bp_arena_mark(a);
    ck_assert_int_eq(bp_arena_rewind(a, outer), EINVAL);
    (void)reported(&reports, BP_MISUSE_DEAD_MARK, NULL, a);
    /* of other arenas */
    outer = bp_arena_mark(other);
    ck_assert_int_eq(bp_arena_rewind(a, outer), EINVAL);
    (void)reported(&reports, BP_MISUSE_DEAD_MARK, NULL, a);
    ck_assert_int_eq(bp_arena_rewind(a, bp_arena_mark(plain)), EINVAL);
    (void)reported(&reports, BP_MISUSE_DEAD_MARK, NULL, a);
    ck_assert_int_eq(bp_arena_rewind(plain, again), EINVAL);
    (void)reported(&reports, BP_MISUSE_DEAD_MARK, NULL, plain);
    ck_assert_int_eq(bp_arena_rewind(a, again), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(bp_arena_destroy(other), 0);
    ck_assert_int_eq(bp_arena_destroy(plain), 0);
    listen_no_more();
}
END_TEST

START_TEST(scopes_and_marks_nest)
{
    bp_arena *a = checked_arena(NULL, 65536, BP_ARENA_SPILL, check_sets[_i]);
    bp_mark outer = bp_arena_mark(a), same = bp_arena_mark(a);
    char *p;

    for (int i = 0; i < 200; i++) {
        BP_ARENA_SCOPE(a);
        p = bp_arena_alloc(a, 100);
        memset(p, 1, 100);
        {
            BP_ARENA_SCOPE(a);
            ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
        }
        ck_assert(all_bytes(p, 100, 1));
        ck_assert_uint_eq(bp_arena_used(a), 112);
    }
    ck_assert_uint_eq(bp_arena_used(a), 0);
    ck_assert_int_eq(bp_arena_rewind(a, same), 0);
    ck_assert_int_eq(bp_arena_rewind(a, outer), 0); /* a scope at the same place does not end it */
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    listen_no_more();
}
END_TEST

struct allocating {
    bp_arena *arena;
    char *text;
    int runs;
};

static void allocate(void *data)
{
    struct allocating *my = data;

    my->runs++;
    ck_assert_str_eq(my->text, "alive"); /* to read is fine */
    errno = 0;
    ck_assert_ptr_null(bp_arena_alloc(my->arena, 40));
    ck_assert_int_eq(errno, EBUSY);
    (void)reported(&reports, BP_MISUSE_CLEANUP_ALLOCATES, NULL, my->arena);
    ck_assert_ptr_null(bp_arena_printf(my->arena, "%d", 1));
    (void)reported(&reports, BP_MISUSE_CLEANUP_ALLOCATES, NULL, my->arena);
    ck_assert_ptr_null(bp_arena_realloc(my->arena, my->text, 6, 60));
    (void)reported(&reports, BP_MISUSE_CLEANUP_ALLOCATES, NULL, my->arena);
    ck_assert_int_eq(bp_arena_on_reset(my->arena, allocate, my), EBUSY);
    nothing_reported(&reports);
}

START_TEST(a_cleanup_that_allocates)
{
    struct allocating my = { checked_arena(NULL, 65536, BP_ARENA_SPILL, check_sets[_i]), NULL, 0 };
    bp_mark mark;

    for (int i = 0; i < 3; i++) {
        mark = bp_arena_mark(my.arena);
        my.text = bp_arena_strdup(my.arena, "alive");
        ck_assert_int_eq(bp_arena_on_reset(my.arena, allocate, &my), 0);
        if (i == 0)
            ck_assert_int_eq(bp_arena_rewind(my.arena, mark), 0);
        else if (i == 1)
            bp_arena_reset(my.arena);
        else
            ck_assert_int_eq(bp_arena_destroy(my.arena), 0);
        ck_assert_int_eq(my.runs, i + 1);
    }
    listen_no_more();
}
END_TEST

/* ---- handlers ---- */

static jmp_buf out;
static bp_arena *handled;
static bool handled_in_use;
static int calls;

static void leave(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
    calls++;
    longjmp(out, 1);
}

/* The call that found it has done what it does. */
START_TEST(handler_leaves_by_longjmp)
{
    static bp_arena *volatile a;
    static char *volatile p;
    static bp_mark mark;

    bp_set_misuse_handler(leave, NULL);
    for (enum trigger how = BY_CHECK; how <= BY_WIPE; how++) {
        a = checked_arena(NULL, 65536, BP_ARENA_SPILL, CHECK_ZONES);
        mark = bp_arena_mark(a);
        p = bp_arena_alloc(a, 100);
        memset(p, 1, 100);
        poke(p, 100, 0);
        calls = 0;
        if (setjmp(out) == 0) {
            if (how == BY_DESTROY)
                bp_arena_destroy(a);
            else
                trigger(a, how, mark, p, 100);
            ck_abort_msg("nothing found");
        }
        ck_assert_int_eq(calls, 1);
        if (how == BY_DESTROY)
            continue;
        if (how == BY_RESET || how == BY_REWIND || how == BY_WIPE)
            ck_assert_uint_eq(bp_arena_used(a), 0);
        reports_listen(&reports);
        ck_assert_uint_eq(bp_arena_check(a), 0); /* all is as if the handler had returned */
        bp_arena_reset(a);
        for (int i = 0; i < 100; i++)
            stamp(bp_arena_alloc(a, 1000), 1000, 1);
        ck_assert_int_eq(bp_arena_destroy(a), 0);
        nothing_reported(&reports);
        bp_set_misuse_handler(leave, NULL);
    }
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

static void use(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
    if (calls++ != 0 && handled_in_use)
        return;
    handled_in_use = true;
    for (int i = 0; i < 200; i++)
        stamp(bp_arena_alloc(handled, 100), 100, 1);
    bp_arena_reset(handled);
    ck_assert_uint_eq(bp_arena_check(handled), 0);
    handled_in_use = false;
}

START_TEST(handler_uses_the_arena)
{
    char *p, *q;

    handled = checked_arena(NULL, 4096, BP_ARENA_SPILL, CHECK_ZONES);
    bp_set_misuse_handler(use, NULL);
    p = bp_arena_alloc(handled, 100);
    q = bp_arena_alloc(handled, 100);
    poke(p, 100, 0);
    poke(q, 100, 0);
    calls = 0;
    bp_arena_reset(handled);
    ck_assert_int_eq(calls, 2);
    p = bp_arena_alloc(handled, 100);
    poke(p, 100, 0);
    ck_assert_uint_eq(bp_arena_check(handled), 1);
    ck_assert_int_eq(calls, 3);
    reports_listen(&reports);
    ck_assert_int_eq(bp_arena_destroy(handled), 0);
    listen_no_more();
}
END_TEST

static Suite *checked_suite(void)
{
    Suite *s = suite_create("checked arenas");
    TCase *tc = add_case(s, "redzone");

    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, overruns_are_found, 0, 2 * TRIGGERS);
    tcase_add_test(tc, every_spoilt_block_is_told);
    tcase_add_test(tc, aligned_blocks_have_zones);
    tc = add_case(s, "poison");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, writes_to_what_was_dropped_are_found, 0, 4);
    tcase_add_test(tc, rewound_and_moved_blocks_are_dropped);
    tcase_add_test(tc, spares_are_looked_at);
    tc = add_case(s, "fill and quarantine");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, new_blocks_are_filled, 0, 2);
    tcase_add_test(tc, text_is_exact);
    tcase_add_test(tc, dropped_memory_waits);
    tc = add_case(s, "realloc");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, realloc_of_no_block, 0, CHECK_SETS);
    tcase_add_loop_test(tc, the_last_block_grows_in_place, 0, CHECK_SETS);
    tc = add_case(s, "marks and cleanups");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, dead_marks_that_look_alive, 0, CHECK_SETS);
    tcase_add_loop_test(tc, scopes_and_marks_nest, 0, CHECK_SETS);
    tcase_add_loop_test(tc, a_cleanup_that_allocates, 0, CHECK_SETS);
    tc = add_case(s, "handler");
    tcase_add_test(tc, handler_leaves_by_longjmp);
    tcase_add_test(tc, handler_uses_the_arena);
    return s;
}

int main(void)
{
    return run_suite(checked_suite());
}
