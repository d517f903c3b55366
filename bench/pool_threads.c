/* SPDX-License-Identifier: MIT
 * Measuring a loop in one thread or in several at once.
 *
 * The work is always done by threads made for it, never by the only thread of a process: glibc's mutexes take
 * a short cut there. Each thread counts its own pairs and reads its own clocks from the moment when all are
 * ready until it sees that time is up, so that nobody's figures include a time in which others were not at
 * work yet, or had finished.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "counters.h"

enum {
    BATCH = 256,       /* pairs between two looks at the flag */
    BATCH_SHARED = 16, /* where one may take long, and threads are to stop together */
    WARM_UP = 1024,    /* pairs */
    PAUSES = 100,        /* before a thread that fails lets others have its processor */
};

void pool_back_off(unsigned failures)
{
    if (failures >= PAUSES) {
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The processors of the process as it began; a thread inherits what its maker has left. */
static cpu_set_t cpus;
static pthread_once_t cpus_once = PTHREAD_ONCE_INIT;

static void find_cpus(void)
{
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
        CPU_ZERO(&cpus);
}

size_t pool_cpu_count(void)
{
    pthread_once(&cpus_once, find_cpus);
    return CPU_COUNT(&cpus) > 0 ? (size_t)CPU_COUNT(&cpus) : 1;
}

void pool_pin_thread(size_t index)
{
    size_t left = index % pool_cpu_count();
    cpu_set_t set;

    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &cpus) || left-- > 0)
            continue;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void)sched_setaffinity(0, sizeof(set), &set); /* a refusal does not matter */
        return;
    }
}

int pool_work_pairs(const struct pool_run *run, void *own, size_t count)
{
    return run->who->pairs(own, count);
}

int pool_work_held(const struct pool_run *run, void *own, size_t count)
{
    return run->who->held(own, count, run->depth, run->oldest_first);
}

struct gang {
    const struct pool_run *run;
    atomic_size_t ready; /* threads that have warmed up */
    size_t wanted;
    atomic_bool stop;
};

struct worker {
    pthread_t thread;
    struct gang *gang;
    size_t index;
    int error;
    size_t pairs;
    uint64_t cpu, wall; /* ns */
};

/* A whole number of turns of `depth`, so that no more pairs are done than are counted. */
static size_t batch_of(const struct pool_run *run)
{
    size_t depth = run->depth > 0 ? run->depth : 1;

    size_t pairs = run->batch > 0 ? run->batch : run->shared ? BATCH_SHARED : BATCH;

    return (pairs + depth - 1) / depth * depth;
}

