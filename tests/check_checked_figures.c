/* SPDX-License-Identifier: MIT
 * What checked mode must not change: the figures of an arena, what it refuses, and how fast an unchecked one
 * is. And how the checks are chosen: by the configuration, the environment, the tool. With --default this
 * program is the child whose environment they look at.
 */
#include "checked.h"

#include <spawn.h>

static struct reports reports;

static void listen_again(void)
{
    reports_listen(&reports);
}

static const unsigned all_sets[] = {
    BP_CHECK_REDZONE,
    BP_CHECK_POISON,
    BP_CHECK_QUARANTINE,
    BP_CHECK_FILL,
    BP_CHECK_GUARD,
    BP_CHECK_REDZONE | BP_CHECK_POISON,
    BP_CHECK_GUARD | BP_CHECK_REDZONE | BP_CHECK_POISON,
    BP_CHECK_ALL & ~BP_CHECK_GUARD,
    BP_CHECK_ALL,
};
enum { ALL_SETS = sizeof all_sets / sizeof all_sets[0] };

/* ---- twins ---- */

enum { MOST_BLOCKS = 300, MOST_MARKS = 8 };

struct twins {
    bp_arena *plain, *checked;
    bool fixed;
    struct {
        char *plain, *checked;
        size_t size;
    } block[MOST_BLOCKS];
    size_t count;
    struct {
        bp_mark plain, checked;
        size_t count;
    } mark[MOST_MARKS];
    size_t depth;
};

static void compare(struct twins *t)
{
    must(bp_arena_used(t->plain) == bp_arena_used(t->checked));
    must(bp_arena_high_water(t->plain) == bp_arena_high_water(t->checked));
    if (t->fixed) {
        must(bp_arena_remaining(t->plain) == bp_arena_remaining(t->checked));
        must(bp_arena_capacity(t->plain) == bp_arena_capacity(t->checked));
    }
    for (size_t i = 0; i < t->count; i++)
        if (t->block[i].size != 0) {
            must(bp_arena_owns(t->checked, t->block[i].checked));
            must(bp_arena_owns(t->checked, t->block[i].checked + t->block[i].size - 1));
            must(memcmp(t->block[i].plain, t->block[i].checked, t->block[i].size) == 0);
        }
}

static void put(struct twins *t, size_t i, char *plain, char *checked, size_t size, bool filled)
{
    must((plain == NULL) == (checked == NULL));
    if (plain == NULL)
        return;
    if (!filled) {
        memset(plain, (int)size, size);
        memset(checked, (int)size, size);
    }
    t->block[i].plain = plain;
    t->block[i].checked = checked;
    t->block[i].size = size;
    if (i == t->count)
        t->count++;
}

static void step(struct twins *t, struct rng *rng)
{
    size_t n = rng_below(rng, 20) == 0 ? rng_below(rng, 3000) : rng_below(rng, 120), i;
    int before = 0;
    char *plain;

    errno = 0;
    switch (rng_below(rng, 14)) {
    case 0: /* a larger alignment than that of extents depends on where they lie, the padding of 0 bytes on
               where the cursor does */
        if (t->fixed) {
            size_t align = (size_t)1 << rng_below(rng, 7);

            n += n == 0;
            plain = bp_arena_alloc_aligned(t->plain, n, align);
            put(t, t->count, plain, bp_arena_alloc_aligned(t->checked, n, align), n, false);
        }
        break;
    case 1:
        plain = bp_arena_zalloc(t->plain, n);
        put(t, t->count, plain, bp_arena_zalloc(t->checked, n), n, true);
        break;
    case 2:
        plain = bp_arena_printf(t->plain, "%*d", (int)n + 1, 7);
        put(t, t->count, plain, bp_arena_printf(t->checked, "%*d", (int)n + 1, 7), n + 2, true);
        break;
    case 3:
    case 4: /* where a segment ends decides whether a block can grow where it is */
        if (t->count == 0 || (!t->fixed && t->block[t->count - 1].size < n))
            break;
        i = t->fixed && rng_below(rng, 3) == 0 ? rng_below(rng, t->count) : t->count - 1;
        if (t->depth != 0 && i < t->mark[t->depth - 1].count && n > t->block[i].size)
            break; /* the old one would have to be known, too */
        plain = bp_arena_realloc(t->plain, t->block[i].plain, t->block[i].size, n);
        before = errno;
        put(t, i, plain, bp_arena_realloc(t->checked, t->block[i].checked, t->block[i].size, n), n, false);
        must(before == errno);
        break;
    case 5:
        if (t->depth == MOST_MARKS)
            break;
        t->mark[t->depth].count = t->count;
        t->mark[t->depth].plain = bp_arena_mark(t->plain);
        t->mark[t->depth++].checked = bp_arena_mark(t->checked);
        break;
    case 6:
        if (t->depth == 0)
            break;
        i = rng_below(rng, t->depth);
        t->depth = i + 1;
        t->count = t->mark[i].count;
        must(bp_arena_rewind(t->plain, t->mark[i].plain) == 0);
        must(bp_arena_rewind(t->checked, t->mark[i].checked) == 0);
        break;
    default:
        plain = bp_arena_alloc(t->plain, n);
        before = errno;
        put(t, t->count, plain, bp_arena_alloc(t->checked, n), n, false);
        must(before == errno);
        break;
    }
}

