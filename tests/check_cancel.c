/* SPDX-License-Identifier: MIT
 * Threads that are cancelled: no call of a pool is a cancellation point, so a thread whose cancellation is
 * pending comes out of it with all done, and no lock, arena or place in a queue goes with it.
 */
#include "waiting.h"

#include <poll.h>

static struct misuse_log misuse;
static bp_arena *const untouched = (bp_arena *)(void *)&misuse;

struct cancelled {
    void (*call)(struct cancelled *c);
    bp_pool *pool;
    bp_arena *arena;
    const struct bp_pool_config *config; /* of the one call that makes a pool */
    int rc;
    bool came_out;
};

static void *cancelled_main(void *arg)
{
    struct cancelled *c = arg;

    pthread_cancel(pthread_self()); /* takes effect at the first cancellation point */
    c->call(c);
    c->came_out = true;
    pthread_testcancel();
    return NULL;
}

/* Has a thread make the call that has its cancellation pending. */
static int cancelled_in(void (*call)(struct cancelled *c), struct cancelled *c)
{
    pthread_t thread;
    void *result = NULL;

    c->call = call;
    c->rc = -1;
    c->came_out = false;
    ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_main, c), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_msg(c->came_out, "it was cancelled inside the call");
    ck_assert_ptr_eq(result, PTHREAD_CANCELED); /* and not that nobody cancelled it */
    return c->rc;
}

static void do_create(struct cancelled *c)
{
    c->rc = bp_pool_create(bp_backing_mmap(), c->config, &c->pool);
}

static void do_checkout(struct cancelled *c)
{
    c->rc = bp_pool_checkout(c->pool, &c->arena);
}

static void do_wait(struct cancelled *c)
{
    c->rc = bp_pool_checkout_wait(c->pool, -1, &c->arena);
}

static void do_wait_1ms(struct cancelled *c)
{
    c->rc = bp_pool_checkout_wait(c->pool, 1000000, &c->arena);
}

static void do_give_back(struct cancelled *c)
{
    c->rc = bp_pool_give_back(c->pool, c->arena);
}

static void do_close(struct cancelled *c)
{
    c->rc = bp_pool_close(c->pool);
}

static void do_destroy(struct cancelled *c)
{
    c->rc = bp_pool_destroy(c->pool);
}

/* ---- what must go on afterwards ---- */

static void *work(void *arg)
{
    bp_pool *pool = arg;
    bp_arena *a[2] = { NULL, NULL };

    for (int i = 0; i < 2; i++) {
        thread_must(bp_pool_checkout_wait(pool, -1, &a[i]) == 0);
        thread_must(bp_pool_give_back(pool, a[i]) == 0);
    }
    return NULL;
}

static void others_can_work(bp_pool *pool)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, work, pool), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    threads_passed();
    all_accounted_for(pool);
}

/* Which takes every lock that the library has. */
static void fork_returns(void)
{
    int status = -1;
    pid_t child;

    if (!may_fork())
        return;
    child = fork();
    if (child == 0)
        _exit(0);
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

static bp_pool *pool_of(size_t max_arenas)
{
    struct bp_pool_config c = pool_config();

    c.arena_size = 4096;
    c.max_arenas = max_arenas;
    return pool_on(NULL, &c);
}

static bool readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, 0) == 1;
}

/* ---- tests ---- */

/* The first arena of all: the backing asks the system about huge pages. */
START_TEST(in_a_first_checkout)
{
    struct bp_pool_config config = pool_config();
    struct cancelled c = { .config = &config };

    config.arena_size = 4 * MIB;
    ck_assert_int_eq(cancelled_in(do_create, &c), 0);
    ck_assert_int_eq(cancelled_in(do_checkout, &c), 0);
    counts_are(c.pool, 0, 1);
    ck_assert_int_eq(cancelled_in(do_give_back, &c), 0);
    fork_returns();
    others_can_work(c.pool);
    pool_gone(c.pool);
}
END_TEST

