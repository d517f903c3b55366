/* SPDX-License-Identifier: MIT
 * Every failure at every place: each scenario is run with its first operation failing, then its second, and
 * so on until a run meets no failure; once with a single failure and once with all later operations failing
 * too. "Operation" is a call of the backing in one half of the tests and a malloc in the other. A call may
 * fail only if something was made to fail during it, with its documented error and nothing changed;
 * afterwards all must work again, and nothing may be lost.
 */
#include "support.h"

#include "failing_malloc.h"

/* Check itself allocates when it reports; let it. */
#undef must
#define must(e)                                                                  \
    do {                                                                         \
        if (!(e)) {                                                              \
            failing_malloc_plan(0, false);                                       \
            ck_abort_msg("%s: Assertion '%s' failed, failure %zu%s", run.name,   \
                         #e, run.fail_at, run.persistent ? " and all later" : ""); \
        }                                                                        \
    } while (0)

enum { INNERS = 4 };

static struct {
    const char *name;
    bp_backing *f;
    size_t fail_at;
    bool persistent;
    size_t injected_before_heal;
} run;

static size_t injected(void)
{
    return faulty_stats(run.f).injected + failing_malloc_injected();
}

/* No more failures from here on. */
static void heal(void)
{
    run.injected_before_heal += injected();
    faulty_plan(run.f, BP_FAULTY_ALL, 0, false);
    failing_malloc_plan(0, false);
}

/* The last one has reservations so small that spill extents are committed step by step. */
static bp_backing *inner(int i)
{
    static bp_backing *small;

    if (i == 3) {
        struct bp_reserved_config c = BP_RESERVED_CONFIG_INIT;

        c.reservation = 65536;
        c.commit_step = 4096;
        ck_assert(small != NULL || bp_backing_reserved_create(&c, &small) == 0);
        return small;
    }
    return i == 0 ? bp_backing_malloc() : i == 1 ? bp_backing_mmap() : bp_backing_reserved();
}

/* `which` under INNERS: failures of that backing; from INNERS on: of malloc, over backing which - INNERS. */
static void until_none_fails(const char *name, void (*scenario)(void), int which)
{
    int persistent;

    run.name = name;
    for (persistent = 0; persistent < 2; persistent++) {
        run.persistent = persistent != 0;
        for (run.fail_at = 1;; run.fail_at++) {
            run.f = faulty_over(inner(which % INNERS));
            run.injected_before_heal = 0;
            if (which < INNERS)
                faulty_plan(run.f, BP_FAULTY_ALL, run.fail_at, run.persistent);
            else
                failing_malloc_plan(run.fail_at, run.persistent);
            scenario();
            heal();
            must(faulty_stats(run.f).extents == 0);
            must(faulty_stats(run.f).bytes == 0);
            bp_backing_destroy(run.f);
            if (run.injected_before_heal == 0)
                break;
            must(run.fail_at < 10000);
        }
        must(run.fail_at > 1 || which >= INNERS); /* there was something to fail */
    }
}

/* ---- an arena, all of it ---- */

enum { MOST = 400 };

static struct {
    bp_arena *a;
    struct {
        unsigned char *p;
        size_t size;
    } blocks[MOST];
    size_t count;
    size_t used, injected; /* before the call under test */
    int due, ran;          /* cleanups */
} unit;

static void intact(void)
{
    size_t i;

    for (i = 0; i < unit.count; i++)
        must(stamped(unit.blocks[i].p, unit.blocks[i].size, (unsigned)i));
}

static void before(void)
{
    unit.used = bp_arena_used(unit.a);
    unit.injected = injected();
    errno = 0;
}

/* True if the call gave a block, which is stamped then. */
static bool got(void *p, size_t size)
{
    if (p == NULL) {
        must(errno == ENOMEM);
        must(injected() > unit.injected);
        must(bp_arena_used(unit.a) == unit.used);
        intact();
        return false;
    }
    must(unit.count < MOST);
    must(bp_arena_used(unit.a) >= unit.used || size == 0);
    must(size == 0 || bp_arena_owns(unit.a, p));
    stamp(p, size, (unsigned)unit.count);
    unit.blocks[unit.count].p = p;
    unit.blocks[unit.count].size = size;
    unit.count++;
    return true;
}

#define TRY(call, size) (before(), got((call), (size)))

static void ran(void *data)
{
    (void)data;
    unit.ran++;
}

static void try_cleanup(void)
{
    int e;

    before();
    e = bp_arena_on_reset(unit.a, ran, NULL);
    must(e == 0 || (e == ENOMEM && injected() > unit.injected && bp_arena_used(unit.a) == unit.used));
    unit.due += e == 0;
}

/* Every kind of allocation, in an order that makes most of them ask the backing. */
static void use_arena(bp_arena *a)
{
    static const char *const text = "a text that is a little longer than nothing at all";
    bp_mark mark;
    size_t i, count, used;
    unsigned char *z;
    void *p;

    unit.a = a;
    unit.count = 0;
    unit.due = unit.ran = 0;
    TRY(bp_arena_alloc(a, 1000), 1000);
    try_cleanup();
    TRY(bp_arena_alloc(a, 3500), 3500); /* spills, or commits */
    TRY(bp_arena_alloc_aligned(a, 500, 8192), 500);
    mark = bp_arena_mark(a);
    count = unit.count;
    used = bp_arena_used(a);
    before();
    z = bp_arena_zalloc(a, 30000);
    if (z != NULL)
        must(all_bytes(z, 30000, 0));
    got(z, 30000);
    before();
    z = bp_arena_calloc(a, 1000, 9);
    if (z != NULL)
        must(all_bytes(z, 9000, 0));
    got(z, 9000);
    for (i = 0; i < 20; i++)
        TRY(bp_arena_alloc(a, 900), 900);
    try_cleanup();
    TRY(bp_arena_alloc(a, 500000), 500000); /* oversize */
    TRY(bp_arena_alloc(a, 10), 10);
    for (i = 0; i < 4; i++) {
        size_t size = (size_t)8000 << i;

        before();
        p = bp_arena_memdup(a, text, strlen(text) + 1);
        must(p == NULL || strcmp(p, text) == 0);
        if (!got(p, strlen(text) + 1))
            continue;
        before();
        stamp(p, strlen(text) + 1, 77);
        z = bp_arena_realloc(a, p, strlen(text) + 1, size);
        if (z == NULL) {
            must(errno == ENOMEM && injected() > unit.injected);
            must(stamped(p, strlen(text) + 1, 77));
            stamp(p, strlen(text) + 1, (unsigned)unit.count - 1);
        } else {
            must(stamped(z, strlen(text) + 1, 77));
            unit.count--;
            got(z, size);
        }
    }
    before();
    p = bp_arena_strdup(a, text);
    must(p == NULL || strcmp(p, text) == 0);
    got(p, strlen(text) + 1);
    before();
    p = bp_arena_strndup(a, text, 6);
    must(p == NULL || strcmp(p, "a text") == 0);
    got(p, 7);
    for (i = 10; i < 100000; i *= 9) {
        before();
        p = bp_arena_printf(a, "%0*d", (int)i, 1);
        must(p == NULL || strlen(p) == i);
        got(p, i + 1);
    }
    intact();
    must(unit.ran == 0);
    must(bp_arena_rewind(a, mark) == 0);
    must(bp_arena_used(a) == used);
    must(unit.ran <= 1 && unit.ran <= unit.due);
    unit.count = count;
    intact();
    TRY(bp_arena_alloc(a, 60000), 60000);
    TRY(bp_arena_alloc_array(a, 100, 1000, 64), 100000);
    intact();
}

static void arena_scenario_of(enum bp_arena_policy policy)
{
    struct bp_arena_config c = BP_ARENA_CONFIG_INIT;
    bp_arena *untouched = (bp_arena *)(void *)&c, *a = untouched;
    size_t was = injected();
    int e, round;

    c.size = policy == BP_ARENA_FIXED ? 2 * MIB : 4096;
    c.policy = policy;
    c.max_spare = 100000;
    e = bp_arena_create(run.f, &c, &a);
    if (e != 0) {
        must(e == ENOMEM && a == untouched && injected() > was && faulty_stats(run.f).extents == 0);
        heal();
        must(bp_arena_create(run.f, &c, &a) == 0);
    }
    for (round = 0; round < 3; round++) {
        if (round == 2)
            heal();
        use_arena(a);
        must(round < 2 || unit.due == 2);
        unit.count = 0;
        bp_arena_reset(a);
        must(unit.ran == unit.due);
        must(bp_arena_used(a) == 0);
    }
    must(bp_arena_destroy(a) == 0);
}

static void spill_scenario(void)
{
    arena_scenario_of(BP_ARENA_SPILL);
}

static void fixed_scenario(void)
{
    arena_scenario_of(BP_ARENA_FIXED);
}

/* ---- a pool, all of it ---- */

static struct {
    bp_pool *pool;
    bp_arena *live[8];
    size_t count;
    size_t max_idle, max_arenas;
} party;

static void sound(void)
{
    struct bp_pool_stats s;
    size_t idle = bp_pool_idle_count(party.pool);

    must(bp_pool_live_count(party.pool) == party.count);
    must(idle <= party.max_idle);
    must(idle + party.count <= party.max_arenas);
    must(bp_pool_stats(party.pool, &s) == 0);
    must(s.idle == idle && s.live == party.count);
    must(s.checkouts - s.give_backs == s.live);
    must(s.mints - s.disposals == s.idle + s.live);
    must(s.reserved_bytes == faulty_stats(run.f).bytes);
    must(s.committed_bytes <= s.reserved_bytes);
    must(s.idle_bytes <= s.committed_bytes);
    must(faulty_stats(run.f).extents >= s.idle + s.live);
}

static void come(void)
{
    bp_arena *untouched = (bp_arena *)(void *)&party, *a = untouched;
    size_t was = injected(), idle = bp_pool_idle_count(party.pool);
    int e = bp_pool_checkout(party.pool, &a);

    if (e == 0) {
        must(bp_arena_used(a) == 0);
        party.live[party.count++] = a;
    } else {
        must(a == untouched);
        must(idle == 0);
        must(e == ENOMEM && injected() > was);
    }
    sound();
}

static void go(size_t i)
{
    if (i >= party.count)
        return;
    must(bp_pool_give_back(party.pool, party.live[i]) == 0);
    party.live[i] = party.live[--party.count];
    sound();
}

static void warm(size_t n)
{
    size_t was = injected(), idle = bp_pool_idle_count(party.pool), added = 99;
    int e = bp_pool_prewarm(party.pool, n, &added);

    must(e == 0 || injected() > was);
    must(e == 0 || e == ENOMEM || e == EINVAL); /* what the backing said */
    must(added <= n);
    must(bp_pool_idle_count(party.pool) == idle + added);
    must(e != 0 || injected() > was || added == n || idle + added == party.max_idle);
    sound();
}

static void work(bp_arena *a, size_t n)
{
    unit.a = a;
    unit.count = 0;
    TRY(bp_arena_alloc(a, n), n);
    TRY(bp_arena_alloc(a, 3000), 3000);
    TRY(bp_arena_alloc(a, n), n);
    intact();
    sound();
}

static void pool_scenario_of(bool wipe, size_t max_idle)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    bp_pool *untouched = (bp_pool *)(void *)&c;
    size_t was = injected(), i, round;
    int e;

    c.arena_size = 4096;
    c.max_spare = 50000;
    c.max_idle = party.max_idle = max_idle;
    c.max_arenas = party.max_arenas = 8;
    c.prefault = 8192;
    c.zero_on_give_back = wipe;
    party.count = 0;
    party.pool = untouched;
    e = bp_pool_create(run.f, &c, &party.pool);
    if (e != 0) {
        must(e == ENOMEM && party.pool == untouched && injected() > was);
        heal();
        must(bp_pool_create(run.f, &c, &party.pool) == 0);
    }
    sound();
    for (round = 0; round < 3; round++) {
        if (round == 2)
            heal();
        warm(2);
        for (i = 0; i < 5; i++)
            come();
        must(round < 2 || party.count == 5);
        for (i = 0; i < party.count; i++)
            work(party.live[i], 1500 * (i + 1));
        go(1);
        go(0);
        was = injected();
        (void)bp_pool_release_idle(party.pool);
        sound();
        come();
        if (party.count > 0)
            work(party.live[party.count - 1], 20000);
        while (party.count > 1)
            go(party.count / 2);
        must(bp_pool_trim(party.pool, 1) == 0);
        must(bp_pool_idle_count(party.pool) <= 1);
        sound();
        warm(9);
        come();
        (void)bp_pool_release_idle(party.pool);
        sound();
        if (party.count > 0)
            must(bp_pool_destroy(party.pool) == EBUSY);
        while (party.count > 0)
            go(0);
        sound();
    }
    must(bp_pool_destroy(party.pool) == 0);
}

