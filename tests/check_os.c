/* SPDX-License-Identifier: MIT
 * The inside of the backings, with the system and malloc made to misbehave: kernels that lack a feature, huge
 * pages for everybody, refusals that are rare in nature. Needs the hidden symbols, and the linker options
 *
 *     -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=realloc
 *     -Wl,--wrap=mmap,--wrap=munmap,--wrap=madvise,--wrap=prctl,--wrap=os_thp_page
 */
#include "support.h"

#include "backing_private.h"
#include "configs.h"
#include "failing_malloc.h"
#include "os.h"

#include <bumpool/conformance.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/syscall.h>

/* The names are the linker's. */
void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
int __real_madvise(void *p, size_t size, int advice);
int __real_prctl(int option, ...);
size_t __real_os_thp_page(void);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);
int __wrap_madvise(void *p, size_t size, int advice);
int __wrap_prctl(int option, ...);
size_t __wrap_os_thp_page(void);

/* How the system behaves: set before other threads start, counted by any. */
static size_t mmap_at_most = SIZE_MAX; /* larger mappings are refused */
static size_t thp_page;
static unsigned advice_unknown; /* one bit for each piece of advice that is EINVAL */
static int populate_error;      /* what MADV_POPULATE_WRITE says, if not 0 */
static atomic_int munmap_refusals; /* that many calls fail */
static atomic_size_t mmaps, munmaps, madvises;
/* Names of areas are not passed on, since the library would remember what this kernel says, but for the test
 * of the real ones. */
static bool naming_is_real, naming_is_watched;
static int naming_error;
static struct {
    size_t calls;
    unsigned long at, size;
    char text[16];
} naming; /* of tests with one thread */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef PR_SET_VMA_ANON_NAME
#define PR_SET_VMA_ANON_NAME 0
#endif
#define ADVICE(n) (1u << (n))

void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
    atomic_fetch_add(&mmaps, 1);
    if (size > mmap_at_most) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(p, size, prot, flags, fd, offset);
}

int __wrap_munmap(void *p, size_t size)
{
    int left = atomic_load(&munmap_refusals);

    atomic_fetch_add(&munmaps, 1);
    while (left > 0) {
        if (atomic_compare_exchange_strong(&munmap_refusals, &left, left - 1)) {
            errno = ENOMEM;
            return -1;
        }
    }
    return __real_munmap(p, size);
}

int __wrap_madvise(void *p, size_t size, int advice)
{
    atomic_fetch_add(&madvises, 1);
    if ((advice_unknown & ADVICE(advice)) != 0) {
        errno = EINVAL;
        return -1;
    }
    if (advice == MADV_POPULATE_WRITE && populate_error != 0) {
        errno = populate_error;
        return -1;
    }
    return __real_madvise(p, size, advice);
}

int __wrap_prctl(int option, ...)
{
    unsigned long arg[4];
    va_list args;
    size_t i;

    va_start(args, option);
    for (i = 0; i < 4; i++)
        arg[i] = va_arg(args, unsigned long);
    va_end(args);
    if (option != PR_SET_VMA || naming_is_real)
        return __real_prctl(option, arg[0], arg[1], arg[2], arg[3]);
    if (arg[0] == PR_SET_VMA_ANON_NAME && naming_is_watched) {
        naming.calls++;
        naming.at = arg[1];
        naming.size = arg[2];
        snprintf(naming.text, sizeof naming.text, "%s", (const char *)arg[3]);
    }
    if (naming_error == 0)
        return 0;
    errno = naming_error;
    return -1;
}

size_t __wrap_os_thp_page(void)
{
    return thp_page;
}

static void well_behaved(void)
{
    mmap_at_most = SIZE_MAX;
    thp_page = 0;
    advice_unknown = 0;
    populate_error = 0;
    naming_error = 0;
    naming_is_watched = false;
    atomic_store(&munmap_refusals, 0);
    failing_malloc_plan(0, false);
}

static bool is_zero(const void *p, size_t n)
{
    const char *c = p;

    return c[0] == 0 && memcmp(c, c + 1, n - 1) == 0;
}

