/* SPDX-License-Identifier: MIT
 * Waiting for a buffer: in order, with a time limit, by a function, and what close does to all of them; and
 * the room of arenas that came that way.
 */
#include "waiting.h"

#include "buckets.h"

static bp_buckets *small_pool(bp_backing *backing, size_t max_live)
{
    struct bp_buckets_config c = buckets_config();

    c.max_size = 4096;
    c.max_live = max_live;
    return buckets_on(backing, &c);
}

/* ---- threads ---- */

struct getter {
    pthread_t thread;
    bp_buckets *b;
    size_t size;
    int64_t timeout_ns;
    int rc;
    unsigned place; /* as which it was served */
    struct bp_buffer buffer;
};

static atomic_uint served;

static void *get_main(void *arg)
{
    struct getter *g = arg;

    g->rc = bp_buckets_get_wait(g->b, g->size, g->timeout_ns, &g->buffer);
    if (g->rc == 0) {
        g->place = atomic_fetch_add(&served, 1);
        stamp(g->buffer.data, g->buffer.capacity, g->place);
        thread_must(stamped(g->buffer.data, g->buffer.capacity, g->place));
        thread_must(bp_buckets_put(g->b, &g->buffer) == 0);
    }
    return NULL;
}

/* Starts it and waits until it stands in the queue. */
static void get_start(struct getter *g, bp_buckets *b, size_t size, int64_t timeout_ns)
{
    bp_pool *pool = bp_buckets_pool(b, size);
    uint64_t before = stats_of(pool).waiting;

    memset(g, 0, sizeof *g);
    g->b = b;
    g->size = size;
    g->timeout_ns = timeout_ns;
    ck_assert_int_eq(pthread_create(&g->thread, NULL, get_main, g), 0);
    await(stats_of(pool).waiting == before + 1);
}

static const size_t sizes[] = { 100, 4096, 5000, MIB }; /* two are transient */
enum { SIZES = sizeof sizes / sizeof sizes[0] };

START_TEST(served_in_order)
{
    enum { WAITERS = 6 };
    struct getter g[WAITERS];
    bp_buckets *b = small_pool(_i < SIZES ? bp_backing_mmap() : bp_backing_reserved(), 1);
    size_t size = sizes[_i % SIZES], i;
    struct bp_buffer x = got(b, size);

    atomic_store(&served, 0);
    for (i = 0; i < WAITERS; i++)
        get_start(&g[i], b, size, -1);
    ck_assert_int_eq(bp_buckets_get(b, size, &(struct bp_buffer)BP_BUFFER_INIT), EAGAIN);
    put_back(b, &x);
    for (i = 0; i < WAITERS; i++) {
        ck_assert_int_eq(pthread_join(g[i].thread, NULL), 0);
        ck_assert_int_eq(g[i].rc, 0);
        ck_assert_uint_eq(g[i].place, i);
    }
    threads_passed();
    buckets_add_up(b, 0);
    buckets_gone(b);
}
END_TEST

START_TEST(times_out)
{
    bp_buckets *b = small_pool(NULL, 1);
    struct bp_buffer x = got(b, 100), y = BP_BUFFER_INIT;
    uint64_t from = now_ns();
    bp_arena *a = NULL;

    ck_assert_int_eq(bp_buckets_get_wait(b, 100, 0, &y), ETIMEDOUT);
    ck_assert_int_eq(bp_buckets_get_wait(b, 100, 20000000, &y), ETIMEDOUT);
    ck_assert_uint_ge(now_ns() - from, 20000000);
    ck_assert_int_eq(bp_buckets_checkout_wait(b, 100, 1000, &a), ETIMEDOUT);
    ck_assert_ptr_null(y.data);
    ck_assert_ptr_null(a);
    ck_assert_int_eq(bp_buckets_get_wait(b, 200, 0, &y), 0); /* another bucket */
    put_back(b, &y);
    put_back(b, &x);
    ck_assert_int_eq(bp_buckets_get_wait(b, 100, 1, &y), 0);
    put_back(b, &y);
    buckets_gone(b);
}
END_TEST

