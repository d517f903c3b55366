/* SPDX-License-Identifier: MIT
 *
 * Thread numbers are bits of a small bitmap, taken at a thread's first slow checkout or give_back and
 * freed by a pthread key's destructor. A destructor that runs later in the same thread and uses a pool
 * goes without a number: after the last round of destructors nobody would free it. The library is linked
 * with -z nodelete, so the destructor is never unmapped before the last thread has ended; the key is
 * deleted at exit for programs that link the static library into a plugin of their own.
 *
 * The barrier is membarrier(2)'s private expedited command (Linux 4.14): the rare side pays a system call
 * that interrupts the processors running this process, the frequent side pays nothing.
 */
#define _GNU_SOURCE
#include "pool_private.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN true
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#elif !defined(UNDER_TSAN)
#define UNDER_TSAN false
#endif

#define OFFSET_OF(id) (offsetof(struct bp_pool, lanes) + (size_t)(id) * sizeof(struct lane))
#define ID_AT(offset) (((offset) - offsetof(struct bp_pool, lanes)) / sizeof(struct lane))

__thread size_t bp_lane_offset __attribute__((tls_model("initial-exec"))) = OFFSET_OF(THREAD_NONE);
static _Thread_local bool asked __attribute__((tls_model("initial-exec"))); /* thread_id() has been called */
static _Thread_local long tid __attribute__((tls_model("initial-exec")));
bool thread_asymmetric;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
static pthread_mutex_t ids_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t ids_taken[THREAD_IDS / 64]; /* Sync: ids_lock */
static _Atomic(long) tids[THREAD_IDS];      /* relaxed: written when the number is taken, read for reports */

static void give_id_back(void *unused)
{
    size_t id = ID_AT(bp_lane_offset);

    (void)unused;
    bp_lane_offset = OFFSET_OF(THREAD_NONE);
    if (id != THREAD_NONE) {
        pthread_mutex_lock(&ids_lock);
        ids_taken[id / 64] &= ~((uint64_t)1 << id % 64);
        pthread_mutex_unlock(&ids_lock);
    }
}

static void init_once(void)
{
    key_made = pthread_key_create(&key, give_id_back) == 0;
    thread_asymmetric =
        !UNDER_TSAN && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

__attribute__((destructor)) static void delete_key(void)
{
    if (key_made)
        pthread_key_delete(key);
    key_made = false;
}

void thread_barrier_init(void)
{
    pthread_once(&once, init_once);
}

long thread_tid(void)
{
    if (BP_UNLIKELY(tid == 0))
        tid = syscall(SYS_gettid);
    return tid;
}

unsigned thread_id(void)
{
    unsigned id = THREAD_NONE;

    if (asked)
        return (unsigned)(ID_AT(bp_lane_offset));
    asked = true;
    (void)thread_tid(); /* which later may be asked for with a lock held */
    pthread_mutex_lock(&ids_lock);
    for (unsigned i = 0; i < THREAD_IDS / 64 && id == THREAD_NONE; i++)
        if (~ids_taken[i] != 0)
            id = i * 64 + (unsigned)__builtin_ctzll(~ids_taken[i]);
    if (id != THREAD_NONE) {
        ids_taken[id / 64] |= (uint64_t)1 << id % 64;
        atomic_store_explicit(&tids[id], tid, memory_order_relaxed); /* pairs with thread_tid_of */
    }
    pthread_mutex_unlock(&ids_lock);

    bp_lane_offset = OFFSET_OF(id);
    /* Without a destructor the number would never come back: go without one. */
    if (id != THREAD_NONE && (!key_made || pthread_setspecific(key, &asked) != 0)) {
        give_id_back(NULL);
        return THREAD_NONE;
    }
    return id;
}

long thread_tid_of(unsigned id)
{
    return atomic_load_explicit(&tids[id], memory_order_relaxed); /* pairs with thread_id */
}

void thread_before_fork(void)
{
    pthread_mutex_lock(&ids_lock);
}

void thread_after_fork(bool child)
{
    size_t id = ID_AT(bp_lane_offset);

    if (child) {
        tid = 0;
        memset(ids_taken, 0, sizeof ids_taken);
        if (id != THREAD_NONE) {
            ids_taken[id / 64] |= (uint64_t)1 << id % 64;
            /* pairs with thread_tid_of */
            atomic_store_explicit(&tids[id], thread_tid(), memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&ids_lock);
}

bool thread_barrier(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
        return true;
    /* A new process image after fork may have to register again. */
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}
