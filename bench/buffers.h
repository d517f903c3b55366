/* SPDX-License-Identifier: MIT
 * What the parts of bumpool-bench buffers share; it builds on bumpool-bench pool.
 *
 * Words. A *load* is what is asked of a contestant: sizes, how many buffers are held at a time, what is
 * written to them. A *pair* is one get and one put.
 */
#ifndef BENCH_BUFFERS_H
#define BENCH_BUFFERS_H

#include "pool.h"

enum {
    BUFFERS_HELD = 8,   /* buffers that the case "held" has at a time */
    BUFFERS_KEPT = 256, /* and the case "kept" */
    BUFFERS_CONTESTANTS = 16,
};
#define BUFFERS_LEAST ((size_t)64)
#define BUFFERS_MOST ((size_t)64 << 20)

enum buffers_touch {
    TOUCH_NOTHING,
    TOUCH_ENDS, /* the first byte and the last one are written */
    TOUCH_PAGES /* one byte in each page is, and the last one */
};

struct buffers_load {
    const size_t *sizes; /* of the buffers, in turn */
    size_t mask;         /* how many sizes there are, a power of two, less 1 */
    size_t most;         /* the largest of them */
    size_t depth;        /* buffers held at a time */
    bool oldest_first;   /* the order in which they are put back */
    enum buffers_touch touch;
    size_t threads;
};

/* ---- contestants ---- */

struct buffers_contestant {
    struct pool_contestant common; /* name and summary; first: one is cast to the other */
    const char *reference;         /* the contestant that it is to be compared with */
    /* NULL with errno: cannot be had. */
    void *(*setup)(const struct buffers_load *load);
    void (*teardown)(void *state);
    /* At least `count` pairs. Returns 0 or an errno value, with nothing held. */
    int (*work)(void *state, const struct buffers_load *load, size_t count);
};

/* All that this build has, ended by NULL. */
extern const struct buffers_contestant *const buffers_contestants[];
extern const char *const buffers_contestants_left_out[];

extern const struct buffers_contestant buffers_contestant_pool, buffers_contestant_pool_alloc;
extern const struct buffers_contestant buffers_contestant_pool_call;
extern const struct buffers_contestant buffers_contestant_bumpool, buffers_contestant_bumpool_quarter;
extern const struct buffers_contestant buffers_contestant_bumpool_call;
extern const struct buffers_contestant buffers_contestant_mutex;
extern const struct buffers_contestant buffers_contestant_malloc;
extern const struct buffers_contestant buffers_contestant_mimalloc;

/* A plain pool and a bucket pool, for all of bumpool's. */
void *buffers_pool_setup(const struct buffers_load *load);
void buffers_pool_teardown(void *pool);
void *buffers_buckets_setup(const struct buffers_load *load);
void buffers_buckets_teardown(void *buckets);

/* ---- cases; each prints its tables and returns an exit status, having said why ---- */

int buffers_case_size(const struct pool_options *options);
int buffers_case_mixed(const struct pool_options *options);
int buffers_case_held(const struct pool_options *options);
int buffers_case_steady(const struct pool_options *options);
int buffers_case_kept(const struct pool_options *options);
/* --pairs: nothing but that many pairs of one contestant. */
int buffers_count_pairs(const struct buffers_contestant *who, size_t size, size_t count);

/* ---- what the cases share ---- */

/* The sizes of the cases: 64 B, four times as much, and so on. */
enum { BUFFERS_SIZES = 11 };
extern const size_t buffers_sizes[BUFFERS_SIZES];

#define BUFFERS_LABEL 24
/* "64 B", "4 KiB" */
const char *buffers_size_label(char text[BUFFERS_LABEL], size_t size);

/* `count` sizes from BUFFERS_LEAST to `most`, each doubling as likely as any other; always the same. */
void buffers_mix(size_t *sizes, size_t count, size_t most);

/* The chosen contestants; the number of them. */
size_t buffers_chosen(const struct pool_options *options,
                      const struct buffers_contestant *out[BUFFERS_CONTESTANTS]);

/* A table with a line for each label and a column for each contestant. cell() prints the figure of a
 * contestant in a line into 16 bytes, and "-" where there is none. */
struct buffers_matrix {
    const char *const *labels;
    size_t label_count;
    const struct buffers_contestant *const *who;
    size_t who_count;
    void (*cell)(const void *data, size_t label, size_t who, char text[16]);
    const void *data;
};
void buffers_matrix_print(const struct buffers_matrix *matrix, const char *corner, FILE *out);

#endif
