/* SPDX-License-Identifier: MIT
 * Misuse of bucket pools: each kind is reported with a message that names the bucket pool, changes nothing,
 * and the buffers in question go on as before.
 */
#include "buckets.h"

#include <signal.h>

static struct misuse_log misuse;

/* A bucket pool with one buffer out of a bucket, one transient one, and one idle. */
struct scene {
    bp_buckets *b;
    struct bp_buffer out, transient, was; /* `was`: a copy of one that was put back */
};

static void scene_open(struct scene *s)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x;

    misuse_listen(&misuse);
    c.name = "the scene's bucket pool, with a name that is cut";
    s->b = buckets_on(NULL, &c);
    s->out = got(s->b, 1000);
    s->transient = got(s->b, 2 * MIB);
    x = got(s->b, 1000);
    s->was = x;
    put_back(s->b, &x);
}

/* It was reported once, by name, and nothing has changed. */
static void reported(struct scene *s, enum bp_misuse_kind kind)
{
    ck_assert_ptr_nonnull(strstr(misuse.message, "\"the scene's bucket pool"));
    misuse_was(&misuse, kind);
    if (s != NULL) {
        buckets_add_up(s->b, 2);
        ck_assert_uint_eq(bp_buckets_free_count(s->b), 1);
    }
}

static void put_is(struct scene *s, const struct bp_buffer *buffer, enum bp_misuse_kind kind)
{
    struct bp_buffer x = *buffer;

    ck_assert_int_eq(bp_buckets_put(s->b, &x), EINVAL);
    ck_assert(same_buffer(&x, buffer));
    reported(s, kind);
}

static void scene_close(struct scene *s)
{
    put_back(s->b, &s->out);
    put_back(s->b, &s->transient);
    ck_assert_int_eq(misuse.count, 0);
    buckets_gone(s->b);
    bp_set_misuse_handler(NULL, NULL);
}

START_TEST(twice)
{
    const struct bp_buffer empty = BP_BUFFER_INIT;
    struct bp_buffer many[40], copies[40];
    struct scene s;
    size_t i;

    scene_open(&s);
    put_is(&s, &s.was, BP_MISUSE_DOUBLE_GIVE_BACK); /* a copy, while the arena is idle */
    put_is(&s, &empty, BP_MISUSE_DOUBLE_GIVE_BACK);
    for (i = 0; i < 40; i++)
        copies[i] = many[i] = got(s.b, 50000);
    for (i = 0; i < 40; i++)
        put_back(s.b, &many[i]);
    for (i = 0; i < 40; i++) {
        ck_assert_int_eq(bp_buckets_put(s.b, &copies[i]), EINVAL); /* in lanes, in lists */
        misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
        copies[i].data = (char *)copies[i].data + 64;
        ck_assert_int_eq(bp_buckets_put(s.b, &copies[i]), EINVAL); /* both wrong: what is certain */
        misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
        copies[i].data = (char *)copies[i].data - 64;
    }
    ck_assert_int_eq(bp_buckets_trim(s.b, 0), 0);
    for (i = 0; i < 40; i++) { /* no longer there at all */
        ck_assert_int_eq(bp_buckets_put(s.b, &copies[i]), EINVAL);
        misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
    }
    scene_close(&s);
}
END_TEST

START_TEST(transient_twice)
{
    struct bp_buffer copy;
    struct scene s;

    scene_open(&s);
    copy = s.transient;
    put_back(s.b, &s.transient);
    ck_assert_int_eq(bp_buckets_put(s.b, &copy), EINVAL);
    reported(NULL, BP_MISUSE_DOUBLE_GIVE_BACK);
    s.transient = got(s.b, 2 * MIB);
    scene_close(&s);
}
END_TEST

