/* SPDX-License-Identifier: MIT
 *
 * The reaper: one thread that calls bp_pool_tick for all pools with BP_POOL_REAPER when it is
 * due, so that a process that makes no more calls shrinks as well. It lives while there are such
 * pools. When none has a tick due it sleeps in poll; pool_wake_tick and memory pressure wake it.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "os_sync.h"

#include <poll.h>
#include <signal.h>

/* Held while the thread is started or ended; outside reaper_lock. */
static pthread_mutex_t life_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread; /* Sync: life_lock, both */
static bool running;

static pthread_mutex_t reaper_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER; /* with `at_work` */
/* Sync: reaper_lock, down to the descriptors. */
static bp_pool *pools;
static size_t held;      /* reaper_hold without its reaper_unhold */
static bp_pool *at_work; /* the pool whose tick the thread is in */
static bool ending;
static int wake_fd = -1, pressure_fd = -1; /* change only while the thread does not run */

/* The next pool whose tick is due, or NULL, and the time until then. */
static bp_pool *due_pool(uint64_t now, uint64_t *wait_ns)
{
    uint64_t first = UINT64_MAX;

    for (bp_pool *pool = pools; pool != NULL; pool = pool->next_reaped) {
        if (pool->reap_ns <= now)
            return pool;
        if (pool->reap_ns < first)
            first = pool->reap_ns;
    }
    *wait_ns = first == UINT64_MAX ? UINT64_MAX : first - now;
    return NULL;
}

/* With the lock, which it drops. */
static void serve(bp_pool *pool, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    at_work = pool;
    pool->reap_ns = UINT64_MAX; /* a wake-up meanwhile lowers it */
    pthread_mutex_unlock(&reaper_lock);
    (void)bp_pool_tick(pool, now, &next);
    pthread_mutex_lock(&reaper_lock);
    if (next < pool->reap_ns)
        pool->reap_ns = next;
    at_work = NULL;
    pthread_cond_broadcast(&done);
}

/* The system is short of memory: all that is idle goes. */
static void serve_pressure(void)
{
    pthread_mutex_lock(&reaper_lock);
    for (bp_pool *pool = pools; pool != NULL; pool = pool->next_reaped) {
        at_work = pool; /* which keeps it in the list */
        pthread_mutex_unlock(&reaper_lock);
        (void)bp_pool_release_idle(pool);
        pthread_mutex_lock(&reaper_lock);
        at_work = NULL;
        pthread_cond_broadcast(&done);
    }
    pthread_mutex_unlock(&reaper_lock);
}

static void rest(uint64_t wait_ns)
{
    struct pollfd fds[2] = { { wake_fd, POLLIN, 0 }, { pressure_fd, POLLPRI, 0 } };
    struct timespec t = { (time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000) };

    if (ppoll(fds, 2, wait_ns == UINT64_MAX ? NULL : &t, NULL) <= 0)
        return;
    if (fds[0].revents != 0)
        os_event_clear(wake_fd);
    if ((fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) { /* the trigger is gone */
        pthread_mutex_lock(&reaper_lock); /* or the child of a fork may close what has this number by then */
        os_close(pressure_fd);
        pressure_fd = -1;
        pthread_mutex_unlock(&reaper_lock);
    } else if (fds[1].revents != 0) {
        serve_pressure();
    }
}

static void *reaper_main(void *unused)
{
    pthread_mutex_lock(&reaper_lock);
    while (!ending) {
        uint64_t now = os_now(), wait_ns;
        bp_pool *pool = due_pool(now, &wait_ns);

        if (pool != NULL) {
            serve(pool, now);
            continue;
        }
        pthread_mutex_unlock(&reaper_lock);
        rest(wait_ns);
        pthread_mutex_lock(&reaper_lock);
    }
    pthread_mutex_unlock(&reaper_lock);
    return unused;
}

/* With life_lock. */
static int start(void)
{
    sigset_t all, before;
    int rc;

    if (running)
        return 0;
    rc = os_event(false, &wake_fd);
    if (rc != 0)
        return rc;
    (void)os_pressure(&pressure_fd);
    ending = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, NULL, reaper_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        running = true;
        (void)pthread_setname_np(thread, "bumpool-reaper");
    } else {
        os_close(wake_fd);
        os_close(pressure_fd);
        wake_fd = pressure_fd = -1;
    }
    return rc;
}

int reaper_add(bp_pool *pool)
{
    int rc;

    pthread_mutex_lock(&life_lock);
    rc = start();
    if (rc == 0) {
        pthread_mutex_lock(&reaper_lock);
        pool->reap_ns = 0;
        pool->next_reaped = pools;
        pools = pool;
        pthread_mutex_unlock(&reaper_lock);
        os_event_set(wake_fd);
    }
    pthread_mutex_unlock(&life_lock);
    return rc;
}

void reaper_hold(bp_pool *pool)
{
    int cancel;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* pthread_cond_wait is a cancellation point */
    pthread_mutex_lock(&reaper_lock);
    while (at_work == pool)
        pthread_cond_wait(&done, &reaper_lock);
    for (bp_pool **link = &pools; *link != NULL; link = &(*link)->next_reaped)
        if (*link == pool) {
            *link = pool->next_reaped;
            break;
        }
    held++;
    pthread_mutex_unlock(&reaper_lock);
    pthread_setcancelstate(cancel, NULL);
}

void reaper_unhold(bp_pool *pool)
{
    bool last;
    int cancel;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* pthread_join is a cancellation point */
    pthread_mutex_lock(&life_lock);
    pthread_mutex_lock(&reaper_lock);
    held--;
    if (pool != NULL) {
        pool->reap_ns = 0;
        pool->next_reaped = pools;
        pools = pool;
    }
    last = pools == NULL && held == 0 && running;
    ending = last;
    pthread_mutex_unlock(&reaper_lock);
    if (running)
        os_event_set(wake_fd);
    if (last) {
        pthread_join(thread, NULL);
        running = false;
        os_close(wake_fd);
        os_close(pressure_fd);
        wake_fd = pressure_fd = -1;
    }
    pthread_mutex_unlock(&life_lock);
    pthread_setcancelstate(cancel, NULL);
}

void reaper_wake(bp_pool *pool, uint64_t due_ns)
{
    pthread_mutex_lock(&life_lock);
    if (start() == 0) { /* in the child of a fork it has to be */
        pthread_mutex_lock(&reaper_lock);
        if (due_ns < pool->reap_ns)
            pool->reap_ns = due_ns;
        pthread_mutex_unlock(&reaper_lock);
        os_event_set(wake_fd);
    }
    pthread_mutex_unlock(&life_lock);
}

void reaper_before_fork(void)
{
    pthread_mutex_lock(&life_lock);
    pthread_mutex_lock(&reaper_lock);
}

void reaper_after_fork(bool child)
{
    if (child) {
        /* The descriptors are the parent's as well: not to be written to from here. */
        os_close(wake_fd);
        os_close(pressure_fd);
        wake_fd = pressure_fd = -1;
        running = false;
        at_work = NULL;
        held = 0;
        (void)pthread_cond_init(&done, NULL); /* it may say that the parent's threads wait */
    }
    pthread_mutex_unlock(&reaper_lock);
    pthread_mutex_unlock(&life_lock);
}
