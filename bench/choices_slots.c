/* SPDX-License-Identifier: MIT
 * Small pools: a list behind a mutex, and before it a slot for each thread, emptied and filled by an atomic
 * exchange or, as the library's lanes are, by plain stores.
 */
#include "choices.h"

#include <string.h>

#include "pool_loops.h"

void *choice_setup(size_t things, bool capped)
{
    struct choice_pool *pool = aligned_alloc(CHOICE_LINE, sizeof(*pool));

    (void)capped; /* it always is */
    if (pool == NULL)
        return NULL;
    memset(pool, 0, sizeof(*pool));
    pool->count = things;
    pool->things = aligned_alloc(CHOICE_LINE, things * sizeof(*pool->things));
    if (pool->things == NULL || pthread_mutex_init(&pool->lock, NULL) != 0) {
        free(pool->things);
        free(pool);
        return NULL;
    }
    memset(pool->things, 0, things * sizeof(*pool->things));
    for (size_t i = 0; i < things; i++) {
        struct choice_thing *thing = &pool->things[i];

        thing->cursor = thing->start = thing->quick_end = (char *)thing;
        choice_list_put(pool, thing);
    }
    return pool;
}

void choice_teardown(void *state)
{
    struct choice_pool *pool = state;

    pthread_mutex_destroy(&pool->lock);
    free(pool->things);
    free(pool);
}

struct choice_thing *choice_list_take(struct choice_pool *pool)
{
    struct choice_thing *thing;

    pthread_mutex_lock(&pool->lock);
    thing = pool->list;
    if (thing != NULL)
        pool->list = thing->next;
    pthread_mutex_unlock(&pool->lock);
    return thing;
}

void choice_list_put(struct choice_pool *pool, struct choice_thing *thing)
{
    choice_reset(thing);
    pthread_mutex_lock(&pool->lock);
    thing->next = pool->list;
    pool->list = thing;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- a slot for each thread ---- */

/* The threads at work have different numbers; one that begins has what the last with its number left. */
static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;
static bool numbers[THREADS_MAX];

/* Of the thread's slot, from the start of a pool. Found as a library would find it. */
static _Thread_local size_t slot_offset __attribute__((tls_model("initial-exec")));

static void *exchange_begin(void *state)
{
    size_t n = 0;

    pthread_mutex_lock(&numbers_lock);
    while (n < THREADS_MAX && numbers[n])
        n++;
    if (n < THREADS_MAX)
        numbers[n] = true;
    pthread_mutex_unlock(&numbers_lock);
    slot_offset = n * sizeof(struct choice_slot);
    return n < THREADS_MAX ? state : NULL;
}

static void exchange_end(void *own)
{
    (void)own;
    pthread_mutex_lock(&numbers_lock);
    numbers[slot_offset / sizeof(struct choice_slot)] = false;
    pthread_mutex_unlock(&numbers_lock);
}

static inline struct choice_slot *slot_here(struct choice_pool *pool)
{
    return (struct choice_slot *)(void *)((char *)pool + slot_offset);
}

/* acquire and release: pairs with the other exchange, by whoever does it. On x86-64 it is seq_cst anyway. */
static inline struct choice_thing *exchange_take(struct choice_pool *pool)
{
    struct choice_thing *thing =
        atomic_exchange_explicit(&slot_here(pool)->thing, NULL, memory_order_acq_rel);

    return UNLIKELY(thing == NULL) ? choice_list_take(pool) : thing;
}

static inline void exchange_put(struct choice_pool *pool, struct choice_thing *thing)
{
    choice_reset(thing);
    thing = atomic_exchange_explicit(&slot_here(pool)->thing, thing, memory_order_acq_rel);
    if (UNLIKELY(thing != NULL))
        choice_list_put(pool, thing);
}

/* ---- the same with the library's protocol, and none of its checks and counts ---- */

static inline struct choice_thing *plain_take(struct choice_pool *pool)
{
    struct choice_slot *slot = slot_here(pool);
    struct choice_thing *thing;

    if (UNLIKELY(atomic_load_explicit(&slot->state, memory_order_relaxed) != CHOICE_IDLE))
        return choice_list_take(pool);
    thing = atomic_load_explicit(&slot->thing, memory_order_relaxed);
    atomic_store_explicit(&slot->state, CHOICE_OUT, memory_order_release);
    __asm__ volatile("" ::: "memory"); /* would pair with membarrier, if anybody revoked */
    if (UNLIKELY(atomic_load_explicit(&slot->revoked, memory_order_acquire) != 0))
        abort();
    return thing;
}

static inline void plain_put(struct choice_pool *pool, struct choice_thing *thing)
{
    struct choice_slot *slot = slot_here(pool);

    if (UNLIKELY(atomic_load_explicit(&slot->thing, memory_order_relaxed) != thing)) {
        choice_list_put(pool, thing);
        return;
    }
    choice_reset(thing);
    atomic_store_explicit(&slot->state, CHOICE_IDLE, memory_order_release);
    __asm__ volatile("" ::: "memory"); /* as above */
    if (UNLIKELY(atomic_load_explicit(&slot->revoked, memory_order_acquire) != 0))
        abort();
}

/* The thread's thing is at home in its slot from the start. */
static void *plain_begin(void *state)
{
    struct choice_pool *pool = exchange_begin(state);

    if (pool == NULL)
        return NULL;
    if (slot_here(pool)->thing == NULL)
        slot_here(pool)->thing = choice_list_take(pool);
    return slot_here(pool)->thing != NULL ? pool : NULL;
}

/* ---- the loops ---- */

#define PLAIN_TAKE(own, thing) (((thing) = plain_take(own)) != NULL ? 0 : EAGAIN)
#define PLAIN_PUT(own, thing) (plain_put(own, thing), 0)
POOL_LOOPS(plain, struct choice_thing, PLAIN_TAKE, PLAIN_PUT)

#define EXCHANGE_TAKE(own, thing) (((thing) = exchange_take(own)) != NULL ? 0 : EAGAIN)
#define EXCHANGE_PUT(own, thing) (exchange_put(own, thing), 0)
POOL_LOOPS(exchange, struct choice_thing, EXCHANGE_TAKE, EXCHANGE_PUT)
#define LIST_TAKE(own, thing) (((thing) = choice_list_take(own)) != NULL ? 0 : EAGAIN)
#define LIST_PUT(own, thing) (choice_list_put(own, thing), 0)
POOL_LOOPS(list, struct choice_thing, LIST_TAKE, LIST_PUT)

const struct pool_contestant choice_plain = {
    .name = "slot of the thread, plain stores",
    .setup = choice_setup,
    .teardown = choice_teardown,
    .thread_begin = plain_begin,
    .thread_end = exchange_end,
    .pairs = plain_pairs,
    .held = plain_held,
};

const struct pool_contestant choice_exchange = {
    .name = "slot of the thread, atomic exchange",
    .setup = choice_setup,
    .teardown = choice_teardown,
    .thread_begin = exchange_begin,
    .thread_end = exchange_end,
    .pairs = exchange_pairs,
    .held = exchange_held,
};

const struct pool_contestant choice_mutex = {
    .name = "list behind a mutex, called",
    .setup = choice_setup,
    .teardown = choice_teardown,
    .pairs = list_pairs,
    .held = list_held,
};
