/* SPDX-License-Identifier: MIT
 * The cases idle and pools: does a pair cost more when there are many idle arenas, or many pools?
 */
#include "pool.h"

#include <bumpool.h>

enum { ROUNDS = 21, ROUNDS_QUICK = 7, ARENA_BYTES = 256, POOLS_MAX = 64 };
#define FLAT 1.10 /* no more than this is a flat line */

/* Arenas so small that a hundred thousand of them are no burden. */
static bp_pool *pool_of(size_t idle)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    bp_pool *pool;

    config.arena_size = ARENA_BYTES;
    config.max_idle = BP_UNLIMITED;
    config.max_idle_bytes = BP_UNLIMITED;
    if (bp_pool_create(bp_backing_malloc(), &config, &pool) != 0)
        return NULL;
    if (bp_pool_prewarm(pool, idle, NULL) == 0 && bp_pool_idle_count(pool) == idle)
        return pool;
    (void)bp_pool_destroy(pool);
    return NULL;
}

static void print(const struct pool_table *t, const struct pool_options *options)
{
    pool_table_print(t, options);
    for (size_t i = 0; i < t->row_count; i++)
        if (t->rows[i].base[0] != i)
            pool_table_target(t, i, 0, FLAT, options->out);
}

int pool_case_idle(const struct pool_options *options)
{
    static const size_t idle[] = {1, 100, 10000, 100000};
    enum { COUNTS = sizeof(idle) / sizeof(idle[0]) };
    struct pool_table t = {.name = "idle", .title = "a pair in a pool with many idle arenas, one thread",
                           .value_title = "cpu ns", .value_metric = "cpu_ns_per_pair",
                           .ratio_title = {"x fewest"}, .ratio_metric = {"ratio_to_fewest"}};
    struct pool_run runs[2 * COUNTS] = {{0}};
    bp_pool *pools[COUNTS] = {NULL};
    const struct pool_contestant *who;
    int status = DONE;

    t.rounds = pool_rounds(options, ROUNDS, ROUNDS_QUICK);
    if (pool_chosen_for(options, IN_OTHERS, &who, 1) == 0)
        return pool_nobody("idle", options);
    for (size_t i = 0; i < COUNTS && status == DONE; i++) {
        progress("idle: making %zu arenas", idle[i]);
        pools[i] = pool_of(idle[i]);
        if (pools[i] == NULL) {
            complain("idle: cannot make %zu idle arenas", idle[i]);
            status = FAILED;
        }
    }
    /* A pair at a time never leaves the thread's own arena; more than a thread keeps for itself must come
     * from where all idle arenas are. The latter makes 64 of one. */
    for (size_t held = 0; held < 2 && status == DONE; held++) {
        size_t first = t.row_count;

        for (size_t i = held; i < COUNTS && status == DONE; i++) {
            char text[VARIANT];
            size_t row;

            snprintf(text, sizeof(text), held > 0 ? "64 held of %zu" : "%zu idle", idle[i]);
            row = pool_table_add(&t, who->name, text);
            if (row == NO_ROW) {
                status = FAILED;
                break;
            }
            t.rows[row].base[0] = first;
            runs[row] = (struct pool_run){.who = who, .state = pools[i], .threads = 1};
            runs[row].work = held > 0 ? pool_work_held : pool_work_pairs;
            runs[row].depth = held > 0 ? HELD_MAX : 0;
        }
    }
    if (status == DONE)
        status = pool_measure_rows(&t, runs, false, options);
    if (status == DONE)
        print(&t, options);
    for (size_t i = 0; i < COUNTS; i++)
        if (bp_pool_destroy(pools[i]) != 0 && status == DONE) {
            complain("idle: a pool cannot be destroyed");
            status = FAILED;
        }
    pool_table_free(&t);
    return status;
}

struct many {
    bp_pool *pools[POOLS_MAX];
    size_t used; /* a power of two */
};

static int work_in_turn(const struct pool_run *run, void *own, size_t count)
{
    const struct many *many = own;
    const size_t mask = many->used - 1;

    (void)run;
    for (size_t i = 0; i < count; i++) {
        bp_pool *pool = many->pools[i & mask];
        bp_arena *arena;
        int error = bp_pool_checkout(pool, &arena);

        if (UNLIKELY(error != 0))
            return error;
        (void)*(const volatile uintptr_t *)(const void *)arena; /* as pool_loops.h does */
        error = bp_pool_give_back(pool, arena);
        if (UNLIKELY(error != 0))
            return error;
    }
    return 0;
}

int pool_case_pools(const struct pool_options *options)
{
    static const size_t used[] = {1, 8, POOLS_MAX};
    enum { COUNTS = sizeof(used) / sizeof(used[0]) };
    struct pool_table t = {.name = "pools", .title = "pairs in several pools in turn, one thread",
                           .value_title = "cpu ns", .value_metric = "cpu_ns_per_pair",
                           .ratio_title = {"x 1 pool"}, .ratio_metric = {"ratio_to_1_pool"}};
    struct pool_run runs[COUNTS] = {{0}};
    struct many many[COUNTS] = {{{0}, 0}};
    const struct pool_contestant *who;
    int status = DONE;

    t.rounds = pool_rounds(options, ROUNDS, ROUNDS_QUICK);
    if (pool_chosen_for(options, IN_OTHERS, &who, 1) == 0)
        return pool_nobody("pools", options);
    for (size_t i = 0; i < COUNTS && status == DONE; i++) {
        char text[VARIANT];
        size_t row;

        many[i].used = used[i];
        for (size_t k = 0; k < used[i] && status == DONE; k++) {
            many[i].pools[k] = pool_of(1);
            if (many[i].pools[k] == NULL) {
                complain("pools: cannot make %zu pools", used[i]);
                status = FAILED;
            }
        }
        snprintf(text, sizeof(text), "%zu pool%s", used[i], used[i] == 1 ? "" : "s");
        row = pool_table_add(&t, who->name, text);
        if (row == NO_ROW) {
            status = FAILED;
            break;
        }
        t.rows[row].base[0] = 0;
        runs[row] = (struct pool_run){.who = who, .state = &many[i], .threads = 1, .work = work_in_turn};
    }
    if (status == DONE)
        status = pool_measure_rows(&t, runs, false, options);
    if (status == DONE)
        print(&t, options);
    for (size_t i = 0; i < COUNTS; i++)
        for (size_t k = 0; k < POOLS_MAX; k++)
            if (bp_pool_destroy(many[i].pools[k]) != 0 && status == DONE) {
                complain("pools: a pool cannot be destroyed");
                status = FAILED;
            }
    pool_table_free(&t);
    return status;
}
