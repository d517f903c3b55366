/* SPDX-License-Identifier: MIT
 * bumpool-bench buffers: what it costs to get buffers of differing sizes and to put them back. Options and
 * cases.
 */
#include "buffers.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(const struct pool_options *options);
} CASES[] = {
    {"size", "get one, put it back: one size at a time, 64 B to 64 MiB", buffers_case_size},
    {"mixed", "the same with sizes from 64 B on, each doubling as likely", buffers_case_mixed},
    {"held", "get 8, put them back, newest or oldest first", buffers_case_held},
    {"steady", "system calls and page faults per pair after warm-up", buffers_case_steady},
    {"kept", "what stays resident when 256 buffers are back", buffers_case_kept},
};
enum { CASE_COUNT = sizeof(CASES) / sizeof(CASES[0]), PAIRS_SIZE = 4096 };

static const char *case_name(size_t i)
{
    return CASES[i].name;
}

static const char *contestant_name(size_t i)
{
    return buffers_contestants[i]->common.name;
}

static size_t contestant_count(void)
{
    size_t n = 0;

    while (buffers_contestants[n] != NULL)
        n++;
    return n;
}

/* ---- options ---- */

static void help(FILE *out)
{
    fputs("usage: " PROGRAM " buffers [OPTION]...\n"
          "       " PROGRAM " buffers --pairs N [--only CONTESTANT] [--size N]\n\n"
          "Measures getting buffers from a bucket pool and putting them back, beside a plain pool of arenas\n"
          "of that size and other ways. As in " PROGRAM " pool all calls are real ones, but for\n"
          "what bumpool's headers have inline (not in pool-call and bumpool-call), and threads have a\n"
          "processor each where possible. Buffers are left alone, or their first and last byte is written. Ratios are to pool,\n"
          "those of pool-call and bumpool-call to pool-call, in the same round. No contestant has a cap. A\n"
          "load that cannot be had is left out and named. Targets are information: the exit status does not\n"
          "depend on speed.\n\n"
          "  --case CASE         only this case (may be given again; also CASE,CASE)\n"
          "  --only CONTESTANT   only this contestant (likewise)\n"
          "  --threads N         threads of the cases size, mixed and held, beside one (2)\n"
          "  --size N            in the cases size and steady only buffers of N bytes\n"
          "  --rounds N          measure each row N times\n"
          "  --quick             fewer and shorter rounds, every second size: under 30 s in all\n"
          "  --csv FILE          write the figures to FILE as CSV (- is standard output)\n"
          "  --pairs N           do N pairs of one contestant (bumpool) and nothing else: for a tool that\n"
          "                      counts instructions; buffers of 4096 bytes\n"
          "  --help              print this\n\n"
          "Cases:\n",
          out);
    for (size_t i = 0; i < CASE_COUNT; i++)
        fprintf(out, "  %-13s %s\n", CASES[i].name, CASES[i].summary);
    fputs("\nContestants:\n", out);
    for (size_t i = 0; buffers_contestants[i] != NULL; i++)
        fprintf(out, "  %-13s %s\n", contestant_name(i), buffers_contestants[i]->common.summary);
    for (size_t i = 0; buffers_contestants_left_out[i] != NULL; i++)
        fprintf(out, "  %-13s (left out of this build)\n", buffers_contestants_left_out[i]);
}

enum { CASE = 256, ONLY, THREADS, SIZE, ROUNDS, QUICK, CSV, PAIRS };

static const struct option LONG_OPTIONS[] = {
    {"case", required_argument, NULL, CASE},       {"only", required_argument, NULL, ONLY},
    {"threads", required_argument, NULL, THREADS}, {"size", required_argument, NULL, SIZE},
    {"rounds", required_argument, NULL, ROUNDS},   {"quick", no_argument, NULL, QUICK},
    {"csv", required_argument, NULL, CSV},         {"pairs", required_argument, NULL, PAIRS},
    {"help", no_argument, NULL, 'h'},              {NULL, 0, NULL, 0},
};

