/* SPDX-License-Identifier: MIT
 * Everything at once, for a while: threads that come and go, arenas that wander between them, waiters, ticks,
 * trims, forks, pools that come and go.
 *
 *     tests/stress [SECONDS]     2 if not said
 *
 * Time is cut into rounds. In each, threads do random things to a few pools; then all of them end, and what
 * must be true of a pool at rest is checked. A unit of work stamps its memory, and looks at it before the
 * arena is given back. BP_SEED fixes what each thread does, by its number; in what order they come to do it
 * is the machine's affair. It ends with one line of figures, or at the first failure, with the seed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bumpool.h>


#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

enum {
    POOLS = 5,        /* at a time, and the NULL pool */
    WORKERS = 8,      /* threads at a time, */
    CROWD = 140,      /* and at moments: more than the library has numbers for */
    HELD = 6,         /* arenas in the hands of a thread */
    WAITERS = 3,      /* async waiters of a thread */
    QUEUE = 32,       /* arenas on their way between threads */
    ROUND_MS = 250,
    MAX_THREADS = 512 /* of one round that were not joined yet */
};

/* ---- failing ---- */

static uint64_t seed;
static _Thread_local uint64_t me; /* number of this thread */
static _Thread_local const char *doing = "";

__attribute__((noreturn, format(printf, 2, 3))) static void failed(int line, const char *format, ...)
{
    char text[512];
    va_list args;
    int n = snprintf(text, sizeof text, "stress: FAILED in line %d, thread %" PRIu64 ", %s: ", line, me,
                     doing);

    va_start(args, format);
    n += vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    va_end(args);
    dprintf(STDERR_FILENO, "%s; BP_SEED=%" PRIu64 "\n", text, seed);
    abort();
}

