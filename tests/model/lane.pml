/* SPDX-License-Identifier: MIT
 *
 * A model of the lanes: the protocol at the head of src/lane.h, step by step as src/lane.c does it, and the
 * fast path of src/pool.c. Spin tries every interleaving; check.sh runs it, as it is and with one step broken
 * at a time (the #ifdefs below), which must be found.
 *
 * Threads: `owner`, one per lane, checks out, gives back, hands on, and drains its own lane (and others,
 * where there are more). `other` has no lane: it drains, holds an arena for a while, waits, and gives back
 * what it was handed (lane_evict). The owner's store to the state of a slot passes through a store buffer
 * (`buffered`), as on x86: others see it at any later time, the owner at once. Taking the lock and the
 * barrier empty it. All else is written under the lock, so that reading it late is like reading it early. A
 * step is at most one look at, or one store to, something that a thread uses without the lock.
 *
 *   LANES, SLOTS, ARENAS, OTHERS, ROUNDS (of all `other`), OPS (of all owners; 0: no end), BUFFER (stores)
 *   SEQ_CST         the other way: seq_cst exchange and load, no barrier (LANE_SEQ_CST)
 *   BARRIER_FAILS   the barrier may fail (thread_barrier returns false)
 *   FEW             fewer kinds of things done, so that more can be done: others drain for idle arenas alone,
 *                   the owner homes whatever it can
 *   MISUSE          the owner hands an arena on and gives it back, too
 */
#ifndef LANES
#define LANES 1
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef ARENAS
#define ARENAS 2
#endif
#ifndef OTHERS
#define OTHERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef OPS
#define OPS 0
#endif
#ifndef BUFFER
#define BUFFER 2
#endif

#define ALL_SLOTS (LANES * SLOTS)
#define CLOSED_SLOT ALL_SLOTS /* lane_closed_slot; also: no slot */
#define VACANT ARENAS         /* no arena */
#define NO_LANE LANES

/* enum slot_state, LANE_IDLE and LANE_OUT */
#define SLOT_IDLE 0
#define SLOT_OUT 1
#define SLOT_CLOSED 2
#define WANT_IDLE 1
#define WANT_OUT 2

/* enum arena_state */
#define LIVE 0
#define HOMED 1
#define IDLE 2
#define GIVEN_BACK 3

/* struct lane_slot */
byte arena[ALL_SLOTS + 1]; /* or VACANT */
byte state[ALL_SLOTS + 1]; /* as others see it */
byte own[ALL_SLOTS + 1];   /* as the owner does: slot_own_state */
byte seen[ALL_SLOTS];
/* struct lane */
bool revoked[LANES];
byte ticket[LANES];
byte wanted[LANES];
byte front[LANES];
byte stack[ALL_SLOTS];
byte covered[LANES];
/* struct arena */
byte arena_state[ARENAS];
byte home[ARENAS]; /* a slot, or CLOSED_SLOT */
/* struct bp_pool. The list is every arena that is IDLE: its order is of no matter here. */
bool locked;
byte tickets;
byte kept;
byte waiting; /* !pool_lanes_open */

/* What the model remembers to check the above by. */
#define NOBODY 0
#define ME_OWNER(l) (1 + (l))
#define ME_OTHER(k) (1 + LANES + (k))
#define ON_ITS_WAY 15
byte holder[ARENAS];
byte handed = VACANT; /* to any `other` */
bool handing;
byte over;            /* threads that have ended */
byte rounds;          /* of all `other` */
#if OPS != 0
byte ops;
#endif
#ifdef MISUSE
bool evicting;
byte good, bad;       /* give_backs of the same arena: those that worked, and the misuse reported */
#endif

/* Stores under way, as (slot, state). The hand-over of an arena is a store, too, after those before it. */
#define HAND_OVER 255
#ifdef SEQ_CST
#define BUFFER_EMPTY(l) true
#else
chan buffered[LANES] = [BUFFER] of { byte, byte };
#define BUFFER_EMPTY(l) empty(buffered[l])
#endif

