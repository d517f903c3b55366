/* SPDX-License-Identifier: MIT
 * The numa backing. Machines with one node are common and kernels without any are found, so for most tests a
 * wrapped mbind plays the system; the others ask the kernel which policy and which node an address has.
 *
 * Needs the hidden symbols, and the linker options
 *
 *     -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=realloc
 *     -Wl,--wrap=mmap,--wrap=munmap,--wrap=madvise,--wrap=syscall,--wrap=os_thp_page
 */
#include "support.h"

#include "backing_private.h"
#include "failing_malloc.h"
#include "os.h"
#include "os_place.h"

#include <bumpool/conformance.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <stdarg.h>
#include <sys/syscall.h>

/* The names are the linker's. */
void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
int __real_madvise(void *p, size_t size, int advice);
long __real_syscall(long number, ...);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);
int __wrap_madvise(void *p, size_t size, int advice);
long __wrap_syscall(long number, ...);
size_t __wrap_os_thp_page(void);

/* How the system behaves: set before other threads start, counted by any. */
static bool mbind_is_real;
static int mbind_error;
static bool mbind_is_watched; /* by tests with one thread */
static size_t mmap_at_most, thp_page, bound_at_most;
static bool drops_refused; /* MADV_DONTNEED is EINVAL, as for locked pages */
static atomic_int munmap_refusals;
static atomic_size_t mmaps, munmaps, mbinds;
static atomic_size_t mapped; /* bytes, by calls made here */
static struct {
    unsigned long start, size, maxnode;
    long mode, flags;
    unsigned long mask[OS_NODES / (8 * sizeof(unsigned long)) + 1];
} bound; /* the latest call */

void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
    void *q;

    atomic_fetch_add(&mmaps, 1);
    if (size > mmap_at_most) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    q = __real_mmap(p, size, prot, flags, fd, offset);
    if (q != MAP_FAILED)
        atomic_fetch_add(&mapped, size);
    return q;
}

int __wrap_munmap(void *p, size_t size)
{
    atomic_fetch_add(&munmaps, 1);
    if (atomic_load(&munmap_refusals) > 0 && atomic_fetch_sub(&munmap_refusals, 1) > 0) {
        errno = ENOMEM;
        return -1;
    }
    atomic_fetch_sub(&mapped, size);
    return __real_munmap(p, size);
}

int __wrap_madvise(void *p, size_t size, int advice)
{
    if (advice == MADV_DONTNEED && drops_refused) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(p, size, advice);
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
    if (number != SYS_mbind)
        return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    atomic_fetch_add(&mbinds, 1);
    if (mbind_is_real)
        return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    if (mbind_is_watched) {
        bound.start = (unsigned long)arg[0];
        bound.size = (unsigned long)arg[1];
        bound.mode = arg[2];
        bound.maxnode = (unsigned long)arg[4];
        bound.flags = arg[5];
        memcpy(bound.mask, (const void *)arg[3], OS_NODES / 8); /* NOLINT(performance-no-int-to-ptr) */
    }
    errno = (unsigned long)arg[1] > bound_at_most ? ENOMEM : mbind_error;
    return errno == 0 ? 0 : -1;
}

size_t __wrap_os_thp_page(void)
{
    return thp_page;
}

static void well_behaved(void)
{
    mbind_is_real = mbind_is_watched = drops_refused = false;
    mbind_error = 0;
    thp_page = 0;
    mmap_at_most = bound_at_most = SIZE_MAX;
    atomic_store(&munmap_refusals, 0);
    failing_malloc_plan(0, false);
}

static int create(unsigned node, bool strict, bp_backing **out)
{
    struct bp_numa_config c = BP_NUMA_CONFIG_INIT;

    c.node = node;
    c.strict = strict;
    return bp_backing_numa_create(&c, out);
}

static bp_backing *on_node(unsigned node, bool strict)
{
    bp_backing *b = NULL;

    ck_assert_int_eq(create(node, strict, &b), 0);
    return b;
}

/* As on_node 0, by the real mbind; NULL, with a word, where there is none. */
static bp_backing *on_real_node(const char *test, bool strict)
{
    bp_backing *b = NULL;
    int rc;

    mbind_is_real = true;
    rc = create(0, strict, &b);
    if (rc == 0)
        return b;
    ck_assert(rc == ENOSYS || rc == EPERM || rc == EINVAL);
    fprintf(stderr, "SKIP: %s: memory of node 0 is not to be had (%s)\n", test, strerror(rc));
    return NULL;
}

