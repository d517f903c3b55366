/* SPDX-License-Identifier: MIT
 *
 * Linux: futex(2), eventfd(2), timerfd(2), and the pressure stall information of Linux 5.2,
 * which may be watched without privilege, in windows of 2 s, since 6.5.
 *
 * Files are opened, read, written and closed by syscall(2): libc's functions for that are cancellation
 * points, and a thread that is cancelled inside a call of a pool would take a lock or an arena with it.
 */
#define _GNU_SOURCE
#include "os_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) };
}

uint64_t os_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

unsigned os_processors(void)
{
    static _Atomic(unsigned) known; /* relaxed: every thread finds the same */
    unsigned n = atomic_load_explicit(&known, memory_order_relaxed);

    if (n == 0) {
        int saved = errno;
        cpu_set_t own, first;
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        /* Threads that are pinned to one processor each are no reason to think that there is
         * but one; a process that was started on one processor is. */
        CPU_ZERO(&own);
        CPU_ZERO(&first);
        if (sched_getaffinity(0, sizeof own, &own) == 0 && sched_getaffinity(getpid(), sizeof first, &first) == 0) {
            CPU_OR(&own, &own, &first);
            if (CPU_COUNT(&own) == 1)
                online = 1;
        }
        n = online > 0 ? (unsigned)online : 1;
        errno = saved;
        atomic_store_explicit(&known, n, memory_order_relaxed);
    }
    return n;
}

int os_wait(_Atomic(uint32_t) *word, uint32_t expected, uint64_t deadline)
{
    struct timespec t = timespec_of(deadline);
    int saved = errno, rc = 0;

    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline == UINT64_MAX ? NULL : &t, NULL,
                FUTEX_BITSET_MATCH_ANY) != 0 &&
        errno == ETIMEDOUT)
        rc = ETIMEDOUT;
    errno = saved;
    return rc;
}

void os_wake(const _Atomic(uint32_t) *word)
{
    int saved = errno;

    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

/* Takes the result of a system call that makes a descriptor. */
static int made(int result, int saved, int *fd)
{
    int rc = result < 0 ? errno : 0;

    errno = saved;
    if (rc == 0)
        *fd = result;
    return rc;
}

int os_event(bool readable, int *fd)
{
    int saved = errno;

    return made(eventfd(readable, EFD_CLOEXEC | EFD_NONBLOCK), saved, fd);
}

void os_event_set(int fd)
{
    int saved = errno;
    uint64_t one = 1;

    (void)syscall(SYS_write, fd, &one, sizeof one); /* EAGAIN: it is as readable as can be */
    errno = saved;
}

void os_event_clear(int fd)
{
    int saved = errno;
    uint64_t count;

    (void)syscall(SYS_read, fd, &count, sizeof count); /* EAGAIN: it was not readable */
    errno = saved;
}

int os_timer(int *fd)
{
    int saved = errno;

    return made(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), saved, fd);
}

void os_timer_set(int fd, uint64_t when)
{
    struct itimerspec t = { .it_value = timespec_of(when == UINT64_MAX ? 0 : when == 0 ? 1 : when) };
    int saved = errno;

    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL); /* all zero disarms */
    errno = saved;
}

int os_pressure(int *fd)
{
    static const char trigger[] = "some 150000 2000000"; /* us of stall in us of window */
    int saved = errno, rc = 0;
    int opened = (int)syscall(SYS_openat, AT_FDCWD, "/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (opened < 0 || syscall(SYS_write, opened, trigger, sizeof trigger) < 0) { /* with its final NUL */
        rc = errno;
        os_close(opened);
    } else {
        *fd = opened;
    }
    errno = saved;
    return rc;
}

void os_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        (void)syscall(SYS_close, fd);
    errno = saved;
}
