/* SPDX-License-Identifier: MIT
 * An arena that was given back is reset.
 *
 * release:  no
 * check:    at once: reset: arena .* of pool "requests" has been given back
 * asan:     at once: reset: arena .* of pool "requests" has been given back
 * valgrind: at once: reset: arena .* of pool "requests" has been given back
 * guard:    at once: reset: arena .* of pool "requests" has been given back
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    new_block(a, 100)[0] = 1;
    bp_arena_reset(a);
    bp_pool_give_back(pool, a);
    if (wrong) {
        bp_arena_reset(a);
        misuse_done();
    }
    return bp_pool_destroy(pool);
}
