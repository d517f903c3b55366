/* SPDX-License-Identifier: MIT
 *
 * The life of a bucket pool: create, the pools of its buckets, close, destroy, the NULL bucket pool, fork.
 *
 * The pool of a bucket is made when the first buffer of that size is asked for, under the bucket pool's lock;
 * from then on nothing here is in the way. The memory of a destroyed bucket pool is kept for the next one, as
 * that of a pool is and for the same reason.
 *
 * Locks, in the order in which they are taken: known_lock, a bucket pool's, then those of pools and the
 * reaper. A slab's is taken with none of a pool held, and nothing is taken under it.
 */
#define _GNU_SOURCE
#include "buckets_private.h"

#include "backing_private.h"
#include "checks.h"
#include "fork.h"
#include "configs.h"
#include "lane.h"
#include "misuse_private.h"

#include <stdlib.h>

/* Below this many bytes buffers share extents of the backing. */
#define SLAB_BELOW ((size_t)16384)

/* Arenas of the transient buffers begin with an extent that is too small for any, and is what is kept of
 * them. */
enum { TRANSIENT_FIRST = 64, TRANSIENT_KEPT = 8 };

static struct buckets null_buckets = {
    .magic = BUCKETS_ALIVE,
    .config = { .max_live = BP_UNLIMITED, .retain_ns = BP_FOREVER },
    .name = "NULL bucket pool",
    .budget = { .max = BP_UNLIMITED, .make_room = buckets_make_room, .emptied = buckets_emptied },
    .lock = PTHREAD_MUTEX_INITIALIZER,
};
static pthread_once_t null_once = PTHREAD_ONCE_INIT;

/* As much of a pool as the inline paths look at: all its lanes are closed. So they need not ask whether there
 * is a pool. */
static struct lane closed_lanes[THREAD_IDS + 1];
static pthread_once_t closed_once = PTHREAD_ONCE_INIT;
#define CLOSED_POOL ((bp_pool *)((uintptr_t)closed_lanes - offsetof(bp_pool, lanes)))

static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
/* Sync, all: known_lock. The dead are linked by next_known, oldest first. */
static struct buckets *known_buckets = &null_buckets;
static struct buckets *dead_buckets, **dead_buckets_end = &dead_buckets;

/* ---- fork ---- */

void buckets_before_fork(void)
{
    pthread_mutex_lock(&known_lock);
    for (struct buckets *b = known_buckets; b != NULL; b = b->next_known) {
        pthread_mutex_lock(&b->lock);
        for (size_t i = 0; i < b->sizes; i++)
            if (b->places[i].slab != NULL)
                slab_before_fork(b->places[i].slab);
    }
}

void buckets_after_fork(void)
{
    for (struct buckets *b = known_buckets; b != NULL; b = b->next_known) {
        for (size_t i = 0; i < b->sizes; i++)
            if (b->places[i].slab != NULL)
                slab_after_fork(b->places[i].slab);
        pthread_mutex_unlock(&b->lock);
    }
    pthread_mutex_unlock(&known_lock);
}

/* ---- the pools of the buckets ---- */

/* With the lock. */
static int place_make(struct buckets *b, uint32_t i)
{
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;
    bp_backing *backing = b->backing != NULL ? b->backing : bp_backing_malloc();
    struct place *place = buckets_place(b, i);
    struct slab *slab = NULL;
    char name[64];
    bp_pool *pool;
    int rc;

    c.arena_policy = BP_ARENA_FIXED;
    c.max_spare = 0;
    c.max_idle = b->config.max_kept;
    c.max_idle_bytes = b->config.max_kept_bytes;
    c.max_arenas = b->config.max_live;
    c.zero_on_give_back = b->config.zero_on_put;
    c.retain_ns = b->config.retain_ns;
    c.flags = b->config.flags;
    c.checks = b->checks != 0 ? b->checks : BP_CHECK_OFF;
    c.name = name;
    if (i == TRANSIENT) {
        c.arena_size = TRANSIENT_FIRST;
        c.arena_policy = BP_ARENA_SPILL;
        c.max_idle = c.max_idle < TRANSIENT_KEPT ? c.max_idle : TRANSIENT_KEPT;
        (void)snprintf(name, sizeof name, "%s/transient", b->name);
    } else {
        c.arena_size = c.prefault = b->bucket[i].capacity;
        (void)snprintf(name, sizeof name, "%s/%zu", b->name, b->bucket[i].capacity);
    }
    /* A checked arena needs room of its own choice. */
    if (i != TRANSIENT && c.arena_size < SLAB_BELOW && b->checks == 0) {
        rc = slab_create(backing, c.arena_size, b->config.max_live, &slab);
        if (rc != 0)
            return rc;
        backing = slab_backing(slab);
    }
    rc = pool_create(backing, &c, &b->budget, &pool);
    if (rc != 0) {
        if (slab != NULL)
            slab_destroy(slab);
        return rc == EAGAIN ? ENOMEM : rc; /* no thread for the reaper; EAGAIN means something else here */
    }
    place->slab = slab;
    atomic_store_explicit(&place->pool, pool, memory_order_release); /* pairs with place_pool */
    if (i != TRANSIENT && b->checks == 0)
        __atomic_store_n(&b->bucket[i].pool, pool, __ATOMIC_RELEASE); /* pairs with bp_buckets_get, _put */
    return 0;
}

