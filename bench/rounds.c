/* SPDX-License-Identifier: MIT
 * Rounds.
 *
 * Order of things for a case: (1) each contestant in a child process of its own, for system calls and peak
 * RSS, while the parent is still clean; (2) all are set up here, their blocks are checked (aligned,
 * disjoint), and a warm-up pass of each tells whether the results agree and how many passes make a
 * measurement long enough for the clock; (3) the rounds. In a round every contestant is measured once, and
 * the order rotates, so that a slow spell of the machine and a neighbour's cache habits hit all of them.
 * Ratios are taken within a round and only then summed up by their median: a spell that lasts a round cancels
 * out.
 */
#include "rounds.h"

#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "replay.h"

struct entrant {
    struct job job; /* first: a job is cast back to its entrant */
    const struct bench_case *bench_case;
    const struct contestant *contestant;
    void *state;
    uint64_t digest; /* of the newest pass */
    size_t passes;   /* per measurement */
    struct child_counts counts;
    double *ns, *faults; /* [rounds] per unit */
};

bool replay_expected(const struct trace *trace, uint64_t *digest)
{
    struct replay_digest d = {0, 0};
    void *block = malloc(trace->max_unit_bytes + 16);

    if (block == NULL)
        return false;
    for (size_t i = 0; i < trace->allocs; i++)
        replay_touch(block, trace->sizes[i], &d);
    free(block);
    *digest = replay_finish(&d);
    return true;
}

static int set_up(struct job *job)
{
    struct entrant *e = (struct entrant *)job;
    const struct trace *trace = e->bench_case->trace;
    struct workload workload = {trace->max_unit_bytes, trace->max_unit_allocs};

    e->state = e->contestant->setup(&workload);
    if (e->state == NULL) {
        complain("%s: %s: cannot be set up: out of memory", e->bench_case->name, e->contestant->name);
        return FAILED;
    }
    return DONE;
}

static int one_pass(struct job *job)
{
    struct entrant *e = (struct entrant *)job;
    const struct bench_case *c = e->bench_case;

    if (c->walk != NULL)
        return gitwalk_pass(c->walk, e->contestant, e->state, &e->digest);
    if (e->contestant->replay(e->state, c->trace, &e->digest))
        return DONE;
    complain("%s: %s: out of memory", c->name, e->contestant->name);
    return FAILED;
}

/* A live pass is long, and what it shares with all others (libgit2's caches) is warm from the recording. */
static int warm_up_passes(const struct bench_case *c)
{
    return c->walk != NULL ? 1 : 2;
}

/* ---- are the blocks good? ---- */

#define EDGE ((size_t)32) /* bytes looked at from either end of a block */

static void fill(unsigned char *block, size_t size, unsigned char tag)
{
    size_t edge = size < EDGE ? size : EDGE;

    memset(block, tag, edge);
    memset(block + size - edge, tag, edge);
}

static bool filled(const unsigned char *block, size_t size, unsigned char tag)
{
    size_t edge = size < EDGE ? size : EDGE;

    for (size_t i = 0; i < edge; i++) {
        if (block[i] != tag || block[size - 1 - i] != tag)
            return false;
    }
    return true;
}

static unsigned char tag_of(size_t unit, size_t i)
{
    return (unsigned char)(unit * 7 + i * 13 + 1);
}

/* Does the unit with every block written at both ends, then looks whether each is as it was left. Gives the
 * number of the first bad block, or `count`. */
static size_t bad_block(struct entrant *e, size_t unit, const uint32_t *sizes, size_t count, void **blocks)
{
    size_t bad = count;

    for (size_t i = 0; i < count; i++) {
        size_t needed = sizes[i] >= 16 ? 16 : 8; /* what any object of that size can ask for */

        blocks[i] = e->contestant->unit_alloc(e->state, sizes[i]);
        if (blocks[i] == NULL || ((uintptr_t)blocks[i] & (needed - 1)) != 0)
            return i;
        fill(blocks[i], sizes[i], tag_of(unit, i));
    }
    for (size_t i = count; i-- > 0;) {
        if (!filled(blocks[i], sizes[i], tag_of(unit, i)))
            bad = i;
    }
    return bad;
}

