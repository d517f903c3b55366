/* SPDX-License-Identifier: MIT
 * The caps of a bucket pool, upkeep, what it prints; and every failure at every place, of the backing and of
 * malloc, with nothing lost.
 */
#include "buckets.h"

#include "failing_malloc.h"

static bp_backing *f;

static bp_buckets *open_over(bp_backing *inner, const struct bp_buckets_config *c)
{
    f = faulty_over(inner);
    return buckets_on(f, c);
}

static void close_all(bp_buckets *b)
{
    buckets_gone(b);
    faulty_gone(f);
}

/* `n` out at once, and back. */
static void cycle(bp_buckets *b, size_t size, size_t n)
{
    struct bp_buffer x[64];
    size_t i;

    must(n <= 64);
    for (i = 0; i < n; i++)
        x[i] = got(b, size);
    for (i = 0; i < n; i++)
        put_back(b, &x[i]);
}

/* ---- caps ---- */

START_TEST(max_kept)
{
    struct bp_buckets_config c = buckets_config();
    size_t caps[] = { 0, 1, 3, BP_UNLIMITED }, cap = caps[_i], i;
    bp_buckets *b;

    c.max_kept = cap;
    b = open_over(bp_backing_mmap(), &c);
    for (i = 64; i <= MIB; i *= 4)
        cycle(b, i, 10);
    for (i = 0; i < buckets_stats_of(b).buckets; i++) {
        struct bp_bucket_stats s = bucket_of(b, i);

        ck_assert_uint_eq(s.depth, s.returned == 0 ? 0 : cap < 10 ? cap : 10);
        ck_assert_uint_eq(s.discarded, s.misses - s.depth);
    }
    cycle(b, 2 * MIB, 3);
    buckets_add_up(b, 0);
    if (cap == 0)
        ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, 0);
    close_all(b);
}
END_TEST

START_TEST(no_bytes_kept)
{
    struct bp_buckets_config c = buckets_config();
    size_t i;
    bp_buckets *b;

    c.max_kept_bytes = 0;
    b = open_over(bp_backing_mmap(), &c);
    for (i = 64; i <= 2 * MIB; i *= 2)
        cycle(b, i, 5);
    ck_assert_uint_eq(bp_buckets_total_count(b), 0);
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, 0);
    close_all(b);
}
END_TEST

START_TEST(max_live)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x[5], y = BP_BUFFER_INIT;
    size_t i, size;
    bp_buckets *b;

    c.max_live = 0;
    c.max_size = 65536;
    b = open_over(bp_backing_malloc(), &c);
    for (size = 64; size <= MIB; size *= 2)
        ck_assert_int_eq(bp_buckets_get(b, size, &y), EAGAIN);
    close_all(b);

    c.max_live = 5;
    b = open_over(bp_backing_malloc(), &c);
    for (size = 64; size <= MIB; size *= 8) {
        for (i = 0; i < 5; i++)
            x[i] = got(b, size);
        ck_assert_int_eq(bp_buckets_get(b, size, &y), EAGAIN);
        ck_assert_ptr_null(y.data);
        for (i = 0; i < 5; i++)
            put_back(b, &x[i]);
    }
    buckets_add_up(b, 0);
    close_all(b);
}
END_TEST

