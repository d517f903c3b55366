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

/* ---- for the guard, locked and memfd backings ---- */

/* One lock for the lists of all instances of these: nothing else is locked and no system call made while it
 * is held. fork finds it free. */
void os_list_lock(void);
void os_list_unlock(void);

/* Memory, zero, between two inaccessible ranges: of at least a page before it, of a page after it. `size` is
 * the memory's, *start and *span say what all of it is, for os_unmap. */
int os_map_guarded(size_t size, size_t align, void **memory, void **start, size_t *span);

/* Drops the memory and makes the range inaccessible. Cannot fail; where the system refuses one of the two,
 * the other is done nevertheless. */
void os_hide(void *p, size_t size);

/* As os_unmap, but when the system refuses, it says so and the range stays as it is. */
int os_try_unmap(void *p, size_t size);

/* As os_unmap, for ranges that os_map must not give to the next one as they are: locked, wiped by fork,
 * or shared. */
void os_unmap_special(void *p, size_t size);

/* Keeps memory of os_map_guarded in RAM, out of core dumps and out of children of fork, where it reads as
 * zero. What was done before a failure is not undone: unmap the range. */
int os_make_secret(void *p, size_t size);

/* A file in memory, `size` bytes that read as zero, whose size nobody can change any more. Its descriptor is
 * closed by exec; close it with os_close. EFBIG: above RLIMIT_FSIZE; ENOSYS: the kernel has no such files. */
int os_memfd(const char *name, size_t size, int *fd);

/* Maps the first `size` bytes of such a file, shared, to read and write; for os_unmap_special. */
int os_map_file(int fd, size_t size, size_t align, void **out);

/* Drops pages of a file that is mapped by os_map_file: they read as zero, for everybody who maps it. */
int os_release_file(void *p, size_t size);

#endif
