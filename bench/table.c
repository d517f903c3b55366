/* SPDX-License-Identifier: MIT
 * Tables, CSV, JSON. The program never calls setlocale, so that numbers are in the C locale everywhere.
 */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static const char *const METRIC_NAMES[METRICS] = {
    "ns_per_unit",           "ns_per_alloc",      "ratio_to_limit", "ratio_to_malloc",
    "minor_faults_per_unit", "syscalls_per_unit", "peak_rss_kib",
};

/* Digits after the point, in files and in tables. */
static const int FILE_DIGITS[METRICS] = {3, 4, 4, 4, 6, 6, 0};
static const int TABLE_DIGITS[METRICS] = {1, 2, 2, 3, 3, 3, 0};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

struct figure figure_of(double *values, size_t count)
{
    struct figure f = {0};

    if (count == 0)
        return f;
    qsort(values, count, sizeof(*values), by_value);
    f.known = true;
    f.min = values[0];
    f.max = values[count - 1];
    f.median = count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    return f;
}

struct figure figure_single(double value)
{
    return (struct figure){true, value, value, value};
}

/* ---- tables ---- */

#define COLUMNS (METRICS + 1)
#define CELL 48

static int by_time(const void *a, const void *b)
{
    const struct row *const *x = a, *const *y = b;

    return by_value(&(*x)->figures[NS_PER_UNIT].median, &(*y)->figures[NS_PER_UNIT].median);
}

static void print_cell(char *cell, const struct figure *f, int digits)
{
    if (!f->known)
        snprintf(cell, CELL, "n/a");
    else if (f->median > 0 || digits == 0)
        snprintf(cell, CELL, "%.*f", digits, f->median);
    else
        snprintf(cell, CELL, "0"); /* really none: a little would be 0.000 */
}

void table_print(const struct results *r, FILE *out)
{
    const struct row **order = calloc(r->row_count + 1, sizeof(struct row *));
    char(*cells)[COLUMNS][CELL] = calloc(r->row_count + 1, sizeof(*cells));
    int width[COLUMNS] = {0};

    if (order == NULL || cells == NULL) {
        complain("not enough memory for the table");
        free(order);
        free(cells);
        return;
    }
    for (size_t i = 0; i < r->row_count; i++)
        order[i] = &r->rows[i];
    qsort(order, r->row_count, sizeof(struct row *), by_time);
    snprintf(cells[0][0], CELL, "contestant");
    snprintf(cells[0][1 + NS_PER_UNIT], CELL, "ns/%s", r->unit);
    snprintf(cells[0][1 + NS_PER_ALLOC], CELL, "ns/alloc");
    snprintf(cells[0][1 + RATIO_TO_LIMIT], CELL, "x limit");
    snprintf(cells[0][1 + RATIO_TO_MALLOC], CELL, "x malloc");
    snprintf(cells[0][1 + MINOR_FAULTS_PER_UNIT], CELL, "faults/%s", r->unit);
    snprintf(cells[0][1 + SYSCALLS_PER_UNIT], CELL, "syscalls/%s", r->unit);
    snprintf(cells[0][1 + PEAK_RSS_KIB], CELL, "peak RSS KiB");
    for (size_t i = 0; i < r->row_count; i++) {
        snprintf(cells[i + 1][0], CELL, "%s", order[i]->contestant);
        for (size_t m = 0; m < METRICS; m++)
            print_cell(cells[i + 1][m + 1], &order[i]->figures[m], TABLE_DIGITS[m]);
    }
    for (size_t i = 0; i <= r->row_count; i++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            int length = (int)strlen(cells[i][c]);

            width[c] = length > width[c] ? length : width[c];
        }
    }
    fprintf(out, "\n%s: %s\n%zu %s%s, %zu allocations, %llu bytes, digest %016llx; medians of %zu round%s\n",
            r->name, r->source, r->units, r->unit, r->units == 1 ? "" : "s", r->allocs,
            (unsigned long long)r->bytes, (unsigned long long)r->digest, r->rounds,
            r->rounds == 1 ? "" : "s");
    for (size_t i = 0; i <= r->row_count; i++) {
        fprintf(out, "%-*s", width[0], cells[i][0]);
        for (size_t c = 1; c < COLUMNS; c++)
            fprintf(out, "  %*s", width[c], cells[i][c]);
        fputc('\n', out);
    }
    if (r->note != NULL)
        fprintf(out, "%s\n", r->note);
    free(order);
    free(cells);
}

/* ---- CSV ---- */

static void csv_field(const char *text, FILE *out)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

