/* SPDX-License-Identifier: MIT
 *
 * What the programs about checked mode share: a recorder of reports with their stacks, and looks and writes
 * at memory that no tool sees, since to touch what is no block's is what they are about.
 */
#ifndef CHECKED_H
#define CHECKED_H

#include "support.h"

#include <fcntl.h>

/* Not GUARD, for there some of the errors fault. */
static const unsigned check_sets[] = {
    BP_CHECK_REDZONE,
    BP_CHECK_POISON,
    BP_CHECK_QUARANTINE,
    BP_CHECK_FILL,
    BP_CHECK_REDZONE | BP_CHECK_POISON,
    BP_CHECK_POISON | BP_CHECK_QUARANTINE,
    BP_CHECK_REDZONE | BP_CHECK_POISON | BP_CHECK_QUARANTINE | BP_CHECK_FILL,
};
enum { CHECK_SETS = sizeof check_sets / sizeof check_sets[0] };

#define CHECK_ZONES (BP_CHECK_REDZONE | BP_CHECK_POISON | BP_CHECK_QUARANTINE | BP_CHECK_FILL)

/* ---- behind the tools' backs ---- */

static inline int memory_fd(void)
{
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC); /* each time: a child of fork has its own memory */

    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline void poke(const void *p, size_t offset, unsigned char value)
{
    int fd = memory_fd();

    ck_assert_int_eq(pwrite(fd, &value, 1, (off_t)((uintptr_t)p + offset)), 1);
    close(fd);
}

static inline unsigned char peek(const void *p, size_t offset)
{
    int fd = memory_fd();
    unsigned char value = 0;

    ck_assert_int_eq(pread(fd, &value, 1, (off_t)((uintptr_t)p + offset)), 1);
    close(fd);
    return value;
}

/* Whether `n` bytes at `p` are all `value`. */
static inline bool peek_all(const void *p, size_t n, unsigned char value)
{
    unsigned char *copy = malloc(n);
    int fd = memory_fd();
    size_t i = 0;

    ck_assert_ptr_nonnull(copy);
    ck_assert_int_eq(pread(fd, copy, n, (off_t)(uintptr_t)p), (ssize_t)n);
    close(fd);
    while (i < n && copy[i] == value)
        i++;
    free(copy);
    return i == n;
}

/* ---- reports ---- */

enum { REPORTS = 8 };

struct reports {
    int count;
    struct report {
        enum bp_misuse_kind kind;
        const bp_pool *pool;
        const bp_arena *arena;
        char message[256];
        size_t depth;
        void *stack[32];
    } item[REPORTS];
};

static inline void reports_note(const struct bp_misuse *m, void *data)
{
    struct reports *all = data;
    struct report *r = &all->item[all->count < REPORTS ? all->count : REPORTS - 1];

    all->count++;
    r->kind = m->kind;
    r->pool = m->pool;
    r->arena = m->arena;
    snprintf(r->message, sizeof r->message, "%s", m->message);
    r->depth = m->stack_depth < 32 ? m->stack_depth : 32;
    if (r->depth != 0)
        memcpy(r->stack, m->stack, r->depth * sizeof r->stack[0]);
}

static inline void reports_listen(struct reports *all)
{
    memset(all, 0, sizeof *all);
    bp_set_misuse_handler(reports_note, all);
}

/* Exactly one since the last look. */
static inline struct report reported(struct reports *all, enum bp_misuse_kind kind, const bp_pool *pool,
                                     const bp_arena *arena)
{
    struct report r = all->item[0];

    ck_assert_msg(all->count == 1, "%d reports, the first: %s", all->count, all->count == 0 ? "" : r.message);
    ck_assert_int_eq((int)r.kind, (int)kind);
    ck_assert_ptr_eq(r.pool, pool);
    ck_assert_ptr_eq(r.arena, arena);
    ck_assert_ptr_null(strchr(r.message, '\n'));
    all->count = 0;
    return r;
}

static inline void nothing_reported(const struct reports *all)
{
    ck_assert_msg(all->count == 0, "%d reports, the first: %s", all->count, all->item[0].message);
}

static inline void says(const struct report *r, const char *words)
{
    ck_assert_msg(strstr(r->message, words) != NULL, "\"%s\" is not in \"%s\"", words, r->message);
}

/* ---- arenas ---- */

static inline bp_arena *checked_arena(bp_backing *backing, size_t size, enum bp_arena_policy policy,
                                      unsigned checks)
{
    struct bp_arena_config config = BP_ARENA_CONFIG_INIT;
    bp_arena *a = NULL;

    config.size = size;
    config.policy = policy;
    config.checks = checks;
    ck_assert_int_eq(bp_arena_create(backing, &config, &a), 0);
    ck_assert_ptr_nonnull(a);
    return a;
}

/* A block whose allocation is here and nowhere else. */
__attribute__((noinline, unused)) static void *block_here(bp_arena *a, size_t size)
{
    void *p = bp_arena_alloc(a, size);

    __asm__ volatile("" : "+r"(p)); /* no tail call */
    return p;
}

/* The innermost frame of the program's is in block_here; the library itself may have some before it that a
 * build for a sanitizer does not optimise away. */
static inline void from_block_here(const struct report *r)
{
#ifdef SUPPORT_SANITIZED
    size_t most = 3;
#else
    size_t most = 1;
#endif
    size_t i = 0;

    ck_assert_uint_gt(r->depth, 0);
    while (i < r->depth && (uintptr_t)r->stack[i] - (uintptr_t)block_here >= 400)
        i++;
    ck_assert_uint_lt(i, r->depth);
    ck_assert_uint_lt(i, most);
}

#endif
