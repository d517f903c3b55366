/* SPDX-License-Identifier: MIT
 * The memfd backing: files that nobody can resize, that other processes see, and that are as free as they
 * say; that no descriptor is lost, whatever is refused. Needs the linker options of refusing.h and
 * failing_malloc.h.
 */
#include "limits.h"

#include "failing_malloc.h"
#include "refusing.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

static bp_backing *memfd(void)
{
    bp_backing *b = NULL;

    ck_assert_int_eq(bp_backing_memfd_create(NULL, &b), 0);
    return b;
}

static void dispose(bp_backing *b, const struct bp_extent *e)
{
    b->ops->dispose(b, e);
}

static int file_of(bp_backing *b, const struct bp_extent *e)
{
    size_t offset, size;
    int fd = -1;

    ck_assert_int_eq(bp_backing_memfd_find(b, e->base, &fd, &offset, &size), 0);
    ck_assert_uint_eq(offset, 0);
    ck_assert_uint_eq(size, e->size);
    return fd;
}

/* Descriptors of this process, among the first thousand. */
static size_t open_files(void)
{
    size_t n = 0;
    int fd;

    for (fd = 0; fd < 1000; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static size_t bytes_of(int fd)
{
    struct stat st;

    ck_assert_int_eq(fstat(fd, &st), 0);
    return (size_t)st.st_blocks * 512;
}

/* ---- contract ---- */

START_TEST(memfd_conforms)
{
    struct bp_memfd_config c = BP_MEMFD_CONFIG_INIT;
    size_t files = open_files();
    bp_backing *b;

    c.name = _i == 0 ? NULL : "";
    ck_assert_int_eq(bp_backing_memfd_create(&c, &b), 0);
    ck_assert_str_eq(b->ops->name, "memfd");
    conforms(b);
    bp_backing_destroy(b);
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

START_TEST(memfd_carries_arenas)
{
    size_t files = open_files();
    bp_backing *b = memfd();

    carries_arenas(b);
    bp_backing_destroy(b);
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

START_TEST(memfd_config)
{
    static const size_t bad[] = { 0, 1, sizeof(size_t), sizeof(struct bp_memfd_config) - 1,
                                  sizeof(struct bp_memfd_config) + 1, SIZE_MAX };
    struct bp_memfd_config c = BP_MEMFD_CONFIG_INIT;
    bp_backing *const untouched = bp_backing_malloc();
    bp_backing *b = untouched;
    size_t i, files = open_files();
    int rc;

    ck_assert_int_eq(bp_backing_memfd_create(&c, NULL), EINVAL);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c.struct_size = bad[i];
        ck_assert_int_eq(bp_backing_memfd_create(&c, &b), EINVAL);
    }
    errno = E2BIG;
    failing_malloc_plan(1, true);
    rc = bp_backing_memfd_create(NULL, &b);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_ptr_eq(b, untouched);
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

/* A kernel or a sandbox without it, and a process that is out of descriptors just now. */
START_TEST(create_probes)
{
    static const int never[] = { ENOSYS, EPERM, EACCES };
    static const int now[] = { EMFILE, ENFILE, ENOMEM };
    bp_backing *const untouched = bp_backing_malloc();
    bp_backing *b = untouched;
    size_t i, files = open_files();

    errno = E2BIG;
    for (i = 0; i < 3; i++) {
        refuse(SYSCALL_MEMFD, 1, 1, never[i]);
        ck_assert_int_eq(bp_backing_memfd_create(NULL, &b), ENOSYS);
        refuse(SYSCALL_FCNTL, 1, 1, never[i]);
        ck_assert_int_eq(bp_backing_memfd_create(NULL, &b), ENOSYS); /* no seals, no files */
        ck_assert_ptr_eq(b, untouched);
    }
    for (i = 0; i < 3; i++) {
        refuse(SYSCALL_MEMFD, 1, 1, now[i]);
        ck_assert_int_eq(bp_backing_memfd_create(NULL, &b), 0);
        refuse_nothing();
        conforms(b);
        bp_backing_destroy(b);
    }
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

START_TEST(kernel_without_noexec)
{
    bp_backing *b;
    struct bp_extent e;
    size_t calls;

    refuse(SYSCALL_MEMFD, 1, 1, EINVAL);
    b = memfd();
    calls = calls_made(SYSCALL_MEMFD);
    ck_assert_uint_eq(calls_refused(SYSCALL_MEMFD), 1);
    ck_assert_uint_eq(calls, 2);
    e = got(b, 100, 100, 16);
    ck_assert_uint_eq(calls_made(SYSCALL_MEMFD), calls + 1); /* it is not asked again */
    refuse_nothing();
    ck_assert_int_eq(fcntl(file_of(b, &e), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(sizes_that_wrap)
{
    size_t half = (size_t)1 << (sizeof(size_t) * 8 - 1), most = (size_t)PTRDIFF_MAX & ~(page_size() - 1), i;
    size_t files = open_files();
    bp_backing *b = memfd();

    for (i = 0; i < 3; i++) {
        refused_to(b, most - i * page_size(), most, 16);
        refused_to(b, PTRDIFF_MAX - i, SIZE_MAX, page_size());
    }
    refused_to(b, SIZE_MAX, SIZE_MAX, 16);
    refused_to(b, 1, 1, half);
    refused_to(b, half / 2, half / 2, half / 2);
    ck_assert_uint_eq(open_files(), files);
    bp_backing_destroy(b);
}
END_TEST

/* ---- files ---- */

START_TEST(what_the_file_is)
{
    size_t sizes[] = { 1, 4096, 4097, 300000 }, page = page_size(), i, align;
    bp_backing *b = memfd();
    struct stat st;
    int fd;

    for (i = 0; i < 4; i++) {
        for (align = 16; align <= 64 * MIB; align *= 4) {
            struct bp_extent e = got(b, sizes[i], sizes[i], align);

            ck_assert_uint_eq(e.size, (sizes[i] + page - 1) & ~(page - 1));
            ck_assert_uint_eq(e.committed, e.size);
            ck_assert_uint_eq(e.known_zero_from, 0);
            ck_assert_uint_eq(e.page, page);
            ck_assert(is_aligned(e.base, align) && is_aligned(e.base, page));
            ck_assert(area_has(e.base, " sh") && area_has(e.base, " wr"));
            fd = file_of(b, &e);
            ck_assert_int_eq(fstat(fd, &st), 0);
            ck_assert_uint_eq((size_t)st.st_size, e.size);
            ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
            ck_assert_uint_eq(bytes_of(fd), 0); /* nothing is touched yet */
            dispose(b, &e);
            ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
        }
    }
    bp_backing_destroy(b);
}
END_TEST

START_TEST(sealed)
{
    bp_backing *b = memfd();
    struct bp_extent e = got(b, 10000, 10000, 16);
    int fd = file_of(b, &e);

    ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & ~F_SEAL_EXEC, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    errno = 0;
    ck_assert(ftruncate(fd, 0) == -1 && errno == EPERM);
    errno = 0;
    ck_assert(ftruncate(fd, (off_t)(2 * e.size)) == -1 && errno == EPERM);
    errno = 0;
    ck_assert(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EPERM);
    ck_assert_int_eq(pwrite(fd, "abc", 3, 5), 3);
    ck_assert_int_eq(memcmp((char *)e.base + 5, "abc", 3), 0);
    dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

/* The name of the area that `p` lies in. */
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

START_TEST(name_shows)
{
    static const char *const names[] = { NULL, "frames", "0123456789012345678901234567890123456789" };
    static const char *const shown[] = { "bumpool", "frames", "0123456789012345678901234567890" };
    struct bp_memfd_config c = BP_MEMFD_CONFIG_INIT;
    char given[64], name[256], expected[64];
    struct bp_extent e;
    bp_backing *b;

    if (names[_i] != NULL) {
        snprintf(given, sizeof given, "%s", names[_i]);
        c.name = given;
    }
    ck_assert_int_eq(bp_backing_memfd_create(&c, &b), 0);
    memset(given, 'x', sizeof given); /* it is copied */
    e = got(b, 100, 100, 16);
    area_name(e.base, name, sizeof name);
    snprintf(expected, sizeof expected, "/memfd:%s (deleted)", shown[_i]);
    ck_assert_str_eq(name, expected);
    dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(find)
{
    bp_backing *b = memfd(), *other = memfd();
    struct bp_extent e[20], foreign = got(other, 100, 100, 16);
    size_t i, k, offset, size;
    char *before, *past;
    int fd;

    for (i = 0; i < 20; i++)
        e[i] = got(b, 1000 * i + 1, 1000 * i + 1, 16);
    for (k = 20; k > 0; k--) { /* with each of them gone from somewhere in the list */
        for (i = 0; i < 20; i++) {
            size_t at[] = { 0, 1, e[i].size / 2, e[i].size - 1 }, n;

            for (n = 0; n < 4 && e[i].size != 0; n++) {
                char byte = 99;

                ck_assert_int_eq(bp_backing_memfd_find(b, (char *)e[i].base + at[n], &fd, &offset, &size), 0);
                ck_assert_uint_eq(offset, at[n]);
                ck_assert_uint_eq(size, e[i].size);
                *((char *)e[i].base + at[n]) = (char)(i + n);
                ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
                ck_assert_int_eq(byte, (char)(i + n));
            }
        }
        for (i = (k * 7) % 20; e[i].size == 0; i = (i + 1) % 20)
            ;
        dispose(b, &e[i]);
        fd = -7;
        offset = size = 77;
        ck_assert_int_eq(bp_backing_memfd_find(b, e[i].base, &fd, &offset, &size), ENOENT);
        ck_assert(fd == -7 && offset == 77 && size == 77);
        e[i].size = 0;
    }

    ck_assert_int_eq(bp_backing_memfd_find(b, foreign.base, &fd, &offset, &size), ENOENT);
    before = (char *)foreign.base - 1;
    past = (char *)foreign.base + foreign.size;
    ck_assert_int_eq(bp_backing_memfd_find(other, before, &fd, &offset, &size), ENOENT);
    ck_assert_int_eq(bp_backing_memfd_find(other, past, &fd, &offset, &size), ENOENT);
    ck_assert_int_eq(bp_backing_memfd_find(other, &fd, &fd, &offset, &size), ENOENT);
    ck_assert_int_eq(bp_backing_memfd_find(bp_backing_mmap(), foreign.base, &fd, &offset, &size), EINVAL);
    ck_assert_int_eq(bp_backing_memfd_find(NULL, foreign.base, &fd, &offset, &size), EINVAL);
    ck_assert_int_eq(bp_backing_memfd_find(other, NULL, &fd, &offset, &size), EINVAL);
    ck_assert_int_eq(bp_backing_memfd_find(other, foreign.base, NULL, &offset, &size), EINVAL);
    ck_assert_int_eq(bp_backing_memfd_find(other, foreign.base, &fd, NULL, &size), EINVAL);
    ck_assert_int_eq(bp_backing_memfd_find(other, foreign.base, &fd, &offset, NULL), EINVAL);
    ck_assert(fd == -7 && offset == 77 && size == 77);
    dispose(other, &foreign);
    bp_backing_destroy(other);
    bp_backing_destroy(b);
}
END_TEST

static void *find_own(void *data)
{
    bp_backing *b = data;
    struct bp_extent e;
    size_t i, offset, size;
    char byte;
    int fd;

    for (i = 0; i < times(2000, 100); i++) {
        if (b->ops->acquire(b, 100, 100, 16, &e) != 0) {
            thread_must(false);
            break;
        }
        memset(e.base, (int)i, 100);
        thread_must(bp_backing_memfd_find(b, (char *)e.base + 50, &fd, &offset, &size) == 0);
        thread_must(pread(fd, &byte, 1, (off_t)offset) == 1 && byte == (char)i);
        b->ops->dispose(b, &e);
        thread_must(bp_backing_memfd_find(b, &e, &fd, &offset, &size) == ENOENT);
    }
    return NULL;
}

START_TEST(find_by_many)
{
    bp_backing *b = memfd();
    pthread_t threads[4];
    size_t i;

    for (i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, find_own, b), 0);
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    threads_passed();
    bp_backing_destroy(b);
}
END_TEST

/* No call is a cancellation point: whoever is cancelled in one would lose a file or a lock. Not inline: for
 * the address sanitizer this frame must be gone by an ordinary return. */
__attribute__((noinline)) static void use_every_call(void)
{
    bp_backing *b = NULL;
    size_t offset, size;
    struct bp_extent e;
    int fd;

    thread_must(bp_backing_memfd_create(NULL, &b) == 0);
    thread_must(b->ops->acquire(b, 100, 100, 64 * KIB, &e) == 0);
    thread_must(b->ops->populate(b, &e, 0, e.size) == 0);
    thread_must(b->ops->release(b, &e, 0, e.size, &size) == 0);
    thread_must(bp_backing_memfd_find(b, e.base, &fd, &offset, &size) == 0);
    dispose(b, &e);
    bp_backing_destroy(b);
}

static void *with_cancellation_pending(void *data)
{
    bool *came_out = data;

    pthread_cancel(pthread_self());
    use_every_call();
    *came_out = true;
    pthread_testcancel();
    return NULL;
}

START_TEST(no_cancellation_point)
{
    size_t files = open_files();
    bool came_out = false;
    pthread_t thread;
    void *result;

    ck_assert_int_eq(pthread_create(&thread, NULL, with_cancellation_pending, &came_out), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    threads_passed();
    ck_assert(came_out);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

/* ---- pages ---- */

START_TEST(release_frees)
{
    bp_backing *b = memfd();
    size_t page = page_size(), size = 16 * page, released = 99;
    struct bp_extent e = got(b, size, size, 16);
    int fd = file_of(b, &e);
    char *base = e.base, *also = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    ck_assert_ptr_ne(also, MAP_FAILED);
    memset(base, 1, size);
    e.known_zero_from = size;
    ck_assert_uint_eq(bytes_of(fd), size);
    errno = E2BIG;
    ck_assert_int_eq(b->ops->release(b, &e, page / 2, page, &released), 0);
    ck_assert_uint_eq(released, 0);
    ck_assert_int_eq(b->ops->release(b, &e, page / 2, 4 * page, &released), 0);
    ck_assert_uint_eq(released, 3 * page);
    ck_assert_uint_eq(bytes_of(fd), 13 * page);
    ck_assert_uint_eq(e.known_zero_from, size); /* the range does not reach it */
    ck_assert(all_bytes(base, page, 1) && all_bytes(base + page, 3 * page, 0));
    ck_assert(all_bytes(also, page, 1) && all_bytes(also + page, 3 * page, 0));
    ck_assert(all_bytes(base + 4 * page, 12 * page, 1));
    ck_assert_int_eq(b->ops->release(b, &e, 5 * page, 11 * page, &released), 0);
    ck_assert_uint_eq(released, 11 * page);
    ck_assert_uint_eq(bytes_of(fd), 5 * page); /* three were read and are there again */
    ck_assert_uint_eq(e.known_zero_from, 5 * page);
    ck_assert(all_bytes(base + 5 * page, 11 * page, 0) && all_bytes(base + 4 * page, page, 1));
    ck_assert_int_eq(errno, E2BIG);
    munmap(also, size);

    /* refused: nothing changes */
    memset(base, 2, size);
    e.known_zero_from = size;
    released = 99;
    refuse(MADVISE, 1, 1, EINTR);
    ck_assert_int_eq(b->ops->release(b, &e, 0, size, &released), EINTR);
    refuse_nothing();
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(released, 99);
    ck_assert_uint_eq(e.known_zero_from, size);
    ck_assert(all_bytes(base, size, 2));
    dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

/* By the kernel's own means, or, where it is an old one, page by page. */
START_TEST(populate_makes_resident)
{
    bp_backing *b = memfd();
    size_t page = page_size(), size = 16 * page;
    struct bp_extent e = got(b, size, size, 16);
    int fd = file_of(b, &e);

    if (_i == 1)
        refuse(MADVISE, 1, SIZE_MAX, EINVAL);
    ck_assert_int_eq(b->ops->populate(b, &e, page + 1, page), 0); /* rounds outward */
    ck_assert_uint_eq(bytes_of(fd), 2 * page);
    memset((char *)e.base + page, 3, page);
    ck_assert_int_eq(b->ops->populate(b, &e, 0, size), 0);
    ck_assert_uint_eq(bytes_of(fd), size);
    ck_assert(all_bytes(e.base, page, 0) && all_bytes((char *)e.base + page, page, 3));
    ck_assert(_i == 0 || calls_refused(MADVISE) == 2);
    refuse_nothing();
    if (faults_are_ours()) {
        long before = faults_so_far();

        memset(e.base, 1, size);
        ck_assert_int_eq(faults_so_far() - before, 0);
    }
    refuse(MADVISE, 1, 1, ENOMEM);
    ck_assert_int_eq(b->ops->populate(b, &e, 0, size), ENOMEM);
    refuse_nothing();
    dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

/* ---- refusals ---- */

static const struct refusal {
    enum refusable kind;
    size_t align;
} refusals[] = { { SYSCALL_MEMFD, 16 }, { FTRUNCATE, 16 },   { SYSCALL_FCNTL, 16 },
                 { MMAP, 16 },          { MMAP, 64 * 1024 }, { MMAP_FIXED, 64 * 1024 } };
enum { REFUSALS = sizeof refusals / sizeof refusals[0] };

START_TEST(acquire_refused)
{
    const struct refusal *r = &refusals[_i];
    bp_backing *b = memfd();
    size_t files = open_files(), before = address_space();
    struct bp_extent e;

    refuse(r->kind, 1, SIZE_MAX, EPERM);
    refused_to(b, 10000, 10000, r->align);
    ck_assert_uint_ge(calls_refused(r->kind), 1);
    refuse(r->kind, 1, SIZE_MAX, EMFILE);
    refused_to(b, 10000, 100000, r->align);
    refuse_nothing();
    ck_assert_uint_eq(open_files(), files);
    if (limits_can_be_tested("acquire_refused: address space"))
        ck_assert_uint_eq(address_space(), before);

    refuse(r->kind, 1, 1, ENOMEM);
    e = got(b, 10000, 100000, r->align);
    ck_assert_uint_eq(calls_refused(r->kind), 1);
    refuse_nothing();
    ck_assert_uint_lt(e.size, 100000); /* what is needed, where more is refused */
    ck_assert(all_bytes(e.base, e.size, 0));
    ck_assert_uint_eq(open_files(), files + 1);
    dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(malloc_refuses)
{
    bp_backing *b = memfd();
    size_t files = open_files();
    struct bp_extent e, untouched;
    int rc;

    memset(&untouched, 0x55, sizeof untouched);
    e = untouched;
    errno = E2BIG;
    failing_malloc_plan(1, true);
    rc = b->ops->acquire(b, 100, 200, 16, &e);
    failing_malloc_plan(0, false);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
    ck_assert_uint_eq(open_files(), files);
    bp_backing_destroy(b);
}
END_TEST

/* What cannot be unmapped becomes private memory; or is left alone. The file goes in either case. */
START_TEST(unmapping_refused)
{
    size_t size = 4 * page_size(), files = open_files();
    bp_backing *b = memfd(), *mapped = bp_backing_mmap();
    struct bp_extent e = got(b, size, size, 16), again;

    memset(e.base, 1, size);
    refuse(MUNMAP, 1, 1, ENOMEM);
    if (_i == 1)
        refuse(MMAP_FIXED, 1, 1, ENOMEM);
    errno = E2BIG;
    dispose(b, &e);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(calls_refused(MUNMAP), 1);
    refuse_nothing();
    ck_assert_uint_eq(open_files(), files);
    if (_i == 0) {
        again = got(mapped, size, size, 16);
        ck_assert_ptr_eq(again.base, e.base);
        ck_assert(all_bytes(again.base, size, 0));
        ck_assert(!area_has(again.base, " sh"));
        mapped->ops->dispose(mapped, &again);
        ck_assert(!is_mapped(e.base, page_size()));
    } else {
        ck_assert_int_eq(munmap(e.base, size), 0);
    }
    bp_backing_destroy(b);
}
END_TEST

static int without_files(void *data)
{
    bp_backing *b = data, *late = NULL;
    struct bp_extent e[40], f = { .size = 12345 };
    size_t n, i;

    need(limit(RLIMIT_NOFILE, 32) == 0);
    for (n = 0; n < 40 && b->ops->acquire(b, 100, 100, 16, &e[n]) == 0; n++)
        memset(e[n].base, 1, 100);
    need(n > 10 && n < 32);
    need(b->ops->acquire(b, 100, 1000000, 16, &f) == ENOMEM);
    need(f.size == 12345);
    need(bp_backing_memfd_create(NULL, &late) == 0); /* there may be some later */
    need(late->ops->acquire(late, 1, 1, 16, &f) == ENOMEM);
    dispose(b, &e[0]);
    need(late->ops->acquire(late, 1, 1, 16, &f) == 0);
    dispose(late, &f);
    for (i = 1; i < n; i++)
        dispose(b, &e[i]);
    bp_backing_destroy(late);
    return 0;
}

/* A file above the limit would not just be refused: the process would get SIGXFSZ. */
static int small_files(void *data)
{
    bp_backing *b = data;
    struct bp_extent e = { .size = 12345 };

    need(limit(RLIMIT_FSIZE, 64 * KIB) == 0);
    need(b->ops->acquire(b, 64 * KIB + 1, 100 * KIB, 16, &e) == ENOMEM);
    need(e.size == 12345);
    need(b->ops->acquire(b, 64 * KIB, 64 * KIB, 16, &e) == 0);
    dispose(b, &e);
    need(b->ops->acquire(b, 10 * KIB, MIB, 16, &e) == 0);
    need(e.size < 64 * KIB);
    dispose(b, &e);
    return 0;
}

static int small_address_space(void *data)
{
    bp_backing *b = data;
    struct bp_extent e;
    size_t before = address_space(), files = open_files();

    need(before > 0 && limit(RLIMIT_AS, before + 32 * MIB) == 0);
    need(b->ops->acquire(b, 40 * MIB, 80 * MIB, 16, &e) == ENOMEM);
    need(b->ops->acquire(b, 20 * MIB, 80 * MIB, 16, &e) == 0);
    need(e.size == 20 * MIB);
    dispose(b, &e);
    need(address_space() == before && open_files() == files);
    return 0;
}

START_TEST(process_limits)
{
    static int (*const works[])(void *data) = { without_files, small_files, small_address_space };
    bp_backing *b;

    if (!limits_can_be_tested("process_limits"))
        return;
    b = memfd();
    in_child(works[_i], b);
    bp_backing_destroy(b);
}
END_TEST

/* ---- other processes ---- */

struct message {
    size_t offset, size, length;
};

static bool send_file(int to, int fd, struct message m)
{
    char control[CMSG_SPACE(sizeof fd)];
    struct iovec part = { &m, sizeof m };
    struct msghdr h = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                        .msg_controllen = sizeof control };
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);

    memset(control, 0, sizeof control);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(to, &h, 0) == (ssize_t)sizeof m;
}

static int receive_file(int from, struct message *m)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = { m, sizeof *m };
    struct msghdr h = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                        .msg_controllen = sizeof control };
    int fd = -1;

    if (recvmsg(from, &h, 0) == (ssize_t)sizeof *m && CMSG_FIRSTHDR(&h) != NULL)
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof fd);
    return fd;
}

static int socket_of_child;

/* Gets a file, looks at the block in it, and turns the block's bytes around. */
static int other_process(void *data)
{
    struct message m;
    int fd = receive_file(socket_of_child, &m);
    size_t i;
    char *p;

    (void)data;
    need(fd >= 0);
    p = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(p != MAP_FAILED);
    need(stamped(p + m.offset, m.length, 5));
    need(ftruncate(fd, 0) != 0 && errno == EPERM);
    for (i = 0; i < m.length; i++)
        p[m.offset + i] = (char)~p[m.offset + i];
    return 0;
}

/* The other process is there before the extent: nothing comes to it by fork. */
START_TEST(another_process_maps_it)
{
    bp_backing *b = memfd();
    struct message m = { 0, 0, 5000 };
    int sockets[2], status, fd;
    bp_arena *a;
    pid_t pid;
    size_t i;
    char *p;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        socket_of_child = sockets[1];
        _exit(other_process(NULL));
    }
    a = spill_arena(b, 1000);
    p = bp_arena_alloc(a, m.length); /* in an extent of its own */
    stamp(p, m.length, 5);
    ck_assert_int_eq(bp_backing_memfd_find(b, p, &fd, &m.offset, &m.size), 0);
    ck_assert_uint_gt(m.offset, 0);
    ck_assert(send_file(sockets[0], fd, m));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    for (i = 0; i < m.length; i++)
        p[i] = (char)~p[i];
    ck_assert(stamped(p, m.length, 5)); /* it was there */
    ck_assert_int_eq(bp_arena_destroy(a), 0);
    close(sockets[0]);
    close(sockets[1]);
    bp_backing_destroy(b);
}
END_TEST

static bp_backing *forked;
static struct bp_extent inherited;

static int child_shares(void *data)
{
    struct bp_extent own;

    (void)data;
    need(all_bytes(inherited.base, inherited.size, 1));
    memset(inherited.base, 2, inherited.size);
    need(forked->ops->acquire(forked, 1000, 1000, 16, &own) == 0);
    memset(own.base, 3, own.size);
    dispose(forked, &own);
    dispose(forked, &inherited); /* its own mapping and descriptor */
    bp_backing_destroy(forked);
    return 0;
}

START_TEST(child_of_fork_shares)
{
    forked = memfd();
    inherited = got(forked, 10000, 10000, 16);
    memset(inherited.base, 1, inherited.size);
    in_child(child_shares, NULL);
    ck_assert(all_bytes(inherited.base, inherited.size, 2));
    ck_assert_uint_eq(bytes_of(file_of(forked, &inherited)), inherited.size);
    dispose(forked, &inherited);
    bp_backing_destroy(forked);
}
END_TEST

static Suite *memfd_suite(void)
{
    Suite *s = suite_create("memfd");
    TCase *tc = add_case(s, "contract");

    tcase_add_loop_test(tc, memfd_conforms, 0, 2);
    tcase_add_test(tc, memfd_carries_arenas);
    tcase_add_test(tc, memfd_config);
    tcase_add_test(tc, create_probes);
    tcase_add_test(tc, sizes_that_wrap);
    tc = add_case(s, "files");
    tcase_add_test(tc, what_the_file_is);
    tcase_add_test(tc, sealed);
    tcase_add_loop_test(tc, name_shows, 0, 3);
    tcase_add_test(tc, find);
    tcase_add_test(tc, find_by_many);
    tcase_add_test(tc, no_cancellation_point);
    tc = add_case(s, "pages");
    tcase_add_test(tc, release_frees);
    tcase_add_loop_test(tc, populate_makes_resident, 0, 2);
    tc = add_case(s, "refusals");
    tcase_add_loop_test(tc, acquire_refused, 0, REFUSALS);
    tcase_add_test(tc, malloc_refuses);
    tcase_add_loop_test(tc, unmapping_refused, 0, 2);
    tcase_add_test(tc, kernel_without_noexec); /* the last one: without fork the library remembers */
    if (may_fork()) {
        tc = add_case(s, "processes");
        tcase_add_loop_test(tc, process_limits, 0, 3);
        tcase_add_test(tc, another_process_maps_it);
        tcase_add_test(tc, child_of_fork_shares);
    } else {
        fprintf(stderr, "SKIP: limits and other processes: CK_FORK=no\n");
    }
    return s;
}

int main(void)
{
    bp_backing *b;
    int why = bp_backing_memfd_create(NULL, &b);

    if (why != 0) {
        fprintf(stderr, "check_memfd: SKIPPED: no memfd here: %s\n", strerror(why));
        return why == ENOSYS ? 77 : EXIT_FAILURE;
    }
    bp_backing_destroy(b);
    return run_suite(memfd_suite());
}
