/* SPDX-License-Identifier: MIT
 * The C library's malloc and free, even in a process where another library replaces them.
 */
#ifndef BENCH_LIBC_HEAP_H
#define BENCH_LIBC_HEAP_H

#include <stddef.h>

struct libc_heap {
    void *(*allocate)(size_t size);
    void (*release)(void *block);
};

void libc_heap_find(struct libc_heap *out);

#endif
