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
 * trimmed at the limit, or when another thread takes the last area while a guarded range is being made;
 * then address space (and no memory) is lost.
 */
#define _GNU_SOURCE
#include "os.h"

#include "os_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#define MFD_ALLOW_SEALING 2U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS (1024 + 9)
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
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
            unsigned char *byte = (unsigned char *)p + i;
            unsigned char value = __atomic_load_n(byte, __ATOMIC_RELAXED);

            /* A store of what is there, which must not undo that of another thread, or of another process
             * where the memory is shared: if it fails, somebody has just done our work. */
            __atomic_compare_exchange_n(byte, &value, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        }
    }
    errno = saved;
    return err;
}

/* See the last section. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;

void os_before_fork(void)
{
    pthread_mutex_lock(&kept_lock);
    pthread_mutex_lock(&list_lock);
}

void os_after_fork(void)
{
    pthread_mutex_unlock(&list_lock);
    pthread_mutex_unlock(&kept_lock);
}

/* ---- for the guard, locked and memfd backings ---- */

void os_list_lock(void)
{
    pthread_mutex_lock(&list_lock);
}

void os_list_unlock(void)
{
    pthread_mutex_unlock(&list_lock);
}

/* The memory is cut out of a reservation, so that what is around it never was memory and the kernel can
 * merge it with its likes: many such ranges, or many hidden ones, are one area of the kernel's. */
int os_map_guarded(size_t size, size_t align, void **memory, void **start, size_t *span)
{
    size_t page = os_page_size(), lead = align > page ? align : page, whole;
    void *p;
    int err;

    if (lead > (size_t)PTRDIFF_MAX - page || size > (size_t)PTRDIFF_MAX - page - lead)
        return ENOMEM;
    whole = lead + size + page;
    err = os_reserve(whole, align, &p);
    if (err != 0)
        return err;
    err = os_commit((char *)p + lead, size);
    if (err != 0) {
        os_unmap(p, whole);
        return err;
    }
    *memory = (char *)p + lead;
    *start = p;
    *span = whole;
    return 0;
}

/* A mapping in place of the old one rather than mprotect and madvise: the kernel takes back what it has
 * accounted for, and locked memory goes as well. */
void os_hide(void *p, size_t size)
{
    int saved = errno, flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    if (mmap(p, size, PROT_NONE, flags, -1, 0) != MAP_FAILED) {
        name_area(p, size);
    } else {
        (void)mprotect(p, size, PROT_NONE);
        (void)madvise(p, size, MADV_DONTNEED);
    }
    errno = saved;
}

int os_try_unmap(void *p, size_t size)
{
    int saved = errno, err = munmap(p, size) == 0 ? 0 : errno;

    if (err == 0)
        kept_retry();
    errno = saved;
    return err;
}

void os_unmap_special(void *p, size_t size)
{
    int saved = errno, flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;

    if (os_try_unmap(p, size) != 0) {
        /* Ordinary memory in its place can be kept. Where not even that is to be had it is lost; what was
         * in it is at least dropped, if it is not shared. */
        if (mmap(p, size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED) {
            name_area(p, size);
            kept_push(p, size);
        } else {
            (void)syscall(SYS_munlock, p, size);
            (void)madvise(p, size, MADV_DONTNEED);
        }
    }
    errno = saved;
}

int os_make_secret(void *p, size_t size)
{
    int saved = errno, err = 0;

    /* mlock comes last, for it makes the pages; and by syscall(2), since the sanitizers replace libc's by a
     * function that does nothing and returns 0. */
    if (madvise(p, size, MADV_DONTDUMP) != 0 || madvise(p, size, MADV_WIPEONFORK) != 0 ||
        syscall(SYS_mlock, p, size) != 0)
        err = errno;
    errno = saved;
    return err;
}

/* memfd_create, without the right to execute the file where the kernel knows of that: some are told to refuse
 * others. */
static int memfd_open(const char *name)
{
    /* Relaxed, pairs with itself: asking again in vain costs a call. */
    static atomic_bool old_kernel;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd;

    if (!atomic_load_explicit(&old_kernel, memory_order_relaxed)) {
        fd = (int)syscall(SYS_memfd_create, name, flags | MFD_NOEXEC_SEAL);
        if (fd >= 0 || errno != EINVAL)
            return fd;
        atomic_store_explicit(&old_kernel, true, memory_order_relaxed);
    }
    return (int)syscall(SYS_memfd_create, name, flags);
}

int os_memfd(const char *name, size_t size, int *fd)
{
    int saved = errno, err = 0, made;
    struct rlimit most;

    /* Beyond the limit ftruncate does not just fail: it sends SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur != RLIM_INFINITY && size > most.rlim_cur)
        return EFBIG;
    made = memfd_open(name);
    if (made < 0 || ftruncate(made, (off_t)size) != 0 ||
        syscall(SYS_fcntl, made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        err = errno;
        os_close(made);
    } else {
        *fd = made;
    }
    errno = saved;
    return err;
}

int os_map_file(int fd, size_t size, size_t align, void **out)
{
    int saved = errno, err = 0, flags = MAP_SHARED;
    void *place = NULL, *p;

    if (align > os_page_size()) {
        err = os_reserve(size, align, &place);
        if (err != 0)
            return err;
        flags |= MAP_FIXED;
    }
    p = mmap(place, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (p != MAP_FAILED) {
        *out = p;
    } else {
        err = errno;
        if (place != NULL)
            os_unmap(place, size);
    }
    errno = saved;
    return err;
}

/* Not fallocate with FALLOC_FL_PUNCH_HOLE, which is the same to the kernel: that is a cancellation point. */
int os_release_file(void *p, size_t size)
{
    int saved = errno, err = madvise(p, size, MADV_REMOVE) == 0 ? 0 : errno;

    errno = saved;
    return err;
}
