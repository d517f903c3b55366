/* SPDX-License-Identifier: MIT
 * A memset runs into the next block.
 *
 * release:  no
 * check:    later: (over|under)run in arena .* a block of 100 bytes
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p, *q;

    misuse_begin(argc, argv);
    p = new_block(a, 100);
    q = new_block(a, 100);
    memset(p, 0, opaque(100));
    memset(q, 1, opaque(100));
    if (wrong) {
        memset(p, 0, opaque(100 + 40));
        misuse_done();
    }
    return bp_arena_destroy(a);
}