/* Within a d_step only, so no part of a state. */
hidden byte va, vi, vn, vs, vw, vb;

/* ---- the lock ---- */

/* For whoever has no lane. */
inline lock()
{
    atomic { !locked; locked = true }
}

/* For an owner: an atomic operation, so its stores come first. */
inline lock_mine(l)
{
    atomic { !locked && BUFFER_EMPTY(l); locked = true }
}

/* What holds whenever nobody has the lock: every arena is in one place, and `kept` counts right. */
inline check_pool()
{
    vn = 0;
    vi = 0;
    do
    :: vi < ARENAS ->
        vn = vn + (arena_state[vi] == IDLE || arena_state[vi] == HOMED);
        assert((arena_state[vi] == HOMED) == (home[vi] != CLOSED_SLOT));
        assert(home[vi] == CLOSED_SLOT || arena[home[vi]] == vi);
        vi++
    :: else -> break
    od;
    assert(kept == vn);
    vi = 0;
    do
    :: vi < ALL_SLOTS ->
        assert(arena[vi] == VACANT || home[arena[vi]] == vi);
        vi++
    :: else -> break
    od
}

inline unlock()
{
    d_step { check_pool(); locked = false }
}

/* ---- src/lane.c; all with the lock, and in a d_step, unless said otherwise ---- */

/* vacate */
inline vacate(slot, st)
{
    va = arena[slot];
    assert(va != VACANT);
    seen[slot] = st;
    arena[slot] = VACANT;
    home[va] = CLOSED_SLOT;
    if
    :: st == SLOT_OUT ->
        arena_state[va] = LIVE;
        kept--
    :: else ->
        arena_state[va] = IDLE
    fi
}

/* lane_cover; the owner may do without the lock, for nobody else looks at these */
inline lane_cover(l, slot)
{
    if
    :: own[front[l]] == SLOT_IDLE ->
        assert(covered[l] < SLOTS);
        stack[(l) * SLOTS + covered[l]] = front[l];
        covered[l]++
    :: else
    fi;
    front[l] = slot
}

/* forget */
inline forget(l)
{
#ifndef NO_FORGET
    vn = 0;
    vi = 0;
    do
    :: vi < covered[l] ->
        vs = stack[(l) * SLOTS + vi];
        if
        :: arena[vs] != VACANT && own[vs] == SLOT_IDLE ->
            stack[(l) * SLOTS + vn] = vs;
            vn++
        :: else
        fi;
        vi++
    :: else -> break
    od;
    covered[l] = vn;
    do /* lest equal states differ */
    :: vn < SLOTS -> stack[(l) * SLOTS + vn] = 0; vn++
    :: else -> break
    od;
    if
    :: arena[front[l]] == VACANT -> front[l] = CLOSED_SLOT
    :: else
    fi
#else
    skip
#endif
}

/* lane_unhome */
inline lane_unhome(l, slot)
{
    vacate(slot, own[slot]);
    if
    :: front[l] == slot -> front[l] = CLOSED_SLOT
    :: else
    fi
}

/* lane_unhome_oldest; vb: whether there was one */
inline lane_unhome_oldest(l)
{
    vb = true;
    if
    :: covered[l] != 0 ->
        vs = stack[(l) * SLOTS];
        vn = 1;
        do
        :: vn < covered[l] -> stack[(l) * SLOTS + vn - 1] = stack[(l) * SLOTS + vn]; vn++
        :: else -> break
        od;
        covered[l]--;
        stack[(l) * SLOTS + covered[l]] = 0;
        assert(own[vs] == SLOT_IDLE);
        lane_unhome(l, vs)
    :: covered[l] == 0 && own[front[l]] == SLOT_IDLE ->
        vs = front[l];
        lane_unhome(l, vs)
    :: else ->
        vb = false
    fi
}

