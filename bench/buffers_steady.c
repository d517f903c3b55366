/* SPDX-License-Identifier: MIT
 * The cases that count: system calls and page faults in steady state, and memory kept while idle. Each
 * contestant does each load in a child process of its own; see counters.h.
 */
#include "buffers.h"

#include <errno.h>
#include <string.h>

#include "counters.h"

enum { PAIRS = 512, MIX = 1024, LINES = BUFFERS_SIZES + 2, PASSES = 4 };

struct child {
    struct job job; /* first: a job is cast back */
    const struct buffers_contestant *who;
    const struct buffers_load *load;
    size_t pairs;
    void *state;
};

/* What a child found. */
struct counted {
    bool refused;
    struct child_counts counts;
};

struct counting {
    const char *name;
    const struct buffers_contestant *who[BUFFERS_CONTESTANTS];
    size_t who_count, line_count;
    char labels[LINES][BUFFERS_LABEL];
    struct buffers_load loads[LINES];
    size_t pairs[LINES];
    struct counted found[LINES][BUFFERS_CONTESTANTS];
};

/* No message: that a load cannot be had is a result, said with the table. */
static int child_setup(struct job *job)
{
    struct child *c = (struct child *)job;

    c->state = c->who->setup(c->load);
    return c->state != NULL ? DONE : FAILED;
}

static int child_pass(struct job *job)
{
    struct child *c = (struct child *)job;

    return c->who->work(c->state, c->load, c->pairs) == 0 ? DONE : FAILED;
}

static void count(struct counting *c, int warm_up_passes)
{
    for (size_t k = 0; k < c->line_count; k++) {
        for (size_t i = 0; i < c->who_count; i++) {
            struct child child = {{child_setup, child_pass, warm_up_passes}, c->who[i], &c->loads[k],
                                  c->pairs[k], NULL};

            progress("%s: %s: %s", c->name, c->labels[k], c->who[i]->common.name);
            c->found[k][i].refused = count_in_child(&child.job, &c->found[k][i].counts) != DONE;
        }
    }
}

static void print(const struct counting *c, const char *corner,
                  void (*cell)(const void *data, size_t label, size_t who, char text[16]),
                  const struct pool_options *options)
{
    const char *labels[LINES];
    struct buffers_matrix matrix = {labels, c->line_count, c->who, c->who_count, cell, c};

    for (size_t k = 0; k < c->line_count; k++)
        labels[k] = c->labels[k];
    buffers_matrix_print(&matrix, corner, options->out);
}

static void print_refusals(const struct counting *c, FILE *out)
{
    for (size_t k = 0; k < c->line_count; k++)
        for (size_t i = 0; i < c->who_count; i++)
            if (c->found[k][i].refused)
                fprintf(out, "refused: %s, %s\n", c->who[i]->common.name, c->labels[k]);
}

static void csv(const struct counting *c, size_t k, size_t i, const char *metric, double value,
                const struct pool_options *options)
{
    if (options->csv != NULL)
        fprintf(options->csv, "%s,%s:%s,%s,%s,%.4f,%.4f,%.4f\n", options->workload, c->name, c->labels[k],
                c->who[i]->common.name, metric, value, value, value);
}

/* "0" is none at all. */
static void rate_into(char text[16], uint64_t events, size_t pairs)
{
    if (events == 0)
        snprintf(text, 16, "0");
    else
        snprintf(text, 16, "%.3f", (double)events / (double)pairs);
}

static void syscalls_cell(const void *data, size_t label, size_t who, char text[16])
{
    const struct counting *c = data;
    const struct counted *found = &c->found[label][who];

    if (found->refused || !found->counts.syscalls_known)
        snprintf(text, 16, "-");
    else
        rate_into(text, found->counts.syscalls, c->pairs[label]);
}

static void faults_cell(const void *data, size_t label, size_t who, char text[16])
{
    const struct counting *c = data;

    if (c->found[label][who].refused)
        snprintf(text, 16, "-");
    else
        rate_into(text, c->found[label][who].counts.faults, c->pairs[label]);
}

static void kept_cell(const void *data, size_t label, size_t who, char text[16])
{
    const struct counting *c = data;
    const struct counted *found = &c->found[label][who];

    if (found->refused || !found->counts.kept_rss_known)
        snprintf(text, 16, "-");
    else
        snprintf(text, 16, "%ld", found->counts.kept_rss_kib);
}

