/* SPDX-License-Identifier: MIT
 * A block is read before anything was written to it.
 *
 * release:  no
 * check:    no
 * asan:     no
 * valgrind: at once: Conditional jump or move depends on uninitialised value
 * guard:    no
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = new_block(a, 100);
    memset(p, 1, opaque(wrong ? 50 : 100));
    if (p[70] == 42)
        puts("42");
    if (wrong)
        misuse_done();
    return bp_arena_destroy(a);
}
