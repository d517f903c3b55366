/* SPDX-License-Identifier: MIT
 * A block of a scope is read after the scope has ended.
 *
 * release:  no
 * check:    no
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid read of size 1
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;
    int byte;

    misuse_begin(argc, argv);
    {
        BP_ARENA_SCOPE(a);
        p = memset(new_block(a, 100), 1, 100);
        byte = p[50];
    }
    if (wrong) {
        byte = p[50];
        misuse_done();
    }
    MUST(byte == 2);
    return bp_arena_destroy(a);
}
