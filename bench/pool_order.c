/* SPDX-License-Identifier: MIT
 * The case order: are threads that wait served in the order in which they came?
 *
 * There is one arena and there are 33 threads. Whoever has the arena lets go of it only when bp_pool_stats
 * says that all others wait, gives it back and asks for it again at once. So everybody's place in the queue
 * is known: each service must be that of the thread after the last one, round and round. A thread that
 * overtakes, first of all the one that has just given back, shows as a wrong number.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <bumpool.h>

#include "counters.h"

enum { WAITERS = 32, PEOPLE = WAITERS + 1, SERVICES = 100000, SERVICES_QUICK = 3000 };
#define PATIENCE_NS INT64_C(60000000000) /* for one service: only a lost wake-up takes that long */

/* All but `pool` belongs to whoever has the arena. */
struct queue {
    bp_pool *pool;
    size_t wanted, served;
    size_t next; /* who must be served next */
    size_t wrong_at, wrong_who, wrong_next; /* the first mistake; wrong_at 0: none */
    const char *trouble; /* what kept it from going on, or NULL */
    int error;
};

struct person {
    pthread_t thread;
    struct queue *queue;
    size_t index;
    int error; /* of this one's wait */
};

static bool until_waiting(struct queue *q, size_t wanted)
{
    uint64_t give_up = counter_time() + (uint64_t)PATIENCE_NS;
    struct bp_pool_stats stats;

    for (;;) {
        q->error = bp_pool_stats(q->pool, &stats);
        if (q->error == 0 && stats.waiting == wanted)
            return true;
        if (q->error != 0 || stats.waiting > wanted || counter_time() > give_up) {
            q->trouble = "the threads that wait are not as many as they should be";
            return false;
        }
        sched_yield();
    }
}

/* With the arena in hand. False: this was the last one. */
static bool serve(struct queue *q, size_t who)
{
    if (who != q->next && q->wrong_at == 0) {
        q->wrong_at = q->served + 1;
        q->wrong_who = who;
        q->wrong_next = q->next;
    }
    q->next = (who + 1) % PEOPLE;
    q->served++;
    return q->served < q->wanted && q->wrong_at == 0 && until_waiting(q, WAITERS);
}

static void *person_main(void *data)
{
    struct person *p = data;
    struct queue *q = p->queue;
    bool more = true;

    while (more) {
        bp_arena *arena;

        p->error = bp_pool_checkout_wait(q->pool, PATIENCE_NS, &arena);
        if (p->error != 0)
            break;
        more = serve(q, p->index);
        if (!more)
            p->error = bp_pool_close(q->pool); /* sends everybody home */
        if (bp_pool_give_back(q->pool, arena) != 0)
            p->error = EINVAL;
        if (p->error != 0)
            break;
    }
    return NULL;
}

/* Lets the threads in one by one while the arena is here, then gives it up. */
static void run(struct queue *q, struct person *people)
{
    bp_arena *arena;
    size_t started = 0;

    q->error = bp_pool_checkout(q->pool, &arena);
    if (q->error != 0) {
        q->trouble = "no arena";
        return;
    }
    for (; started < PEOPLE && q->trouble == NULL; started++) {
        people[started].queue = q;
        people[started].index = started;
        q->error = pthread_create(&people[started].thread, NULL, person_main, &people[started]);
        if (q->error != 0) {
            q->trouble = "no thread";
            break;
        }
        (void)until_waiting(q, started + 1);
    }
    if (q->trouble != NULL)
        (void)bp_pool_close(q->pool);
    if (bp_pool_give_back(q->pool, arena) != 0)
        q->trouble = "give_back failed"; /* and whoever waits, waits in vain */
    for (size_t i = 0; i < started; i++) {
        pthread_join(people[i].thread, NULL);
        /* the one that closed the pool ended by itself, all others by that */
        if (people[i].error != 0 && people[i].error != ECANCELED && q->trouble == NULL) {
            q->trouble = people[i].error == ETIMEDOUT ? "nobody came for a minute" : "a wait failed";
            q->error = people[i].error;
        }
    }
}

int pool_case_order(const struct pool_options *options)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    struct person people[PEOPLE];
    struct queue q = {.wanted = options->services};
    uint64_t start = counter_time();
    double seconds;
    int error;

    if (!pool_chosen(options, "bumpool"))
        return pool_nobody("order", options);
    if (q.wanted == 0)
        q.wanted = options->quick ? SERVICES_QUICK : SERVICES;
    memset(people, 0, sizeof(people));
    config.max_arenas = 1;
    error = bp_pool_create(NULL, &config, &q.pool);
    if (error != 0) {
        complain("order: %s", strerror(error));
        return FAILED;
    }
    progress("order: %zu services", q.wanted);
    run(&q, people);
    seconds = (double)(counter_time() - start) / 1e9;
    progress_clear();
    fprintf(options->out, "\norder: %d threads wait for one arena, each again as soon as it gave back\n",
            WAITERS);
    error = bp_pool_destroy(q.pool);
    if (q.wrong_at != 0)
        fprintf(options->out, "FAILED: service %zu was that of thread %zu, but thread %zu came before it\n",
                q.wrong_at, q.wrong_who, q.wrong_next);
    else if (q.trouble != NULL)
        fprintf(options->out, "FAILED after %zu services: %s%s%s\n", q.served, q.trouble,
                q.error != 0 ? ": " : "", q.error != 0 ? strerror(q.error) : "");
    else if (error != 0)
        fprintf(options->out, "FAILED: the pool cannot be destroyed: %s\n", strerror(error));
    else
        fprintf(options->out, "verified: %zu services in the order of arrival, %.1f us each\n", q.served,
                seconds * 1e6 / (double)q.served);
    return q.wrong_at != 0 || q.trouble != NULL || error != 0 ? FAILED : DONE;
}
