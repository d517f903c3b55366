/* SPDX-License-Identifier: MIT
 * The cases that take time: one size, mixed sizes, several buffers held.
 */
#include "buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 11, ROUNDS_QUICK = 3, MIX = 4096, WORDS = VARIANT - BUFFERS_LABEL - 1 };
#define TARGET 1.50 /* of a plain pool's pair */

/* One line of a table. */
struct line {
    char label[BUFFERS_LABEL];
    struct buffers_load load;
};

/* One table: the same lines for all contestants. */
struct group {
    const struct line *lines;
    size_t line_count;
    const struct buffers_contestant *who[BUFFERS_CONTESTANTS];
    size_t who_count;
    struct pool_table table; /* its rows: line by line, the contestants in order */
    struct pool_run *runs;
};

static int work(const struct pool_run *run, void *own, size_t count)
{
    const struct buffers_contestant *who = (const struct buffers_contestant *)(const void *)run->who;

    return who->work(own, run->load, count);
}

int buffers_count_pairs(const struct buffers_contestant *who, size_t size, size_t count)
{
    struct buffers_load load = {.sizes = &size, .most = size, .depth = 1, .threads = 1};
    struct pool_run run = {.who = &who->common, .work = work, .load = &load};
    int error;

    run.state = who->setup(&load);
    error = run.state != NULL ? pool_run_once(&run, count) : errno;
    if (run.state != NULL)
        who->teardown(run.state);
    if (error == 0)
        return DONE;
    complain("%s: %s", who->common.name, strerror(error));
    return FAILED;
}

/* ---- making a table ---- */

static size_t find(const struct group *g, const char *contestant)
{
    for (size_t i = 0; i < g->who_count; i++)
        if (strcmp(g->who[i]->common.name, contestant) == 0)
            return i;
    return NO_ROW;
}

static bool add(struct group *g, const char *words, const struct line *line, size_t i)
{
    const struct buffers_contestant *who = g->who[i];
    struct pool_run *run = &g->runs[g->table.row_count];
    size_t first = g->table.row_count - i, reference = find(g, who->reference), row;
    struct pool_row *added;
    char variant[VARIANT];

    snprintf(variant, sizeof(variant), "%s %s", words, line->label);
    row = pool_table_add(&g->table, who->common.name, variant);
    if (row == NO_ROW)
        return false;
    added = &g->table.rows[row];
    added->base[0] = reference != NO_ROW ? first + reference : NO_ROW;
    added->base[1] = find(g, "bumpool") != NO_ROW ? first + find(g, "bumpool") : NO_ROW;
    *run = (struct pool_run){.who = &who->common, .work = work, .load = &line->load};
    run->threads = line->load.threads;
    run->depth = line->load.depth;
    run->batch = line->load.mask > 0 ? line->load.mask + 1 : 0;
    run->state = who->setup(&line->load);
    if (run->state == NULL)
        added->error = errno != 0 ? errno : ENOMEM;
    return true;
}

static void group_free(struct group *g)
{
    for (size_t i = 0; i < g->table.row_count; i++)
        if (g->runs[i].state != NULL)
            g->who[i % g->who_count]->teardown(g->runs[i].state);
    pool_table_free(&g->table);
    free(g->runs);
}

/* ---- printing it ---- */

static void number_into(char text[16], struct figure f, int digits)
{
    if (f.known)
        snprintf(text, 16, "%.*f", digits, f.median);
    else
        snprintf(text, 16, "-");
}

static void ns_cell(const void *data, size_t label, size_t who, char text[16])
{
    const struct group *g = data;

    number_into(text, pool_table_value(&g->table, label * g->who_count + who), 1);
}

static void ratio_cell(const void *data, size_t label, size_t who, char text[16])
{
    const struct group *g = data;

    number_into(text, pool_table_ratio(&g->table, label * g->who_count + who, 0), 2);
}

/* The least and the greatest ratio of a contestant in all lines; *at is the line of the greatest. */
static bool range(const struct group *g, size_t who, size_t which, double *least, double *most, size_t *at)
{
    bool any = false;

    for (size_t k = 0; k < g->line_count; k++) {
        struct figure f = pool_table_ratio(&g->table, k * g->who_count + who, which);

        if (!f.known)
            continue;
        if (!any || f.median < *least)
            *least = f.median;
        if (!any || f.median > *most) {
            *most = f.median;
            *at = k;
        }
        any = true;
    }
    return any;
}

static void print_ranges(const struct group *g, FILE *out)
{
    double least = 0, most = 0;
    bool any = false;
    size_t at = 0;

    for (size_t i = 0; i < g->who_count; i++) {
        if (i == find(g, "bumpool") || !range(g, i, 1, &least, &most, &at))
            continue;
        fprintf(out, "%s %s %.2f .. %.2f", any ? "," : "x bumpool:", g->who[i]->common.name, least, most);
        any = true;
    }
    if (any)
        fputc('\n', out);
}

static void print_targets(const struct group *g, FILE *out)
{
    static const char *const names[] = {"bumpool", "quarter", "bumpool-call"};
    double least = 0, most = 0;
    size_t at = 0;

    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        size_t i = find(g, names[n]);

        if (i != NO_ROW && range(g, i, 0, &least, &most, &at))
            fprintf(out, "target: %s, x %s <= %.2f: %.2f at most (%s) %s\n", names[n], g->who[i]->reference,
                    TARGET, most, g->lines[at].label, most <= TARGET ? "yes" : "no");
    }
}

