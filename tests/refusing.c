/* SPDX-License-Identifier: MIT
 * See refusing.h. All atomics are sequentially consistent and pair with each other; no plan is changed while
 * another thread calls.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "refusing.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The names are the linker's. */
void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
int __real_mprotect(void *p, size_t size, int prot);
int __real_madvise(void *p, size_t size, int advice);
int __real_ftruncate(int fd, off_t size);
long __real_syscall(long number, ...);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);
int __wrap_mprotect(void *p, size_t size, int prot);
int __wrap_madvise(void *p, size_t size, int advice);
int __wrap_ftruncate(int fd, off_t size);
long __wrap_syscall(long number, ...);

static struct {
    atomic_size_t calls, refused;
    atomic_size_t first, count; /* count 0: none */
    atomic_int error;
} plans[REFUSABLES];

static _Atomic(void (*)(void *p, size_t size)) munmap_watch;

static bool refused(enum refusable kind)
{
    size_t call = atomic_fetch_add(&plans[kind].calls, 1) + 1, first = atomic_load(&plans[kind].first);

    if (call < first || call - first >= atomic_load(&plans[kind].count))
        return false;
    atomic_fetch_add(&plans[kind].refused, 1);
    errno = atomic_load(&plans[kind].error);
    return true;
}

void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
    if (refused((flags & MAP_FIXED) != 0 ? MMAP_FIXED : MMAP))
        return MAP_FAILED;
    return __real_mmap(p, size, prot, flags, fd, offset);
}

int __wrap_munmap(void *p, size_t size)
{
    void (*watch)(void *p, size_t size) = atomic_load(&munmap_watch);

    if (refused(MUNMAP))
        return -1;
    if (watch != NULL)
        watch(p, size);
    return __real_munmap(p, size);
}

int __wrap_mprotect(void *p, size_t size, int prot)
{
    return refused(MPROTECT) ? -1 : __real_mprotect(p, size, prot);
}

int __wrap_madvise(void *p, size_t size, int advice)
{
    return refused(MADVISE) ? -1 : __real_madvise(p, size, advice);
}

int __wrap_ftruncate(int fd, off_t size)
{
    return refused(FTRUNCATE) ? -1 : __real_ftruncate(fd, size);
}

long __wrap_syscall(long number, ...)
{
    long arg[6];
    va_list args;
    size_t i;

    va_start(args, number);
    for (i = 0; i < 6; i++)
        arg[i] = va_arg(args, long);
    va_end(args);
    if ((number == SYS_mlock && refused(SYSCALL_MLOCK)) ||
        (number == SYS_memfd_create && refused(SYSCALL_MEMFD)) ||
        (number == SYS_fcntl && refused(SYSCALL_FCNTL)))
        return -1;
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

void refuse(enum refusable kind, size_t first, size_t count, int error)
{
    atomic_store(&plans[kind].calls, 0);
    atomic_store(&plans[kind].refused, 0);
    atomic_store(&plans[kind].error, error);
    atomic_store(&plans[kind].first, first);
    atomic_store(&plans[kind].count, count);
}

void refuse_nothing(void)
{
    int kind;

    for (kind = 0; kind < REFUSABLES; kind++)
        refuse((enum refusable)kind, 0, 0, 0);
    watch_munmap(NULL);
}

size_t calls_made(enum refusable kind)
{
    return atomic_load(&plans[kind].calls);
}

size_t calls_refused(enum refusable kind)
{
    return atomic_load(&plans[kind].refused);
}

void watch_munmap(void (*watch)(void *p, size_t size))
{
    atomic_store(&munmap_watch, watch);
}
