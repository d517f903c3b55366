/* SPDX-License-Identifier: MIT
 * The hugetlb backing. Huge pages that were set aside are seldom there, so for most tests a wrapped mmap
 * plays a system that has some: it takes from a pool of a given size, as the kernel does, and hands out
 * ordinary memory. The tests of the real ones come last, and set some aside if they may.
 *
 * Needs the hidden symbols, and the linker options
 *
 *     -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=realloc
 *     -Wl,--wrap=mmap,--wrap=munmap,--wrap=madvise,--wrap=syscall,--wrap=os_huge_page,--wrap=os_advised_page
 */
#include "support.h"

#include "backing_private.h"
#include "failing_malloc.h"
#include "os.h"
#include "os_place.h"

#include <bumpool/conformance.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define HUGE (2 * MIB)

/* The names are the linker's. */
void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
int __real_madvise(void *p, size_t size, int advice);
long __real_syscall(long number, ...);
size_t __real_os_huge_page(void);
size_t __real_os_advised_page(void);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);
int __wrap_madvise(void *p, size_t size, int advice);
long __wrap_syscall(long number, ...);
size_t __wrap_os_huge_page(void);
size_t __wrap_os_advised_page(void);

/* How the system behaves. Set before other threads start; the pool is under the lock. */
enum { MOST_RANGES = 512 };
static bool pool_is_real;
static size_t huge_page, advised_page;
static size_t mmap_at_most; /* larger ordinary mappings are refused */
static bool hints_ignored;  /* mmap gives huge pages where it likes */
static bool advice_unknown; /* MADV_HUGEPAGE is EINVAL */
static atomic_int munmap_refusals;
static atomic_size_t advised_calls, dropped_calls;
static struct {
    pthread_mutex_t lock;
    size_t bytes; /* that are not taken */
    size_t page;  /* of the pool */
    size_t asked; /* flags of the latest request */
    struct {
        void *p;
        size_t size;
    } taken[MOST_RANGES];
    size_t count;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };
static const char *fake_meminfo, *fake_enabled, *fake_size; /* files to open in their place; "": none */

/* Room for `size` bytes at a huge page that is no multiple of a larger alignment, so that asking for one is
 * not met by luck. */
static void *aligned_range(size_t size)
{
    char *p = __real_mmap(NULL, size + 4 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t lead, rest;

    if (p == MAP_FAILED)
        return p;
    lead = (size_t)(0 - (uintptr_t)p) & (HUGE - 1);
    if ((((uintptr_t)p + lead) & (2 * HUGE - 1)) == 0)
        lead += HUGE;
    rest = 4 * HUGE - lead;
    if (lead != 0)
        (void)__real_munmap(p, lead);
    (void)__real_munmap(p + lead + size, rest);
    return p + lead;
}

static void *pool_map(void *hint, size_t size, int prot, int flags)
{
    void *p = MAP_FAILED;

    pthread_mutex_lock(&pool.lock);
    pool.asked = (size_t)flags;
    errno = ENOMEM;
    must((flags & MAP_NORESERVE) == 0);
    if (((unsigned)flags >> MAP_HUGE_SHIFT) != (unsigned)__builtin_ctzll(pool.page)) {
        errno = EINVAL; /* no such pages */
    } else if (size % pool.page != 0) {
        errno = EINVAL;
    } else if (size <= pool.bytes && pool.count < MOST_RANGES) {
        if (hint == NULL || hints_ignored)
            p = aligned_range(size);
        else
            p = __real_mmap(hint, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED) {
            pool.taken[pool.count].p = p;
            pool.taken[pool.count++].size = size;
            pool.bytes -= size;
        }
    }
    pthread_mutex_unlock(&pool.lock);
    return p;
}

/* Whether [p, p + size) is a range of the pool; it goes back if `give` says so. */
static bool pool_has(const void *p, size_t size, bool give)
{
    size_t i;

    pthread_mutex_lock(&pool.lock);
    for (i = pool.count; i > 0 && pool.taken[i - 1].p != p; i--)
        ;
    if (i > 0 && give) {
        must(pool.taken[i - 1].size == size);
        pool.bytes += size;
        pool.taken[i - 1] = pool.taken[--pool.count];
    }
    pthread_mutex_unlock(&pool.lock);
    return i > 0;
}

void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
    if ((flags & MAP_HUGETLB) != 0 && !pool_is_real)
        return pool_map(p, size, prot, flags);
    if ((flags & MAP_HUGETLB) == 0 && size > mmap_at_most) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(p, size, prot, flags, fd, offset);
}

