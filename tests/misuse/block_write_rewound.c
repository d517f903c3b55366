/* SPDX-License-Identifier: MIT
 * A block is written after a rewind, when its place has been allocated again.
 *
 * release:  no
 * check:    later: use after drop in arena .*: byte 50 of a block of 100 bytes .*written later
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    bp_mark mark = bp_arena_mark(a);
    char *p, *q;

    misuse_begin(argc, argv);
    p = new_block(a, 100);
    p[50] = 1;
    bp_arena_rewind(a, mark);
    q = new_block(a, 100);
    q[50] = 2;
    if (wrong) {
        p[50] = 3;
        misuse_done();
    }
    bp_arena_reset(a);
    return bp_arena_destroy(a);
}
