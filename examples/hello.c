/* SPDX-License-Identifier: MIT
 *
 * The example in README: a unit of work takes an arena from a pool, allocates what it likes, and gives
 * the arena back. Prints one line for each unit, all of them with 0 bytes in use at the start.
 */
#include <bumpool.h>
#include <stdio.h>

int main(void)
{
    bp_pool *pool;
    bp_arena *a;
    if (bp_pool_create(NULL, NULL, &pool) != 0)
        return 1;
    for (int unit = 1; unit <= 3 && bp_pool_checkout(pool, &a) == 0; unit++) {
        char *text = bp_arena_printf(a, "unit %d begins with %zu bytes in use", unit, bp_arena_used(a));
        puts(text != NULL ? text : "out of memory");
        bp_pool_give_back(pool, a); /* drops all of it at once; the arena stays warm */
    }
    return bp_pool_destroy(pool);
}
