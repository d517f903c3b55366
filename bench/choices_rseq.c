/* SPDX-License-Identifier: MIT
 * A small pool with a slot for each CPU, by restartable sequences (rseq(2)).
 *
 * A sequence begins with noting its bounds in the thread's struct rseq, which glibc has registered, and ends
 * with one store, its commit. When the kernel preempts, moves or signals a thread between the two, the thread
 * goes on at the sequence's abort handler, which here starts it anew. So what a sequence reads and its commit
 * are one step as seen by all threads of that CPU, and no other CPU touches the slot.
 */
#include "choices.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pool_loops.h"

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define NO_RSEQ "not under ThreadSanitizer, which cannot see what assembly orders"
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define NO_RSEQ "not under ThreadSanitizer, which cannot see what assembly orders"
#endif
#ifndef NO_RSEQ
#if !defined(__x86_64__) || !defined(__LP64__)
#define NO_RSEQ "written for x86-64 alone"
#elif !defined(__GLIBC__)
#define NO_RSEQ "needs glibc"
#elif !__GLIBC_PREREQ(2, 35)
#define NO_RSEQ "needs glibc 2.35 or later"
#endif
#endif

#ifdef NO_RSEQ

const char *choice_rseq_missing(void)
{
    return NO_RSEQ;
}

int choice_rseq_check(char *text, size_t room)
{
    snprintf(text, room, "%s", NO_RSEQ);
    return FAILED;
}

/* Nobody calls anything of it. */
const struct pool_contestant choice_rseq = {.name = "slot of the CPU, rseq"};

#else

#include <sys/rseq.h>

const char *choice_rseq_missing(void)
{
    return __rseq_size == 0 ? "not registered by glibc" : NULL;
}

static _Thread_local uint64_t aborts;

/* Opens a sequence from label 1 to label 2 (at its commit's end), with label 4 to abort to; `at` is scratch.
 * The descriptor: version, flags, start, length, where to go on. The sequence begins with the index of this
 * CPU's slot in `at`: it cannot change before label 2. */
#define SEQUENCE_BEGIN                                   \
    ".pushsection __rseq_cs, \"aw\"\n\t"                 \
    ".balign 32\n"                                       \
    "3:\n\t"                                             \
    ".long 0, 0\n\t"                                     \
    ".quad 1f, 2f - 1f, 4f\n\t"                          \
    ".popsection\n"                                      \
    "0:\n\t"                                             \
    "leaq 3b(%%rip), %[at]\n\t"                          \
    "movq %[at], %%fs:%c[rseq_cs](%[rseq])\n"            \
    "1:\n\t"                                             \
    "movl %%fs:%c[cpu_id](%[rseq]), %k[at]\n\t"          \
    "shlq %[shift], %[at]\n\t"

/* The kernel wants the signature before the handler, so that none can be made up; here it is the operand of
 * an undefined instruction, as glibc suggests. */
#define SEQUENCE_END                                     \
    "2:\n\t"                                             \
    ".pushsection .text.unlikely, \"ax\", @progbits\n\t" \
    ".byte 0x0f, 0xb9, 0x3d\n\t"                         \
    ".long %c[signature]\n"                              \
    "4:\n\t"                                             \
    "incq %[aborts]\n\t"                                 \
    "jmp 0b\n\t"                                         \
    ".popsection"

#define SEQUENCE_INPUTS                                                                                   \
    [rseq] "r"(__rseq_offset), [slots] "r"(pool->slots), [shift] "i"(CHOICE_SHIFT),                        \
        [cpu_id] "i"(offsetof(struct rseq, cpu_id)), [rseq_cs] "i"(offsetof(struct rseq, rseq_cs)),        \
        [signature] "i"(RSEQ_SIG)

_Static_assert(sizeof(struct choice_slot) == 1 << CHOICE_SHIFT, "an index is shifted");

static inline struct choice_thing *rseq_take(struct choice_pool *pool)
{
    struct choice_thing *thing;
    uintptr_t at;

    __asm__ volatile(SEQUENCE_BEGIN
                     "movq (%[slots], %[at]), %[thing]\n\t"
                     "testq %[thing], %[thing]\n\t"
                     "je 2f\n\t"
                     "movq $0, (%[slots], %[at])\n"
                     SEQUENCE_END
                     : [thing] "=&r"(thing), [at] "=&r"(at), [aborts] "+m"(aborts)
                     : SEQUENCE_INPUTS
                     : "memory", "cc");
    return UNLIKELY(thing == NULL) ? choice_list_take(pool) : thing;
}

static inline void rseq_put(struct choice_pool *pool, struct choice_thing *thing)
{
    uintptr_t at;
    bool empty; /* the flag of the comparison, which a store leaves alone */

    choice_reset(thing);
    __asm__ volatile(SEQUENCE_BEGIN
                     "cmpq $0, (%[slots], %[at])\n\t"
                     "jne 2f\n\t"
                     "movq %[thing], (%[slots], %[at])\n"
                     SEQUENCE_END
                     : "=@cce"(empty), [at] "=&r"(at), [aborts] "+m"(aborts)
                     : [thing] "r"(thing), SEQUENCE_INPUTS
                     : "memory");
    if (UNLIKELY(!empty))
        choice_list_put(pool, thing);
}

#define RSEQ_TAKE(own, thing) (((thing) = rseq_take(own)) != NULL ? 0 : EAGAIN)
#define RSEQ_PUT(own, thing) (rseq_put(own, thing), 0)
POOL_LOOPS(rseq, struct choice_thing, RSEQ_TAKE, RSEQ_PUT)

const struct pool_contestant choice_rseq = {
    .name = "slot of the CPU, rseq",
    .setup = choice_setup,
    .teardown = choice_teardown,
    .pairs = rseq_pairs,
    .held = rseq_held,
};

