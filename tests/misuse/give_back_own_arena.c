/* SPDX-License-Identifier: MIT
 * An arena of bp_arena_create is given back to a pool.
 *
 * release:  at once: give_back: .* is no arena of pool "requests"
 * check:    at once: give_back: .* is no arena of pool "requests"
 * asan:     at once: give_back: .* is no arena of pool "requests"
 * valgrind: at once: give_back: .* is no arena of pool "requests"
 * guard:    at once: give_back: .* is no arena of pool "requests"
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a = new_arena();

    misuse_begin(argc, argv);
    if (wrong) {
        bp_pool_give_back(pool, a);
        misuse_done();
    }
    bp_arena_destroy(a);
    return bp_pool_destroy(pool);
}