int buckets_make_pool(struct buckets *b, uint32_t i, bp_pool **out)
{
    bp_pool *pool = place_pool(buckets_place(b, i));
    int rc = 0;

    if (BP_UNLIKELY(pool == NULL)) {
        pthread_mutex_lock(&b->lock);
        pool = place_pool(buckets_place(b, i));
        if (pool == NULL) {
            rc = b->closed ? ECANCELED : place_make(b, i);
            pool = place_pool(buckets_place(b, i));
        }
        pthread_mutex_unlock(&b->lock);
    }
    if (rc == 0)
        *out = pool;
    return rc;
}

/* ---- create ---- */

static void make_known(struct buckets *b)
{
    pthread_mutex_lock(&known_lock);
    b->previous_known = NULL;
    b->next_known = known_buckets;
    known_buckets->previous_known = b; /* the NULL one is always there */
    known_buckets = b;
    pthread_mutex_unlock(&known_lock);
}

static void make_unknown(struct buckets *b)
{
    pthread_mutex_lock(&known_lock);
    *(b->previous_known != NULL ? &b->previous_known->next_known : &known_buckets) = b->next_known;
    b->next_known->previous_known = b->previous_known;
    pthread_mutex_unlock(&known_lock);
}

static void keep_dead(struct buckets *b)
{
    pthread_mutex_lock(&known_lock);
    b->next_known = NULL;
    *dead_buckets_end = b;
    dead_buckets_end = &b->next_known;
    pthread_mutex_unlock(&known_lock);
}

/* The memory of a dead bucket pool, or new memory, or NULL. */
static struct buckets *take_dead(void)
{
    struct buckets *b;

    pthread_mutex_lock(&known_lock);
    b = dead_buckets;
    if (b != NULL) {
        dead_buckets = b->next_known;
        if (dead_buckets == NULL)
            dead_buckets_end = &dead_buckets;
    }
    pthread_mutex_unlock(&known_lock);
    return b != NULL ? b : aligned_alloc(_Alignof(struct buckets), sizeof *b);
}

static void closed_init(void)
{
    for (size_t i = 0; i < sizeof closed_lanes / sizeof closed_lanes[0]; i++)
        lane_close(&closed_lanes[i]);
}

static void null_init(void)
{
    fork_init();
    null_buckets.checks = check_effective(0);
}

struct buckets *buckets_enter(bp_buckets *arg, const char *call)
{
    struct buckets *b;

    if (arg == NULL) {
        pthread_once(&null_once, null_init);
        return &null_buckets;
    }
    b = (struct buckets *)(void *)((char *)arg - offsetof(struct buckets, pub));
    /* Pairs with bp_buckets_destroy. */
    if (atomic_load_explicit(&b->magic, memory_order_relaxed) == BUCKETS_ALIVE)
        return b;
    misuse_report(BP_MISUSE_DEAD_POOL, NULL, NULL, "%s: bucket pool \"%s\" has been destroyed", call,
                  b->name);
    return NULL;
}

static bool checks_are_sane(unsigned checks)
{
    return checks == BP_CHECK_OFF || (checks & ~(unsigned)BP_CHECK_ALL) == 0;
}

/* Whether `n` buffers made ahead in each bucket, of `bytes` in all for one of each, keep to the caps. */
static bool can_be_made_ahead(const struct bp_buckets_config *c, size_t bytes)
{
    if (c->preallocate > c->max_kept || c->preallocate > c->max_live)
        return false;
    return c->preallocate == 0 || c->max_kept_bytes == BP_UNLIMITED ||
           bytes <= c->max_kept_bytes / c->preallocate;
}

/* The bucket pool for what is filled in of `init`: config, name, sizes and pub, with `capacity` for the
 * buckets. The rest of it, the locks and the buffers to be made ahead follow here. */