/* bring_wanted, by the owner: take_wanted in one step, for the owner does nothing else meanwhile */
inline bring_wanted(l)
{
    vw = wanted[l];
    if
    :: (vw & WANT_IDLE) != 0 ->
        vb = true;
        do
        :: vb -> lane_unhome_oldest(l)
        :: else -> break
        od
    :: else
    fi;
    wanted[l] = 0;
    vi = (l) * SLOTS;
    do
    :: vi < (l) * SLOTS + SLOTS ->
        if
        :: arena[vi] != VACANT && ((vw >> state[vi]) & 1) != 0 -> vacate(vi, state[vi])
        :: else
        fi;
        vi++
    :: else -> break
    od
}

/* Not in the program: values that nobody looks at until they are written anew, lest equal states differ. */
inline clean(l)
{
    ticket[l] = 0;
    vi = (l) * SLOTS;
    do
    :: vi < (l) * SLOTS + SLOTS ->
        seen[vi] = SLOT_CLOSED;
#ifndef NO_FORGET
        if
        :: arena[vi] == VACANT -> own[vi] = SLOT_OUT; state[vi] = SLOT_OUT
        :: else
        fi;
#endif
        vi++
    :: else -> break
    od;
    vi = 0
}

/* lane_settle */
inline lane_settle(l)
{
    if
    :: revoked[l] ->
        forget(l);
#ifndef WANTED_STAYS
        bring_wanted(l);
#endif
        forget(l);
        revoked[l] = false;
        clean(l)
    :: else
    fi
}

/* lane_settle_store; `stands` is the caller's */
inline lane_settle_store(l, slot, stored, stands)
{
#if defined(NO_SEEN)
    stands = true;
#elif defined(SEEN_VOID)
    stands = arena[slot] != VACANT;
#else
    stands = arena[slot] != VACANT || seen[slot] == stored;
#endif
    lane_settle(l)
}

/* lane_home; vb: whether there was a place */
inline lane_home(l, a, st)
{
    vi = (l) * SLOTS;
    do
    :: vi < (l) * SLOTS + SLOTS && arena[vi] != VACANT -> vi++
    :: else -> break
    od;
    vb = true;
    if
    :: vi == (l) * SLOTS + SLOTS && st == SLOT_OUT -> vb = false
    :: vi == (l) * SLOTS + SLOTS && st != SLOT_OUT ->
        lane_unhome_oldest(l);
        vi = vs
    :: else
    fi;
    if
    :: vb ->
        lane_cover(l, vi);
        arena_state[a] = HOMED;
        home[a] = vi;
        own[vi] = st;
        state[vi] = st; /* unlocking empties the buffer */
        seen[vi] = SLOT_CLOSED; /* means nothing until the slot is vacant again */
        arena[vi] = a
    :: else
    fi
}

/* revoke */
inline revoke(l, t)
{
#ifdef TICKET_NEWEST
    ticket[l] = t;
#else
    if
    :: !revoked[l] -> ticket[l] = t
    :: else
    fi;
#endif
    tickets = t;
    revoked[l] = true
}

/* take_wanted by another thread: not one step, for the owner goes on. `w`, `i`, `st` are the caller's. */
inline take_wanted(l, w, i, st)
{
    atomic { w = wanted[l]; wanted[l] = 0; i = (l) * SLOTS }
    do
    :: i < (l) * SLOTS + SLOTS ->
        atomic {
            if
            :: arena[i] != VACANT -> st = state[i]
            :: else -> st = SLOT_CLOSED
            fi;
            if
            :: ((w >> st) & 1) == 0 -> st = 0; i++; goto not_wanted
            :: else
            fi
        }
        atomic { d_step { vacate(i, st) } st = 0; i++ }
not_wanted:
        true
    :: else -> break
    od;
    atomic { w = 0; i = 0 }
}

/* thread_barrier. Each buffer is empty at some time between call and return. */
inline thread_barrier(mine, l)
{
    l = 0;
    do
    :: l < LANES -> atomic { l == mine || BUFFER_EMPTY(l); l++ }
    :: else -> break
    od
}

/* lanes_drain. `mine` is the caller's lane, or NO_LANE, `sure` whether there was a barrier where one was due;
 * `t`, `l`, `dropped`, `w`, `i`, `st` are the caller's. */
