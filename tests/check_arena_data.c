/* SPDX-License-Identifier: MIT
 * Arenas: resizing blocks, copies and formatted strings.
 */
#include "support.h"

#include <wchar.h>

/* ---- realloc ---- */

START_TEST(last_block_resizes_in_place)
{
    struct place on;
    bp_arena *a;
    char *p, *q;
    size_t n;

    place_open(&on, _i);
    a = fixed_arena(on.backing, 8192);
    p = bp_arena_alloc(a, 10);
    stamp(p, 10, 1);
    for (n = 10; n < 8192; n += 97) {
        size_t next = n + 97 > 8192 ? 8192 : n + 97;

        q = bp_arena_realloc(a, p, n, next);
        ck_assert_ptr_eq(seen(q), p);
        ck_assert(stamped(q, n, 1));
        stamp(q, next, 1);
        ck_assert_uint_eq(bp_arena_used(a), round16(next));
    }
    ck_assert_uint_eq(bp_arena_remaining(a), 0);
    for (n = 8192; n > 16; n = n / 2 + 3) {
        q = bp_arena_realloc(a, p, n, n / 2 + 3);
        ck_assert_ptr_eq(seen(q), p);
        ck_assert(stamped(q, n / 2 + 3, 1));
        ck_assert_uint_eq(bp_arena_used(a), round16(n / 2 + 3)); /* the room is had back */
        if (n / 2 + 3 >= n)
            break;
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(other_blocks_move)
{
    struct place on;
    bp_arena *a;
    unsigned char *p, *q, *r;
    size_t used;

    place_open(&on, _i);
    a = spill_arena(on.backing, 8192);
    p = bp_arena_alloc(a, 100);
    stamp(p, 100, 1);
    q = bp_arena_alloc(a, 100);
    stamp(q, 100, 2);
    used = bp_arena_used(a);
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, 100, 50)), p); /* shrinks for nothing */
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert(stamped(p, 50, 1) && stamped(q, 100, 2));
    r = bp_arena_realloc(a, p, 50, 200);
    ck_assert_ptr_ne(r, p);
    ck_assert(is_aligned(r, 16));
    ck_assert(stamped(r, 50, 1) && stamped(q, 100, 2) && stamped(p, 50, 1));
    stamp(r, 200, 3);
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, r, 200, 300)), r); /* it is the last one now */
    ck_assert(stamped(r, 200, 3) && stamped(q, 100, 2));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(null_is_an_alloc)
{
    bp_arena *a = spill_arena(NULL, 4096);
    void *p = bp_arena_realloc(a, NULL, 0, 100);

    ck_assert_ptr_nonnull(p);
    ck_assert(is_aligned(p, 16));
    stamp(p, 100, 1);
    ck_assert_uint_eq(bp_arena_used(a), round16(100));
    ck_assert_ptr_nonnull(bp_arena_realloc(a, NULL, 0, 0));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(to_zero_and_back)
{
    bp_arena *a = spill_arena(NULL, 4096);
    void *first = bp_arena_alloc(a, 16), *p = bp_arena_alloc(a, 100), *q;

    stamp(first, 16, 1);
    q = bp_arena_realloc(a, p, 100, 0);
    ck_assert_ptr_nonnull(q);
    ck_assert_uint_eq(bp_arena_used(a), 16);
    q = bp_arena_realloc(a, q, 0, 50);
    ck_assert_ptr_nonnull(q);
    stamp(q, 50, 2);
    ck_assert(stamped(first, 16, 1));
    ck_assert_uint_eq(bp_arena_used(a), 16 + round16(50));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(never_in_place_across_a_mark)
{
    struct place on;
    bp_arena *a;
    bp_mark mark;
    unsigned char *p, *q;
    size_t used;

    place_open(&on, _i);
    a = spill_arena(on.backing, 8192);
    p = bp_arena_alloc(a, 100);
    stamp(p, 100, 1);
    mark = bp_arena_mark(a);
    used = bp_arena_used(a);
    /* a shrink must not lower the cursor: the mark would lie above it */
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, 100, 20)), p);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert(stamped(p, 20, 1));
    stamp(p, 100, 1);
    /* growth moves, and rewinding brings back what was there */
    q = bp_arena_realloc(a, p, 100, 200);
    ck_assert_ptr_ne(q, p);
    ck_assert(stamped(q, 100, 1));
    memset(q, 0xFF, 200);
    ck_assert(stamped(p, 100, 1));
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert(stamped(p, 100, 1));
    /* above the mark it is as ever, and the mark stays alive for the old block after a rewind */
    q = bp_arena_alloc(a, 64);
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, q, 64, 640)), q);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_ptr_ne(bp_arena_realloc(a, p, 100, 300), p);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert(stamped(p, 100, 1));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(a_scope_protects_what_is_outside)
{
    bp_arena *a = spill_arena(NULL, 8192);
    unsigned char *p = bp_arena_alloc(a, 64), *q;

    stamp(p, 64, 1);
    {
        BP_ARENA_SCOPE(a);
        q = bp_arena_realloc(a, p, 64, 500);
        ck_assert_ptr_ne(q, p);
        memset(q, 0, 500);
    }
    ck_assert(stamped(p, 64, 1));
    ck_assert_uint_eq(bp_arena_used(a), 64);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* The block's own bytes and no more are copied: those behind it are poisoned with a pattern which must not
 * turn up, and under ASan the source ends at the end of its memory. */
START_TEST(copies_exactly_the_old_bytes)
{
    unsigned char *memory = malloc(4096);
    struct bp_buffer_backing buffer;
    bp_arena *a = spill_arena(NULL, 64 * KIB), *b = NULL;
    unsigned char *p, *q, *guard;
    size_t n;

    ck_assert_ptr_nonnull(memory);
    for (n = 0; n <= 130; n++) {
        p = bp_arena_alloc(a, n);
        stamp(p, n, 1);
        guard = bp_arena_alloc(a, 16);
        memset(guard, 0xFE, 16);
        q = bp_arena_alloc(a, 400); /* where the block will go: known contents */
        memset(q, 0x42, 400);
        bp_arena_reset(a);
        ck_assert_ptr_eq(seen(bp_arena_alloc(a, n)), p);
        ck_assert_ptr_eq(seen(bp_arena_alloc(a, 16)), guard);
        ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, n, 200 + n)), q);
        ck_assert(stamped(q, n, 1));
        ck_assert(all_bytes(q + round16(n), 200 + n - round16(n), 0x42)); /* not old + rounding + guard */
        bp_arena_reset(a);
    }
    /* the last block of a full buffer: one byte past it is not ours */
    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, 4096), 0);
    ck_assert_int_eq(bp_arena_create(&buffer.backing, NULL, &b), 0);
    n = bp_arena_remaining(b);
    p = bp_arena_alloc(b, n);
    stamp(p, n, 3);
    ck_assert_ptr_null(bp_arena_realloc(b, p, n, 2 * n));
    ck_assert(stamped(p, n, 3));
    ck_assert_int_eq(bp_arena_destroy(b), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    free(memory);
}
END_TEST