static int check_blocks(struct entrant *e)
{
    const struct trace *trace = e->bench_case->trace;
    const uint32_t *sizes = trace->sizes;
    void **blocks = calloc(trace->max_unit_allocs + 1, sizeof(*blocks));
    int status = DONE;

    if (blocks == NULL) {
        complain("not enough memory to check the blocks");
        return FAILED;
    }
    for (size_t u = 0; u < trace->units && status == DONE; u++) {
        size_t bad;

        if (!e->contestant->unit_begin(e->state)) {
            complain("%s: %s: out of memory", e->bench_case->name, e->contestant->name);
            status = FAILED;
            break;
        }
        bad = bad_block(e, u, sizes, trace->counts[u], blocks);
        if (bad < trace->counts[u]) {
            complain("%s: %s: block %zu of unit %zu is missing, misaligned or not its own",
                     e->bench_case->name, e->contestant->name, bad + 1, u + 1);
            status = FAILED;
        }
        e->contestant->unit_end(e->state);
        sizes += trace->counts[u];
    }
    free(blocks);
    return status;
}

/* ---- measuring ---- */

static int check_digest(const struct entrant *e)
{
    if (e->digest == e->bench_case->expected)
        return DONE;
    complain("%s: %s computed another result than it should have: digest %016llx, expected %016llx",
             e->bench_case->name, e->contestant->name, (unsigned long long)e->digest,
             (unsigned long long)e->bench_case->expected);
    return FAILED;
}

/* A measurement is cut into up to PIECES pieces of whole passes, and its time is their median: what an
 * interruption leaves behind in the caches hits one piece and is forgotten. Faults are counted over all of
 * it. */
#define PIECES 15

static int measure(struct entrant *e, size_t round)
{
    size_t pieces = e->passes < PIECES ? e->passes : PIECES, passes = e->passes / pieces;
    double units = (double)e->bench_case->trace->units * (double)passes, ns[PIECES];
    uint64_t faults = counter_faults(), wrong = 0;
    int status = DONE;

    for (size_t piece = 0; piece < pieces && status == DONE; piece++) {
        uint64_t start = counter_cpu_time();

        for (size_t i = 0; i < passes && status == DONE; i++) {
            status = one_pass(&e->job);
            wrong = e->digest != e->bench_case->expected ? e->digest : wrong;
        }
        ns[piece] = (double)(counter_cpu_time() - start) / units;
    }
    faults = counter_faults() - faults;
    if (status == DONE && wrong != 0) {
        e->digest = wrong;
        status = check_digest(e);
    }
    if (status != DONE)
        return status;
    e->ns[round] = figure_of(ns, pieces).median;
    e->faults[round] = (double)faults / (units * (double)pieces);
    return DONE;
}

/* Everything that comes before the rounds. Goes on after a wrong digest, to name all who have one. */
static int prepare(struct entrant *entrants, const struct method *m, const struct bench_case *c)
{
    int status = DONE, worst = DONE;

    for (size_t i = 0; i < m->contestant_count && status == DONE; i++) {
        progress("%s: counting system calls: %s", c->name, entrants[i].contestant->name);
        status = count_in_child(&entrants[i].job, &entrants[i].counts);
    }
    for (size_t i = 0; i < m->contestant_count && status == DONE; i++) {
        progress("%s: setting up: %s", c->name, entrants[i].contestant->name);
        status = set_up(&entrants[i].job);
        if (status == DONE && c->walk == NULL)
            status = check_blocks(&entrants[i]);
    }
    for (size_t i = 0; i < m->contestant_count && status == DONE; i++) {
        struct entrant *e = &entrants[i];
        uint64_t time;

        progress("%s: warming up: %s", c->name, e->contestant->name);
        time = counter_cpu_time();
        for (int pass = 0; pass < warm_up_passes(c) && status == DONE; pass++) {
            time = counter_cpu_time();
            status = one_pass(&e->job);
        }
        time = counter_cpu_time() - time;
        e->passes = (size_t)(m->least_ns / (time > 0 ? time : 1)) + 1;
        if (status == DONE && check_digest(e) != DONE)
            worst = FAILED;
    }
    return status != DONE ? status : worst;
}

static int run_rounds(struct entrant *entrants, const struct method *m, const struct bench_case *c)
{
    for (size_t round = 0; round < m->rounds; round++) {
        progress("%s: round %zu of %zu", c->name, round + 1, m->rounds);
        for (size_t i = 0; i < m->contestant_count; i++) {
            int status = measure(&entrants[(round + i) % m->contestant_count], round);

            if (status != DONE)
                return status;
        }
    }
    return DONE;
}

