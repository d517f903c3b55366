/* SPDX-License-Identifier: MIT
 * A buffer is put back, and a copy of it when the next unit of work has got a buffer.
 *
 * release:  no
 * check:    at once: put: buffer .* of bucket pool "frames" has been put back already
 * asan:     at once: put: buffer .* of bucket pool "frames" has been put back already
 * valgrind: at once: put: buffer .* of bucket pool "frames" has been put back already
 * guard:    at once: put: .* is not where a buffer of bucket pool "frames" begins
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer, copy, next;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    copy = buffer;
    bp_buckets_put(b, &buffer);
    MUST(bp_buckets_get(b, 5000, &next));
    memset(next.data, 1, next.size);
    if (wrong) {
        bp_buckets_put(b, &copy); /* most likely the very buffer that `next` is */
        misuse_done();
        return 0;
    }
    bp_buckets_put(b, &next);
    return bp_buckets_destroy(b);
}