inline lanes_drain(mine, want, sure, t, l, dropped, w, i, st)
{
    atomic { t = tickets + 1; dropped = false; sure = true; l = 0 }
    do
    :: l < LANES ->
        atomic { /* lane_has */
            i = l * SLOTS;
            st = false;
            do
            :: i < l * SLOTS + SLOTS ->
                st = st || (arena[i] != VACANT && ((want >> state[i]) & 1) != 0);
                i++
            :: else -> break
            od;
            i = 0
        }
        atomic {
            if
            :: st && l == mine ->
                d_step {
                    lane_settle(l);
                    wanted[l] = want;
                    bring_wanted(l);
                    forget(l);
                    clean(l)
                }
            :: st && l != mine ->
                d_step {
                    revoke(l, t);
                    wanted[l] = wanted[l] | want;
                    dropped = true
                }
            :: else
            fi;
            st = 0;
            l++
        }
    :: else -> break
    od;
    if
    :: dropped ->
        unlock();
#if defined(BARRIER_FAILS)
        if
        :: thread_barrier(mine, l)
        :: sure = false
        fi;
#elif !defined(NO_BARRIER)
        thread_barrier(mine, l);
#endif
        if
        :: mine == NO_LANE -> lock()
        :: else -> lock_mine(mine)
        fi;
        l = 0;
        do
        :: sure && l < LANES ->
            if
#ifdef NO_TICKET
            :: wanted[l] != 0 ->
#else
            :: ticket[l] <= t && wanted[l] != 0 ->
#endif
                take_wanted(l, w, i, st)
            :: else
            fi;
            l++
        :: else -> break
        od
    :: else
    fi;
    atomic { t = 0; l = 0; dropped = false }
}

/* pool_take_idle, and that it is not counted any more; any one */
inline take_idle(a)
{
    if
    :: arena_state[0] == IDLE -> a = 0
#if ARENAS > 1
    :: arena_state[1] == IDLE -> a = 1
#endif
#if ARENAS > 2
    :: arena_state[2] == IDLE -> a = 2
#endif
    :: else -> a = VACANT
    fi
}

/* The end of lane_evict. */
inline evicted_from(slot)
{
#ifndef EVICT_SEEN
    seen[slot] = SLOT_CLOSED
#else
    skip
#endif
}

/* A give_back ends; with MISUSE: one of the two of the same arena. */
inline returned(one_of_two, well)
{
#ifdef MISUSE
    d_step {
        if
        :: one_of_two && well -> good++
        :: one_of_two && !well -> bad++
        :: else
        fi
    }
#else
    skip
#endif
}

inline hold(a, me)
{
    assert(holder[a] == NOBODY);
    holder[a] = me
}

/* ---- the owner: src/pool.c ---- */

/* Where nobody without the lock can tell the difference, a section under it is one step: all of them, where
 * there are no other lanes. */
#if LANES == 1
#define SECTION atomic
#else
#define SECTION
#endif

