/* SPDX-License-Identifier: MIT
 * The operating system primitives over Linux.
 *
 * Unmapping can be refused. The kernel merges neighbouring anonymous mappings into one area; unmapping a
 * range from the inside of an area makes two areas out of one, and at vm.max_map_count areas that is ENOMEM.
 * dispose must not fail, so such a range is *kept*: its pages are dropped, a node is written into its first
 * page, and it waits in a list until a later os_map can use it or a later munmap, tried again after each
 * one that worked, succeeds. A kept range is memory to read and write and zero but for the node.
 *
 * Invariants of the list: `kept` and the nodes are written under kept_lock only; a range is in the list or in
 * somebody's hands, never both, so that system calls on it need no lock.
 *
 * What cannot be kept is a range without access that lies inside a larger one without access: there
 * is nowhere to write the node. It comes up only when the ends of an over-aligned reservation are
 * trimmed at the limit; then address space (and no memory) is lost.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef PR_SET_VMA_ANON_NAME
#define PR_SET_VMA_ANON_NAME 0
#endif

struct kept {
    struct kept *next;
    size_t size; /* bytes, node included */
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

/* Written under kept_lock. Read without it, relaxed, only to see that there is nothing to do; pairs with the
 * stores in kept_push and kept_pop, and missing one of them costs a mapping that was not needed. */
static _Atomic(struct kept *) kept;

static void kept_push(void *p, size_t size)
{
    struct kept *node = p;

    node->size = size;
    pthread_mutex_lock(&kept_lock);
    node->next = atomic_load_explicit(&kept, memory_order_relaxed);
    atomic_store_explicit(&kept, node, memory_order_relaxed);
    pthread_mutex_unlock(&kept_lock);
}

/* Takes the first range out of the list that has at least `size` bytes and is aligned, or NULL. */
static struct kept *kept_pop(size_t size, size_t align)
{
    struct kept *node, *previous = NULL;

    if (atomic_load_explicit(&kept, memory_order_relaxed) == NULL)
        return NULL;
    pthread_mutex_lock(&kept_lock);
    node = atomic_load_explicit(&kept, memory_order_relaxed);
    while (node != NULL && (node->size < size || ((uintptr_t)node & (align - 1)) != 0)) {
        previous = node;
        node = node->next;
    }
    if (node != NULL) {
        if (previous != NULL)
            previous->next = node->next;
        else
            atomic_store_explicit(&kept, node->next, memory_order_relaxed);
    }
    pthread_mutex_unlock(&kept_lock);
    return node;
}

/* Keeps what munmap refused. */
static void keep(void *p, size_t size)
{
    bool dropped = madvise(p, size, MADV_DONTNEED) == 0;

    if (mprotect(p, size, PROT_READ | PROT_WRITE) != 0)
        return;
    if (!dropped) /* locked pages stay */
        memset(p, 0, size);
    kept_push(p, size);
}

/* Unmaps kept ranges until the system refuses again. */
static void kept_retry(void)
{
    struct kept *node;

    while ((node = kept_pop(0, 1)) != NULL) {
        size_t size = node->size;

        if (munmap(node, size) != 0) {
            kept_push(node, size);
            return;
        }
    }
}

/* Gives memory from the list, splitting a larger range, or NULL. */
static void *kept_serve(size_t size, size_t align)
{
    struct kept *node = kept_pop(size, align);

    if (node == NULL)
        return NULL;
    if (node->size > size)
        kept_push((char *)node + size, node->size - size);
    memset(node, 0, sizeof *node);
    return node;
}

/* Says in /proc/PID/maps and smaps whose memory it is. Areas merge only with others of the same name, so all
 * of ours have one. */
static void name_area(void *p, size_t size)
{
    /* Kernels before 5.17 and those built without CONFIG_ANON_VMA_NAME say EINVAL, a sandbox what it likes:
     * then it will not work later either. Relaxed, pairs with itself: asking again in vain costs a call. */
    static atomic_bool refused;

    if (atomic_load_explicit(&refused, memory_order_relaxed))
        return;
    /* ENOMEM passes: for a moment there are too many areas to split one. */
    if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, (unsigned long)p, (unsigned long)size, "bumpool") != 0 &&
        errno != ENOMEM)
        atomic_store_explicit(&refused, true, memory_order_relaxed);
}

