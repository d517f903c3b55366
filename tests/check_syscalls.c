/* SPDX-License-Identifier: MIT
 * The steady state asks the kernel for nothing: after warm-up a million units of work, each checkout, 32 KiB
 * of allocations and give_back, make no system call and no page fault, over every backing. And zeroed
 * memory is written only where it is dirty.
 *
 * System calls are made fatal by a seccomp filter in a child process, page faults counted by getrusage.
 * Where neither can be had, or a sanitizer or Valgrind makes its own, that is said and skipped.
 */
#include "support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

/* ---- system calls made fatal ---- */

enum { MADE_A_CALL = 9, NO_FILTER = 10, UNIT_FAILED = 11 };

static void on_call(int signal_number, siginfo_t *info, void *context)
{
    char text[64];
    int n;

    (void)signal_number;
    (void)context;
    n = snprintf(text, sizeof text, "system call %d\n", info->si_syscall);
    (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(MADE_A_CALL);
}

/* From here on any system call but write and exit_group ends the process with MADE_A_CALL. */
static bool forbid_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof code[0], code };
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_call;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGSYS, &action, NULL) != 0)
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return false;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The exit status of a child that forbids itself system calls and then runs `body`. */
static int in_silence(int (*body)(void *), void *data)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        int rc;

        if (!forbid_calls())
            _exit(NO_FILTER);
        rc = body(data);
        _exit(rc);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int do_nothing(void *data)
{
    (void)data;
    return 0;
}

static int call_getppid(void *data)
{
    (void)data;
    (void)getppid();
    return 0;
}

static bool calls_can_be_seen(void)
{
    return may_fork() && faults_are_ours() && in_silence(do_nothing, NULL) == 0;
}

/* ---- a unit of work ---- */

struct place_and_pool {
    struct place on;
    bp_pool *pool;
    bp_arena *arena;
};

/* 32 KiB in blocks of 16 to 1,024 bytes, each written to. */
static bool fill_32k(bp_arena *a)
{
    size_t left = 32 * KIB, size = 16;

    while (left != 0) {
        char *p;

        size = size > left ? left : size;
        p = bp_arena_alloc(a, size);
        if (p == NULL)
            return false;
        p = seen(p);
        p[0] = 1;
        p[size - 1] = 2;
        left -= size;
        size = size == 1024 ? 16 : size * 2;
    }
    return true;
}

static bool units(bp_pool *pool, size_t n)
{
    bp_arena *a = NULL;

    for (; n != 0; n--)
        if (bp_pool_checkout(pool, &a) != 0 || !fill_32k(a) || bp_pool_give_back(pool, a) != 0)
            return false;
    return true;
}

static size_t many(void)
{
    return times(1000000, 2000);
}

enum { WITHIN, SPILLING, SHAPES };

/* WITHIN: arenas that hold a unit. SPILLING: arenas that do not, and keep their spares. */
static void open_warm(struct place_and_pool *p, int which)
{
    struct bp_pool_config c = pool_config();

    place_open(&p->on, which / SHAPES);
    c.arena_size = which % SHAPES == WITHIN ? 64 * KIB : 4096;
    p->pool = pool_on(p->on.backing, &c);
    ck_assert(units(p->pool, 1000));
}

static void close_warm(struct place_and_pool *p)
{
    pool_gone(p->pool);
    place_close(&p->on);
}

static int units_in_child(void *data)
{
    struct place_and_pool *p = data;

    return units(p->pool, many()) ? 0 : UNIT_FAILED;
}

/* ---- buckets ---- */

struct place_and_buckets {
    struct place on;
    bp_buckets *b;
};

/* Buffers of many sizes, three at a time, those of the first half of a cycle put back in another order. */
static bool buffers(bp_buckets *b, size_t n)
{
    struct bp_buffer x[3];
    size_t size = 1, k;

    for (; n != 0; n--) {
        for (k = 0; k < 3; k++) {
            if (bp_buckets_get(b, size, &x[k]) != 0)
                return false;
            ((char *)seen(x[k].data))[0] = 1;
            ((char *)seen(x[k].data))[x[k].capacity - 1] = 2;
        }
        for (k = 0; k < 3; k++)
            if (bp_buckets_put(b, &x[n % 2 == 0 ? k : 2 - k]) != 0)
                return false;
        size = size > 200000 ? 1 : size + size / 2 + 1;
    }
    return true;
}

static void open_buckets(struct place_and_buckets *p, int which)
{
    struct bp_buckets_config c = BP_BUCKETS_CONFIG_INIT;

    place_open(&p->on, which);
    c.step = BP_BUCKETS_QUARTER;
    c.max_kept_bytes = 16 * MIB;
    ck_assert_int_eq(bp_buckets_create(p->on.backing, &c, &p->b), 0);
    ck_assert(buffers(p->b, 1000));
}