int __wrap_munmap(void *p, size_t size)
{
    if (atomic_load(&munmap_refusals) > 0 && atomic_fetch_sub(&munmap_refusals, 1) > 0) {
        errno = ENOMEM;
        return -1;
    }
    (void)pool_has(p, size, true);
    return __real_munmap(p, size);
}

int __wrap_madvise(void *p, size_t size, int advice)
{
    if (advice == MADV_HUGEPAGE) {
        atomic_fetch_add(&advised_calls, 1);
        if (advice_unknown) {
            errno = EINVAL;
            return -1;
        }
    }
    if (advice == MADV_DONTNEED)
        atomic_fetch_add(&dropped_calls, 1);
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
    if (number == SYS_openat) {
        const char *path = (const char *)arg[1], *other = path; /* NOLINT(performance-no-int-to-ptr) */

        if (strcmp(path, "/proc/meminfo") == 0 && fake_meminfo != NULL)
            other = fake_meminfo;
        if (strstr(path, "hugepage/enabled") != NULL && fake_enabled != NULL)
            other = fake_enabled;
        if (strstr(path, "hpage_pmd_size") != NULL && fake_size != NULL)
            other = fake_size;
        arg[1] = (long)other;
    }
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

size_t __wrap_os_huge_page(void)
{
    return huge_page;
}

size_t __wrap_os_advised_page(void)
{
    return advised_page;
}

/* A system with so many huge pages, and transparent ones on request. */
static void system_with(size_t pages)
{
    pool.bytes = pages * HUGE;
    pool.page = HUGE;
    pool.count = 0;
    pool_is_real = false;
    huge_page = advised_page = HUGE;
    mmap_at_most = SIZE_MAX;
    hints_ignored = advice_unknown = false;
    atomic_store(&munmap_refusals, 0);
    failing_malloc_plan(0, false);
}

static bp_backing *backing_of(size_t page_size, bool strict)
{
    struct bp_hugetlb_config c = BP_HUGETLB_CONFIG_INIT;
    bp_backing *b = NULL;

    c.page_size = page_size;
    c.strict = strict;
    ck_assert_int_eq(bp_backing_hugetlb_create(&c, &b), 0);
    return b;
}

static struct bp_hugetlb_stats figures(bp_backing *b)
{
    struct bp_hugetlb_stats s;

    memset(&s, 0xFF, sizeof s);
    ck_assert_int_eq(bp_backing_hugetlb_stats(b, &s), 0);
    return s;
}

static void kinds_are(bp_backing *b, size_t hugetlb, size_t advised, size_t plain)
{
    struct bp_hugetlb_stats s = figures(b);

    ck_assert_uint_eq(s.hugetlb, hugetlb);
    ck_assert_uint_eq(s.advised, advised);
    ck_assert_uint_eq(s.plain, plain);
}

/* Destroys it; everything must be back. */
static void gone(bp_backing *b)
{
    struct bp_hugetlb_stats s = figures(b);

    kinds_are(b, 0, 0, 0);
    ck_assert_uint_eq(s.hugetlb_bytes + s.advised_bytes + s.plain_bytes, 0);
    ck_assert_uint_eq(pool.count, 0);
    bp_backing_destroy(b);
}

static bool is_zero(void *p, size_t n)
{
    return all_bytes(p, n, 0);
}

/* ---- conformance ---- */

static void run_conformance(bp_backing *b, size_t largest)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;

    options.largest = largest;
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
}

START_TEST(conforms)
{
    bp_backing *b;

    system_with(MOST_RANGES);
    b = backing_of(0, false);
    run_conformance(b, 256 * KIB);
    ck_assert_uint_gt(figures(b).total_hugetlb, 4096);
    ck_assert_uint_eq(figures(b).total_advised + figures(b).total_plain, 0);
    gone(b);
}
END_TEST

/* One huge page, or none; with small ones that can be advised, that refuse it, and that are not worth it. */
START_TEST(others_conform)
{
    const bool large = !slow_run() && !BP_CF_TSAN;
    bp_backing *b;

    system_with((size_t)_i % 2);
    advice_unknown = _i / 2 == 1;
    advised_page = _i / 2 == 2 ? 0 : HUGE;
    b = backing_of(0, false);
    run_conformance(b, large ? 3 * MIB : 128 * KIB);
    ck_assert((figures(b).total_hugetlb > 0) == (_i % 2 == 1));
    ck_assert((figures(b).total_advised > 0) == (large && _i / 2 == 0));
    ck_assert_uint_gt(figures(b).total_plain, 0);
    gone(b);
}
END_TEST

