/* SPDX-License-Identifier: MIT
 * Checked mode without memory: every malloc of it, and every operation of the backing, fails once and then
 * for good. A call may fail only with ENOMEM and nothing changed, and nothing may be lost or reported. And
 * what checked mode needs for itself is bounded, however long a program runs.
 */
#include "checked.h"
#include "failing_malloc.h"

/* Check itself allocates when it reports; let it. */
#undef must
#define must(e)                                                                                             \
    do {                                                                                                    \
        if (!(e)) {                                                                                         \
            failing_malloc_plan(0, false);                                                                  \
            ck_abort_msg("Assertion '%s' failed, failure %zu%s, checks %u", #e, run.fail_at,                \
                         run.persistent ? " and all later" : "", run.checks);                               \
        }                                                                                                   \
    } while (0)

static const unsigned sets[] = { BP_CHECK_REDZONE | BP_CHECK_POISON, CHECK_ZONES, BP_CHECK_GUARD,
                                 BP_CHECK_ALL };
enum { SETS = sizeof sets / sizeof sets[0] };

static struct {
    bp_backing *f;
    size_t fail_at;
    bool persistent, by_backing;
    unsigned checks;
    size_t failed;
} run;

static atomic_int reports;

static void count_report(const struct bp_misuse *m, void *data)
{
    (void)m;
    (void)data;
    atomic_fetch_add(&reports, 1);
}

static void heal(void)
{
    faulty_plan(run.f, BP_FAULTY_ALL, 0, false);
    failing_malloc_plan(0, false);
}

/* Whether a call that gave `p` did: if not, it says why, and something was made to fail. */
static bool did(const void *p)
{
    if (p != NULL)
        return true;
    must(errno == ENOMEM);
    must(faulty_stats(run.f).injected + failing_malloc_injected() != 0);
    run.failed++;
    return false;
}

static bool went(int rc)
{
    errno = rc;
    return did(rc == 0 ? &run : NULL);
}

static void cleaned(void *data)
{
    ++*(int *)data;
}

/* A unit of work that copes with every failure. */
static void work(bp_arena *a)
{
    char *p, *q, *r;
    size_t used = bp_arena_used(a);
    int due = 0, ran = 0;
    bp_mark mark;

    must(used == 0);
    for (int i = 0; i < 3; i++) {
        p = bp_arena_alloc(a, 300);
        if (!did(p)) {
            must(bp_arena_used(a) == used);
            continue;
        }
        stamp(p, 300, 1);
        used = bp_arena_used(a);
        mark = bp_arena_mark(a);
        q = bp_arena_realloc(a, p, 300, 9000); /* under a mark, so it moves */
        must(stamped(p, 300, 1));
        if (did(q))
            must(stamped(q, 300, 1));
        else
            must(bp_arena_used(a) == used);
        if (went(bp_arena_on_reset(a, cleaned, &ran)))
            due++;
        (void)did(bp_arena_printf(a, "%0300d", 1));
        r = bp_arena_alloc_aligned(a, 100, 4096);
        if (did(r)) {
            stamp(r, 100, 2);
            q = bp_arena_realloc(a, r, 100, 200);
            if (did(q))
                must(is_aligned(q, BP_ALIGNMENT) && stamped(q, 100, 2));
            else
                must(stamped(r, 100, 2));
        }
        must(bp_arena_rewind(a, mark) == 0);
        must(bp_arena_used(a) == used);
        must(ran == due);
        must(stamped(p, 300, 1));
        p = bp_arena_zalloc(a, 5000);
        if (did(p))
            must(all_bytes(p, 5000, 0));
        used = bp_arena_used(a);
        must(bp_arena_check(a) == 0);
    }
}

static void with_an_arena(void)
{
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    bp_arena *a = NULL;

    c.size = 4096;
    c.checks = run.checks;
    if (!went(bp_arena_create(run.f, &c, &a))) {
        must(a == NULL);
        return;
    }
    work(a);
    bp_arena_reset(a);
    work(a);
    bp_arena_wipe(a);
    must(bp_arena_used(a) == 0);
    must(bp_arena_destroy(a) == 0);
}

static void with_a_pool(void)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool = NULL;
    bp_arena *a;

    c.arena_size = 4096;
    c.checks = run.checks;
    c.max_idle = 3;
    if (!went(bp_pool_create(run.f, &c, &pool))) {
        must(pool == NULL);
        return;
    }
    for (int i = 0; i < 6; i++) {
        a = NULL;
        if (!went(bp_pool_checkout(pool, &a))) {
            must(a == NULL);
            continue;
        }
        work(a);
        must(bp_pool_give_back(pool, a) == 0);
    }
    (void)bp_pool_release_idle(pool);
    must(bp_pool_live_count(pool) == 0);
    must(bp_pool_destroy(pool) == 0);
}

