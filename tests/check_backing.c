/* SPDX-License-Identifier: MIT
 * The stock backings, except the buffer (see check_buffer.c): the conformance suite over each in several
 * configurations, and what the suite cannot know: configuration, how commits grow, what happens at the
 * limits of a process, and that nothing is lost.
 *
 * Limits are set in child processes, which report by their exit status.
 */
#include "support.h"

#include <bumpool/conformance.h>
#include <fcntl.h>

/* In a child: says which line failed, without stdio or malloc, which may be at their limits. */
#define need(e)                                                                            \
    do {                                                                                   \
        if (!(e)) {                                                                        \
            static const char text_[] = __FILE__ ":" SUPPORT_STR(__LINE__) ": " #e "\n";   \
            (void)!write(STDERR_FILENO, text_, sizeof text_ - 1);                          \
            return 1;                                                                      \
        }                                                                                  \
    } while (0)

static void in_child(int (*work)(void))
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(work());
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child ended with status %x",
                  (unsigned)status);
}

/* The sanitizers and Valgrind map memory of their own all the time and do not survive being refused any. */
static bool limits_can_be_tested(const char *test)
{
    const char *preload = getenv("LD_PRELOAD");
    bool can = !BP_CF_ASAN && !BP_CF_TSAN && (preload == NULL || strstr(preload, "vgpreload") == NULL);

    if (!can)
        fprintf(stderr, "SKIP: %s: not under a sanitizer or Valgrind\n", test);
    return can;
}

/* The number after `key` in a file of /proc, without malloc; 0 when there is none. */
static size_t proc_number(const char *path, const char *key)
{
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    const char *at;

    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    at = strstr(text, key);
    return at == NULL ? 0 : strtoul(at + strlen(key), NULL, 10);
}

static size_t address_space(void)
{
    return proc_number("/proc/self/status", "VmSize:") * KIB;
}

static int limit(int which, size_t bytes)
{
    struct rlimit r = { bytes, bytes };

    return setrlimit((__rlimit_resource_t)which, &r);
}

static bool is_mapped(void *p, size_t n)
{
    unsigned char pages[256];

    return n <= sizeof pages * page_size() && mincore(p, n, pages) == 0;
}

static bool is_zero(const void *p, size_t n)
{
    const char *c = p;

    return c[0] == 0 && memcmp(c, c + 1, n - 1) == 0;
}

/* ---- conformance ---- */

static void conforms(bp_backing *backing)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;

    options.largest = times(MIB, 128 * KIB);
    ck_assert_int_eq(bp_conformance_run(backing, &options, stderr), 0);
}

START_TEST(malloc_conforms)
{
    conforms(bp_backing_malloc());
}
END_TEST

START_TEST(mmap_conforms)
{
    struct bp_mmap_config config = BP_MMAP_CONFIG_INIT;
    bp_backing *b;

    config.populate = (_i & 1) != 0;
    config.lazy_free = (_i & 2) != 0;
    ck_assert_int_eq(bp_backing_mmap_create(&config, &b), 0);
    conforms(b);
    bp_backing_destroy(b);
    if (_i == 0)
        conforms(bp_backing_mmap());
}
END_TEST

START_TEST(reserved_conforms)
{
    static const size_t reservations[] = { BP_RESERVATION_DEFAULT, 1, 300 * KIB, PTRDIFF_MAX };
    static const size_t steps[] = { 65536, 1, 3 * MIB, PTRDIFF_MAX };
    struct bp_reserved_config config = BP_RESERVED_CONFIG_INIT;
    bp_backing *b;

    if (_i == 3 && (BP_CF_TSAN || slow_run())) {
        fprintf(stderr, "SKIP: reserved_conforms: too much address space for TSan and Valgrind\n");
        return;
    }
    config.reservation = reservations[_i];
    config.commit_step = steps[_i == 3 ? 1 : _i];
    ck_assert_int_eq(bp_backing_reserved_create(&config, &b), 0);
    conforms(b);
    bp_backing_destroy(b);
    if (_i == 0)
        conforms(bp_backing_reserved());
    if (slow_run()) /* committing what is wished for, and that is much, takes Valgrind minutes */
        return;
    config.reservation = 100 * KIB;
    config.commit_step = steps[3];
    ck_assert_int_eq(bp_backing_reserved_create(&config, &b), 0);
    conforms(b);
    bp_backing_destroy(b);
}
END_TEST

/* ---- configuration ---- */