START_TEST(strict_conforms)
{
    bp_backing *b;

    system_with(3);
    b = backing_of(0, true);
    run_conformance(b, 128 * KIB);
    ck_assert_uint_eq(figures(b).total_advised + figures(b).total_plain, 0);
    ck_assert_uint_eq(pool.bytes, 3 * HUGE);
    gone(b);
}
END_TEST

/* What this machine has. */
START_TEST(shared_instance_conforms)
{
    bp_backing *b = bp_backing_hugetlb();
    bp_arena *a;

    system_with(0);
    pool_is_real = true;
    huge_page = __real_os_huge_page();
    advised_page = __real_os_advised_page();
    run_conformance(b, slow_run() || BP_CF_TSAN ? 128 * KIB : 3 * MIB);
    ck_assert_uint_eq(figures(b).page_size, huge_page);
    ck_assert_uint_eq(figures(b).hugetlb + figures(b).advised + figures(b).plain, 0);
    bp_backing_destroy(b);
    ck_assert_ptr_eq(b, bp_backing_hugetlb());
    a = fixed_arena(b, MIB);
    ck_assert_ptr_nonnull(bp_arena_zalloc(a, MIB));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* ---- the three kinds ---- */

START_TEST(pages_that_were_set_aside)
{
    struct bp_extent e, f;
    size_t released = 9;
    bp_backing *b;

    system_with(3);
    b = backing_of(0, false);
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), 0);
    ck_assert_uint_eq(e.size, HUGE);
    ck_assert_uint_eq(e.committed, HUGE);
    ck_assert_uint_eq(e.known_zero_from, 0);
    ck_assert_uint_eq(e.page, 0);
    ck_assert(is_aligned(e.base, HUGE) && is_zero(e.base, HUGE));
    ck_assert_int_eq(b->ops->acquire(b, HUGE + 1, HUGE + 1, 64, &f), 0);
    ck_assert_uint_eq(f.size, 2 * HUGE);
    ck_assert_uint_eq(pool.bytes, 0);
    kinds_are(b, 2, 0, 0);
    ck_assert_uint_eq(figures(b).hugetlb_bytes, 3 * HUGE);
    ck_assert_uint_eq(figures(b).page_size, HUGE);

    /* reserved until disposed of */
    memset(f.base, 7, f.size);
    f.known_zero_from = f.size;
    ck_assert_int_eq(b->ops->release(b, &f, 0, f.size, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_uint_eq(f.known_zero_from, f.size);
    ck_assert(all_bytes(f.base, f.size, 7));
    ck_assert_int_eq(b->ops->populate(b, &f, 5, HUGE), 0);
    ck_assert(all_bytes(f.base, f.size, 7));
    b->ops->dispose(b, &e);
    ck_assert_uint_eq(pool.bytes, HUGE);
    b->ops->dispose(b, &f);
    ck_assert_uint_eq(pool.bytes, 3 * HUGE);
    ck_assert_uint_eq(figures(b).total_hugetlb, 2);
    gone(b);
}
END_TEST

START_TEST(others_when_they_are_used_up)
{
    struct bp_extent e[5];
    bp_backing *b, *strict;
    size_t i;

    system_with(2);
    b = backing_of(0, false);
    strict = backing_of(0, true);
    ck_assert_int_eq(b->ops->acquire(b, HUGE, HUGE, 16, &e[0]), 0);
    ck_assert_int_eq(strict->ops->acquire(strict, HUGE, HUGE, 16, &e[1]), 0);
    memset(&e[2], 0x55, sizeof e[2]);
    e[3] = e[2];
    ck_assert_int_eq(strict->ops->acquire(strict, 1, HUGE, 16, &e[2]), ENOMEM);
    ck_assert_int_eq(memcmp(&e[2], &e[3], sizeof e[2]), 0);
    ck_assert_int_eq(b->ops->acquire(b, 3 * HUGE + 1, 3 * HUGE + 1, 16, &e[2]), 0);
    ck_assert_int_eq(b->ops->acquire(b, 5000, 5000, 16, &e[3]), 0);
    kinds_are(b, 1, 1, 1);
    strict->ops->dispose(strict, &e[1]);
    ck_assert_int_eq(b->ops->acquire(b, 5000, 5000, 16, &e[4]), 0); /* again */
    kinds_are(b, 2, 1, 1);
    ck_assert_uint_eq(e[4].size, HUGE);
    b->ops->dispose(b, &e[0]);
    for (i = 2; i < 5; i++)
        b->ops->dispose(b, &e[i]);
    ck_assert_uint_eq(figures(b).total_hugetlb, 2);
    ck_assert_uint_eq(figures(b).total_advised, 1);
    ck_assert_uint_eq(figures(b).total_plain, 1);
    gone(b);
    gone(strict);
}
END_TEST

/* Fewer pages than wished for, and enough for what is needed. */
START_TEST(no_more_than_is_needed)
{
    struct bp_extent e;
    bp_backing *b;

    system_with(2);
    b = backing_of(0, _i == 0);
    ck_assert_int_eq(b->ops->acquire(b, HUGE + 1, 3 * HUGE, 16, &e), 0);
    ck_assert_uint_eq(e.size, 2 * HUGE);
    kinds_are(b, 1, 0, 0);
    b->ops->dispose(b, &e);
    ck_assert_int_eq(b->ops->acquire(b, HUGE, PTRDIFF_MAX, 16, &e), 0);
    ck_assert_uint_eq(e.size, HUGE);
    b->ops->dispose(b, &e);
    gone(b);
}
END_TEST

START_TEST(pages_on_request)
{
    size_t size = 3 * HUGE + 5 * page_size(), before = atomic_load(&advised_calls), released;
    struct bp_extent e;
    bp_backing *b;

    system_with(0);
    b = backing_of(0, false);
    ck_assert_int_eq(b->ops->acquire(b, size - 1, size - 1, 16, &e), 0);
    kinds_are(b, 0, 1, 0);
    ck_assert_uint_eq(atomic_load(&advised_calls), before + 1);
    ck_assert_uint_eq(e.size, size); /* whole small pages */
    ck_assert_uint_eq(e.page, HUGE);
    ck_assert_uint_eq(e.known_zero_from, 0);
    ck_assert(is_aligned(e.base, HUGE) && is_zero(e.base, size));
    ck_assert_uint_eq(figures(b).advised_bytes, size);
    memset(e.base, 1, size);
    e.known_zero_from = size;
    ck_assert_int_eq(b->ops->release(b, &e, 1, 2 * HUGE - 2, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(b->ops->release(b, &e, 1, size - 1, &released), 0);
    ck_assert_uint_eq(released, size - HUGE);
    ck_assert_uint_eq(e.known_zero_from, HUGE);
    ck_assert(is_zero((char *)e.base + HUGE, size - HUGE));
    ck_assert(all_bytes(e.base, HUGE, 1));
    b->ops->dispose(b, &e);

    ck_assert_int_eq(b->ops->acquire(b, HUGE, HUGE, 8 * HUGE, &e), 0); /* more aligned than that */
    ck_assert(is_aligned(e.base, 8 * HUGE));
    kinds_are(b, 0, 1, 0);
    b->ops->dispose(b, &e);
    gone(b);
}
END_TEST

START_TEST(plain_pages)
{
    size_t before = atomic_load(&advised_calls), page = page_size(), released;
    struct bp_extent e[4];
    bp_backing *b;
    size_t i;

    system_with(0);
    b = backing_of(0, false);
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e[0]), 0); /* too small */
    ck_assert_uint_eq(e[0].size, page);
    ck_assert_int_eq(b->ops->acquire(b, HUGE - page, HUGE - page, 4 * page, &e[1]), 0);
    ck_assert(is_aligned(e[1].base, 4 * page));
    ck_assert_uint_eq(e[1].size, HUGE - page);
    ck_assert_uint_eq(atomic_load(&advised_calls), before);
    advised_page = 0; /* not wanted */
    ck_assert_int_eq(b->ops->acquire(b, 2 * HUGE, 2 * HUGE, 16, &e[2]), 0);
    ck_assert_uint_eq(atomic_load(&advised_calls), before);
    advised_page = HUGE;
    advice_unknown = true; /* not known */
    ck_assert_int_eq(b->ops->acquire(b, 2 * HUGE, 2 * HUGE, 16, &e[3]), 0);
    ck_assert_uint_eq(atomic_load(&advised_calls), before + 1);
    kinds_are(b, 0, 0, 4);
    ck_assert_uint_eq(figures(b).plain_bytes, 5 * HUGE);
    for (i = 0; i < 4; i++) {
        ck_assert_uint_eq(e[i].page, page);
        memset(e[i].base, 1, page);
        ck_assert_int_eq(b->ops->release(b, &e[i], 0, page, &released), 0);
        ck_assert_uint_eq(released, page);
        b->ops->dispose(b, &e[i]);
    }
    gone(b);
}
END_TEST

/* No address space for the alignment, or for anything. */
START_TEST(mappings_refused)
{
    size_t i, page = page_size();
    struct bp_extent e, untouched;
    bp_backing *b;

    system_with(0);
    b = backing_of(0, false);
    for (i = 0; i < 3; i++) {
        mmap_at_most = HUGE + page; /* by luck it is aligned as it is */
        ck_assert_int_eq(b->ops->acquire(b, HUGE + page, HUGE + page, 16, &e), 0);
        ck_assert_uint_eq(e.page, is_aligned(e.base, HUGE) ? HUGE : page);
        b->ops->dispose(b, &e);
    }
    mmap_at_most = 3 * page;
    ck_assert_int_eq(b->ops->acquire(b, 2 * page + 1, HUGE, 16, &e), 0);
    ck_assert_uint_eq(e.size, 3 * page);
    b->ops->dispose(b, &e);
    memset(&e, 0x55, sizeof e);
    untouched = e;
    errno = E2BIG;
    ck_assert_int_eq(b->ops->acquire(b, 3 * page + 1, HUGE, 16, &e), ENOMEM);
    ck_assert_int_eq(b->ops->acquire(b, PTRDIFF_MAX, PTRDIFF_MAX, 16, &e), ENOMEM);
    ck_assert_int_eq(b->ops->acquire(b, SIZE_MAX, SIZE_MAX, HUGE, &e), ENOMEM);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    mmap_at_most = SIZE_MAX;
    gone(b);
}
END_TEST

START_TEST(more_aligned_than_huge_pages)
{
    struct bp_extent e;
    bp_backing *b;

    system_with(2);
    b = backing_of(0, true);
    ck_assert_int_eq(b->ops->acquire(b, 2 * HUGE, 2 * HUGE, 16 * HUGE, &e), 0);
    ck_assert(is_aligned(e.base, 16 * HUGE));
    ck_assert_uint_eq(pool.bytes, 0);
    ck_assert_uint_eq(pool.count, 1);
    memset(e.base, 1, e.size);
    b->ops->dispose(b, &e);
    ck_assert_uint_eq(pool.bytes, 2 * HUGE);
    hints_ignored = true; /* somebody else was faster */
    ck_assert_int_eq(b->ops->acquire(b, HUGE, HUGE, 16 * HUGE, &e), ENOMEM);
    ck_assert_uint_eq(pool.bytes, 2 * HUGE);
    hints_ignored = false;
    mmap_at_most = 0; /* no place to be found */
    ck_assert_int_eq(b->ops->acquire(b, HUGE, HUGE, 16 * HUGE, &e), ENOMEM);
    mmap_at_most = SIZE_MAX;
    ck_assert_uint_eq(pool.bytes, 2 * HUGE);
    gone(b);
}
END_TEST

START_TEST(another_page_size)
{
    struct bp_extent e;
    bp_backing *b;

    system_with(4);
    pool.page = 2 * HUGE;
    b = backing_of(2 * HUGE, true);
    ck_assert_uint_eq(figures(b).page_size, 2 * HUGE);
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), 0);
    ck_assert_uint_eq(e.size, 2 * HUGE);
    ck_assert_uint_eq(pool.asked >> MAP_HUGE_SHIFT, 22);
    b->ops->dispose(b, &e);
    gone(b);
    b = backing_of((size_t)1 << 30, true); /* the system has no such */
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), ENOMEM);
    ck_assert_uint_eq(pool.asked >> MAP_HUGE_SHIFT, 30);
    gone(b);
    b = backing_of((size_t)1 << (sizeof(size_t) * 8 - 1), true); /* and cannot */
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), ENOMEM);
    gone(b);
    huge_page = 0; /* none at all */
    b = backing_of(0, _i == 0);
    pool.asked = 0;
    ck_assert_uint_eq(figures(b).page_size, 0);
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), _i == 0 ? ENOMEM : 0);
    ck_assert_uint_eq(pool.asked, 0);
    if (_i == 1)
        b->ops->dispose(b, &e);
    gone(b);
}
END_TEST

