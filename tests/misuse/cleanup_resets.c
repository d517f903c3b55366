/* SPDX-License-Identifier: MIT
 * A cleanup resets its own arena.
 *
 * release:  at once: reset of arena .* from inside its own cleanup
 * check:    at once: reset of arena .* from inside its own cleanup
 * asan:     at once: reset of arena .* from inside its own cleanup
 * valgrind: at once: reset of arena .* from inside its own cleanup
 * guard:    at once: reset of arena .* from inside its own cleanup
 */
#include "misuse.h"

static void cleanup(void *data)
{
    if (wrong) {
        bp_arena_reset(data);
        misuse_done();
    }
}

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();

    misuse_begin(argc, argv);
    MUST(bp_arena_on_reset(a, cleanup, a));
    bp_arena_reset(a);
    return bp_arena_destroy(a);
}
