/* SPDX-License-Identifier: MIT
 * The operating system as one page of primitives. A port to another system replaces os_linux.c.
 *
 * Sizes and addresses are whole pages unless said otherwise. `int` functions return 0 or a positive errno
 * value, leave outputs untouched on failure and never change errno. All may be called by any thread.
 */
#ifndef BUMPOOL_SRC_OS_H
#define BUMPOOL_SRC_OS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size of a page. Cost: a load, after the first call. */
size_t os_page_size(void);

/* The size of a transparent huge page when the system uses them for every mapping unasked, else 0. */
size_t os_thp_page(void);

/* Memory, zero, to read and write; aligned to `align`, any power of two. Named "bumpool" in /proc/PID/maps,
 * here and in os_reserve, where the kernel can: one system call more for each mapping. */
int os_map(size_t size, size_t align, void **out);

/* Address space without memory: any access faults. */
int os_reserve(size_t size, size_t align, void **out);

/* Turns a part of a reservation into memory, zero. Twice is harmless. */
int os_commit(void *p, size_t size);

/* Gives a range from os_map or os_reserve back, or a part of one. Cannot fail: see os_linux.c for what
 * happens when the system refuses. In a range from os_reserve the first page should be committed. */
void os_unmap(void *p, size_t size);

/* Drops the pages of committed memory and keeps the range. *zero: it reads as zero from now on; otherwise
 * (only when `lazy`) its contents are unspecified until written. */
int os_release(void *p, size_t size, bool lazy, bool *zero);

/* Makes committed memory resident and writable without a fault; contents are kept. */
int os_populate(void *p, size_t size);

/* fork: around it, in the thread that forks. */
void os_before_fork(void);
void os_after_fork(void);

/* Gives errno its value from before a call of malloc or aligned_alloc back. A plain assignment will not do:
 * compilers take these for functions that change nothing and drop it as redundant. */
static inline void os_restore_errno(int saved)
{
    *(volatile int *)&errno = saved;
}

/* `size` rounded up to a multiple of `unit`, a power of two. False when that is above PTRDIFF_MAX, which no
 * object can be. */
static inline bool os_round_up(size_t size, size_t unit, size_t *out)
{
    if (size > (size_t)PTRDIFF_MAX - (unit - 1))
        return false;
    *out = (size + (unit - 1)) & ~(unit - 1);
    return true;
}

#endif