/* The pages go back, and the range becomes nobody's ordinary memory. */
START_TEST(unmapping_refused)
{
    size_t before;
    struct bp_extent e;
    bp_backing *b;
    void *p;

    system_with(1);
    b = backing_of(0, false);
    ck_assert_int_eq(b->ops->acquire(b, HUGE, HUGE, 16, &e), 0);
    memset(e.base, 1, HUGE);
    before = atomic_load(&dropped_calls);
    atomic_store(&munmap_refusals, 1);
    errno = E2BIG;
    b->ops->dispose(b, &e);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(atomic_load(&dropped_calls), before + 1);
    ck_assert_uint_eq(pool.count, 1);
    ck_assert_int_eq(os_map(page_size(), 16, &p), 0);
    ck_assert((char *)p < (char *)e.base || (char *)p >= (char *)e.base + HUGE);
    os_unmap(p, page_size());
    ck_assert(pool_has(e.base, HUGE, false));
    ck_assert_int_eq(munmap(e.base, HUGE), 0);

    /* what was advised is ordinary memory and is used again */
    ck_assert_int_eq(b->ops->acquire(b, 2 * HUGE, 2 * HUGE, 16, &e), 0);
    kinds_are(b, 0, 1, 0);
    memset(e.base, 1, HUGE);
    atomic_store(&munmap_refusals, 1);
    b->ops->dispose(b, &e);
    ck_assert_int_eq(os_map(page_size(), 16, &p), 0);
    ck_assert_ptr_eq(p, e.base);
    ck_assert(is_zero(p, page_size()));
    os_unmap(p, page_size());
    gone(b);
}
END_TEST

