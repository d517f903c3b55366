/* SPDX-License-Identifier: MIT
 * Misuse: every kind is seen, reported once with the right facts, changes nothing, and returns the error of
 * its kind; the default handler prints one line and aborts.
 */
#include "support.h"

#include <setjmp.h>
#include <signal.h>

static struct misuse_log misuse;

/* ---- a pool with something to lose ---- */

struct scene {
    bp_pool *pool;
    bp_arena *live, *idle, *idle2; /* idle2 is the newest */
    void *block;                   /* of `live` */
    struct bp_pool_stats before;
};

static void scene_open(struct scene *s)
{
    struct bp_pool_config c = pool_config();

    c.name = "scene";
    s->pool = pool_on(NULL, &c);
    s->live = taken(s->pool);
    s->idle = taken(s->pool);
    s->idle2 = taken(s->pool);
    s->block = bp_arena_alloc(s->live, 5000);
    stamp(s->block, 5000, 1);
    given(s->pool, s->idle);
    given(s->pool, s->idle2);
    s->before = stats_of(s->pool);
    misuse_listen(&misuse);
}

static void scene_intact(struct scene *s)
{
    struct bp_pool_stats now = stats_of(s->pool);

    ck_assert_mem_eq(&now, &s->before, sizeof now);
    ck_assert(stamped(s->block, 5000, 1));
    ck_assert_uint_eq(bp_arena_used(s->live), round16(5000));
    ck_assert_ptr_eq(taken(s->pool), s->idle2);
    ck_assert_ptr_eq(taken(s->pool), s->idle);
    ck_assert_uint_eq(bp_arena_used(s->idle), 0);
    given(s->pool, s->idle);
    given(s->pool, s->idle2);
    s->before = stats_of(s->pool);
}

static void scene_close(struct scene *s)
{
    bp_set_misuse_handler(NULL, NULL);
    given(s->pool, s->live);
    pool_gone(s->pool);
}

static void give_back_is(struct scene *s, bp_arena *a, enum bp_misuse_kind kind)
{
    ck_assert_int_eq(bp_pool_give_back(s->pool, a), EINVAL);
    misuse_was(&misuse, kind);
    ck_assert_ptr_eq(misuse.pool, s->pool);
    ck_assert_ptr_eq(misuse.arena, a);
    scene_intact(s);
}

/* ---- give_back ---- */

START_TEST(double_give_back)
{
    struct scene s;
    bp_arena *a[40];
    size_t i;

    scene_open(&s);
    give_back_is(&s, s.idle2, BP_MISUSE_DOUBLE_GIVE_BACK); /* the newest, at once */
    give_back_is(&s, s.idle, BP_MISUSE_DOUBLE_GIVE_BACK);  /* an older one */
    (void)bp_pool_release_idle(s.pool);
    ck_assert_int_eq(bp_pool_give_back(s.pool, s.idle), EINVAL); /* after a release */
    misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
    /* after others were handed out, from the top of the pool and from deep inside it */
    for (i = 0; i < 40; i++)
        a[i] = taken(s.pool);
    for (i = 0; i < 40; i++)
        given(s.pool, a[i]);
    for (i = 0; i < 40; i++) {
        ck_assert_int_eq(bp_pool_give_back(s.pool, a[i]), EINVAL);
        misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
    }
    for (i = 0; i < 20; i++)
        ck_assert_ptr_eq(taken(s.pool), a[39 - i]);
    for (i = 0; i < 20; i++) { /* still idle */
        ck_assert_int_eq(bp_pool_give_back(s.pool, a[i]), EINVAL);
        misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
    }
    counts_are(s.pool, 20, 21);
    for (i = 20; i < 40; i++)
        given(s.pool, a[i]);
    ck_assert_int_eq(misuse.count, 0);
    scene_close(&s);
}
END_TEST

/* An arena that the pool has disposed of is none of it any more, or known to have been given back. */
static void was_given_back(void)
{
    ck_assert(misuse.kind == BP_MISUSE_DOUBLE_GIVE_BACK || misuse.kind == BP_MISUSE_FOREIGN_ARENA);
    misuse_was(&misuse, misuse.kind);
}