/* ---- summing up ---- */

static const struct entrant *find(const struct entrant *entrants, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(entrants[i].contestant->name, name) == 0)
            return &entrants[i];
    }
    return NULL;
}

static struct figure ratio(const struct entrant *e, const struct entrant *base, size_t rounds, double *values)
{
    size_t n = 0;

    for (size_t i = 0; base != NULL && i < rounds; i++) {
        if (base->ns[i] > 0)
            values[n++] = e->ns[i] / base->ns[i];
    }
    return figure_of(values, n);
}

static void sum_up(const struct entrant *entrants, const struct method *m, const struct bench_case *c,
                   double *values, struct row *rows)
{
    const struct entrant *limit = find(entrants, m->contestant_count, "limit");
    const struct entrant *heap = find(entrants, m->contestant_count, "malloc");
    double units = (double)c->trace->units, allocs = (double)c->trace->allocs;

    for (size_t i = 0; i < m->contestant_count; i++) {
        const struct entrant *e = &entrants[i];
        struct row *row = &rows[i];

        row->contestant = e->contestant->name;
        memcpy(values, e->ns, m->rounds * sizeof(*values));
        row->figures[NS_PER_UNIT] = figure_of(values, m->rounds);
        if (allocs > 0) {
            for (size_t r = 0; r < m->rounds; r++)
                values[r] = e->ns[r] * units / allocs;
            row->figures[NS_PER_ALLOC] = figure_of(values, m->rounds);
        }
        row->figures[RATIO_TO_LIMIT] = ratio(e, limit, m->rounds, values);
        row->figures[RATIO_TO_MALLOC] = ratio(e, heap, m->rounds, values);
        memcpy(values, e->faults, m->rounds * sizeof(*values));
        row->figures[MINOR_FAULTS_PER_UNIT] = figure_of(values, m->rounds);
        if (e->counts.syscalls_known)
            row->figures[SYSCALLS_PER_UNIT] = figure_single((double)e->counts.syscalls / units);
        if (e->counts.peak_rss_known)
            row->figures[PEAK_RSS_KIB] = figure_single((double)e->counts.peak_rss_kib);
    }
}

static void clean_up(struct entrant *entrants, size_t count)
{
    for (size_t i = 0; entrants != NULL && i < count; i++) {
        if (entrants[i].state != NULL)
            entrants[i].contestant->teardown(entrants[i].state);
        free(entrants[i].ns);
        free(entrants[i].faults);
    }
    free(entrants);
}

int run_case(const struct bench_case *c, const struct method *m, struct results *out)
{
    struct entrant *entrants = calloc(m->contestant_count + 1, sizeof(*entrants));
    struct row *rows = calloc(m->contestant_count + 1, sizeof(*rows));
    double *values = calloc(m->rounds + 1, sizeof(*values));
    int status = entrants != NULL && rows != NULL && values != NULL ? DONE : FAILED;

    for (size_t i = 0; status == DONE && i < m->contestant_count; i++) {
        struct entrant *e = &entrants[i];

        e->job = (struct job){set_up, one_pass, warm_up_passes(c)};
        e->bench_case = c;
        e->contestant = m->contestants[i];
        e->ns = calloc(m->rounds + 1, sizeof(*e->ns));
        e->faults = calloc(m->rounds + 1, sizeof(*e->faults));
        if (e->ns == NULL || e->faults == NULL)
            status = FAILED;
    }
    if (status != DONE)
        complain("not enough memory for the results");
    if (status == DONE)
        status = prepare(entrants, m, c);
    if (status == DONE)
        status = run_rounds(entrants, m, c);
    progress_clear();
    if (status == DONE) {
        sum_up(entrants, m, c, values, rows);
        out->rows = rows;
        out->row_count = m->contestant_count;
        out->units = c->trace->units;
        out->allocs = c->trace->allocs;
        out->bytes = c->trace->bytes;
        out->digest = c->expected;
        out->rounds = m->rounds;
        rows = NULL;
    }
    clean_up(entrants, m->contestant_count);
    free(rows);
    free(values);
    return status;
}
