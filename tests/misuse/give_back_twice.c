/* SPDX-License-Identifier: MIT
 * An arena is given back twice.
 *
 * release:  at once: give_back: arena .* has been given back already
 * check:    at once: give_back: arena .* has been given back already
 * asan:     at once: give_back: arena .* has been given back already
 * valgrind: at once: give_back: arena .* has been given back already
 * guard:    at once: give_back: arena .* has been given back already
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    bp_pool_give_back(pool, a);
    if (wrong) {
        bp_pool_give_back(pool, a);
        misuse_done();
    }
    return bp_pool_destroy(pool);
}