START_TEST(failure_leaves_the_block)
{
    static const size_t sizes[] = { 4096 - 15, 4097, 100000, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
                                    SIZE_MAX - 16, SIZE_MAX - 15, SIZE_MAX };
    struct place on;
    bp_arena *a;
    void *p, *q;
    size_t i, used;

    place_open(&on, _i);
    a = fixed_arena(on.backing, 4096);
    q = bp_arena_alloc(a, 16);
    p = bp_arena_alloc(a, 1000);
    stamp(q, 16, 1);
    stamp(p, 1000, 2);
    used = bp_arena_used(a);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        errno = 0;
        ck_assert_ptr_null(bp_arena_realloc(a, p, 1000, opaque(sizes[i])));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(bp_arena_realloc(a, q, 16, opaque(sizes[i])));
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_uint_eq(bp_arena_used(a), used);
        ck_assert(stamped(p, 1000, 2) && stamped(q, 16, 1));
    }
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, 1000, 4096 - 16)), p); /* exactly what is left */
    ck_assert_uint_eq(bp_arena_remaining(a), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(grows_over_spill)
{
    struct place on;
    bp_arena *a;
    unsigned char *p;
    size_t n = 10, next;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    p = bp_arena_alloc(a, n);
    stamp(p, n, 5);
    for (; n < MIB; n = next) {
        next = n + n / 2 + 7;
        p = bp_arena_realloc(a, p, n, next);
        ck_assert_ptr_nonnull(p);
        ck_assert(stamped(p, n, 5));
        stamp(p, next, 5);
    }
    p = bp_arena_realloc(a, p, n, 100);
    ck_assert_ptr_nonnull(p);
    ck_assert(stamped(p, 100, 5));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

/* A backing of its own that places every extent right below the one before and says that all is zero. */
struct downward {
    bp_backing backing;
    char *next;
};

alignas(64) static char downward_memory[1 << 20];

static int downward_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                            struct bp_extent *out)
{
    struct downward *d = (struct downward *)(void *)self;
    struct bp_extent e = { NULL, (min + 63) & ~(size_t)63, 0, 0, 0, NULL };

    (void)preferred;
    if (align > 64 || e.size > (size_t)(d->next - downward_memory))
        return ENOMEM;
    d->next -= e.size;
    e.base = d->next;
    e.committed = e.size;
    *out = e;
    return 0;
}

static void downward_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    (void)extent;
}