int buffers_case_steady(const struct pool_options *options)
{
    static struct counting c; /* large */
    static size_t sizes[2][MIX];

    c = (struct counting){.name = "steady"};
    c.who_count = buffers_chosen(options, c.who);
    for (size_t i = 0; i < BUFFERS_SIZES; i++) {
        const size_t *size = options->size != 0 ? &options->size : &buffers_sizes[i];

        buffers_size_label(c.labels[c.line_count], *size);
        c.loads[c.line_count] = (struct buffers_load){.sizes = size, .most = *size, .depth = 1};
        c.pairs[c.line_count++] = PAIRS;
        if (options->size != 0)
            break;
    }
    for (size_t i = 0; i < 2 && options->size == 0; i++) {
        size_t most = (size_t)1 << 20;

        buffers_mix(sizes[i], MIX, most);
        snprintf(c.labels[c.line_count], BUFFERS_LABEL, i == 0 ? "64 B .. 1 MiB" : "64 B .. 1 MiB 8 held");
        c.loads[c.line_count] = (struct buffers_load){.sizes = sizes[i], .mask = MIX - 1, .most = most};
        c.loads[c.line_count].depth = i == 0 ? 1 : BUFFERS_HELD;
        c.pairs[c.line_count++] = MIX;
    }
    for (size_t k = 0; k < c.line_count; k++) {
        c.loads[k].threads = 1;
        c.loads[k].touch = TOUCH_ENDS;
    }
    count(&c, PASSES);

    progress_clear();
    fprintf(options->out, "\nsteady: 1 thread ends written, after warm-up\n");
    print(&c, "syscalls per pair", syscalls_cell, options);
    print(&c, "faults per pair", faults_cell, options);
    print_refusals(&c, options->out);
    for (size_t k = 0; k < c.line_count; k++) {
        for (size_t i = 0; i < c.who_count; i++) {
            const struct counted *found = &c.found[k][i];
            double pairs = (double)c.pairs[k];

            if (!found->refused && found->counts.syscalls_known)
                csv(&c, k, i, "syscalls_per_pair", (double)found->counts.syscalls / pairs, options);
            if (!found->refused)
                csv(&c, k, i, "faults_per_pair", (double)found->counts.faults / pairs, options);
        }
    }
    return DONE;
}

int buffers_case_kept(const struct pool_options *options)
{
    static const size_t most[] = {(size_t)64 << 10, (size_t)1 << 20};
    static struct counting c;
    static size_t sizes[2][BUFFERS_KEPT];

    c = (struct counting){.name = "kept"};
    c.who_count = buffers_chosen(options, c.who);
    progress_clear();
    fprintf(options->out, "\nkept: %d buffers, all pages written, put back:", BUFFERS_KEPT);
    for (size_t k = 0; k < 2; k++) {
        char text[BUFFERS_LABEL];
        size_t kib = 0;

        buffers_mix(sizes[k], BUFFERS_KEPT, most[k]);
        for (size_t i = 0; i < BUFFERS_KEPT; i++)
            kib += sizes[k][i];
        kib >>= 10;
        snprintf(c.labels[k], BUFFERS_LABEL, "64 B .. %.12s", buffers_size_label(text, most[k]));
        fprintf(options->out, "%s %s, %zu KiB", k > 0 ? ";" : "", c.labels[k], kib);
        c.loads[k] = (struct buffers_load){.sizes = sizes[k], .mask = BUFFERS_KEPT - 1, .most = most[k]};
        c.loads[k].depth = BUFFERS_KEPT;
        c.loads[k].threads = 1;
        c.loads[k].touch = TOUCH_PAGES;
        c.pairs[k] = BUFFERS_KEPT;
    }
    fputc('\n', options->out);
    c.line_count = 2;
    count(&c, 0);
    print(&c, "KiB still resident", kept_cell, options);
    print_refusals(&c, options->out);
    for (size_t k = 0; k < c.line_count; k++)
        for (size_t i = 0; i < c.who_count; i++)
            if (!c.found[k][i].refused && c.found[k][i].counts.kept_rss_known)
                csv(&c, k, i, "kept_rss_kib", (double)c.found[k][i].counts.kept_rss_kib, options);
    return DONE;
}
