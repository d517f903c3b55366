/* SPDX-License-Identifier: MIT
 * bumpool-bench choices: the measurements behind two decisions of doc/design.md.
 *
 * How a block is aligned: three ways to write the inline path, replaying a trace over one warm buffer.
 * How a thread finds its arena again: a checkout and give_back pair through lanes with plain stores,
 * through lanes with seq_cst operations (the library in a child that is refused membarrier), and a list
 * behind a mutex. Ratios to the way that was chosen, paired by round.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <bumpool.h>

#include "counters.h"
#include "replay.h"
#include "table.h"

enum { ROUNDS = 21, PAIRS = 200000, WAYS_MAX = 3 };

/* ---- three inline paths ---- */

struct bump {
    char *cursor, *end;
    char *start;
};

static struct bump *bump_begin(struct bump *a)
{
    a->cursor = a->start;
    return a;
}

/* The size is rounded up; the cursor is always aligned. */
static inline void *alloc_round_size(struct bump *a, size_t size)
{
    char *p = a->cursor;

    if (UNLIKELY(size > (size_t)(a->end - p)))
        return NULL;
    a->cursor = p + ((size + 15) & ~(size_t)15);
    return p;
}

/* The cursor is rounded up first; blocks of a smaller alignment could be packed. Needs an aligned end. */
static inline void *alloc_round_cursor(struct bump *a, size_t size)
{
    uintptr_t p = ((uintptr_t)a->cursor + 15) & ~(uintptr_t)15;

    if (UNLIKELY(size > (size_t)((uintptr_t)a->end - p)))
        return NULL;
    a->cursor = (char *)p + size;
    return (char *)p;
}

/* The same for any alignment and any end: padding is checked, then the size. */
static inline void *alloc_check_pad(struct bump *a, size_t size)
{
    size_t pad = (size_t)(0 - (uintptr_t)a->cursor) & 15, room = (size_t)(a->end - a->cursor);
    char *p;

    if (UNLIKELY(pad > room || size > room - pad))
        return NULL;
    p = a->cursor + pad;
    a->cursor = p + size;
    return p;
}

#define END(state, unit, n) ((void)(n))
#define ALLOC(state, unit, size, i) alloc_round_size(unit, size)
REPLAY_DEFINE(replay_round_size, struct bump, struct bump, bump_begin, ALLOC, END)
#undef ALLOC
#define ALLOC(state, unit, size, i) alloc_round_cursor(unit, size)
REPLAY_DEFINE(replay_round_cursor, struct bump, struct bump, bump_begin, ALLOC, END)
#undef ALLOC
#define ALLOC(state, unit, size, i) alloc_check_pad(unit, size)
REPLAY_DEFINE(replay_check_pad, struct bump, struct bump, bump_begin, ALLOC, END)

/* ---- three ways to a warm arena ---- */

static bool pool_pairs(bp_pool *pool, long count)
{
    bp_arena *arena;

    for (long i = 0; i < count; i++)
        if (bp_pool_checkout(pool, &arena) != 0 || bp_pool_give_back(pool, arena) != 0)
            return false;
    return true;
}

static int pairs_alone(long count)
{
    bp_pool *pool;

    if (bp_pool_create(NULL, NULL, &pool) != 0 || !pool_pairs(pool, count) || bp_pool_destroy(pool) != 0) {
        complain("a pair failed");
        return FAILED;
    }
    return DONE;
}

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node {
    struct node *next;
} list_node, *volatile list = &list_node;

static void mutex_pairs(void)
{
    for (int i = 0; i < PAIRS; i++) {
        struct node *node;

        pthread_mutex_lock(&list_lock);
        node = list;
        list = node->next;
        pthread_mutex_unlock(&list_lock);
        pthread_mutex_lock(&list_lock);
        node->next = list;
        list = node;
        pthread_mutex_unlock(&list_lock);
    }
}

