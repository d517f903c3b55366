/* SPDX-License-Identifier: MIT
 * A string is copied to a block of strlen bytes, without room for its end.
 *
 * release:  no
 * check:    later: overrun in arena .*: the byte 1 after a block of 16 bytes
 * asan:     at once: AddressSanitizer: (use-after-poison|unknown-crash)
 * valgrind: at once: Invalid write
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    static const char text[] = "sixteen letters.";
    bp_arena *a = new_arena();
    char *p;

    misuse_begin(argc, argv);
    p = new_block(a, strlen(text) + (wrong ? 0 : 1));
    strcpy(p, text);
    if (wrong)
        misuse_done();
    return bp_arena_destroy(a);
}