START_TEST(inner_pointers)
{
    static const ptrdiff_t off[] = { 1, 16, 64, 1023, 1024, -1, -64, 4096 };
    struct scene s;
    size_t i;

    scene_open(&s);
    for (i = 0; i < sizeof off / sizeof off[0]; i++) {
        struct bp_buffer x = s.out, y = s.transient;

        x.data = (void *)((uintptr_t)x.data + (uintptr_t)off[i]);
        put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
        y.data = (void *)((uintptr_t)y.data + (uintptr_t)off[i]);
        put_is(&s, &y, BP_MISUSE_BAD_BUFFER);
    }
    {
        struct bp_buffer x = s.out;

        x.data = NULL;
        put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
        x.data = s.transient.data;
        put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    }
    for (uint32_t place = 0; place < 2 * sizeof *s.b; place += 8) { /* one that was never got */
        struct bp_buffer x = s.out;

        x.bucket = place;
        if (place / sizeof(struct bp_bucket) != (s.out.bucket & 0x7FFFFFFF) / sizeof(struct bp_bucket))
            put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    }
    for (i = 0; i < 5; i++) { /* from the first use to those that go the shortest way */
        struct bp_buffer x = got(s.b, 30000), moved = x;

        moved.data = (char *)x.data + 64;
        ck_assert_int_eq(bp_buckets_put(s.b, &moved), EINVAL);
        misuse_was(&misuse, BP_MISUSE_BAD_BUFFER);
        ck_assert_ptr_eq(moved.arena, x.arena);
        put_back(s.b, &x);
    }
    scene_close(&s);
}
END_TEST

/* Of another bucket pool, of another bucket, of nothing at all: arena pointers are not followed. */
START_TEST(foreign_buffers)
{
    struct bp_buffer x, y;
    struct scene s;
    bp_buckets *other;
    uint32_t bit;

    scene_open(&s);
    other = buckets_on(bp_backing_malloc(), NULL);
    x = got(other, 1000);
    y = got(other, 2 * MIB);
    put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    put_is(&s, &y, BP_MISUSE_BAD_BUFFER);
    put_back(other, &x);
    put_back(other, &y);
    x = got(NULL, 100);
    put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    put_back(NULL, &x);
    for (bit = 0; bit < 32; bit++) {
        x = s.out;
        x.bucket ^= (uint32_t)1 << bit;
        if (bit < 4 || bit == 31)
            continue; /* below the grid and the library's flag: the same bucket */
        put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    }
    x = s.out;
    x.arena = (bp_arena *)(uintptr_t)64;
    put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    x.arena = (bp_arena *)(void *)((char *)s.out.arena + 16);
    put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    x.arena = (bp_arena *)UINTPTR_MAX;
    put_is(&s, &x, BP_MISUSE_BAD_BUFFER);
    memset(&x, 0xA5, sizeof x);
    x.transient = false; /* any other byte is no bool */
    ck_assert_int_eq(bp_buckets_put(s.b, &x), EINVAL);
    reported(&s, BP_MISUSE_BAD_BUFFER);
    buckets_gone(other);
    scene_close(&s);
}
END_TEST