static bool refuse_membarrier(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {(unsigned short)(sizeof(filter) / sizeof(filter[0])), filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* A child that times pairs whenever it is sent a byte, without membarrier. Its first pool must be the
 * process's first too, so this comes before any other use of the library. */
struct server {
    int ask[2], answer[2];
    pid_t pid;
};

static bool server_start(struct server *s)
{
    bp_pool *pool;
    char byte;

    if (pipe(s->ask) != 0 || pipe(s->answer) != 0 || (s->pid = fork()) < 0)
        return false;
    if (s->pid != 0) {
        close(s->ask[0]);
        close(s->answer[1]);
        return true;
    }
    close(s->ask[1]);
    if (!refuse_membarrier() || bp_pool_create(NULL, NULL, &pool) != 0 || !pool_pairs(pool, PAIRS))
        _exit(1);
    while (read(s->ask[0], &byte, 1) == 1) {
        uint64_t start = counter_cpu_time(), ns;

        pool_pairs(pool, PAIRS);
        ns = counter_cpu_time() - start;
        if (write(s->answer[1], &ns, sizeof(ns)) != (ssize_t)sizeof(ns))
            break;
    }
    _exit(0);
}

static bool server_time(struct server *s, uint64_t *ns)
{
    return write(s->ask[1], "", 1) == 1 && read(s->answer[0], ns, sizeof(*ns)) == (ssize_t)sizeof(*ns);
}

static void server_stop(struct server *s)
{
    close(s->ask[1]);
    close(s->answer[0]);
    waitpid(s->pid, NULL, 0);
}

/* ---- tables ---- */

static void print(const char *title, const char *const *names, size_t ways, double ns[WAYS_MAX][ROUNDS])
{
    printf("\n%s\n%-44s %10s  %s\n", title, "", "ns", "ratio to the first (min .. max)");
    for (size_t w = 0; w < ways; w++) {
        double ratios[ROUNDS], times[ROUNDS]; /* figure_of puts its values in order */

        for (size_t r = 0; r < ROUNDS; r++)
            ratios[r] = ns[w][r] / ns[0][r];
        memcpy(times, ns[w], sizeof(times));
        struct figure ratio = figure_of(ratios, ROUNDS);

        printf("%-44s %10.2f  %.2f (%.2f .. %.2f)\n", names[w], figure_of(times, ROUNDS).median, ratio.median, ratio.min,
               ratio.max);
    }
}

static int paths(const char *path)
{
    static bool (*const replays[])(void *, const struct trace *, uint64_t *) = {replay_round_size, replay_round_cursor,
                                                                                replay_check_pad};
    static const char *const names[] = {"size rounded up (chosen)", "cursor rounded up", "padding and size both checked"};
    double ns[WAYS_MAX][ROUNDS];
    uint64_t digest, expected = 0;
    struct trace trace;
    struct bump bump;
    char title[128];
    int status = trace_read(path, &trace);

    if (status != DONE)
        return status;
    bump.start = aligned_alloc(4096, (trace.max_unit_bytes + 8191) & ~(size_t)4095);
    if (bump.start == NULL) {
        complain("out of memory");
        trace_free(&trace);
        return FAILED;
    }
    bump.end = bump.start + ((trace.max_unit_bytes + 4096) & ~(size_t)15);
    for (size_t r = 0; r < ROUNDS + 1 && status == DONE; r++) {
        for (size_t w = 0; w < WAYS_MAX; w++) {
            size_t way = (w + r) % WAYS_MAX;
            uint64_t start = counter_cpu_time();
            bool good = replays[way](&bump, &trace, &digest);

            if (!good || (expected != 0 && digest != expected)) {
                complain("%s: the ways disagree", path);
                status = FAILED;
            }
            expected = digest;
            if (r != 0) /* the first warms up */
                ns[way][r - 1] = (double)(counter_cpu_time() - start) / (double)trace.units;
        }
    }
    if (status == DONE) {
        snprintf(title, sizeof(title), "inline path: ns per unit, %zu units, %zu allocations", trace.units, trace.allocs);
        print(title, names, WAYS_MAX, ns);
    }
    free(bump.start);
    trace_free(&trace);
    return status;
}

static int pairs(void)
{
    static const char *const names[] = {"lane, plain stores and membarrier (chosen)", "lane, seq_cst operations",
                                        "list behind a mutex, no checks"};
    double ns[WAYS_MAX][ROUNDS];
    struct server server;
    bp_pool *pool;

    if (!server_start(&server) || bp_pool_create(NULL, NULL, &pool) != 0 || !pool_pairs(pool, PAIRS)) {
        complain("cannot start: %s", strerror(errno));
        return FAILED;
    }
    for (size_t r = 0; r < ROUNDS; r++) {
        uint64_t start, took;

        start = counter_cpu_time();
        pool_pairs(pool, PAIRS);
        ns[0][r] = (double)(counter_cpu_time() - start) / PAIRS;
        if (!server_time(&server, &took)) {
            complain("the child without membarrier failed");
            return FAILED;
        }
        ns[1][r] = (double)took / PAIRS;
        start = counter_cpu_time();
        mutex_pairs();
        ns[2][r] = (double)(counter_cpu_time() - start) / PAIRS;
    }
    print("checkout and give_back: ns per pair, one thread", names, WAYS_MAX, ns);
    server_stop(&server);
    return bp_pool_destroy(pool) == 0 ? DONE : FAILED;
}

int choices_main(int argc, char **argv)
{
    int status = DONE;

    if (argc == 3 && strcmp(argv[1], "--pairs") == 0)
        return pairs_alone(strtol(argv[2], NULL, 10));
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: " PROGRAM " choices [TRACE]...\n"
             "       " PROGRAM " choices --pairs N\n\n"
             "Measures the ways that doc/design.md chose between: a checkout and give_back pair, and for every\n"
             "trace the inline path of an allocation. With --pairs, does N pairs and nothing else: for a tool that\n"
             "counts instructions.");
        return DONE;
    }
    for (int i = 1; i < argc && status == DONE; i++) { /* a bad one is told before the work */
        struct trace trace;

        status = trace_read(argv[i], &trace);
        if (status == DONE)
            trace_free(&trace);
    }
    if (status != DONE)
        return status;
    pin_to_cpu();
    status = pairs();
    for (int i = 1; i < argc && status == DONE; i++)
        status = paths(argv[i]);
    return status;
}
