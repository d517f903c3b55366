/* SPDX-License-Identifier: MIT
 * The byte right after a block of 32 bytes, a multiple of 16, is written.
 *
 * release:  no
 * check:    later: overrun in arena .*: the byte 1 after a block of 32 bytes
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
    p = new_block(a, 32);
    p[31] = 1;
    if (wrong) {
        p[32] = 1;
        misuse_done();
    }
    return bp_arena_destroy(a);
}