START_TEST(give_back_of_an_arena_that_is_no_more)
{
    struct scene s;
    struct bp_pool_config c = pool_config();
    bp_pool *keeps_none;
    bp_arena *a, *gone = NULL;

    scene_open(&s);
    gone = s.idle;
    ck_assert_int_eq(bp_pool_trim(s.pool, 1), 0);
    counts_are(s.pool, 1, 1);
    ck_assert_int_eq(bp_pool_give_back(s.pool, gone), EINVAL);
    was_given_back();
    counts_are(s.pool, 1, 1);

    c.max_idle = 0;
    keeps_none = pool_on(NULL, &c);
    a = taken(keeps_none);
    given(keeps_none, a); /* disposed of at once */
    ck_assert_int_eq(bp_pool_give_back(keeps_none, a), EINVAL);
    was_given_back();
    counts_are(keeps_none, 0, 0);
    pool_gone(keeps_none);
    scene_close(&s);
}
END_TEST

START_TEST(foreign_arenas)
{
    struct scene s, other;
    bp_arena *own, *null_pools;
    void *unmapped;
    char *inside;
    uint64_t on_stack[64] = { 0 };
    size_t i;

    scene_open(&other);
    scene_open(&s);
    own = spill_arena(NULL, 4096);
    null_pools = taken(NULL);
    unmapped = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(unmapped, MAP_FAILED);
    munmap(unmapped, 65536);

    give_back_is(&s, other.live, BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, other.idle, BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, own, BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, null_pools, BP_MISUSE_FOREIGN_ARENA);
    inside = (char *)s.live;
    for (i = 1; i < 256; i = i < 16 ? i + 1 : i * 2) { /* 256 on may be the next arena */
        give_back_is(&s, (bp_arena *)(void *)(inside + i), BP_MISUSE_FOREIGN_ARENA);
        give_back_is(&s, (bp_arena *)(void *)((char *)own + i), BP_MISUSE_FOREIGN_ARENA);
    }
    give_back_is(&s, s.block, BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(void *)((char *)s.block + 4096), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(void *)on_stack, BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(void *)&on_stack[7], BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(uintptr_t)opaque(0x10), BP_MISUSE_FOREIGN_ARENA);
    for (i = 1; i < 8; i++) /* what an empty lane might be taken to hold */
        give_back_is(&s, (bp_arena *)(uintptr_t)opaque(i), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(uintptr_t)opaque(1), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(uintptr_t)opaque(SIZE_MAX), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(uintptr_t)opaque(SIZE_MAX - 255), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(uintptr_t)opaque((size_t)PTRDIFF_MAX + 1), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)unmapped, BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(void *)((char *)unmapped + 512), BP_MISUSE_FOREIGN_ARENA);
    give_back_is(&s, (bp_arena *)(void *)s.pool, BP_MISUSE_FOREIGN_ARENA);

    scene_intact(&other);
    given(NULL, null_pools);
    ck_assert_int_eq(bp_arena_destroy(own), 0);
    give_back_is(&s, own, BP_MISUSE_FOREIGN_ARENA); /* freed memory is not read either */
    scene_close(&s);
    misuse_listen(&misuse);
    scene_close(&other);
}
END_TEST

/* ---- arenas ---- */

START_TEST(destroy_of_a_pools_arena)
{
    struct scene s;

    scene_open(&s);
    ck_assert_int_eq(bp_arena_destroy(s.live), EINVAL);
    misuse_was(&misuse, BP_MISUSE_POOL_ARENA);
    ck_assert_ptr_eq(misuse.arena, s.live);
    scene_intact(&s);
    ck_assert_int_eq(bp_arena_destroy(s.idle), EINVAL);
    misuse_was(&misuse, BP_MISUSE_POOL_ARENA);
    scene_intact(&s);
    scene_close(&s);
}
END_TEST

START_TEST(mark_of_the_unit_before)
{
    struct scene s;
    bp_arena *a;
    bp_mark mark;
    void *p;

    scene_open(&s);
    a = taken(s.pool);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
    mark = bp_arena_mark(a);
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 100));
    given(s.pool, a);
    ck_assert_ptr_eq(taken(s.pool), a);
    p = bp_arena_alloc(a, 1000);
    stamp(p, 1000, 4);
    ck_assert_int_eq(bp_arena_rewind(a, mark), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DEAD_MARK);
    ck_assert_ptr_eq(misuse.arena, a);
    ck_assert_uint_eq(bp_arena_used(a), round16(1000));
    ck_assert(stamped(p, 1000, 4));
    given(s.pool, a);
    scene_close(&s);
}
END_TEST