START_TEST(config_sizes)
{
    static const size_t bad[] = { 0, 1, sizeof(size_t), SIZE_MAX };
    struct bp_mmap_config m = BP_MMAP_CONFIG_INIT;
    struct bp_reserved_config r = BP_RESERVED_CONFIG_INIT;
    bp_backing *const untouched = (bp_backing *)(void *)&m;
    bp_backing *b = untouched;
    size_t i;

    for (i = 0; i < sizeof bad / sizeof bad[0] + 2; i++) {
        m.struct_size = i < 4 ? bad[i] : i == 4 ? sizeof m - 1 : sizeof m + 1;
        r.struct_size = i < 4 ? bad[i] : i == 4 ? sizeof r - 1 : sizeof r + 1;
        ck_assert_int_eq(bp_backing_mmap_create(&m, &b), EINVAL);
        ck_assert_int_eq(bp_backing_reserved_create(&r, &b), EINVAL);
        ck_assert_ptr_eq(b, untouched);
    }
    m.struct_size = sizeof m;
    r.struct_size = sizeof r;
    ck_assert_int_eq(bp_backing_mmap_create(&m, NULL), EINVAL);
    ck_assert_int_eq(bp_backing_reserved_create(&r, NULL), EINVAL);
}
END_TEST

START_TEST(reserved_config_values)
{
    static const size_t bad[] = { 0, (size_t)PTRDIFF_MAX + 1, SIZE_MAX };
    struct bp_reserved_config r = BP_RESERVED_CONFIG_INIT;
    bp_backing *b = NULL;

    r.reservation = bad[_i];
    ck_assert_int_eq(bp_backing_reserved_create(&r, &b), EINVAL);
    r.reservation = 1;
    r.commit_step = bad[_i];
    ck_assert_int_eq(bp_backing_reserved_create(&r, &b), EINVAL);
    ck_assert_ptr_null(b);
}
END_TEST

START_TEST(null_config_is_the_default)
{
    struct bp_extent e;
    bp_backing *b;

    ck_assert_int_eq(bp_backing_mmap_create(NULL, &b), 0);
    ck_assert_ptr_ne(b, bp_backing_mmap());
    bp_backing_destroy(b);
    ck_assert_int_eq(bp_backing_reserved_create(NULL, &b), 0);
    ck_assert_ptr_ne(b, bp_backing_reserved());
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), 0);
    ck_assert_uint_eq(e.committed, 65536);
    b->ops->dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

START_TEST(shared_instances_cannot_be_destroyed)
{
    bp_backing *b[3] = { bp_backing_malloc(), bp_backing_mmap(), bp_backing_reserved() };
    struct bp_extent e;
    size_t i;

    bp_backing_destroy(NULL);
    for (i = 0; i < 3; i++) {
        bp_backing_destroy(b[i]);
        bp_backing_destroy(b[i]);
        ck_assert_int_eq(b[i]->ops->acquire(b[i], 100, 100, 16, &e), 0);
        memset(e.base, 1, 100);
        b[i]->ops->dispose(b[i], &e);
    }
    ck_assert_ptr_eq(b[1], bp_backing_mmap());
}
END_TEST

START_TEST(errno_is_left_alone)
{
    struct bp_extent e;
    size_t released;
    struct place on;
    int err;

    place_open(&on, _i);
    errno = E2BIG;
    ck_assert_int_eq(on.backing->ops->acquire(on.backing, PTRDIFF_MAX - 65536, PTRDIFF_MAX, 16, &e), ENOMEM);
    err = on.backing->ops->acquire(on.backing, 64, BP_CF_TSAN ? MIB : PTRDIFF_MAX - 65536, 16, &e);
    ck_assert_int_eq(err, 0);
    ck_assert_int_eq(errno, E2BIG);
    if (on.backing->ops->commit != NULL) {
        err = on.backing->ops->commit(on.backing, &e, MIB);
        ck_assert_int_eq(err, 0);
    }
    if (on.backing->ops->release != NULL)
        ck_assert_int_eq(on.backing->ops->release(on.backing, &e, 0, e.committed, &released), 0);
    on.backing->ops->dispose(on.backing, &e);
    ck_assert_int_eq(errno, E2BIG);
    place_close(&on);
}
END_TEST

/* ---- mmap ---- */

START_TEST(populate_makes_resident)
{
    struct bp_mmap_config config = BP_MMAP_CONFIG_INIT;
    size_t pages = 64, size = pages * page_size();
    struct bp_extent e;
    bp_backing *b;

    no_huge_pages();
    config.populate = true;
    ck_assert_int_eq(bp_backing_mmap_create(&config, &b), 0);
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    ck_assert_uint_eq(pages_resident(e.base, size), pages);
    b->ops->dispose(b, &e);
    bp_backing_destroy(b);

    b = bp_backing_mmap();
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    ck_assert_uint_eq(pages_resident(e.base, size), 0);
    ck_assert_int_eq(b->ops->populate(b, &e, page_size() + 1, page_size()), 0); /* rounds outward */
    ck_assert_uint_eq(pages_resident(e.base, size), 2);
    b->ops->dispose(b, &e);
}
END_TEST

