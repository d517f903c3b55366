/* SPDX-License-Identifier: MIT
 * The locked backing: that every property it promises is there, as the kernel shows it; that without one of
 * them there is no extent; and that nothing of a secret is left. Needs the linker options of refusing.h and
 * failing_malloc.h.
 */
#include "limits.h"

#include "failing_malloc.h"
#include "refusing.h"

#include <grp.h>
#include <sys/syscall.h>

static bp_backing *locked;

static void dispose(const struct bp_extent *e)
{
    locked->ops->dispose(locked, e);
}

static bool is_secret(const void *p)
{
    return area_has(p, " lo") && area_has(p, " dd") && area_has(p, " wf");
}

static bool is_ordinary(const void *p)
{
    return !area_has(p, " lo") && !area_has(p, " dd") && !area_has(p, " wf");
}

/* ---- contract ---- */

START_TEST(locked_conforms)
{
    ck_assert_ptr_eq(bp_backing_locked(), locked);
    ck_assert_str_eq(locked->ops->name, "locked");
    conforms(locked);
    bp_backing_destroy(locked);
    conforms(locked);
    ck_assert_uint_eq(locked_memory(), 0);
}
END_TEST

START_TEST(locked_carries_arenas)
{
    carries_arenas(locked);
    ck_assert_uint_eq(locked_memory(), 0);
}
END_TEST

START_TEST(what_the_kernel_shows)
{
    static const size_t sizes[] = { 1, 4096, 4097, 30000 };
    size_t page = page_size(), i, align, rounded;

    for (i = 0; i < 4; i++) {
        for (align = 16; align <= 256 * KIB; align *= 4) {
            struct bp_extent e = got(locked, sizes[i], sizes[i], align);
            char *base = e.base;

            rounded = (sizes[i] + page - 1) & ~(page - 1);
            ck_assert_uint_eq(e.size, rounded);
            ck_assert_uint_eq(e.committed, rounded);
            ck_assert_uint_eq(e.known_zero_from, 0);
            ck_assert_uint_eq(e.page, 0);
            ck_assert(is_aligned(base, align) && is_aligned(base, page));
            ck_assert(all_bytes(base, e.size, 0));
            ck_assert_uint_eq(pages_resident(base, e.size), rounded / page);
            ck_assert_uint_eq(locked_memory(), rounded);
            ck_assert(is_secret(base) && is_secret(base + e.size - 1));
            ck_assert(area_has(base, " rd") && area_has(base, " wr"));
            ck_assert(!area_has(base - 1, " rd") && !area_has(base + e.size, " rd"));
            ck_assert(!area_has(base - 1, " wr") && !area_has(base + e.size, " wr"));
            memset(base, 1, e.size);
            dispose(&e);
            ck_assert_uint_eq(locked_memory(), 0);
        }
    }
}
END_TEST

START_TEST(an_ordinary_area_looks_different)
{
    struct bp_extent e = got(bp_backing_mmap(), 10000, 10000, 16);

    ck_assert(is_ordinary(e.base) && area_has(e.base, " rd"));
    bp_backing_mmap()->ops->dispose(bp_backing_mmap(), &e);
}
END_TEST

START_TEST(gaps_fault)
{
    struct bp_extent e = got(locked, 10000, 10000, 16);
    char *base = e.base;

    ck_assert(!faults(base, WRITE) && !faults(base + e.size - 1, READ));
    ck_assert(faults(base - 1, READ) && faults(base - 1, WRITE));
    ck_assert(faults(base + e.size, READ) && faults(base + e.size, WRITE));
    dispose(&e);
    ck_assert(faults(base, READ));
}
END_TEST