static void pool_scenario(void)
{
    pool_scenario_of(false, 4);
}

static void wiping_pool_scenario(void)
{
    pool_scenario_of(true, 4);
}

static void keep_none_scenario(void)
{
    pool_scenario_of(false, 0);
}

/* Enough arenas for the pool's own bookkeeping to grow. */
static void big_pool_scenario(void)
{
    enum { MOST_LIVE = 300 };
    const size_t most = times(MOST_LIVE, 70); /* the first 64 fit anyway; Valgrind has no room for many */
    static bp_arena *a[MOST_LIVE];
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    bp_pool *pool = NULL;
    size_t n = 0, i, was;
    int e;

    c.arena_size = 64;
    c.max_idle = c.max_idle_bytes = BP_UNLIMITED;
    while (bp_pool_create(run.f, &c, &pool) != 0)
        heal();
    for (i = 0; i < most; i++) {
        was = injected();
        e = bp_pool_checkout(pool, &a[n]);
        must(e == 0 || (e == ENOMEM && injected() > was));
        n += e == 0;
        must(bp_pool_live_count(pool) == n);
    }
    heal();
    for (; n < most; n++)
        must(bp_pool_checkout(pool, &a[n]) == 0);
    for (i = 0; i < most; i++)
        must(bp_pool_give_back(pool, a[i]) == 0);
    must(bp_pool_idle_count(pool) == most);
    must(bp_pool_destroy(pool) == 0);
}

