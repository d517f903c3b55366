/* SPDX-License-Identifier: MIT
 *
 * A model of waiting for an arena, src/waiter.c: the queue, the hand-off, the parking of a blocked thread,
 * time-outs, cancellation, close, and the eventfd. Spin tries every interleaving; check.sh runs it, as it is
 * and with one step broken at a time (the #ifdefs below), which must be found.
 *
 * What is done under the lock is one step, for nobody looks at it without the lock; so the lock itself is
 * not seen. Where a function drops it, a step ends. Lanes are left out: lane.pml shows that none holds an
 * arena while somebody waits. No arena is made or unmade: there are max_arenas.
 *
 *   ARENAS, ROUNDS (of every thread)
 *   WAITERS      threads that check out with waiting (bp_pool_checkout_wait) and give back
 *   TIMEOUTS     their waits may time out, at any moment
 *   SPURIOUS     spurious wake-ups of each wait. They are few: many would hide one that is missing
 *   ASYNC        0 or 1: a waiter whose function is called, and which may be cancelled at any moment
 *   POLLERS      threads that check out, and poll the eventfd where that finds nothing
 *   CLOSES       the pool is closed at some moment
 */
#ifndef ARENAS
#define ARENAS 1
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef WAITERS
#define WAITERS 0
#endif
#ifndef SPURIOUS
#define SPURIOUS 1
#endif
#ifndef ASYNC
#define ASYNC 0
#endif
#ifndef POLLERS
#define POLLERS 0
#endif

#define THREADS (WAITERS + ASYNC + POLLERS)
#define THE_ASYNC WAITERS /* its number */
#define NOBODY THREADS

/* struct bp_waiter and struct blocked, one per thread. A word lives on after its wait, as a stack does: a
 * late wake-up may meet the next wait. */
#define NEW 0
#define QUEUED 1
#define CALLED 2
byte waiter_state[THREADS];
bool waiter_arena[THREADS];
bool waiter_error[THREADS];
#define BLOCKED 0
#define PARKED 1
#define DELIVERED 2
byte word[THREADS];
bool asleep[THREADS]; /* in the kernel */
bool told;            /* the function of the async waiter has been called */

/* struct bp_pool */
chan queue = [THREADS] of { byte };
byte idle = ARENAS; /* in the list */
bool armed;
bool closed;
bool readable; /* the eventfd */

/* What the model remembers to check the above by. */
byte holding; /* arenas in threads' hands */
byte handing; /* arenas served to a waiter that does not know yet */
byte credit;  /* futile wake-ups of pollers that signals so far account for */
byte over;
#ifdef BARGE
bool promised[THREADS + 1]; /* waiters who have been sent for an arena */
byte promises;
#endif
hidden byte vw;

inline check_pool()
{
    assert(idle + holding + handing == ARENAS);
#ifndef BARGE
    /* pool_leave: nobody waits while an arena is idle. */
    assert(idle == 0 || len(queue) == 0)
#endif
}

/* obtain: goes first to those who wait. Leaves `ok` true with an arena. */
inline obtain(me, ok)
{
    ok = false;
    if
    :: !closed && idle != 0 && len(queue) == 0 ->
#ifdef BARGE
        assert(promises == promised[me]); /* nobody is overtaken */
        promises = promises - promised[me];
        promised[me] = false;
#endif
        idle--;
        holding++;
        ok = true
    :: else
    fi
}

/* waiter_queue */
inline enqueue(me)
{
    waiter_state[me] = QUEUED;
    waiter_arena[me] = false;
    waiter_error[me] = false;
    word[me] = BLOCKED;
    queue!me
}

/* Tells `w` (deliver, wake_blocked), without the lock. */
inline deliver(w, found)
{
    if
#if ASYNC
    :: w == THE_ASYNC -> atomic { assert(!told && waiter_state[w] == CALLED); told = true }
#endif
    :: w < WAITERS ->
#if defined(WAKE_FIRST)
        found = word[w];
        if
        :: found == PARKED -> asleep[w] = false
        :: else
        fi;
        word[w] = DELIVERED
#elif defined(LOST_PARK)
        found = word[w];
        word[w] = DELIVERED;
        if
        :: found == PARKED -> asleep[w] = false
        :: else
        fi
#else
        atomic { found = word[w]; word[w] = DELIVERED } /* an exchange */
        if
        :: found == PARKED -> asleep[w] = false /* os_wake */
        :: else
        fi
#endif
    fi;
    found = 0
}

