/* SPDX-License-Identifier: MIT
 * Counters.
 *
 * System calls are counted by the kernel's own account of them: a child process does the work, traced with
 * ptrace. It marks the counted pass by stopping itself before and after; between the two it is resumed with
 * PTRACE_SYSCALL, which stops it at the entry and at the exit of every call. The closing mark is a call too
 * and is taken off. Outside the marks the child runs at full speed.
 *
 * Peak RSS is the VmHWM of that child at its end: the whole process, so it includes the program, the
 * libraries, the trace or libgit2's caches, and all else that the parent had resident when it forked. The
 * rows of a table compare; the difference between two is what the contestants differ in. Children are forked
 * before any contestant is set up in the parent, and so inherit none.
 */
#include "counters.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef RUSAGE_THREAD
#define RUSAGE_THREAD RUSAGE_SELF
#endif

uint64_t counter_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t counter_cpu_time(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0)
        return counter_time();
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t counter_faults(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_minflt : 0;
}

void pin_to_cpu(void)
{
    int cpu = sched_getcpu();
    cpu_set_t set;

    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

/* What the child tells the parent through a pipe. */
struct message {
    int status;
    uint64_t faults;
    long peak_rss_kib; /* -1: not known */
    long rss_kib[2];   /* before the setup and after the passes; likewise */
};

static void reset_peak_rss(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* a child starts with what is resident anyway */
    if (write(fd, "5", 1) != 1)
        (void)0;
    close(fd);
}

/* A number of KiB in /proc/self/status, or -1. */
static long status_kib(const char *name)
{
    char text[8192], *line;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (fd < 0)
        return -1;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    line = strstr(text, name);
    return line != NULL ? strtol(line + strlen(name), NULL, 10) : -1;
}

static long peak_rss(void)
{
    long kib = status_kib("VmHWM:");
    struct rusage usage;

    if (kib >= 0)
        return kib;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : -1;
}

/* Stops this process, by exactly one system call. */
static void mark(pid_t self)
{
    syscall(SYS_tgkill, self, self, SIGSTOP);
}

static void __attribute__((noreturn)) child_main(struct job *job, bool traced, int to_parent)
{
    struct message message = {DONE, 0, -1, {-1, -1}};
    pid_t self = getpid();

    /* not traced after all: the parent sees an exit with this status and tries again without */
    if (traced && ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(77);
    reset_peak_rss();
    message.rss_kib[0] = status_kib("VmRSS:");
    message.status = job->setup(job);
    for (int i = 0; message.status == DONE && i < job->warm_up_passes; i++)
        message.status = job->pass(job);
    if (message.status == DONE) {
        uint64_t faults = counter_faults();

        if (traced)
            mark(self);
        message.status = job->pass(job);
        if (traced)
            mark(self);
        message.faults = counter_faults() - faults;
    }
    message.rss_kib[1] = status_kib("VmRSS:");
    message.peak_rss_kib = peak_rss();
    if (write(to_parent, &message, sizeof(message)) != (ssize_t)sizeof(message))
        _exit(1);
    _exit(0); /* and none of the parent's unwritten output */
}

static pid_t wait_for(pid_t child, int *status)
{
    pid_t done;

    do {
        done = waitpid(child, status, 0);
    } while (done < 0 && errno == EINTR);
    return done;
}

/* Follows the child to its end. False: it could not be traced, and has been done away with. */
static bool trace_child(pid_t child, struct child_counts *out)
{
    uint64_t stops = 0;
    int status, marks = 0, signal_to_pass;

    for (;;) {
        if (wait_for(child, &status) != child)
            return false;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            out->syscalls_known = marks == 2;
            out->syscalls = stops / 2 - 1;
            return !(WIFEXITED(status) && WEXITSTATUS(status) == 77);
        }
        signal_to_pass = WSTOPSIG(status);
        if (signal_to_pass == (SIGTRAP | 0x80)) {
            stops++;
            signal_to_pass = 0;
        } else if (signal_to_pass == SIGSTOP) {
            marks++;
            signal_to_pass = 0;
            if (marks == 1 && ptrace(PTRACE_SETOPTIONS, child, NULL,
                                     (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0)
                break;
        }
        if (ptrace(marks == 1 ? PTRACE_SYSCALL : PTRACE_CONT, child, NULL,
                   (void *)(intptr_t)signal_to_pass) != 0)
            break;
    }
    kill(child, SIGKILL);
    (void)wait_for(child, &status);
    return false;
}

/* One try; *retry is set when the child could not be traced. */
static int run_child(struct job *job, bool traced, struct child_counts *out, bool *retry)
{
    struct message message;
    int ends[2], status;
    ssize_t got;
    pid_t child;

    *retry = false;
    memset(out, 0, sizeof(*out));
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        complain("cannot make a pipe: %s", strerror(errno));
        return FAILED;
    }
    child = fork();
    if (child < 0) {
        complain("cannot fork: %s", strerror(errno));
        close(ends[0]);
        close(ends[1]);
        return FAILED;
    }
    if (child == 0)
        child_main(job, traced, ends[1]);
    close(ends[1]);
    if (traced)
        *retry = !trace_child(child, out);
    else
        (void)wait_for(child, &status);
    got = read(ends[0], &message, sizeof(message)); /* the child has ended: this does not block */
    close(ends[0]);
    if (*retry)
        return DONE;
    if (got != (ssize_t)sizeof(message)) {
        complain("the child process that counts system calls died");
        return FAILED;
    }
    out->peak_rss_known = message.peak_rss_kib >= 0;
    out->peak_rss_kib = message.peak_rss_kib;
    out->faults = message.faults;
    out->kept_rss_known = message.rss_kib[0] >= 0 && message.rss_kib[1] >= 0;
    out->kept_rss_kib = message.rss_kib[1] - message.rss_kib[0];
    return message.status;
}

int count_in_child(struct job *job, struct child_counts *out)
{
    static bool cannot_trace;
    bool retry = false;
    int status;

    if (!cannot_trace) {
        status = run_child(job, true, out, &retry);
        if (!retry)
            return status;
        cannot_trace = true;
    }
    return run_child(job, false, out, &retry);
}
