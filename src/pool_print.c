/* SPDX-License-Identifier: MIT
 *
 * What a pool says about itself in words: its figures as text and JSON, and who holds its arenas.
 */
#define _GNU_SOURCE
#include "checks.h"
#include "lane.h"
#include "pool_private.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- live arenas ---- */

static_assert(MISUSE_FRAMES == sizeof((struct bp_live_arena *)NULL)->stack / sizeof(void *), "one for one");

/* With the lock. */
static bool describe(const struct arena *a, struct bp_live_arena *out)
{
    if (!pool_is_live(a))
        return false;
    out->arena = &a->pub;
    out->site = atomic_load_explicit(&a->site, memory_order_relaxed); /* pairs with bp_pool_checkout_at */
    out->thread = a->holder;
    if (a->state == STATE_HOMED) {
        /* Written under the lock. */
        const struct lane_slot *slot = atomic_load_explicit(&a->home, memory_order_relaxed);

        out->thread = thread_tid_of(slot->lane);
    }
    out->stack_depth = 0;
    if (a->checks != NULL) {
        const struct misuse_stack *since = check_live_since(a);

        out->stack_depth = since->depth;
        memcpy(out->stack, since->frames, since->depth * sizeof since->frames[0]);
    }
    return true;
}

/* With the lock. The live arenas, as many as `room` of them into `out`; returns how many there are. */
static size_t find_live(const bp_pool *pool, struct bp_live_arena *out, size_t room)
{
    /* Written under the lock. */
    unsigned slabs = atomic_load_explicit(&pool->slab_count, memory_order_relaxed);
    struct bp_live_arena live;
    size_t count = 0;

    for (unsigned k = 0; k < slabs; k++)
        for (size_t i = 0; i < (size_t)SLAB_FIRST << k; i++)
            if (describe(&pool->slabs[k][i], &live)) {
                if (count < room)
                    out[count] = live;
                count++;
            }
    return count;
}

size_t pool_describe_live(bp_pool *pool, char *text, size_t size, struct misuse_stack *first)
{
    struct bp_live_arena live[3];
    size_t count = find_live(pool, live, 3), used = 0;

    text[0] = '\0';
    first->depth = count != 0 ? live[0].stack_depth : 0;
    memcpy(first->frames, live[0].stack, first->depth * sizeof first->frames[0]);
    for (size_t i = 0; i < count && i < 3 && used < size; i++) {
        const char *separator = i == 0 ? ": " : ", ";
        int n;

        if (live[i].site != NULL)
            n = snprintf(text + used, size - used, "%s%p (thread %ld, %s)", separator, (const void *)live[i].arena,
                         live[i].thread, live[i].site);
        else
            n = snprintf(text + used, size - used, "%s%p (thread %ld)", separator, (const void *)live[i].arena,
                         live[i].thread);
        if (n > 0)
            used += (size_t)n;
    }
    if (count > 3 && used < size)
        (void)snprintf(text + used, size - used, ", ...");
    return count;
}

/* A moment's list, to be freed. 0 or ENOMEM. */
static int list_live(bp_pool *pool, struct bp_live_arena **out, size_t *out_count)
{
    struct bp_live_arena *list;
    size_t room, count;

    for (room = 64;; room = count + count / 2) {
        list = malloc(room * sizeof *list);
        if (list == NULL)
            return ENOMEM;
        pthread_mutex_lock(&pool->lock);
        count = find_live(pool, list, room);
        pthread_mutex_unlock(&pool->lock);
        if (count <= room)
            break;
        free(list); /* there are more by now than there were */
    }
    *out = list;
    *out_count = count;
    return 0;
}

int bp_pool_each_live(bp_pool *arg, int (*fn)(const struct bp_live_arena *live, void *data), void *data)
{
    bp_pool *pool = pool_enter(arg, "each_live");
    struct bp_live_arena *list;
    size_t count;
    int rc;

    if (pool == NULL || fn == NULL)
        return EINVAL;
    rc = list_live(pool, &list, &count);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = fn(&list[i], data);
    free(list);
    return rc;
}

/* ---- figures ---- */

