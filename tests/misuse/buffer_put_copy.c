/* SPDX-License-Identifier: MIT
 * A buffer is put back, and then a copy of it.
 *
 * release:  at once: put: buffer .* of bucket pool "frames" has been put back already
 * check:    at once: put: buffer .* of bucket pool "frames" has been put back already
 * asan:     at once: put: buffer .* of bucket pool "frames" has been put back already
 * valgrind: at once: put: buffer .* of bucket pool "frames" has been put back already
 * guard:    at once: put: buffer .* of bucket pool "frames" has been put back already
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer, copy;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    memset(buffer.data, 1, buffer.size);
    copy = buffer;
    bp_buckets_put(b, &buffer);
    if (wrong) {
        bp_buckets_put(b, &copy);
        misuse_done();
    }
    return bp_buckets_destroy(b);
}