/* Random operations on a checked arena and one that is not. */
START_TEST(figures_are_those_of_an_unchecked_arena)
{
    static struct twins t;
    struct rng rng = rng_start("figures_are_those_of_an_unchecked_arena");
    enum bp_arena_policy policy = _i % 2 != 0 ? BP_ARENA_FIXED : BP_ARENA_SPILL;
    size_t steps = times(4000, 400);

    memset(&t, 0, sizeof t);
    t.fixed = _i % 2 != 0;
    t.plain = checked_arena(NULL, 16384, policy, BP_CHECK_OFF);
    t.checked = checked_arena(NULL, 16384, policy, all_sets[_i / 2]);
    for (size_t i = 0; i < steps; i++) {
        step(&t, &rng);
        compare(&t);
        if (t.count == MOST_BLOCKS || rng_below(&rng, 100) == 0) {
            bp_arena_reset(t.plain);
            bp_arena_reset(t.checked);
            t.count = t.depth = 0;
        }
    }
    ck_assert_uint_eq(bp_arena_check(t.checked), 0);
    ck_assert_uint_eq(bp_arena_check(t.plain), 0);
    ck_assert_int_eq(bp_arena_destroy(t.plain), 0);
    ck_assert_int_eq(bp_arena_destroy(t.checked), 0);
    nothing_reported(&reports);
}
END_TEST

/* A block that shrank while it was not the last does not touch the one that comes after it, even where
 * that has become one of 0 bytes: it does not grow in place. */
START_TEST(a_hole_is_no_room)
{
    size_t used[2];

    for (int i = 0; i < 2; i++) {
        bp_arena *a = checked_arena(NULL, 4096, BP_ARENA_FIXED, i == 0 ? BP_CHECK_OFF : all_sets[_i]);
        char *p = bp_arena_alloc(a, 100), *q = bp_arena_alloc(a, 50), *r;

        memset(p, 1, 100);
        ck_assert_ptr_eq(seen(bp_arena_realloc(a, p, 100, 20)), p);
        ck_assert_ptr_eq(seen(bp_arena_realloc(a, q, 50, 0)), q);
        r = bp_arena_realloc(a, p, 20, 200);
        ck_assert(r != NULL && r != p && all_bytes(r, 20, 1));
        used[i] = bp_arena_used(a);
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }
    ck_assert_uint_eq(used[0], 112 + 208);
    ck_assert_uint_eq(used[1], used[0]);
    nothing_reported(&reports);
}
END_TEST

START_TEST(fixed_bound_is_exact)
{
    bp_arena *a = checked_arena(NULL, 4096, BP_ARENA_FIXED, all_sets[_i]);
    size_t n = 0;

    for (int unit = 0; unit < 20; unit++) {
        for (n = 0; bp_arena_alloc(a, 1) != NULL; n++)
            ;
        ck_assert_uint_eq(n, 256);
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_uint_eq(bp_arena_remaining(a), 0);
        bp_arena_reset(a);
        ck_assert_ptr_null(bp_arena_alloc(a, 4097));
        ck_assert_ptr_nonnull(bp_arena_alloc(a, 4096));
        ck_assert_ptr_null(bp_arena_alloc(a, 1));
        bp_arena_reset(a);
    }
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    nothing_reported(&reports);
}
END_TEST

