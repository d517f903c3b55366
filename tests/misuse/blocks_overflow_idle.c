/* SPDX-License-Identifier: MIT
 * A memset of a fixed-size block runs over into one that is idle.
 *
 * release:  no
 * check:    later: overrun in arena .*: the byte 1 after a block of 256 bytes
 * asan:     at once: AddressSanitizer: use-after-poison
 * valgrind: at once: Invalid write
 * guard:    at once: SIGSEGV
 */
#include "misuse.h"

int main(int argc, char **argv)
{
    struct bp_blocks_config config = BP_BLOCKS_CONFIG_INIT;
    struct bp_buffer block[3];
    bp_buckets *b;

    misuse_begin(argc, argv);
    config.block_size = 256;
    config.preallocate = 16;
    MUST(bp_buckets_create_blocks(NULL, &config, &b));
    for (int i = 0; i < 3; i++)
        MUST(bp_buckets_get(b, 0, &block[i]));
    bp_buckets_put(b, &block[0]);
    bp_buckets_put(b, &block[2]);
    memset(block[1].data, 1, block[1].capacity);
    if (wrong) {
        memset(block[1].data, 1, opaque(block[1].capacity + 64));
        misuse_done();
    }
    bp_buckets_put(b, &block[1]);
    return bp_buckets_destroy(b);
}
