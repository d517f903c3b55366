/* SPDX-License-Identifier: MIT
 * The subcommand `commits`: options, inputs, cases, outputs.
 *
 * All inputs are read before anything is measured, and all output files are opened then, so that a mistake
 * costs no waiting. The repository is walked once with the recorder; what it recorded is the first trace.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "contestants.h"
#include "counters.h"
#include "gitwalk.h"
#include "record.h"
#include "rounds.h"
#include "table.h"

#define WORKLOAD "commits"
#define MAX_COMMITS 5000
#define MAX_COMMITS_QUICK 2000
#define REPLAY_ROUNDS 15
#define REPLAY_ROUNDS_QUICK 7
#define LIVE_ROUNDS 5
#define LIVE_ROUNDS_QUICK 3
#define LEAST_NS UINT64_C(20000000)
#define LEAST_NS_QUICK UINT64_C(5000000)
#define MAX_ROUNDS 10000

/* With --quick and without --max, all live passes of one contestant together should not take longer. */
#define QUICK_LIVE_NS UINT64_C(1000000000)

struct options {
    const char *repo, *record, *csv, *json, *only;
    bool walk; /* there is a repository to walk */
    const char **traces;
    size_t trace_count;
    size_t max, rounds; /* SIZE_MAX, 0: not given */
    bool quick, help;
};

struct output {
    const char *path; /* NULL: not asked for */
    FILE *file;
};

struct commits {
    struct options options;
    const struct contestant **chosen;
    size_t chosen_count;
    struct gitwalk *walk;
    struct recorder recorder;
    struct trace *traces; /* [options.trace_count] */
    struct bench_case *cases;
    struct results *results;
    size_t case_count, done_count;
    struct output csv, json, record;
    struct environment environment;
};

void commits_help(FILE *out)
{
    fputs(
        "usage: " PROGRAM " commits [--repo PATH] [--max N] [--trace FILE]... [--record FILE] [--rounds N]\n"
        "                             [--only NAME,...] [--quick] [--csv FILE] [--json FILE]\n\n"
        "Does the per-commit work of a VCS tool with each contestant's memory: over a git repository (case\n"
        "`live`), and as a replay of the recorded allocation sizes alone (`replay`, `replay:FILE`).\n\n"
        "  --repo PATH    walk this repository (without --repo and --trace: that of the current folder)\n"
        "  --max N        its newest N commits (0: all; default 5000; with --quick 2000, and fewer when\n"
        "                 they would take longer than some ten seconds)\n"
        "  --trace FILE   replay a UNITTRACE1 file, plain or compressed by xz; may be repeated\n"
        "  --record FILE  write the repository's trace\n"
        "  --rounds N     measurements per contestant (default: replay 15, live 5; with --quick 7 and 3)\n"
        "  --only NAMES   these contestants only, separated by commas\n"
        "  --quick        fewer and shorter rounds\n"
        "  --csv FILE     write the figures as CSV, --json FILE as JSON; - is standard output, and the\n"
        "                 tables go to standard error then\n"
        "  --help         this text\n\n"
        "Exit status: 0 done, 1 contestants disagree or output failed, 2 bad use or input.\n\n"
        "Contestants:\n",
        out);
    for (size_t i = 0; contestants[i] != NULL; i++)
        fprintf(out, "  %-17s %s\n", contestants[i]->name, contestants[i]->summary);
    for (size_t i = 0; contestants_left_out[i] != NULL; i++)
        fprintf(out, "  %-17s (left out of this build)\n", contestants_left_out[i]);
}

/* ---- options ---- */

static bool parse_number(const char *option, const char *text, size_t least, size_t most, size_t *out)
{
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < least || value > most) {
        complain("--%s %s: not a number from %zu to %zu", option, text, least, most);
        return false;
    }
    *out = (size_t)value;
    return true;
}

