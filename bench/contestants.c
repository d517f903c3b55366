/* SPDX-License-Identifier: MIT
 * The list of contestants. HAVE_MIMALLOC means that both mimalloc and libbumpool-mimalloc are linked.
 */
#include "contestants.h"

const struct contestant *const contestants[] = {
    &contestant_limit,
    &contestant_bumpool_malloc,
    &contestant_bumpool_mmap,
    &contestant_bumpool_reserved,
    &contestant_bumpool_buffer,
#ifdef HAVE_MIMALLOC
    &contestant_bumpool_mimalloc,
#endif
    &contestant_mmap_fresh,
    &contestant_malloc,
#ifdef HAVE_MIMALLOC
    &contestant_mimalloc,
    &contestant_mimalloc_heap,
#endif
    NULL,
};

const char *const contestants_left_out[] = {
#ifndef HAVE_MIMALLOC
    "bumpool-mimalloc",
    "mimalloc",
    "mimalloc-heap",
#endif
    NULL,
};
