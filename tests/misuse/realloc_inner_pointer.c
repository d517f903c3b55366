/* SPDX-License-Identifier: MIT
 * What is resized is a pointer into a block.
 *
 * release:  no
 * check:    at once: realloc of .*, which is no block of arena
 * asan:     at once: realloc of .*, which is no block of arena
 * valgrind: at once: realloc of .*, which is no block of arena
 * guard:    at once: realloc of .*, which is no block of arena
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = memset(new_block(a, 100), 1, 100);
    p = bp_arena_realloc(a, wrong ? p + 16 : p, wrong ? 84 : 100, 200);
    if (wrong)
        misuse_done();
    MUST(p == NULL ? ENOMEM : 0);
    return bp_arena_destroy(a);
}