START_TEST(sizes_that_wrap)
{
    size_t half = (size_t)1 << (sizeof(size_t) * 8 - 1), most = (size_t)PTRDIFF_MAX & ~(page_size() - 1), i;

    for (i = 0; i < 3; i++) {
        refused_to(locked, most - i * page_size(), most, 16);
        refused_to(locked, PTRDIFF_MAX - i, SIZE_MAX, page_size());
    }
    refused_to(locked, SIZE_MAX, SIZE_MAX, 16);
    refused_to(locked, 1, 1, half);
    refused_to(locked, most - half / 4, most, half / 4);
}
END_TEST

/* ---- nothing is left ---- */

static struct bp_extent secret;
static size_t secrets_unmapped;

static void look_at_secret(void *p, size_t size)
{
    if ((char *)p <= (char *)secret.base && (char *)p + size >= (char *)secret.base + secret.size) {
        must(all_bytes(secret.base, secret.size, 0));
        secrets_unmapped++;
    }
}

START_TEST(overwritten_before_it_goes)
{
    secret = got(locked, 30000, 30000, 16);
    secrets_unmapped = 0;
    watch_munmap(look_at_secret);
    memset(secret.base, 0xA5, secret.size);
    errno = E2BIG;
    dispose(&secret);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(secrets_unmapped, 1);
    refuse_nothing();
}
END_TEST

/* What cannot be unmapped becomes ordinary memory, or else is at least zero and not locked. */
START_TEST(unmapping_refused)
{
    size_t size = 4 * page_size();
    struct bp_extent e = got(locked, size, size, 16), again;
    bp_backing *b = bp_backing_mmap();
    char *start = (char *)e.base - page_size();

    memset(e.base, 0xA5, size);
    refuse(MUNMAP, 1, 1, ENOMEM);
    if (_i == 1)
        refuse(MMAP_FIXED, 1, 1, ENOMEM);
    errno = E2BIG;
    dispose(&e);
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(calls_refused(MUNMAP), 1);
    ck_assert_uint_eq(locked_memory(), 0);
    ck_assert_uint_le(pages_resident(e.base, size), _i == 0);
    refuse_nothing();
    ck_assert(all_bytes(e.base, size, 0));
    if (_i == 0) {
        again = got(b, size + 2 * page_size(), size + 2 * page_size(), 16); /* with the gaps */
        ck_assert_ptr_eq(again.base, start);
        ck_assert(all_bytes(again.base, again.size, 0));
        ck_assert(is_ordinary(e.base));
        b->ops->dispose(b, &again);
        ck_assert(!is_mapped(start, page_size()));
    } else {
        ck_assert_int_eq(munmap(start, size + 2 * page_size()), 0);
    }
}
END_TEST

/* ---- it fails closed ---- */

static const struct refusal {
    enum refusable kind;
    size_t nth;
} refusals[] = { { MMAP, 1 }, { MPROTECT, 1 }, { MADVISE, 1 }, { MADVISE, 2 }, { SYSCALL_MLOCK, 1 } };
enum { REFUSALS = sizeof refusals / sizeof refusals[0] };

START_TEST(nothing_less_than_all)
{
    const struct refusal *r = &refusals[_i];
    size_t before = address_space();

    refuse(r->kind, r->nth, SIZE_MAX, EPERM);
    refused_to(locked, 10000, 10000, 16);
    ck_assert_uint_gt(calls_refused(r->kind), 0);
    refuse(r->kind, r->nth, SIZE_MAX, EAGAIN);
    refused_to(locked, 10000, 20000, 256 * KIB);
    refuse_nothing();
    ck_assert_uint_eq(locked_memory(), 0);
    if (limits_can_be_tested("nothing_less_than_all: address space"))
        ck_assert_uint_eq(address_space(), before);
}
END_TEST

START_TEST(less_than_preferred)
{
    const struct refusal *r = &refusals[_i];
    struct bp_extent e;

    refuse(r->kind, r->nth, 1, ENOMEM);
    e = got(locked, page_size(), 4 * page_size(), 16);
    refuse_nothing();
    ck_assert_uint_eq(e.size, page_size());
    ck_assert(is_secret(e.base));
    ck_assert_uint_eq(locked_memory(), page_size());
    dispose(&e);
    e = got(locked, page_size(), 4 * page_size(), 16);
    ck_assert_uint_eq(e.size, 4 * page_size());
    dispose(&e);
}
END_TEST