/* ---- the check ---- */

enum {
    CHECKERS = 4,
    CHECK_MS = 100,
    DISTURB_NS = 20000,
    MOVE_EVERY = 8,        /* disturbances */
    CHECK_SIGNAL = SIGURG, /* ignored by default: one that comes late does no harm */
};

struct checker {
    pthread_t thread;
    struct choice_pool *pool;
    atomic_bool *stop;
    size_t pairs, wrong; /* wrong: things that somebody else held, or that were not there */
    size_t disturbed, moved;
    uint64_t aborts;
    int error;
};

static cpu_set_t check_cpus;
static _Thread_local struct checker *check_self;

/* A signal finds the thread anywhere, often inside a sequence. Who runs next on this CPU then works on the
 * slot that the sequence was about; and sometimes the thread goes on elsewhere. */
static void disturb(int signal)
{
    struct checker *c = check_self;
    int saved = errno;

    (void)signal;
    if (c != NULL && ++c->disturbed % MOVE_EVERY == 0) {
        size_t left = c->disturbed / MOVE_EVERY % (size_t)CPU_COUNT(&check_cpus), cpu = 0;
        cpu_set_t one;

        while (!CPU_ISSET(cpu, &check_cpus) || left-- > 0)
            cpu++;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        c->moved += sched_getcpu() != (int)cpu && sched_setaffinity(0, sizeof(one), &one) == 0;
    }
    sched_yield();
    errno = saved;
}

/* A timer that disturbs the calling thread; 0 or an errno value. */
static int timer_start(timer_t *timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = CHECK_SIGNAL};
    struct itimerspec every = {{0, DISTURB_NS}, {0, DISTURB_NS}};

    event._sigev_un._tid = gettid(); /* sigev_notify_thread_id; glibc lacks the name */
    if (timer_create(CLOCK_MONOTONIC, &event, timer) != 0)
        return errno;
    return timer_settime(*timer, 0, &every, NULL) == 0 ? 0 : errno;
}

static void *check_work(void *data)
{
    struct checker *c = data;
    timer_t timer;

    check_self = c;
    c->error = timer_start(&timer);
    while (c->error == 0 && !atomic_load_explicit(c->stop, memory_order_relaxed)) {
        struct choice_thing *thing = rseq_take(c->pool);

        if (thing == NULL) { /* there is one for each thread and one for each slot */
            c->wrong++;
            break;
        }
        c->wrong += atomic_exchange_explicit(&thing->held, true, memory_order_relaxed);
        atomic_store_explicit(&thing->held, false, memory_order_relaxed);
        rseq_put(c->pool, thing);
        c->pairs++;
    }
    if (c->error == 0)
        timer_delete(timer);
    c->aborts = aborts;
    return NULL;
}

/* Things that are not in exactly one place. */
static size_t misplaced(struct choice_pool *pool)
{
    size_t wrong = 0;

    for (size_t i = 0; i < pool->count; i++) {
        struct choice_thing *thing = &pool->things[i];
        struct choice_thing *t = pool->list;
        size_t places = 0;

        for (size_t n = 0; n < CHOICE_SLOTS; n++)
            places += atomic_load_explicit(&pool->slots[n].thing, memory_order_relaxed) == thing;
        for (size_t n = 0; n <= pool->count && t != NULL; n++, t = t->next) /* it may go round in circles */
            places += t == thing;
        wrong += places != 1;
    }
    return wrong;
}

int choice_rseq_check(char *text, size_t room)
{
    struct checker all[CHECKERS] = {{0}}, sum = {0};
    struct sigaction action = {.sa_handler = disturb, .sa_flags = SA_RESTART}, before;
    struct timespec time = {0, CHECK_MS * 1000000};
    struct choice_pool *pool;
    atomic_bool stop = false;
    size_t started = 0;

    if (sched_getaffinity(0, sizeof(check_cpus), &check_cpus) != 0 ||
        (pool = choice_setup(CHECKERS + (size_t)CPU_COUNT(&check_cpus), true)) == NULL) {
        snprintf(text, room, "%s", strerror(errno));
        return FAILED;
    }
    (void)sigaction(CHECK_SIGNAL, &action, &before);
    for (; started < CHECKERS && sum.error == 0; started += sum.error == 0) {
        all[started].pool = pool;
        all[started].stop = &stop;
        sum.error = pthread_create(&all[started].thread, NULL, check_work, &all[started]);
    }
    if (sum.error == 0)
        (void)nanosleep(&time, NULL);
    atomic_store(&stop, true);
    for (size_t i = 0; i < started; i++) {
        pthread_join(all[i].thread, NULL);
        sum.pairs += all[i].pairs;
        sum.wrong += all[i].wrong;
        sum.disturbed += all[i].disturbed;
        sum.moved += all[i].moved;
        sum.aborts += all[i].aborts;
        sum.error = sum.error != 0 ? sum.error : all[i].error;
    }
    (void)sigaction(CHECK_SIGNAL, &before, NULL);
    sum.wrong += misplaced(pool);
    choice_teardown(pool);
    if (sum.error != 0)
        snprintf(text, room, "%s", strerror(sum.error));
    else
        snprintf(text, room,
                 "%zu pairs by %d threads on %d CPUs, %zu signals, %zu moves, %llu sequences aborted: "
                 "%zu things held twice or lost",
                 sum.pairs, CHECKERS, CPU_COUNT(&check_cpus), sum.disturbed, sum.moved,
                 (unsigned long long)sum.aborts, sum.wrong);
    return sum.error == 0 && sum.wrong == 0 ? DONE : FAILED;
}

#endif
