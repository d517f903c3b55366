/* SPDX-License-Identifier: MIT
 * What the parts of bumpool-bench pool share.
 *
 * Words. A *thing* is what is taken from somewhere and put back: an arena, a node of a list, a block. A
 * *pair* is one taking and one putting back. A *row* is one contestant in one variant of a case.
 */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

#include "bench.h"
#include "table.h"

enum {
    HELD = 16,      /* things that the case "held" has at a time */
    HELD_MAX = 64,  /* and the case "idle" */
    THREADS_MAX = 64,
    ROUNDS_MAX = 1000,
};

/* ---- contestants ---- */

/* The cases that compare contestants; bits. */
enum { IN_PAIR = 1, IN_HELD = 2, IN_SHARE = 4, IN_HANDOFF = 8, IN_OTHERS = 16 };

/* The loops are the contestant's and call its functions directly, not through pointers. They return 0 or an
 * errno value. */
struct pool_contestant {
    const char *name, *summary;
    unsigned cases;
    /* Makes room for `things` things; capped: there are never more of them. NULL: out of memory. */
    void *(*setup)(size_t things, bool capped);
    void (*teardown)(void *state);
    /* Gives what the loops of one thread work with; both NULL: the state itself. */
    void *(*thread_begin)(void *state);
    void (*thread_end)(void *own);
    int (*pairs)(void *own, size_t count);
    /* Takes `depth` things, puts them back newest first or oldest first, and so on; `count` pairs or more. */
    int (*held)(void *own, size_t count, size_t depth, bool oldest_first);
};

/* All that this build has, ended by NULL. Some have no loops, because no case with loops is theirs. */
extern const struct pool_contestant *const pool_contestants[];
/* Those that it lacks. */
extern const char *const pool_contestants_left_out[];

/* ---- options ---- */

struct pool_options {
    const char *workload; /* the subcommand */
    bool quick, help;
    size_t rounds; /* 0: as the case likes */
    size_t threads, pairs, services, size;
    bool *contestants; /* by index: chosen */
    bool cases[16];    /* likewise */
    const char *csv_path;
    FILE *csv, *out; /* csv NULL: none wanted */
};

bool pool_chosen(const struct pool_options *options, const char *contestant);
/* Of the chosen contestants, those that take part in the case; the number of them. */
size_t pool_chosen_for(const struct pool_options *options, unsigned in_case,
                       const struct pool_contestant *out[], size_t room);
/* Sets the elements of `chosen` that the list "A,B" names. */
int pool_choose(const struct pool_options *options, const char *what, const char *list, size_t count,
                const char *(*name_of)(size_t), bool *chosen);
int pool_read_number(const char *option, const char *text, size_t most, size_t *out); /* from 1 on */
/* Where figures and tables go. */
int pool_open_csv(struct pool_options *options);
int pool_close_csv(struct pool_options *options);
size_t pool_rounds(const struct pool_options *options, size_t usual, size_t quick);

/* ---- cases; each prints its table and returns an exit status, having said why ---- */

int pool_case_pair(const struct pool_options *options);
int pool_case_share(const struct pool_options *options);
int pool_case_held(const struct pool_options *options);
int pool_case_handoff(const struct pool_options *options);
int pool_case_idle(const struct pool_options *options);
int pool_case_pools(const struct pool_options *options);
int pool_case_order(const struct pool_options *options);
int pool_case_shrink(const struct pool_options *options);
/* --pairs: nothing but that many pairs of one contestant, in a thread made for it. */
int pool_count_pairs(const struct pool_contestant *who, size_t count);

/* Says that no chosen contestant is in this case, which is no failure: DONE. */
int pool_nobody(const char *name, const struct pool_options *options);

/* ---- threads ---- */

/* What each of the threads does again and again until time is up: `count` pairs, or a few more. */
struct pool_run {
    const struct pool_contestant *who;
    void *state;
    size_t threads;
    int (*work)(const struct pool_run *run, void *own, size_t count);
    size_t depth;      /* for the work */
    bool oldest_first; /* likewise */
    bool shared;       /* threads stop each other */
    size_t batch;      /* pairs between two looks at the clock; 0: as usual */
    const void *load;  /* for the work of bumpool-bench buffers */
};

struct pool_cost {
    double cpu, wall; /* ns per pair, of a thread's own pairs: the mean of the threads */
    double together;  /* ns from one pair to the next, whoever does it */
    double least;     /* what the thread with the fewest pairs got, in per cent of an even share */
};

int pool_work_pairs(const struct pool_run *run, void *own, size_t count);
int pool_work_held(const struct pool_run *run, void *own, size_t count);

/* Lets the threads work side by side for `ns`. An errno value. */
int pool_try(const struct pool_run *run, uint64_t ns, struct pool_cost *cost);
/* The same; an exit status, having said why. */
int pool_measure(const struct pool_run *run, uint64_t ns, struct pool_cost *cost);

size_t pool_cpu_count(void);        /* processors that this process may use */
void pool_pin_thread(size_t index); /* threads of different index to different ones while there are enough */
/* After a failure that another thread must mend: the same for all contestants. */
void pool_back_off(unsigned failures);

/* ---- tables ---- */

#define NO_ROW SIZE_MAX
enum { POOL_RATIOS = 2, VARIANT = 84 };

struct pool_row {
    const char *contestant;
    char variant[VARIANT];
    double *values, *others; /* one for each round */
    size_t base[POOL_RATIOS];
    int error; /* not 0: it could not be measured, and has no figures */
};

struct pool_table {
    const char *name, *title;
    const char *value_title, *value_metric; /* on the screen, in the CSV file */
    const char *other_title, *other_metric; /* NULL: there is none */
    const char *ratio_title[POOL_RATIOS], *ratio_metric[POOL_RATIOS]; /* NULL: likewise */
    size_t rounds, row_count, row_room;
    struct pool_row *rows;
    bool refusals; /* a row that fails is left out, instead of ending it all */
};

/* The run's work of `count` pairs, once, by one thread made for it. An errno value. */
int pool_run_once(const struct pool_run *run, size_t count);

/* In every round each row's run is measured once, and the order rotates. The value is the processor time of
 * a pair, and the other the time that passed; together: the time from pair to pair, and the least share. */
int pool_measure_rows(struct pool_table *table, const struct pool_run *runs, bool together,
                      const struct pool_options *options);

/* A new row, without bases; NO_ROW: out of memory, which has been said. */
size_t pool_table_add(struct pool_table *table, const char *contestant, const char *variant);
/* NO_ROW: there is none. */
size_t pool_table_find(const struct pool_table *table, const char *contestant, const char *variant);
struct figure pool_table_value(const struct pool_table *table, size_t row);
struct figure pool_table_ratio(const struct pool_table *table, size_t row, size_t which);
void pool_table_csv(const struct pool_table *table, const struct pool_options *options);
/* As aligned columns, and as pool_table_csv does. */
void pool_table_print(const struct pool_table *table, const struct pool_options *options);
/* One line that sets a ratio of a row beside what it should be at most; none when either is not there. */
void pool_table_target(const struct pool_table *table, size_t row, size_t ratio, double most, FILE *out);
void pool_table_free(struct pool_table *table);

#endif
