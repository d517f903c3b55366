/* SPDX-License-Identifier: MIT
 * Time, waiting and file descriptors as the library needs them. A port to another system replaces
 * os_sync_linux.c.
 *
 * `int` functions return 0 or a positive errno value, leave outputs untouched on failure and
 * never change errno. All may be called by any thread.
 */
#ifndef BUMPOOL_SRC_OS_SYNC_H
#define BUMPOOL_SRC_OS_SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC in ns. Cost: some 20 ns, no system call where the vDSO has it. */
uint64_t os_now(void);

/* Processors on which this process's threads can run at the same time, as of the first call. */
unsigned os_processors(void);

/* What a loop that waits for another processor does in between. */
static inline void os_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Sleeps while *word is `expected`, until os_wake or `deadline` (by os_now; UINT64_MAX:
 * none). ETIMEDOUT; 0, also for no reason. */
int os_wait(_Atomic(uint32_t) *word, uint32_t expected, uint64_t deadline);

/* Wakes one sleeper. The word need not be there any more. */
void os_wake(const _Atomic(uint32_t) *word);

/* A descriptor for poll that is readable or not. Close with os_close. */
int os_event(bool readable, int *fd);
void os_event_set(int fd);
void os_event_clear(int fd);

/* A descriptor for poll that becomes readable at a time by os_now (UINT64_MAX: never). */
int os_timer(int *fd);
void os_timer_set(int fd, uint64_t when);

/* A descriptor on which poll reports POLLPRI when tasks of the system were held up by lack of
 * memory for more than 150 ms in 2 s. ENOENT, EACCES, EINVAL...: not here. */
int os_pressure(int *fd);

/* -1 is left alone. */
void os_close(int fd);

#endif