/* ---- configuration ---- */

START_TEST(errors)
{
    static const size_t sizes[] = { 0, 1, sizeof(size_t), sizeof(struct bp_hugetlb_config) - 1,
                                    sizeof(struct bp_hugetlb_config) + 1, SIZE_MAX };
    static const size_t pages[] = { 1, 1024, HUGE + 1, 3 * MIB, SIZE_MAX };
    struct bp_hugetlb_config c = BP_HUGETLB_CONFIG_INIT;
    bp_backing *b = bp_backing_hugetlb(), *out = b;
    struct bp_hugetlb_stats s;
    size_t i;
    int rc;

    system_with(1);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        c.struct_size = sizes[i];
        ck_assert_int_eq(bp_backing_hugetlb_create(&c, &out), EINVAL);
    }
    c.struct_size = sizeof c;
    for (i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        c.page_size = pages[i];
        ck_assert_int_eq(bp_backing_hugetlb_create(&c, &out), EINVAL);
    }
    ck_assert_int_eq(bp_backing_hugetlb_create(NULL, NULL), EINVAL);
    errno = E2BIG;
    failing_malloc_plan(1, true);
    rc = bp_backing_hugetlb_create(NULL, &out);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_ptr_eq(out, b);
    ck_assert_int_eq(bp_backing_hugetlb_stats(NULL, &s), EINVAL);
    ck_assert_int_eq(bp_backing_hugetlb_stats(bp_backing_mmap(), &s), EINVAL);
    ck_assert_int_eq(bp_backing_hugetlb_stats(b, NULL), EINVAL);
    ck_assert_int_eq(bp_backing_hugetlb_create(NULL, &out), 0);
    ck_assert_ptr_ne(out, b);
    ck_assert_uint_eq(figures(out).page_size, HUGE);
    gone(out);
}
END_TEST