#define check(e)                                  \
    do {                                          \
        if (!(e))                                 \
            failed(__LINE__, "'%s' is not so", #e); \
    } while (0)

#define check_eq(a, b)                                                                             \
    do {                                                                                           \
        uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b);                                           \
        if (a_ != b_)                                                                              \
            failed(__LINE__, "%s is %" PRIu64 ", %s is %" PRIu64, #a, a_, #b, b_);                 \
    } while (0)

static _Thread_local bool expects_live; /* this thread destroys a pool with live arenas, on purpose */

static void on_misuse(const struct bp_misuse *m, void *data)
{
    (void)data;
    if (m->kind != BP_MISUSE_LIVE_ARENAS || !expects_live)
        failed(__LINE__, "misuse: %s", m->message);
}

/* ---- random numbers (splitmix64) ---- */

struct rng {
    uint64_t state;
};

static uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t below(struct rng *r, size_t n)
{
    return (size_t)(rng_next(r) % n);
}

static bool one_in(struct rng *r, size_t n)
{
    return below(r, n) == 0;
}

#define ONE_OF(r, array) ((array)[below((r), sizeof(array) / sizeof((array)[0]))])

static struct rng rng_of(uint64_t number)
{
    struct rng r = { seed ^ number * UINT64_C(0xd1342543de82ef95) };

    (void)rng_next(&r);
    return r;
}

/* ---- time ---- */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void nap(uint64_t ns)
{
    struct timespec t = { (time_t)(ns / SECOND), (long)(ns % SECOND) };

    nanosleep(&t, NULL);
}

/* ---- the pools of a round ---- */

struct playground {
    bp_pool *pool; /* NULL: the NULL pool */
    struct bp_pool_config config;
    bp_backing *faulty; /* NULL: not a faulty one */
    struct bp_buffer_backing buffer;
    void *memory;
    bool is_buffer;
    bool zeroed; /* all memory of an empty arena reads as zero */
    atomic_bool closing;
};

static struct playground grounds[POOLS + 1];
static _Atomic(uint64_t) made_up_clock; /* of ticks, where there is no reaper; relaxed */
static FILE *nowhere;

static atomic_bool over; /* the round ends */
static _Atomic(uint64_t) operations, generations, units, forks, threads_so_far, pools_so_far;

static struct bp_pool_config random_config(struct rng *r)
{
    static const size_t sizes[] = { 64, 4096, 65536, 1 << 20, BP_ARENA_SIZE_DEFAULT };
    static const size_t idles[] = { 0, 1, 4, 64, BP_UNLIMITED };
    static const size_t idle_bytes[] = { 0, 1 << 18, 1 << 22, 64 << 20, BP_UNLIMITED };
    static const size_t arenas[] = { 1, 2, 4, 16, BP_UNLIMITED, BP_UNLIMITED };
    static const size_t prefaults[] = { 0, 4096, 1 << 20 };
    static const uint64_t retains[] = { 0, MS, 20 * MS, 2 * SECOND, BP_FOREVER };
    struct bp_pool_config c = BP_POOL_CONFIG_INIT;

    c.name = "stress";
    c.arena_size = ONE_OF(r, sizes);
    c.arena_policy = one_in(r, 5) ? BP_ARENA_FIXED : BP_ARENA_SPILL;
    if (one_in(r, 3))
        c.max_spare = 0;
    if (!one_in(r, 3))
        c.max_idle = ONE_OF(r, idles);
    if (one_in(r, 2))
        c.max_idle_bytes = ONE_OF(r, idle_bytes);
    c.max_arenas = ONE_OF(r, arenas);
    c.prefault = ONE_OF(r, prefaults);
    c.zero_on_give_back = one_in(r, 4);
    c.retain_ns = ONE_OF(r, retains);
    c.flags = one_in(r, 2) ? BP_POOL_REAPER : 0;
    return c;
}

static bp_backing *stock(size_t kind)
{
    return kind == 0 ? bp_backing_malloc() : kind == 1 ? bp_backing_mmap() : bp_backing_reserved();
}

static struct bp_faulty_stats faulty_stats(struct playground *g)
{
    struct bp_faulty_stats s;

    check_eq(bp_backing_faulty_stats(g->faulty, &s), 0);
    return s;
}

static void faulty_plan(struct playground *g, struct rng *r)
{
    struct bp_faulty_plan plan = BP_FAULTY_PLAN_INIT;

    plan.ops = (unsigned)below(r, BP_FAULTY_ALL + 1);
    plan.fail_at = below(r, 20);
    plan.persistent = one_in(r, 4);
    plan.one_in = one_in(r, 4) ? 2 + (unsigned)below(r, 20) : 0;
    plan.seed = below(r, 1000);
    check_eq(bp_backing_faulty_plan(g->faulty, &plan), 0);
}

static void ground_open(struct playground *g, struct rng *r)
{
    size_t kind = below(r, 8);
    bp_backing *backing = stock(kind % 3);

    g->config = random_config(r);
    g->faulty = NULL;
    g->is_buffer = false;
    if (kind == 7) {
        g->is_buffer = true;
        check((g->memory = malloc(4 << 20)) != NULL);
        check_eq(bp_backing_buffer_init(&g->buffer, g->memory, 4 << 20), 0);
        backing = &g->buffer.backing;
        g->config.arena_size %= 1 << 20; /* BP_ARENA_SIZE_DEFAULT among them */
        if (g->config.arena_size == 0)
            g->config.arena_size = 4096;
    } else if (kind >= 4) {
        check_eq(bp_backing_faulty_create(backing, NULL, &g->faulty), 0);
        backing = g->faulty;
    }
    g->zeroed = g->config.zero_on_give_back && !g->is_buffer && kind % 3 != 0;
    atomic_store(&g->closing, false);
    check_eq(bp_pool_create(backing, &g->config, &g->pool), 0);
    atomic_fetch_add(&pools_so_far, 1);
}

static int count_live(const struct bp_live_arena *live, void *data)
{
    check(live->arena != NULL && live->thread >= 0);
    ++*(size_t *)data;
    return 0;
}

/* A pool that nobody uses. */
static void check_at_rest(struct playground *g)
{
    struct bp_pool_stats s;
    size_t live = 0;

    check_eq(bp_pool_stats(g->pool, &s), 0);
    check_eq(s.live, 0);
    check_eq(s.waiting, 0);
    check_eq(s.checkouts, s.give_backs);
    check(s.hits <= s.checkouts);
    check(s.timeouts + s.cancels <= s.waits);
    check(s.peak_arenas <= g->config.max_arenas);
    /* The reaper may be at work on them, and dispose of some between two looks. */
    if ((g->config.flags & BP_POOL_REAPER) == 0) {
        check_eq(s.idle, s.mints - s.disposals);
        check_eq(s.idle, bp_pool_idle_count(g->pool));
        if (g->faulty != NULL && g->config.max_spare == 0)
            check_eq(s.idle, faulty_stats(g).extents);
    }
    check(s.idle <= g->config.max_idle);
    check(s.idle_bytes <= g->config.max_idle_bytes);
    check_eq(bp_pool_live_count(g->pool), 0);
    check_eq(bp_pool_each_live(g->pool, count_live, &live), 0);
    check_eq(live, 0);
}

/* With its last arena goes all that was counted for it. */
static void check_empty(struct playground *g)
{
    struct bp_pool_stats s;

    for (int i = 0; i < 2000 && bp_pool_idle_count(g->pool) != 0; i++) {
        check_eq(bp_pool_trim(g->pool, 0), 0);
        if (bp_pool_idle_count(g->pool) != 0)
            nap(5 * MS); /* the reaper has some in its hands */
    }
    check_eq(bp_pool_stats(g->pool, &s), 0);
    check_eq(s.idle, 0);
    check_eq(s.idle_bytes, 0);
    /* An arena that the reaper disposes of at this moment is still counted here. */
    if ((g->config.flags & BP_POOL_REAPER) == 0) {
        check_eq(s.mints, s.disposals);
        check_eq(s.reserved_bytes, 0);
        check_eq(s.committed_bytes, 0);
        check_eq(s.touched_bytes, 0);
        check_eq(s.resident_bytes, 0);
    }
}

static void ground_close(struct playground *g)
{
    check_at_rest(g);
    check_empty(g);
    check_eq(bp_pool_destroy(g->pool), 0);
    if (g->faulty != NULL) {
        check_eq(faulty_stats(g).extents, 0);
        check_eq(faulty_stats(g).bytes, 0);
        bp_backing_destroy(g->faulty);
    }
    free(g->memory);
    g->memory = NULL;
}

static bool is_limited(const struct playground *g)
{
    return g->config.max_arenas != BP_UNLIMITED;
}

/* Whether a call that needs an arena may fail so. */
static bool may_fail(struct playground *g, int rc)
{
    switch (rc) {
    case 0:
        return true;
    case EAGAIN:
    case ETIMEDOUT:
        return is_limited(g);
    case ECANCELED:
        return atomic_load(&g->closing);
    case ENOMEM:
        return g->faulty != NULL || g->is_buffer;
    default:
        return false;
    }
}

/* ---- units of work ---- */

struct slip {
    bp_arena *arena;
    uint64_t generation;
};

struct unit {
    struct playground *ground;
    bp_arena *arena;
    struct slip *slip; /* NULL: there was no room for any */
    unsigned char *block;
    size_t size;
    uint64_t generation;
};

static unsigned char stamp_byte(const struct unit *u, size_t i)
{
    return (unsigned char)(u->generation * 167 + i * 31 + 1);
}

static void unit_grow(struct unit *u, size_t size)
{
    u->block = bp_arena_alloc(u->arena, size);
    u->size = u->block != NULL ? size : 0;
    for (size_t i = 0; i < u->size; i++) {
        check(!u->ground->zeroed || u->block[i] == 0);
        u->block[i] = stamp_byte(u, i);
    }
}

/* An arena that was just handed out. */
static struct unit unit_begin(struct playground *g, bp_arena *arena, struct rng *r)
{
    struct unit u = { g, arena, NULL, NULL, 0, atomic_fetch_add(&generations, 1) };
    size_t most = one_in(r, 50) ? 300000 : one_in(r, 10) ? 20000 : 800;

    check(arena != NULL);
    check_eq(bp_arena_used(arena), 0);
    u.slip = bp_new(arena, struct slip);
    if (u.slip != NULL) {
        *u.slip = (struct slip){ arena, u.generation };
        unit_grow(&u, 1 + below(r, most));
    } else {
        check(g->faulty != NULL || g->is_buffer || g->config.arena_policy == BP_ARENA_FIXED);
    }
    atomic_fetch_add_explicit(&units, 1, memory_order_relaxed);
    return u;
}

static void unit_check(const struct unit *u)
{
    if (u->slip == NULL)
        return;
    check(u->slip->arena == u->arena);
    check_eq(u->slip->generation, u->generation);
    for (size_t i = 0; i < u->size; i++)
        check(u->block[i] == stamp_byte(u, i));
}

static void unit_end(const struct unit *u)
{
    unit_check(u);
    check_eq(bp_pool_give_back(u->ground->pool, u->arena), 0);
}

/* ---- the queue between threads ---- */

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static struct unit queue[QUEUE]; /* Sync, both: queue_lock */
static size_t queued;

static bool queue_push(const struct unit *u)
{
    bool fits;

    pthread_mutex_lock(&queue_lock);
    fits = queued < QUEUE;
    if (fits)
        queue[queued++] = *u;
    pthread_mutex_unlock(&queue_lock);
    return fits;
}

static bool queue_pop(struct unit *u, size_t any)
{
    bool found;

    pthread_mutex_lock(&queue_lock);
    found = queued != 0;
    if (found) {
        struct unit *place = &queue[any % queued];

        *u = *place;
        *place = queue[--queued];
    }
    pthread_mutex_unlock(&queue_lock);
    return found;
}

/* ---- threads ---- */

struct cell {
    struct bp_waiter waiter; /* first: fn gets its address */
    struct playground *ground;
    atomic_int state;        /* FREE to QUEUED by the owner, to SERVED by fn; release, acquire */
    int error;
    bp_arena *arena;
};
enum { CELL_FREE, CELL_QUEUED, CELL_SERVED };

struct worker {
    pthread_t thread;
    uint64_t number;
    atomic_bool ended;
    atomic_bool *gate; /* of the crowd: closed until all are there */
    struct rng rng;
    struct unit held[HELD];
    size_t count;
    struct cell cells[WAITERS];
};

static struct playground *any_ground(struct worker *w)
{
    return &grounds[below(&w->rng, POOLS + (one_in(&w->rng, 10) ? 1 : 0))];
}

static void hold(struct worker *w, struct playground *g, bp_arena *arena)
{
    check(w->count < HELD);
    w->held[w->count++] = unit_begin(g, arena, &w->rng);
}

static struct unit let_go(struct worker *w)
{
    size_t i = below(&w->rng, w->count);
    struct unit u = w->held[i];

    w->held[i] = w->held[--w->count];
    return u;
}

/* ---- what a thread may do ---- */

static void do_checkout(struct worker *w)
{
    struct playground *g = any_ground(w);
    bp_arena *arena = NULL;
    int rc;

    doing = "checkout";
    if (w->count == HELD)
        return;
    switch (below(&w->rng, 4)) {
    case 0:
        rc = bp_pool_checkout_sized(g->pool, below(&w->rng, 100000), &arena);
        break;
    case 1:
        rc = BP_POOL_CHECKOUT(g->pool, &arena);
        break;
    default:
        rc = bp_pool_checkout(g->pool, &arena);
    }
    check(may_fail(g, rc) && rc != ETIMEDOUT);
    if (rc == 0)
        hold(w, g, arena);
}

static void do_give_back(struct worker *w)
{
    struct unit u;

    doing = "give_back";
    if (w->count == 0)
        return;
    u = let_go(w);
    unit_end(&u);
}

static void do_pairs(struct worker *w)
{
    struct playground *g = any_ground(w);

    doing = "pairs";
    for (size_t i = below(&w->rng, 50); i-- != 0;) {
        bp_arena *arena = NULL;
        int rc = bp_pool_checkout(g->pool, &arena);
        struct unit u;

        check(may_fail(g, rc) && rc != ETIMEDOUT);
        if (rc != 0)
            return;
        u = unit_begin(g, arena, &w->rng);
        unit_end(&u);
    }
}

static void do_hand_over(struct worker *w)
{
    struct unit u;

    doing = "hand over";
    if (w->count != 0) {
        u = let_go(w);
        if (!queue_push(&u))
            unit_end(&u);
    }
}

static void do_take_over(struct worker *w)
{
    struct unit u;

    doing = "take over";
    if (w->count == HELD || !queue_pop(&u, below(&w->rng, QUEUE)))
        return;
    unit_check(&u);
    if (one_in(&w->rng, 2))
        unit_end(&u);
    else
        w->held[w->count++] = u;
}

static void do_more(struct worker *w)
{
    struct unit *u;

    doing = "more of an arena";
    if (w->count == 0)
        return;
    u = &w->held[below(&w->rng, w->count)];
    unit_check(u);
    if (u->slip == NULL)
        return;
    if (one_in(&w->rng, 3)) {
        bp_mark mark = bp_arena_mark(u->arena);

        for (size_t i = below(&w->rng, 20); i-- != 0;) {
            size_t n = below(&w->rng, 3000);
            char *p = bp_arena_alloc(u->arena, n);

            if (p != NULL)
                memset(p, 0x5A, n);
        }
        check_eq(bp_arena_rewind(u->arena, mark), 0);
    } else if (one_in(&w->rng, 3)) {
        bp_arena_reset(u->arena);
        u->slip = bp_new(u->arena, struct slip);
        u->size = 0;
        if (u->slip != NULL)
            *u->slip = (struct slip){ u->arena, u->generation };
    } else if (!u->ground->zeroed) {
        unit_grow(u, 1 + below(&w->rng, 5000));
    }
    unit_check(u);
}

static void do_wait(struct worker *w)
{
    struct playground *g = any_ground(w);
    bp_arena *arena = NULL;
    int rc;

    doing = "checkout_wait";
    if (w->count == HELD)
        return;
    rc = bp_pool_checkout_wait(g->pool, (int64_t)below(&w->rng, 3 * MS) * (int64_t)below(&w->rng, 2), &arena);
    check(may_fail(g, rc) && rc != EAGAIN);
    if (rc == 0)
        hold(w, g, arena);
}

static void on_served(struct bp_waiter *waiter, bp_arena *arena, int error)
{
    struct cell *cell = (struct cell *)(void *)waiter;

    check((error == 0) == (arena != NULL));
    cell->arena = arena;
    cell->error = error;
    atomic_store_explicit(&cell->state, CELL_SERVED, memory_order_release);
}

/* Takes what a waiter got; true if it is free now. */
static bool cell_collect(struct worker *w, struct cell *cell)
{
    if (atomic_load_explicit(&cell->state, memory_order_acquire) != CELL_SERVED)
        return atomic_load_explicit(&cell->state, memory_order_relaxed) == CELL_FREE;
    check(may_fail(cell->ground, cell->error) && cell->error != EAGAIN && cell->error != ETIMEDOUT);
    if (cell->error == 0) {
        struct unit u = unit_begin(cell->ground, cell->arena, &w->rng);

        if (w->count < HELD && one_in(&w->rng, 2))
            w->held[w->count++] = u;
        else
            unit_end(&u);
    }
    atomic_store_explicit(&cell->state, CELL_FREE, memory_order_relaxed);
    return true;
}

static void do_async(struct worker *w)
{
    struct cell *cell = &w->cells[below(&w->rng, WAITERS)];
    int rc;

    doing = "checkout_async";
    if (!cell_collect(w, cell))
        return;
    cell->ground = any_ground(w);
    cell->waiter = (struct bp_waiter)BP_WAITER_INIT(on_served, NULL);
    atomic_store_explicit(&cell->state, CELL_QUEUED, memory_order_relaxed);
    rc = bp_pool_checkout_async(cell->ground->pool, &cell->waiter);
    if (rc != 0) {
        check(may_fail(cell->ground, rc) && rc != EAGAIN && rc != ETIMEDOUT);
        atomic_store_explicit(&cell->state, CELL_FREE, memory_order_relaxed);
    }
}

/* True: the cell is free, or will be served at any moment. */
static void cell_cancel(struct cell *cell)
{
    int rc;

    if (atomic_load_explicit(&cell->state, memory_order_acquire) != CELL_QUEUED)
        return;
    rc = bp_waiter_cancel(&cell->waiter);
    check(rc == 0 || rc == EALREADY);
    if (rc == 0) {
        check_eq(atomic_load(&cell->state), CELL_QUEUED);
        atomic_store_explicit(&cell->state, CELL_FREE, memory_order_relaxed);
    }
}

static void do_cancel(struct worker *w)
{
    struct cell *cell = &w->cells[below(&w->rng, WAITERS)];

    doing = "cancel";
    (void)cell_collect(w, cell);
    cell_cancel(cell);
}

static uint64_t tick_time(const struct playground *g, struct rng *r)
{
    if ((g->config.flags & BP_POOL_REAPER) != 0)
        return now_ns();
    return atomic_fetch_add_explicit(&made_up_clock, below(r, 3 * MS) + (one_in(r, 50) ? SECOND : 0),
                                     memory_order_relaxed);
}

static void do_care(struct worker *w)
{
    struct playground *g = any_ground(w);
    uint64_t next = 0;
    size_t added = 0, n = below(&w->rng, 8);
    int rc;

    doing = "care";
    switch (below(&w->rng, 5)) {
    case 0:
        (void)bp_pool_release_idle(g->pool);
        break;
    case 1:
        check_eq(bp_pool_trim(g->pool, n), 0);
        break;
    case 2:
        rc = bp_pool_prewarm(g->pool, n, &added);
        check(may_fail(g, rc) || (rc == EINVAL && g->faulty != NULL)); /* populate, made to fail */
        check(added <= n);
        break;
    default:
        check_eq(bp_pool_tick(g->pool, tick_time(g, &w->rng), &next), 0);
        check(next != 0);
    }
}

static void do_look(struct worker *w)
{
    struct playground *g = any_ground(w);
    struct bp_pool_stats s;
    size_t live = 0;

    doing = "look";
    switch (below(&w->rng, 5)) {
    case 0:
        (void)bp_pool_idle_count(g->pool);
        (void)bp_pool_live_count(g->pool);
        break;
    case 1:
        check_eq(bp_pool_each_live(g->pool, count_live, &live), 0);
        break;
    case 2:
        check_eq(bp_pool_print_stats(g->pool, nowhere, one_in(&w->rng, 2) ? BP_STATS_JSON : BP_STATS_TEXT),
                 0);
        break;
    default:
        check_eq(bp_pool_stats(g->pool, &s), 0);
    }
}

static void do_poll(struct worker *w)
{
    struct playground *g = &grounds[below(&w->rng, POOLS)];
    struct pollfd p = { -1, POLLIN, 0 };
    uint64_t next;

    doing = "poll";
    if (one_in(&w->rng, 2)) {
        check_eq(bp_pool_eventfd(g->pool, &p.fd), 0);
        if (poll(&p, 1, (int)below(&w->rng, 3)) == 1)
            do_checkout(w);
    } else {
        check_eq(bp_pool_timerfd(g->pool, &p.fd), 0);
        if (poll(&p, 1, 0) == 1)
            check_eq(bp_pool_tick(g->pool, tick_time(g, &w->rng), &next), 0);
    }
}

/* A pool of the thread's own, over a stock backing. */
static void do_own_pool(struct worker *w)
{
    struct playground g = { .pool = NULL };
    struct unit held[4];
    size_t n = 0;

    doing = "own pool";
    g.config = random_config(&w->rng);
    check_eq(bp_pool_create(stock(below(&w->rng, 3)), &g.config, &g.pool), 0);
    atomic_fetch_add(&pools_so_far, 1);
    for (size_t i = below(&w->rng, 30); i-- != 0;) {
        bp_arena *arena = NULL;

        if (n < 4 && !one_in(&w->rng, 3)) {
            int rc = bp_pool_checkout(g.pool, &arena);

            check(may_fail(&g, rc));
            if (rc == 0)
                held[n++] = unit_begin(&g, arena, &w->rng);
        } else if (n != 0) {
            unit_end(&held[--n]);
        } else {
            check_eq(bp_pool_tick(g.pool, now_ns(), NULL), 0);
        }
    }
    if (n != 0) {
        expects_live = true;
        check_eq(bp_pool_destroy(g.pool), EBUSY);
        expects_live = false;
    }
    if (one_in(&w->rng, 3)) {
        atomic_store(&g.closing, true);
        check_eq(bp_pool_close(g.pool), 0);
    }
    while (n != 0)
        unit_end(&held[--n]);
    check_at_rest(&g);
    check_empty(&g);
    check_eq(bp_pool_destroy(g.pool), 0);
}

/* The child of a fork: its copies of what this thread holds, and of the pools, are good. Of the backings
 * here, those with locks of their own may have been forked while another thread held them. */
static void be_a_child(struct worker *w)
{
    doing = "child of fork";
    alarm(120);
    while (w->count != 0) {
        struct unit u = let_go(w);

        unit_check(&u);
        if (u.ground->faulty == NULL && !u.ground->is_buffer)
            unit_end(&u);
    }
    for (struct playground *g = grounds; g <= &grounds[POOLS]; g++) {
        if (g->faulty != NULL || g->is_buffer)
            continue;
        for (int i = 0; i < 5; i++) {
            bp_arena *arena = NULL;
            int rc = i == 4 ? bp_pool_checkout_wait(g->pool, (int64_t)MS, &arena)
                            : bp_pool_checkout(g->pool, &arena);

            check(may_fail(g, rc));
            if (rc == 0) {
                struct unit u = unit_begin(g, arena, &w->rng);

                unit_end(&u);
            }
        }
        check_eq(bp_pool_tick(g->pool, now_ns(), NULL), 0);
        (void)bp_pool_release_idle(g->pool);
        check_eq(bp_pool_trim(g->pool, 1), 0);
    }
    do_own_pool(w);
    _exit(0);
}

static void do_fork(struct worker *w)
{
    static atomic_flag busy = ATOMIC_FLAG_INIT; /* one child at a time */
    int status = -1;
    pid_t child;

    if (atomic_flag_test_and_set(&busy))
        return;
    doing = "fork";
    child = fork();
    if (child == 0)
        be_a_child(w);
    check(child > 0);
    check(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        failed(__LINE__, "the child ended with status 0x%x", (unsigned)status);
    atomic_fetch_add(&forks, 1);
    atomic_flag_clear(&busy);
}

/* In the child of a fork that other threads did not wait for, AddressSanitizer's malloc may be locked for
 * ever (with gcc 12 it is), and ThreadSanitizer does not let it start threads. */
#ifdef SANITIZED
#define MAY_FORK false
#else
#define MAY_FORK true
#endif

static void do_something(struct worker *w)
{
    static void (*const often[])(struct worker *) = {
        do_checkout,  do_checkout,  do_checkout, do_give_back, do_give_back, do_give_back, do_pairs,
        do_hand_over, do_take_over, do_more,     do_wait,      do_async,     do_cancel,    do_care,
    };
    size_t n = below(&w->rng, 1000);

    if (n == 0 && MAY_FORK)
        do_fork(w);
    else if (n < 10)
        do_own_pool(w);
    else if (n < 40)
        do_look(w);
    else if (n < 70)
        do_poll(w);
    else
        ONE_OF(&w->rng, often)(w);
}

static void worker_ends(struct worker *w)
{
    doing = "the end of a thread";
    for (struct cell *cell = w->cells; cell < w->cells + WAITERS; cell++) {
        cell_cancel(cell);
        while (!cell_collect(w, cell))
            sched_yield(); /* another thread is about to serve it */
    }
    while (w->count != 0)
        if (one_in(&w->rng, 3))
            do_hand_over(w);
        else
            do_give_back(w);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    size_t many = w->gate != NULL ? 1 + below(&w->rng, 20) : 20 + below(&w->rng, 2000), done = 0;

    me = w->number;
    if (w->gate != NULL) {
        do_checkout(w); /* each with its own, as far as there are */
        while (!atomic_load_explicit(w->gate, memory_order_acquire))
            nap(MS);
    }
    while (done < many && !atomic_load_explicit(&over, memory_order_relaxed)) {
        do_something(w);
        done++;
    }
    worker_ends(w);
    atomic_fetch_add(&operations, done);
    atomic_store_explicit(&w->ended, true, memory_order_release);
    return NULL;
}

/* ---- rounds ---- */

static struct worker *workers[MAX_THREADS];
static size_t workers_count;

/* False: the system has no room for another thread now. */
static bool hire(atomic_bool *gate)
{
    struct worker *w = calloc(1, sizeof *w);
    int rc;

    check(w != NULL && workers_count < MAX_THREADS);
    w->number = atomic_fetch_add(&threads_so_far, 1) + 1;
    w->rng = rng_of(w->number);
    w->gate = gate;
    rc = pthread_create(&w->thread, NULL, work, w);
    check(rc == 0 || rc == EAGAIN);
    if (rc == 0)
        workers[workers_count++] = w;
    else
        free(w);
    return rc == 0;
}

/* Joins those that have ended, or all. */
static void dismiss(bool all)
{
    size_t left = 0;

    for (size_t i = 0; i < workers_count; i++) {
        struct worker *w = workers[i];

        if (all || atomic_load_explicit(&w->ended, memory_order_acquire)) {
            check_eq(pthread_join(w->thread, NULL), 0);
            free(w);
        } else {
            workers[left++] = w;
        }
    }
    workers_count = left;
}

/* More threads than the library has numbers for, for a moment. */
static void crowd(atomic_bool *gate)
{
    for (size_t i = 0; i < CROWD && hire(gate); i++)
        ;
    nap(2 * MS);
    atomic_store_explicit(gate, true, memory_order_release);
}

static void play_round(uint64_t number)
{
    struct rng r = rng_of(number * 1000003 + 17);
    uint64_t end = now_ns() + ROUND_MS * MS, crowd_at = UINT64_MAX;
    atomic_bool gate;
    struct unit u;

    atomic_init(&gate, false);
    doing = "between rounds";
    atomic_store(&over, false);
    for (int i = 0; i < POOLS; i++)
        ground_open(&grounds[i], &r);
    if (one_in(&r, 4))
        crowd_at = now_ns() + below(&r, ROUND_MS) * MS;
    while (now_ns() < end) {
        struct playground *g = &grounds[below(&r, POOLS)];

        if (now_ns() >= crowd_at) {
            crowd_at = UINT64_MAX;
            crowd(&gate);
        }
        while (workers_count < WORKERS && hire(NULL))
            ;
        if (g->faulty != NULL)
            faulty_plan(g, &r);
        if (one_in(&r, 1000)) {
            atomic_store(&g->closing, true);
            check_eq(bp_pool_close(g->pool), 0);
        }
        nap(MS);
        dismiss(false);
    }
    atomic_store(&over, true);
    dismiss(true);
    doing = "the end of a round";
    while (queue_pop(&u, 0))
        unit_end(&u);
    for (int i = 0; i < POOLS; i++)
        ground_close(&grounds[i]);
}

/* ---- what must not grow ---- */

static size_t entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    check(dir != NULL);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

#ifndef SANITIZED
static size_t mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    size_t n = 0;
    int c;

    check(file != NULL);
    while ((c = getc(file)) != EOF)
        n += c == '\n';
    fclose(file);
    return n;
}
#endif

static void *do_nothing(void *unused)
{
    return unused;
}

int main(int argc, char **argv)
{
    const char *s = getenv("BP_SEED");
    long seconds = argc > 1 ? strtol(argv[1], NULL, 0) : 2;
    uint64_t end, rounds = 0;
    size_t descriptors, threads;
    pthread_t first;
#ifndef SANITIZED
    size_t maps = 0;
#endif

    if (seconds <= 0 || argc > 2) {
        fprintf(stderr, "usage: stress [SECONDS]\n");
        return 2;
    }
    seed = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    fprintf(stderr, "stress: BP_SEED=%" PRIu64 "\n", seed);
    alarm((unsigned)seconds * 4 + 300); /* a net for hangs */
#if defined(__GLIBC__) && !defined(SANITIZED)
    mallopt(M_ARENA_MAX, 2); /* or the number of mappings is that of malloc's own arenas */
#endif
    bp_set_misuse_handler(on_misuse, NULL);
    check((nowhere = fopen("/dev/null", "w")) != NULL);
    grounds[POOLS].config.max_arenas = BP_UNLIMITED; /* the NULL pool */
    check_eq(pthread_create(&first, NULL, do_nothing, NULL), 0); /* sanitizers start a thread with it */
    check_eq(pthread_join(first, NULL), 0);
    descriptors = entries("/proc/self/fd");
    threads = entries("/proc/self/task");

    end = now_ns() + (uint64_t)seconds * SECOND;
    do {
        play_round(++rounds);
        check_eq(entries("/proc/self/fd"), descriptors);
        for (int i = 0; i < 2000 && entries("/proc/self/task") != threads; i++)
            nap(5 * MS); /* one that was joined may take a moment to leave the list */
        check_eq(entries("/proc/self/task"), threads);
#ifndef SANITIZED
        /* libc keeps some stacks of threads that have ended. */
        if (rounds == 4)
            maps = mappings();
        if (rounds > 4 && mappings() > maps + 300)
            failed(__LINE__, "%zu mappings, %zu after the 4th round", mappings(), maps);
#endif
    } while (now_ns() < end);
    fclose(nowhere);
    printf("stress: ok: %" PRIu64 " operations and %" PRIu64 " units of work by %" PRIu64
           " threads in %" PRIu64 " rounds, %" PRIu64 " pools, %" PRIu64 " forks; BP_SEED=%" PRIu64 "\n",
           atomic_load(&operations), atomic_load(&units), atomic_load(&threads_so_far), rounds,
           atomic_load(&pools_so_far), atomic_load(&forks), seed);
    return 0;
}
