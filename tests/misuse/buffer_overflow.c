/* SPDX-License-Identifier: MIT
 * A buffer is written one byte past its capacity.
 *
 * release:  no
 * check:    later: overrun in arena .*: the byte 1 after a block of 5000 bytes
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write of size 1
 * guard:    later: overrun in arena .*: the byte 1 after a block of 5000 bytes
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    memset(buffer.data, 1, buffer.size);
    memset(buffer.data, 1, buffer.capacity); /* may be more than was asked for */
    if (wrong) {
        ((char *)buffer.data)[opaque(buffer.capacity)] = 1;
        misuse_done();
    }
    bp_buckets_put(b, &buffer);
    return bp_buckets_destroy(b);
}
