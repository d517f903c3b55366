/* SPDX-License-Identifier: MIT
 * A byte 4000 bytes after a block is written, where no other block is.
 *
 * release:  no
 * check:    no
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = new_block(a, 100);
    p[99] = 1;
    if (wrong) {
        p[4000] = 1;
        misuse_done();
    }
    return bp_arena_destroy(a);
}
