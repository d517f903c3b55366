/* SPDX-License-Identifier: MIT
 * Recorded allocation sizes: a trace in memory, read from and written to UNITTRACE1 files.
 *
 * File: the 11 bytes "UNITTRACE1\n", then unsigned LEB128 integers: the number of units; then per unit the
 * number of allocations, followed by each size in bytes. Reading also takes such a file compressed by xz.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bounds that no sensible trace meets; they keep a broken one from eating the machine. */
#define TRACE_MAX_FILE ((size_t)256 << 20)       /* bytes of a file, after decompression */
#define TRACE_MAX_UNIT_BYTES ((size_t)256 << 20) /* bytes alive at once */

struct trace {
    size_t units, allocs;
    uint64_t bytes;   /* sum of all sizes */
    uint32_t *counts; /* [units] allocations of each unit */
    uint32_t *sizes;  /* [allocs] one unit after the other; never 0: a recorded 0 is replayed as 1 */
    size_t max_unit_bytes, max_unit_allocs; /* as in struct workload */
};

/* Reads a file into *out. On failure says why on standard error and returns BAD_INPUT; *out is empty then. */
int trace_read(const char *path, struct trace *out);

/* The same from memory; `name` is for messages. Needs no more than four times `length` bytes. */
int trace_parse(const char *name, const unsigned char *data, size_t length, struct trace *out);

/* Writes the file format. False when a write failed (errno); the caller still has to check fclose. */
bool trace_write(const struct trace *trace, FILE *out);

void trace_free(struct trace *trace);

/* Building a trace: a unit, then its allocations, and so on. False: out of memory or over the bounds. */
struct trace_builder {
    struct trace trace;
    size_t units_room, allocs_room;
    size_t unit_bytes; /* of the newest unit */
};
bool trace_builder_unit(struct trace_builder *builder);
bool trace_builder_alloc(struct trace_builder *builder, size_t size);

#endif