/* A file with this text, which the caller unlinks. */
static const char *file_of(const char *text, char *path)
{
    int fd;

    strcpy(path, "/tmp/check_huge.XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

/* The answers are remembered: each in a process of its own. */
START_TEST(meminfo)
{
    static const struct {
        const char *text;
        size_t page;
    } cases[] = {
        { "MemTotal: 100 kB\nHugepagesize:       2048 kB\nHugetlb: 0 kB\n", HUGE },
        { "Hugepagesize:    1048576 kB\n", (size_t)1 << 30 },
        { "Hugepagesize:64 kB", 64 * KIB },
        { "MemTotal: 100 kB\nHugePages_Total: 5\n", 0 },
        { "Hugepagesize: 3000 kB\n", 0 },
        { "Hugepagesize: 0 kB\n", 0 },
        { "Hugepagesize: 1 kB\n", 0 },
        { "Hugepagesize: 99999999999999999999999 kB\n", 0 },
        { "Hugepagesize: 18014398509481984 kB\n", 0 },
        { "Hugepagesize: kB\n", 0 },
        { "Hugepagesize:", 0 },
        { "", 0 },
    };
    char path[64];

    ck_assert_uint_eq(sizeof cases / sizeof cases[0], 12);
    fake_meminfo = _i < 12 ? file_of(cases[_i].text, path) : "/nonexistent/meminfo";
    errno = E2BIG;
    ck_assert_uint_eq(__real_os_huge_page(), _i < 12 ? cases[_i].page : 0);
    ck_assert_int_eq(errno, E2BIG);
    if (_i < 12)
        (void)unlink(path);
    fake_meminfo = NULL; /* it is remembered */
    ck_assert_uint_eq(__real_os_huge_page(), _i < 12 ? cases[_i].page : 0);
}
END_TEST

START_TEST(thp_setting)
{
    static const struct {
        const char *enabled, *size;
        size_t page;
    } cases[] = {
        { "always [madvise] never\n", "2097152\n", HUGE },
        { "[always] madvise never\n", "524288\n", 512 * KIB },
        { "always madvise [never]\n", "2097152\n", 0 },
        { "[always] madvise never\n", "", 0 },
        { "[always] madvise never\n", "2097153\n", 0 },
        { "", "2097152\n", 0 },
    };
    char one[64], two[64];

    fake_enabled = file_of(cases[_i].enabled, one);
    fake_size = file_of(cases[_i].size, two);
    errno = E2BIG;
    ck_assert_uint_eq(__real_os_advised_page(), cases[_i].page);
    ck_assert_int_eq(errno, E2BIG);
    (void)unlink(one);
    (void)unlink(two);
    fake_enabled = fake_size = "/nonexistent/hugepages";
    ck_assert_uint_eq(__real_os_advised_page(), cases[_i].page);
}
END_TEST

START_TEST(no_thp)
{
    fake_enabled = "/nonexistent/hugepages";
    ck_assert_uint_eq(__real_os_advised_page(), 0);
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

    system_with(1);
    advised_page = _i == 0 ? HUGE : 0;
    b = backing_of(0, false);
    c.arena_size = HUGE + 64 * KIB;
    c.arena_policy = BP_ARENA_FIXED;
    p = pool_on(b, &c);
    if (_i == 2) { /* one of each */
        system_with(2);
        c.arena_size = 1; /* and what the kernel gives besides: no spills here */
    }
    for (k = 0; k < 3; k++) {
        for (i = 0; i < 3; i++) {
            char *block;

            a[i] = taken(p);
            block = bp_arena_zalloc(a[i], HUGE);
            ck_assert_ptr_nonnull(block);
            ck_assert(is_zero(block, HUGE));
            stamp(block, HUGE, (unsigned)i);
        }
        if (_i == 0)
            kinds_are(b, 0, 3, 0); /* an arena takes two huge pages, and there is one */
        else if (_i == 1)
            kinds_are(b, 0, 0, 3);
        else
            kinds_are(b, 1, 2, 0);
        for (i = 0; i < 3; i++)
            given(p, a[i]);
        released = bp_pool_release_idle(p);
        ck_assert_uint_ge(released, (_i == 2 ? 2 : 3) * HUGE);
        ck_assert_uint_le(released, 3 * (HUGE + 64 * KIB + page_size()));
        ck_assert_uint_eq(bp_pool_release_idle(p), 0);
    }
    pool_gone(p);
    gone(b);
}
END_TEST

START_TEST(arena_spills)
{
    bp_backing *b;
    bp_arena *a;
    size_t i;

    system_with(2);
    b = backing_of(0, false);
    a = spill_arena(b, 64 * KIB);
    for (i = 0; i < 64; i++) {
        char *p = bp_arena_alloc(a, 300 * KIB);

        ck_assert_ptr_nonnull(p);
        stamp(p, 300 * KIB, (unsigned)i);
    }
    ck_assert_uint_ge(figures(b).hugetlb, 1);
    ck_assert_uint_ge(figures(b).advised, 1);
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    gone(b);
}
END_TEST

/* ---- the real system ---- */

/* Does the area of `p` have this flag in /proc/self/smaps? */
static bool area_has_flag(const void *p, const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    unsigned long from, to;
    bool here = false, has = false;
    char line[512];

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr(line, '-') < line + 20)
            here = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    fclose(f);
    return has;
}

START_TEST(kernel_is_asked)
{
    struct bp_extent e;
    bp_backing *b;

    system_with(0);
    advised_page = __real_os_advised_page();
    if (advised_page == 0) {
        fprintf(stderr, "SKIP: kernel_is_asked: no transparent huge pages here\n");
        return;
    }
    b = backing_of(0, false);
    ck_assert_int_eq(b->ops->acquire(b, 2 * advised_page, 2 * advised_page, 16, &e), 0);
    kinds_are(b, 0, 1, 0);
    ck_assert(area_has_flag(e.base, " hg"));
    ck_assert(area_has_flag((char *)e.base + e.size - 1, " hg"));
    ck_assert_int_eq(b->ops->populate(b, &e, 0, e.size), 0);
    ck_assert(is_zero(e.base, e.size));
    b->ops->dispose(b, &e);
    gone(b);
}
END_TEST

#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"
enum { WANTED = 4 };
static long pages_before = -1; /* to go back to; -1: nothing was changed */

static long nr_hugepages(void)
{
    FILE *f = fopen(NR_HUGEPAGES, "r");
    long n = -1;

    if (f != NULL) {
        if (fscanf(f, "%ld", &n) != 1)
            n = -1;
        fclose(f);
    }
    return n;
}

static bool set_nr_hugepages(long n)
{
    FILE *f = fopen(NR_HUGEPAGES, "w");
    bool set = f != NULL && fprintf(f, "%ld\n", n) > 0;

    if (f != NULL && fclose(f) != 0)
        set = false;
    return set;
}

/* In the process that runs the tests, so that a test that fails leaves nothing behind. */
static void set_some_aside(void)
{
    long now = nr_hugepages();

    pool_is_real = true;
    huge_page = __real_os_huge_page();
    if (now < 0 || huge_page == 0 || !set_nr_hugepages(now + WANTED))
        return;
    pages_before = now;
}

static void set_none_aside(void)
{
    if (pages_before >= 0)
        (void)set_nr_hugepages(pages_before);
    pages_before = -1;
}

START_TEST(real_huge_pages)
{
    struct bp_extent e[WANTED + 1];
    bp_arena *a;
    bp_backing *b;
    size_t i, n = 0;

    system_with(0);
    pool_is_real = true;
    huge_page = __real_os_huge_page();
    b = backing_of(0, true);
    if (pages_before < 0 || nr_hugepages() < pages_before + WANTED) {
        fprintf(stderr, "SKIP: real_huge_pages: may not set huge pages aside, or there are none\n");
        bp_backing_destroy(b);
        return;
    }
    for (i = 0; i < WANTED && b->ops->acquire(b, 1, 1, 16, &e[n]) == 0; i++)
        n++;
    ck_assert_uint_eq(n, WANTED);
    for (i = 0; i < n; i++) {
        ck_assert_uint_eq(e[i].size, huge_page);
        ck_assert(is_aligned(e[i].base, huge_page));
        ck_assert(area_has_flag(e[i].base, " ht"));
    }
    /* reserved: others get none, and nothing that happens here fails later */
    if (pages_before == 0)
        ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e[n]), ENOMEM);
    for (i = 0; i < n; i++) {
        ck_assert_int_eq(b->ops->populate(b, &e[i], 1, 1), 0);
        ck_assert(is_zero(e[i].base, huge_page));
        stamp(e[i].base, huge_page, (unsigned)i);
    }
    for (i = 0; i < n; i++) {
        ck_assert(stamped(e[i].base, huge_page, (unsigned)i));
        b->ops->dispose(b, &e[i]);
    }
    a = arena_on(b, huge_page, BP_ARENA_FIXED, 0);
    kinds_are(b, 1, 0, 0);
    ck_assert_ptr_nonnull(bp_arena_zalloc(a, huge_page / 2));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    if (b->ops->acquire(b, huge_page, huge_page, 8 * huge_page, &e[0]) == 0) { /* a place might be lost */
        ck_assert(is_aligned(e[0].base, 8 * huge_page));
        memset(e[0].base, 1, huge_page);
        b->ops->dispose(b, &e[0]);
    }
    gone(b);
    b = backing_of(0, false);
    run_conformance(b, 64 * KIB);
    ck_assert_uint_gt(figures(b).total_hugetlb, 4096);
    gone(b);
}
END_TEST

