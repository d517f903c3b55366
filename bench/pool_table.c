/* SPDX-License-Identifier: MIT
 * The tables of bumpool-bench pool: figures over the rounds, ratios paired by round, targets.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

size_t pool_table_add(struct pool_table *table, const char *contestant, const char *variant)
{
    struct pool_row *row;

    if (table->row_count == table->row_room) {
        size_t room = table->row_room * 2 + 16;
        struct pool_row *rows = reallocarray(table->rows, room, sizeof(*rows));

        if (rows == NULL) {
            complain("not enough memory");
            return NO_ROW;
        }
        table->rows = rows;
        table->row_room = room;
    }
    row = &table->rows[table->row_count];
    row->contestant = contestant;
    snprintf(row->variant, sizeof(row->variant), "%s", variant);
    row->values = calloc(2 * table->rounds, sizeof(*row->values));
    if (row->values == NULL) {
        complain("not enough memory");
        return NO_ROW;
    }
    row->others = row->values + table->rounds;
    row->error = 0;
    for (size_t i = 0; i < POOL_RATIOS; i++)
        row->base[i] = NO_ROW;
    return table->row_count++;
}

size_t pool_table_find(const struct pool_table *table, const char *contestant, const char *variant)
{
    for (size_t i = 0; i < table->row_count; i++)
        if (strcmp(table->rows[i].contestant, contestant) == 0 &&
            strcmp(table->rows[i].variant, variant) == 0)
            return i;
    return NO_ROW;
}

void pool_table_free(struct pool_table *table)
{
    for (size_t i = 0; i < table->row_count; i++)
        free(table->rows[i].values);
    free(table->rows);
}

static struct figure figure_over(const struct pool_table *table, const struct pool_row *row,
                                 const double *values)
{
    double sorted[ROUNDS_MAX];

    if (row->error != 0)
        return (struct figure){0};
    memcpy(sorted, values, table->rounds * sizeof(*values));
    return figure_of(sorted, table->rounds);
}

static struct figure ratio_over(const struct pool_table *table, const struct pool_row *row, size_t which)
{
    const struct pool_row *base;
    double ratios[ROUNDS_MAX];

    if (row->base[which] == NO_ROW)
        return (struct figure){0};
    base = &table->rows[row->base[which]];
    if (row->error != 0 || base->error != 0)
        return (struct figure){0};
    for (size_t i = 0; i < table->rounds; i++)
        ratios[i] = row->values[i] / base->values[i];
    return figure_of(ratios, table->rounds);
}

struct figure pool_table_value(const struct pool_table *table, size_t row)
{
    return figure_over(table, &table->rows[row], table->rows[row].values);
}

struct figure pool_table_ratio(const struct pool_table *table, size_t row, size_t which)
{
    return ratio_over(table, &table->rows[row], which);
}

/* The columns of one line; the last ends without blanks, so that it can be quoted as it is. */
struct line {
    FILE *out;
    int blanks; /* that fill up the last column, when another follows */
};
enum { RANGE = 21 };

static void print_title(struct line *line, const char *title)
{
    fprintf(line->out, "%*s  %9s", line->blanks, "", title);
    line->blanks = RANGE;
}

static void print_figure(struct line *line, const struct figure *f)
{
    if (!f->known) {
        print_title(line, "-");
        return;
    }
    fprintf(line->out, "%*s  %9.2f", line->blanks, "", f->median);
    line->blanks = RANGE - fprintf(line->out, " (%.2f .. %.2f)", f->min, f->max);
    if (line->blanks < 0)
        line->blanks = 0;
}

static void csv_figure(const struct pool_table *table, const struct pool_row *row, const char *metric,
                       struct figure f, const struct pool_options *options)
{
    if (f.known)
        fprintf(options->csv, "%s,%s:%s,%s,%s,%.4f,%.4f,%.4f\n", options->workload, table->name, row->variant,
                row->contestant, metric, f.median, f.min, f.max);
}

void pool_table_csv(const struct pool_table *table, const struct pool_options *options)
{
    if (options->csv == NULL)
        return;
    for (size_t r = 0; r < table->row_count; r++) {
        const struct pool_row *row = &table->rows[r];

        csv_figure(table, row, table->value_metric, figure_over(table, row, row->values), options);
        if (table->other_title != NULL)
            csv_figure(table, row, table->other_metric, figure_over(table, row, row->others), options);
        for (size_t i = 0; i < POOL_RATIOS && table->ratio_title[i] != NULL; i++)
            csv_figure(table, row, table->ratio_metric[i], ratio_over(table, row, i), options);
    }
}

void pool_table_print(const struct pool_table *table, const struct pool_options *options)
{
    enum { NAMES = 36 };
    FILE *out = options->out;
    struct line line = {out, 0};

    progress_clear();
    fprintf(out, "\n%s: %s; medians of %zu round%s (min .. max)\n", table->name, table->title, table->rounds,
            table->rounds == 1 ? "" : "s");
    fprintf(out, "%-*s", NAMES, "contestant");
    print_title(&line, table->value_title);
    if (table->other_title != NULL)
        print_title(&line, table->other_title);
    for (size_t i = 0; i < POOL_RATIOS && table->ratio_title[i] != NULL; i++)
        print_title(&line, table->ratio_title[i]);
    fputc('\n', out);
    for (size_t r = 0; r < table->row_count; r++) {
        const struct pool_row *row = &table->rows[r];
        struct figure f = figure_over(table, row, row->values);

        fprintf(out, "%-13s %-*s", row->contestant, NAMES - 14, row->variant);
        line.blanks = 0;
        print_figure(&line, &f);
        if (table->other_title != NULL) {
            f = figure_over(table, row, row->others);
            print_figure(&line, &f);
        }
        for (size_t i = 0; i < POOL_RATIOS && table->ratio_title[i] != NULL; i++) {
            f = ratio_over(table, row, i);
            print_figure(&line, &f);
        }
        fputc('\n', out);
    }
    pool_table_csv(table, options);
}

void pool_table_target(const struct pool_table *table, size_t row, size_t ratio, double most, FILE *out)
{
    const struct pool_row *r = row != NO_ROW ? &table->rows[row] : NULL;
    struct figure f;

    if (r == NULL)
        return;
    f = ratio_over(table, r, ratio);
    if (f.known)
        fprintf(out, "target: %s, %s, %s <= %.2f: %.2f %s\n", r->contestant, r->variant,
                table->ratio_title[ratio], most, f.median, f.median <= most ? "yes" : "no");
}
