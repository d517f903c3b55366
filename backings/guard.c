/* SPDX-License-Identifier: MIT */
#include <bumpool.h>

bp_backing *bp_backing_guard(void)
{
    return bp_backing_mmap();
}
