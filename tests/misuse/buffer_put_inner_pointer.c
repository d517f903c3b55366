/* SPDX-License-Identifier: MIT
 * A buffer is put back with an inner pointer in place of its address.
 *
 * release:  at once: put: .* is not where a buffer of bucket pool "frames" begins
 * check:    at once: put: .* is not where a buffer of bucket pool "frames" begins
 * asan:     at once: put: .* is not where a buffer of bucket pool "frames" begins
 * valgrind: at once: put: .* is not where a buffer of bucket pool "frames" begins
 * guard:    at once: put: .* is not where a buffer of bucket pool "frames" begins
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    memset(buffer.data, 1, buffer.size);
    if (wrong) {
        buffer.data = (char *)buffer.data + 64;
        bp_buckets_put(b, &buffer);
        misuse_done();
    }
    bp_buckets_put(b, &buffer);
    return bp_buckets_destroy(b);
}
