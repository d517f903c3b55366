/* SPDX-License-Identifier: MIT
 * A bucket pool that was closed is asked for a buffer.
 *
 * release:  error: get: Operation canceled
 * check:    error: get: Operation canceled
 * asan:     error: get: Operation canceled
 * valgrind: error: get: Operation canceled
 * guard:    error: get: Operation canceled
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer;
    int rc;

    misuse_begin(argc, argv);
    if (wrong)
        MUST(bp_buckets_close(b));
    rc = bp_buckets_get(b, 5000, &buffer);
    if (rc != 0) {
        fprintf(stderr, "get: %s\n", strerror(rc));
        return 1;
    }
    bp_buckets_put(b, &buffer);
    bp_buckets_close(b);
    return bp_buckets_destroy(b);
}