START_TEST(arenas)
{
    struct bp_pool_config c = pool_config();
    struct bp_buffer x = BP_BUFFER_INIT;
    bp_arena *a = NULL, *foreign, *own = NULL;
    bp_pool *pool;
    struct scene s;

    scene_open(&s);
    pool = pool_on(NULL, &c);
    foreign = taken(pool);
    ck_assert_int_eq(bp_buckets_give_back(s.b, foreign), EINVAL);
    reported(&s, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_buckets_buffer(s.b, foreign, 10, &x), EINVAL);
    reported(&s, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_buckets_give_back(s.b, (bp_arena *)(uintptr_t)4096), EINVAL);
    reported(&s, BP_MISUSE_FOREIGN_ARENA);
    given(pool, foreign);
    pool_gone(pool);

    ck_assert_int_eq(bp_buckets_checkout(s.b, 1000, &a), 0);
    ck_assert_int_eq(bp_buckets_buffer(s.b, a, 1025, &x), EINVAL); /* too much, no misuse */
    ck_assert_ptr_nonnull(bp_arena_alloc(a, 10));
    ck_assert_int_eq(bp_buckets_buffer(s.b, a, 10, &x), EINVAL); /* used */
    ck_assert_ptr_null(x.data);
    ck_assert_int_eq(misuse.count, 0);
    ck_assert_int_eq(bp_buckets_give_back(s.b, a), 0);
    ck_assert_int_eq(bp_buckets_give_back(s.b, a), EINVAL);
    misuse_was(&misuse, BP_MISUSE_DOUBLE_GIVE_BACK);
    ck_assert_int_eq(bp_buckets_buffer(s.b, a, 10, &x), EINVAL);
    reported(&s, BP_MISUSE_DOUBLE_GIVE_BACK);
    ck_assert_int_eq(bp_arena_create(NULL, NULL, &own), 0);
    ck_assert_int_eq(bp_buckets_give_back(s.b, own), EINVAL);
    reported(&s, BP_MISUSE_FOREIGN_ARENA);
    ck_assert_int_eq(bp_arena_destroy(own), 0);
    scene_close(&s);
}
END_TEST

START_TEST(destroy_with_live)
{
    struct scene s;
    struct bp_buffer x;

    scene_open(&s);
    ck_assert_int_eq(bp_buckets_destroy(s.b), EBUSY);
    ck_assert_ptr_nonnull(strstr(misuse.message, "2 live buffers"));
    reported(&s, BP_MISUSE_LIVE_ARENAS);
    stamp(s.out.data, s.out.capacity, 1); /* nothing was freed, and it goes on */
    stamp(s.transient.data, s.transient.capacity, 2);
    x = got(s.b, 1000);
    ck_assert_ptr_eq(x.arena, s.was.arena);
    put_back(s.b, &x);
    ck_assert(stamped(s.out.data, s.out.capacity, 1) && stamped(s.transient.data, s.transient.capacity, 2));
    put_back(s.b, &s.out);
    ck_assert_int_eq(bp_buckets_destroy(s.b), EBUSY); /* a transient one is live, too */
    ck_assert_ptr_nonnull(strstr(misuse.message, "1 live buffers"));
    reported(NULL, BP_MISUSE_LIVE_ARENAS);
    s.out = got(s.b, 10);
    scene_close(&s);
}
END_TEST

