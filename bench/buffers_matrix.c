/* SPDX-License-Identifier: MIT
 * The tables of bumpool-bench buffers, which have a column for each contestant, and what names their lines.
 */
#include "buffers.h"

#include <string.h>

enum { LABELS = 20, LEAST_WIDTH = 7 };

static int width_of(const struct buffers_contestant *who)
{
    int width = (int)strlen(who->common.name);

    return 2 + (width > LEAST_WIDTH ? width : LEAST_WIDTH);
}

void buffers_matrix_print(const struct buffers_matrix *m, const char *corner, FILE *out)
{
    progress_clear();
    fprintf(out, "%-*s", LABELS, corner);
    for (size_t i = 0; i < m->who_count; i++)
        fprintf(out, "%*s", width_of(m->who[i]), m->who[i]->common.name);
    fputc('\n', out);
    for (size_t k = 0; k < m->label_count; k++) {
        fprintf(out, "%-*s", LABELS, m->labels[k]);
        for (size_t i = 0; i < m->who_count; i++) {
            char text[16];

            m->cell(m->data, k, i, text);
            fprintf(out, "%*s", width_of(m->who[i]), text);
        }
        fputc('\n', out);
    }
}

const size_t buffers_sizes[BUFFERS_SIZES] = {
    (size_t)64,       (size_t)256,       (size_t)1 << 10, (size_t)4 << 10, (size_t)16 << 10, (size_t)64 << 10,
    (size_t)256 << 10, (size_t)1 << 20, (size_t)4 << 20, (size_t)16 << 20, (size_t)64 << 20,
};

const char *buffers_size_label(char text[BUFFERS_LABEL], size_t size)
{
    if (size % (1 << 20) == 0)
        snprintf(text, BUFFERS_LABEL, "%zu MiB", size >> 20);
    else if (size % (1 << 10) == 0)
        snprintf(text, BUFFERS_LABEL, "%zu KiB", size >> 10);
    else
        snprintf(text, BUFFERS_LABEL, "%zu B", size);
    return text;
}

void buffers_mix(size_t *sizes, size_t count, size_t most)
{
    uint64_t state = 88172645463325252u; /* xorshift64; the same for everybody, always */
    size_t doublings = 0;

    while (BUFFERS_LEAST << doublings < most)
        doublings++;
    for (size_t i = 0; i < count; i++) {
        size_t base;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        base = BUFFERS_LEAST << (state >> 32) % doublings;
        sizes[i] = base + (size_t)(state & UINT32_MAX) % base + 1;
    }
}

size_t buffers_chosen(const struct pool_options *options,
                      const struct buffers_contestant *out[BUFFERS_CONTESTANTS])
{
    size_t n = 0;

    for (size_t i = 0; buffers_contestants[i] != NULL && n < BUFFERS_CONTESTANTS; i++)
        if (options->contestants[i])
            out[n++] = buffers_contestants[i];
    return n;
}