START_TEST(close_ends_waits)
{
    struct getter g[SIZES];
    struct bp_buffer x[SIZES - 1];
    bp_buckets *b = small_pool(NULL, 1);
    bp_arena *a = NULL;
    size_t i;

    for (i = 0; i < SIZES - 1; i++)
        x[i] = got(b, sizes[i]);
    for (i = 0; i < SIZES; i++)
        get_start(&g[i], b, sizes[i], -1);
    ck_assert_int_eq(bp_buckets_close(b), 0);
    for (i = 0; i < SIZES; i++) {
        ck_assert_int_eq(pthread_join(g[i].thread, NULL), 0);
        ck_assert_int_eq(g[i].rc, ECANCELED);
        ck_assert_ptr_null(g[i].buffer.data);
    }
    for (i = 64; i <= MIB; i *= 2) { /* buckets that were used, and those that were not */
        ck_assert_int_eq(bp_buckets_get(b, i, &g[0].buffer), ECANCELED);
        ck_assert_int_eq(bp_buckets_get_wait(b, i, -1, &g[0].buffer), ECANCELED);
        ck_assert_int_eq(bp_buckets_checkout(b, i, &a), ECANCELED);
    }
    ck_assert_int_eq(bp_buckets_prewarm(b, 64, 1, NULL), ECANCELED);
    ck_assert_int_eq(bp_buckets_prewarm(b, 4096, 1, NULL), ECANCELED);
    ck_assert_int_eq(bp_buckets_close(b), 0);
    for (i = 0; i < SIZES - 1; i++)
        put_back(b, &x[i]);
    buckets_add_up(b, 0);
    buckets_gone(b);
}
END_TEST

/* ---- functions ---- */

struct note {
    struct bp_waiter waiter;
    bp_buckets *b;
    size_t size;
    int error, calls, rc;
    bp_arena *arena;
    struct bp_buffer buffer;
};

static void note_it(struct bp_waiter *w, bp_arena *arena, int error)
{
    struct note *n = (struct note *)(void *)w;

    n->calls++;
    n->error = error;
    n->arena = arena;
    if (arena != NULL)
        n->rc = bp_buckets_buffer(n->b, arena, n->size, &n->buffer);
}

static struct note note_for(bp_buckets *b, size_t size)
{
    struct note n = { .waiter = BP_WAITER_INIT(note_it, NULL), .b = b, .size = size, .rc = -1 };

    return n;
}

START_TEST(async)
{
    bp_buckets *b = small_pool(_i < SIZES ? bp_backing_mmap() : bp_backing_reserved(), 1);
    size_t size = sizes[_i % SIZES];
    struct note at_once = note_for(b, size), later = note_for(b, size), last = note_for(b, size);

    ck_assert_int_eq(bp_buckets_checkout_async(b, size, &at_once.waiter), 0);
    ck_assert_int_eq(at_once.calls, 1);
    ck_assert_int_eq(at_once.rc, 0);
    ck_assert_uint_ge(at_once.buffer.capacity, size);
    ck_assert_uint_eq(at_once.buffer.size, size);
    ck_assert(at_once.buffer.transient == (size > 4096));
    stamp(at_once.buffer.data, at_once.buffer.capacity, 1);

    ck_assert_int_eq(bp_buckets_checkout_async(b, size, &later.waiter), 0);
    ck_assert_int_eq(bp_buckets_checkout_async(b, size, &later.waiter), EBUSY);
    ck_assert_int_eq(bp_buckets_checkout_async(b, size, &last.waiter), 0);
    ck_assert_int_eq(later.calls, 0);
    ck_assert(stamped(at_once.buffer.data, at_once.buffer.capacity, 1));
    ck_assert_int_eq(bp_waiter_cancel(&last.waiter), 0);
    put_back(b, &at_once.buffer);
    ck_assert_int_eq(later.calls, 1);
    ck_assert_int_eq(later.rc, 0);
    stamp(later.buffer.data, later.buffer.capacity, 2);
    ck_assert_int_eq(last.calls, 0);

    ck_assert_int_eq(bp_buckets_checkout_async(b, size, &last.waiter), 0);
    ck_assert_int_eq(bp_buckets_close(b), 0);
    ck_assert_int_eq(last.calls, 1);
    ck_assert_int_eq(last.error, ECANCELED);
    ck_assert_int_eq(bp_buckets_checkout_async(b, size, &last.waiter), ECANCELED);
    ck_assert(stamped(later.buffer.data, later.buffer.capacity, 2));
    put_back(b, &later.buffer);
    buckets_gone(b);
}
END_TEST