START_TEST(release_drops_pages)
{
    bp_backing *b = _i == 0 ? bp_backing_mmap() : bp_backing_reserved();
    size_t page = page_size(), size = 16 * page, released = 0;
    struct bp_extent e;

    no_huge_pages();
    ck_assert_int_eq(b->ops->acquire(b, size, size, 16, &e), 0);
    memset(e.base, 1, size);
    e.known_zero_from = size;
    ck_assert_uint_eq(pages_resident(e.base, size), 16);
    ck_assert_int_eq(b->ops->release(b, &e, page / 2, 4 * page, &released), 0);
    ck_assert_uint_eq(released, 3 * page);
    ck_assert_uint_eq(pages_resident(e.base, size), 13);
    ck_assert_uint_eq(e.known_zero_from, size); /* the range does not reach it */
    ck_assert_int_eq(b->ops->release(b, &e, 5 * page, 11 * page, &released), 0);
    ck_assert_uint_eq(released, 11 * page);
    ck_assert_uint_eq(e.known_zero_from, 5 * page);
    ck_assert_uint_eq(pages_resident(e.base, size), 2);
    b->ops->dispose(b, &e);
}
END_TEST

/* ---- reserved ---- */

START_TEST(reserved_grows_by_doubling)
{
    struct bp_reserved_config config = BP_RESERVED_CONFIG_INIT;
    size_t page = page_size(), expected, commits = 0;
    struct bp_extent e;
    bp_backing *b;

    config.reservation = 64 * MIB + 1;
    config.commit_step = 1;
    ck_assert_int_eq(bp_backing_reserved_create(&config, &b), 0);
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), 0);
    ck_assert_uint_eq(e.size, 64 * MIB + page);
    ck_assert_uint_eq(e.committed, page);
    ck_assert_uint_eq(e.page, page);
    for (expected = page; e.committed < e.size; commits++) {
        expected += expected < 4 * MIB ? expected : 4 * MIB;
        expected = expected < e.size ? expected : e.size;
        ck_assert_int_eq(b->ops->commit(b, &e, e.committed + 1), 0);
        ck_assert_uint_eq(e.committed, expected);
    }
    ck_assert_uint_lt(commits, 40);
    b->ops->dispose(b, &e);

    /* more than a step at once: what was asked, in whole pages */
    ck_assert_int_eq(b->ops->acquire(b, 1, 1, 16, &e), 0);
    ck_assert_int_eq(b->ops->commit(b, &e, 20 * MIB + 1), 0);
    ck_assert_uint_eq(e.committed, 20 * MIB + page);
    b->ops->dispose(b, &e);
    /* a wish above the configured reservation counts */
    ck_assert_int_eq(b->ops->acquire(b, 1, 100 * MIB, 16, &e), 0);
    ck_assert_uint_eq(e.size, 100 * MIB);
    b->ops->dispose(b, &e);
    /* but not without end, unless it is what is needed */
    ck_assert_int_eq(b->ops->acquire(b, 1, PTRDIFF_MAX, 16, &e), 0);
    ck_assert_uint_le(e.size, sizeof(size_t) > 4 ? 16384 * MIB : 256 * MIB);
    b->ops->dispose(b, &e);
    ck_assert_int_eq(b->ops->acquire(b, 300 * MIB + 1, PTRDIFF_MAX, 16, &e), 0);
    ck_assert_uint_ge(e.size, 300 * MIB + 1);
    b->ops->dispose(b, &e);
    bp_backing_destroy(b);
}
END_TEST

/* Areas of /proc/self/maps that overlap the extent. */
static size_t areas_of(const struct bp_extent *e)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned long from, to, base = (unsigned long)(uintptr_t)e->base;
    char line[512];
    size_t n = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx", &from, &to) == 2)
            n += from < base + e->size && to > base;
    }
    fclose(f);
    return n;
}

