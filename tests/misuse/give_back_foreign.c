/* SPDX-License-Identifier: MIT
 * An arena is given back to another pool.
 *
 * release:  at once: give_back: .* is no arena of pool "b"
 * check:    at once: give_back: .* is no arena of pool "b"
 * asan:     at once: give_back: .* is no arena of pool "b"
 * valgrind: at once: give_back: .* is no arena of pool "b"
 * guard:    at once: give_back: .* is no arena of pool "b"
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_pool *a = new_pool("a"), *b = new_pool("b");
    bp_arena *arena;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(a, &arena));
    if (wrong) {
        bp_pool_give_back(b, arena);
        misuse_done();
    }
    bp_pool_give_back(a, arena);
    return bp_pool_destroy(a) | bp_pool_destroy(b);
}
