/* SPDX-License-Identifier: MIT
 * What bp_pool_print_stats writes: every figure under its name, as lines and as JSON, which is read by a
 * strict parser; and what becomes of it when it cannot be written.
 */
#include "support.h"

#include "failing_malloc.h"

#include <ctype.h>

static struct misuse_log misuse;

static const struct field {
    const char *name;
    size_t offset;
} fields[] = {
#define FIELD(name) { #name, offsetof(struct bp_pool_stats, name) }
    FIELD(checkouts), FIELD(hits), FIELD(give_backs), FIELD(mints), FIELD(disposals), FIELD(spills),
    FIELD(releases), FIELD(released_bytes), FIELD(refusals), FIELD(idle), FIELD(live),
    FIELD(peak_arenas), FIELD(idle_bytes), FIELD(reserved_bytes), FIELD(committed_bytes),
    FIELD(high_water), FIELD(waits), FIELD(timeouts), FIELD(cancels), FIELD(wait_ns),
    FIELD(waiting), FIELD(touched_bytes), FIELD(resident_bytes), FIELD(peak_committed_bytes),
    FIELD(cuts),
#undef FIELD
};
enum { FIELDS = sizeof fields / sizeof fields[0], BUCKETS = 48 };

static uint64_t value_of(const struct bp_pool_stats *s, const struct field *field)
{
    uint64_t value;

    memcpy(&value, (const char *)s + field->offset, sizeof value);
    return value;
}

static char *printed(bp_pool *pool, enum bp_stats_format format)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(file);
    errno = 77;
    ck_assert_int_eq(bp_pool_print_stats(pool, file, format), 0);
    ck_assert_int_eq(errno, 77);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_uint_eq(strlen(text), size);
    ck_assert_int_eq(text[size - 1], '\n');
    return text;
}

/* ---- a strict reader of JSON (RFC 8259) ---- */

static const char *at;

static bool value(void);

static void blanks(void)
{
    while (*at != '\0' && strchr(" \t\r\n", *at) != NULL)
        at++;
}

static bool token(char c)
{
    blanks();
    if (*at != c)
        return false;
    at++;
    blanks();
    return true;
}

