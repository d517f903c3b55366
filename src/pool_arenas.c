/* SPDX-License-Identifier: MIT
 *
 * The arenas of a pool: the slabs they live in, the idle lists, the caps, minting and disposing.
 *
 * Every arena of the pool is in one state (enum arena_state). `kept` counts those that hold a place under
 * max_idle: the idle ones, and those homed in a lane even while checked out, whose owner may put them
 * back without asking.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include "lane.h"

#include <stdlib.h>

/* Idle arenas that a checkout with a size looks at. */
enum { BETTER_LOOK = 16 };

/* Idle arenas of a checked pool, at most, before they are used again. */
#define QUARANTINE_BYTES ((size_t)64 << 20)

/* ---- lists, caps ---- */

void list_push(struct arena_list *list, struct arena *a)
{
    a->state = (uint16_t)list->state;
    a->prev = NULL;
    a->next = list->head;
    *(list->head != NULL ? &list->head->prev : &list->tail) = a;
    list->head = a;
    list->count++;
}

void list_push_oldest(struct arena_list *list, struct arena *a)
{
    a->state = (uint16_t)list->state;
    a->next = NULL;
    a->prev = list->tail;
    *(list->tail != NULL ? &list->tail->next : &list->head) = a;
    list->tail = a;
    list->count++;
}

struct arena *list_remove(struct arena_list *list, struct arena *a)
{
    if (a == NULL)
        return NULL;
    *(a->prev != NULL ? &a->prev->next : &list->head) = a->next;
    *(a->next != NULL ? &a->next->prev : &list->tail) = a->prev;
    list->count--;
    return a;
}

struct arena *list_pop(struct arena_list *list)
{
    return list_remove(list, list->head);
}

struct arena *list_pop_oldest(struct arena_list *list)
{
    return list_remove(list, list->tail);
}