static int finish(struct buckets *b, bp_backing *backing, bp_buckets **out)
{
    int rc = 0;

    b->backing = backing;
    b->checks = check_effective(b->config.checks);
    if (b->checks == 0)
        b->pub.quick_max = b->max_size;
    b->pub.quick_min = b->bucket[0].capacity;
    b->pub.span = (uint32_t)(b->sizes * sizeof b->bucket[0]);
    for (size_t n = 0, i = 0; n <= BP_BUCKETS_SMALL / 64; n++) {
        while (i < b->sizes && b->bucket[i].capacity < n * 64)
            i++;
        b->pub.small[n] = (uint16_t)(i < b->sizes ? bucket_place((uint32_t)i) : 0);
    }
    b->budget.max = b->config.max_kept_bytes;
    b->budget.make_room = buckets_make_room;
    b->budget.emptied = buckets_emptied;
    pthread_mutex_init(&b->lock, NULL);
    atomic_store_explicit(&b->magic, BUCKETS_ALIVE, memory_order_relaxed); /* pairs with buckets_enter */
    make_known(b);

    for (size_t i = 0; i < b->sizes && b->config.preallocate != 0 && rc == 0; i++) {
        size_t added = 0;
        bp_pool *pool;

        rc = buckets_make_pool(b, (uint32_t)i, &pool);
        if (rc == 0)
            rc = bp_pool_prewarm(pool, b->config.preallocate, &added);
        if (rc == 0 && added != b->config.preallocate)
            rc = ENOMEM; /* what the backing gives is larger than asked for, and so beyond max_kept_bytes */
    }
    if (rc == 0)
        *out = &b->pub;
    else
        (void)bp_buckets_destroy(&b->pub);
    return rc;
}

static struct buckets *begin(const struct bp_buckets_config *c, const char *name)
{
    struct buckets *b;

    fork_init(); /* before any lock is taken here */
    b = take_dead();
    if (b == NULL)
        return NULL;
    memset(b, 0, sizeof *b);
    b->config = *c;
    b->config.name = NULL;
    strncpy(b->name, c->name != NULL ? c->name : name, sizeof b->name - 1);
    pthread_once(&closed_once, closed_init);
    b->pub.none.pool = CLOSED_POOL;
    for (size_t i = 0; i < BUCKETS_MOST; i++)
        b->bucket[i].pool = CLOSED_POOL;
    return b;
}

/* The size of the bucket after that of `size` bytes. */
static size_t next_size(size_t size, enum bp_buckets_step step)
{
    size_t octave = (size_t)1 << (63 - __builtin_clzll((unsigned long long)size));

    if (step == BP_BUCKETS_DOUBLE)
        return size * 2;
    return size + (octave / 4 > SLAB_ALIGN ? octave / 4 : SLAB_ALIGN);
}

static size_t round_up_to_power(size_t n)
{
    size_t power = 64;

    while (power < n)
        power *= 2;
    return power;
}

int bp_buckets_create(bp_backing *backing, const struct bp_buckets_config *config, bp_buckets **out)
{
    struct bp_buckets_config c = BP_BUCKETS_CONFIG_INIT;
    size_t first, size, sizes = 0, bytes = 0;
    struct buckets *b;
    uint32_t log2;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    backing = backing != NULL ? backing : bp_backing_mmap();
    if (c.min_size == 0 || c.min_size > c.max_size || c.max_size > PTRDIFF_MAX / 2 ||
        (c.step != BP_BUCKETS_DOUBLE && c.step != BP_BUCKETS_QUARTER))
        return EINVAL;
    if (!backing_is_sane(backing) || (c.flags & ~(unsigned)BP_POOL_REAPER) != 0 || !checks_are_sane(c.checks))
        return EINVAL;
    for (size = first = round_up_to_power(c.min_size);; size = next_size(size, c.step)) {
        sizes++;
        bytes = bytes > SIZE_MAX - size ? SIZE_MAX : bytes + size;
        if (size >= c.max_size)
            break;
    }
    if (!can_be_made_ahead(&c, bytes))
        return EINVAL;

    b = begin(&c, "buckets");
    if (b == NULL)
        return ENOMEM;
    b->sizes = sizes;
    b->max_size = size;
    size = first;
    for (size_t i = 0; i < sizes; i++, size = next_size(size, c.step))
        b->bucket[i].capacity = size;
    b->pub.step = (uint32_t)c.step;
    /* So that the largest size has the last number. */
    log2 = 63 ^ (uint32_t)__builtin_clzll((unsigned long long)b->max_size - 1);
    b->pub.base = (uint32_t)((b->max_size - 1) >> (log2 - b->pub.step)) + (log2 << b->pub.step);
    b->pub.base -= (uint32_t)(sizes - 1);
    return finish(b, backing, out);
}

