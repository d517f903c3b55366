/* SPDX-License-Identifier: MIT
 * A backing over another one that fails on request and checks how it is used.
 *
 *     struct faulty f;
 *     faulty_init(&f, bp_backing_mmap());
 *     faulty_plan(&f, FAULTY_ALL, 3, false);      the third op fails, later ones work
 *     ... use &f.backing ...
 *     ck_assert_uint_eq(f.extents, 0);            nothing lost
 *
 * Injected failures are ENOMEM for acquire and commit and EINVAL for release and populate; the inner
 * backing is not called then. It has the ops that the inner backing has, except destroy: the struct is the
 * test's and the inner backing is destroyed by whoever made it.
 *
 * Every call is checked against the contract of its caller: arguments in range, and an extent that is
 * outstanding, with the base, size, page and data of acquire, and (but for dispose) the committed size that
 * the backing said last. A breach prints one line and aborts. Any thread.
 */
#ifndef BUMPOOL_TESTS_FAULTY_H
#define BUMPOOL_TESTS_FAULTY_H

#include <bumpool.h>

#include <pthread.h>
#include <stdatomic.h>

#define FAULTY_ACQUIRE 1u
#define FAULTY_COMMIT 2u
#define FAULTY_RELEASE 4u
#define FAULTY_POPULATE 8u
#define FAULTY_ALL 15u

struct faulty {
    bp_backing backing; /* first: the ops get this address */
    bp_backing *inner;
    struct bp_backing_ops ops;

    /* Figures; read them at any time. The first is reset by faulty_plan, the others only by init. */
    atomic_size_t injected;       /* failures so far */
    atomic_size_t extents, bytes; /* outstanding now */
    atomic_size_t acquires, disposes, commits, releases, populates; /* calls, failed ones too */

    /* Private; all of it under the lock. */
    pthread_mutex_t lock;
    unsigned plan_ops;
    size_t plan_at, plan_calls;
    bool plan_persistent;
    struct bp_extent *table; /* the outstanding extents; mapped memory, not malloc, which tests make fail */
    size_t table_room;
};

/* Makes `f` a backing over `inner` with no failure planned. */
void faulty_init(struct faulty *f, bp_backing *inner);

/* From now on the fail_at-th call (from 1; 0: none) of the ops in the mask fails, and every later one too if
 * `persistent`. Starts counting anew. */
void faulty_plan(struct faulty *f, unsigned ops, size_t fail_at, bool persistent);

#endif