/* The cap on bytes: the fullest bucket makes room, oldest first, and what is kept never exceeds it. */
START_TEST(max_kept_bytes)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x[64];
    bp_buckets *b;
    size_t i;
    void *newest;

    c.max_kept = BP_UNLIMITED;
    c.max_kept_bytes = 16 * 65536;
    b = open_over(bp_backing_mmap(), &c);
    cycle(b, 65536, 20); /* more than fit: the last ones stay */
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, c.max_kept_bytes);
    ck_assert_uint_eq(bp_buckets_free_count(b), 16);
    cycle(b, 32768, 4); /* takes the place of two of these */
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, c.max_kept_bytes);
    ck_assert_uint_eq(bucket_of(b, 10).depth, 14);
    ck_assert_uint_eq(bucket_of(b, 9).depth, 4);
    cycle(b, 262144, 1); /* and of four more */
    ck_assert_uint_eq(bucket_of(b, 10).depth, 10);
    ck_assert_uint_eq(bucket_of(b, 12).depth, 1);
    cycle(b, 64, 50); /* small ones come to 3,200 bytes: one more goes */
    ck_assert_uint_eq(bucket_of(b, 0).depth, 50);
    ck_assert_uint_eq(bucket_of(b, 10).depth, 9);
    ck_assert_uint_le(buckets_stats_of(b).idle_bytes, c.max_kept_bytes);
    x[0] = got(b, 65536);
    newest = x[0].data; /* the newest of the fullest stays */
    put_back(b, &x[0]);
    cycle(b, 524288, 1);
    x[0] = got(b, 65536);
    ck_assert_ptr_eq(x[0].data, newest);
    put_back(b, &x[0]);
    /* what can never fit drives nobody out */
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    cycle(b, 4096, 5);
    cycle(b, MIB, 1);
    ck_assert_uint_eq(bucket_of(b, 6).depth, 0); /* just fits, alone */
    ck_assert_uint_eq(bucket_of(b, 14).depth, 1);
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, MIB);
    buckets_add_up(b, 0);
    close_all(b);

    c.max_kept_bytes = MIB - 1;
    b = open_over(bp_backing_mmap(), &c);
    cycle(b, 4096, 5);
    cycle(b, MIB, 1);
    ck_assert_uint_eq(bucket_of(b, 6).depth, 5);
    ck_assert_uint_eq(bucket_of(b, 14).depth, 0);
    for (i = 0; i < 10; i++) /* places held for what is out do not stand in the way */
        x[i] = got(b, 65536);
    cycle(b, 524288, 1);
    ck_assert_uint_eq(bucket_of(b, 13).depth, 1);
    for (i = 0; i < 10; i++)
        put_back(b, &x[i]);
    ck_assert_uint_le(buckets_stats_of(b).idle_bytes, c.max_kept_bytes);
    buckets_add_up(b, 0);
    close_all(b);
}
END_TEST

/* A random load: what the backing has out beyond what is live is never more than the cap. Memory is committed
 * late, so footprints grow while buffers are out. */
START_TEST(never_more_bytes)
{
    enum { OUT = 24 };
    struct rng rng = rng_start("never_more_bytes");
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer out[OUT] = { BP_BUFFER_INIT };
    bp_buckets *b;
    size_t i, k, n = 0;

    c.max_kept_bytes = 700000;
    c.min_size = 16384; /* each has its own extent */
    c.max_size = 262144;
    c.step = BP_BUCKETS_QUARTER;
    b = open_over(_i == 0 ? bp_backing_malloc() : _i == 1 ? bp_backing_mmap() : bp_backing_reserved(), &c);
    for (i = 0; i < times(20000, 1000); i++) {
        k = rng_below(&rng, OUT);
        if (out[k].data == NULL) {
            out[k] = got(b, 1 + rng_below(&rng, 300000));
            n++;
        } else {
            put_back(b, &out[k]);
            n--;
        }
        must(buckets_stats_of(b).idle_bytes <= c.max_kept_bytes);
        if (_i != 2) {
            size_t live = 0;

            for (k = 0; k < OUT; k++)
                live += out[k].capacity; /* transient ones: less than they hold */
            must(faulty_stats(f).bytes <= live + c.max_kept_bytes + n * 8192 + 8 * 8192);
        }
    }
    for (k = 0; k < OUT; k++)
        if (out[k].data != NULL)
            put_back(b, &out[k]);
    must(buckets_stats_of(b).idle_bytes <= c.max_kept_bytes);
    must(buckets_stats_of(b).idle_bytes > c.max_kept_bytes / 2); /* and the cap is made use of */
    buckets_add_up(b, 0);
    close_all(b);
}
END_TEST