static int read_option(int c, struct pool_options *o)
{
    switch (c) {
    case CASE:
        return pool_choose(o, "case", optarg, CASE_COUNT, case_name, o->cases);
    case ONLY:
        return pool_choose(o, "contestant", optarg, contestant_count(), contestant_name, o->contestants);
    case THREADS:
        return pool_read_number("threads", optarg, THREADS_MAX, &o->threads);
    case SIZE:
        return pool_read_number("size", optarg, BUFFERS_MOST, &o->size);
    case ROUNDS:
        return pool_read_number("rounds", optarg, ROUNDS_MAX, &o->rounds);
    case PAIRS:
        return pool_read_number("pairs", optarg, SIZE_MAX / 2, &o->pairs);
    case QUICK:
        o->quick = true;
        return DONE;
    case CSV:
        o->csv_path = optarg;
        return DONE;
    case 'h':
        o->help = true;
        return DONE;
    default:
        return BAD_INPUT; /* getopt has said why */
    }
}

static int read_options(int argc, char **argv, struct pool_options *o)
{
    bool any = false;
    int c, status = DONE;

    while (status == DONE && (c = getopt_long(argc, argv, "h", LONG_OPTIONS, NULL)) != -1)
        status = read_option(c, o);
    if (status == DONE && !o->help && optind < argc) {
        complain("\"%s\" is one argument too many; see " PROGRAM " buffers --help", argv[optind]);
        status = BAD_INPUT;
    }
    for (size_t i = 0; i < CASE_COUNT; i++)
        any |= o->cases[i];
    if (!any)
        memset(o->cases, 1, sizeof(o->cases));
    return status;
}

/* ---- all of it ---- */

/* --pairs: the one contestant that was named, or bumpool. */
static int count_pairs(const struct pool_options *o)
{
    const struct buffers_contestant *who[BUFFERS_CONTESTANTS];
    size_t chosen = buffers_chosen(o, who);

    if (chosen > 1) {
        complain("--pairs is for one contestant");
        return BAD_INPUT;
    }
    return buffers_count_pairs(chosen == 1 ? who[0] : &buffers_contestant_bumpool,
                               o->size != 0 ? o->size : PAIRS_SIZE, o->pairs);
}

static int run_cases(const struct pool_options *o)
{
    struct environment environment;
    int status = DONE, one;

    environment_find(&environment);
    environment_print(&environment, o->out);
    fprintf(o->out, "processors %zu\n", pool_cpu_count());
    for (size_t i = 0; buffers_contestants_left_out[i] != NULL; i++)
        fprintf(o->out, "skipped    %s: not in this build\n", buffers_contestants_left_out[i]);
    if (o->threads > pool_cpu_count())
        fprintf(o->out, "note       %zu threads on %zu processors\n", o->threads, pool_cpu_count());
    for (size_t i = 0; i < CASE_COUNT; i++) { /* one that failed says nothing about the next */
        if (!o->cases[i])
            continue;
        one = CASES[i].run(o);
        status = status != DONE ? status : one;
        if (fflush(o->out) != 0)
            return FAILED; /* main says so */
    }
    return status;
}

int buffers_main(int argc, char **argv)
{
    struct pool_options o = {.workload = "buffers", .threads = 2};
    size_t count = contestant_count();
    bool any = false;
    int status, closing;

    o.contestants = calloc(count, sizeof(*o.contestants));
    if (o.contestants == NULL) {
        complain("not enough memory");
        return FAILED;
    }
    status = read_options(argc, argv, &o);
    if (status == DONE && o.help) {
        help(stdout);
    } else if (status == DONE && o.pairs > 0) {
        status = count_pairs(&o);
    } else if (status == DONE) {
        for (size_t i = 0; i < count; i++)
            any |= o.contestants[i];
        if (!any)
            memset(o.contestants, 1, count * sizeof(*o.contestants));
        status = pool_open_csv(&o);
        if (status == DONE)
            status = run_cases(&o);
        closing = pool_close_csv(&o);
        status = status != DONE ? status : closing;
    }
    free(o.contestants);
    return status;
}