/* Relaxed throughout: a number, changed beside system calls and lists. */
static bool budget_take(struct kept_budget *budget, size_t bytes)
{
    size_t used;

    if (budget == NULL || budget->max == BP_UNLIMITED)
        return true;
    used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    do {
        if (bytes > budget->max - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static void budget_give(struct kept_budget *budget, size_t bytes)
{
    if (budget != NULL && budget->max != BP_UNLIMITED)
        atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

bool keep_try(bp_pool *pool, struct arena *a)
{
    if (pool->kept >= pool->max_idle || a->footprint > pool->max_idle_bytes ||
        pool->kept_bytes > pool->max_idle_bytes - a->footprint || !budget_take(pool->budget, a->footprint))
        return false;
    pool->kept++;
    pool->kept_bytes += a->footprint;
    a->accounted = a->footprint;
    arena_unflag(a, ARENA_RESIZED);
    return true;
}

void keep_drop(bp_pool *pool, struct arena *a)
{
    pool->kept--;
    pool->kept_bytes -= a->accounted;
    budget_give(pool->budget, a->accounted);
}

void pool_put_idle(bp_pool *pool, struct arena *a)
{
    list_push(&pool->warm, a);
}

struct arena *pool_take_quarantined(bp_pool *pool)
{
    struct arena *a;

    if ((pool->checks & BP_CHECK_QUARANTINE) == 0)
        return NULL;
    a = list_pop_oldest(&pool->cold);
    return a != NULL ? a : list_pop_oldest(&pool->warm);
}

/* Whether one more idle arena would be one too many. */
static bool quarantine_is_full(const bp_pool *pool)
{
    size_t most = pool->max_idle_bytes < QUARANTINE_BYTES ? pool->max_idle_bytes : QUARANTINE_BYTES;

    return pool->total >= pool->max_arenas || pool->kept >= pool->max_idle || pool->kept_bytes >= most ||
           pool->arena_config.size > most - pool->kept_bytes;
}

struct arena *pool_take_idle(bp_pool *pool)
{
    struct arena *a;

    if (BP_UNLIKELY((pool->checks & BP_CHECK_QUARANTINE) != 0))
        return quarantine_is_full(pool) ? pool_take_quarantined(pool) : NULL;
    a = list_pop(&pool->warm);
    if (a == NULL) {
        a = list_pop(&pool->cold);
        if (a != NULL)
            pool_is_busy(pool);
    }
    return a;
}

/* Pages that are missing cost more than pages too many. */
size_t pool_misfit(const struct arena *a, size_t bytes)
{
    size_t has = (size_t)(a->first.touched - a->first.start);

    return has >= bytes ? has - bytes : bytes - has > SIZE_MAX / 2 ? SIZE_MAX : (bytes - has) * 2;
}

struct arena *pool_take_better(bp_pool *pool, size_t bytes, const struct arena *than)
{
    size_t least = pool_misfit(than, bytes);
    struct arena *best = NULL, *a = (pool->checks & BP_CHECK_QUARANTINE) == 0 ? pool->warm.head : NULL;

    for (unsigned n = 0; n < BETTER_LOOK && a != NULL; n++, a = a->next)
        if (pool_misfit(a, bytes) < least) {
            least = pool_misfit(a, bytes);
            best = a;
        }
    return list_remove(&pool->warm, best);
}

void service_begin(bp_pool *pool, struct arena *a)
{
    a->state = STATE_SERVICED;
    pool->serviced++;
}

bool service_end(bp_pool *pool, struct arena *a)
{
    pool->serviced--;
    if (a->footprint > a->accounted && !budget_take(pool->budget, a->footprint - a->accounted))
        return false;
    if (a->footprint < a->accounted)
        budget_give(pool->budget, a->accounted - a->footprint);
    pool->kept_bytes += a->footprint - a->accounted; /* modular */
    a->accounted = a->footprint;
    arena_unflag(a, ARENA_RESIZED);
    return true;
}

void service_abandon(bp_pool *pool)
{
    /* written under the lock */
    unsigned slabs = atomic_load_explicit(&pool->slab_count, memory_order_relaxed);

    for (unsigned k = 0; pool->serviced != 0 && k < slabs; k++)
        for (size_t i = 0; i < (size_t)SLAB_FIRST << k; i++) {
            struct arena *a = &pool->slabs[k][i];

            if (a->state != STATE_SERVICED)
                continue;
            a->state = STATE_LIVE;
            a->holder = 0;
            pool->serviced--;
            keep_drop(pool, a);
        }
}

size_t pool_idle(bp_pool *pool)
{
    return pool->warm.count + pool->cold.count + pool->serviced + lanes_idle(pool);
}

size_t pool_idle_bytes(const bp_pool *pool)
{
    size_t bytes = pool->kept_bytes;

    for (const struct lane *l = pool->lanes; l < pool->lanes + pool->lanes_used; l++)
        for (uint32_t left = l->homed; left != 0; left &= left - 1) {
            const struct lane_slot *slot = &l->deep->slots[__builtin_ctz(left)];

            if (!slot_is(slot, LANE_IDLE))
                bytes -= slot_arena(slot)->accounted;
        }
    return bytes;
}

/* ---- making and unmaking arenas ---- */

/* Adds a slab unless another thread did while the lock was dropped. */
static int add_slab(bp_pool *pool)
{
    unsigned k = atomic_load_explicit(&pool->slab_count, memory_order_relaxed); /* written under the lock */
    size_t count = (size_t)SLAB_FIRST << k;
    struct arena *slab;

    if (k == SLABS)
        return ENOMEM;
    pthread_mutex_unlock(&pool->lock);
    slab = count <= PTRDIFF_MAX / sizeof *slab ? aligned_alloc(64, count * sizeof *slab) : NULL;
    if (slab != NULL)
        memset(slab, 0, count * sizeof *slab);
    pthread_mutex_lock(&pool->lock);
    if (slab == NULL)
        return pool->vacant != NULL ? 0 : ENOMEM;
    if (k != atomic_load_explicit(&pool->slab_count, memory_order_relaxed)) {
        pthread_mutex_unlock(&pool->lock);
        free(slab);
        pthread_mutex_lock(&pool->lock);
        return 0;
    }
    for (size_t i = count; i-- != 0;) { /* the first place is used first */
        slab[i].next = pool->vacant;
        pool->vacant = &slab[i];
    }
    pool->slabs[k] = slab;
    atomic_store_explicit(&pool->slab_count, k + 1, memory_order_release); /* pairs with pool_find */
    return 0;
}

void pool_first_slab(bp_pool *pool)
{
    for (size_t i = 0; i < SLAB_FIRST; i++) {
        pool->first_slab[i].next = pool->vacant;
        pool->vacant = &pool->first_slab[i];
    }
    pool->slabs[0] = pool->first_slab;
    atomic_store_explicit(&pool->slab_count, 1, memory_order_release); /* pairs with pool_find */
}

static void make_vacant(bp_pool *pool, struct arena *a)
{
    a->state = STATE_VACANT;
    a->next = pool->vacant;
    pool->vacant = a;
    pool->total--;
    pool->in_transit--;
}

int pool_mint(bp_pool *pool, struct arena **out)
{
    struct arena *a;
    int rc;

    for (;;) {
        if (pool->total >= pool->max_arenas)
            return EAGAIN;
        if (pool->vacant != NULL)
            break;
        rc = add_slab(pool);
        if (rc != 0)
            return rc;
    }
    a = pool->vacant;
    pool->vacant = a->next;
    memset(a, 0, sizeof *a);
    a->state = STATE_IN_TRANSIT;
    pool->total++;
    pool->in_transit++;

    pthread_mutex_unlock(&pool->lock);
    rc = arena_open(a, pool->backing, &pool->arena_config, &pool->totals);
    pthread_mutex_lock(&pool->lock);
    if (rc != 0) {
        make_vacant(pool, a);
        return rc;
    }
    if (pool->wipe)
        arena_flag(a, ARENA_WIPE);
    pool->in_transit--;
    a->state = STATE_LIVE;
    pool_is_busy(pool);
    a->idle_since = pool->looks;
    pool->mints++;
    if (pool->total - pool->in_transit > pool->peak)
        pool->peak = pool->total - pool->in_transit;
    *out = a;
    return 0;
}

void pool_dispose(bp_pool *pool, struct arena *chain)
{
    for (struct arena *a = chain; a != NULL; a = a->next) {
        a->state = STATE_IN_TRANSIT;
        pool->in_transit++;
    }
    pthread_mutex_unlock(&pool->lock);
    for (struct arena *a = chain; a != NULL; a = a->next)
        arena_close(a);
    pthread_mutex_lock(&pool->lock);
    while (chain != NULL) {
        struct arena *next = chain->next;

        make_vacant(pool, chain);
        pool->disposals++;
        chain = next;
    }
}
