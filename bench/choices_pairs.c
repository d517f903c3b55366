/* SPDX-License-Identifier: MIT
 * How a thread finds its arenas again: a checkout and give_back pair in the ways that were weighed.
 *
 * The library inlined, and called. The library in a child that is refused membarrier(2), so that its lanes
 * use seq_cst operations, which are not inline. Then small pools (choices.h): the protocol of the lanes
 * alone, for what the library's checks and counts cost, and what was not chosen. The threads are made for
 * the purpose, since glibc's mutexes take a short cut in a process without threads; each has an arena, and a
 * CPU while there are enough.
 */
#include "choices.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <bumpool.h>

#include "pool_contestants.h"

/* Many short rounds: where others are at work too, some are not disturbed. */
enum { ROUNDS = 41, ROUND_NS = 2000000, THREADS = 2, THINGS = 4, REFUSED = 2, WAYS = 7 };

struct way {
    const char *name;
    const struct pool_contestant *who; /* NULL: the child without membarrier */
    void *state;
    const char *missing; /* why there is no such thing here */
    double ns[THREADS][ROUNDS];
};

int choices_pairs_alone(long count)
{
    bp_pool *pool;
    bp_arena *arena;
    bool good = bp_pool_create(NULL, NULL, &pool) == 0;

    for (long i = 0; i < count && good; i++)
        good = bp_pool_checkout(pool, &arena) == 0 && bp_pool_give_back(pool, arena) == 0;
    if (good && bp_pool_destroy(pool) == 0)
        return DONE;
    complain("a pair failed");
    return FAILED;
}

/* ---- the child without membarrier ---- */

