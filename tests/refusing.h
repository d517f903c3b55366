/* SPDX-License-Identifier: MIT
 * System calls that are refused on request, for programs linked with
 *
 *     -Wl,--wrap=mmap,--wrap=munmap,--wrap=mprotect,--wrap=madvise,--wrap=ftruncate,--wrap=syscall
 *
 * Calls made by the objects linked into the program go through it, those made inside shared libraries do not.
 * Nothing is refused until planned. Any thread may call; planning is for a moment with one thread.
 */
#ifndef BUMPOOL_TESTS_REFUSING_H
#define BUMPOOL_TESTS_REFUSING_H

#include <stdbool.h>
#include <stddef.h>

/* What can be refused. MMAP is without MAP_FIXED; the last ones are calls by syscall(2). */
enum refusable {
    MMAP,
    MMAP_FIXED,
    MUNMAP,
    MPROTECT,
    MADVISE,
    FTRUNCATE,
    SYSCALL_MLOCK,
    SYSCALL_MEMFD,
    SYSCALL_FCNTL,
    REFUSABLES
};

/* From now on `count` calls of this kind fail with `error`, the first of them the `first`-th (from 1). Starts
 * counting anew. */
void refuse(enum refusable kind, size_t first, size_t count, int error);

/* Nothing is refused any more. */
void refuse_nothing(void);

/* Calls of this kind / those of them that were refused, since the kind's latest plan or refuse_nothing. */
size_t calls_made(enum refusable kind);
size_t calls_refused(enum refusable kind);

/* Called before each munmap that is not refused. NULL: none. */
void watch_munmap(void (*watch)(void *p, size_t size));

#endif