static const struct bp_backing_ops downward_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "downward",
    .acquire = downward_acquire,
    .dispose = downward_dispose,
};

/* A block at the end of an extent that touches the extent in use, whose cursor is at its start, looks like
 * the last block by its address; it is not in the extent in use. */
START_TEST(neighbouring_extents_are_not_one)
{
    struct bp_pool_config c = pool_config();
    size_t size;

    c.arena_size = 4096;
    for (size = 20000; size < 20000 + 128; size += 16) {
        struct downward d = { { &downward_ops }, downward_memory + sizeof downward_memory };
        bp_pool *pool;
        bp_arena *a;
        unsigned char *p, *q;

        memset(downward_memory, 0, sizeof downward_memory);
        pool = pool_on(&d.backing, &c);
        a = taken(pool);
        p = bp_arena_alloc(a, size);
        ck_assert_ptr_nonnull(p);
        stamp(p, size, 1);
        ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, size, 100)), p);
        ck_assert(stamped(p, 100, 1));
        q = bp_arena_zalloc(a, 2000);
        ck_assert_ptr_nonnull(q);
        ck_assert(all_bytes(q, 2000, 0));
        ck_assert(bp_arena_owns(a, q) && bp_arena_owns(a, p));
        memset(q, 0x7B, 2000);
        ck_assert(stamped(p, 100, 1));
        given(pool, a);
        pool_gone(pool);
    }
}
END_TEST