void csv_write(const char *workload, const struct results *results, size_t count, FILE *out)
{
    fputs("workload,case,contestant,metric,median,min,max\n", out);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < results[i].row_count; k++) {
            const struct row *row = &results[i].rows[k];

            for (size_t m = 0; m < METRICS; m++) {
                const struct figure *f = &row->figures[m];

                csv_field(workload, out);
                fputc(',', out);
                csv_field(results[i].name, out);
                fprintf(out, ",%s,%s,", row->contestant, METRIC_NAMES[m]);
                if (f->known)
                    fprintf(out, "%.*f,%.*f,%.*f\n", FILE_DIGITS[m], f->median, FILE_DIGITS[m], f->min,
                            FILE_DIGITS[m], f->max);
                else
                    fputs(",,\n", out);
            }
        }
    }
}

/* ---- JSON ---- */

/* Length of the UTF-8 sequence at `s`, 0 when there is no good one. The zero byte at the end is never a
 * continuation, so that nothing is read past it. */
static size_t utf8_length(const unsigned char *s)
{
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xc2 ? 0
                    : s[0] < 0xe0 ? 2
                    : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4
                                  : 0;

    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

static void json_string(const char *text, FILE *out)
{
    const unsigned char *s = (const unsigned char *)text;

    fputc('"', out);
    while (*s != '\0') {
        size_t length = utf8_length(s);

        if (length == 0) {
            fputs("\\ufffd", out); /* a path may hold any bytes, JSON may not */
            s++;
        } else if (*s == '"' || *s == '\\') {
            fprintf(out, "\\%c", *s++);
        } else if (*s < 0x20 || *s == 0x7f) {
            fprintf(out, "\\u%04x", (unsigned)*s++);
        } else {
            fwrite(s, 1, length, out);
            s += length;
        }
    }
    fputc('"', out);
}

static void json_member(const char *name, const char *text, const char *after, FILE *out)
{
    fprintf(out, "\"%s\": ", name);
    if (text != NULL)
        json_string(text, out);
    else
        fputs("null", out);
    fputs(after, out);
}

static void json_row(const char *workload, const char *name, const struct row *row, size_t m, FILE *out)
{
    const struct figure *f = &row->figures[m];

    fputs("    {", out);
    json_member("workload", workload, ", ", out);
    json_member("case", name, ", ", out);
    json_member("contestant", row->contestant, ", ", out);
    json_member("metric", METRIC_NAMES[m], ", ", out);
    if (f->known)
        fprintf(out, "\"median\": %.*f, \"min\": %.*f, \"max\": %.*f}", FILE_DIGITS[m], f->median,
                FILE_DIGITS[m], f->min, FILE_DIGITS[m], f->max);
    else
        fputs("\"median\": null, \"min\": null, \"max\": null}", out);
}

void json_write(const char *workload, const struct environment *e, const struct results *results,
                size_t count, FILE *out)
{
    const char *between = "";

    fputs("{\n  ", out);
    json_member("program", PROGRAM, ",\n  ", out);
    json_member("workload", workload, ",\n  \"environment\": {\n    ", out);
    json_member("cpu", e->cpu, ",\n    ", out);
    json_member("kernel", e->kernel, ",\n    ", out);
    json_member("huge_pages", e->huge_pages, ",\n    ", out);
    json_member("compiler", e->compiler, ",\n    ", out);
    json_member("bumpool", e->bumpool, ",\n    ", out);
    json_member("libgit2", e->libgit2, ",\n    ", out);
    json_member("mimalloc", e->mimalloc, ",\n    ", out);
    fprintf(out, "\"malloc_replaced\": %s\n  },\n  \"cases\": [", malloc_is_replaced() ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        const struct results *r = &results[i];

        fprintf(out, "%s\n    {", i > 0 ? "," : "");
        json_member("case", r->name, ", ", out);
        json_member("source", r->source, ", ", out);
        fprintf(out, "\"units\": %zu, \"allocations\": %zu, \"bytes\": %llu, \"digest\": \"%016llx\", ",
                r->units, r->allocs, (unsigned long long)r->bytes, (unsigned long long)r->digest);
        fprintf(out, "\"rounds\": %zu}", r->rounds);
    }
    fputs("\n  ],\n  \"rows\": [\n", out);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < results[i].row_count; k++) {
            for (size_t m = 0; m < METRICS; m++) {
                fputs(between, out);
                json_row(workload, results[i].name, &results[i].rows[k], m, out);
                between = ",\n";
            }
        }
    }
    fputs("\n  ]\n}\n", out);
}