struct tangle {
    bp_pool *pool;
    bp_arena *arena;
    void *block;
    int ran, result, intact;
};

static void give_back_from_inside(void *data)
{
    struct tangle *t = data;

    t->ran++;
    t->result = bp_pool_give_back(t->pool, t->arena);
    t->intact = stamped(t->block, 300, 1);
}

START_TEST(give_back_from_a_cleanup)
{
    struct scene s;
    struct tangle t = { 0 };
    bp_arena *newer = NULL;
    size_t others;

    scene_open(&s);
    t.pool = s.pool;
    t.arena = taken(s.pool);
    if (_i >= 2)
        newer = taken(s.pool); /* the arena under test is not the one that the thread took last */
    others = newer != NULL;
    t.block = bp_arena_alloc(t.arena, 300);
    stamp(t.block, 300, 1);
    ck_assert_int_eq(bp_arena_on_reset(t.arena, give_back_from_inside, &t), 0);
    if (_i % 2 == 0)
        bp_arena_reset(t.arena);
    else
        given(s.pool, t.arena); /* the outer one succeeds */
    misuse_was(&misuse, BP_MISUSE_BUSY_ARENA);
    ck_assert_ptr_eq(misuse.arena, t.arena);
    ck_assert_int_eq(t.ran, 1);
    ck_assert_int_eq(t.result, EBUSY);
    ck_assert(t.intact);
    if (_i % 2 == 0) {
        counts_are(s.pool, 1 - others, 2 + others);
        given(s.pool, t.arena);
    }
    counts_are(s.pool, 2 - others, 1 + others);
    ck_assert_ptr_eq(taken(s.pool), t.arena);
    ck_assert_uint_eq(bp_arena_used(t.arena), 0);
    given(s.pool, t.arena);
    if (newer != NULL)
        given(s.pool, newer);
    scene_close(&s);
}
END_TEST

/* ---- a dead pool ---- */

static void pool_is_dead(bp_pool *dead)
{
    misuse_was(&misuse, BP_MISUSE_DEAD_POOL);
    ck_assert_ptr_eq(misuse.pool, dead);
}

START_TEST(every_call_with_a_dead_pool)
{
    struct scene s;
    bp_pool *dead = pool_on(NULL, NULL);
    bp_arena *untouched = (bp_arena *)(void *)&s, *a = untouched;
    struct bp_pool_stats stats, filled;
    size_t added = 99;

    given(dead, taken(dead));
    ck_assert_int_eq(bp_pool_prewarm(dead, 3, NULL), 0);
    ck_assert_int_eq(bp_pool_destroy(dead), 0);
    misuse_listen(&misuse);

    ck_assert_int_eq(bp_pool_destroy(dead), EINVAL);
    pool_is_dead(dead);
    ck_assert_int_eq(bp_pool_checkout(dead, &a), EINVAL);
    pool_is_dead(dead);
    ck_assert_ptr_eq(a, untouched);
    a = spill_arena(NULL, 4096);
    ck_assert_int_eq(bp_pool_give_back(dead, a), EINVAL);
    pool_is_dead(dead);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    ck_assert_int_eq(bp_pool_prewarm(dead, 2, &added), EINVAL);
    pool_is_dead(dead);
    ck_assert(added == 0 || added == 99);
    ck_assert_uint_eq(bp_pool_idle_count(dead), 0);
    pool_is_dead(dead);
    ck_assert_uint_eq(bp_pool_live_count(dead), 0);
    pool_is_dead(dead);
    ck_assert_uint_eq(bp_pool_release_idle(dead), 0);
    pool_is_dead(dead);
    ck_assert_int_eq(bp_pool_trim(dead, 0), EINVAL);
    pool_is_dead(dead);
    memset(&stats, 0x5A, sizeof stats);
    filled = stats;
    ck_assert_int_eq(bp_pool_stats(dead, &stats), EINVAL);
    pool_is_dead(dead);
    ck_assert_mem_eq(&stats, &filled, sizeof stats);
    {
        BP_POOL_SCOPE(scoped, dead);
        ck_assert_ptr_null(scoped);
        ck_assert_int_eq(errno, EINVAL);
        pool_is_dead(dead);
    }
    ck_assert_int_eq(misuse.count, 0);
    ck_assert_int_eq(bp_pool_destroy(dead), EINVAL);
    pool_is_dead(dead);
    /* other pools know nothing of it */
    scene_open(&s);
    scene_intact(&s);
    scene_close(&s);
}
END_TEST