/* ---- the NULL pool, configured backings ---- */

static void null_pool_scenario(void)
{
    bp_arena *untouched = (bp_arena *)(void *)&run, *a[4];
    size_t i, was;
    int e;

    for (i = 0; i < 4; i++) {
        was = injected();
        a[i] = untouched;
        e = bp_pool_checkout(NULL, &a[i]);
        must(e == 0 || (e == ENOMEM && a[i] == untouched && injected() > was));
        if (e == 0) {
            void *p = bp_arena_alloc(a[i], 200000);

            must(p != NULL || (errno == ENOMEM && injected() > was));
            if (p != NULL)
                stamp(p, 200000, 1);
        }
    }
    for (i = 0; i < 4; i++)
        must(a[i] == untouched || bp_pool_give_back(NULL, a[i]) == 0);
}

static void backings_scenario(void)
{
    bp_backing *untouched = (bp_backing *)(void *)&run, *b = untouched;
    bp_arena *a = NULL;
    size_t was = injected();
    int e = bp_backing_mmap_create(NULL, &b), kind;

    for (kind = 0; kind < 2; kind++) {
        must(e == 0 || (e == ENOMEM && b == untouched && injected() > was));
        if (e == 0) {
            heal();
            must(bp_arena_create(b, NULL, &a) == 0);
            stamp(bp_arena_alloc(a, 50000), 50000, 1);
            must(bp_arena_destroy(a) == 0);
            bp_backing_destroy(b);
        }
        b = untouched;
        was = injected();
        if (kind == 0)
            e = bp_backing_reserved_create(NULL, &b);
    }
}

