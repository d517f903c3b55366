/* SPDX-License-Identifier: MIT
 * A block of 0 bytes is written.
 *
 * release:  no
 * check:    no
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    no
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = new_block(a, 0);
    if (wrong) {
        p[0] = 1;
        misuse_done();
    }
    return bp_arena_destroy(a);
}
