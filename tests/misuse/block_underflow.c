/* SPDX-License-Identifier: MIT
 * The byte right before a block is written.
 *
 * release:  no
 * check:    later: underrun in arena .*: the byte 1 before a block of 24 bytes
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    later: underrun in arena .*: the byte 1 before a block of 24 bytes
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    new_block(a, 24)[0] = 1;
    p = new_block(a, 24);
    p[0] = 1;
    if (wrong) {
        p[-1] = 1;
        misuse_done();
    }
    return bp_arena_destroy(a);
}