/* Also where an arena grows as it is committed, which is after it was counted. */
START_TEST(prewarm_stays_within)
{
    struct bp_reserved_config r = BP_RESERVED_CONFIG_INIT;
    struct bp_buckets_config c = buckets_config();
    bp_backing *reserved = NULL;
    size_t added = 99;
    bp_buckets *b;

    r.commit_step = 4096;
    ck_assert_int_eq(bp_backing_reserved_create(&r, &reserved), 0);

    c.max_kept_bytes = 10 * 65536 + 100;
    b = open_over(_i == 0 ? bp_backing_mmap() : reserved, &c);
    ck_assert_int_eq(bp_buckets_prewarm(b, 65536, 7, &added), 0);
    ck_assert_uint_eq(added, 7);
    ck_assert_int_eq(bp_buckets_prewarm(b, 65000, 7, &added), 0);
    ck_assert_uint_eq(added, 3);
    ck_assert_int_eq(bp_buckets_prewarm(b, MIB, 7, &added), 0);
    ck_assert_uint_eq(added, 0);
    ck_assert_int_eq(bp_buckets_prewarm(b, 32768, 7, &added), 0);
    ck_assert_uint_eq(added, 0);
    ck_assert_int_eq(bp_buckets_prewarm(b, MIB + 1, 7, &added), EINVAL);
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, 10 * 65536);
    cycle(b, 65536, 10);
    ck_assert_uint_eq(bucket_of(b, 10).hits, 10);
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    ck_assert_uint_eq(buckets_stats_of(b).idle_bytes, 0);
    ck_assert_int_eq(bp_buckets_prewarm(b, 65536, 20, &added), 0); /* all that was counted is free again */
    ck_assert_uint_eq(added, 10);
    close_all(b);
    bp_backing_destroy(reserved);
}
END_TEST

/* ---- upkeep ---- */

START_TEST(release_and_trim)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x;
    bp_buckets *b;
    size_t size;

    no_huge_pages();
    b = open_over(bp_backing_mmap(), &c);
    for (size = 64; size <= MIB; size *= 4) {
        x = got(b, size);
        memset(x.data, 1, x.capacity);
        put_back(b, &x);
    }
    cycle(b, 2 * MIB, 1);
    size = bp_buckets_free_count(b);
    ck_assert_uint_ge(bp_buckets_release_idle(b), MIB + 262144 + 65536);
    ck_assert_uint_eq(bp_buckets_release_idle(b), 0);
    ck_assert_uint_eq(bp_buckets_free_count(b), size);
    cycle(b, 4096, 5);
    ck_assert_int_eq(bp_buckets_trim(b, 2), 0);
    ck_assert_uint_eq(bucket_of(b, 6).depth, 2);
    ck_assert_uint_eq(bucket_of(b, 0).depth, 1);
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    ck_assert_uint_eq(bp_buckets_total_count(b), 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 0); /* the chunks of small buffers, too */
    close_all(b);
}
END_TEST

START_TEST(tick)
{
    const uint64_t ms = 1000000;
    struct bp_buckets_config c = buckets_config();
    uint64_t now = 1, next = 0, first = UINT64_MAX, n = 0;
    bp_buckets *b;
    size_t i;

    c.retain_ns = 1000 * ms;
    b = open_over(bp_backing_mmap(), &c);
    ck_assert_int_eq(bp_buckets_tick(b, now, &next), 0);
    ck_assert_uint_eq(next, UINT64_MAX); /* no pool has been made */
    cycle(b, 64, 3);
    cycle(b, 65536, 3);
    ck_assert_int_eq(bp_buckets_tick(b, now, &next), 0);
    for (i = 0; i < 2; i++) {
        (void)bp_pool_tick(bp_buckets_pool(b, i == 0 ? 64 : 65536), now, &n);
        first = n < first ? n : first;
    }
    ck_assert_uint_eq(next, first); /* the earliest of both */
    for (i = 0; i < 10000 && next != UINT64_MAX; i++) {
        ck_assert_uint_gt(next, now);
        now = next;
        ck_assert_int_eq(bp_buckets_tick(b, now, &next), 0);
    }
    ck_assert_uint_eq(next, UINT64_MAX);
    ck_assert_uint_eq(bp_buckets_total_count(b), 0);
    ck_assert_uint_eq(faulty_stats(f).extents, 0); /* the chunk as well */
    ck_assert_uint_eq(bucket_of(b, 0).discarded, 3);
    buckets_add_up(b, 0);
    close_all(b);
}
END_TEST

/* ---- printing ---- */