static void close_buckets(struct place_and_buckets *p)
{
    ck_assert_int_eq(bp_buckets_destroy(p->b), 0);
    place_close(&p->on);
}

static int buffers_in_child(void *data)
{
    struct place_and_buckets *p = data;

    return buffers(p->b, many()) ? 0 : UNIT_FAILED;
}

START_TEST(buckets_make_no_system_call)
{
    struct place_and_buckets p;

    open_buckets(&p, _i);
    ck_assert_int_eq(in_silence(buffers_in_child, &p), 0);
    close_buckets(&p);
}
END_TEST

START_TEST(the_counter_sees_a_call)
{
    ck_assert_int_eq(in_silence(do_nothing, NULL), 0);
    ck_assert_int_eq(in_silence(call_getppid, NULL), MADE_A_CALL);
}
END_TEST

START_TEST(pool_makes_no_system_call)
{
    struct place_and_pool p;

    open_warm(&p, _i);
    ck_assert_int_eq(in_silence(units_in_child, &p), 0);
    close_warm(&p);
}
END_TEST

static int resets_in_child(void *data)
{
    struct place_and_pool *p = data;
    size_t i;

    for (i = 0; i < many() / 10; i++) {
        bp_mark mark = bp_arena_mark(p->arena);

        if (!fill_32k(p->arena) || bp_arena_rewind(p->arena, mark) != 0 || !fill_32k(p->arena) ||
            bp_arena_printf(p->arena, "%d %s", 5, "text") == NULL || bp_arena_zalloc(p->arena, 1000) == NULL)
            return UNIT_FAILED;
        bp_arena_reset(p->arena);
    }
    return 0;
}

START_TEST(arena_makes_no_system_call)
{
    struct place_and_pool p;
    int i;

    place_open(&p.on, _i / SHAPES);
    p.arena = spill_arena(p.on.backing, _i % SHAPES == WITHIN ? 64 * KIB : 4096);
    for (i = 0; i < 10; i++) {
        ck_assert(fill_32k(p.arena) && fill_32k(p.arena));
        bp_arena_reset(p.arena);
    }
    ck_assert_int_eq(in_silence(resets_in_child, &p), 0);
    ck_assert_int_eq(bp_arena_destroy(p.arena), 0);
    place_close(&p.on);
}
END_TEST

static int cycles_of_the_buffer(void *data)
{
    static char memory[256 * 1024];
    struct bp_buffer_backing buffer;
    bp_arena *a = NULL;
    int i;

    (void)data;
    if (bp_backing_buffer_init(&buffer, memory, sizeof memory) != 0)
        return UNIT_FAILED;
    for (i = 0; i < 1000; i++)
        if (bp_arena_create(&buffer.backing, NULL, &a) != 0 || !fill_32k(a) || !fill_32k(a) || !fill_32k(a) ||
            bp_arena_destroy(a) != 0)
            return UNIT_FAILED;
    return 0;
}

START_TEST(buffer_makes_no_system_call_from_the_start)
{
    ck_assert_int_eq(in_silence(cycles_of_the_buffer, NULL), 0);
}
END_TEST

/* ---- page faults ---- */

START_TEST(the_counter_sees_a_fault)
{
    long before = faults_so_far();
    char *p = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(p, MAP_FAILED);
    *(char *)seen(p) = 1;
    ck_assert_int_ge(faults_so_far() - before, 1);
    munmap(p, 64 * KIB);
}
END_TEST

START_TEST(pool_makes_no_page_fault)
{
    struct place_and_pool p;
    long before, after;

    open_warm(&p, _i);
    (void)faults_so_far();
    before = faults_so_far();
    must(units(p.pool, many()));
    after = faults_so_far();
    ck_assert_int_eq(after - before, 0);
    close_warm(&p);
}
END_TEST

START_TEST(buckets_make_no_page_fault)
{
    struct place_and_buckets p;
    long before, after;

    open_buckets(&p, _i);
    (void)faults_so_far();
    before = faults_so_far();
    must(buffers(p.b, many()));
    after = faults_so_far();
    ck_assert_int_eq(after - before, 0);
    close_buckets(&p);
}
END_TEST

/* ---- zeros that nobody writes ---- */

static bp_backing *paged(int i)
{
    return i == 0 ? bp_backing_mmap() : bp_backing_reserved();
}