/* mmap aligns to pages (and, in new kernels, often to huge pages). Beyond that, map too much and trim. */
static int map_aligned(size_t size, size_t align, int prot, int flags, void **out)
{
    size_t span, lead;
    char *p;

    flags |= MAP_PRIVATE | MAP_ANONYMOUS;
    p = mmap(NULL, size, prot, flags, -1, 0);
    if (p == MAP_FAILED)
        return errno;
    if (((uintptr_t)p & (align - 1)) != 0) {
        os_unmap(p, size);
        /* no overflow: `size` could be mapped, and align is at most half of what a size_t can say */
        span = size + (align - os_page_size());
        p = mmap(NULL, span, prot, flags, -1, 0);
        if (p == MAP_FAILED)
            return errno;
        lead = (size_t)(0 - (uintptr_t)p) & (align - 1);
        if (lead != 0)
            os_unmap(p, lead);
        p += lead;
        if (span - lead != size)
            os_unmap(p + size, span - lead - size);
    }
    name_area(p, size);
    *out = p;
    return 0;
}

size_t os_page_size(void)
{
    /* Every thread that finds 0 stores the same value; relaxed, pairs with itself. */
    static atomic_size_t cached;
    size_t size = atomic_load_explicit(&cached, memory_order_relaxed);

    if (size == 0) {
        size = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&cached, size, memory_order_relaxed);
    }
    return size;
}

static size_t read_thp_page(void)
{
    char text[64];
    ssize_t n;
    int saved = errno, fd;

    /* 2 MiB is what goes with pages of 4 KiB */
    if (os_page_size() != 4096)
        return 0;
    /* By syscall(2): libc's functions are cancellation points, and this may be inside a checkout. */
    fd = (int)syscall(SYS_openat, AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        errno = saved;
        return 0;
    }
    n = (ssize_t)syscall(SYS_read, fd, text, sizeof text - 1);
    (void)syscall(SYS_close, fd);
    errno = saved;
    text[n < 0 ? 0 : n] = '\0';
    return strstr(text, "[always]") != NULL ? (size_t)2 << 20 : 0;
}

size_t os_thp_page(void)
{
    /* The size plus one, 0 before the first call. As in os_page_size; two threads may read the file, and
     * if its contents change in between, either answer is as good. */
    static atomic_size_t cached;
    size_t size = atomic_load_explicit(&cached, memory_order_relaxed);

    if (size == 0) {
        size = read_thp_page() + 1;
        atomic_store_explicit(&cached, size, memory_order_relaxed);
    }
    return size - 1;
}

int os_map(size_t size, size_t align, void **out)
{
    int saved = errno, err = 0;
    void *p = kept_serve(size, align);

    if (p != NULL)
        *out = p;
    else
        err = map_aligned(size, align, PROT_READ | PROT_WRITE, 0, out);
    errno = saved;
    return err;
}

int os_reserve(size_t size, size_t align, void **out)
{
    int saved = errno, err = map_aligned(size, align, PROT_NONE, MAP_NORESERVE, out);

    errno = saved;
    return err;
}

int os_commit(void *p, size_t size)
{
    int saved = errno, err = mprotect(p, size, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;

    errno = saved;
    return err;
}

void os_unmap(void *p, size_t size)
{
    int saved = errno;

    if (munmap(p, size) == 0)
        kept_retry();
    else
        keep(p, size);
    errno = saved;
}

int os_release(void *p, size_t size, bool lazy, bool *zero)
{
    int saved = errno, err = 0;

    if (lazy && madvise(p, size, MADV_FREE) == 0)
        *zero = false;
    else if (madvise(p, size, MADV_DONTNEED) == 0)
        *zero = true;
    else
        err = errno;
    errno = saved;
    return err;
}

int os_populate(void *p, size_t size)
{
    int saved = errno, err = madvise(p, size, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    size_t page = os_page_size(), i;

    if (err == EINVAL) { /* before Linux 5.14: fault the pages in one by one */
        err = 0;
        for (i = 0; i < size; i += page) {
            volatile char *byte = (char *)p + i;

            *byte = *byte;
        }
    }
    errno = saved;
    return err;
}

void os_before_fork(void)
{
    pthread_mutex_lock(&kept_lock);
}

void os_after_fork(void)
{
    pthread_mutex_unlock(&kept_lock);
}