static char *printed(bp_buckets *b, enum bp_stats_format format)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(file);
    errno = 77;
    ck_assert_int_eq(bp_buckets_print_stats(b, file, format), 0);
    ck_assert_int_eq(errno, 77);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_uint_eq(strlen(text), size);
    ck_assert_int_eq(text[size - 1], '\n');
    return text;
}

/* Strict, for what the library writes: objects, arrays, strings of printable characters, numbers. */
static const char *value(const char *p)
{
    if (*p == '{' || *p == '[') {
        char end = *p == '{' ? '}' : ']';
        bool object = *p++ == '{';

        if (*p == end)
            return p + 1;
        for (;;) {
            if (object) {
                p = *p == '"' ? value(p) : NULL;
                if (p == NULL || p[0] != ':' || p[1] != ' ')
                    return NULL;
                p += 2;
            }
            p = value(p);
            if (p == NULL)
                return NULL;
            if (*p == end)
                return p + 1;
            if (p[0] != ',' || p[1] != ' ')
                return NULL;
            p += 2;
        }
    }
    if (*p == '"') {
        for (p++; *p != '"'; p++) {
            if (*p < ' ' || *p > '~')
                return NULL;
            if (*p == '\\' && strchr("\"\\u", *++p) == NULL)
                return NULL;
        }
        return p + 1;
    }
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
        return NULL;
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

START_TEST(print)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x;
    bp_buckets *b;
    char *text;
    FILE *full;

    c.name = "quo\"te \\ \xff\n";
    b = open_over(bp_backing_malloc(), &c);
    text = printed(b, BP_STATS_JSON);
    ck_assert_str_eq(value(text), "\n");
    ck_assert_ptr_nonnull(strstr(text, "\"used_buckets\": []"));
    free(text);
    cycle(b, 100, 2);
    cycle(b, 5000, 3);
    x = got(b, 2 * MIB);
    text = printed(b, BP_STATS_JSON);
    ck_assert_str_eq(value(text), "\n");
    ck_assert_ptr_nonnull(strstr(text, "\"name\": \"quo\\\"te \\\\ \\u00ff\\u000a\", \"buckets\": 15, "
                                       "\"gets\": 6, \"puts\": 5, \"transients\": 1, "
                                       "\"transients_live\": 1, \"idle\": 5, \"live\": 1, "));
    ck_assert_ptr_nonnull(strstr(text, "{\"size\": 8192, \"hits\": 0, \"misses\": 3, \"returned\": 3, "
                                       "\"discarded\": 0, \"depth\": 3, \"live\": 0, \"refusals\": 0}"));
    ck_assert_ptr_null(strstr(text, "\"size\": 64,")); /* never used */
    free(text);
    text = printed(b, BP_STATS_TEXT);
    ck_assert_ptr_nonnull(strstr(text, "transients_live"));
    ck_assert_ptr_nonnull(strstr(text, "discarded"));
    ck_assert_ptr_nonnull(strstr(text, " 8192 "));
    ck_assert_ptr_null(strstr(text, "   64 "));
    free(text);
    text = printed(NULL, BP_STATS_JSON);
    ck_assert_str_eq(value(text), "\n");
    free(text);
    full = fopen("/dev/full", "w");
    if (full != NULL) {
        ck_assert_int_eq(bp_buckets_print_stats(b, full, BP_STATS_TEXT), ENOSPC);
        (void)fclose(full);
    }
    put_back(b, &x);
    close_all(b);
}
END_TEST

/* ---- failures ---- */

static size_t failures(void)
{
    return faulty_stats(f).injected + failing_malloc_injected();
}

/* A call that says `rc` may do so: EINVAL is what f makes of a populate. */
static void may(int rc, size_t before, int line)
{
    if (rc != 0 && ((rc != ENOMEM && (rc != EINVAL || faulty_stats(f).injected == 0)) || failures() == before)) {
        failing_malloc_plan(0, false);
        ck_abort_msg("line %d: error %d, failures %zu", line, rc, failures() - before);
    }
}
#define MAY(call) (before = failures(), rc = (call), may(rc, before, __LINE__), rc == 0)