START_TEST(reserved_is_two_areas)
{
    bp_backing *b = bp_backing_reserved();
    struct bp_extent e;
    size_t released;

    ck_assert_int_eq(b->ops->acquire(b, 64 * MIB, 64 * MIB, 16, &e), 0);
    while (e.committed < 48 * MIB) {
        ((char *)e.base)[e.committed - 1] = 1; /* memory that was used is harder to merge */
        ck_assert_int_eq(b->ops->commit(b, &e, e.committed + 1), 0);
        ck_assert_uint_le(areas_of(&e), 2);
        ck_assert_int_eq(b->ops->release(b, &e, e.committed / 4, e.committed / 2, &released), 0);
        ck_assert_uint_le(areas_of(&e), 2);
    }
    b->ops->dispose(b, &e);
}
END_TEST

/* ---- limits ---- */

/* An alignment that there is no room to look for: ENOMEM, unless the first range tried has it by chance. */
static bool refused_or_lucky(bp_backing *b, size_t size, size_t align)
{
    struct bp_extent e;
    int rc = b->ops->acquire(b, size, size, align, &e);

    if (rc != 0)
        return rc == ENOMEM;
    b->ops->dispose(b, &e);
    return is_aligned(e.base, align);
}

static int at_address_space_limit(void)
{
    bp_backing *reserved = bp_backing_reserved(), *mapped = bp_backing_mmap();
    struct bp_extent e, f, untouched = { .size = 12345 };
    size_t before, i;

    before = address_space();
    need(before > 0 && limit(RLIMIT_AS, before + 64 * MIB) == 0);

    need(reserved->ops->acquire(reserved, 64, 64, 16, &e) == 0);
    need(e.size <= 64 * MIB && e.size >= 16 * MIB);
    need((e.size & (e.size - 1)) == 0); /* halved, not guessed */
    need(reserved->ops->commit(reserved, &e, MIB) == 0);
    memset(e.base, 1, MIB);
    reserved->ops->dispose(reserved, &e);

    need(reserved->ops->acquire(reserved, 40 * MIB + 5, 500 * MIB, 16, &e) == 0);
    need(e.size >= 40 * MIB + 5 && e.size <= 64 * MIB);
    f = untouched; /* no room for a second one */
    need(reserved->ops->acquire(reserved, 40 * MIB, 40 * MIB, 16, &f) == ENOMEM);
    need(mapped->ops->acquire(mapped, 40 * MIB, 40 * MIB, 16, &f) == ENOMEM);
    need(f.size == untouched.size && f.base == NULL);
    reserved->ops->dispose(reserved, &e);

    need(mapped->ops->acquire(mapped, MIB, 80 * MIB, 16, &e) == 0);
    need(e.size == MIB && is_zero(e.base, MIB));
    mapped->ops->dispose(mapped, &e);
    for (i = 0; i < 100; i++) { /* alignment that needs more than there is */
        need(refused_or_lucky(mapped, 40 * MIB, 64 * MIB));
        need(refused_or_lucky(reserved, 40 * MIB, 64 * MIB));
        need(mapped->ops->acquire(mapped, MIB, 40 * MIB, 16 * MIB, &e) == 0);
        need(is_aligned(e.base, 16 * MIB));
        mapped->ops->dispose(mapped, &e);
    }
    need(address_space() <= before + 64 * KIB);
    return 0;
}

START_TEST(address_space_limit)
{
    if (limits_can_be_tested("address_space_limit"))
        in_child(at_address_space_limit);
}
END_TEST

/* RLIMIT_DATA refuses writable memory as strict accounting does, and reservations are free under both. */
static int at_memory_limit(void)
{
    struct bp_reserved_config config = { sizeof config, 64 * MIB, MIB };
    size_t page = page_size(), data, before;
    struct bp_extent e;
    bp_backing *b;

    need(bp_backing_reserved_create(&config, &b) == 0);
    before = address_space();
    data = proc_number("/proc/self/status", "VmData:") * KIB;
    need(data > 0 && limit(RLIMIT_DATA, data + 5 * MIB / 2) == 0);
    need(b->ops->acquire(b, 1, 1, 16, &e) == 0);
    need(e.size == 64 * MIB && e.committed == MIB);
    need(b->ops->commit(b, &e, MIB + 1) == 0);
    need(e.committed == 2 * MIB); /* doubled */
    need(b->ops->commit(b, &e, 2 * MIB + 1) == 0);
    need(e.committed == 2 * MIB + page); /* doubling refused: just what was asked */
    need(b->ops->commit(b, &e, 8 * MIB) == ENOMEM);
    need(e.committed == 2 * MIB + page);
    memset(e.base, 1, e.committed);
    b->ops->dispose(b, &e);

    need(limit(RLIMIT_DATA, data + 4 * page) == 0);
    need(b->ops->acquire(b, 1, 1, 16, &e) == 0);
    need(e.committed == page); /* the first step refused: a page will do */
    b->ops->dispose(b, &e);
    need(limit(RLIMIT_DATA, data) == 0);
    need(b->ops->acquire(b, 1, 1, 16, &e) == ENOMEM);
    need(address_space() == before);
    return 0;
}