int bp_buckets_create_blocks(bp_backing *backing, const struct bp_blocks_config *config, bp_buckets **out)
{
    struct bp_blocks_config blocks = BP_BLOCKS_CONFIG_INIT;
    struct bp_buckets_config c = BP_BUCKETS_CONFIG_INIT;
    struct buckets *b;

    if (out == NULL || config_read(&blocks, sizeof blocks, sizeof blocks, config) != 0)
        return EINVAL;
    backing = backing != NULL ? backing : bp_backing_mmap();
    if (blocks.block_size == 0 || blocks.block_size > PTRDIFF_MAX / 2)
        return EINVAL;
    if (blocks.preallocate > blocks.max_blocks || !checks_are_sane(blocks.checks) ||
        !backing_is_sane(backing))
        return EINVAL;
    c.name = blocks.name;
    c.max_kept = c.max_kept_bytes = BP_UNLIMITED;
    c.max_live = blocks.max_blocks;
    c.preallocate = blocks.preallocate;
    c.zero_on_put = blocks.zero_on_put;
    c.retain_ns = BP_FOREVER;
    c.checks = blocks.checks;

    b = begin(&c, "blocks");
    if (b == NULL)
        return ENOMEM;
    b->blocks = true;
    b->sizes = 1;
    b->max_size = b->bucket[0].capacity = (blocks.block_size + SLAB_ALIGN - 1) & ~(SLAB_ALIGN - 1);
    return finish(b, backing, out);
}

/* ---- close, destroy ---- */

int bp_buckets_close(bp_buckets *arg)
{
    struct buckets *b = arg != NULL ? buckets_enter(arg, "close") : NULL;

    if (b == NULL)
        return EINVAL;
    pthread_mutex_lock(&b->lock);
    b->closed = true; /* no pool is made any more */
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i <= b->sizes; i++)
        if (buckets_each(b, i) != NULL)
            (void)bp_pool_close(buckets_each(b, i));
    return 0;
}

/* Takes all pools out of the reaper's hands. False, with *users summed up: some are in use. */
static bool hold_all(struct buckets *b, struct pool_users *users)
{
    *users = (struct pool_users){ 0 };
    for (size_t i = 0; i <= b->sizes; i++) {
        struct pool_users some;

        if (buckets_each(b, i) == NULL)
            continue;
        pool_hold(buckets_each(b, i), &some);
        if (users->who[0] == '\0') {
            memcpy(users->who, some.who, sizeof users->who);
            users->first = some.first;
        }
        users->any |= some.any;
        users->live += some.live;
        users->waiting += some.waiting;
    }
    return !users->any;
}

int bp_buckets_destroy(bp_buckets *arg)
{
    struct buckets *b = arg != NULL ? buckets_enter(arg, "destroy") : NULL;
    struct pool_users users;

    if (b == NULL)
        return arg == NULL ? 0 : EINVAL;
    if (!hold_all(b, &users)) {
        for (size_t i = 0; i <= b->sizes; i++)
            if (buckets_each(b, i) != NULL)
                pool_unhold(buckets_each(b, i));
        (void)misuse_report_block(BP_MISUSE_LIVE_ARENAS, NULL, NULL, &users.first,
                                  "destroy: bucket pool \"%s\" has %zu live buffers and %zu waiters%s", b->name,
                                  users.live, users.waiting, users.who);
        return EBUSY;
    }
    atomic_store_explicit(&b->magic, BUCKETS_DEAD, memory_order_relaxed); /* pairs with buckets_enter */
    b->pub.quick_max = 0;
    b->pub.span = 0;
    make_unknown(b); /* first, for fork takes the locks of what is known */
    for (size_t i = 0; i <= b->sizes; i++) {
        struct place *place = i < b->sizes ? &b->places[i] : &b->transient;
        bp_pool *pool = place_pool(place);

        if (i < b->sizes)
            __atomic_store_n(&b->bucket[i].pool, CLOSED_POOL, __ATOMIC_RELAXED); /* nobody else is left */
        atomic_store_explicit(&place->pool, (bp_pool *)NULL, memory_order_relaxed); /* nobody else is left */
        if (pool != NULL)
            pool_end(pool);
        if (place->slab != NULL)
            slab_destroy(place->slab);
        place->slab = NULL;
    }
    pthread_mutex_destroy(&b->lock);
    keep_dead(b);
    check_tell();
    return 0;
}
