/* SPDX-License-Identifier: MIT
 * What is measured and how: time, page faults, system calls, resident memory.
 */
#ifndef BENCH_COUNTERS_H
#define BENCH_COUNTERS_H

#include "bench.h"

/* Monotonic time in nanoseconds. */
uint64_t counter_time(void);

/* Processor time of this thread, in user and kernel mode, in nanoseconds: other processes' turns on the
 * processor are not in it. A system call; falls back to counter_time. */
uint64_t counter_cpu_time(void);

/* Minor page faults of this thread so far. */
uint64_t counter_faults(void);

/* Keeps this process on the processor it is on; a refusal does not matter. */
void pin_to_cpu(void);

/* One contestant's work as seen by a child process of its own. Both return DONE or another exit status,
 * having said why. */
struct job {
    int (*setup)(struct job *job);
    int (*pass)(struct job *job);
    int warm_up_passes; /* before the counted one */
};

struct child_counts {
    bool syscalls_known; /* false: ptrace is not permitted here */
    uint64_t syscalls;   /* of one pass after warm-up */
    uint64_t faults;     /* minor ones of that pass */
    bool peak_rss_known;
    long peak_rss_kib; /* see counters.c */
    bool kept_rss_known;
    long kept_rss_kib; /* what the setup and all passes left resident */
};

/* Runs the job in a child: setup, warm-up passes, one counted pass. Returns DONE or FAILED, or what the
 * job returned. */
int count_in_child(struct job *job, struct child_counts *out);

#endif