START_TEST(sizes_that_nothing_can_satisfy)
{
    static const size_t sizes[] = { PTRDIFF_MAX,      PTRDIFF_MAX - 15, PTRDIFF_MAX - 16, PTRDIFF_MAX - 63,
                                    PTRDIFF_MAX - 64, PTRDIFF_MAX - 80, PTRDIFF_MAX / 2,  SIZE_MAX,
                                    SIZE_MAX - 15,    SIZE_MAX - 64,    SIZE_MAX / 2 + 2 };
    static const size_t aligns[] = { 32, 4096, (size_t)1 << 40, (size_t)1 << 62, (size_t)1 << 63 };

    for (int fixed = 0; fixed < 2; fixed++) {
        bp_arena *a = checked_arena(NULL, 8192, fixed != 0 ? BP_ARENA_FIXED : BP_ARENA_SPILL, all_sets[_i]);
        char *p = bp_arena_alloc(a, 100);
        size_t used = bp_arena_used(a);

        memset(p, 4, 100);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            errno = 0;
            ck_assert_ptr_null(bp_arena_alloc(a, opaque(sizes[i])));
            ck_assert_int_eq(errno, ENOMEM);
            errno = 0;
            ck_assert_ptr_null(bp_arena_zalloc(a, opaque(sizes[i])));
            ck_assert_int_eq(errno, ENOMEM);
            errno = 0;
            ck_assert_ptr_null(bp_arena_realloc(a, p, 100, opaque(sizes[i])));
            ck_assert_int_eq(errno, ENOMEM);
            errno = 0;
            ck_assert_ptr_null(bp_arena_calloc(a, opaque(sizes[i]), 16));
            ck_assert_int_eq(errno, ENOMEM);
            for (size_t k = 0; k < sizeof aligns / sizeof aligns[0]; k++) {
                errno = 0;
                ck_assert_ptr_null(bp_arena_alloc_aligned(a, opaque(sizes[i]), opaque(aligns[k])));
                ck_assert_int_eq(errno, ENOMEM);
            }
        }
        for (size_t k = 2; k < sizeof aligns / sizeof aligns[0]; k++) {
            errno = 0;
            ck_assert_ptr_null(bp_arena_alloc_aligned(a, 1, opaque(aligns[k])));
            ck_assert_int_eq(errno, ENOMEM);
        }
        ck_assert_uint_eq(bp_arena_used(a), used);
        ck_assert(all_bytes(p, 100, 4));
        ck_assert_ptr_nonnull(bp_arena_realloc(a, p, 100, 200));
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }
    nothing_reported(&reports);
}
END_TEST

/* ---- wipe ---- */

enum { SECRET = 0x5E };

START_TEST(wipe_overwrites_all_that_was_touched)
{
    static struct {
        char *p;
        size_t n;
    } touched[2000];
    struct rng rng = rng_start("wipe_overwrites_all_that_was_touched");
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    struct bp_buffer_backing buffer;
    char *memory = malloc(8 * MIB);
    size_t count = 0;
    bp_arena *a;

    ck_assert_ptr_nonnull(memory);
    ck_assert_int_eq(bp_backing_buffer_init(&buffer, memory, 8 * MIB), 0);
    c.size = 8192;
    c.max_spare = BP_UNLIMITED; /* all extents are kept */
    c.checks = _i == 0 ? BP_CHECK_OFF : check_sets[_i - 1];
    ck_assert_int_eq(bp_arena_create(&buffer.backing, &c, &a), 0);
    for (int unit = 0; unit < 4; unit++) {
        bp_mark mark = bp_arena_mark(a);

        for (int i = 0; i < 300; i++) {
            size_t n = 1 + rng_below(&rng, i % 50 == 0 ? 20000 : 300);
            char *p;

            if (i % 7 == 0)
                p = bp_arena_printf(a, "%*s", (int)n - 1, "^"); /* past the end, may be, before it moves */
            else
                p = bp_arena_alloc(a, n);
            ck_assert_ptr_nonnull(p);
            memset(p, SECRET, n);
            touched[count].p = p;
            touched[count++].n = n;
            if (i % 60 == 0)
                ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
        }
        bp_arena_reset(a);
    }
    bp_arena_wipe(a);
    ck_assert_uint_eq(bp_arena_used(a), 0);
    for (size_t i = 0; i < count; i++)
        must(peek_all(touched[i].p, touched[i].n, 0));
    /* and it goes on, from what reads as zero */
    for (int i = 0; i < 300; i++)
        ck_assert(all_bytes(bp_arena_zalloc(a, 500), 500, 0));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    nothing_reported(&reports);
    /* no tool is left thinking that the caller's memory is not to be touched */
    memset(memory, 1, 8 * MIB);
    free(memory);
}
END_TEST

/* ---- which checks ---- */

