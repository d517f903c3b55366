/* SPDX-License-Identifier: MIT
 * A buffer is put back to a bucket pool that was destroyed.
 *
 * release:  at once: put: bucket pool "frames" has been destroyed
 * check:    at once: put: bucket pool "frames" has been destroyed
 * asan:     at once: put: bucket pool "frames" has been destroyed
 * valgrind: at once: put: bucket pool "frames" has been destroyed
 * guard:    at once: put: bucket pool "frames" has been destroyed
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    bp_buckets *b = new_buckets("frames");
    struct bp_buffer buffer, copy;

    misuse_begin(argc, argv);
    MUST(bp_buckets_get(b, 5000, &buffer));
    copy = buffer;
    bp_buckets_put(b, &buffer);
    MUST(bp_buckets_destroy(b));
    if (wrong) {
        bp_buckets_put(b, &copy);
        misuse_done();
    }
    return 0;
}