/* Fails the first operation, then the second, until a run meets no failure. */
static void each_failure(void (*scenario)(void), int set, bool by_backing)
{
    size_t injected, failed = 0;

    run.checks = sets[set];
    run.by_backing = by_backing;
    bp_set_misuse_handler(count_report, NULL);
    atomic_store(&reports, 0);
    for (int persistent = 0; persistent < 2; persistent++) {
        run.persistent = persistent != 0;
        run.fail_at = 0;
        do {
            run.f = faulty_over(bp_backing_mmap());
            run.fail_at++;
            if (by_backing)
                faulty_plan(run.f, BP_FAULTY_ALL, run.fail_at, run.persistent);
            else
                failing_malloc_plan(run.fail_at, run.persistent);
            scenario();
            injected = faulty_stats(run.f).injected + failing_malloc_injected();
            heal();
            faulty_gone(run.f);
        } while (injected != 0);
        failed += run.failed;
    }
    ck_assert_int_eq(atomic_load(&reports), 0);
    /* over the guard backing nothing goes to the one that fails */
    ck_assert(failed != 0 || (by_backing && (run.checks & BP_CHECK_GUARD) != 0));
    bp_set_misuse_handler(NULL, NULL);
}

START_TEST(every_malloc)
{
    each_failure(_i % 2 == 0 ? with_an_arena : with_a_pool, _i / 2, false);
}
END_TEST

START_TEST(every_operation_of_the_backing)
{
    each_failure(_i % 2 == 0 ? with_an_arena : with_a_pool, _i / 2, true);
}
END_TEST

/* A report for which there is no memory is made all the same. */
START_TEST(reports_need_no_memory)
{
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    bp_arena *a = NULL;
    char *p;

    c.checks = BP_CHECK_REDZONE;
    ck_assert_int_eq(bp_arena_create(NULL, &c, &a), 0);
    p = bp_arena_alloc(a, 100);
    poke(p, 100, 1);
    poke(p, (size_t)-1, 1);
    bp_set_misuse_handler(count_report, NULL);
    atomic_store(&reports, 0);
    failing_malloc_plan(1, true);
    bp_arena_reset(a);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(atomic_load(&reports), 1);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(atomic_load(&reports), 1);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

/* A main loop that marks and rewinds, opens scopes, grows a text, resets, for ever. */
START_TEST(what_checks_need_is_bounded)
{
    size_t warm = 0, loops = times(20000, 12000); /* some thousand blocks are kept back before any are used again */
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    bp_mark outer;
    bp_arena *a;
    char *text;

    c.checks = sets[_i % 2];
    run.f = faulty_over(bp_backing_malloc());
    ck_assert_int_eq(bp_arena_create(run.f, &c, &a), 0);
    outer = bp_arena_mark(a);
    text = bp_arena_alloc(a, 1);
    failing_malloc_plan(0, false);
    for (size_t i = 0; i < loops; i++) {
        if (i == loops / 2)
            warm = failing_malloc_calls() + faulty_stats(run.f).acquires;
        switch (_i / 2) {
        case 0: {
            bp_mark mark = bp_arena_mark(a);

            must(bp_arena_alloc(a, 10) != NULL);
            must(bp_arena_rewind(a, mark) == 0);
            break;
        }
        case 1: {
            BP_ARENA_SCOPE(a);
            must(bp_arena_alloc(a, 10) != NULL);
            break;
        }
        case 2:
            must(bp_arena_alloc(a, 10) != NULL);
            bp_arena_reset(a);
            break;
        default:
            text = bp_arena_realloc(a, text, 1 + i % 1000, 1 + (i + 1) % 1000);
            must(text != NULL);
            break;
        }
    }
    must(failing_malloc_calls() + faulty_stats(run.f).acquires == warm);
    if (_i / 2 != 2)
        ck_assert_int_eq(bp_arena_rewind(a, outer), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(run.f);
}
END_TEST

static Suite *oom_suite(void)
{
    Suite *s = suite_create("checked mode without memory");
    TCase *tc = add_case(s, "every failure");

    tcase_add_loop_test(tc, every_malloc, 0, 2 * SETS);
    tcase_add_loop_test(tc, every_operation_of_the_backing, 0, 2 * SETS);
    tcase_add_test(tc, reports_need_no_memory);
    tc = add_case(s, "bounds");
    tcase_add_loop_test(tc, what_checks_need_is_bounded, 0, 8);
    return s;
}

int main(void)
{
    return run_suite(oom_suite());
}