START_TEST(overaligned_blocks_resize)
{
    bp_arena *a = spill_arena(NULL, 8192);
    unsigned char *p = bp_arena_alloc_aligned(a, 100, 256), *q;

    stamp(p, 100, 1);
    q = bp_arena_realloc(a, p, 100, 200);
    ck_assert_ptr_eq(seen(q), p);
    ck_assert(stamped(q, 100, 1));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- copies ---- */

START_TEST(memdup_copies)
{
    bp_arena *a = fixed_arena(NULL, 4096);
    unsigned char source[1000];
    void *p;

    stamp(source, sizeof source, 1);
    p = bp_arena_memdup(a, source, sizeof source);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_ne(p, source);
    ck_assert(stamped(p, sizeof source, 1));
    ck_assert_ptr_nonnull(bp_arena_memdup(a, source, 0));
    ck_assert_ptr_nonnull(bp_arena_memdup(a, NULL, opaque(0))); /* nothing is read */
    ck_assert_uint_eq(bp_arena_used(a), round16(1000));
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 4096 - round16(1000) - 992));
    errno = 0;
    ck_assert_ptr_null(bp_arena_memdup(a, source, sizeof source));
    ck_assert_int_eq(errno, ENOMEM);
    p = bp_arena_memdup(a, source, 992);
    ck_assert_ptr_nonnull(p);
    ck_assert(stamped(p, 992, 1));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(strdup_copies)
{
    bp_arena *a = fixed_arena(NULL, 64);
    char *s = bp_arena_strdup(a, "");

    ck_assert_str_eq(s, "");
    s = bp_arena_strdup(a, "fifteen letters");
    ck_assert_str_eq(s, "fifteen letters");
    ck_assert_uint_eq(bp_arena_used(a), 32);
    errno = 0;
    ck_assert_ptr_null(bp_arena_strdup(a, "this string and its end take 33."));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_uint_eq(bp_arena_used(a), 32);
    s = bp_arena_strdup(a, "this string and its end take 32");
    ck_assert_str_eq(s, "this string and its end take 32");
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(strndup_stops)
{
    bp_arena *a = spill_arena(NULL, 4096);
    size_t page = page_size();
    char *edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *exact = malloc(8), *s;

    ck_assert_ptr_ne(edge, MAP_FAILED);
    ck_assert_ptr_nonnull(exact);
    ck_assert_str_eq(bp_arena_strndup(a, "hello", 0), "");
    ck_assert_str_eq(bp_arena_strndup(a, "hello", 3), "hel");
    ck_assert_str_eq(bp_arena_strndup(a, "hello", 5), "hello");
    ck_assert_str_eq(bp_arena_strndup(a, "hello", 6), "hello");
    ck_assert_str_eq(bp_arena_strndup(a, "hello", opaque(SIZE_MAX)), "hello");
    ck_assert_str_eq(bp_arena_strndup(a, "", opaque(SIZE_MAX)), "");
    /* no terminator within n: the byte after it must not be read. The sanitizers see it on the heap,
     * a plain run at the end of a page. */
    memcpy(exact, "12345678", 8);
    s = bp_arena_strndup(a, exact, 8);
    ck_assert_str_eq(s, "12345678");
    ck_assert_int_eq(mprotect(edge + page, page, PROT_NONE), 0);
    memset(edge, 'x', page);
    s = bp_arena_strndup(a, edge + page - 8, 8);
    ck_assert_str_eq(s, "xxxxxxxx");
    ck_assert_str_eq(bp_arena_strndup(a, edge + page, 0), "");
    /* a terminator ends the reading, however large n is */
    edge[page - 1] = '\0';
    s = bp_arena_strndup(a, edge + page - 8, opaque(SIZE_MAX));
    ck_assert_str_eq(s, "xxxxxxx");
    s = bp_arena_strndup(a, edge + page - 8, opaque((size_t)PTRDIFF_MAX + 1));
    ck_assert_str_eq(s, "xxxxxxx");
    munmap(edge, 2 * page);
    free(exact);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- printf ---- */

static char *formatted(bp_arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
static char *formatted(bp_arena *a, const char *format, ...)
{
    va_list args;
    char *s;

    va_start(args, format);
    s = bp_arena_vprintf(a, format, args);
    va_end(args);
    return s;
}

START_TEST(printf_sizes_exactly)
{
    struct place on;
    bp_arena *a;
    char *s;
    int n;

    place_open(&on, _i);
    a = spill_arena(on.backing, 4096);
    for (n = 0; n < 6000; n = n < 200 ? n + 1 : n * 2 + n % 7) {
        size_t used = bp_arena_used(a), capacity = bp_arena_capacity(a);

        s = n % 2 == 0 ? bp_arena_printf(a, "%*s", n, "") : formatted(a, "%*s", n, "");
        ck_assert_ptr_nonnull(s);
        ck_assert_uint_eq(strlen(s), (size_t)n);
        ck_assert(n == 0 || all_bytes(s, (size_t)n, ' '));
        if (bp_arena_capacity(a) == capacity && bp_arena_remaining(a) > 0 && n < 200)
            ck_assert_uint_ge(bp_arena_used(a), used + round16((size_t)n + 1));
    }
    s = bp_arena_printf(a, "%d %s %c %5.2f %zu", -7, "seven", '7', 7.0, (size_t)77);
    ck_assert_str_eq(s, "-7 seven 7  7.00 77");
    s = formatted(a, "%s|%ld|%%", "x", 5L);
    ck_assert_str_eq(s, "x|5|%");
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(printf_in_the_last_room)
{
    struct place on;
    bp_arena *a;
    size_t left;
    int n;

    place_open(&on, _i);
    a = fixed_arena(on.backing, 4096);
    for (left = 0; left <= 256; left += 16)
        for (n = 0; n <= 300; n++) {
            char *s, *guard;

            bp_arena_reset(a);
            guard = bp_arena_alloc(a, 4096 - left);
            memset(guard, 0x7E, 4096 - left);
            errno = 0;
            s = n % 2 == 0 ? bp_arena_printf(a, "%0*d", n, 0) : formatted(a, "%0*d", n, 0);
            if ((size_t)(n == 0 ? 1 : n) + 1 <= left) { /* "%00d" prints one digit */
                must(s != NULL && strlen(s) == (size_t)(n == 0 ? 1 : n));
                must(bp_arena_used(a) == 4096 - left + round16(strlen(s) + 1));
            } else {
                must(s == NULL && errno == ENOMEM);
                must(bp_arena_used(a) == 4096 - left);
            }
            must(all_bytes(guard, 4096 - left, 0x7E));
        }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    place_close(&on);
}
END_TEST

START_TEST(printf_spills)
{
    struct place on;
    bp_arena *a;
    char *p, *s;
    size_t left;

    place_open(&on, _i);
    for (left = 0; left <= 64; left += 16) {
        a = spill_arena(on.backing, 4096);
        p = bp_arena_alloc(a, bp_arena_remaining(a) - left);
        ck_assert_ptr_nonnull(p);
        s = bp_arena_printf(a, "%0100d|%s", 5, "end");
        ck_assert_ptr_nonnull(s);
        ck_assert_uint_eq(strlen(s), 104);
        ck_assert_str_eq(s + 99, "5|end");
        ck_assert(bp_arena_owns(a, s) && bp_arena_owns(a, s + 104));
        ck_assert_int_eq(bp_arena_destroy(a), 0);
        if (_i == ON_RESERVED)
            break; /* its extent has no end within reach */
    }
    place_close(&on);
}
END_TEST

START_TEST(printf_fails_as_vsnprintf)
{
    bp_arena *a = spill_arena(NULL, 4096);
    static const char *volatile too_wide = "%2147483648d", *volatile too_long = "%2147483647d%2147483647d";
    void *p = bp_arena_alloc(a, 100);
    size_t used, capacity;

    stamp(p, 100, 1);
    used = bp_arena_used(a);
    capacity = bp_arena_capacity(a);
    errno = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    ck_assert_ptr_null(bp_arena_printf(a, too_wide, 1));
    ck_assert_int_eq(errno, EOVERFLOW);
    if (!slow_run()) { /* the C library goes through all of the 4 GiB */
        errno = 0;
        ck_assert_ptr_null(bp_arena_printf(a, too_long, 1, 2));
        ck_assert_int_eq(errno, EOVERFLOW);
    }
#pragma GCC diagnostic pop
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_uint_eq(bp_arena_capacity(a), capacity);
    ck_assert(stamped(p, 100, 1));
    errno = 0;
    ck_assert_ptr_null(bp_arena_printf(a, "%lc", (wint_t)0x7fffffff)); /* no such character */
    ck_assert_int_eq(errno, EILSEQ);
    ck_assert_uint_eq(bp_arena_used(a), used);
    ck_assert_str_eq(bp_arena_printf(a, "%s", "still works"), "still works");
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(printf_of_a_block_of_the_arena)
{
    bp_arena *a = spill_arena(NULL, 4096);
    char *s = bp_arena_strdup(a, "x");
    int i;

    for (i = 0; i < 12; i++) /* the argument lies right below the cursor, then in an older extent */
        s = bp_arena_printf(a, "%s%s", s, s);
    ck_assert_uint_eq(strlen(s), 4096);
    ck_assert(all_bytes(s, 4096, 'x'));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(printf_wide_fails_in_a_fixed_arena)
{
    bp_arena *a = fixed_arena(NULL, 4096);
    int width = 1 << 20;

    errno = 0;
    ck_assert_ptr_null(bp_arena_printf(a, "%*d", width, 1));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    ck_assert_uint_eq(bp_arena_remaining(a), 4096);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    a = spill_arena(NULL, 4096);
    ck_assert_uint_eq(strlen(bp_arena_printf(a, "%*d", width, 1)), (size_t)width);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* A string that did not fit was written past the cursor, and nobody may notice. */
START_TEST(a_printf_that_failed_leaves_no_trace)
{
    bp_arena *a = fixed_arena(bp_backing_mmap(), 64 * KIB);
    void *p;

    ck_assert_ptr_null(bp_arena_printf(a, "%*d", 100000, 7));
    ck_assert_uint_eq(bp_arena_high_water(a), 0);
    p = bp_arena_zalloc(a, 64 * KIB);
    ck_assert_ptr_nonnull(p);
    ck_assert(all_bytes(p, 64 * KIB, 0));
    bp_arena_reset(a);
    ck_assert_uint_eq(bp_arena_high_water(a), 64 * KIB);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* The mark of a scope that is over holds nothing in place; one that somebody still has does. */
START_TEST(an_ended_scope_is_no_mark)
{
    bp_arena *a = spill_arena(bp_backing_mmap(), 64 * KIB);
    char *p = bp_arena_alloc(a, 16), *q;
    bp_mark mark;

    ck_assert_ptr_nonnull(p);
    {
        BP_ARENA_SCOPE(a);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 1000));
    }
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, 16, 64)), p);
    mark = bp_arena_mark(a);
    {
        BP_ARENA_SCOPE(a);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 1000));
    }
    q = bp_arena_realloc(a, p, 64, 128);
    ck_assert_ptr_ne(q, p);
    {
        BP_ARENA_SCOPE(a);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 200 * KIB)); /* spills */
    }
    ck_assert_ptr_eq(seen(bp_arena_realloc(a, q, 128, 256)), q);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_uint_eq(bp_arena_used(a), 64);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

