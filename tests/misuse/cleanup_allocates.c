/* SPDX-License-Identifier: MIT
 * A cleanup allocates from its own arena.
 *
 * release:  no
 * check:    at once: a cleanup of arena .* allocates 16 bytes from it
 * asan:     at once: a cleanup of arena .* allocates 16 bytes from it
 * valgrind: at once: a cleanup of arena .* allocates 16 bytes from it
 * guard:    at once: a cleanup of arena .* allocates 16 bytes from it
 */
#include "misuse.h"

static void cleanup(void *data)
{
    if (wrong) {
        char *p = bp_arena_alloc(data, opaque(16));

        misuse_done();
        p[0] = 1;
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
