/* SPDX-License-Identifier: MIT
 *
 * What the tests of backings share: children of fork that work at a limit, or die, and looks at /proc.
 */
#ifndef BUMPOOL_TESTS_LIMITS_H
#define BUMPOOL_TESTS_LIMITS_H

#include "support.h"

#include <bumpool/conformance.h>
#include <fcntl.h>
#include <signal.h>

/* In a child: says which line failed, without stdio or malloc, which may be at their limits. */
#define need(e)                                                                            \
    do {                                                                                   \
        if (!(e)) {                                                                        \
            static const char text_[] = __FILE__ ":" SUPPORT_STR(__LINE__) ": " #e "\n";   \
            (void)!write(STDERR_FILENO, text_, sizeof text_ - 1);                          \
            return 1;                                                                      \
        }                                                                                  \
    } while (0)

/* The status, as of waitpid, of a child that does the work and exits with its result. */
static inline int status_of(int (*work)(void *data), void *data)
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(work(data));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* An exit status of 77 is a skip, and the child has said why. */
static inline void in_child(int (*work)(void *data), void *data)
{
    int status = status_of(work, data);

    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77),
                  "child ended with status %x", (unsigned)status);
}

static inline bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* The sanitizers and Valgrind map memory of their own all the time and do not survive being refused any. */
static inline bool limits_can_be_tested(const char *test)
{
    bool can = !BP_CF_ASAN && !BP_CF_TSAN && !under_valgrind();

    if (!can)
        fprintf(stderr, "SKIP: %s: not under a sanitizer or Valgrind\n", test);
    return can;
}

static inline int limit(int which, size_t bytes)
{
    struct rlimit r = { bytes, bytes };

    return setrlimit((__rlimit_resource_t)which, &r);
}

/* ---- one access ---- */

enum access { READ, WRITE };

struct accessed {
    char *p;
    enum access how;
};

static inline int do_access(void *data)
{
    const struct accessed *a = data;

    (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer would write a report */
    if (a->how == READ)
        (void)*(volatile char *)a->p;
    else
        *(volatile char *)a->p = 1;
    return 0;
}

/* Whether an access ends a child by SIGSEGV; anything but that or success fails the test. */
static inline bool faults(void *p, enum access how)
{
    struct accessed a = { p, how };
    int status = status_of(do_access, &a);

    if (WIFSIGNALED(status)) {
        ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
        return true;
    }
    ck_assert_int_eq(status, 0);
    return false;
}

/* ---- /proc ---- */

/* The number after `key` in a file of /proc, without malloc; 0 when there is none. */
static inline size_t proc_number(const char *path, const char *key)
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

static inline size_t address_space(void)
{
    return proc_number("/proc/self/status", "VmSize:") * KIB;
}

static inline size_t locked_memory(void)
{
    return proc_number("/proc/self/status", "VmLck:") * KIB;
}

/* Whether smaps has this two-letter flag for the area that `p` lies in. */
static inline bool area_has(const void *p, const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    bool inside = false, has = false, known = false;
    char line[512];

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            inside = (uintptr_t)p >= from && (uintptr_t)p < to;
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            known = true;
            has = strstr(line + 8, flag) != NULL;
        }
    }
    fclose(f);
    ck_assert_msg(known, "no VmFlags for the area");
    return has;
}

/* Whether all of the range is mapped, accessible or not. */
static inline bool is_mapped(void *p, size_t n)
{
    size_t page = page_size(), i;
    unsigned char one;

    for (i = 0; i < n; i += page)
        if (mincore((char *)p + i, page, &one) != 0)
            return false;
    return true;
}

/* ---- backings ---- */

static inline void conforms(bp_backing *backing)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;

    options.largest = times(MIB, 128 * KIB);
    ck_assert_int_eq(bp_conformance_run(backing, &options, stderr), 0);
}

static inline struct bp_extent got(bp_backing *b, size_t min, size_t preferred, size_t align)
{
    struct bp_extent e;

    ck_assert_int_eq(b->ops->acquire(b, min, preferred, align, &e), 0);
    return e;
}

/* An acquire that fails as it should: with ENOMEM, and nothing changed. */
static inline void refused_to(bp_backing *b, size_t min, size_t preferred, size_t align)
{
    struct bp_extent e, untouched;
    int rc, saved = errno;

    memset(&untouched, 0x55, sizeof untouched);
    e = untouched;
    errno = E2BIG;
    rc = b->ops->acquire(b, min, preferred, align, &e);
    ck_assert_int_eq(errno, E2BIG);
    errno = saved;
    ck_assert_int_eq(rc, ENOMEM);
    ck_assert_int_eq(memcmp(&e, &untouched, sizeof e), 0);
}

/* Arenas of both policies, with marks and spills, and a pool, over a backing. */
static inline void carries_arenas(bp_backing *b)
{
    static const size_t sizes[] = { 16, 100, 5000, 40000 };
    struct bp_pool_config c = pool_config();
    bp_arena *a;
    bp_pool *pool;
    size_t i, k, round;
    char *p[64];

    for (i = 0; i < 4; i++) {
        a = i % 2 == 0 ? fixed_arena(b, 64 * sizes[i]) : spill_arena(b, sizes[i]);
        for (round = 0; round < 3; round++) {
            bp_mark mark = { 0 };

            for (k = 0; k < 64; k++) {
                if (k == 32)
                    mark = bp_arena_mark(a);
                p[k] = bp_arena_alloc(a, sizes[i] - 15);
                ck_assert_ptr_nonnull(p[k]);
                stamp(p[k], sizes[i] - 15, (unsigned)k);
            }
            for (k = 0; k < 64; k++)
                ck_assert(stamped(p[k], sizes[i] - 15, (unsigned)k));
            ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
            for (k = 0; k < 32; k++)
                ck_assert(stamped(p[k], sizes[i] - 15, (unsigned)k));
            ck_assert(all_bytes(bp_arena_zalloc(a, 32 * sizes[i]), 32 * sizes[i], 0));
            bp_arena_reset(a);
        }
        ck_assert_int_eq(bp_arena_destroy(a), 0);
    }

    c.arena_size = 8 * KIB;
    c.max_idle = 2;
    c.prefault = 4 * KIB;
    c.zero_on_give_back = true;
    pool = pool_on(b, &c);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1, NULL), 0);
    for (round = 0; round < 4; round++) {
        bp_arena *held[4];

        for (k = 0; k < 4; k++) {
            held[k] = taken(pool);
            p[k] = bp_arena_alloc(held[k], 3000 + 3000 * k);
            ck_assert_ptr_nonnull(p[k]);
            stamp(p[k], 3000 + 3000 * k, (unsigned)k);
        }
        for (k = 0; k < 4; k++) {
            ck_assert(stamped(p[k], 3000 + 3000 * k, (unsigned)k));
            given(pool, held[k]);
        }
        (void)bp_pool_release_idle(pool);
    }
    pool_gone(pool);
}

#endif