static int parse_options(int argc, char **argv, struct options *o)
{
    enum { REPO = 256, MAX, TRACE, RECORD, ROUNDS, ONLY, QUICK, CSV, JSON };
    static const struct option LONG[] = {
        {"repo", required_argument, NULL, REPO},
        {"max", required_argument, NULL, MAX},
        {"trace", required_argument, NULL, TRACE},
        {"record", required_argument, NULL, RECORD},
        {"rounds", required_argument, NULL, ROUNDS},
        {"only", required_argument, NULL, ONLY},
        {"quick", no_argument, NULL, QUICK},
        {"csv", required_argument, NULL, CSV},
        {"json", required_argument, NULL, JSON},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool good = true;
    int c;

    o->max = SIZE_MAX;
    o->traces = calloc((size_t)argc + 1, sizeof(*o->traces));
    if (o->traces == NULL) {
        complain("not enough memory");
        return FAILED;
    }
    while (good && (c = getopt_long(argc, argv, "h", LONG, NULL)) != -1) {
        switch (c) {
        case REPO: o->repo = optarg; break;
        case MAX: good = parse_number("max", optarg, 0, SIZE_MAX / 4096, &o->max); break;
        case TRACE: o->traces[o->trace_count++] = optarg; break;
        case RECORD: o->record = optarg; break;
        case ROUNDS: good = parse_number("rounds", optarg, 1, MAX_ROUNDS, &o->rounds); break;
        case ONLY: o->only = optarg; break;
        case QUICK: o->quick = true; break;
        case CSV: o->csv = optarg; break;
        case JSON: o->json = optarg; break;
        case 'h': o->help = true; return DONE;
        default: return BAD_INPUT; /* getopt has said why */
        }
    }
    if (good && optind < argc) {
        complain("unexpected argument \"%s\"; see " PROGRAM " commits --help", argv[optind]);
        good = false;
    }
    o->walk = o->repo != NULL || o->trace_count == 0;
    if (good && o->record != NULL && !o->walk) {
        complain("--record writes what a walk recorded: it needs --repo");
        good = false;
    }
    return good ? DONE : BAD_INPUT;
}

static const struct contestant *contestant_named(const char *name, size_t length)
{
    for (size_t i = 0; contestants[i] != NULL; i++) {
        if (strlen(contestants[i]->name) == length && memcmp(contestants[i]->name, name, length) == 0)
            return contestants[i];
    }
    return NULL;
}

static void complain_about_name(const char *name, size_t length)
{
    for (size_t i = 0; contestants_left_out[i] != NULL; i++) {
        if (strlen(contestants_left_out[i]) == length && memcmp(contestants_left_out[i], name, length) == 0) {
            complain("--only: %s was left out of this build", contestants_left_out[i]);
            return;
        }
    }
    complain("--only: no contestant \"%.*s\"; see " PROGRAM " commits --help", (int)length, name);
}

/* The contestants of --only, in their usual order; all without it. */
static int choose(struct commits *c)
{
    const char *only = c->options.only;
    size_t count = 0;

    while (contestants[count] != NULL)
        count++;
    c->chosen = calloc(count + 1, sizeof(*c->chosen));
    if (c->chosen == NULL) {
        complain("not enough memory");
        return FAILED;
    }
    for (const char *name = only; name != NULL; name = strchr(name, ',')) {
        size_t length;

        name += *name == ',';
        length = strcspn(name, ",");
        if (contestant_named(name, length) == NULL) {
            complain_about_name(name, length);
            return BAD_INPUT;
        }
    }
    for (size_t i = 0; i < count; i++) {
        bool wanted = only == NULL;

        for (const char *name = only; name != NULL && !wanted; name = strchr(name, ',')) {
            name += *name == ',';
            wanted = contestant_named(name, strcspn(name, ",")) == contestants[i];
        }
        if (wanted)
            c->chosen[c->chosen_count++] = contestants[i];
    }
    return DONE;
}

/* ---- inputs ---- */

/* The file's name without folders and the usual endings, and with a number when it was there before. */
static char *case_name(const struct commits *c, const char *path)
{
    static const char *const ENDINGS[] = {".xz", ".unittrace", ".trace"}; /* in the order they come off */
    const char *base = strrchr(path, '/');
    size_t length, same = 1;
    char *name;

    base = base != NULL ? base + 1 : path;
    length = strlen(base);
    for (size_t i = 0; i < sizeof(ENDINGS) / sizeof(ENDINGS[0]); i++) {
        size_t ending = strlen(ENDINGS[i]);

        if (length > ending && memcmp(base + length - ending, ENDINGS[i], ending) == 0)
            length -= ending;
    }
    if (asprintf(&name, "replay:%.*s", (int)length, base) < 0)
        return NULL;
    for (size_t i = 0; i < c->case_count; i++) {
        if (strcmp(c->results[i].name, name) == 0) {
            free(name);
            if (asprintf(&name, "replay:%.*s-%zu", (int)length, base, ++same) < 0)
                return NULL;
            i = (size_t)-1; /* look again, from the first */
        }
    }
    return name;
}

/* Takes `name` over. */
static int add_case(struct commits *c, char *name, const char *source, struct gitwalk *walk,
                    const struct trace *trace, uint64_t expected)
{
    if (name == NULL || (walk == NULL && !replay_expected(trace, &expected))) {
        complain("%s: not enough memory", source);
        free(name);
        return BAD_INPUT;
    }
    c->results[c->case_count] = (struct results){.name = name, .source = source, .unit = "commit"};
    c->cases[c->case_count] = (struct bench_case){name, source, walk, trace, expected};
    c->case_count++;
    return DONE;
}

/* Walks the repository with the recorder, from scratch. */
static int record(struct commits *c, uint64_t *expected, uint64_t *ns)
{
    uint64_t start = counter_time();
    int status;

    trace_free(&c->recorder.builder.trace);
    memset(&c->recorder, 0, sizeof(c->recorder));
    progress("recording %zu commits", gitwalk_commits(c->walk));
    status = gitwalk_pass(c->walk, &recording, &c->recorder, expected);
    progress_clear();
    *ns = counter_time() - start;
    return status == DONE ? DONE : BAD_INPUT;
}

static int read_repository(struct commits *c)
{
    const struct options *o = &c->options;
    size_t max = o->max != SIZE_MAX ? o->max : o->quick ? MAX_COMMITS_QUICK : MAX_COMMITS;
    const struct trace *trace = &c->recorder.builder.trace;
    uint64_t expected = 0, ns = 0;
    int status = gitwalk_open(o->repo, max, &c->walk);

    if (status != DONE)
        return status;
    status = record(c, &expected, &ns);
    if (status == DONE && o->quick && o->max == SIZE_MAX) {
        /* count in a child: two passes; warm up: one; rounds */
        uint64_t passes = 3 + (o->rounds > 0 ? o->rounds : LIVE_ROUNDS_QUICK);
        size_t commits = gitwalk_commits(c->walk);

        if (ns > QUICK_LIVE_NS / passes) {
            size_t fewer = (size_t)((double)commits * (double)(QUICK_LIVE_NS / passes) / (double)ns);

            gitwalk_cut(c->walk, fewer > 0 ? fewer : 1);
            status = record(c, &expected, &ns);
        }
    }
    if (status != DONE)
        return status;
    status = add_case(c, strdup("live"), gitwalk_path(c->walk), c->walk, trace, expected);
    if (status != DONE)
        return status;
    c->results[0].note = gitwalk_is_shallow(c->walk)
                             ? "(faults and system calls include libgit2's own; a shallow clone)"
                             : "(faults and system calls include libgit2's own)";
    return add_case(c, strdup("replay"), gitwalk_path(c->walk), NULL, trace, 0);
}

static int read_inputs(struct commits *c)
{
    size_t count = c->options.trace_count;
    int status = DONE;

    c->traces = calloc(count + 1, sizeof(*c->traces));
    c->cases = calloc(count + 2, sizeof(*c->cases));
    c->results = calloc(count + 2, sizeof(*c->results));
    if (c->traces == NULL || c->cases == NULL || c->results == NULL) {
        complain("not enough memory");
        return FAILED;
    }
    if (c->options.walk)
        status = read_repository(c);
    for (size_t i = 0; i < count && status == DONE; i++) {
        const char *path = c->options.traces[i];

        status = trace_read(path, &c->traces[i]);
        if (status == DONE)
            status = add_case(c, case_name(c, path), path, NULL, &c->traces[i], 0);
    }
    return status;
}

/* ---- outputs ---- */

static int open_output(struct output *output, const char *path)
{
    output->path = path;
    if (path == NULL)
        return DONE;
    output->file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    if (output->file != NULL)
        return DONE;
    complain("%s: %s", path, strerror(errno));
    return FAILED;
}

static int open_outputs(struct commits *c)
{
    const struct options *o = &c->options;
    const char *paths[] = {o->csv, o->json, o->record};
    int status, on_stdout = 0;

    for (size_t i = 0; i < 3; i++)
        on_stdout += paths[i] != NULL && strcmp(paths[i], "-") == 0;
    if (on_stdout > 1) {
        complain("only one of --csv, --json and --record can be standard output");
        return BAD_INPUT;
    }
    status = open_output(&c->csv, o->csv);
    if (status == DONE)
        status = open_output(&c->json, o->json);
    if (status == DONE)
        status = open_output(&c->record, o->record);
    return status;
}

/* A full disk may show itself only here. Standard output is left open: main looks after it. */
static int close_output(struct output *output)
{
    bool bad;

    if (output->file == NULL)
        return DONE;
    errno = 0;
    bad = ferror(output->file) || fflush(output->file) != 0;
    if (output->file != stdout && fclose(output->file) != 0)
        bad = true;
    else if (output->file == stdout)
        clearerr(stdout); /* said once is enough */
    output->file = NULL;
    if (!bad)
        return DONE;
    complain("cannot write %s: %s", strcmp(output->path, "-") == 0 ? "standard output" : output->path,
             errno != 0 ? strerror(errno) : "an earlier write failed");
    return FAILED;
}

static int write_record(struct commits *c)
{
    if (c->record.file == NULL)
        return DONE;
    (void)trace_write(&c->recorder.builder.trace, c->record.file);
    return close_output(&c->record);
}

static int write_figures(struct commits *c)
{
    int status = DONE, other;

    if (c->csv.file != NULL)
        csv_write(WORKLOAD, c->results, c->done_count, c->csv.file);
    if (c->json.file != NULL)
        json_write(WORKLOAD, &c->environment, c->results, c->done_count, c->json.file);
    status = close_output(&c->csv);
    other = close_output(&c->json);
    return status != DONE ? status : other;
}

/* ---- all of it ---- */

static int run_cases(struct commits *c)
{
    const struct options *o = &c->options;
    bool to_stdout =
        c->csv.file == stdout || c->json.file == stdout || (o->record != NULL && strcmp(o->record, "-") == 0);
    FILE *out = to_stdout ? stderr : stdout;

    environment_find(&c->environment);
    environment_print(&c->environment, out);
    for (size_t i = 0; i < c->case_count; i++) {
        bool live = c->cases[i].walk != NULL;
        size_t usual = live ? (o->quick ? LIVE_ROUNDS_QUICK : LIVE_ROUNDS)
                            : (o->quick ? REPLAY_ROUNDS_QUICK : REPLAY_ROUNDS);
        struct method method = {c->chosen, c->chosen_count, o->rounds > 0 ? o->rounds : usual,
                                o->quick ? LEAST_NS_QUICK : LEAST_NS};
        int status = run_case(&c->cases[i], &method, &c->results[i]);

        if (status != DONE)
            return status;
        table_print(&c->results[i], out);
        if (fflush(out) != 0)
            return FAILED; /* main says so */
        c->done_count++;
    }
    return DONE;
}

static void clean_up(struct commits *c)
{
    for (size_t i = 0; i < c->case_count; i++) {
        free(c->results[i].name);
        free(c->results[i].rows);
    }
    for (size_t i = 0; c->traces != NULL && i < c->options.trace_count; i++)
        trace_free(&c->traces[i]);
    trace_free(&c->recorder.builder.trace);
    gitwalk_close(c->walk);
    free(c->traces);
    free(c->cases);
    free(c->results);
    free(c->chosen);
    free(c->options.traces);
}

int commits_main(int argc, char **argv)
{
    struct commits c = {0};
    int status, closing;

    status = parse_options(argc, argv, &c.options);
    if (status == DONE && c.options.help) {
        commits_help(stdout);
        clean_up(&c);
        return DONE;
    }
    if (status == DONE)
        status = choose(&c);
    if (status == DONE)
        status = read_inputs(&c);
    if (status == DONE)
        status = open_outputs(&c);
    if (status == DONE)
        status = write_record(&c);
    if (status == DONE) {
        pin_to_cpu();
        status = run_cases(&c);
    }
    if (status == DONE) {
        status = write_figures(&c);
    } else { /* what could be opened is closed; its emptiness is no news */
        closing = close_output(&c.csv) | close_output(&c.json) | close_output(&c.record);
        (void)closing;
    }
    clean_up(&c);
    return status;
}
