/* SPDX-License-Identifier: MIT */
#include <bumpool.h>

const char *bp_version(void)
{
    return BP_VERSION_STRING;
}
