/* SPDX-License-Identifier: MIT
 * An arena is given back twice; in between the next unit of work has checked out an arena.
 *
 * release:  no
 * check:    at once: give_back: arena .* has been given back already
 * asan:     at once: give_back: arena .* has been given back already
 * valgrind: at once: give_back: arena .* has been given back already
 * guard:    no
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *first, *second;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &first));
    bp_pool_give_back(pool, first);
    MUST(bp_pool_checkout(pool, &second));
    if (wrong) {
        bp_pool_give_back(pool, first); /* most likely the very arena that `second` is */
        misuse_done();
        return 0;
    }
    bp_pool_give_back(pool, second);
    return bp_pool_destroy(pool);
}
