/* SPDX-License-Identifier: MIT
 * bumpool-bench pool: what it costs to take things from a pool and to put them back. Options and cases.
 */
#include "pool.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*run)(const struct pool_options *options);
} CASES[] = {
    {"pair", "take one, put it back: in one thread, and in N threads at once", pool_case_pair},
    {"held", "take 16, put them back, newest or oldest first; 1 and N threads", pool_case_held},
    {"share", "N threads and one thing: try again until it is there, or wait for it", pool_case_share},
    {"handoff", "from giving the only arena back to the thread that waits", pool_case_handoff},
    {"idle", "a pair while 1 to 100000 arenas lie idle", pool_case_idle},
    {"pools", "a pair in each of 1, 8, 64 pools in turn", pool_case_pools},
    {"order", "32 threads that wait are served in order of arrival, or exit status 1", pool_case_order},
    {"shrink", "an idle process with the reaper gets its memory back", pool_case_shrink},
};
enum { CASE_COUNT = sizeof(CASES) / sizeof(CASES[0]) };

/* ---- what the cases ask ---- */

static size_t contestant_count(void)
{
    size_t n = 0;

    while (pool_contestants[n] != NULL)
        n++;
    return n;
}

bool pool_chosen(const struct pool_options *options, const char *contestant)
{
    for (size_t i = 0; pool_contestants[i] != NULL; i++)
        if (strcmp(pool_contestants[i]->name, contestant) == 0)
            return options->contestants[i];
    return false;
}

size_t pool_chosen_for(const struct pool_options *options, unsigned in_case,
                       const struct pool_contestant *out[], size_t room)
{
    size_t n = 0;

    for (size_t i = 0; pool_contestants[i] != NULL && n < room; i++)
        if (options->contestants[i] && (pool_contestants[i]->cases & in_case) != 0)
            out[n++] = pool_contestants[i];
    return n;
}

size_t pool_rounds(const struct pool_options *options, size_t usual, size_t quick)
{
    return options->rounds > 0 ? options->rounds : options->quick ? quick : usual;
}

int pool_nobody(const char *name, const struct pool_options *options)
{
    fprintf(options->out, "\n%s: none of the chosen contestants takes part\n", name);
    return DONE;
}

/* ---- options ---- */

static void help(FILE *out)
{
    fputs("usage: " PROGRAM " pool [OPTION]...\n"
          "       " PROGRAM " pool --pairs N [--only CONTESTANT]\n\n"
          "Measures taking an arena from a pool and giving it back beside other ways to keep things for\n"
          "reuse. Ratios are to another row of the same round. All contestants run the same loops, on\n"
          "threads made for it, each on a processor of its own where possible. All calls are real ones,\n"
          "into shared libraries (through the PLT, or a pointer) or to functions of this program that are\n"
          "not inlined; only bumpool and bumpool-wait have inline what bumpool's headers have inline.\n"
          "The first word of everything taken is read. Targets are information: the exit status does not\n"
          "depend on speed.\n\n"
          "  --case CASE         only this case (may be given again; also CASE,CASE)\n"
          "  --only CONTESTANT   only this contestant (likewise)\n"
          "  --threads N         threads of the cases pair, held and share (2)\n"
          "  --rounds N          measure each row N times\n"
          "  --services N        of the case order (100000; 3000 with --quick)\n"
          "  --quick             fewer and shorter rounds, less memory: under 20 s in all\n"
          "  --csv FILE          write the figures to FILE as CSV (- is standard output)\n"
          "  --pairs N           do N pairs of one contestant (bumpool) and nothing else: for a tool that\n"
          "                      counts instructions\n"
          "  --help              print this\n\n"
          "Cases:\n",
          out);
    for (size_t i = 0; i < CASE_COUNT; i++)
        fprintf(out, "  %-13s %s\n", CASES[i].name, CASES[i].summary);
    fputs("\nContestants:\n", out);
    for (size_t i = 0; pool_contestants[i] != NULL; i++)
        fprintf(out, "  %-13s %s\n", pool_contestants[i]->name, pool_contestants[i]->summary);
    for (size_t i = 0; pool_contestants_left_out[i] != NULL; i++)
        fprintf(out, "  %-13s (left out of this build)\n", pool_contestants_left_out[i]);
}

static const char *case_name(size_t i)
{
    return CASES[i].name;
}

static const char *contestant_name(size_t i)
{
    return pool_contestants[i]->name;
}

enum { CASE = 256, ONLY, THREADS, ROUNDS, SERVICES, QUICK, CSV, PAIRS };

static const struct option LONG_OPTIONS[] = {
    {"case", required_argument, NULL, CASE},         {"only", required_argument, NULL, ONLY},
    {"threads", required_argument, NULL, THREADS},   {"rounds", required_argument, NULL, ROUNDS},
    {"services", required_argument, NULL, SERVICES}, {"quick", no_argument, NULL, QUICK},
    {"csv", required_argument, NULL, CSV},           {"pairs", required_argument, NULL, PAIRS},
    {"help", no_argument, NULL, 'h'},                {NULL, 0, NULL, 0},
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
    case ROUNDS:
        return pool_read_number("rounds", optarg, ROUNDS_MAX, &o->rounds);
    case SERVICES:
        return pool_read_number("services", optarg, 1000000000, &o->services);
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
        complain("\"%s\" is one argument too many; see " PROGRAM " pool --help", argv[optind]);
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
    const struct pool_contestant *who = NULL;

    for (size_t i = 0; pool_contestants[i] != NULL; i++) {
        if (!o->contestants[i])
            continue;
        if (who != NULL) {
            complain("--pairs is for one contestant");
            return BAD_INPUT;
        }
        who = pool_contestants[i];
    }
    for (size_t i = 0; who == NULL; i++)
        if (strcmp(pool_contestants[i]->name, "bumpool") == 0)
            who = pool_contestants[i];
    if (who->pairs == NULL) {
        complain("%s: has no pairs", who->name);
        return BAD_INPUT;
    }
    return pool_count_pairs(who, o->pairs);
}

static int run_cases(const struct pool_options *o)
{
    struct environment environment;
    int status = DONE, one;

    environment_find(&environment);
    environment_print(&environment, o->out);
    fprintf(o->out, "processors %zu\n", pool_cpu_count());
    for (size_t i = 0; pool_contestants_left_out[i] != NULL; i++)
        fprintf(o->out, "skipped    %s: not in this build\n", pool_contestants_left_out[i]);
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

int pool_main(int argc, char **argv)
{
    struct pool_options o = {.workload = "pool", .threads = 2};
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