proctype owner(byte lane)
{
    byte a = VACANT, slot = CLOSED_SLOT, stored = 0;
    byte t = 0, l = 0, w = 0, kinds = 0, i = 0, st = 0;
    bool stands = false, dropped = false, home_it = false, sure = false, misuse = false;

next:
    true;
    atomic {
        a = VACANT;
        slot = CLOSED_SLOT;
        stored = 0;
        stands = false;
        home_it = false;
        sure = false;
#if OPS != 0
        if
        :: ops == OPS -> goto done
        :: else -> ops++
        fi;
#endif
#ifdef MISUSE
        if
        :: misuse -> /* until the other's give_back has begun, any checkout would make it a proper one */
            if
            :: evicting -> misuse = false
            :: goto done
            fi
        :: else
        fi;
#endif
        if
        :: true -> goto checkout
        :: holder[0] == ME_OWNER(lane) -> a = 0
#if ARENAS > 1
        :: holder[1] == ME_OWNER(lane) -> a = 1
#endif
#if ARENAS > 2
        :: holder[2] == ME_OWNER(lane) -> a = 2
#endif
#if LANES > 1
        :: handed != VACANT -> /* from another owner, or back again */
            a = handed;
            handed = VACANT;
            handing = false;
            holder[a] = ME_OWNER(lane);
            goto give_back
#endif
#ifndef FEW
        :: true -> goto drain
#endif
        :: true -> goto done
        fi;
        if
        :: true -> goto give_back
        :: !handing ->
            handing = true;
#ifdef MISUSE
            misuse = true;
            holder[a] = NOBODY
#else
            holder[a] = ON_ITS_WAY
#endif
        fi
    }
#ifdef SEQ_CST
    handed = a;
#else
    buffered[lane]!HAND_OVER, a;
#endif
#ifdef MISUSE
    goto give_back;
#else
    goto next;
#endif

checkout: /* checkout_lane */
    atomic {
        true;
        d_step {
            if
            :: own[front[lane]] != SLOT_IDLE && covered[lane] != 0 -> /* lane_uncover */
                covered[lane]--;
                front[lane] = stack[lane * SLOTS + covered[lane]];
                stack[lane * SLOTS + covered[lane]] = 0;
                assert(own[front[lane]] == SLOT_IDLE)
            :: else
            fi;
            slot = front[lane];
            stored = SLOT_OUT
        }
        if
        :: own[slot] != SLOT_IDLE -> goto checkout_slow
        :: else
        fi;
#ifndef READ_LATE
        a = arena[slot] /* slot_arena: before it may be taken out of the slot */
#endif
    }
    goto store;

give_back: /* give_back_lane */
    atomic {
        assert(misuse || holder[a] == ME_OWNER(lane));
        holder[a] = NOBODY;
        slot = home[a];
        if
        :: slot == CLOSED_SLOT || slot / SLOTS != lane || own[slot] != SLOT_OUT -> goto give_back_slow
        :: else
        fi;
        stored = SLOT_IDLE
    }

store: /* lane_store */
#ifdef CHECK_FIRST
    stands = !revoked[lane];
#endif
    atomic {
#ifdef SEQ_CST
        state[slot] = stored;
#else
        buffered[lane]!slot, stored;
#endif
        d_step {
            if
            :: stored == SLOT_IDLE -> lane_cover(lane, slot)
            :: else
            fi;
            own[slot] = stored
        }
    }
#if defined(NO_RECHECK)
    stands = true;
#elif !defined(CHECK_FIRST)
    stands = !revoked[lane];
#endif
#ifdef READ_LATE
    if
    :: stored == SLOT_OUT -> a = arena[slot]
    :: else
    fi;
#endif
    atomic {
        if
        :: stands
        :: else -> /* checkout_revoked, give_back_revoked */
            lock_mine(lane);
            d_step { lane_settle_store(lane, slot, stored, stands) }
            unlock()
        fi;
        if
        :: stands && stored == SLOT_OUT ->
            assert(a != VACANT);
            hold(a, ME_OWNER(lane))
        :: stands && stored == SLOT_IDLE ->
            returned(misuse, true)
        :: !stands && stored == SLOT_IDLE -> goto give_back_slow
        :: else -> goto checkout_slow
        fi
    }
    goto next;

checkout_slow:
    SECTION {
        atomic {
            lock_mine(lane);
            d_step { lane_settle(lane) }
            take_idle(a);
            if
            :: a != VACANT -> goto hand_out
            :: else
            fi
        }
        lanes_drain(lane, WANT_IDLE, sure, t, l, dropped, w, i, st);
        atomic { take_idle(a); goto hand_out }
    }

hand_out:
    atomic {
        if
        :: a != VACANT && waiting == 0 -> home_it = true
#ifndef FEW
        :: a != VACANT /* the cooldown */
#endif
        :: a == VACANT -> unlock(); goto next_one /* EAGAIN, or a new one */
        fi;
        d_step {
#ifndef HOME_UNSETTLED
            lane_settle(lane);
#endif
            vb = false;
            if
            :: home_it -> lane_home(lane, a, SLOT_OUT)
            :: else
            fi;
            if
            :: !vb -> arena_state[a] = LIVE; kept--
            :: else
            fi;
            hold(a, ME_OWNER(lane))
        }
        unlock()
    }
next_one:
    goto next;

give_back_slow:
    atomic {
        lock_mine(lane);
        d_step { lane_settle(lane) }
        if
        :: arena_state[a] == HOMED && home[a] / SLOTS == lane ->
            assert(own[home[a]] == SLOT_OUT);
            d_step { lane_unhome(lane, home[a]) }
        :: arena_state[a] == HOMED && home[a] / SLOTS != lane ->
            d_step { revoke(home[a] / SLOTS, tickets + 1) }
            goto evict
        :: else
        fi;
        goto evicted
    }
evict: /* lane_evict */
    atomic {
        slot = home[a];
        assert(state[slot] == SLOT_OUT);
        d_step { vacate(slot, SLOT_OUT); evicted_from(slot) }
    }
evicted:
    atomic {
        if
#ifdef MISUSE
        :: misuse && arena_state[a] != LIVE -> returned(misuse, false); unlock(); goto next_one
#endif
        :: !misuse && arena_state[a] != LIVE -> assert(false)
        :: arena_state[a] == LIVE
        fi;
        arena_state[a] = GIVEN_BACK;
        unlock()
    }
    /* arena_reset */
    atomic {
        lock_mine(lane);
        returned(misuse, true);
        if
        :: waiting == 0 -> home_it = true
#ifndef FEW
        :: true
#endif
        fi;
        d_step {
#ifndef HOME_UNSETTLED
            lane_settle(lane);
#endif
            kept++; /* keep_try */
            vb = false;
            if
            :: home_it -> lane_home(lane, a, SLOT_IDLE)
            :: else
            fi;
            if
            :: !vb -> arena_state[a] = IDLE
            :: else
            fi
        }
        unlock()
    }
    goto next;

drain: /* prewarm, trim: of its own lane, too */
    SECTION {
        lock_mine(lane);
        if
        :: kinds = WANT_IDLE
        :: kinds = WANT_OUT
        fi;
        lanes_drain(lane, kinds, sure, t, l, dropped, w, i, st);
        kinds = 0;
        unlock()
    }
    goto next;

done:
    over++
}