START_TEST(flags_that_there_are_not)
{
    static const unsigned bad[] = { 64, 128, 0xFFFFFFFF, BP_CHECK_OFF | BP_CHECK_POISON,
                                    BP_CHECK_OFF | BP_CHECK_ALL };
    struct bp_arena_config ac = BP_ARENA_CONFIG_INIT;
    struct bp_pool_config pc = BP_POOL_CONFIG_INIT;
    bp_arena *a = (bp_arena *)&ac;
    bp_pool *pool = (bp_pool *)&pc;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ac.checks = pc.checks = bad[i];
        ck_assert_int_eq(bp_arena_create(NULL, &ac, &a), EINVAL);
        ck_assert_int_eq(bp_pool_create(NULL, &pc, &pool), EINVAL);
        ck_assert(a == (bp_arena *)&ac && pool == (bp_pool *)&pc);
    }
    for (unsigned good = 1; good <= BP_CHECK_ALL; good++) {
        a = checked_arena(NULL, 4096, BP_ARENA_SPILL, good);
        stamp(bp_arena_alloc(a, 100), 100, good);
        bp_arena_reset(a);
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }
    nothing_reported(&reports);
}
END_TEST

/* The inline paths are those of a library that knows no checks. */
START_TEST(unchecked_arenas_are_as_fast_as_ever)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool;
    bp_arena *a;
    char *p;

    for (int pooled = 0; pooled < 2; pooled++) {
        c.checks = BP_CHECK_OFF;
        pool = pool_on(NULL, &c);
        a = pooled != 0 ? taken(pool) : checked_arena(NULL, 65536, BP_ARENA_SPILL, BP_CHECK_OFF);
        ck_assert(a->limit > a->cursor);
        ck_assert_ptr_nonnull(a->quick_end);
        p = bp_arena_alloc(a, 100);
        stamp(p, 100, 1);
        bp_arena_reset(a);
        ck_assert(a->limit > a->cursor);
        ck_assert(a->quick_end > a->start); /* the next reset is a store */
        ck_assert_ptr_eq(seen(bp_arena_alloc(a, 100)), p);
        poke(p, 100, 7); /* nobody looks */
        ck_assert_uint_eq(bp_arena_check(a), 0);
        if (pooled != 0)
            given(pool, a);
        else
            ck_assert_int_eq(bp_arena_destroy(a), 0);
        pool_gone(pool);
    }
    nothing_reported(&reports);
    a = checked_arena(NULL, 65536, BP_ARENA_SPILL, BP_CHECK_FILL);
    ck_assert_ptr_eq(a->limit, a->cursor);
    ck_assert_ptr_null(a->quick_end);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* What a child prints: the default, as a number; whether an arena of the default configuration is checked;
 * one with BP_CHECK_OFF; the tool. */
static int print_default(void)
{
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    bp_arena *a, *off;

    if (bp_arena_create(NULL, &c, &a) != 0)
        return 1;
    c.checks = BP_CHECK_OFF;
    if (bp_arena_create(NULL, &c, &off) != 0)
        return 1;
    printf("%u %d %d %s\n", bp_check_default(), a->limit == a->cursor, off->limit == off->cursor,
           bp_check_tool() != NULL ? bp_check_tool() : "-");
    return bp_arena_destroy(a) + bp_arena_destroy(off);
}

/* Runs this program with BUMPOOL_CHECK as said, NULL: not set. What it writes to standard output and
 * error. */
