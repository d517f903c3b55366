/* SPDX-License-Identifier: MIT
 * What the programs of this folder share.
 *
 * Each does one thing wrong when its first argument is "wrong", and the same work right otherwise: then it
 * ends with 0 and has said nothing. The head of each tells the misuse in its second line, and then what
 * has to be seen in each mode of tests/check_controls.sh: "no" where the mode cannot see it, else how
 * ("at once", "later", "told", or "error", see there) and a regular expression for standard error.
 */
#ifndef MISUSE_H
#define MISUSE_H

#include <bumpool.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wrong;

static inline void misuse_begin(int argc, char **argv)
{
    wrong = argc > 1 && strcmp(argv[1], "wrong") == 0;
}

/* Comes right after the misuse: whoever reads this line knows that the misuse itself went unseen. */
static inline void misuse_done(void)
{
    puts("done");
    fflush(stdout);
}

/* A number that the compiler knows nothing about, so that it neither warns nor optimises. */
static inline size_t opaque(size_t n)
{
    volatile size_t v = n;

    return v;
}

/* The same for an address. */
static inline void *opaque_pointer(void *p)
{
    void *volatile v = p;

    return v;
}

/* For a call that has to work before the misuse can be tried. Its failure is none of the misuse's. */
static inline void must(int rc, const char *call, int line)
{
    if (rc != 0) {
        printf("line %d: %s: %s\n", line, call, strerror(rc));
        exit(3);
    }
}
#define MUST(call) must((call), #call, __LINE__)

static inline bp_pool *new_pool(const char *name)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    bp_pool *pool;

    config.name = name;
    MUST(bp_pool_create(NULL, &config, &pool));
    return pool;
}

static inline bp_arena *new_arena(void)
{
    bp_arena *a;

    MUST(bp_arena_create(bp_backing_mmap(), NULL, &a));
    return a;
}

static inline bp_buckets *new_buckets(const char *name)
{
    struct bp_buckets_config config = BP_BUCKETS_CONFIG_INIT;
    bp_buckets *b;

    config.name = name;
    MUST(bp_buckets_create(NULL, &config, &b));
    return b;
}

/* A block of `size` bytes, as dirty as it comes. */
static inline char *new_block(bp_arena *a, size_t size)
{
    char *p = bp_arena_alloc(a, opaque(size));

    MUST(p == NULL ? ENOMEM : 0);
    return opaque_pointer(p);
}

#endif