static void *work(void *data)
{
    struct worker *w = data;
    struct gang *gang = w->gang;
    const struct pool_run *run = gang->run;
    const struct pool_contestant *who = run->who;
    const size_t batch = batch_of(run);
    unsigned looks = 0;
    uint64_t cpu, wall;
    void *own;

    pool_pin_thread(w->index);
    own = who->thread_begin != NULL ? who->thread_begin(run->state) : run->state;
    w->error = own != NULL ? run->work(run, own, batch > WARM_UP ? batch : WARM_UP) : ENOMEM;
    atomic_fetch_add(&gang->ready, 1);
    while (atomic_load(&gang->ready) < gang->wanted)
        pool_back_off(++looks);
    wall = counter_time();
    cpu = counter_cpu_time();
    while (w->error == 0) {
        w->error = run->work(run, own, batch);
        w->pairs += batch;
        if (atomic_load_explicit(&gang->stop, memory_order_relaxed))
            break;
    }
    w->cpu = counter_cpu_time() - cpu;
    w->wall = counter_time() - wall;
    if (own != NULL && who->thread_end != NULL)
        who->thread_end(own);
    return NULL;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

int pool_try(const struct pool_run *run, uint64_t ns, struct pool_cost *cost)
{
    struct worker workers[THREADS_MAX];
    struct gang gang = {.run = run, .wanted = run->threads};
    size_t started = 0;
    double rate = 0, least = 0;
    int error = 0;

    memset(workers, 0, sizeof(workers));
    (void)pool_cpu_count(); /* before a thread is pinned, which this one never is */
    for (; started < run->threads; started++) {
        workers[started].gang = &gang;
        workers[started].index = started;
        error = pthread_create(&workers[started].thread, NULL, work, &workers[started]);
        if (error != 0)
            break;
    }
    if (error != 0) { /* those that were made need not wait for the rest */
        atomic_store(&gang.stop, true);
        atomic_fetch_add(&gang.ready, run->threads);
    }
    while (atomic_load(&gang.ready) < run->threads)
        sleep_ns(20000);
    if (error == 0)
        sleep_ns(ns);
    atomic_store(&gang.stop, true);
    for (size_t i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        error = error != 0 ? error : workers[i].error;
    }
    *cost = (struct pool_cost){0};
    for (size_t i = 0; i < started && error == 0; i++) {
        double pairs = (double)workers[i].pairs;

        cost->cpu += (double)workers[i].cpu / pairs / (double)run->threads;
        cost->wall += (double)workers[i].wall / pairs / (double)run->threads;
        rate += pairs / (double)workers[i].wall;
        if (i == 0 || pairs / (double)workers[i].wall < least)
            least = pairs / (double)workers[i].wall;
    }
    if (error == 0) {
        cost->together = 1 / rate;
        cost->least = 100 * least * (double)run->threads / rate;
    }
    return error;
}

int pool_measure(const struct pool_run *run, uint64_t ns, struct pool_cost *cost)
{
    int error = pool_try(run, ns, cost);

    if (error == 0)
        return DONE;
    complain("%s: %s", run->who->name, strerror(error));
    return FAILED;
}

int pool_measure_rows(struct pool_table *table, const struct pool_run *runs, bool together,
                      const struct pool_options *options)
{
    uint64_t ns = options->quick ? 5000000 : 10000000;

    for (size_t round = 0; round < table->rounds; round++) {
        progress("%s: round %zu of %zu", table->name, round + 1, table->rounds);
        for (size_t i = 0; i < table->row_count; i++) {
            size_t row = (i + round) % table->row_count;
            struct pool_cost cost;

            if (table->rows[row].error != 0)
                continue;
            if (table->refusals)
                table->rows[row].error = pool_try(&runs[row], ns, &cost);
            else if (pool_measure(&runs[row], ns, &cost) != DONE)
                return FAILED;
            table->rows[row].values[round] = together ? cost.together : cost.cpu;
            table->rows[row].others[round] = together ? cost.least : cost.wall;
        }
    }
    return DONE;
}

struct once {
    const struct pool_run *run;
    size_t count;
    int error;
};

static void *run_once(void *data)
{
    struct once *once = data;
    const struct pool_run *run = once->run;
    const struct pool_contestant *who = run->who;
    void *own = who->thread_begin != NULL ? who->thread_begin(run->state) : run->state;

    once->error = own != NULL ? run->work(run, own, once->count) : ENOMEM;
    if (own != NULL && who->thread_end != NULL)
        who->thread_end(own);
    return NULL;
}

int pool_run_once(const struct pool_run *run, size_t count)
{
    struct once once = {run, count, 0};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run_once, &once);

    if (error != 0)
        return error;
    pthread_join(thread, NULL);
    return once.error;
}

int pool_count_pairs(const struct pool_contestant *who, size_t count)
{
    struct pool_run run = {.who = who, .state = who->setup(HELD, false), .work = pool_work_pairs};
    int error = ENOMEM;

    if (run.state != NULL) {
        error = pool_run_once(&run, count);
        who->teardown(run.state);
    }
    if (error == 0)
        return DONE;
    complain("%s: %s", who->name, strerror(error));
    return FAILED;
}