START_TEST(arena_of_a_dead_pool)
{
    struct scene s;
    bp_pool *dead = pool_on(NULL, NULL);
    bp_arena *a = taken(dead);

    given(dead, a);
    ck_assert_int_eq(bp_pool_destroy(dead), 0);
    misuse_listen(&misuse);
    ck_assert_int_eq(bp_pool_give_back(dead, a), EINVAL);
    pool_is_dead(dead);
    scene_open(&s);
    if (a != s.live && a != s.idle && a != s.idle2) /* the address may be in use again */
        give_back_is(&s, a, BP_MISUSE_FOREIGN_ARENA);
    scene_close(&s);
}
END_TEST

/* ---- handlers ---- */

static jmp_buf way_out;

static void leave_by_longjmp(const struct bp_misuse *m, void *data)
{
    misuse_note(m, data);
    longjmp(way_out, 1);
}

START_TEST(handler_leaves_by_longjmp)
{
    struct scene s;
    volatile int left = 0;

    scene_open(&s);
    bp_set_misuse_handler(leave_by_longjmp, &misuse);
    if (setjmp(way_out) == 0)
        (void)!bp_pool_give_back(s.pool, s.idle);
    else
        left++;
    if (setjmp(way_out) == 0)
        (void)!bp_pool_give_back(s.pool, (bp_arena *)(uintptr_t)opaque(64));
    else
        left++;
    if (setjmp(way_out) == 0)
        (void)!bp_arena_destroy(s.live);
    else
        left++;
    ck_assert_int_eq(left, 3);
    ck_assert_int_eq(misuse.count, 3);
    scene_intact(&s); /* no lock was held, nothing half done */
    scene_close(&s);
}
END_TEST

static void work_in_the_handler(const struct bp_misuse *m, void *data)
{
    struct scene *s = data;
    bp_arena *a = taken(s->pool);

    stamp(bp_arena_alloc(a, 10000), 10000, 1);
    given(s->pool, a);
    must(bp_pool_live_count(s->pool) == 1);
    must(bp_pool_prewarm(s->pool, 1, NULL) == 0);
    must(bp_pool_trim(s->pool, 2) == 0);
    must(m->pool == s->pool);
    misuse.count++;
}

START_TEST(handler_may_call_the_library)
{
    struct scene s;

    scene_open(&s);
    bp_set_misuse_handler(work_in_the_handler, &s);
    ck_assert_int_eq(bp_pool_give_back(s.pool, s.idle2), EINVAL);
    ck_assert_int_eq(misuse.count, 1);
    counts_are(s.pool, 2, 1);
    scene_close(&s);
}
END_TEST

static struct misuse_log second;

START_TEST(handler_is_replaced)
{
    struct scene s;

    scene_open(&s);
    ck_assert_int_eq(bp_pool_give_back(s.pool, s.idle), EINVAL);
    ck_assert_int_eq(misuse.count, 1);
    misuse_listen(&second);
    ck_assert_int_eq(bp_pool_give_back(s.pool, s.idle), EINVAL);
    ck_assert_int_eq(misuse.count, 1);
    ck_assert_int_eq(second.count, 1);
    ck_assert_ptr_nonnull(strstr(second.message, "scene")); /* names the pool */
    scene_close(&s);
}
END_TEST

/* ---- the default handler ---- */

enum { KIND_MIN = BP_MISUSE_DOUBLE_GIVE_BACK, KIND_END = BP_MISUSE_BUSY_ARENA + 1 };

static void reset_from_inside(void *data)
{
    bp_arena_reset(data);
}

