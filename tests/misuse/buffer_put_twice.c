/* SPDX-License-Identifier: MIT
 * A buffer is put back twice.
 *
 * release:  at once: put: an empty buffer, put back already
 * check:    at once: put: an empty buffer, put back already
 * asan:     at once: put: an empty buffer, put back already
 * valgrind: at once: put: an empty buffer, put back already
 * guard:    at once: put: an empty buffer, put back already
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    memset(buffer.data, 1, buffer.size);
    bp_buckets_put(b, &buffer);
    if (wrong) {
        bp_buckets_put(b, &buffer);
        misuse_done();
    }
    return bp_buckets_destroy(b);
}
