/* SPDX-License-Identifier: MIT
 * A buffer is put back twice.
 *
 * release:  at once: put
 * check:    at once: put
 * asan:     at once: put
 * valgrind: at once: put
 * guard:    at once: put
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