static void child_says(const char *setting, char *printed, char *complained, size_t size)
{
    char variable[200], program[4096], option[] = "--default", *argv[] = { program, option, NULL }, **envp;
    size_t count = 0, kept = 0;
    posix_spawn_file_actions_t actions;
    int outs[2], errs[2], status;
    ssize_t n;
    pid_t pid;

    n = readlink("/proc/self/exe", program, sizeof program - 1); /* the link itself is Valgrind, under that */
    ck_assert_int_gt(n, 0);
    program[n] = '\0';
    while (environ[count] != NULL)
        count++;
    envp = calloc(count + 2, sizeof *envp);
    ck_assert_ptr_nonnull(envp);
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "BUMPOOL_CHECK=", 14) != 0)
            envp[kept++] = environ[i];
    if (setting != NULL) {
        snprintf(variable, sizeof variable, "BUMPOOL_CHECK=%s", setting);
        envp[kept] = variable;
    }
    ck_assert_int_eq(pipe(outs), 0);
    ck_assert_int_eq(pipe(errs), 0);
    ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
    ck_assert_int_eq(posix_spawn_file_actions_adddup2(&actions, outs[1], 1), 0);
    ck_assert_int_eq(posix_spawn_file_actions_adddup2(&actions, errs[1], 2), 0);
    ck_assert_int_eq(posix_spawn(&pid, program, &actions, NULL, argv, envp), 0);
    posix_spawn_file_actions_destroy(&actions);
    free(envp);
    close(outs[1]);
    close(errs[1]);
    n = read(outs[0], printed, size - 1);
    ck_assert_int_gt(n, 0);
    printed[n] = '\0';
    n = 0;
    for (ssize_t more; (more = read(errs[0], complained + n, size - 1 - (size_t)n)) > 0;)
        n += more;
    complained[n] = '\0';
    close(outs[0]);
    close(errs[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static const struct {
    const char *setting;
    unsigned what;       /* 99: as the tool wants */
    const char *unknown; /* the word that is complained of */
} settings[] = {
    { NULL, 99, NULL },
    { "", 0, NULL },
    { "none", 0, NULL },
    { "all", BP_CHECK_ALL, NULL },
    { "poison", BP_CHECK_POISON, NULL },
    { "redzone", BP_CHECK_REDZONE, NULL },
    { "quarantine", BP_CHECK_QUARANTINE, NULL },
    { "guard", BP_CHECK_GUARD, NULL },
    { "fill", BP_CHECK_FILL, NULL },
    { "redzone,poison", BP_CHECK_REDZONE | BP_CHECK_POISON, NULL },
    { " fill , poison,,", BP_CHECK_FILL | BP_CHECK_POISON, NULL },
    { "poison,none", BP_CHECK_POISON, NULL },
    { "pois", 0, "\"pois\"" },
    { "poisonous,fill", BP_CHECK_FILL, "\"poisonous\"" },
    { "Poison", 0, "\"Poison\"" },
    { "fill,a-word-that-is-longer-than-what-is-shown-of-it", BP_CHECK_FILL,
      "\"a-word-that-is-longer-than-what-" },
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* That a program with more rights than its user ignores the variable is not tested: it takes such a
 * program. */
START_TEST(the_environment_decides)
{
    char printed[200], complained[1000], tool[40] = "";
    unsigned what = 0, wanted = settings[_i].what;
    int checked = 0, off = 1;

    child_says(settings[_i].setting, printed, complained, sizeof printed);
    ck_assert_int_eq(sscanf(printed, "%u %d %d %39s", &what, &checked, &off, tool), 4);
    if (wanted == 99)
        wanted = strcmp(tool, "-") != 0 ? BP_CHECK_POISON | BP_CHECK_REDZONE | BP_CHECK_QUARANTINE : 0;
    ck_assert_uint_eq(what, wanted);
    ck_assert_int_eq(checked, wanted != 0);
    ck_assert_int_eq(off, 0);
    if (settings[_i].unknown == NULL) {
        ck_assert_str_eq(complained, "");
    } else {
        ck_assert_ptr_nonnull(strstr(complained, "bumpool: BUMPOOL_CHECK: "));
        ck_assert_ptr_nonnull(strstr(complained, settings[_i].unknown));
        ck_assert_ptr_eq(strchr(complained, '\n'), complained + strlen(complained) - 1); /* one line */
    }
}
END_TEST

START_TEST(the_tool_is_known)
{
    const char *tool = bp_check_tool();

#if defined(__SANITIZE_ADDRESS__) || defined(SUPPORT_ASAN)
    ck_assert_pstr_eq(tool, "AddressSanitizer");
#else
    ck_assert(tool == NULL || strcmp(tool, "Valgrind") == 0);
#endif
    ck_assert_ptr_eq(bp_check_tool(), tool);
}
END_TEST

static Suite *figures_suite(void)
{
    Suite *s = suite_create("figures of checked arenas");
    TCase *tc = add_case(s, "twins");

    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, figures_are_those_of_an_unchecked_arena, 0, 2 * ALL_SETS);
    tcase_add_loop_test(tc, a_hole_is_no_room, 0, ALL_SETS);
    tcase_add_loop_test(tc, fixed_bound_is_exact, 0, ALL_SETS);
    tcase_add_loop_test(tc, sizes_that_nothing_can_satisfy, 0, ALL_SETS);
    tc = add_case(s, "wipe");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_loop_test(tc, wipe_overwrites_all_that_was_touched, 0, 1 + CHECK_SETS);
    tc = add_case(s, "which");
    tcase_add_checked_fixture(tc, listen_again, NULL);
    tcase_add_test(tc, flags_that_there_are_not);
    tcase_add_test(tc, unchecked_arenas_are_as_fast_as_ever);
    tcase_add_loop_test(tc, the_environment_decides, 0, SETTINGS);
    tcase_add_test(tc, the_tool_is_known);
    return s;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--default") == 0)
        return print_default();
    return run_suite(figures_suite());
}