START_TEST(arena_spill)
{
    until_none_fails("spilling arena", spill_scenario, _i);
}
END_TEST

START_TEST(arena_fixed)
{
    until_none_fails("fixed arena", fixed_scenario, _i);
}
END_TEST

START_TEST(pool_life)
{
    until_none_fails("pool", pool_scenario, _i);
}
END_TEST

START_TEST(pool_that_wipes)
{
    until_none_fails("wiping pool", wiping_pool_scenario, _i);
}
END_TEST

START_TEST(pool_that_keeps_none)
{
    until_none_fails("pool without idle arenas", keep_none_scenario, _i);
}
END_TEST

START_TEST(pool_that_grows)
{
    until_none_fails("big pool", big_pool_scenario, _i);
}
END_TEST

START_TEST(null_pool)
{
    until_none_fails("NULL pool", null_pool_scenario, INNERS);
}
END_TEST

START_TEST(configured_backings)
{
    until_none_fails("configured backings", backings_scenario, INNERS);
}
END_TEST

/* The injection works at all: a control for the tests above. */
START_TEST(failures_are_injected)
{
    bp_arena *a = NULL;
    bp_pool *p = NULL;
    int on_pool, on_arena;

    failing_malloc_plan(1, true);
    on_pool = bp_pool_create(NULL, NULL, &p);
    on_arena = bp_arena_create(bp_backing_malloc(), NULL, &a);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(on_pool, ENOMEM);
    ck_assert_int_eq(on_arena, ENOMEM);
    run.f = faulty_over(bp_backing_mmap());
    faulty_plan(run.f, BP_FAULTY_ALL, 1, false);
    ck_assert_int_eq(bp_arena_create(run.f, NULL, &a), ENOMEM);
    ck_assert_uint_eq(faulty_stats(run.f).injected, 1);
    ck_assert_int_eq(bp_arena_create(run.f, NULL, &a), 0);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    faulty_gone(run.f);
}
END_TEST

static Suite *oom_suite(void)
{
    Suite *s = suite_create("oom");
    TCase *tc = add_case(s, "control");

    tcase_add_test(tc, failures_are_injected);
    tc = add_case(s, "arena");
    tcase_add_loop_test(tc, arena_spill, 0, 2 * INNERS);
    tcase_add_loop_test(tc, arena_fixed, 0, 2 * INNERS);
    tc = add_case(s, "pool");
    tcase_add_loop_test(tc, pool_life, 0, 2 * INNERS);
    tcase_add_loop_test(tc, pool_that_wipes, 0, 2 * INNERS);
    tcase_add_loop_test(tc, pool_that_keeps_none, 0, 2 * INNERS);
    tcase_add_loop_test(tc, pool_that_grows, 0, 2 * INNERS);
    tcase_add_test(tc, null_pool);
    tc = add_case(s, "backings");
    tcase_add_test(tc, configured_backings);
    return s;
}

int main(void)
{
    return run_suite(oom_suite());
}
