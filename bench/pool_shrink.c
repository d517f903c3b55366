/* SPDX-License-Identifier: MIT
 * The case shrink: a pool that was busy is left alone. How long until its memory is the system's again?
 */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bumpool.h>

#include "counters.h"

enum {
    ARENA_BYTES = 4 << 20,
    ARENAS = 128, /* 512 MiB */
    ARENAS_QUICK = 32,
    RETAIN_MS = 200,
    SAMPLE_MS = 50,
    LONGEST_MS = 30000,
    LONGEST_MS_QUICK = 8000,
    SHOW_MS = 2000, /* a line at least as often */
};
#define MIB (1 << 20)
#define STEP (4.0 * MIB)  /* worth a line */
#define NEAR (16.0 * MIB) /* of what was resident at the start */

/* Bytes resident, or -1. No stdio, whose buffers are memory too. */
static double resident(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    const char *space;

    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return -1;
    text[length] = '\0';
    space = strchr(text, ' ');
    return space != NULL ? (double)strtoul(space, NULL, 10) * (double)sysconf(_SC_PAGESIZE) : -1;
}

/* Has `count` arenas out at a time, and writes to each of their pages. */
static int work(bp_pool *pool, size_t count)
{
    bp_arena *arenas[ARENAS];
    size_t out = 0;
    int error = 0;

    while (out < count && error == 0) {
        char *block;

        error = bp_pool_checkout(pool, &arenas[out]);
        if (error != 0)
            break;
        block = bp_arena_alloc(arenas[out++], ARENA_BYTES - 64);
        if (block == NULL)
            error = ENOMEM;
        else
            memset(block, 1, ARENA_BYTES - 64);
    }
    while (out > 0) {
        int bad = bp_pool_give_back(pool, arenas[--out]);

        error = error != 0 ? error : bad;
    }
    return error;
}

/* Looks on, calling nothing of the library. The ms until memory was near `start`; -1: that never was. */
static long watch(double start, uint64_t began, unsigned long longest, FILE *out)
{
    static const struct timespec sample = {0, SAMPLE_MS * 1000000L};
    unsigned long ms = 0, shown_ms = 0;
    double now, shown = 0;

    fprintf(out, "%10s  %8s\n", "ms", "RSS MiB");
    while (ms <= longest) {
        now = resident();
        if (now > shown + STEP || now < shown - STEP || ms >= shown_ms + SHOW_MS || now <= start + NEAR) {
            fprintf(out, "%10lu  %8.1f\n", ms, now / MIB);
            shown = now;
            shown_ms = ms;
        }
        if (now <= start + NEAR)
            return (long)ms;
        nanosleep(&sample, NULL);
        ms = (unsigned long)((counter_time() - began) / 1000000);
    }
    return -1;
}

int pool_case_shrink(const struct pool_options *options)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    size_t arenas = options->quick ? ARENAS_QUICK : ARENAS, mib = arenas * (ARENA_BYTES / MIB);
    unsigned long longest = options->quick ? LONGEST_MS_QUICK : LONGEST_MS;
    double start, peak;
    bp_pool *pool;
    uint64_t began;
    long took;
    int error;

    if (!pool_chosen(options, "bumpool"))
        return pool_nobody("shrink", options);
    config.arena_size = ARENA_BYTES;
    config.max_idle = BP_UNLIMITED;
    config.max_idle_bytes = BP_UNLIMITED;
    config.retain_ns = (uint64_t)RETAIN_MS * 1000000;
    config.flags = BP_POOL_REAPER;
    error = bp_pool_create(bp_backing_mmap(), &config, &pool);
    if (error != 0) {
        complain("shrink: %s", strerror(error));
        return FAILED;
    }
    progress_clear();
    start = resident();
    if (start < 0) {
        fprintf(options->out, "\nshrink: skipped, /proc/self/statm cannot be read\n");
        return bp_pool_destroy(pool) == 0 ? DONE : FAILED;
    }
    error = work(pool, arenas);
    began = counter_time();
    peak = resident();
    if (error != 0) {
        complain("shrink: %s", strerror(error));
        (void)bp_pool_destroy(pool);
        return FAILED;
    }
    fprintf(options->out,
            "\nshrink: %zu MiB touched and given back, then the process does nothing; reaper, retain %d ms\n",
            mib, RETAIN_MS);
    took = watch(start, began, longest, options->out);
    fprintf(options->out, "RSS: %.1f MiB at the start, %.1f MiB at most; ", start / MIB, peak / MIB);
    if (took >= 0)
        fprintf(options->out, "within %.0f MiB of the start after %ld ms\n", NEAR / MIB, took);
    else
        fprintf(options->out, "not within %.0f MiB of the start after %lu ms\n", NEAR / MIB, longest);
    if (options->csv != NULL)
        fprintf(options->csv, "pool,shrink:%zu MiB,bumpool,peak_rss_mib,%.1f,%.1f,%.1f\n", mib, peak / MIB,
                peak / MIB, peak / MIB);
    if (options->csv != NULL && took >= 0)
        fprintf(options->csv, "pool,shrink:%zu MiB,bumpool,ms_to_start,%ld,%ld,%ld\n", mib, took, took, took);
    if (bp_pool_destroy(pool) == 0)
        return DONE;
    complain("shrink: the pool cannot be destroyed");
    return FAILED;
}
