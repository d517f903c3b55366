/* SPDX-License-Identifier: MIT
 * `bumpool-call`: the same as `bumpool`, but every checkout and give_back is a call into the shared library,
 * as for a program in another language. It is what compares with the lists, which are called too.
 */
#define BP_NO_INLINE
#include "pool_contestants.h"

#include <bumpool.h>

#include "pool_loops.h"

#define TAKE(own, thing) bp_pool_checkout(own, &(thing))
#define PUT(own, thing) bp_pool_give_back(own, thing)
POOL_LOOPS(call, bp_arena, TAKE, PUT)

const struct pool_contestant pool_contestant_bumpool_call = {
    .name = "bumpool-call",
    .summary = "the same, by calls into the shared library alone",
    .cases = IN_PAIR | IN_HELD,
    .setup = bumpool_setup,
    .teardown = bumpool_teardown,
    .pairs = call_pairs,
    .held = call_held,
};