/* Its first arena starts the clock of a pool that the reaper has laid aside. */
START_TEST(in_a_checkout_that_wakes_the_reaper)
{
    struct bp_pool_config config = pool_config();
    struct cancelled c = { .config = &config };
    uint64_t next = 0;

    config.flags = BP_POOL_REAPER;
    ck_assert_int_eq(cancelled_in(do_create, &c), 0);
    ck_assert_int_eq(bp_pool_tick(c.pool, now_ns(), &next), 0);
    ck_assert_uint_eq(next, UINT64_MAX); /* laid aside, if the reaper did not come by yet */
    ck_assert_int_eq(cancelled_in(do_wait, &c), 0);
    counts_are(c.pool, 0, 1);
    fork_returns();
    misuse_listen(&misuse);
    ck_assert_int_eq(cancelled_in(do_destroy, &c), EBUSY);
    bp_set_misuse_handler(NULL, NULL);
    fork_returns();
    ck_assert_int_eq(cancelled_in(do_give_back, &c), 0);
    others_can_work(c.pool);
    ck_assert_int_eq(cancelled_in(do_destroy, &c), 0); /* the last: the reaper ends */
    fork_returns();
    ck_assert_int_eq(cancelled_in(do_create, &c), 0);
    others_can_work(c.pool);
    pool_gone(c.pool);
}
END_TEST

/* Longer than anybody spins. */
START_TEST(in_a_wait)
{
    struct cancelled c = { .pool = pool_of(1), .arena = untouched };
    bp_arena *a = taken(c.pool);

    ck_assert_int_eq(cancelled_in(do_wait_1ms, &c), ETIMEDOUT);
    ck_assert_ptr_eq(c.arena, untouched);
    ck_assert_uint_eq(stats_of(c.pool).waiting, 0);
    given(c.pool, a);
    fork_returns();
    others_can_work(c.pool);
    pool_gone(c.pool);
}
END_TEST

START_TEST(in_a_call_that_sets_the_eventfd)
{
    struct cancelled c = { .pool = pool_of(1) };
    int fd = -1;

    ck_assert_int_eq(bp_pool_eventfd(c.pool, &fd), 0);
    ck_assert_int_eq(cancelled_in(do_checkout, &c), 0);
    for (int i = 0; i < 3; i++) {
        struct cancelled refused = { .pool = c.pool, .arena = untouched };

        ck_assert_int_eq(cancelled_in(do_checkout, &refused), EAGAIN); /* which clears it */
        ck_assert_ptr_eq(refused.arena, untouched);
        ck_assert(!readable(fd));
        ck_assert_int_eq(cancelled_in(do_give_back, &c), 0);
        ck_assert(readable(fd));
        fork_returns();
        others_can_work(c.pool);
        ck_assert_int_eq(cancelled_in(do_checkout, &c), 0);
    }
    given(c.pool, c.arena);
    pool_gone(c.pool);
}
END_TEST

START_TEST(in_close)
{
    struct cancelled c = { .pool = pool_of(1) };
    bp_arena *a = taken(c.pool), *b = untouched;
    struct waiting w;
    int fd = -1;

    ck_assert_int_eq(bp_pool_eventfd(c.pool, &fd), 0);
    ck_assert_int_eq(bp_pool_checkout(c.pool, &b), EAGAIN);
    ck_assert_ptr_eq(b, untouched);
    waiting_start(&w, c.pool, -1);
    ck_assert_int_eq(cancelled_in(do_close, &c), 0);
    ck_assert_int_eq(waiting_end(&w), ECANCELED);
    ck_assert(readable(fd));
    fork_returns();
    given(c.pool, a);
    ck_assert_int_eq(cancelled_in(do_destroy, &c), 0);
}
END_TEST

static Suite *cancel_suite(void)
{
    Suite *s = suite_create("cancel");
    TCase *tc = add_case(s, "calls");

    tcase_add_test(tc, in_a_first_checkout);
    tcase_add_test(tc, in_a_checkout_that_wakes_the_reaper);
    tcase_add_test(tc, in_a_wait);
    tcase_add_test(tc, in_a_call_that_sets_the_eventfd);
    tcase_add_test(tc, in_close);
    return s;
}

int main(void)
{
    return run_suite(cancel_suite());
}
