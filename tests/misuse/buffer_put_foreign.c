/* SPDX-License-Identifier: MIT
 * A buffer is put back to another bucket pool.
 *
 * release:  at once: put: buffer .* is none of bucket pool "other"
 * check:    at once: put: buffer .* is none of bucket pool "other"
 * asan:     at once: put: buffer .* is none of bucket pool "other"
 * valgrind: at once: put: buffer .* is none of bucket pool "other"
 * guard:    at once: put: buffer .* is none of bucket pool "other"
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *other, *b = new_buckets("frames");
    struct bp_buffer buffer;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    memset(buffer.data, 1, buffer.size);
    other = new_buckets("other");
    if (wrong) {
        bp_buckets_put(other, &buffer);
        misuse_done();
    }
    bp_buckets_put(b, &buffer);
    MUST(bp_buckets_destroy(other));
    return bp_buckets_destroy(b);
}
