/* SPDX-License-Identifier: MIT
 * The case handoff: how long after a thread gives the only arena back does the thread that waits have it?
 *
 * Two threads on two processors take turns. The holder waits until the other says that it is about to
 * wait, spins for the time it holds the arena, notes the time and gives the arena back. The other notes the
 * time at which it has it, and is the holder now. The old holder begins to wait only after that, so that
 * every wait is about as long as the arena is held.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/futex.h>
#include <sys/syscall.h>

#include <bumpool.h>

#include "counters.h"

enum { ROUNDS = 11, ROUNDS_QUICK = 3, COUNT = 300, COUNT_QUICK = 100, WARM_UP = 30 };

/* ---- what hands off ---- */

struct way {
    const char *name;
    void *(*setup)(void);
    void (*teardown)(void *state);
    int (*take)(void *state, void **thing); /* blocks */
    int (*put)(void *state, void *thing);
};

static void *pool_setup(void)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    bp_pool *pool;

    config.max_arenas = 1;
    return bp_pool_create(NULL, &config, &pool) == 0 ? pool : NULL;
}

static void pool_teardown(void *pool)
{
    if (bp_pool_destroy(pool) != 0)
        complain("handoff: the pool cannot be destroyed");
}

static int pool_take(void *pool, void **thing)
{
    bp_arena *arena;
    int error = bp_pool_checkout_wait(pool, -1, &arena);

    if (error == 0)
        *thing = arena;
    return error;
}

static int pool_put(void *pool, void *thing)
{
    return bp_pool_give_back(pool, thing);
}

/* 1 while nobody has it. One thread waits at most, so that a store and a wake do. */
static void *futex_setup(void)
{
    _Atomic uint32_t *word = aligned_alloc(64, 64);

    if (word != NULL)
        atomic_init(word, 1);
    return word;
}

static int futex_take(void *state, void **thing)
{
    _Atomic uint32_t *word = state;

    while (atomic_load_explicit(word, memory_order_acquire) == 0)
        if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) != 0 && errno != EAGAIN &&
            errno != EINTR)
            return errno;
    atomic_store_explicit(word, 0, memory_order_relaxed);
    *thing = state;
    return 0;
}

static int futex_put(void *state, void *thing)
{
    _Atomic uint32_t *word = state;

    (void)thing;
    atomic_store_explicit(word, 1, memory_order_release);
    return syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) >= 0 ? 0 : errno;
}

static const struct way WAYS[] = {
    {"bumpool-wait", pool_setup, pool_teardown, pool_take, pool_put},
    {"futex", futex_setup, free, futex_take, futex_put},
};
#define WAY_COUNT (sizeof(WAYS) / sizeof(WAYS[0]))

/* ---- one measurement ---- */

struct handoff {
    const struct way *way;
    void *state;
    uint64_t hold_ns;
    size_t count;          /* hand-offs, those that warm up among them */
    atomic_size_t has;     /* number of the turn whose holder has it; turns count from 1 */
    atomic_size_t waits;   /* likewise, whose waiter is about to wait */
    atomic_int error;      /* ends both threads; but one that waits for ever */
    _Atomic uint64_t given; /* ns: just before it was given back */
    double *latencies;     /* ns */
    uint64_t cpu_ns[2];    /* that each thread's waits took */
};

struct player {
    pthread_t thread;
    struct handoff *game;
    size_t index;
};

static bool await(struct handoff *game, atomic_size_t *what, size_t turn)
{
    unsigned looks = 0;

    while (atomic_load_explicit(what, memory_order_acquire) != turn) {
        if (atomic_load_explicit(&game->error, memory_order_relaxed) != 0)
            return false;
        pool_back_off(++looks);
    }
    return true;
}

static int hold(struct handoff *game, size_t turn, void *thing)
{
    uint64_t until, now;

    atomic_store_explicit(&game->has, turn, memory_order_release);
    if (!await(game, &game->waits, turn))
        return 0;
    until = counter_time() + game->hold_ns;
    do
        now = counter_time();
    while (now < until);
    atomic_store_explicit(&game->given, counter_time(), memory_order_relaxed); /* the hand-off orders it */
    return game->way->put(game->state, thing);
}

static int receive(struct handoff *game, size_t player, size_t turn, void **thing)
{
    uint64_t cpu, now;
    int error;

    if (!await(game, &game->has, turn))
        return 0;
    cpu = counter_cpu_time();
    atomic_store_explicit(&game->waits, turn, memory_order_release);
    error = game->way->take(game->state, thing);
    now = counter_time();
    if (error != 0 || turn <= WARM_UP)
        return error;
    game->cpu_ns[player] += counter_cpu_time() - cpu;
    game->latencies[turn - WARM_UP - 1] =
        (double)(int64_t)(now - atomic_load_explicit(&game->given, memory_order_relaxed));
    return 0;
}

static void *play(void *data)
{
    struct player *p = data;
    struct handoff *game = p->game;
    void *thing = NULL;
    int error = 0;

    pool_pin_thread(p->index);
    if (p->index == 0)
        error = game->way->take(game->state, &thing);
    for (size_t turn = 1; turn <= game->count && error == 0 && atomic_load(&game->error) == 0; turn++) {
        if (turn % 2 != p->index)
            error = hold(game, turn, thing);
        else
            error = receive(game, p->index, turn, &thing);
    }
    if (error == 0 && atomic_load(&game->error) == 0 && game->count % 2 == p->index)
        error = game->way->put(game->state, thing);
    if (error != 0)
        atomic_store(&game->error, error);
    return NULL;
}