/* Into `out`, where characters beyond ASCII become one byte: the library escapes bytes. */
static bool string(char *out, size_t size)
{
    size_t n = 0;

    if (*at++ != '"')
        return false;
    while (*at != '"') {
        unsigned c = (unsigned char)*at++;

        if (c < 0x20 || c > 0x7e) /* control characters are not allowed, and others are to be escaped */
            return false;
        if (c == '\\') {
            static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
            const char *name = strchr(names, *at);

            if (*at == 'u') {
                char hex[5] = "", *end;

                strncpy(hex, at + 1, 4);
                c = (unsigned)strtoul(hex, &end, 16);
                if (end != hex + 4 || !isxdigit((unsigned char)hex[0]))
                    return false;
                at += 4;
            } else if (*at != '\0' && name != NULL) {
                c = (unsigned char)meanings[name - names];
            } else {
                return false;
            }
            at++;
        }
        if (c > 0xff || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    at++;
    out[n] = '\0';
    return true;
}

static bool number(uint64_t *out)
{
    char *end;

    if (!isdigit((unsigned char)*at) || (*at == '0' && isdigit((unsigned char)at[1])))
        return false;
    errno = 0;
    *out = strtoull(at, &end, 10);
    at = end;
    return errno == 0;
}

/* What was found, by the path of names to it: "checkouts", "live_arenas.site"; arrays are transparent. */
static char path[64]; /* where the reader is */
static struct {
    struct {
        char path[sizeof path], text[256];
        uint64_t number;
    } all[1200];
    size_t count;
} found;

static bool members(void)
{
    size_t length = strlen(path);
    char name[64];

    if (token('}'))
        return true;
    do {
        blanks();
        if (!string(name, sizeof name) || !token(':'))
            return false;
        if (length + strlen(name) + 2 > sizeof path)
            return false;
        if (length != 0)
            strcat(path, ".");
        strcat(path, name);
        if (!value())
            return false;
        path[length] = '\0';
    } while (token(','));
    return token('}');
}

static bool value(void)
{
    size_t i = found.count;

    blanks();
    if (token('{'))
        return members();
    if (token('[')) {
        if (token(']'))
            return true;
        do
            if (!value())
                return false;
        while (token(','));
        return token(']');
    }
    if (found.count++ == sizeof found.all / sizeof found.all[0])
        return false;
    memcpy(found.all[i].path, path, sizeof path);
    if (*at == '"')
        return string(found.all[i].text, sizeof found.all[i].text);
    if (strncmp(at, "null", 4) == 0) {
        memcpy(found.all[i].text, "null", 5);
        at += 4;
        return true;
    }
    return number(&found.all[i].number);
}

static bool parse(const char *text)
{
    memset(&found, 0, sizeof found);
    path[0] = '\0';
    at = text;
    return token('{') && members() && *at == '\0';
}

/* The n-th value at a path; -1: there is none. */
static int nth(const char *name, size_t n)
{
    for (size_t i = 0; i < found.count; i++)
        if (strcmp(found.all[i].path, name) == 0 && n-- == 0)
            return (int)i;
    return -1;
}

static const char *text_at(const char *name, size_t n)
{
    int i = nth(name, n);

    ck_assert_int_ge(i, 0);
    return found.all[i].text;
}

/* Or nothing that follows is worth anything. */
START_TEST(the_reader_is_strict)
{
    static const char *const good[] = { "{}", " {\"a\": 0, \"b\":[], \"c\": [1,2], \"d\":{\"e\":null}}\n",
                                        "{\"\\u0041\\n\": \"\\\"\"}" };
    static const char *const bad[] = {
        "", "{", "{}x", "{\"a\":01}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}",
        "[1]", "{\"a\":[1,]}", "{\"a\" 1}", "{\"a\":\"}", "{\"a\":\"\\u00g0\"}",
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(parse(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!parse(bad[i]), "%s", bad[i]);
}
END_TEST

/* ---- figures ---- */

/* A pool with a past, so that the figures differ. */
static bp_pool *pool_with_a_past(const char *name)
{
    struct bp_pool_config c = pool_config();
    bp_arena *a, *b = NULL;
    size_t added;
    bp_pool *pool;

    c.name = name;
    c.arena_size = 4096;
    c.max_arenas = 21;
    pool = pool_on(bp_backing_mmap(), &c);
    for (int i = 0; i < 5; i++) {
        a = taken(pool);
        ck_assert_ptr_nonnull(bp_arena_alloc(a, (size_t)1 << (6 + 2 * i)));
        given(pool, a);
    }
    ck_assert_int_eq(bp_pool_prewarm(pool, 21, &added), 0);
    ck_assert_int_eq(bp_pool_trim(pool, 18), 0);
    (void)bp_pool_release_idle(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, 21, &added), 0);
    a = taken(pool);
    ck_assert_int_eq(bp_pool_checkout_wait(pool, 1, &b), 0);
    given(pool, a);
    given(pool, b);
    return pool;
}

START_TEST(json_has_every_figure)
{
    bp_pool *pool = _i == 0 ? pool_with_a_past("figures") : NULL;
    struct bp_pool_stats s = stats_of(pool);
    char *text = printed(pool, BP_STATS_JSON);
    size_t plain = 0;

    ck_assert_msg(parse(text), "%s", text);
    for (size_t i = 0; i < FIELDS; i++) {
        int k = nth(fields[i].name, 0);

        ck_assert_msg(k >= 0, "no %s", fields[i].name);
        ck_assert_uint_eq(found.all[k].number, value_of(&s, &fields[i]));
        ck_assert_int_eq(nth(fields[i].name, 1), -1);
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        int k = nth("high_water_log2", i);

        ck_assert_int_ge(k, 0);
        ck_assert_uint_eq(found.all[k].number, s.high_water_log2[i]);
    }
    ck_assert_int_eq(nth("high_water_log2", BUCKETS), -1);
    ck_assert_int_eq(nth("live_arenas.site", 0), -1);
    ck_assert_str_eq(text_at("name", 0), _i == 0 ? "figures" : "NULL pool");
    for (size_t i = 0; i < found.count; i++)
        plain += strchr(found.all[i].path, '.') == NULL;
    ck_assert_uint_eq(plain, FIELDS + BUCKETS + 1); /* and nothing that the struct does not have */
    /* All members of the struct are among `fields`. */
    ck_assert_uint_eq(FIELDS * sizeof(uint64_t), offsetof(struct bp_pool_stats, reserved));
    free(text);
    if (pool != NULL)
        pool_gone(pool);
}
END_TEST

START_TEST(text_has_every_figure)
{
    bp_pool *pool = pool_with_a_past("figures");
    struct bp_pool_stats s = stats_of(pool);
    char *text = printed(pool, BP_STATS_TEXT), *rest = text, *line, name[64];
    size_t seen_fields = 0;
    uint64_t number_seen;

    ck_assert_ptr_nonnull(strstr(text, "\"figures\""));
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, " %63[a-z_] %" SCNu64, name, &number_seen) != 2)
            continue;
        for (size_t i = 0; i < FIELDS; i++)
            if (strcmp(name, fields[i].name) == 0) {
                ck_assert_uint_eq(number_seen, value_of(&s, &fields[i]));
                seen_fields++;
            }
    }
    ck_assert_uint_eq(seen_fields, FIELDS);
    free(text);
    pool_gone(pool);
}
END_TEST

/* ---- live arenas ---- */

