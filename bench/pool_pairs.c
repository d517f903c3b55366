/* SPDX-License-Identifier: MIT
 * The cases that compare contestants in a loop: pair, share, held.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 21, ROUNDS_QUICK = 7, STATES_MAX = 16 };

/* One case at work. */
struct measuring {
    struct pool_table table;
    struct pool_run *runs; /* one for each row */
    size_t run_room;
    struct {
        const struct pool_contestant *who;
        void *state;
    } states[STATES_MAX];
    size_t state_count;
};

static void *state_of(struct measuring *m, const struct pool_contestant *who, size_t things, bool capped)
{
    for (size_t i = 0; i < m->state_count; i++)
        if (m->states[i].who == who)
            return m->states[i].state;
    if (m->state_count == STATES_MAX)
        return NULL;
    m->states[m->state_count].who = who;
    m->states[m->state_count].state = who->setup(things, capped);
    return m->states[m->state_count].state != NULL ? m->states[m->state_count++].state : NULL;
}

/* One more row. All rows of a contestant share its state, so each asks for the same things. */
static bool add(struct measuring *m, const struct pool_run *run, const char *variant, size_t things,
                bool capped)
{
    if (m->table.row_count == m->run_room) {
        size_t room = m->run_room * 2 + 16;
        struct pool_run *runs = reallocarray(m->runs, room, sizeof(*runs));

        if (runs == NULL) {
            complain("not enough memory");
            return false;
        }
        m->runs = runs;
        m->run_room = room;
    }
    m->runs[m->table.row_count] = *run;
    m->runs[m->table.row_count].state = state_of(m, run->who, things, capped);
    if (m->runs[m->table.row_count].state == NULL) {
        complain("%s: cannot be set up", run->who->name);
        return false;
    }
    return pool_table_add(&m->table, run->who->name, variant) != NO_ROW;
}

static void finish(struct measuring *m)
{
    for (size_t i = 0; i < m->state_count; i++)
        m->states[i].who->teardown(m->states[i].state);
    pool_table_free(&m->table);
    free(m->runs);
}

/* What a variant is called: the number of threads, and `rest`. */
static const char *name_into(char text[VARIANT], size_t threads, const char *rest)
{
    snprintf(text, VARIANT, "%zu thread%s%s", threads, threads == 1 ? "" : "s", rest);
    return text;
}

static void set_bases(struct pool_table *t, const char *rest, size_t threads)
{
    char one[VARIANT], variant[VARIANT];

    name_into(one, 1, rest);
    name_into(variant, threads, rest);
    for (size_t i = 0; i < t->row_count; i++) {
        struct pool_row *row = &t->rows[i];

        if (strcmp(row->variant, one) == 0 || strcmp(row->variant, variant) == 0) {
            row->base[0] = pool_table_find(t, "mutex", row->variant);
            row->base[1] = pool_table_find(t, row->contestant, one);
        }
    }
}

static struct measuring of_loops(const char *name, const char *title, const struct pool_options *options)
{
    struct measuring m = {0};

    m.table.name = name;
    m.table.title = title;
    m.table.value_title = "cpu ns";
    m.table.value_metric = "cpu_ns_per_pair";
    m.table.other_title = "wall ns";
    m.table.other_metric = "wall_ns_per_pair";
    m.table.ratio_title[0] = "x mutex";
    m.table.ratio_metric[0] = "ratio_to_mutex";
    m.table.ratio_title[1] = "x 1 thread";
    m.table.ratio_metric[1] = "ratio_to_1_thread";
    m.table.rounds = pool_rounds(options, ROUNDS, ROUNDS_QUICK);
    return m;
}