/* What cannot be made a buffer stays the caller's. */
START_TEST(buffer_fails)
{
    bp_backing *f;
    struct bp_buffer x = BP_BUFFER_INIT;
    bp_arena *a = NULL;
    struct note n;
    bp_buckets *b;

    f = faulty_over(bp_backing_reserved());
    b = small_pool(f, BP_UNLIMITED);
    n = note_for(b, MIB);
    faulty_plan(f, BP_FAULTY_ACQUIRE, 2, true); /* the first is the arena's own */
    ck_assert_int_eq(bp_buckets_checkout_async(b, MIB, &n.waiter), 0);
    ck_assert_int_eq(n.calls, 1);
    ck_assert_int_eq(n.rc, ENOMEM);
    ck_assert_ptr_nonnull(n.arena);
    ck_assert_ptr_null(n.buffer.data);
    faulty_plan(f, BP_FAULTY_ALL, 0, false);
    ck_assert_int_eq(bp_buckets_buffer(b, n.arena, MIB, &n.buffer), 0); /* then it can */
    stamp(n.buffer.data, n.buffer.capacity, 1);
    put_back(b, &n.buffer);

    /* an arena with its room made ahead: smaller, exact and larger */
    ck_assert_int_eq(bp_buckets_checkout(b, 100000, &a), 0);
    ck_assert_int_eq(bp_buckets_buffer(b, a, 50000, &x), 0);
    stamp(x.data, x.capacity, 1);
    put_back(b, &x);
    ck_assert_int_eq(bp_buckets_checkout(b, 100000, &a), 0);
    ck_assert_int_eq(bp_buckets_buffer(b, a, opaque(SIZE_MAX), &x), ENOMEM);
    ck_assert_int_eq(bp_buckets_buffer(b, a, (size_t)3 << 30, &x), 0);
    stamp(x.data, 5000, 1);
    put_back(b, &x);
    ck_assert_int_eq(bp_buckets_trim(b, 0), 0);
    faulty_gone(f);
    buckets_gone(b);
}
END_TEST

/* An eventfd of a bucket's pool works with buffers. */
START_TEST(pool_of_a_bucket)
{
    bp_buckets *b = small_pool(NULL, 1);
    bp_pool *pool = bp_buckets_pool(b, 100);
    struct bp_buffer x;
    int fd = -1;

    ck_assert_ptr_nonnull(pool);
    ck_assert_ptr_eq(pool, bp_buckets_pool(b, 65));
    ck_assert_ptr_eq(pool, bp_buckets_pool(b, 128));
    ck_assert_ptr_ne(pool, bp_buckets_pool(b, 129));
    ck_assert_ptr_eq(bp_buckets_pool(b, MIB), bp_buckets_pool(b, 2 * MIB));
    ck_assert_int_eq(bp_pool_eventfd(pool, &fd), 0);
    x = got(b, 100);
    counts_are(pool, 0, 1);
    put_back(b, &x);
    counts_are(pool, 1, 0);
    buckets_gone(b);
}
END_TEST

static Suite *wait_suite(void)
{
    Suite *s = suite_create("waiting for buffers");
    TCase *tc = add_case(s, "threads");

    tcase_add_loop_test(tc, served_in_order, 0, 2 * SIZES);
    tcase_add_test(tc, times_out);
    tcase_add_test(tc, close_ends_waits);
    tc = add_case(s, "functions");
    tcase_add_loop_test(tc, async, 0, 2 * SIZES);
    tcase_add_test(tc, buffer_fails);
    tcase_add_test(tc, pool_of_a_bucket);
    return s;
}

int main(void)
{
    return run_suite(wait_suite());
}
