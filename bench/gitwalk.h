/* SPDX-License-Identifier: MIT
 * Walking a git repository: the only part that knows libgit2. libgit2's own memory is not the contestant's.
 */
#ifndef BENCH_GITWALK_H
#define BENCH_GITWALK_H

#include "bench.h"

struct gitwalk;

/* Opens the repository at `path` (NULL: the one that the current directory is in) and lists its newest `max`
 * commits (0: all) from HEAD, newest first by committer time. On failure says why and returns BAD_INPUT. */
int gitwalk_open(const char *path, size_t max, struct gitwalk **out);
void gitwalk_close(struct gitwalk *walk);

/* Leaves out all but the newest `count` commits. */
void gitwalk_cut(struct gitwalk *walk, size_t count);

size_t gitwalk_commits(const struct gitwalk *walk);
const char *gitwalk_path(const struct gitwalk *walk);
bool gitwalk_is_shallow(const struct gitwalk *walk);

/* One pass over the commits with the contestant's memory. DONE, FAILED (the contestant is out of memory) or
 * BAD_INPUT (the repository); says why. */
int gitwalk_pass(struct gitwalk *walk, const struct contestant *contestant, void *state, uint64_t *digest);

/* The libgit2 in use, or NULL in a build without it. */
const char *libgit2_version_text(void);

#endif
