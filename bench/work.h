/* SPDX-License-Identifier: MIT
 * The work of one commit, without libgit2: what a `log --stat`-like tool builds from what the repository
 * says. Every byte of it comes from the contestant and is dropped by work_end.
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "bench.h"

/* What is counted per path, per directory and per extension. */
struct entry {
    struct entry *next; /* in order of first appearance */
    const char *key;
    size_t length;
    uint64_t hash;
    uint64_t files, added, deleted;
    char status; /* of a path: A, D, M, T */
    bool binary;
};

/* Open addressing, doubled at 3/4 full. */
struct map {
    struct entry **slots;
    size_t room, used;
    struct entry *first, *last;
};

struct work {
    const struct contestant *contestant;
    void *state;
    bool failed; /* an allocation did; everything after it is left out */
    uint64_t digest;
    struct map paths, directories, extensions;
};

/* False: the contestant is out of memory, and the work is not begun. */
bool work_begin(struct work *work, const struct contestant *contestant, void *state);

void work_identity(struct work *work, const char *role, const char *name, const char *email, int64_t when);
void work_message(struct work *work, const char *message);

/* A changed path; NULL when out of memory. Counted lines go to it directly. */
struct entry *work_path(struct work *work, const char *path, char status);

/* Sums up, drops everything and folds the result into *digest. False: out of memory on the way. */
bool work_end(struct work *work, uint64_t *digest);

/* Drops everything without a result. */
void work_abandon(struct work *work);

#endif