static bool refuse_membarrier(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {(unsigned short)(sizeof(filter) / sizeof(filter[0])), filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool measure(const struct pool_contestant *who, void *state, size_t threads, double *ns)
{
    struct pool_run run = {.who = who, .state = state, .threads = threads, .work = pool_work_pairs};
    struct pool_cost cost;

    if (pool_measure(&run, ROUND_NS, &cost) != DONE)
        return false;
    *ns = cost.cpu;
    return true;
}

/* Measures whenever it is sent a number of threads. Its first pool must be the process's first too, so it is
 * forked before any other use of the library. */
struct server {
    int ask[2], answer[2];
    pid_t pid;
};

static void serve(const struct server *s)
{
    const struct pool_contestant *who = &pool_contestant_bumpool;
    unsigned char threads;
    double ns;
    void *pool;

    if (!refuse_membarrier() || (pool = who->setup(THINGS, false)) == NULL)
        return;
    ns = 0; /* the first answer, unasked: here I am */
    while (write(s->answer[1], &ns, sizeof(ns)) == (ssize_t)sizeof(ns) && read(s->ask[0], &threads, 1) == 1)
        if (!measure(who, pool, threads, &ns))
            return;
}

static bool server_start(struct server *s)
{
    double hello;

    if (pipe(s->ask) != 0 || pipe(s->answer) != 0 || (s->pid = fork()) < 0)
        return false;
    if (s->pid == 0) {
        close(s->ask[1]);
        close(s->answer[0]);
        serve(s);
        _exit(0);
    }
    close(s->ask[0]);
    close(s->answer[1]);
    return read(s->answer[0], &hello, sizeof(hello)) == (ssize_t)sizeof(hello);
}

/* A child that fails goes without an answer, so it is not asked again: that would be a SIGPIPE. */
static bool server_measure(const struct server *s, size_t threads, double *ns)
{
    unsigned char byte = (unsigned char)threads;

    return write(s->ask[1], &byte, 1) == 1 && read(s->answer[0], ns, sizeof(*ns)) == (ssize_t)sizeof(*ns);
}

static void server_stop(const struct server *s)
{
    close(s->ask[1]);
    close(s->answer[0]);
    waitpid(s->pid, NULL, 0);
}

/* ---- the table ---- */

static void print_cell(const struct way *way, const struct way *first, size_t threads)
{
    double ratios[ROUNDS], times[ROUNDS]; /* figure_of puts its values in order */

    for (size_t r = 0; r < ROUNDS; r++)
        ratios[r] = way->ns[threads][r] / first->ns[threads][r];
    memcpy(times, way->ns[threads], sizeof(times));
    struct figure time = figure_of(times, ROUNDS), ratio = figure_of(ratios, ROUNDS);

    printf(" %7.2f %7.2f %6.2f (%5.2f .. %5.2f)", time.min, time.median, ratio.median, ratios[ROUNDS / 4],
           ratios[ROUNDS * 3 / 4]);
}

static void print(const struct way *ways)
{
    printf("\ncheckout and give_back: ns of processor time per pair, %d rounds\n"
           "ratios to the first, paired by round\n"
           "%-43s %38s %38s\n%-43s",
           ROUNDS, "", "1 thread", "2 threads, an arena each", "");
    for (size_t n = 0; n < THREADS; n++)
        printf(" %7s %7s %6s %16s", "min", "median", "ratio", "(middle half)");
    putchar('\n');
    for (size_t w = 0; w < WAYS; w++) {
        printf("%-43s", ways[w].name);
        if (ways[w].missing != NULL) {
            printf("     not available here: %s\n", ways[w].missing);
            continue;
        }
        for (size_t n = 0; n < THREADS; n++)
            print_cell(&ways[w], &ways[0], n);
        putchar('\n');
    }
}

static bool measure_all(struct way *ways, const struct server *server)
{
    for (size_t r = 0; r < ROUNDS; r++)
        for (size_t i = 0; i < (size_t)WAYS * THREADS; i++) {
            size_t n = i / WAYS;
            struct way *way = &ways[(i + r) % WAYS];

            if (way->missing != NULL)
                continue;
            if (way->who == NULL ? !server_measure(server, n + 1, &way->ns[n][r])
                                 : !measure(way->who, way->state, n + 1, &way->ns[n][r])) {
                complain("%s: failed", way->name);
                return false;
            }
        }
    return true;
}

/* Large, and there is one of it. */
static struct way ways[WAYS] = {
    {.name = "lane, plain stores, inline (chosen)", .who = &pool_contestant_bumpool},
    {.name = "the same, called in the shared library", .who = &pool_contestant_bumpool_call},
    [REFUSED] = {.name = "lane, seq_cst operations, called"},
    {.name = "slot of the thread, plain stores, inline", .who = &choice_plain},
    {.name = "slot of the CPU, rseq, inline", .who = &choice_rseq},
    {.name = "slot of the thread, exchange, inline", .who = &choice_exchange},
    {.name = "list behind a mutex, called", .who = &choice_mutex},
};

int choices_pairs(void)
{
    struct server server;
    char text[256];
    bool good = true;

    if (!server_start(&server)) {
        complain("the child without membarrier cannot be started");
        return FAILED;
    }
    for (size_t w = 0; w < WAYS; w++)
        if (ways[w].who == &choice_rseq)
            ways[w].missing = choice_rseq_missing();
    if (choice_rseq_missing() == NULL) {
        good = choice_rseq_check(text, sizeof(text)) == DONE;
        printf("rseq checked: %s\n", text);
        if (!good)
            complain("rseq: the check failed: %s", text);
    }
    for (size_t w = 0; w < WAYS && good; w++) {
        struct way *way = &ways[w];

        if (way->who == NULL || way->missing != NULL)
            continue;
        way->state = way->who->setup(THINGS, false);
        if (way->state == NULL) {
            complain("%s: cannot be set up", way->name);
            good = false;
        }
    }
    good = good && measure_all(ways, &server);
    if (good)
        print(ways);
    for (size_t w = 0; w < WAYS; w++)
        if (ways[w].state != NULL)
            ways[w].who->teardown(ways[w].state);
    server_stop(&server);
    return good ? DONE : FAILED;
}