START_TEST(probe_says_why)
{
    static const int errors[] = { EPERM, ENOMEM, EAGAIN, ENOSYS, EINVAL };
    size_t i, k;

    errno = E2BIG;
    ck_assert_int_eq(bp_backing_locked_probe(), 0);
    for (i = 0; i < REFUSALS; i++) {
        for (k = 0; k < sizeof errors / sizeof errors[0]; k++) {
            refuse(refusals[i].kind, refusals[i].nth, 1, errors[k]);
            ck_assert_int_eq(bp_backing_locked_probe(), errors[k]);
            refuse_nothing();
            ck_assert_int_eq(bp_backing_locked_probe(), 0);
        }
    }
    ck_assert_int_eq(errno, E2BIG);
    ck_assert_uint_eq(locked_memory(), 0);
}
END_TEST

START_TEST(needs_no_malloc)
{
    struct bp_extent e;
    size_t calls;
    int rc;

    failing_malloc_plan(1, true);
    rc = locked->ops->acquire(locked, 100, 100, 16, &e);
    if (rc == 0)
        dispose(&e);
    calls = failing_malloc_calls();
    failing_malloc_plan(0, false);
    ck_assert_int_eq(rc, 0);
    ck_assert_uint_eq(calls, 0);
}
END_TEST

/* ---- RLIMIT_MEMLOCK ---- */

/* Sets the limit, and gives up the privilege not to heed it. */
static bool obey_limit(size_t bytes)
{
    if (limit(RLIMIT_MEMLOCK, bytes) != 0)
        return false;
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
        return false;
    if (prctl(PR_SET_DUMPABLE, 1) != 0) /* or /proc/self is root's */
        return false;
    return bytes != 0 || mlock(&secret, 1) != 0;
}

static int without_any(void *data)
{
    struct bp_extent e = { .size = 12345 };
    size_t before, i;
    bp_arena *a = NULL;

    (void)data;
    if (!obey_limit(0)) {
        fprintf(stderr, "SKIP: memlock_limit: the privilege cannot be given up\n");
        return 77;
    }
    before = address_space();
    need(before > 0);
    need(bp_backing_locked_probe() == EPERM);
    for (i = 0; i < 50; i++)
        need(locked->ops->acquire(locked, 1, 100000, 16, &e) == ENOMEM);
    need(e.size == 12345);
    need(bp_arena_create(locked, NULL, &a) == ENOMEM);
    need(a == NULL);
    need(address_space() == before);
    return 0;
}

static int with_three_pages(void *data)
{
    size_t page = page_size();
    struct bp_extent e, f;

    (void)data;
    if (!obey_limit(3 * page)) {
        fprintf(stderr, "SKIP: memlock_limit: the privilege cannot be given up\n");
        return 77;
    }
    need(bp_backing_locked_probe() == 0);
    need(locked->ops->acquire(locked, 4 * page, 4 * page, 16, &e) == ENOMEM);
    need(locked->ops->acquire(locked, 2 * page, 4 * page, 16, &e) == 0);
    need(e.size == 2 * page); /* what is needed, where more is refused */
    need(locked->ops->acquire(locked, 2 * page, 2 * page, 16, &f) == ENOMEM);
    need(locked->ops->acquire(locked, page, page, 16, &f) == 0);
    need(locked_memory() == 3 * page);
    need(bp_backing_locked_probe() == ENOMEM);
    memset(e.base, 1, e.size);
    memset(f.base, 1, f.size);
    dispose(&e);
    dispose(&f);
    need(locked_memory() == 0);
    need(bp_backing_locked_probe() == 0);
    return 0;
}