static bool is_mapped(void *p, size_t n)
{
    unsigned char pages[64];

    ck_assert_uint_le(n, sizeof pages * page_size());
    return mincore(p, n, pages) == 0;
}

/* ---- sizes and configuration ---- */

START_TEST(rounding_up)
{
    static const size_t units[] = { 16, 4096, (size_t)2 << 20, (size_t)1 << (sizeof(size_t) * 8 - 2) };
    const size_t unit = units[_i], most = (size_t)PTRDIFF_MAX & ~(unit - 1);
    size_t r = 77;

    ck_assert(os_round_up(0, unit, &r));
    ck_assert_uint_eq(r, 0);
    ck_assert(os_round_up(1, unit, &r));
    ck_assert_uint_eq(r, unit);
    ck_assert(os_round_up(unit, unit, &r));
    ck_assert_uint_eq(r, unit);
    ck_assert(os_round_up(most, unit, &r));
    ck_assert_uint_eq(r, most);
    r = 77;
    ck_assert(!os_round_up(most + 1, unit, &r));
    ck_assert(!os_round_up(PTRDIFF_MAX, unit, &r));
    ck_assert(!os_round_up(SIZE_MAX - unit + 1, unit, &r));
    ck_assert(!os_round_up(SIZE_MAX - unit + 2, unit, &r));
    ck_assert(!os_round_up(SIZE_MAX, unit, &r));
    ck_assert_uint_eq(r, 77);
}
END_TEST

START_TEST(config_of_an_older_header)
{
    struct first {
        size_t struct_size;
        size_t one;
    } old = { sizeof old, 5 };
    struct now {
        size_t struct_size;
        size_t one, two;
    } now = { sizeof now, 1, 2 }, same = { sizeof same, 8, 9 };

    ck_assert_int_eq(config_read(&now, sizeof now, sizeof old, NULL), 0);
    ck_assert_uint_eq(now.one, 1);
    ck_assert_int_eq(config_read(&now, sizeof now, sizeof old, &old), 0);
    ck_assert_uint_eq(now.struct_size, sizeof now);
    ck_assert_uint_eq(now.one, 5);
    ck_assert_uint_eq(now.two, 2);
    old.struct_size = sizeof old - 1;
    ck_assert_int_eq(config_read(&now, sizeof now, sizeof old, &old), EINVAL);
    old.struct_size = sizeof now + 1;
    ck_assert_int_eq(config_read(&now, sizeof now, sizeof old, &old), EINVAL);
    ck_assert_uint_eq(now.one, 5);
    ck_assert_int_eq(config_read(&now, sizeof now, sizeof old, &same), 0);
    ck_assert_uint_eq(now.two, 9);
}
END_TEST

/* ---- ops that are missing ---- */

