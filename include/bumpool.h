/* SPDX-License-Identifier: MIT
 *
 * bumpool: recyclable bump arenas over pluggable backings.
 *
 * This is the one header to include. The parts below it are split by module and refuse to be
 * included alone:
 *
 *   common.h    attributes and BP_UNLIMITED         backing.h  where address ranges come from
 *   version.h   version of this header              arena.h    bump allocation in one range
 *   misuse.h    what happens on programming errors  pool.h     warm arenas, handed out and taken back
 *   stats.h     what a pool says about itself       waiter.h   waiting for an arena
 *   stock.h     the stock backings                  check.h    checked mode: finding errors in programs
 *   buckets.h   buffers of all sizes                conformance.h (not included here) tests a backing
 *
 * Conventions. Sizes are bytes. Functions returning `int` give 0 or a positive errno value and leave
 * their outputs untouched on failure unless they say otherwise. Allocation returns NULL with errno
 * set. Configuration structs start from their BP_..._INIT; a NULL configuration means the same.
 */
#ifndef BUMPOOL_H
#define BUMPOOL_H

#include <bumpool/common.h>
#include <bumpool/version.h>
#include <bumpool/misuse.h>
#include <bumpool/backing.h>
#include <bumpool/stock.h>
#include <bumpool/check.h>
#include <bumpool/arena.h>
#include <bumpool/pool.h>
#include <bumpool/waiter.h>
#include <bumpool/stats.h>
#include <bumpool/buckets.h>

#endif