static void run_conformance(bp_backing *b)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;

    options.largest = times(MIB, 128 * KIB);
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
}

/* ---- conformance ---- */

START_TEST(conforms)
{
    bp_backing *b;

    well_behaved();
    b = on_node(_i == 0 ? 0 : OS_NODES - 1, _i == 2);
    run_conformance(b);
    ck_assert_uint_gt(atomic_load(&mbinds), 4096);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(really_conforms)
{
    bp_backing *b;

    well_behaved();
    b = on_real_node("really_conforms", _i == 1);
    if (b == NULL)
        return;
    run_conformance(b);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(huge_pages_conform)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_extent e;
    size_t released;
    bp_backing *b;

    well_behaved();
    thp_page = 2 * MIB;
    b = on_node(0, false);
    ck_assert_int_eq(b->ops->acquire(b, MIB, MIB, 16, &e), 0);
    ck_assert_uint_eq(e.page, page_size());
    b->ops->dispose(b, &e);
    ck_assert_int_eq(b->ops->acquire(b, 4 * MIB, 4 * MIB, 16, &e), 0);
    ck_assert_uint_eq(e.page, 2 * MIB);
    ck_assert(is_aligned(e.base, 2 * MIB));
    ck_assert_int_eq(b->ops->release(b, &e, 1, 4 * MIB - 1, &released), 0);
    ck_assert_uint_eq(released, 2 * MIB);
    b->ops->dispose(b, &e);
    mmap_at_most = 4 * MIB; /* no room for the alignment, but by luck */
    ck_assert_int_eq(b->ops->acquire(b, 4 * MIB, 4 * MIB, 16, &e), 0);
    ck_assert_uint_eq(e.page, is_aligned(e.base, 2 * MIB) ? 2 * MIB : page_size());
    b->ops->dispose(b, &e);
    mmap_at_most = SIZE_MAX;
    if (!slow_run()) {
        options.largest = 5 * MIB;
        options.threads = 0;
        ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
    }
    bp_backing_destroy(b);
}
END_TEST

/* ---- what the kernel is told ---- */

START_TEST(policy_as_configured)
{
    static const unsigned nodes[] = { 0, 1, 63, 64, 500, OS_NODES - 1 };
    const size_t bits = 8 * sizeof(unsigned long);
    unsigned node = nodes[_i / 2];
    struct bp_extent e;
    bp_backing *b;
    size_t i;

    well_behaved();
    b = on_node(node, _i % 2 == 1);
    memset(&bound, 0xFF, sizeof bound);
    mbind_is_watched = true;
    ck_assert_int_eq(b->ops->acquire(b, 1, 3 * page_size() - 5, 64 * KIB, &e), 0);
    ck_assert_uint_eq(e.size, 3 * page_size());
    ck_assert_uint_eq(bound.start, (uintptr_t)e.base);
    ck_assert_uint_eq(bound.size, e.size);
    ck_assert_int_eq(bound.mode, _i % 2 == 1 ? MPOL_BIND : MPOL_PREFERRED);
    ck_assert_int_eq(bound.flags, 0);
    ck_assert_uint_eq(bound.maxnode, OS_NODES + 1);
    for (i = 0; i < OS_NODES / bits; i++)
        ck_assert_uint_eq(bound.mask[i], i == node / bits ? 1ul << node % bits : 0);
    mbind_is_watched = false;
    b->ops->dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

static void policy_is(const void *p, int mode)
{
    unsigned long mask[OS_NODES / (8 * sizeof(unsigned long))] = { 0 };
    int now = -1;

    must(syscall(SYS_get_mempolicy, &now, mask, OS_NODES + 1ul, p, (unsigned long)MPOL_F_ADDR) == 0);
    ck_assert_int_eq(now, mode);
    ck_assert_uint_eq(mask[0], 1);
}

static int node_of(const void *p)
{
    const unsigned long flags = MPOL_F_NODE | MPOL_F_ADDR;
    int node = -1;

    ck_assert_int_eq(syscall(SYS_get_mempolicy, &node, NULL, 0ul, p, flags), 0);
    return node;
}

START_TEST(kernel_has_the_policy)
{
    const size_t size = 16 * page_size();
    const int mode = _i == 1 ? MPOL_BIND : MPOL_PREFERRED;
    struct bp_extent e;
    size_t released;
    bp_backing *b;

    well_behaved();
    b = on_real_node("kernel_has_the_policy", _i == 1);
    if (b == NULL)
        return;
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    policy_is(e.base, mode);
    policy_is((char *)e.base + size - 1, mode);
    memset(e.base, 1, size);
    ck_assert_int_eq(node_of(e.base), 0);
    ck_assert_int_eq(b->ops->release(b, &e, 0, size, &released), 0);
    ck_assert_uint_eq(released, size);
    policy_is(e.base, mode);
    ck_assert_int_eq(b->ops->populate(b, &e, 0, size), 0);
    ck_assert_int_eq(node_of((char *)e.base + size - 1), 0);
    b->ops->dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(released_and_populated)
{
    const size_t page = page_size(), size = 16 * page;
    struct bp_extent e;
    size_t released;
    bp_backing *b;

    no_huge_pages();
    well_behaved();
    b = on_node(0, false);
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    ck_assert_uint_eq(e.page, page);
    ck_assert_uint_eq(e.known_zero_from, 0);
    ck_assert_uint_eq(pages_resident(e.base, size), 0);
    ck_assert_int_eq(b->ops->populate(b, &e, page + 1, page), 0);
    ck_assert_uint_eq(pages_resident(e.base, size), 2);
    memset(e.base, 1, size);
    e.known_zero_from = size;
    ck_assert_int_eq(b->ops->release(b, &e, page + 1, size - page - 1, &released), 0);
    ck_assert_uint_eq(released, size - 2 * page);
    ck_assert_uint_eq(pages_resident(e.base, size), 2);
    ck_assert_uint_eq(e.known_zero_from, 2 * page);
    b->ops->dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

/* ---- refusals ---- */

START_TEST(create_errors)
{
    static const size_t sizes[] = { 0, 1, sizeof(size_t), sizeof(struct bp_numa_config) - 1,
                                    sizeof(struct bp_numa_config) + 1, SIZE_MAX };
    static const int refusals[] = { ENOSYS, EPERM, EINVAL, ENOMEM };
    struct bp_numa_config c = BP_NUMA_CONFIG_INIT;
    bp_backing *const untouched = bp_backing_mmap();
    bp_backing *b = untouched;
    size_t i, before;
    int rc;

    well_behaved();
    errno = E2BIG;
    before = atomic_load(&mmaps);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        c.struct_size = sizes[i];
        ck_assert_int_eq(bp_backing_numa_create(&c, &b), EINVAL);
    }
    ck_assert_int_eq(bp_backing_numa_create(NULL, NULL), EINVAL);
    ck_assert_int_eq(create(OS_NODES, false, &b), EINVAL);
    ck_assert_int_eq(create(UINT_MAX, true, &b), EINVAL);
    ck_assert_uint_eq(atomic_load(&mmaps), before);

    before = atomic_load(&mapped);
    for (i = 0; i < 4; i++) {
        mbind_error = refusals[i];
        ck_assert_int_eq(create(0, i % 2 == 0, &b), refusals[i]);
    }
    mbind_error = 0;
    mmap_at_most = 0;
    ck_assert_int_eq(create(0, false, &b), ENOMEM);
    mmap_at_most = SIZE_MAX;
    failing_malloc_plan(1, true);
    rc = create(0, false, &b);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_ptr_eq(b, untouched);
    ck_assert_int_eq(bp_backing_numa_create(NULL, &b), 0);
    ck_assert_ptr_ne(b, untouched);
    bp_backing_destroy(b);
    ck_assert_uint_eq(atomic_load(&mapped), before);
}
END_TEST

/* The last node that may exist is one too many, unless a kernel of that size has it. */
START_TEST(real_node_that_is_not_there)
{
    bp_backing *b = NULL, *first;
    int i;

    well_behaved();
    first = on_real_node("real_node_that_is_not_there", false);
    if (first == NULL)
        return;
    bp_backing_destroy(first);
    if (access("/sys/devices/system/node/node1023", F_OK) == 0) {
        fprintf(stderr, "SKIP: real_node_that_is_not_there: they all are\n");
        return;
    }
    for (i = 0; i < 2; i++)
        ck_assert_int_eq(create(OS_NODES - 1, i == 1, &b), EINVAL);
    ck_assert_ptr_null(b);
}
END_TEST

START_TEST(acquire_refused)
{
    const size_t page = page_size();
    struct bp_extent e, untouched;
    size_t before;
    bp_backing *b;

    well_behaved();
    b = on_node(3, true);
    before = atomic_load(&mapped);
    memset(&e, 0x55, sizeof e);
    untouched = e;
    errno = E2BIG;
    bound_at_most = 4 * page;
    ck_assert_int_eq(b->ops->acquire(b, 5 * page, 9 * page, 16, &e), ENOMEM);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    ck_assert_int_eq(b->ops->acquire(b, 4 * page, 9 * page, 16, &e), 0);
    ck_assert_uint_eq(e.size, 4 * page);
    b->ops->dispose(b, &e);
    ck_assert_uint_eq(atomic_load(&mapped), before);
    bound_at_most = SIZE_MAX;
    mbind_error = EINVAL; /* the node went away */
    ck_assert_int_eq(b->ops->acquire(b, page, page, 16, &e), ENOMEM);
    mbind_error = 0;
    mmap_at_most = 2 * page;
    ck_assert_int_eq(b->ops->acquire(b, 2 * page, 3 * page, 16, &e), 0);
    b->ops->dispose(b, &e);
    ck_assert_int_eq(b->ops->acquire(b, 3 * page, 3 * page, 16, &e), ENOMEM);
    ck_assert_int_eq(b->ops->acquire(b, SIZE_MAX, SIZE_MAX, 16, &e), ENOMEM);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(atomic_load(&mapped), before);
    bp_backing_destroy(b);
}
END_TEST

/* What cannot be unmapped serves those who want just such memory, and nobody else. */
START_TEST(refused_unmapping_is_kept)
{
    const size_t page = page_size(), size = 16 * page, before = atomic_load(&mapped);
    bp_backing *b, *same, *other[2];
    struct bp_extent e, f, g;
    size_t calls, bindings, i;
    void *p;

    well_behaved();
    b = on_node(5, true);
    same = on_node(5, true);
    other[0] = on_node(5, false);
    other[1] = on_node(6, true);
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    memset(e.base, 1, size);
    atomic_store(&munmap_refusals, 1);
    errno = E2BIG;
    b->ops->dispose(b, &e);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(atomic_load(&mapped), before + size);
    ck_assert_uint_le(pages_resident(e.base, size), 1);

    for (i = 0; i < 3; i++) {
        if (i < 2) {
            ck_assert_int_eq(other[i]->ops->acquire(other[i], page, page, 16, &f), 0);
            p = f.base;
        } else {
            ck_assert_int_eq(os_map(page, 16, &p), 0);
        }
        ck_assert((char *)p < (char *)e.base || (char *)p >= (char *)e.base + size);
        atomic_store(&munmap_refusals, 2); /* it and what is kept already */
        if (i < 2)
            other[i]->ops->dispose(other[i], &f);
        else
            os_unmap(p, page);
    }
    calls = atomic_load(&mmaps);
    bindings = atomic_load(&mbinds);
    ck_assert_int_eq(same->ops->acquire(same, size + 1, size + 1, 16, &f), 0); /* too large */
    ck_assert_uint_eq(atomic_load(&mmaps), calls + 1);
    ck_assert_uint_eq(atomic_load(&mbinds), bindings + 1);
    ck_assert_int_eq(same->ops->acquire(same, 3 * page, 3 * page, 16, &g), 0);
    ck_assert_ptr_eq(g.base, e.base);
    ck_assert(all_bytes(g.base, g.size, 0));
    memset(g.base, 2, g.size);
    ck_assert_int_eq(b->ops->acquire(b, size - 3 * page, size - 3 * page, 16, &e), 0);
    ck_assert_ptr_eq(e.base, (char *)g.base + 3 * page);
    ck_assert(all_bytes(e.base, e.size, 0));
    ck_assert_uint_eq(atomic_load(&mmaps), calls + 1);
    ck_assert_uint_eq(atomic_load(&mbinds), bindings + 1);

    /* two are kept; the next that goes takes them along */
    atomic_store(&munmap_refusals, 1);
    b->ops->dispose(b, &e);
    atomic_store(&munmap_refusals, 1);
    same->ops->dispose(same, &g);
    ck_assert_uint_ge(atomic_load(&mapped), before + 2 * size);
    same->ops->dispose(same, &f);
    ck_assert_int_eq(os_map(page, 16, &p), 0);
    os_unmap(p, page); /* and the one kept for anybody */
    ck_assert_uint_eq(atomic_load(&mapped), before);
    bp_backing_destroy(b);
    bp_backing_destroy(same);
    bp_backing_destroy(other[0]);
    bp_backing_destroy(other[1]);
}
END_TEST

START_TEST(kept_and_more)
{
    const size_t page = page_size(), size = 4 * page, before = atomic_load(&mapped);
    struct bp_extent e, f;
    size_t calls, align = 16;
    bp_backing *b;

    well_behaved();
    b = on_node(0, false);
    /* locked pages are cleared by hand */
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    memset(e.base, 1, size);
    drops_refused = true;
    atomic_store(&munmap_refusals, 1);
    b->ops->dispose(b, &e);
    drops_refused = false;
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &f), 0);
    ck_assert_ptr_eq(f.base, e.base);
    ck_assert(all_bytes(f.base, size, 0));
    /* an alignment that it does not have */
    atomic_store(&munmap_refusals, 1);
    b->ops->dispose(b, &f);
    calls = atomic_load(&mmaps);
    while (is_aligned(e.base, align))
        align *= 2;
    ck_assert_int_eq(b->ops->acquire(b, size, size, align, &f), 0);
    ck_assert(is_aligned(f.base, align) && f.base != e.base);
    ck_assert_uint_gt(atomic_load(&mmaps), calls);
    /* the retry is refused, and all stays as it was */
    atomic_store(&munmap_refusals, 0);
    ck_assert_int_eq(b->ops->acquire(b, size + 1, size + 1, 16, &e), 0);
    atomic_store(&munmap_refusals, 1);
    b->ops->dispose(b, &f);
    b->ops->dispose(b, &e);
    ck_assert_uint_eq(atomic_load(&mapped), before);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(refusals_under_load)
{
    const size_t before = atomic_load(&mapped);
    struct bp_extent e;
    bp_backing *b;
    void *p;

    well_behaved();
    b = on_node(0, false);
    atomic_store(&munmap_refusals, 2000);
    run_conformance(b);
    ck_assert_int_le(atomic_load(&munmap_refusals), 0);
    atomic_store(&munmap_refusals, 0);
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), 0);
    b->ops->dispose(b, &e); /* takes all that is kept along */
    bp_backing_destroy(b);
    ck_assert_int_eq(os_map(page_size(), 16, &p), 0);
    os_unmap(p, page_size()); /* and this one what was trimmed for alignment and refused */
    ck_assert_uint_eq(atomic_load(&mapped), before);
}
END_TEST