#ifndef SEQ_CST
proctype buffer(byte lane)
{
    byte slot = 0, st = 0;

end:
    do
    :: atomic {
        buffered[lane]?slot, st;
        if
        :: slot == HAND_OVER -> handed = st
        :: else -> state[slot] = st
        fi;
        slot = 0;
        st = 0
    }
    od
}
#endif

/* ---- a thread without a lane ---- */

proctype other(byte number)
{
    byte a = VACANT, want = 0;
    byte t = 0, l = 0, w = 0, i = 0, st = 0;
    bool dropped = false, sure = false, wait = false, handed_on = false;

    /* They are all alike: let the first begin. */
    number == 0 || rounds != 0;
    do
    :: atomic {
            lock();
            if
            :: rounds == ROUNDS -> locked = false; goto done
            :: else -> rounds++
            fi;
            if
            :: want = WANT_IDLE            /* checkout, trim, release_idle */
#ifndef FEW
            :: want = WANT_OUT             /* a cap */
            :: want = WANT_IDLE | WANT_OUT; wait = true; waiting++ /* waiter_queue */
#endif
            :: handed != VACANT -> a = handed; handed = VACANT; handed_on = true; goto give_back
            fi
        }
        lanes_drain(NO_LANE, want, sure, t, l, dropped, w, i, st);
        atomic {
            true;
            d_step {
                /* Nothing stays in a lane where a waiter would not hear of it. */
                vi = 0;
                do
                :: vi < ALL_SLOTS -> assert(!wait || !sure || arena[vi] == VACANT); vi++
                :: else -> break
                od;
                waiting = waiting - wait;
                want = 0;
                wait = false;
                sure = false
            }
            take_idle(a);
            if
            :: a == VACANT -> unlock(); goto again
            :: else
            fi;
            arena_state[a] = LIVE;
            kept--;
            hold(a, ME_OTHER(number));
            unlock()
        }
        /* give_back */
        atomic { lock(); holder[a] = NOBODY; goto keep }

give_back:
        atomic {
#ifndef MISUSE
            assert(holder[a] == ON_ITS_WAY);
            holder[a] = NOBODY;
#endif
            if
            :: arena_state[a] == HOMED -> /* lane_evict */
#if defined(EVICT_UNREVOKED)
                skip
#elif defined(EVICT_NO_TICKET)
                d_step { revoke(home[a] / SLOTS, tickets) }
#else
                d_step { revoke(home[a] / SLOTS, tickets + 1) }
#endif
            :: else -> goto keep
            fi
        }
        atomic {
            t = home[a];
            if
#ifdef MISUSE
            :: state[t] != SLOT_OUT -> goto keep
            :: state[t] == SLOT_OUT -> evicting = true
#else
            :: state[t] == SLOT_OUT
            :: else -> assert(false)
#endif
            fi
        }
#ifdef EVICT_UNREVOKED
        d_step { revoke(home[a] / SLOTS, tickets + 1) }
#endif
        atomic { true; d_step { vacate(t, SLOT_OUT); evicted_from(t) } }

keep: /* keep, pool_put_idle */
        atomic {
            t = 0;
            if
#ifdef MISUSE
            :: arena_state[a] != LIVE && handed_on -> returned(handed_on, false)
#else
            :: arena_state[a] != LIVE -> assert(false)
#endif
            :: arena_state[a] == LIVE -> arena_state[a] = IDLE; kept++; returned(handed_on, true)
            fi;
#ifdef MISUSE
            evicting = evicting || handed_on;
#endif
            unlock()
        }
again:
#ifdef MISUSE
        if /* whoever checked it out next would have it given back by the owner */
        :: handed_on -> goto done
        :: else
        fi;
#endif
        atomic { a = VACANT; handed_on = false }
    od;
done:
    over++
}