/* Signals the eventfd, without the lock. A poller may wake up for it in vain. */
inline signal()
{
    atomic { readable = true; credit = credit + POLLERS }
}

/* give_back_elsewhere, pool_leave: to the head of the queue, or else to the list; signals if armed. `w`,
 * `fire` and `found` are the caller's. */
inline give_back(w, fire, found)
{
    atomic {
        holding--;
        w = NOBODY;
        fire = false;
        if
#ifdef BARGE
        :: true ->
            idle++;
            if
            :: queue?w -> waiter_state[w] = CALLED; promised[w] = true; promises++
            :: empty(queue)
            fi;
#else
        :: nempty(queue) -> /* waiter_serve */
            queue?w;
            waiter_state[w] = CALLED;
            waiter_arena[w] = true;
            handing++
        :: empty(queue) -> idle++
#endif
        fi;
        if
        :: armed && (idle != 0 || closed) -> armed = false; fire = true
        :: else
        fi;
        check_pool()
    }
    if
    :: fire -> signal()
    :: else
    fi;
    if
    :: w != NOBODY -> deliver(w, found)
    :: else
    fi;
    atomic { w = NOBODY; fire = false }
}

/* ---- bp_pool_checkout_wait ---- */

proctype waiter(byte me)
{
    byte w = NOBODY, found = 0, rounds = 0, spurious = 0;
    bool ok = false, fire = false, timed_out = false;

    do
    :: rounds < ROUNDS ->
        rounds++;
again:
        atomic { /* checkout_locked */
            obtain(me, ok);
            if
            :: ok -> check_pool(); goto have
            :: closed -> goto done /* ECANCELED */
            :: else -> enqueue(me); timed_out = false; spurious = 0; check_pool()
            fi
        }

park:   /* Spinning, too, ends with seeing DELIVERED, or here. */
        atomic { /* compare and exchange */
            if
#ifdef PARK_STORES
            :: true -> word[me] = PARKED
#endif
            :: word[me] == BLOCKED -> word[me] = PARKED
            :: word[me] == DELIVERED -> goto served
            :: word[me] == PARKED
            fi
        }
sleep:
        if
        :: word[me] == DELIVERED -> goto served
        :: else
        fi;
        atomic { /* futex_wait compares and goes to sleep in one */
            if
            :: word[me] == PARKED -> asleep[me] = true
            :: else -> goto sleep
            fi
        }
        if
        :: !asleep[me] -> goto sleep
        :: spurious < SPURIOUS -> spurious++; asleep[me] = false; goto sleep
#ifdef TIMEOUTS
        :: !timed_out -> asleep[me] = false /* ETIMEDOUT */
#endif
        fi;
        if
        :: word[me] == DELIVERED -> goto served
        :: else
        fi;
        atomic { /* wait_for */
            timed_out = true;
            if
            :: waiter_state[me] == QUEUED ->
                queue??eval(me);
                waiter_state[me] = CALLED;
                check_pool();
                goto next
            :: else ->
#ifdef TIMEOUT_DROPS
                goto next
#else
                goto park
#endif
            fi
        }

served:
        atomic {
            assert(waiter_state[me] == CALLED);
            if
#ifdef BARGE
            :: promised[me] -> goto again
#endif
            :: waiter_error[me] -> goto done
            :: else ->
                assert(waiter_arena[me]);
                waiter_arena[me] = false;
                handing--;
                holding++
            fi
        }
have:
        give_back(w, fire, found);
next:
        atomic { ok = false; timed_out = false; spurious = 0 }
    :: else -> break
    od;
done:
    over++
}

/* ---- bp_pool_checkout_async, bp_waiter_cancel ---- */

