/* SPDX-License-Identifier: MIT
 *
 * Linux: MAP_HUGETLB, MADV_HUGEPAGE, mbind(2).
 *
 * What munmap refuses is kept and used again, as os_linux.c says, but what is mapped here is not for anybody.
 * Memory that was advised to be huge is: it is ordinary otherwise, and os_unmap does for it. A mapping of
 * huge pages that were set aside is an area of its own, since the kernel merges none of them, and taking away
 * a whole area needs no other: it is not refused. Memory bound to a node is refused like any other, and
 * cannot be unbound either then, for that splits areas, too. So it is kept apart, for those who ask for the
 * same node in the same way.
 *
 * The list of these is a stack without a lock, which a fork cannot find taken: whoever wants something takes
 * all of it and puts the rest back. Who finds it empty meanwhile maps afresh.
 */
#define _GNU_SOURCE
#include "os_place.h"

#include "os.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- files ---- */

/* Reads the beginning of a file of the kernel's; "" when there is none. By syscall(2): libc's functions are
 * cancellation points, and this may be inside a checkout. */
static void read_file(const char *path, char *text, size_t size)
{
    int saved = errno, fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd >= 0) {
        n = (ssize_t)syscall(SYS_read, fd, text, size - 1);
        (void)syscall(SYS_close, fd);
    }
    text[n < 0 ? 0 : n] = '\0';
    errno = saved;
}

/* The number that `text` begins with, after spaces; 0 for none, or when it is no power of two of at least a
 * page. */
static size_t page_in(const char *text, size_t unit)
{
    size_t n = 0;

    while (*text == ' ')
        text++;
    for (; *text >= '0' && *text <= '9' && n < SIZE_MAX / 16; text++)
        n = n * 10 + (size_t)(*text - '0');
    if (n > (size_t)PTRDIFF_MAX / unit)
        return 0;
    n *= unit;
    return n >= os_page_size() && (n & (n - 1)) == 0 ? n : 0;
}

static size_t read_huge_page(void)
{
    char text[4096];
    const char *at;

    read_file("/proc/meminfo", text, sizeof text);
    at = strstr(text, "Hugepagesize:");
    return at == NULL ? 0 : page_in(at + strlen("Hugepagesize:"), 1024);
}

static size_t read_advised_page(void)
{
    char text[64];

    read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    if (strstr(text, "[always]") == NULL && strstr(text, "[madvise]") == NULL)
        return 0;
    read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof text);
    return page_in(text, 1);
}

/* Two threads may read the file, and if its contents change in between, either answer is as good. */
static size_t once(atomic_size_t *cached, size_t (*read)(void))
{
    /* The size plus one, 0 before the first call; relaxed, pairs with itself. */
    size_t size = atomic_load_explicit(cached, memory_order_relaxed);

    if (size == 0) {
        size = read() + 1;
        atomic_store_explicit(cached, size, memory_order_relaxed);
    }
    return size - 1;
}

/* ---- huge pages ---- */

size_t os_huge_page(void)
{
    static atomic_size_t cached;

    return once(&cached, read_huge_page);
}

size_t os_advised_page(void)
{
    static atomic_size_t cached;

    return once(&cached, read_advised_page);
}