START_TEST(fresh_memory_is_not_written)
{
    bp_arena *a;
    char *p;
    long before, after;

    no_huge_pages();
    a = spill_arena(paged(_i % 2), _i < 2 ? 16 * MIB : 4096); /* in the first extent; after growth */
    before = faults_so_far();
    p = bp_arena_zalloc(a, 16 * MIB);
    after = faults_so_far();
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_le(pages_resident(p, 16 * MIB), 2);
    if (faults_are_ours())
        ck_assert_int_le(after - before, 8);
    ck_assert(all_bytes(p, 16 * MIB, 0));
    memset(p, 1, 16 * MIB);
    ck_assert_uint_ge(pages_resident(p, 16 * MIB), 16 * MIB / page_size() - 1); /* the looking works */
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

/* The first 64 KiB of 1 MiB are dirty: they are cleared and the rest is not touched. */
START_TEST(used_memory_is_written_where_it_was_touched)
{
    const size_t dirty = 64 * KIB;
    bp_arena *a;
    bp_mark mark;
    char *p;

    no_huge_pages();
    a = arena_on(paged(_i % 2), MIB, BP_ARENA_FIXED, 0);
    p = bp_arena_alloc(a, dirty);
    memset(seen(p), 0x6D, dirty);
    bp_arena_reset(a);
    ck_assert_ptr_eq(seen(bp_arena_zalloc(a, MIB)), p);
    ck_assert_uint_le(pages_resident(p, MIB), dirty / page_size() + 2);
    ck_assert_uint_ge(pages_resident(p, dirty), dirty / page_size() - 1);
    ck_assert(all_bytes(p, dirty, 0));
    ck_assert(all_bytes(p, MIB, 0));
    ck_assert_int_eq(bp_arena_destroy(a), 0);

    /* the same after a rewind, and in two pieces whose border lies in the dirty part */
    a = arena_on(paged(_i % 2), MIB, BP_ARENA_FIXED, 0);
    mark = bp_arena_mark(a);
    p = bp_arena_alloc(a, dirty);
    memset(seen(p), 0x6D, dirty);
    ck_assert_int_eq(bp_arena_rewind(a, mark), 0);
    ck_assert_ptr_eq(seen(bp_arena_calloc(a, 10, 1000)), p);
    ck_assert_ptr_nonnull(bp_arena_zalloc(a, MIB - 10000));
    ck_assert_uint_le(pages_resident(p, MIB), dirty / page_size() + 2);
    ck_assert(all_bytes(p, MIB, 0));
    ck_assert_int_eq(bp_arena_destroy(a), 0);
}
END_TEST

START_TEST(used_pool_memory_is_written_where_it_was_touched)
{
    struct bp_pool_config c = pool_config();
    const size_t dirty = 64 * KIB;
    bp_pool *pool;
    bp_arena *a;
    char *p;
    int round;

    no_huge_pages();
    c.arena_size = MIB;
    pool = pool_on(paged(_i), &c);
    for (round = 0; round < 3; round++) {
        a = taken(pool);
        p = bp_arena_alloc(a, dirty);
        memset(seen(p), 0x6D, dirty);
        given(pool, a);
        ck_assert_ptr_eq(taken(pool), a);
        ck_assert_ptr_eq(seen(bp_arena_zalloc(a, MIB)), p);
        ck_assert_uint_le(pages_resident(p, MIB), dirty / page_size() + 2);
        ck_assert(all_bytes(p, MIB, 0));
        given(pool, a);
        ck_assert_uint_gt(bp_pool_release_idle(pool), 0); /* reading made pages resident: drop those too */
    }
    pool_gone(pool);
}
END_TEST

static Suite *syscalls_suite(void)
{
    Suite *s = suite_create("system calls");
    TCase *tc;

    if (calls_can_be_seen()) {
        tc = add_case(s, "system calls");
        tcase_add_test(tc, the_counter_sees_a_call);
        tcase_add_loop_test(tc, pool_makes_no_system_call, 0, SHAPES * BACKINGS);
        tcase_add_loop_test(tc, arena_makes_no_system_call, 0, SHAPES * BACKINGS);
        tcase_add_test(tc, buffer_makes_no_system_call_from_the_start);
        tcase_add_loop_test(tc, buckets_make_no_system_call, 0, BACKINGS);
    } else {
        fprintf(stderr, "check_syscalls: SKIPPED system calls: no seccomp filter here, or CK_FORK=no, "
                        "or the run is instrumented\n");
    }
    if (faults_are_ours()) {
        tc = add_case(s, "page faults");
        tcase_add_test(tc, the_counter_sees_a_fault);
        tcase_add_loop_test(tc, pool_makes_no_page_fault, 0, SHAPES * BACKINGS);
        tcase_add_loop_test(tc, buckets_make_no_page_fault, 0, BACKINGS);
    } else {
        fprintf(stderr, "check_syscalls: SKIPPED page faults: no RUSAGE_THREAD, or the run is "
                        "instrumented\n");
    }
    tc = add_case(s, "zeros");
    tcase_add_loop_test(tc, fresh_memory_is_not_written, 0, 4);
    tcase_add_loop_test(tc, used_memory_is_written_where_it_was_touched, 0, 2);
    tcase_add_loop_test(tc, used_pool_memory_is_written_where_it_was_touched, 0, 2);
    return s;
}

int main(void)
{
    bool counted = calls_can_be_seen() || faults_are_ours();
    int rc = run_suite(syscalls_suite());

    return rc == EXIT_SUCCESS && !counted ? 77 : rc;
}