/* ---- arenas and pools ---- */

START_TEST(arenas_and_pools)
{
    struct bp_pool_config c = pool_config();
    bp_backing *b;
    bp_arena *a[3];
    bp_pool *p;
    size_t i, k, released;

    no_huge_pages();
    well_behaved();
    b = _i == 0 ? on_node(0, false) : on_real_node("arenas_and_pools", _i == 2);
    if (b == NULL)
        return;
    c.arena_size = 64 * KIB;
    p = pool_on(b, &c);
    for (k = 0; k < 3; k++) {
        for (i = 0; i < 3; i++) {
            char *block;

            a[i] = taken(p);
            block = bp_arena_zalloc(a[i], 60 * KIB);
            ck_assert_ptr_nonnull(block);
            ck_assert(all_bytes(block, 60 * KIB, 0));
            stamp(block, 60 * KIB, (unsigned)i);
            ck_assert_ptr_nonnull(bp_arena_alloc(a[i], 300 * KIB)); /* a spill */
        }
        for (i = 0; i < 3; i++)
            given(p, a[i]);
        released = bp_pool_release_idle(p);
        ck_assert_uint_ge(released, 3 * 56 * KIB);
        ck_assert_uint_eq(bp_pool_release_idle(p), 0);
    }
    pool_gone(p);
    bp_backing_destroy(b);
}
END_TEST

static Suite *numa_suite(void)
{
    Suite *s = suite_create("numa");
    TCase *tc = add_case(s, "conformance");

    tcase_add_loop_test(tc, conforms, 0, 3);
    tcase_add_loop_test(tc, really_conforms, 0, 2);
    tcase_add_test(tc, huge_pages_conform);
    tc = add_case(s, "policy");
    tcase_add_loop_test(tc, policy_as_configured, 0, 12);
    tcase_add_loop_test(tc, kernel_has_the_policy, 0, 2);
    tcase_add_test(tc, released_and_populated);
    tc = add_case(s, "refusals");
    tcase_add_test(tc, create_errors);
    tcase_add_test(tc, real_node_that_is_not_there);
    tcase_add_test(tc, acquire_refused);
    tcase_add_test(tc, refused_unmapping_is_kept);
    tcase_add_test(tc, kept_and_more);
    tcase_add_test(tc, refusals_under_load);
    tc = add_case(s, "use");
    tcase_add_loop_test(tc, arenas_and_pools, 0, 3);
    return s;
}

int main(void)
{
    return run_suite(numa_suite());
}