/* ---- when all have gone home ---- */

proctype end_of_all()
{
    byte a = 0;

    over == LANES + OTHERS;
    a = 0;
    do
    :: a < LANES -> BUFFER_EMPTY(a); a++
    :: else -> break
    od;
    true;
    d_step {
        check_pool();
#ifdef MISUSE
        /* One of the two is told, but with plain stores it may be that neither is. */
        assert(!evicting || (good + bad == 2 && good >= 1));
#ifdef SEQ_CST
        assert(!evicting || bad == 1);
#endif
#endif
        a = 0;
        do
        :: a < ARENAS ->
            if
            :: arena_state[a] == HOMED ->
                assert(own[home[a]] == state[home[a]]);
                assert((own[home[a]] == SLOT_OUT) == (holder[a] != NOBODY))
            :: arena_state[a] == LIVE -> assert(holder[a] != NOBODY)
            :: arena_state[a] == IDLE -> assert(holder[a] == NOBODY)
            :: else -> assert(false)
            fi;
            a++
        :: else -> break
        od
    }
}

init {
    byte n = 0;

    atomic {
        do
        :: n < ALL_SLOTS ->
            arena[n] = VACANT;
            state[n] = SLOT_OUT;
            own[n] = SLOT_OUT;
            seen[n] = SLOT_CLOSED;
            n++
        :: else -> break
        od;
        arena[CLOSED_SLOT] = VACANT + 1;
        state[CLOSED_SLOT] = SLOT_CLOSED;
        own[CLOSED_SLOT] = SLOT_CLOSED;
        n = 0;
        do
        :: n < ARENAS ->
            arena_state[n] = IDLE;
            home[n] = CLOSED_SLOT;
            kept++;
            n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < LANES ->
            front[n] = CLOSED_SLOT;
            run owner(n);
#ifndef SEQ_CST
            run buffer(n);
#endif
            n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < OTHERS -> run other(n); n++
        :: else -> break
        od;
        run end_of_all();
        n = 0
    }
}
