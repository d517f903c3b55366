/* SPDX-License-Identifier: MIT
 * Threads as the pool sees them: small numbers for the living ones, and an asymmetric barrier.
 */
#ifndef THREAD_H
#define THREAD_H

#include <stdbool.h>
#include <stddef.h>

/* Numbers handed out; a thread beyond them has no lane and takes the pool's lock. */
#define THREAD_IDS 128
#define THREAD_NONE THREAD_IDS

/* This thread's number, handing one out at the first call; THREAD_NONE when there is none left. No two
 * living threads have the same; the number of a thread that ended goes to a new one, which then sees
 * everything the old one did (through the lock of thread.c). */
unsigned thread_id(void);

/* Where the lane with this number lies in a pool is in bp_lane_offset (pool.h), that of THREAD_NONE before
 * the first call of thread_id(): to find it is an addition and needs no check. initial-exec: two instructions
 * to read, at the price of 8 bytes of the static TLS block, also when the library is loaded late. */

/* The kernel's number of this thread. Cost: a load, after the first call of this or thread_id(). */
long thread_tid(void);

/* The kernel's number of the last thread that had the number `id`. */
long thread_tid_of(unsigned id);

/* fork: around it, in the thread that forks. In the child it is the only thread and keeps its number. */
void thread_before_fork(void);
void thread_after_fork(bool child);

/* Whether thread_barrier() works by membarrier(2), so that the other side of it needs no more than a compiler
 * barrier. Constant once thread_barrier_init() has returned. Always false under ThreadSanitizer, which cannot
 * see such a barrier. */
extern bool thread_asymmetric;
void thread_barrier_init(void);

/* Only with thread_asymmetric: every other thread of the process passes a full memory barrier between the
 * call and the return. A system call: hold no lock. False when the kernel refuses, which it does only if
 * it began to after start-up (a seccomp filter). */
bool thread_barrier(void);

#endif