static const struct figure {
    const char *name;
    size_t offset;
} figures[] = {
#define FIGURE(name) { #name, offsetof(struct bp_pool_stats, name) }
    FIGURE(checkouts),    FIGURE(hits),          FIGURE(give_backs),      FIGURE(mints),
    FIGURE(disposals),    FIGURE(spills),        FIGURE(releases),        FIGURE(released_bytes),
    FIGURE(cuts),         FIGURE(refusals),      FIGURE(waits),           FIGURE(timeouts),
    FIGURE(cancels),      FIGURE(wait_ns),       FIGURE(waiting),         FIGURE(idle),
    FIGURE(live),         FIGURE(peak_arenas),   FIGURE(idle_bytes),      FIGURE(reserved_bytes),
    FIGURE(committed_bytes), FIGURE(peak_committed_bytes), FIGURE(touched_bytes), FIGURE(resident_bytes),
    FIGURE(high_water),
#undef FIGURE
};
enum { FIGURES = sizeof figures / sizeof figures[0], TEXT_LIVE = 16, BUCKETS = 48 };

static uint64_t figure_value(const struct bp_pool_stats *stats, size_t i)
{
    uint64_t value;

    memcpy(&value, (const char *)stats + figures[i].offset, sizeof value);
    return value;
}

static void print_text(FILE *file, const char *name, const struct bp_pool_stats *stats,
                       const struct bp_live_arena *live, size_t count)
{
    fprintf(file, "pool \"%s\"\n", name);
    for (size_t i = 0; i < FIGURES; i++)
        fprintf(file, "  %-20s %20" PRIu64 "\n", figures[i].name, figure_value(stats, i));
    fprintf(file, "  arenas by high water\n");
    for (size_t i = 0; i < BUCKETS; i++)
        if (stats->high_water_log2[i] != 0)
            fprintf(file, "    up to 2^%-2zu bytes     %18" PRIu64 "\n", i + 1, stats->high_water_log2[i]);
    if (count != 0)
        fprintf(file, "  live arenas\n");
    for (size_t i = 0; i < count && i < TEXT_LIVE; i++)
        fprintf(file, "    %p  thread %ld  %s\n", (const void *)live[i].arena, live[i].thread,
                live[i].site != NULL ? live[i].site : "-");
    if (count > TEXT_LIVE)
        fprintf(file, "    and %zu more\n", count - TEXT_LIVE);
}

/* Bytes that are no printable ASCII are escaped one by one, for nobody says that names are UTF-8. */
void print_json_string(FILE *file, const char *s)
{
    putc('"', file);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            fprintf(file, "\\u%04x", c);
        else
            putc(c, file);
    }
    putc('"', file);
}

static void print_json(FILE *file, const char *name, const struct bp_pool_stats *stats,
                       const struct bp_live_arena *live, size_t count)
{
    fprintf(file, "{\"name\": ");
    print_json_string(file, name);
    for (size_t i = 0; i < FIGURES; i++)
        fprintf(file, ", \"%s\": %" PRIu64, figures[i].name, figure_value(stats, i));
    fprintf(file, ", \"high_water_log2\": [");
    for (size_t i = 0; i < BUCKETS; i++)
        fprintf(file, "%s%" PRIu64, i == 0 ? "" : ", ", stats->high_water_log2[i]);
    fprintf(file, "], \"live_arenas\": [");
    for (size_t i = 0; i < count; i++) {
        fprintf(file, "%s{\"arena\": \"%p\", \"thread\": %ld, \"site\": ", i == 0 ? "" : ", ",
                (const void *)live[i].arena, live[i].thread);
        if (live[i].site != NULL)
            print_json_string(file, live[i].site);
        else
            fprintf(file, "null");
        putc('}', file);
    }
    fprintf(file, "]}\n");
}

int bp_pool_print_stats(bp_pool *arg, FILE *file, enum bp_stats_format format)
{
    bp_pool *pool = pool_enter(arg, "print_stats");
    struct bp_live_arena *live;
    struct bp_pool_stats stats;
    size_t count;
    int rc, saved = errno;

    if (pool == NULL || file == NULL || (format != BP_STATS_TEXT && format != BP_STATS_JSON))
        return EINVAL;
    rc = list_live(pool, &live, &count);
    if (rc != 0)
        return rc;
    (void)bp_pool_stats(arg, &stats);
    errno = 0;
    (format == BP_STATS_TEXT ? print_text : print_json)(file, pool->name, &stats, live, count);
    if (fflush(file) != 0 || ferror(file)) /* what is still in its buffer may be what cannot be written */
        rc = errno != 0 ? errno : EIO;
    errno = saved;
    free(live);
    return rc;
}
