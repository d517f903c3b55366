/* SPDX-License-Identifier: MIT
 * What every part of bumpool-bench shares. Include it first: it sets the feature macros.
 *
 * Words. A *unit* is one unit of work (a commit): its allocations live until its end and are dropped
 * together. A *workload* is a sequence of units; a *pass* does all of them once. A *contestant* is one way
 * of providing the memory.
 */
#ifndef BENCH_H
#define BENCH_H

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "trace.h"

#define PROGRAM "bumpool-bench"

/* Exit statuses, of the program and of most int functions in here. */
enum {
    DONE = 0,
    FAILED = 1,    /* contestants disagree, or output could not be written */
    BAD_INPUT = 2, /* bad use, or an input that cannot be used */
};

#define COLD __attribute__((noinline, cold))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* What a contestant may know in advance, so that none pays for growing its own bookkeeping. */
struct workload {
    size_t max_unit_bytes;  /* the largest unit, every size rounded up to 16 */
    size_t max_unit_allocs; /* the most allocations in one unit */
};

/* One way of providing the memory. All functions are required. A unit is either replayed (a whole pass in
 * one call, with the allocator inlined as its user would have it) or done by the three unit_ calls (for the
 * live walk, where the time is elsewhere). */
struct contestant {
    const char *name;                                /* as in --only and in the CSV file */
    const char *summary;                             /* for --help */
    void *(*setup)(const struct workload *workload); /* NULL: out of memory */
    void (*teardown)(void *state);
    bool (*replay)(void *state, const struct trace *trace, uint64_t *digest); /* false: out of memory */
    bool (*unit_begin)(void *state);                                          /* false: out of memory */
    void *(*unit_alloc)(void *state, size_t size);                            /* likewise NULL; size > 0 */
    void (*unit_end)(void *state);
};

/* All that this build has, `limit` first; ended by NULL. */
extern const struct contestant *const contestants[];

/* Those that this build lacks, ended by NULL: their names, for messages. */
extern const char *const contestants_left_out[];

/* The mimalloc in use, or NULL in a build without it. */
const char *mimalloc_version_text(void);

/* True when the malloc of this process is not the C library's (a preloaded or linked replacement). */
bool malloc_is_replaced(void);

/* One line on standard error, "bumpool-bench: " first; takes the progress line away before. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The progress line: standard error, only when that is a terminal. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void progress_clear(void);

/* Subcommands: argv[0] is the subcommand's name for messages. Return the exit status. */
int commits_main(int argc, char **argv);
void commits_help(FILE *out);
int choices_main(int argc, char **argv);
int pool_main(int argc, char **argv);
int buffers_main(int argc, char **argv);

#endif