START_TEST(missing_ops)
{
    struct bp_backing_ops ops = *bp_backing_reserved()->ops;
    bp_backing b = { &ops };
    struct bp_extent e = { .size = 100, .committed = 50 };
    size_t released = 9;

    if (_i == 0)
        ops.struct_size = offsetof(struct bp_backing_ops, commit); /* the author never heard of them */
    else
        ops.commit = NULL, ops.release = NULL, ops.populate = NULL, ops.destroy = NULL;
    ck_assert_int_eq(backing_commit(&b, &e, 50), 0);
    ck_assert_int_eq(backing_commit(&b, &e, 51), ENOMEM);
    ck_assert_int_eq(backing_release(&b, &e, 0, 50, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(backing_populate(&b, &e, 0, 50), 0);
    bp_backing_destroy(&b);
}
END_TEST

START_TEST(ops_that_need_not_be_called)
{
    struct bp_extent e;
    bp_backing *f;
    size_t released = 9;

    f = faulty_over(bp_backing_reserved());
    ck_assert_int_eq(backing_acquire(f, 64, 64, 16, &e), 0);
    ck_assert_int_eq(backing_commit(f, &e, e.committed), 0);
    ck_assert_int_eq(backing_commit(f, &e, e.size + 1), ENOMEM);
    ck_assert_uint_eq(faulty_stats(f).commits, 0);
    ck_assert_int_eq(backing_release(f, &e, 0, 0, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(backing_populate(f, &e, 0, 0), 0);
    ck_assert_uint_eq(faulty_stats(f).releases + faulty_stats(f).populates, 0);
    ck_assert_int_eq(backing_commit(f, &e, e.committed + 1), 0);
    ck_assert_uint_eq(faulty_stats(f).commits, 1);
    faulty_plan(f, BP_FAULTY_RELEASE, 1, false);
    released = 9;
    ck_assert_int_eq(backing_release(f, &e, 0, 65536, &released), EINVAL);
    ck_assert_uint_eq(released, 0);
    backing_dispose(f, &e);
    faulty_gone(f);
}
END_TEST

/* ---- the primitives ---- */

START_TEST(alignment)
{
    size_t align = (size_t)16 << _i, size = 3 * os_page_size(), i;
    void *p[8], *q[8];

    for (i = 0; i < 8; i++) {
        ck_assert_int_eq(os_map(size, align, &p[i]), 0);
        ck_assert_int_eq(os_reserve(size, align, &q[i]), 0);
        ck_assert(is_aligned(p[i], align) && is_aligned(q[i], align));
        ck_assert(is_zero(p[i], size));
        memset(p[i], 1, size);
        ck_assert_int_eq(os_commit(q[i], size), 0);
        ck_assert_int_eq(os_commit(q[i], size), 0);
        ck_assert(is_zero(q[i], size));
        memset(q[i], 2, size);
    }
    for (i = 0; i < 8; i++) {
        ck_assert(all_bytes(p[i], size, 1) && all_bytes(q[i], size, 2));
        os_unmap(p[i], size);
        os_unmap(q[i], size);
        ck_assert(!is_mapped(p[i], size) && !is_mapped(q[i], size));
    }
}
END_TEST

START_TEST(alignment_that_overflows)
{
    size_t half = (size_t)1 << (sizeof(size_t) * 8 - 1), page = os_page_size();
    void *const untouched = &half;
    void *p = untouched;

    ck_assert_int_gt(os_map((size_t)PTRDIFF_MAX & ~(page - 1), page, &p), 0);
    ck_assert_int_gt(os_map(page, half, &p), 0);
    ck_assert_int_gt(os_map(4 * MIB, half / 2, &p), 0);
    ck_assert_int_gt(os_reserve(half / 2, half, &p), 0);
    ck_assert_ptr_eq(p, untouched);
}
END_TEST

START_TEST(thp_setting)
{
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    char text[100] = "";
    bool always = f != NULL && fgets(text, sizeof text, f) != NULL && strstr(text, "[always]") != NULL;

    if (f != NULL)
        fclose(f);
    ck_assert_uint_eq(__real_os_thp_page(), always && os_page_size() == 4096 ? 2 * MIB : 0);
    ck_assert_uint_eq(__real_os_thp_page(), always && os_page_size() == 4096 ? 2 * MIB : 0);
}
END_TEST

/* ---- names ---- */

START_TEST(every_mapping_is_named)
{
    size_t page = os_page_size(), i;

    naming_is_watched = true;
    for (i = 0; i < 4; i++) {
        size_t size = (i + 1) * page, before = naming.calls;
        void *p = NULL;

        errno = E2BIG;
        naming_error = i == 0 ? ENOMEM : 0; /* a refusal that is not for good */
        if (i < 2)
            ck_assert_int_eq(os_map(size, 64 * MIB, &p), 0); /* may take two mappings: one name */
        else
            ck_assert_int_eq(os_reserve(size, i == 2 ? 16 : 64 * MIB, &p), 0);
        ck_assert_int_eq(errno, E2BIG);
        ck_assert_uint_eq(naming.calls, before + 1);
        ck_assert_uint_eq(naming.at, (uintptr_t)p);
        ck_assert_uint_eq(naming.size, size);
        ck_assert_str_eq(naming.text, "bumpool");
        os_unmap(p, size);
    }
    well_behaved();
}
END_TEST

/* The name of the area that `p` lies in; "" for none. */
static void area_name(const void *p, char *name, size_t size)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];

    ck_assert_ptr_nonnull(f);
    *name = '\0';
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned long from, to;
        int end = 0;

        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &from, &to, &end) == 2 && end != 0 &&
            (uintptr_t)p >= from && (uintptr_t)p < to) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(name, size, "%s", line + end);
        }
    }
    fclose(f);
}