static Suite *huge_suite(void)
{
    Suite *s = suite_create("huge");
    TCase *tc = add_case(s, "conformance");

    tcase_add_test(tc, conforms);
    tcase_add_loop_test(tc, others_conform, 0, 6);
    tcase_add_test(tc, strict_conforms);
    tcase_add_test(tc, shared_instance_conforms);
    tc = add_case(s, "kinds");
    tcase_add_test(tc, pages_that_were_set_aside);
    tcase_add_test(tc, others_when_they_are_used_up);
    tcase_add_loop_test(tc, no_more_than_is_needed, 0, 2);
    tcase_add_test(tc, pages_on_request);
    tcase_add_test(tc, plain_pages);
    tcase_add_test(tc, mappings_refused);
    tcase_add_test(tc, more_aligned_than_huge_pages);
    tcase_add_loop_test(tc, another_page_size, 0, 2);
    tcase_add_test(tc, unmapping_refused);
    tc = add_case(s, "config");
    tcase_add_test(tc, errors);
    if (may_fork()) {
        tcase_add_loop_test(tc, meminfo, 0, 13);
        tcase_add_loop_test(tc, thp_setting, 0, 6);
        tcase_add_test(tc, no_thp);
    }
    tc = add_case(s, "use");
    tcase_add_loop_test(tc, arenas_and_pools, 0, 3);
    tcase_add_test(tc, arena_spills);
    tc = add_case(s, "the real system");
    tcase_add_unchecked_fixture(tc, set_some_aside, set_none_aside);
    tcase_add_test(tc, kernel_is_asked);
    tcase_add_test(tc, real_huge_pages);
    return s;
}

int main(void)
{
    return run_suite(huge_suite());
}
