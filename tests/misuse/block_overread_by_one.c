/* SPDX-License-Identifier: MIT
 * The byte right after a block is read.
 *
 * release:  no
 * check:    no
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid read of size 1
 * guard:    no
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_arena *a = new_arena();
    char *p;
    int sum = 0;

    misuse_begin(argc, argv);
    p = memset(new_block(a, 24), 1, 24);
    for (size_t i = 0; i < opaque(24); i++)
        sum += p[i];
    if (wrong) {
        sum += p[24] & 1;
        misuse_done();
    }
    MUST(sum < 24);
    return bp_arena_destroy(a);
}
