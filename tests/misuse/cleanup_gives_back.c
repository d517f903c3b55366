/* SPDX-License-Identifier: MIT
 * A cleanup gives back its own arena.
 *
 * release:  at once: give_back of arena .* from inside its own cleanup
 * check:    at once: give_back of arena .* from inside its own cleanup
 * asan:     at once: give_back of arena .* from inside its own cleanup
 * valgrind: at once: give_back of arena .* from inside its own cleanup
 * guard:    at once: give_back of arena .* from inside its own cleanup
 */
#include "misuse.h"

static bp_pool *pool;

static void cleanup(void *data)
{
    if (wrong) {
        bp_pool_give_back(pool, data);
        misuse_done();
    }
}

int main(int argc, char **argv)
{
    bp_arena *a;

    misuse_begin(argc, argv);
    pool = new_pool("requests");
    MUST(bp_pool_checkout(pool, &a));
    MUST(bp_arena_on_reset(a, cleanup, a));
    bp_arena_reset(a);
    bp_pool_give_back(pool, a);
    return bp_pool_destroy(pool);
}
