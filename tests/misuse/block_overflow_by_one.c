/* SPDX-License-Identifier: MIT
 * The byte right after a block of 24 bytes is written.
 *
 * release:  no
 * check:    later: overrun in arena .*: the byte 1 after a block of 24 bytes
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    later: overrun in arena .*: the byte 1 after a block of 24 bytes
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = new_block(a, 24);
    p[23] = 1;
    if (wrong) {
        p[24] = 1;
        misuse_done();
    }
    return bp_arena_destroy(a);
}
