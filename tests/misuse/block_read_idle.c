/* SPDX-License-Identifier: MIT
 * A block is read after its arena was given back.
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
    bp_pool *pool = new_pool("requests");
    bp_arena *a;
    char *p;
    int byte;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(pool, &a));
    p = memset(new_block(a, 100), 1, 100);
    byte = p[50];
    bp_pool_give_back(pool, a);
    if (wrong) {
        byte = p[50];
        misuse_done();
    }
    MUST(byte == 2);
    return bp_pool_destroy(pool);
}