static void print(const struct group *g, const char *words, const struct pool_options *options)
{
    const char *labels[BUFFERS_SIZES + 1];
    struct buffers_matrix matrix = {labels, g->line_count, g->who, g->who_count, ns_cell, g};

    progress_clear();
    fprintf(options->out, "\n%s: %s; medians of %zu round%s\n", g->table.name, words, g->table.rounds,
            g->table.rounds == 1 ? "" : "s");
    for (size_t k = 0; k < g->line_count; k++)
        labels[k] = g->lines[k].label;
    buffers_matrix_print(&matrix, "cpu ns per pair", options->out);
    matrix.cell = ratio_cell;
    buffers_matrix_print(&matrix, "x pool, pool-call", options->out);
    print_ranges(g, options->out);
    for (size_t i = 0; i < g->table.row_count; i++)
        if (g->table.rows[i].error != 0)
            fprintf(options->out, "refused: %s, %s: %s\n", g->table.rows[i].contestant,
                    g->lines[i / g->who_count].label, strerror(g->table.rows[i].error));
    print_targets(g, options->out);
    pool_table_csv(&g->table, options);
}

/* ---- measuring it ---- */

static int measure(const char *name, const char *words, const struct line *lines, size_t count,
                   const struct pool_options *options)
{
    struct group g = {.lines = lines, .line_count = count};
    int status = DONE;

    g.who_count = buffers_chosen(options, g.who);
    g.table = (struct pool_table){.name = name, .value_metric = "cpu_ns_per_pair", .other_title = "wall ns",
                                  .other_metric = "wall_ns_per_pair", .ratio_title = {"x pool", "x bumpool"},
                                  .ratio_metric = {"ratio_to_pool", "ratio_to_bumpool"}, .refusals = true};
    g.table.rounds = pool_rounds(options, ROUNDS, ROUNDS_QUICK);
    g.runs = calloc(count * g.who_count, sizeof(*g.runs));
    if (g.runs == NULL) {
        complain("not enough memory");
        return FAILED;
    }
    for (size_t k = 0; k < count && status == DONE; k++)
        for (size_t i = 0; i < g.who_count && status == DONE; i++)
            status = add(&g, words, &lines[k], i) ? DONE : FAILED;
    if (status == DONE)
        status = pool_measure_rows(&g.table, g.runs, false, options);
    if (status == DONE)
        print(&g, words, options);
    group_free(&g);
    return status;
}

/* The same lines with one thread and several, untouched and written. */
static int measure_all(const char *name, const char *order, struct line *lines, size_t count,
                       const struct pool_options *options)
{
    static const char *const touches[] = {"untouched", "ends written"};
    int status = DONE;

    for (size_t touch = 0; touch < 2; touch++) {
        size_t threads = 1;

        while (status == DONE) {
            char words[WORDS];

            snprintf(words, sizeof(words), "%zu thread%s %s%s", threads, threads == 1 ? "" : "s",
                     touches[touch], order);
            for (size_t k = 0; k < count; k++) {
                lines[k].load.threads = threads;
                lines[k].load.touch = touch == 0 ? TOUCH_NOTHING : TOUCH_ENDS;
            }
            status = measure(name, words, lines, count, options);
            if (threads == options->threads)
                break;
            threads = options->threads;
        }
    }
    return status;
}

static void one_size(struct line *line, const size_t *size, size_t depth)
{
    buffers_size_label(line->label, *size);
    line->load = (struct buffers_load){.sizes = size, .most = *size, .depth = depth};
}

/* sizes[MIX] */
static void mixed_sizes(struct line *line, size_t *sizes, size_t most, size_t depth)
{
    char text[BUFFERS_LABEL];

    buffers_mix(sizes, MIX, most);
    snprintf(line->label, sizeof(line->label), "64 B .. %.12s", buffers_size_label(text, most));
    line->load = (struct buffers_load){.sizes = sizes, .mask = MIX - 1, .most = most, .depth = depth};
}

int buffers_case_size(const struct pool_options *options)
{
    struct line lines[BUFFERS_SIZES] = {{"", {0}}};
    size_t count = 0;

    if (options->size != 0)
        one_size(&lines[count++], &options->size, 1);
    for (size_t i = 0; i < BUFFERS_SIZES && options->size == 0; i += options->quick ? 2 : 1)
        one_size(&lines[count++], &buffers_sizes[i], 1);
    return measure_all("size", "", lines, count, options);
}

int buffers_case_mixed(const struct pool_options *options)
{
    static size_t sizes[3][MIX];
    struct line lines[3] = {{"", {0}}};

    mixed_sizes(&lines[0], sizes[0], (size_t)64 << 10, 1);
    mixed_sizes(&lines[1], sizes[1], (size_t)1 << 20, 1);
    mixed_sizes(&lines[2], sizes[2], BUFFERS_MOST, 1);
    return measure_all("mixed", "", lines, 3, options);
}

int buffers_case_held(const struct pool_options *options)
{
    static const size_t some[] = {256, (size_t)4 << 10, (size_t)64 << 10, (size_t)1 << 20};
    enum { SOME = sizeof(some) / sizeof(some[0]) };
    static size_t sizes[MIX];
    int status = DONE;

    for (size_t order = 0; order < 2 && status == DONE; order++) {
        struct line lines[SOME + 1] = {{"", {0}}};

        for (size_t i = 0; i < SOME; i++)
            one_size(&lines[i], &some[i], BUFFERS_HELD);
        mixed_sizes(&lines[SOME], sizes, (size_t)1 << 20, BUFFERS_HELD);
        for (size_t i = 0; i <= SOME; i++)
            lines[i].load.oldest_first = order == 1;
        status = measure_all("held", order == 0 ? " newest first" : " oldest first", lines, SOME + 1,
                             options);
    }
    return status;
}