START_TEST(memory_limit)
{
    if (limits_can_be_tested("memory_limit"))
        in_child(at_memory_limit);
}
END_TEST

#define AREAS_MAX 300000

/* Splits a mapping page by page until the system refuses; returns false when it never does. */
static bool use_up_areas(char *p, size_t pages)
{
    size_t i;

    for (i = 0; i < pages; i += 2)
        if (mprotect(p + i * page_size(), page_size(), PROT_READ) != 0)
            return errno == ENOMEM;
    return false;
}

static int at_area_limit(void)
{
    enum { COUNT = 16 };
    bp_backing *b = bp_backing_mmap();
    size_t page = page_size(), size = 16 * page, pages = 2 * AREAS_MAX, i, k, middle = COUNT;
    struct bp_extent e[COUNT], again;
    char *filler;

    /* the filler first, so that the extents have only each other for neighbours */
    filler = mmap(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    need(filler != MAP_FAILED);
    for (i = 0; i < COUNT; i++) {
        need(b->ops->acquire(b, size, size, 16, &e[i]) == 0);
        memset(e[i].base, 1, size);
    }
    /* one that has a neighbour on both sides is inside of an area */
    for (i = 0; i < COUNT && middle == COUNT; i++) {
        int sides = 0;

        for (k = 0; k < COUNT; k++) {
            sides += (char *)e[k].base + size == (char *)e[i].base;
            sides += (char *)e[i].base + size == (char *)e[k].base;
        }
        if (sides == 2)
            middle = i;
    }
    need(middle < COUNT);
    need(use_up_areas(filler, pages));

    b->ops->dispose(b, &e[middle]);
    need(is_mapped(e[middle].base, size)); /* refused, as wanted */
    need(b->ops->acquire(b, size / 2, size / 2, 16, &again) == 0);
    need(again.base == e[middle].base && again.size == size / 2 && again.known_zero_from == 0);
    need(is_zero(again.base, size / 2));
    memset(again.base, 2, size / 2);
    b->ops->dispose(b, &again);
    need(is_mapped(e[middle].base, size));

    /* room again: the next dispose takes the kept ranges along */
    need(munmap(filler, pages * page) == 0);
    i = middle == 0 ? 1 : 0;
    b->ops->dispose(b, &e[i]);
    need(!is_mapped(e[i].base, size));
    need(!is_mapped(e[middle].base, size / 2));
    need(!is_mapped((char *)e[middle].base + size / 2, size / 2));
    for (k = 0; k < COUNT; k++) {
        if (k != i && k != middle)
            b->ops->dispose(b, &e[k]);
    }
    return 0;
}

START_TEST(area_limit)
{
    size_t max = proc_number("/proc/sys/vm/max_map_count", "");

    if (max == 0 || max > AREAS_MAX)
        fprintf(stderr, "SKIP: area_limit: vm.max_map_count is %zu, the test reaches %d\n", max, AREAS_MAX);
    else if (limits_can_be_tested("area_limit"))
        in_child(at_area_limit);
}
END_TEST

static Suite *backing_suite(void)
{
    Suite *s = suite_create("backing");
    TCase *tc = add_case(s, "conformance");

    tcase_add_test(tc, malloc_conforms);
    tcase_add_loop_test(tc, mmap_conforms, 0, 4);
    tcase_add_loop_test(tc, reserved_conforms, 0, 4);
    tc = add_case(s, "config");
    tcase_add_test(tc, config_sizes);
    tcase_add_loop_test(tc, reserved_config_values, 0, 3);
    tcase_add_test(tc, null_config_is_the_default);
    tcase_add_test(tc, shared_instances_cannot_be_destroyed);
    tcase_add_loop_test(tc, errno_is_left_alone, 0, BACKINGS);
    tc = add_case(s, "pages");
    tcase_add_test(tc, populate_makes_resident);
    tcase_add_loop_test(tc, release_drops_pages, 0, 2);
    tcase_add_test(tc, reserved_grows_by_doubling);
    tcase_add_test(tc, reserved_is_two_areas);
    tc = add_case(s, "limits");
    tcase_add_test(tc, address_space_limit);
    tcase_add_test(tc, memory_limit);
    tcase_add_test(tc, area_limit);
    return s;
}

int main(void)
{
    return run_suite(backing_suite());
}