int pool_case_pair(const struct pool_options *options)
{
    const struct pool_contestant *who[STATES_MAX];
    size_t count = pool_chosen_for(options, IN_PAIR, who, STATES_MAX), threads = options->threads;
    struct measuring m = of_loops("pair", "a pair at a time, per thread", options);
    int status = DONE;
    char text[VARIANT];

    if (count == 0)
        return pool_nobody("pair", options);
    for (size_t n = 1; n <= threads && status == DONE; n += threads > 1 ? threads - 1 : 1) {
        name_into(text, n, "");
        for (size_t i = 0; i < count && status == DONE; i++) {
            struct pool_run run = {.who = who[i], .threads = n, .work = pool_work_pairs};

            status = add(&m, &run, text, threads * HELD, false) ? DONE : FAILED;
        }
    }
    set_bases(&m.table, "", threads);
    if (status == DONE)
        status = pool_measure_rows(&m.table, m.runs, false, options);
    if (status == DONE) {
        pool_table_print(&m.table, options);
        name_into(text, 1, "");
        pool_table_target(&m.table, pool_table_find(&m.table, "bumpool", text), 0, 0.30, options->out);
        pool_table_target(&m.table, pool_table_find(&m.table, "bumpool-call", text), 0, 0.30, options->out);
        name_into(text, threads, "");
        if (threads > 1)
            pool_table_target(&m.table, pool_table_find(&m.table, "bumpool", text), 1, 1.20, options->out);
    }
    finish(&m);
    return status;
}

int pool_case_held(const struct pool_options *options)
{
    static const char *const orders[] = {" newest first", " oldest first"};
    const struct pool_contestant *who[STATES_MAX];
    size_t count = pool_chosen_for(options, IN_HELD, who, STATES_MAX), threads = options->threads;
    struct measuring m = of_loops("held", "16 things at a time, per pair", options);
    int status = DONE;
    char text[VARIANT];

    if (count == 0)
        return pool_nobody("held", options);
    for (size_t order = 0; order < 2; order++) {
        for (size_t n = 1; n <= threads && status == DONE; n += threads > 1 ? threads - 1 : 1) {
            name_into(text, n, orders[order]);
            for (size_t i = 0; i < count && status == DONE; i++) {
                struct pool_run run = {.who = who[i], .threads = n, .work = pool_work_held, .depth = HELD,
                                       .oldest_first = order == 1};

                status = add(&m, &run, text, threads * HELD, false) ? DONE : FAILED;
            }
        }
        set_bases(&m.table, orders[order], threads);
    }
    if (status == DONE)
        status = pool_measure_rows(&m.table, m.runs, false, options);
    if (status == DONE)
        pool_table_print(&m.table, options);
    for (size_t order = 0; order < 2 && status == DONE && threads > 1; order++) {
        size_t row;

        row = pool_table_find(&m.table, "bumpool", name_into(text, threads, orders[order]));
        pool_table_target(&m.table, row, 1, 1.20, options->out);
        pool_table_target(&m.table, row, 0, 0.60, options->out);
    }
    finish(&m);
    return status;
}

int pool_case_share(const struct pool_options *options)
{
    const struct pool_contestant *who[STATES_MAX];
    size_t count = pool_chosen_for(options, IN_SHARE, who, STATES_MAX);
    size_t threads = options->threads > 1 ? options->threads : 2;
    struct measuring m = of_loops("share", "one thing for all threads, from pair to pair", options);
    int status = DONE;
    char text[VARIANT];

    if (count == 0)
        return pool_nobody("share", options);
    m.table.value_title = "wall ns";
    m.table.value_metric = "wall_ns_per_pair";
    m.table.other_title = "least %";
    m.table.other_metric = "least_share_percent";
    m.table.ratio_title[1] = NULL;
    name_into(text, threads, "");
    for (size_t i = 0; i < count && status == DONE; i++) {
        struct pool_run run = {.who = who[i], .threads = threads, .work = pool_work_pairs,
                               .shared = true};

        status = add(&m, &run, text, 1, true) ? DONE : FAILED;
    }
    for (size_t i = 0; i < m.table.row_count; i++)
        m.table.rows[i].base[0] = pool_table_find(&m.table, "mutex", text);
    if (status == DONE)
        status = pool_measure_rows(&m.table, m.runs, true, options);
    if (status == DONE) {
        pool_table_print(&m.table, options);
        for (size_t i = 0; i < m.table.row_count; i++)
            if (strncmp(m.table.rows[i].contestant, "bumpool", 7) == 0)
                pool_table_target(&m.table, i, 0, 1.00, options->out);
    }
    finish(&m);
    return status;
}