/* Of everything a little. */
static void scenario(bp_backing *backing)
{
    static const size_t sizes[] = { 1, 200, 4096, 20000, 300000, 700000, 3 * MIB };
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x[2 * SIZES];
    bp_arena *a;
    size_t i, before, n;
    bp_buckets *b;
    int rc;

    c.max_size = 512 * KIB;
    c.min_size = 1024;
    c.preallocate = 1;
    c.max_kept_bytes = 3 * MIB;
    if (!MAY(bp_buckets_create(backing, &c, &b))) {
        if (faulty_stats(f).extents != 0)
            ck_abort_msg("extents are lost");
        return;
    }
    for (i = n = 0; i < 2 * SIZES; i++)
        if (MAY(bp_buckets_get(b, sizes[i % SIZES], &x[n]))) {
            ((char *)x[n].data)[0] = ((char *)x[n].data)[x[n].capacity - 1] = 1;
            n++;
        }
    while (n != 0)
        if (bp_buckets_put(b, &x[--n]) != 0)
            ck_abort_msg("put");
    for (i = 0; i < SIZES; i++)
        if (MAY(bp_buckets_checkout(b, sizes[i], &a))) {
            (void)!bp_arena_alloc(a, sizes[i]);
            if (bp_buckets_give_back(b, a) != 0)
                ck_abort_msg("give_back");
        }
    (void)MAY(bp_buckets_prewarm(b, 10000, 3, NULL));
    (void)bp_buckets_release_idle(b);
    (void)bp_buckets_tick(b, 1, NULL);
    (void)bp_buckets_trim(b, 1);
    if (bp_buckets_destroy(b) != 0)
        ck_abort_msg("destroy");
}

START_TEST(every_failure)
{
    bool of_malloc = _i >= 3, persistent;
    size_t fail_at, injected, round;

    for (round = 0; round < 2; round++) {
        persistent = round != 0;
        for (fail_at = 1;; fail_at++) {
            f = faulty_over(_i % 3 == 0 ? bp_backing_malloc() :
                            _i % 3 == 1 ? bp_backing_mmap() : bp_backing_reserved());
            failing_malloc_plan(0, false);
            if (of_malloc)
                failing_malloc_plan(fail_at, persistent);
            else
                faulty_plan(f, BP_FAULTY_ALL, fail_at, persistent);
            scenario(f);
            injected = failures();
            failing_malloc_plan(0, false);
            faulty_gone(f);
            if (injected == 0)
                break;
        }
        ck_assert_uint_gt(fail_at, of_malloc ? 1 : 10);
    }
}
END_TEST

/* The first use of the NULL bucket pool, too. */
START_TEST(null_pool_without_memory)
{
    struct bp_buffer x = BP_BUFFER_INIT;
    size_t fail_at, injected;
    int rc;

    for (fail_at = 1;; fail_at++) {
        failing_malloc_plan(fail_at, false);
        rc = bp_buckets_get(NULL, 1000, &x);
        injected = failing_malloc_injected();
        failing_malloc_plan(0, false);
        ck_assert_int_eq(rc, injected != 0 ? ENOMEM : 0);
        if (rc == 0)
            break;
        ck_assert_ptr_null(x.data);
    }
    ck_assert_uint_gt(fail_at, 1);
    put_back(NULL, &x);
}
END_TEST

static Suite *caps_suite(void)
{
    Suite *s = suite_create("caps of buckets");
    TCase *tc = add_case(s, "caps");

    tcase_add_test(tc, null_pool_without_memory); /* first: of the process, under CK_FORK=no */
    tcase_add_loop_test(tc, max_kept, 0, 4);
    tcase_add_test(tc, no_bytes_kept);
    tcase_add_test(tc, max_live);
    tcase_add_test(tc, max_kept_bytes);
    tcase_add_loop_test(tc, never_more_bytes, 0, 3);
    tcase_add_loop_test(tc, prewarm_stays_within, 0, 2);
    tc = add_case(s, "upkeep");
    tcase_add_test(tc, release_and_trim);
    tcase_add_test(tc, tick);
    tcase_add_test(tc, print);
    tc = add_case(s, "failures");
    tcase_add_loop_test(tc, every_failure, 0, 6);
    return s;
}

int main(void)
{
    return run_suite(caps_suite());
}
