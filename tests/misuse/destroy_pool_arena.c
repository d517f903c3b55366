/* SPDX-License-Identifier: MIT
 * A pool's arena is destroyed in place of given back.
 *
 * release:  at once: arena .* belongs to a pool: give it back instead
 * check:    at once: arena .* belongs to a pool: give it back instead
 * asan:     at once: arena .* belongs to a pool: give it back instead
 * valgrind: at once: arena .* belongs to a pool: give it back instead
 * guard:    at once: arena .* belongs to a pool: give it back instead
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    if (wrong) {
        bp_arena_destroy(a);
        misuse_done();
    }
    bp_pool_give_back(pool, a);
    return bp_pool_destroy(pool);
}
