/* SPDX-License-Identifier: MIT
 * Results and how they are shown: aligned tables, CSV, JSON.
 */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include "bench.h"

enum metric {
    NS_PER_UNIT,
    NS_PER_ALLOC,
    RATIO_TO_LIMIT,
    RATIO_TO_MALLOC,
    MINOR_FAULTS_PER_UNIT,
    SYSCALLS_PER_UNIT,
    PEAK_RSS_KIB,
    METRICS
};

struct figure {
    bool known;
    double median, min, max;
};

/* One contestant in one case. */
struct row {
    const char *contestant;
    struct figure figures[METRICS];
};

/* One table. */
struct results {
    char *name;         /* the case */
    const char *source; /* a path */
    const char *note;   /* printed under the table, or NULL */
    const char *unit;   /* what a unit is called, singular */
    size_t units, allocs;
    uint64_t bytes;
    uint64_t digest; /* that all contestants agreed on */
    size_t rounds;
    struct row *rows;
    size_t row_count;
};

/* `values` is put in order. None: unknown. */
struct figure figure_of(double *values, size_t count);
struct figure figure_single(double value);

/* What the machine is; text of static storage, "unknown" where it cannot be told. */
struct environment {
    char cpu[128], kernel[192], huge_pages[32], compiler[128];
    const char *bumpool, *libgit2, *mimalloc; /* versions; NULL: left out of this build */
};
void environment_find(struct environment *out);

void environment_print(const struct environment *environment, FILE *out);
void table_print(const struct results *results, FILE *out);

/* All cases at once. Errors show in ferror(out). */
void csv_write(const char *workload, const struct results *results, size_t count, FILE *out);
void json_write(const char *workload, const struct environment *environment, const struct results *results,
                size_t count, FILE *out);

#endif