START_TEST(names_show_in_proc)
{
    size_t size = 16 * os_page_size();
    void *probe = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p, *q;
    char name[64];
    int rc;

    ck_assert_ptr_ne(probe, MAP_FAILED);
    rc = __real_prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, (unsigned long)probe, (unsigned long)size, "probe");
    area_name(probe, name, sizeof name);
    munmap(probe, size);
    if (rc != 0) {
        fprintf(stderr, "SKIP: names_show_in_proc: the kernel does not name areas (%s)\n", strerror(errno));
        return;
    }
    ck_assert_str_eq(name, "[anon:probe]"); /* the looking works */
    naming_is_real = true;
    ck_assert_int_eq(os_map(size, 16, &p), 0);
    ck_assert_int_eq(os_reserve(size, 16, &q), 0);
    ck_assert_int_eq(os_commit(q, size / 2), 0);
    naming_is_real = false;
    area_name((char *)p + size - 1, name, sizeof name);
    ck_assert_str_eq(name, "[anon:bumpool]");
    area_name(q, name, sizeof name);
    ck_assert_str_eq(name, "[anon:bumpool]");
    area_name((char *)q + size - 1, name, sizeof name);
    ck_assert_str_eq(name, "[anon:bumpool]");
    os_unmap(p, size);
    os_unmap(q, size);
}
END_TEST

/* After the other tests of names: without fork the library remembers for good. */
START_TEST(refused_names_are_not_tried_again)
{
    static const int errors[] = { EINVAL, EPERM };
    size_t size = os_page_size(), before = naming.calls, i;
    void *p;

    if (_i != 0 && !may_fork())
        return;
    naming_is_watched = true;
    naming_error = errors[_i];
    for (i = 0; i < 3; i++) {
        errno = E2BIG;
        ck_assert_int_eq(os_map(size, 16, &p), 0);
        ck_assert_int_eq(errno, E2BIG);
        memset(p, 1, size);
        os_unmap(p, size);
        ck_assert_int_eq(os_reserve(size, 16, &p), 0);
        os_unmap(p, size);
        naming_error = 0;
    }
    ck_assert_uint_eq(naming.calls - before, 1);
    well_behaved();
}
END_TEST

/* ---- refusals of the system ---- */

START_TEST(refused_unmapping_is_kept)
{
    size_t page = os_page_size(), size = 16 * page, before;
    char *p;
    void *q, *r, *s;

    ck_assert_int_eq(os_map(size, 16, &q), 0);
    p = q;
    memset(p, 1, size);
    atomic_store(&munmap_refusals, 1);
    os_unmap(p, size);
    ck_assert(is_mapped(p, size));
    ck_assert_uint_le(pages_resident(p, size), 1); /* the node's */

    /* served from what is kept, in pieces, without the system */
    before = atomic_load(&mmaps);
    ck_assert_int_eq(os_map(size + page, 16, &s), 0); /* too large */
    ck_assert_ptr_ne(s, p);
    ck_assert_uint_gt(atomic_load(&mmaps), before);
    before = atomic_load(&mmaps);
    ck_assert_int_eq(os_map(3 * page, 16, &q), 0);
    ck_assert_int_eq(os_map(5 * page, 16, &r), 0);
    ck_assert_uint_eq(atomic_load(&mmaps), before);
    ck_assert_ptr_eq(q, p);
    ck_assert_ptr_eq(r, p + 3 * page);
    ck_assert(is_zero(q, 3 * page) && is_zero(r, 5 * page));
    memset(q, 2, 3 * page);
    memset(r, 3, 5 * page);

    /* two in the list, refused once more, then all go */
    atomic_store(&munmap_refusals, 1);
    os_unmap(q, 3 * page);
    ck_assert(is_mapped(p, size) && all_bytes(r, 5 * page, 3));
    os_unmap(s, size + page);
    ck_assert(!is_mapped(p, 3 * page));
    ck_assert(is_mapped(r, 5 * page));
    ck_assert(!is_mapped(p + 8 * page, 8 * page));
    os_unmap(r, 5 * page);
    ck_assert(!is_mapped(r, 5 * page));
}
END_TEST