static Suite *data_suite(void)
{
    Suite *s = suite_create("arena data");
    TCase *tc = add_case(s, "realloc");

    tcase_add_loop_test(tc, last_block_resizes_in_place, 0, BACKINGS);
    tcase_add_loop_test(tc, other_blocks_move, 0, BACKINGS);
    tcase_add_test(tc, null_is_an_alloc);
    tcase_add_test(tc, to_zero_and_back);
    tcase_add_loop_test(tc, never_in_place_across_a_mark, 0, BACKINGS);
    tcase_add_test(tc, an_ended_scope_is_no_mark);
    tcase_add_test(tc, a_scope_protects_what_is_outside);
    tcase_add_test(tc, copies_exactly_the_old_bytes);
    tcase_add_loop_test(tc, failure_leaves_the_block, 0, BACKINGS);
    tcase_add_loop_test(tc, grows_over_spill, 0, BACKINGS);
    tcase_add_test(tc, neighbouring_extents_are_not_one);
    tcase_add_test(tc, overaligned_blocks_resize);
    tc = add_case(s, "copies");
    tcase_add_test(tc, memdup_copies);
    tcase_add_test(tc, strdup_copies);
    tcase_add_test(tc, strndup_stops);
    tc = add_case(s, "printf");
    tcase_add_loop_test(tc, printf_sizes_exactly, 0, BACKINGS);
    tcase_add_loop_test(tc, printf_in_the_last_room, 0, BACKINGS);
    tcase_add_loop_test(tc, printf_spills, 0, BACKINGS);
    tcase_add_test(tc, printf_fails_as_vsnprintf);
    tcase_add_test(tc, printf_of_a_block_of_the_arena);
    tcase_add_test(tc, printf_wide_fails_in_a_fixed_arena);
    tcase_add_test(tc, a_printf_that_failed_leaves_no_trace);
    return s;
}

int main(void)
{
    return run_suite(data_suite());
}