START_TEST(destroy_with_the_reaper)
{
    struct bp_buckets_config c = buckets_config();
    struct bp_buffer x, y;
    bp_buckets *b;

    misuse_listen(&misuse);
    c.name = "the scene's bucket pool";
    c.flags = BP_POOL_REAPER;
    c.retain_ns = 1000000;
    b = buckets_on(NULL, &c);
    x = got(b, 100);
    y = got(b, 100000);
    ck_assert_int_eq(bp_buckets_destroy(b), EBUSY);
    reported(NULL, BP_MISUSE_LIVE_ARENAS);
    put_back(b, &x);
    put_back(b, &y);
    while (bp_buckets_total_count(b) != 0) /* it is still at work */
        usleep(1000);
    buckets_gone(b);
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

START_TEST(dead)
{
    struct bp_waiter w = BP_WAITER_INIT(NULL, NULL);
    struct bp_buffer x, copy;
    bp_arena *a = NULL;
    struct scene s;
    uint64_t next;

    scene_open(&s);
    copy = x = got(s.b, 100);
    put_back(s.b, &x);
    put_back(s.b, &s.out);
    put_back(s.b, &s.transient);
    buckets_gone(s.b);
#define DEAD(call, result)                            \
    do {                                              \
        ck_assert_int_eq((int)(call), result);        \
        reported(NULL, BP_MISUSE_DEAD_POOL);          \
    } while (0)
    DEAD(bp_buckets_get(s.b, 0, &x), EINVAL);
    DEAD(bp_buckets_get(s.b, 100, &x), EINVAL);
    DEAD(bp_buckets_get(s.b, 100000, &x), EINVAL);
    DEAD(bp_buckets_get(s.b, SIZE_MAX, &x), EINVAL);
    DEAD(bp_buckets_get_wait(s.b, 100, 0, &x), EINVAL);
    DEAD(bp_buckets_put(s.b, &copy), EINVAL);
    DEAD(bp_buckets_put(s.b, &x), EINVAL);
    DEAD(bp_buckets_checkout(s.b, 1, &a), EINVAL);
    DEAD(bp_buckets_checkout_wait(s.b, 1, 0, &a), EINVAL);
    DEAD(bp_buckets_checkout_async(s.b, 1, &w), EINVAL);
    DEAD(bp_buckets_buffer(s.b, copy.arena, 1, &x), EINVAL);
    DEAD(bp_buckets_give_back(s.b, copy.arena), EINVAL);
    DEAD(bp_buckets_prewarm(s.b, 1, 1, NULL), EINVAL);
    DEAD(bp_buckets_release_idle(s.b), 0);
    DEAD(bp_buckets_trim(s.b, 0), EINVAL);
    DEAD(bp_buckets_tick(s.b, 0, &next), EINVAL);
    DEAD(bp_buckets_close(s.b), EINVAL);
    DEAD(bp_buckets_destroy(s.b), EINVAL);
    DEAD(bp_buckets_stats(s.b, &(struct bp_buckets_stats){ 0 }), EINVAL);
    DEAD(bp_buckets_bucket_stats(s.b, 0, &(struct bp_bucket_stats){ 0 }), EINVAL);
    DEAD(bp_buckets_print_stats(s.b, stderr, BP_STATS_TEXT), EINVAL);
    DEAD(bp_buckets_free_count(s.b), 0);
    DEAD(bp_buckets_total_count(s.b), 0);
    DEAD(bp_buckets_pool(s.b, 1) != NULL, 0);
#undef DEAD
    bp_set_misuse_handler(NULL, NULL);
}
END_TEST

/* The memory of a dead bucket pool serves the next one. */
START_TEST(memory_comes_back)
{
    struct bp_blocks_config blocks = BP_BLOCKS_CONFIG_INIT;
    struct bp_buckets_config c = buckets_config();
    bp_buckets *first = buckets_on(NULL, &c), *b = NULL;
    struct bp_buffer x = got(first, 10);

    put_back(first, &x);
    buckets_gone(first);
    c.step = BP_BUCKETS_QUARTER;
    c.max_size = 1024 * MIB;
    b = buckets_on(NULL, &c);
    ck_assert_ptr_eq(b, first);
    x = got(b, 10);
    put_back(b, &x);
    buckets_gone(b);
    ck_assert_int_eq(bp_buckets_create_blocks(NULL, &blocks, &b), 0);
    ck_assert_ptr_eq(b, first);
    buckets_add_up(b, 0);
    buckets_gone(b);
}
END_TEST

START_TEST(default_handler_aborts)
{
    bp_buckets *b = buckets_on(NULL, NULL);
    struct bp_buffer x = got(b, 10);

    put_back(b, &x);
    (void)bp_buckets_put(b, &x);
}
END_TEST

static Suite *misuse_suite(void)
{
    Suite *s = suite_create("misuse of buckets");
    TCase *tc = add_case(s, "put");

    tcase_add_test(tc, twice);
    tcase_add_test(tc, transient_twice);
    tcase_add_test(tc, inner_pointers);
    tcase_add_test(tc, foreign_buffers);
    tcase_add_test(tc, arenas);
    tc = add_case(s, "destroy");
    tcase_add_test(tc, destroy_with_live);
    tcase_add_test(tc, destroy_with_the_reaper);
    tcase_add_test(tc, dead);
    if (may_fork()) {
        tcase_add_test(tc, memory_comes_back); /* which expects none from before */
        tcase_add_test_raise_signal(tc, default_handler_aborts, SIGABRT);
    }
    return s;
}

int main(void)
{
    return run_suite(misuse_suite());
}