START_TEST(memlock_limit)
{
    if (limits_can_be_tested("memlock_limit"))
        in_child(_i == 0 ? without_any : with_three_pages, NULL);
}
END_TEST

/* ---- fork ---- */

static int child_sees_zeros(void *data)
{
    struct bp_extent own;

    (void)data;
    need(all_bytes(secret.base, secret.size, 0));
    need(locked_memory() == 0);
    memset(secret.base, 7, secret.size); /* its own copy */
    need(all_bytes(secret.base, secret.size, 7));
    dispose(&secret);
    need(!is_mapped((char *)secret.base - page_size(), page_size()));
    need(locked->ops->acquire(locked, 100, 100, 16, &own) == 0);
    need(locked_memory() == own.size);
    dispose(&own);
    return 0;
}

START_TEST(fork_wipes)
{
    secret = got(locked, 30000, 30000, 16);
    memset(secret.base, 0xA5, secret.size);
    in_child(child_sees_zeros, NULL);
    ck_assert(all_bytes(secret.base, secret.size, 0xA5));
    ck_assert(is_secret(secret.base));
    ck_assert_uint_eq(locked_memory(), secret.size);
    dispose(&secret);
}
END_TEST

/* An arena whose bookkeeping is elsewhere: a pool's. */
static int child_of_a_pool(void *data)
{
    char *p = data;

    need(all_bytes(p, 1000, 0));
    return 0;
}

START_TEST(fork_wipes_blocks)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool;
    bp_arena *a;
    char *p;

    c.arena_size = 16 * KIB;
    pool = pool_on(locked, &c);
    a = taken(pool);
    p = bp_arena_alloc(a, 1000);
    stamp(p, 1000, 1);
    in_child(child_of_a_pool, p);
    ck_assert(stamped(p, 1000, 1));
    given(pool, a);
    pool_gone(pool);
    ck_assert_uint_eq(locked_memory(), 0);
}
END_TEST

static bool much_can_be_had(void)
{
    struct bp_extent e;

    if (locked->ops->acquire(locked, 7 * MIB, 7 * MIB, 16, &e) != 0)
        return false;
    dispose(&e);
    return true;
}

static Suite *locked_suite(void)
{
    Suite *s = suite_create("locked");
    TCase *tc = add_case(s, "contract");

    tcase_add_test(tc, locked_conforms);
    if (much_can_be_had())
        tcase_add_test(tc, locked_carries_arenas);
    else
        fprintf(stderr, "SKIP: locked_carries_arenas: RLIMIT_MEMLOCK is below 8 MiB\n");
    tcase_add_test(tc, what_the_kernel_shows);
    tcase_add_test(tc, an_ordinary_area_looks_different);
    tcase_add_test(tc, sizes_that_wrap);
    tc = add_case(s, "nothing is left");
    tcase_add_test(tc, overwritten_before_it_goes);
    tcase_add_loop_test(tc, unmapping_refused, 0, 2);
    tc = add_case(s, "fails closed");
    tcase_add_loop_test(tc, nothing_less_than_all, 0, REFUSALS);
    tcase_add_loop_test(tc, less_than_preferred, 0, REFUSALS);
    tcase_add_test(tc, probe_says_why);
    tcase_add_test(tc, needs_no_malloc);
    if (may_fork()) {
        tc = add_case(s, "processes");
        tcase_add_test(tc, gaps_fault);
        tcase_add_loop_test(tc, memlock_limit, 0, 2);
        tcase_add_test(tc, fork_wipes);
        tcase_add_test(tc, fork_wipes_blocks);
    } else {
        fprintf(stderr, "SKIP: faults, limits and fork: CK_FORK=no\n");
    }
    return s;
}

int main(void)
{
    int why = bp_backing_locked_probe();

    locked = bp_backing_locked();
    if (why != 0) {
        fprintf(stderr, "check_locked: SKIPPED: no locked memory here: %s\n", strerror(why));
        return 77;
    }
    return run_suite(locked_suite());
}