int os_map_huge(size_t size, size_t page, size_t align, void **out)
{
    /* Without MAP_NORESERVE: mmap fails now, or no access will for want of a page. */
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
                (int)((unsigned)__builtin_ctzll(page) << MAP_HUGE_SHIFT);
    int saved = errno, err = 0, attempt;
    void *place = NULL, *p;

    for (attempt = 0; attempt < 2; attempt++) {
        p = mmap(place, size, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (p == MAP_FAILED) {
            err = errno;
            break;
        }
        if (((uintptr_t)p & (align - 1)) == 0) {
            *out = p;
            break;
        }
        /* Aligned to huge pages it is. For more, mapping too much and trimming would want pages that there
         * may not be; so find a place, and ask for that. If somebody else takes it first, that was it. */
        os_unmap_huge(p, size);
        err = attempt == 0 ? os_reserve(size, align, &place) : ENOMEM;
        if (err != 0)
            break;
        os_unmap(place, size);
    }
    errno = saved;
    return err;
}

void os_unmap_huge(void *p, size_t size)
{
    int saved = errno;

    if (munmap(p, size) != 0) /* not heard of; at least the pages can go */
        (void)madvise(p, size, MADV_DONTNEED);
    errno = saved;
}

int os_advise_huge(void *p, size_t size)
{
    int saved = errno, err = madvise(p, size, MADV_HUGEPAGE) == 0 ? 0 : errno;

    errno = saved;
    return err;
}

/* ---- nodes ---- */

/* Memory that could not be unmapped; this is its beginning, the rest is zero. */
struct bound {
    struct bound *next;
    size_t size;
    unsigned node;
    bool strict;
};

/* Release in push pairs with acquire in take_all: a range comes with what is written in it. */
static _Atomic(struct bound *) bound_kept;

static void bound_push(struct bound *r)
{
    r->next = atomic_load_explicit(&bound_kept, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&bound_kept, &r->next, r, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

static struct bound *bound_take_all(void)
{
    /* the relaxed load spares everybody the exchange; missing a range costs a mapping */
    if (atomic_load_explicit(&bound_kept, memory_order_relaxed) == NULL)
        return NULL;
    return atomic_exchange_explicit(&bound_kept, NULL, memory_order_acquire);
}

static void bound_keep(void *p, size_t size, unsigned node, bool strict)
{
    struct bound *r = p;

    *r = (struct bound){ NULL, size, node, strict };
    bound_push(r);
}

/* Gives memory from the list, splitting a larger range, or NULL. */
static void *bound_serve(size_t size, size_t align, unsigned node, bool strict)
{
    struct bound *r = bound_take_all(), *next, *found = NULL;

    for (; r != NULL; r = next) {
        next = r->next;
        if (found != NULL || r->size < size || ((uintptr_t)r & (align - 1)) != 0 || r->node != node ||
            r->strict != strict)
            bound_push(r);
        else
            found = r;
    }
    if (found == NULL)
        return NULL;
    if (found->size > size)
        bound_keep((char *)found + size, found->size - size, node, strict);
    memset(found, 0, sizeof *found);
    return found;
}

/* Unmaps kept ranges until the system refuses again. */
static void bound_retry(void)
{
    struct bound *r = bound_take_all(), *next;
    bool refused = false;

    for (; r != NULL; r = next) {
        next = r->next;
        refused = refused || munmap(r, r->size) != 0;
        if (refused)
            bound_push(r);
    }
}

static int bind_to(void *p, size_t size, unsigned node, bool strict)
{
#ifdef SYS_mbind
    enum { BITS = 8 * sizeof(unsigned long) };
    unsigned long mask[OS_NODES / BITS] = { 0 };
    int saved = errno, err = 0;

    mask[node / BITS] = 1ul << node % BITS;
    /* one more than there are: the kernel counts from 1 */
    if (syscall(SYS_mbind, p, size, strict ? MPOL_BIND : MPOL_PREFERRED, mask, OS_NODES + 1ul, 0ul) != 0)
        err = errno;
    errno = saved;
    return err;
#else
    (void)p;
    (void)size;
    (void)node;
    (void)strict;
    return ENOSYS;
#endif
}

int os_map_node(size_t size, size_t align, unsigned node, bool strict, void **out)
{
    void *p = bound_serve(size, align, node, strict);
    int err;

    if (p == NULL) {
        err = os_map(size, align, &p);
        if (err != 0)
            return err;
        err = bind_to(p, size, node, strict);
        if (err != 0) { /* it is one range: all of it or nothing is bound */
            os_unmap(p, size);
            return err;
        }
    }
    *out = p;
    return 0;
}

void os_unmap_node(void *p, size_t size, unsigned node, bool strict)
{
    int saved = errno;

    if (munmap(p, size) == 0) {
        bound_retry();
    } else {
        if (madvise(p, size, MADV_DONTNEED) != 0) /* locked pages stay */
            memset(p, 0, size);
        bound_keep(p, size, node, strict);
    }
    errno = saved;
}