START_TEST(live_arenas_are_listed)
{
    enum { MANY = 40 };
    bp_pool *pool = pool_on(bp_backing_malloc(), NULL);
    char *text, tid[32], address[32];
    bp_arena *a[MANY];
    size_t lines = 0;

    snprintf(tid, sizeof tid, "%ld", (long)getpid());
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(bp_pool_checkout_at(pool, i == 3 ? NULL : "site-of-it", &a[i]), 0);
    text = printed(pool, BP_STATS_JSON);
    ck_assert_msg(parse(text), "%s", text);
    for (size_t i = 0; i < MANY; i++) {
        bool listed = false;

        snprintf(address, sizeof address, "%p", (void *)a[i]);
        for (size_t k = 0; k < MANY; k++)
            if (strcmp(text_at("live_arenas.arena", k), address) == 0) {
                ck_assert_str_eq(text_at("live_arenas.site", k), i == 3 ? "null" : "site-of-it");
                ck_assert_uint_eq(found.all[nth("live_arenas.thread", k)].number, (uint64_t)getpid());
                listed = true;
            }
        ck_assert_msg(listed, "%s", address);
    }
    ck_assert_int_eq(nth("live_arenas.arena", MANY), -1);
    free(text);

    text = printed(pool, BP_STATS_TEXT);
    for (const char *p = text; (p = strstr(p, tid)) != NULL; p++)
        lines++;
    ck_assert_uint_ge(lines, 16); /* its digits may stand in an address as well */
    lines = 0;
    for (const char *p = text; (p = strstr(p, "site-of-it")) != NULL; p++)
        lines++;
    ck_assert_uint_ge(lines, 15);
    ck_assert_uint_le(lines, 16);
    ck_assert_ptr_nonnull(strstr(text, "24 more"));
    free(text);
    for (int i = 0; i < MANY; i++)
        given(pool, a[i]);
    pool_gone(pool);
}
END_TEST

/* Whatever bytes a name has, JSON stays JSON. */
START_TEST(names_that_need_escapes)
{
    static const char *const names[] = {
        "say \"hello\"", "back\\slash\\", "line\nbreak\ttab\r", "\x01\x1f\x7f\b\f", "gr\xc3\xbc\xc3\x9f",
        "\xff\xfe", "</script>", "", "%s%n%d", "null",
    };
    size_t n = sizeof names / sizeof names[0];

    for (size_t i = 0; i < n; i++) {
        struct bp_pool_config c = pool_config();
        bp_arena *a = NULL;
        bp_pool *pool;
        char *text;

        c.name = names[i];
        pool = pool_on(NULL, &c);
        ck_assert_int_eq(bp_pool_checkout_at(pool, names[n - 1 - i], &a), 0);
        text = printed(pool, BP_STATS_JSON);
        ck_assert_msg(parse(text), "%s", text);
        ck_assert_str_eq(text_at("name", 0), names[i]);
        ck_assert_str_eq(text_at("live_arenas.site", 0), names[n - 1 - i]);
        free(text);
        text = printed(pool, BP_STATS_TEXT);
        ck_assert_ptr_nonnull(strstr(text, "checkouts"));
        free(text);
        given(pool, a);
        pool_gone(pool);
    }
}
END_TEST

/* ---- errors ---- */

static const enum bp_stats_format formats[] = { BP_STATS_TEXT, BP_STATS_JSON };

START_TEST(what_cannot_be_written)
{
    static const int modes[] = { _IOFBF, _IOLBF, _IONBF };
    bp_pool *pool = pool_with_a_past("figures");
    FILE *file;

    for (int m = 0; m < 3; m++) {
        file = fopen("/dev/full", "w");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(setvbuf(file, NULL, modes[m], m == 2 ? 0 : 65536), 0);
        ck_assert_int_eq(bp_pool_print_stats(pool, file, formats[_i]), ENOSPC);
        (void)fclose(file);
    }
    file = fopen("/dev/null", "r");
    ck_assert_ptr_nonnull(file);
    errno = 77;
    ck_assert_int_eq(bp_pool_print_stats(pool, file, formats[_i]), EBADF);
    ck_assert_int_eq(errno, 77);
    (void)fclose(file);
    pool_gone(pool);
}
END_TEST

START_TEST(arguments)
{
    bp_pool *pool = pool_on(NULL, NULL);
    FILE *file = fopen("/dev/null", "w");
    size_t calls;
    int rc;

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(bp_pool_print_stats(pool, NULL, BP_STATS_TEXT), EINVAL);
    ck_assert_int_eq(bp_pool_print_stats(pool, file, (enum bp_stats_format)2), EINVAL);
    failing_malloc_plan(1, false);
    rc = bp_pool_print_stats(pool, file, BP_STATS_JSON);
    calls = failing_malloc_injected();
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc, calls != 0 ? ENOMEM : 0);
    ck_assert_uint_eq(calls, 1);
    pool_gone(pool);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_print_stats(pool, file, BP_STATS_TEXT), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    bp_set_misuse_handler(NULL, NULL);
    (void)fclose(file);
}
END_TEST

static Suite *print_suite(void)
{
    Suite *s = suite_create("print_stats");
    TCase *tc = add_case(s, "figures");

    tcase_add_test(tc, the_reader_is_strict);
    tcase_add_loop_test(tc, json_has_every_figure, 0, 2);
    tcase_add_test(tc, text_has_every_figure);
    tc = add_case(s, "live arenas");
    tcase_add_test(tc, live_arenas_are_listed);
    tcase_add_test(tc, names_that_need_escapes);
    tc = add_case(s, "errors");
    tcase_add_loop_test(tc, what_cannot_be_written, 0, 2);
    tcase_add_test(tc, arguments);
    return s;
}

int main(void)
{
    return run_suite(print_suite());
}