START_TEST(kept_and_refused_again)
{
    size_t page = os_page_size(), size = 4 * page;
    void *p[3], *q;

    ck_assert_int_eq(os_map(size, 16, &p[0]), 0);
    ck_assert_int_eq(os_map(size, 16, &p[1]), 0);
    ck_assert_int_eq(os_map(size, 16, &p[2]), 0);
    atomic_store(&munmap_refusals, 1);
    os_unmap(p[0], size);
    /* this one works, and the retry after it is refused */
    atomic_store(&munmap_refusals, 0);
    ck_assert(is_mapped(p[0], size));
    atomic_store(&munmap_refusals, 1);
    os_unmap(p[1], size); /* kept too */
    ck_assert(is_mapped(p[0], size) && is_mapped(p[1], size));
    /* an alignment that neither has */
    ck_assert_int_eq(os_map(page, 64 * MIB, &q), 0);
    ck_assert(is_aligned(q, 64 * MIB));
    os_unmap(q, page);
    os_unmap(p[2], size);
    ck_assert(!is_mapped(p[0], size) && !is_mapped(p[1], size) && !is_mapped(p[2], size));
}
END_TEST

/* Pages that cannot be dropped are cleared by hand. */
START_TEST(kept_and_locked)
{
    size_t size = 8 * os_page_size();
    void *p, *q;

    ck_assert_int_eq(os_map(size, 16, &p), 0);
    memset(p, 1, size);
    advice_unknown = ADVICE(MADV_DONTNEED);
    atomic_store(&munmap_refusals, 1);
    os_unmap(p, size);
    ck_assert_int_eq(os_map(size, 16, &q), 0);
    ck_assert_ptr_eq(p, q);
    ck_assert(is_zero(q, size));
    well_behaved();
    os_unmap(q, size);
}
END_TEST

START_TEST(refusals_under_load)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_reserved_config config = { sizeof config, MIB, 65536 };
    bp_backing *b = bp_backing_mmap();

    if (_i == 1)
        ck_assert_int_eq(bp_backing_reserved_create(&config, &b), 0);
    /* few enough that reservations, which are kept whole, are still small ones */
    atomic_store(&munmap_refusals, _i == 0 ? 2000 : 200);
    options.largest = 128 * KIB;
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
    ck_assert_int_eq(atomic_load(&munmap_refusals), 0);
    well_behaved();
    bp_backing_destroy(b);
}
END_TEST

START_TEST(kernel_without_advice)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_mmap_config config = { sizeof config, true, true };
    size_t page = os_page_size(), size = 32 * page, released = 9;
    struct bp_extent e;
    bp_backing *b;
    long before;
    bool zero;

    no_huge_pages();
    advice_unknown = ADVICE(MADV_FREE) | ADVICE(MADV_POPULATE_WRITE);
    ck_assert_int_eq(bp_backing_mmap_create(&config, &b), 0);
    ck_assert_int_eq(backing_acquire(b, size, size, 16, &e), 0);
    ck_assert_uint_eq(pages_resident(e.base, size), 32); /* touched one by one */
    ck_assert(is_zero(e.base, size));
    before = faults_so_far();
    memset(e.base, 7, size);
    ck_assert(!faults_are_ours() || faults_so_far() == before); /* and by writing */
    ck_assert_int_eq(os_populate(e.base, size), 0);
    ck_assert(all_bytes(e.base, size, 7));
    ck_assert_int_eq(os_release(e.base, page, true, &zero), 0);
    ck_assert(zero && is_zero(e.base, page));
    /* one that can release nothing says so and changes nothing */
    advice_unknown |= ADVICE(MADV_DONTNEED);
    e.known_zero_from = size;
    ck_assert_int_eq(b->ops->release(b, &e, 0, size, &released), EINVAL);
    ck_assert_uint_eq(released, 9);
    ck_assert_uint_eq(e.known_zero_from, size);
    ck_assert(all_bytes((char *)e.base + page, size - page, 7));
    options.largest = 128 * KIB;
    options.threads = 0;
    ck_assert_int_eq(bp_conformance_run(b, &options, stderr), 0);
    backing_dispose(b, &e);
    bp_backing_destroy(b);
    well_behaved();
}
END_TEST

