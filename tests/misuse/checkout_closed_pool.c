/* SPDX-License-Identifier: MIT
 * A pool that was closed is asked for an arena.
 *
 * release:  error: checkout: Operation canceled
 * check:    error: checkout: Operation canceled
 * asan:     error: checkout: Operation canceled
 * valgrind: error: checkout: Operation canceled
 * guard:    error: checkout: Operation canceled
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *pool = new_pool("requests");
    bp_arena *a;
    int rc;

    misuse_begin(argc, argv);
    if (wrong)
        MUST(bp_pool_close(pool));
    rc = bp_pool_checkout(pool, &a);
    if (rc != 0) {
        fprintf(stderr, "checkout: %s\n", strerror(rc));
        return 1;
    }
    bp_pool_give_back(pool, a);
    bp_pool_close(pool);
    return bp_pool_destroy(pool);
}
