/* SPDX-License-Identifier: MIT
 *
 * More threads than arenas. Four workers share two arenas and wait their turn, first come, first served;
 * the cap keeps memory in bounds, and nobody polls. The worker that does the last unit of work closes the
 * pool, which ends all waits: that is how the others learn that it is time to go.
 */
#include <bumpool.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { ARENAS = 2, WORKERS = 4, UNITS = 400 };

struct worker {
    pthread_t thread;
    unsigned number;
    int rc;
};

static bp_pool *pool;
static atomic_uint units; /* done */

/* Some work that needs memory. */
static int unit_of_work(bp_arena *a, unsigned worker)
{
    char *text = bp_arena_printf(a, "worker %u", worker);

    for (int i = 0; text != NULL && i < 100; i++)
        text = bp_arena_printf(a, "%s.", text);
    return text != NULL ? 0 : ENOMEM;
}

static void *work(void *data)
{
    const int64_t timeout_ns = 60000000000; /* far more than it can take: if it does, something hangs */
    struct worker *self = data;
    bp_arena *a;

    while ((self->rc = bp_pool_checkout_wait(pool, timeout_ns, &a)) == 0) {
        self->rc = unit_of_work(a, self->number);
        bp_pool_give_back(pool, a); /* to the worker that has waited longest */
        if (self->rc != 0)
            break;
        if (atomic_fetch_add(&units, 1) + 1 == UNITS)
            bp_pool_close(pool);
    }
    return NULL;
}

int main(void)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    struct worker workers[WORKERS];
    struct bp_pool_stats stats;
    bp_arena *held[ARENAS], *a;
    int rc, failed = 0;

    config.max_arenas = ARENAS;
    if (bp_pool_create(NULL, &config, &pool) != 0)
        return 1;

    /* While both are out, a wait ends with its timeout, here 1 ms. */
    if (bp_pool_checkout(pool, &held[0]) != 0 || bp_pool_checkout(pool, &held[1]) != 0)
        return 1;
    rc = bp_pool_checkout_wait(pool, 1000000, &a);
    printf("both arenas are out: %s\n", strerror(rc));
    if (rc != ETIMEDOUT)
        return 1;

    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return 1;
    }
    bp_pool_give_back(pool, held[0]);
    bp_pool_give_back(pool, held[1]);
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        printf("worker %u: %s\n", i, strerror(workers[i].rc));
        failed |= workers[i].rc != ECANCELED;
    }
    if (bp_pool_stats(pool, &stats) != 0)
        return 1;
    printf("%u units of work, %d workers, %u arenas\n", atomic_load(&units), WORKERS, (unsigned)stats.mints);
    failed |= atomic_load(&units) < UNITS || stats.mints != ARENAS;
    return bp_pool_destroy(pool) != 0 || failed;
}
