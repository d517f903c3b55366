/* SPDX-License-Identifier: MIT
 *
 * What a bucket pool says about itself, from the figures of its pools.
 */
#define _GNU_SOURCE
#include "buckets_private.h"

#include <inttypes.h>

static void sum_up(struct buckets *b, struct bp_buckets_stats *s)
{
    size_t used;

    *s = (struct bp_buckets_stats){ .buckets = b->sizes };
    for (size_t i = 0; i <= b->sizes; i++) {
        struct bp_pool_stats of;

        if (buckets_each(b, i) == NULL || bp_pool_stats(buckets_each(b, i), &of) != 0)
            continue;
        s->gets += of.checkouts;
        s->puts += of.give_backs;
        s->live += of.live;
        s->idle_bytes += of.idle_bytes;
        if (i < b->sizes) {
            s->idle += of.idle;
        } else {
            s->transients = of.checkouts;
            s->transients_live = of.live;
        }
    }
    /* The sum is of several moments; what was counted in one is never above the cap. */
    used = atomic_load_explicit(&b->budget.used, memory_order_relaxed); /* a number */
    if (b->budget.max != BP_UNLIMITED && s->idle_bytes > used)
        s->idle_bytes = used;
}

int bp_buckets_stats(bp_buckets *arg, struct bp_buckets_stats *out)
{
    struct buckets *b = buckets_enter(arg, "stats");

    if (b == NULL || out == NULL)
        return EINVAL;
    sum_up(b, out);
    return 0;
}

/* False: never used. */
static bool bucket_figures(struct buckets *b, size_t i, struct bp_bucket_stats *s)
{
    struct bp_pool_stats of;

    *s = (struct bp_bucket_stats){ .size = b->bucket[i].capacity };
    if (place_pool(&b->places[i]) == NULL || bp_pool_stats(place_pool(&b->places[i]), &of) != 0)
        return false;
    s->hits = of.hits;
    s->misses = of.checkouts - of.hits;
    s->returned = of.give_backs;
    s->discarded = of.disposals;
    s->depth = of.idle;
    s->live = of.live;
    s->refusals = of.refusals;
    return true;
}

int bp_buckets_bucket_stats(bp_buckets *arg, size_t i, struct bp_bucket_stats *out)
{
    struct buckets *b = buckets_enter(arg, "bucket_stats");

    if (b == NULL || out == NULL || i >= b->sizes)
        return EINVAL;
    (void)bucket_figures(b, i, out);
    return 0;
}

size_t bp_buckets_free_count(bp_buckets *arg)
{
    struct buckets *b = buckets_enter(arg, "free_count");
    struct bp_buckets_stats s;

    if (b == NULL)
        return 0;
    sum_up(b, &s);
    return s.idle;
}

size_t bp_buckets_total_count(bp_buckets *arg)
{
    struct buckets *b = buckets_enter(arg, "total_count");
    struct bp_buckets_stats s;

    if (b == NULL)
        return 0;
    sum_up(b, &s);
    return s.idle + s.live;
}

/* ---- printing ---- */

static const struct figure {
    const char *name;
    size_t offset;
} figures[] = {
#define FIGURE(name) { #name, offsetof(struct bp_buckets_stats, name) }
    FIGURE(gets), FIGURE(puts), FIGURE(transients), FIGURE(transients_live),
    FIGURE(idle), FIGURE(live), FIGURE(idle_bytes),
#undef FIGURE
}, columns[] = {
#define COLUMN(name) { #name, offsetof(struct bp_bucket_stats, name) }
    COLUMN(size), COLUMN(hits), COLUMN(misses), COLUMN(returned),
    COLUMN(discarded), COLUMN(depth), COLUMN(live), COLUMN(refusals),
#undef COLUMN
};
enum { FIGURES = sizeof figures / sizeof figures[0], COLUMNS = sizeof columns / sizeof columns[0] };

static uint64_t value_at(const void *stats, size_t offset)
{
    uint64_t value;

    memcpy(&value, (const char *)stats + offset, sizeof value);
    return value;
}

static void print_text(FILE *file, struct buckets *b, const struct bp_buckets_stats *stats)
{
    struct bp_bucket_stats s;
    bool any = false;

    fprintf(file, "bucket pool \"%s\"\n", b->name);
    fprintf(file, "  %-20s %20" PRIu64 "\n", "buckets", stats->buckets);
    for (size_t i = 0; i < FIGURES; i++)
        fprintf(file, "  %-20s %20" PRIu64 "\n", figures[i].name, value_at(stats, figures[i].offset));
    for (size_t i = 0; i < b->sizes; i++) {
        if (!bucket_figures(b, i, &s))
            continue;
        for (size_t k = 0; k < COLUMNS && !any; k++)
            fprintf(file, "%s%12s%s", k == 0 ? " " : " ", columns[k].name, k == COLUMNS - 1 ? "\n" : "");
        any = true;
        for (size_t k = 0; k < COLUMNS; k++)
            fprintf(file, " %12" PRIu64 "%s", value_at(&s, columns[k].offset), k == COLUMNS - 1 ? "\n" : "");
    }
}

static void print_json(FILE *file, struct buckets *b, const struct bp_buckets_stats *stats)
{
    struct bp_bucket_stats s;
    bool any = false;

    fprintf(file, "{\"name\": ");
    print_json_string(file, b->name);
    fprintf(file, ", \"buckets\": %" PRIu64, stats->buckets);
    for (size_t i = 0; i < FIGURES; i++)
        fprintf(file, ", \"%s\": %" PRIu64, figures[i].name, value_at(stats, figures[i].offset));
    fprintf(file, ", \"used_buckets\": [");
    for (size_t i = 0; i < b->sizes; i++) {
        if (!bucket_figures(b, i, &s))
            continue;
        fprintf(file, "%s{", any ? ", " : "");
        for (size_t k = 0; k < COLUMNS; k++)
            fprintf(file, "%s\"%s\": %" PRIu64, k == 0 ? "" : ", ", columns[k].name,
                    value_at(&s, columns[k].offset));
        fprintf(file, "}");
        any = true;
    }
    fprintf(file, "]}\n");
}

int bp_buckets_print_stats(bp_buckets *arg, FILE *file, enum bp_stats_format format)
{
    struct buckets *b = buckets_enter(arg, "print_stats");
    struct bp_buckets_stats stats;
    int rc = 0, saved = errno;

    if (b == NULL || file == NULL || (format != BP_STATS_TEXT && format != BP_STATS_JSON))
        return EINVAL;
    sum_up(b, &stats);
    errno = 0;
    (format == BP_STATS_TEXT ? print_text : print_json)(file, b, &stats);
    if (fflush(file) != 0 || ferror(file)) /* what is still in its buffer may be what cannot be written */
        rc = errno != 0 ? errno : EIO;
    errno = saved;
    return rc;
}