static int run(struct handoff *game, double *latency, double *cpu)
{
    struct player players[2] = {{.game = game, .index = 0}, {.game = game, .index = 1}};
    int error = pthread_create(&players[0].thread, NULL, play, &players[0]), second;

    if (error == 0) {
        second = pthread_create(&players[1].thread, NULL, play, &players[1]);
        if (second != 0)
            atomic_store(&game->error, second);
        else
            pthread_join(players[1].thread, NULL);
        pthread_join(players[0].thread, NULL);
        error = atomic_load(&game->error);
    }
    if (error != 0) {
        complain("handoff: %s: %s", game->way->name, strerror(error));
        return FAILED;
    }
    *latency = figure_of(game->latencies, game->count - WARM_UP).median / 1000;
    *cpu = (double)(game->cpu_ns[0] + game->cpu_ns[1]) / (double)(game->count - WARM_UP) / 1000;
    return DONE;
}

/* ---- the case ---- */

static const uint64_t HOLD_US[] = {5, 50, 500};
#define HOLD_COUNT (sizeof(HOLD_US) / sizeof(HOLD_US[0]))

struct entry {
    const struct way *way;
    void *state; /* kept over the rounds: what the pool has learnt about waits is part of it */
    uint64_t hold_ns;
};

static int measure(struct pool_table *t, const struct entry *entries, double *latencies,
                   const struct pool_options *options)
{
    for (size_t round = 0; round < t->rounds; round++) {
        progress("handoff: round %zu of %zu", round + 1, t->rounds);
        for (size_t i = 0; i < t->row_count; i++) {
            size_t row = (i + round) % t->row_count;
            struct handoff game = {.way = entries[row].way, .state = entries[row].state,
                                   .hold_ns = entries[row].hold_ns, .latencies = latencies};
            int status;

            game.count = WARM_UP + (size_t)(options->quick ? COUNT_QUICK : COUNT);
            status = run(&game, &t->rows[row].values[round], &t->rows[row].others[round]);
            if (status != DONE)
                return status;
        }
    }
    return DONE;
}

static void set_bases_and_print(struct pool_table *t, const struct pool_options *options)
{
    for (size_t i = 0; i < t->row_count; i++)
        t->rows[i].base[0] = pool_table_find(t, "futex", t->rows[i].variant);
    pool_table_print(t, options);
    for (size_t h = 0; h < HOLD_COUNT; h++) {
        char text[VARIANT];

        snprintf(text, sizeof(text), "held %u us", (unsigned)HOLD_US[h]);
        pool_table_target(t, pool_table_find(t, "bumpool-wait", text), 0, HOLD_US[h] >= 50 ? 1.15 : 0.10,
                          options->out);
    }
}

int pool_case_handoff(const struct pool_options *options)
{
    struct pool_table t = {.name = "handoff",
                           .title = "from give_back until the thread that waits has it; cpu time of a wait",
                           .value_title = "us", .value_metric = "handoff_us",
                           .other_title = "cpu us", .other_metric = "cpu_us_per_wait",
                           .ratio_title = {"x futex"}, .ratio_metric = {"ratio_to_futex"}};
    struct entry entries[WAY_COUNT * HOLD_COUNT];
    double *latencies;
    int status = DONE;

    t.rounds = pool_rounds(options, ROUNDS, ROUNDS_QUICK);
    if (pool_cpu_count() < 2) {
        fprintf(options->out, "\nhandoff: skipped, needs two processors\n");
        return DONE;
    }
    latencies = calloc(COUNT, sizeof(*latencies));
    for (size_t h = 0; h < HOLD_COUNT && latencies != NULL && status == DONE; h++) {
        char text[VARIANT];

        snprintf(text, sizeof(text), "held %u us", (unsigned)HOLD_US[h]);
        for (size_t w = 0; w < WAY_COUNT && status == DONE; w++) {
            void *state;

            if (!pool_chosen(options, WAYS[w].name))
                continue;
            state = WAYS[w].setup();
            if (state == NULL) {
                status = FAILED;
                break;
            }
            entries[t.row_count] = (struct entry){&WAYS[w], state, HOLD_US[h] * 1000};
            if (pool_table_add(&t, WAYS[w].name, text) == NO_ROW) {
                WAYS[w].teardown(state);
                status = FAILED;
            }
        }
    }
    if (latencies == NULL || status != DONE) {
        complain("handoff: cannot be set up");
        status = FAILED;
    } else if (t.row_count == 0) {
        status = pool_nobody("handoff", options);
    } else {
        status = measure(&t, entries, latencies, options);
        if (status == DONE)
            set_bases_and_print(&t, options);
    }
    for (size_t i = 0; i < t.row_count; i++)
        if (status == DONE) /* else a thing may be out, and the process is about to end */
            entries[i].way->teardown(entries[i].state);
    free(latencies);
    pool_table_free(&t);
    return status;
}
