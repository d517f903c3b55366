/* SPDX-License-Identifier: MIT
 *
 * An event loop with one thread that must never block. Each request holds an arena from its start until
 * its reply comes in; when all arenas are out, requests stay pending until the pool's eventfd says that
 * trying is worth while. The pool's timerfd says when to give memory back: the program ends when
 * all work is done and the pool, idle for a while, has given up its arenas.
 *
 * The service that replies is a pipe to ourselves: what was sent first is answered first.
 */
#include <bumpool.h>

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { ARENAS = 2, REQUESTS = 8 };

struct request { /* in its own arena, as all that belongs to it */
    bp_arena *arena;
    char *text;
};

static bp_pool *pool;
static int service[2];
static int started, finished;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t); /* the clock of the timerfd */
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Starts pending requests while there are arenas. EAGAIN is no failure: the eventfd, unreadable from here
 * on, becomes readable when an arena comes back. */
static int start_requests(void)
{
    while (started < REQUESTS) {
        struct request *r;
        bp_arena *a;
        int rc = BP_POOL_CHECKOUT(pool, &a);

        if (rc != 0)
            return rc == EAGAIN ? 0 : rc;
        r = bp_new(a, struct request);
        if (r == NULL)
            return ENOMEM;
        r->arena = a;
        r->text = bp_arena_printf(a, "request %d", ++started);
        if (r->text == NULL || write(service[1], &r, sizeof r) != (ssize_t)sizeof r)
            return EIO;
    }
    return 0;
}

static int finish_request(void)
{
    struct request *r;

    if (read(service[0], &r, sizeof r) != (ssize_t)sizeof r)
        return EIO;
    printf("%s is done\n", r->text);
    finished++;
    return bp_pool_give_back(pool, r->arena); /* and with it *r */
}

static int watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int main(void)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    struct bp_pool_stats stats;
    int epoll = epoll_create1(EPOLL_CLOEXEC), available, timer, rc = 0;

    config.max_arenas = ARENAS;
    config.retain_ns = 10000000; /* 10 ms, so that this ends soon; 2 s is the default */
    if (epoll < 0 || pipe(service) != 0 || bp_pool_create(NULL, &config, &pool) != 0 ||
        bp_pool_eventfd(pool, &available) != 0 || bp_pool_timerfd(pool, &timer) != 0)
        return 1;
    /* Edge-triggered: it stays readable while there are arenas and nobody wants one, which is no news. */
    if (watch(epoll, available, EPOLLIN | EPOLLET) != 0 || watch(epoll, timer, EPOLLIN) != 0 ||
        watch(epoll, service[0], EPOLLIN) != 0)
        return 1;

    while (rc == 0 && (finished < REQUESTS || bp_pool_idle_count(pool) != 0)) {
        struct epoll_event event;

        if (epoll_wait(epoll, &event, 1, 60000) != 1) /* a minute: something is wrong */
            return 1;
        if (event.data.fd == available)
            rc = start_requests();
        else if (event.data.fd == timer)
            rc = bp_pool_tick(pool, now_ns(), NULL); /* sets the timer anew */
        else
            rc = finish_request();
    }
    if (rc != 0 || bp_pool_stats(pool, &stats) != 0)
        return 1;
    printf("%d requests, %u arenas made, %u given up again\n", finished, (unsigned)stats.mints,
           (unsigned)stats.disposals);
    close(epoll);
    close(service[0]);
    close(service[1]);
    return bp_pool_destroy(pool) != 0 || stats.mints < ARENAS || stats.disposals != stats.mints;
}