#if ASYNC
proctype async()
{
    byte w = NOBODY, found = 0, rounds = 0;
    bool ok = false, fire = false;

    do
    :: rounds < ROUNDS ->
        rounds++;
        atomic {
            told = false;
            obtain(THE_ASYNC, ok);
            if
            :: ok -> check_pool(); goto have
            :: closed -> goto done
            :: else -> enqueue(THE_ASYNC); check_pool()
            fi
        }
        if
        :: told
        :: atomic { /* bp_waiter_cancel */
                if
                :: waiter_state[THE_ASYNC] == QUEUED ->
                    queue??eval(THE_ASYNC);
                    waiter_state[THE_ASYNC] = NEW; /* never to be told of this one */
                    check_pool();
                    goto next
#ifdef CANCEL_LATE
                :: else -> waiter_state[THE_ASYNC] = NEW; goto next
#else
                :: else /* EALREADY */
#endif
                fi
            }
            told
        fi;
        atomic {
            if
            :: waiter_error[THE_ASYNC] -> goto done
            :: else ->
                assert(waiter_arena[THE_ASYNC]);
                waiter_arena[THE_ASYNC] = false;
                handing--;
                holding++
            fi
        }
have:
        give_back(w, fire, found);
next:
        ok = false
    :: else -> break
    od;
done:
    over++
}
#endif

/* ---- a thread with an event loop: bp_pool_checkout, poll(2) ---- */

proctype poller(byte me)
{
    byte w = NOBODY, found = 0, rounds = 0;
    bool ok = false, fire = false, woken = false;

    do
    :: rounds < ROUNDS ->
        rounds++;
again:
        atomic {
            obtain(me, ok);
            if
            :: ok -> woken = false; check_pool(); goto have
            :: closed -> goto done
            :: else
            fi;
            if
            :: woken -> assert(credit != 0); credit-- /* once per signal and poller, or it is busy waiting */
            :: else
            fi;
            /* waiter_refused */
#ifdef ARMED_RETURNS
            if /* but a signal from before it was armed may come after */
            :: armed -> goto poll
            :: else
            fi;
#endif
#ifdef ARM_FIRST
            armed = true
#endif
        }
        readable = false; /* os_event_clear, without the lock */
        atomic {
#ifndef ARM_FIRST
            armed = true;
#endif
            /* pool_leave */
            if
#ifndef NO_SECOND_LOOK
            :: armed && (idle != 0 || closed) -> armed = false; fire = true
#endif
            :: else
            fi;
            check_pool()
        }
        if
        :: fire -> signal(); fire = false
        :: else
        fi;
poll:
        atomic { readable; woken = true; goto again }
have:
        give_back(w, fire, found);
        ok = false
    :: else -> break
    od;
done:
    over++
}

/* ---- bp_pool_close ---- */

#ifdef CLOSES
proctype closer()
{
    chan served = [THREADS] of { byte };
    byte w = NOBODY, found = 0;
    bool fire = false;

    atomic {
        closed = true;
        do /* waiters_cancel */
        :: queue?w ->
            waiter_state[w] = CALLED;
            waiter_error[w] = true;
            served!w
        :: empty(queue) -> break
        od;
        w = NOBODY;
        if
        :: armed -> armed = false; fire = true
        :: else
        fi;
        check_pool()
    }
    if
    :: fire -> signal()
    :: else
    fi;
    do
    :: served?w -> deliver(w, found)
    :: empty(served) -> break
    od
}
#endif

/* ---- when all have gone home ---- */

proctype end_of_all()
{
    atomic {
        over == THREADS;
        assert(idle == ARENAS && empty(queue));
        check_pool()
    }
}

init {
    byte n = 0;

    atomic {
        do
        :: n < WAITERS -> run waiter(n); n++
        :: else -> break
        od;
#if ASYNC
        run async();
#endif
        n = 0;
        do
        :: n < POLLERS -> run poller(WAITERS + ASYNC + n); n++
        :: else -> break
        od;
#ifdef CLOSES
        run closer();
#endif
        run end_of_all();
        n = 0
    }
}
