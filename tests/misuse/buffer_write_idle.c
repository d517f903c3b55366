/* SPDX-License-Identifier: MIT
 * A buffer is written after it was put back.
 *
 * release:  no
 * check:    later: use after drop in arena .*: byte 50 of a block of 5000 bytes .*written later
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer;
    char *p;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    memset(buffer.data, 1, buffer.size);
    p = buffer.data;
    bp_buckets_put(b, &buffer);
    if (wrong) {
        p[50] = 2;
        misuse_done();
    }
    return bp_buckets_destroy(b);
}