/* Memory that cannot be made resident is no memory for who wants it resident. */
START_TEST(populate_refused)
{
    struct bp_mmap_config config = { sizeof config, true, false };
    struct bp_extent e = { .size = 77 };
    size_t mapped, unmapped;
    bp_backing *b;

    ck_assert_int_eq(bp_backing_mmap_create(&config, &b), 0);
    populate_error = EFAULT;
    mapped = atomic_load(&mmaps);
    unmapped = atomic_load(&munmaps);
    ck_assert_int_eq(backing_acquire(b, 65536, MIB, 16, &e), ENOMEM);
    ck_assert_uint_eq(e.size, 77);
    ck_assert_uint_eq(atomic_load(&mmaps) - mapped, 2); /* preferred and min */
    ck_assert_uint_eq(atomic_load(&munmaps) - unmapped, 2);
    populate_error = 0;
    ck_assert_int_eq(backing_acquire(b, 65536, 65536, 16, &e), 0);
    populate_error = ENOMEM;
    ck_assert_int_eq(backing_populate(b, &e, 1, 65000), ENOMEM);
    backing_dispose(b, &e);
    bp_backing_destroy(b);
    well_behaved();
}
END_TEST

/* ---- huge pages ---- */

START_TEST(granule_of_huge_pages)
{
    size_t huge = 2 * MIB, size = 3 * huge + 5 * os_page_size(), released;
    bp_backing *b = bp_backing_mmap();
    struct bp_extent e;

    thp_page = huge;
    ck_assert_int_eq(backing_acquire(b, huge - 1, huge - 1, 16, &e), 0);
    ck_assert_uint_eq(e.page, huge); /* rounded up to pages it is a huge one */
    backing_dispose(b, &e);
    ck_assert_int_eq(backing_acquire(b, MIB, MIB, 16, &e), 0);
    ck_assert_uint_eq(e.page, os_page_size());
    backing_dispose(b, &e);

    ck_assert_int_eq(backing_acquire(b, size, size, 16, &e), 0);
    ck_assert_uint_eq(e.page, huge);
    ck_assert_uint_eq(e.size, size);
    ck_assert(is_aligned(e.base, huge));
    memset(e.base, 1, size);
    e.known_zero_from = size;
    ck_assert_int_eq(backing_release(b, &e, 1, 2 * huge - 2, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(backing_release(b, &e, 1, 2 * huge - 1, &released), 0);
    ck_assert_uint_eq(released, huge);
    ck_assert(is_zero((char *)e.base + huge, huge));
    ck_assert_uint_eq(e.known_zero_from, size);
    ck_assert_int_eq(backing_release(b, &e, 3 * huge, size - 3 * huge - 1, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(backing_release(b, &e, 3 * huge + 1, size - 3 * huge - 1, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(backing_release(b, &e, 2 * huge + 1, size - 2 * huge - 1, &released), 0);
    ck_assert_uint_eq(released, 5 * os_page_size()); /* the end that cannot be huge */
    ck_assert_uint_eq(e.known_zero_from, 3 * huge);
    ck_assert_int_eq(backing_release(b, &e, 0, size, &released), 0);
    ck_assert_uint_eq(released, size);
    ck_assert_uint_eq(e.known_zero_from, 0);
    backing_dispose(b, &e);
    well_behaved();
}
END_TEST

START_TEST(huge_pages_conform)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;

    thp_page = 2 * MIB;
    options.largest = 6 * MIB + 12 * KIB;
    options.threads = 0;
    if (slow_run()) {
        fprintf(stderr, "SKIP: huge_pages_conform: a slow run\n");
        return;
    }
    ck_assert_int_eq(bp_conformance_run(bp_backing_mmap(), &options, stderr), 0);
    well_behaved();
}
END_TEST

/* No address space for the alignment: the extent comes as the system aligns it. */
START_TEST(huge_alignment_refused)
{
    size_t size = 4 * MIB + 4 * os_page_size(), i;
    bp_backing *b = bp_backing_mmap();
    struct bp_extent e[4];

    thp_page = 2 * MIB;
    mmap_at_most = size;
    for (i = 0; i < 4; i++) {
        ck_assert_int_eq(backing_acquire(b, size, size, 16, &e[i]), 0);
        ck_assert_uint_eq(e[i].size, size);
        ck_assert_uint_eq(e[i].page, is_aligned(e[i].base, 2 * MIB) ? 2 * MIB : os_page_size());
    }
    mmap_at_most = MIB;
    for (i = 0; i < 4; i++) {
        struct bp_extent least;

        ck_assert_int_eq(backing_acquire(b, MIB, 4 * MIB, 16, &least), 0); /* min is to be had */
        ck_assert_uint_eq(least.size, MIB);
        backing_dispose(b, &least);
        ck_assert_int_eq(backing_acquire(b, MIB + 1, 4 * MIB, 16, &least), ENOMEM);
    }
    for (i = 0; i < 4; i++)
        backing_dispose(b, &e[i]);
    well_behaved();
}
END_TEST

START_TEST(reservation_is_halved)
{
    bp_backing *b = bp_backing_reserved();
    struct bp_extent e;

    mmap_at_most = 100 * MIB;
    ck_assert_int_eq(backing_acquire(b, 64, 64, 16, &e), 0);
    ck_assert_uint_eq(e.size, BP_RESERVATION_DEFAULT > 64 * MIB ? 64 * MIB : BP_RESERVATION_DEFAULT);
    backing_dispose(b, &e);
    ck_assert_int_eq(backing_acquire(b, 90 * MIB, 64 * MIB * 3, 16, &e), 0);
    ck_assert_uint_ge(e.size, 90 * MIB);
    ck_assert_uint_le(e.size, 100 * MIB);
    backing_dispose(b, &e);
    ck_assert_int_eq(backing_acquire(b, 64, 2 * BP_RESERVATION_DEFAULT + os_page_size(), 16, &e), 0);
    ck_assert_uint_eq(e.size % os_page_size(), 0); /* odd pages are halved to whole ones */
    backing_dispose(b, &e);
    ck_assert_int_eq(backing_acquire(b, 100 * MIB + 1, 100 * MIB + 1, 16, &e), ENOMEM);
    well_behaved();
}
END_TEST

/* ---- malloc ---- */

START_TEST(malloc_refuses)
{
    struct bp_extent e, untouched;
    bp_backing *b = bp_backing_malloc(), *out = b;
    size_t injected;
    int err[3];

    memset(&untouched, 0x55, sizeof untouched);
    e = untouched;
    errno = E2BIG;
    failing_malloc_plan(1, true);
    err[0] = bp_backing_mmap_create(NULL, &out);
    err[1] = bp_backing_reserved_create(NULL, &out);
    err[2] = backing_acquire(b, 100, 200, 16, &e);
    injected = failing_malloc_injected();
    failing_malloc_plan(0, false);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(err[0], ENOMEM);
    ck_assert_int_eq(err[1], ENOMEM);
    ck_assert_int_eq(err[2], ENOMEM);
    ck_assert_ptr_eq(out, b);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    ck_assert_uint_eq(injected, 4); /* the last one tries preferred and min */
    failing_malloc_plan(1, false);
    err[0] = backing_acquire(b, 100, 2000, 64, &e);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(err[0], 0);
    ck_assert_uint_eq(e.size, 128); /* min, rounded to the alignment */
    memset(e.base, 1, e.size);
    backing_dispose(b, &e);
    well_behaved();
}
END_TEST

/* Uses a buffer backing in every way; true when all went well. */
static bool use_buffer(struct bp_buffer_backing *b)
{
    struct bp_extent e[8];
    size_t i, round;

    for (round = 0; round < 100; round++) {
        for (i = 0; i < 8; i++) {
            if (b->backing.ops->acquire(&b->backing, 100 + 7 * i + round, 1000, (size_t)16 << i, &e[i]) != 0)
                return false;
            memset(e[i].base, 1, e[i].size);
        }
        for (i = 0; i < 8; i++)
            b->backing.ops->dispose(&b->backing, &e[(i * 3) % 8]);
    }
    return true;
}

static char buffer_memory[65536];

START_TEST(buffer_needs_no_malloc)
{
    struct bp_buffer_backing b;
    size_t calls;
    bool used;

    failing_malloc_plan(1, true);
    used = bp_backing_buffer_init(&b, buffer_memory, sizeof buffer_memory) == 0 && use_buffer(&b);
    calls = failing_malloc_calls();
    failing_malloc_plan(0, false);
    ck_assert(used);
    ck_assert_uint_eq(calls, 0);
}
END_TEST

/* In strict mode a system call other than read, write and exit kills the process. */
START_TEST(buffer_needs_no_system_call)
{
    const char *preload = getenv("LD_PRELOAD");
    int status;
    pid_t pid;

    if (BP_CF_TSAN || (preload != NULL && strstr(preload, "vgpreload") != NULL)) {
        fprintf(stderr, "SKIP: buffer_needs_no_system_call: the thread sanitizer and Valgrind make some\n");
        return;
    }
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct bp_buffer_backing b;

        memset(buffer_memory, 1, sizeof buffer_memory);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
            _exit(77);
        if (bp_backing_buffer_init(&b, buffer_memory, sizeof buffer_memory) != 0)
            syscall(SYS_exit, 1);
        if (_i == 1)
            getppid(); /* the control */
        syscall(SYS_exit, use_buffer(&b) ? 0 : 2);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        fprintf(stderr, "SKIP: buffer_needs_no_system_call: no seccomp\n");
    else if (_i == 0)
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    else
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

static Suite *os_suite(void)
{
    Suite *s = suite_create("os");
    TCase *tc = add_case(s, "sizes");

    tcase_add_loop_test(tc, rounding_up, 0, 4);
    tcase_add_test(tc, config_of_an_older_header);
    tc = add_case(s, "ops");
    tcase_add_loop_test(tc, missing_ops, 0, 2);
    tcase_add_test(tc, ops_that_need_not_be_called);
    tc = add_case(s, "primitives");
    tcase_add_loop_test(tc, alignment, 0, 19);
    tcase_add_test(tc, alignment_that_overflows);
    tcase_add_test(tc, thp_setting);
    tcase_add_test(tc, every_mapping_is_named);
    tcase_add_test(tc, names_show_in_proc);
    tcase_add_loop_test(tc, refused_names_are_not_tried_again, 0, 2);
    tcase_add_test(tc, refused_unmapping_is_kept);
    tcase_add_test(tc, kept_and_refused_again);
    tcase_add_test(tc, kept_and_locked);
    tcase_add_loop_test(tc, refusals_under_load, 0, 2);
    tcase_add_test(tc, kernel_without_advice);
    tcase_add_test(tc, populate_refused);
    tc = add_case(s, "huge");
    tcase_add_test(tc, granule_of_huge_pages);
    tcase_add_test(tc, huge_pages_conform);
    tcase_add_test(tc, huge_alignment_refused);
    tcase_add_test(tc, reservation_is_halved);
    tc = add_case(s, "malloc");
    tcase_add_test(tc, malloc_refuses);
    tcase_add_test(tc, buffer_needs_no_malloc);
    tcase_add_loop_test(tc, buffer_needs_no_system_call, 0, 2);
    return s;
}

int main(void)
{
    return run_suite(os_suite());
}