/* Must not return. */
static void commit_misuse(int kind)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool = NULL;
    bp_arena *a = NULL;
    bp_mark mark;

    c.name = "culprit";
    if (bp_pool_create(NULL, &c, &pool) != 0 || bp_pool_checkout(pool, &a) != 0)
        _exit(3);
    switch (kind) {
    case BP_MISUSE_DOUBLE_GIVE_BACK:
        (void)!bp_pool_give_back(pool, a);
        (void)!bp_pool_give_back(pool, a);
        break;
    case BP_MISUSE_FOREIGN_ARENA:
        (void)!bp_pool_give_back(pool, (bp_arena *)(void *)&mark);
        break;
    case BP_MISUSE_DEAD_POOL:
        (void)!bp_pool_give_back(pool, a);
        (void)!bp_pool_destroy(pool);
        (void)!bp_pool_destroy(pool);
        break;
    case BP_MISUSE_POOL_ARENA:
        (void)!bp_arena_destroy(a);
        break;
    case BP_MISUSE_DEAD_MARK:
        ignore(bp_arena_alloc(a, 100));
        mark = bp_arena_mark(a);
        bp_arena_reset(a);
        (void)!bp_arena_rewind(a, mark);
        break;
    default:
        (void)!bp_arena_on_reset(a, reset_from_inside, a);
        (void)!bp_pool_give_back(pool, a);
        break;
    }
}

static void no_core(void)
{
    struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
}

START_TEST(default_handler_aborts)
{
    no_core();
    misuse_listen(&misuse);
    bp_set_misuse_handler(NULL, NULL); /* restores the default */
    commit_misuse(_i);
}
END_TEST

START_TEST(default_handler_prints_one_line)
{
    char text[4096], *end;
    size_t got = 0;
    ssize_t n;
    int pipes[2], status;
    pid_t child;

    ck_assert_int_eq(pipe(pipes), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        no_core();
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(pipes[1], STDERR_FILENO);
        (void)close(pipes[0]);
        (void)close(pipes[1]);
        commit_misuse(_i);
        _exit(4);
    }
    (void)close(pipes[1]);
    while ((n = read(pipes[0], text + got, sizeof text - 1 - got)) > 0)
        got += (size_t)n;
    text[got] = '\0';
    (void)close(pipes[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    ck_assert_uint_gt(got, 10);
    end = strchr(text, '\n');
    ck_assert_msg(end != NULL && end[1] == '\0', "not one line: \"%s\"", text);
    ck_assert_msg(strstr(text, "bumpool") != NULL, "whose message is \"%s\"?", text);
    if (_i == BP_MISUSE_DOUBLE_GIVE_BACK || _i == BP_MISUSE_FOREIGN_ARENA)
        ck_assert_msg(strstr(text, "culprit") != NULL, "no name in \"%s\"", text);
}
END_TEST

static Suite *misuse_suite(void)
{
    Suite *s = suite_create("misuse");
    TCase *tc = add_case(s, "give_back");

    tcase_add_test(tc, double_give_back);
    tcase_add_test(tc, give_back_of_an_arena_that_is_no_more);
    tcase_add_test(tc, foreign_arenas);
    tc = add_case(s, "arena");
    tcase_add_test(tc, destroy_of_a_pools_arena);
    tcase_add_test(tc, mark_of_the_unit_before);
    tcase_add_loop_test(tc, give_back_from_a_cleanup, 0, 4);
    tc = add_case(s, "dead pool");
    tcase_add_test(tc, every_call_with_a_dead_pool);
    tcase_add_test(tc, arena_of_a_dead_pool);
    tc = add_case(s, "handler");
    tcase_add_test(tc, handler_leaves_by_longjmp);
    tcase_add_test(tc, handler_may_call_the_library);
    tcase_add_test(tc, handler_is_replaced);
    if (may_fork()) {
        tc = add_case(s, "default handler");
        tcase_add_loop_test_raise_signal(tc, default_handler_aborts, SIGABRT, KIND_MIN, KIND_END);
        tcase_add_loop_test(tc, default_handler_prints_one_line, KIND_MIN, KIND_END);
    }
    return s;
}

int main(void)
{
    return run_suite(misuse_suite());
}
