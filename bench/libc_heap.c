/* SPDX-License-Identifier: MIT
 * A shared mimalloc replaces malloc, free and even glibc's own aliases of them in every program that is
 * linked with it, as this one may be. The C library's functions are therefore asked of the C library itself,
 * and called through pointers, which costs what any call into a shared library does.
 */
#include "bench.h"

#include "libc_heap.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* POSIX has a data pointer from dlsym hold a function's address; ISO C has no cast for it. */
void libc_heap_find(struct libc_heap *out)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *allocate = libc != NULL ? dlsym(libc, "malloc") : NULL;
    void *release = libc != NULL ? dlsym(libc, "free") : NULL;

    out->allocate = malloc;
    out->release = free;
    if (allocate != NULL && release != NULL) {
        memcpy(&out->allocate, &allocate, sizeof(allocate));
        memcpy(&out->release, &release, sizeof(release));
    }
    if (libc != NULL)
        dlclose(libc); /* only the count: the C library stays */
}

bool malloc_is_replaced(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    bool replaced = false;

    if (libc != NULL) { /* not by the address of malloc itself: that may be the program's own PLT entry */
        replaced = dlsym(libc, "malloc") != dlsym(RTLD_NEXT, "malloc");
        dlclose(libc);
    }
    return replaced;
}
