/* SPDX-License-Identifier: MIT
 * A bucket pool is destroyed while a buffer is out.
 *
 * release:  told: destroy: bucket pool "frames" has 1 live buffer
 * check:    told: destroy: bucket pool "frames" has 1 live buffer
 * asan:     told: destroy: bucket pool "frames" has 1 live buffer
 * valgrind: told: destroy: bucket pool "frames" has 1 live buffer
 * guard:    told: destroy: bucket pool "frames" has 1 live buffer
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    if (!wrong)
        bp_buckets_put(b, &buffer);
    return bp_buckets_destroy(b) == (wrong ? EBUSY : 0) ? 0 : 1;
}
