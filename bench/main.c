/* SPDX-License-Identifier: MIT
 * bumpool-bench: the subcommands.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>

#include <bumpool.h>

struct subcommand {
    const char *name, *title, *summary;
    int (*run)(int argc, char **argv);
};

static const struct subcommand SUBCOMMANDS[] = {
    {"commits", PROGRAM " commits", "per-commit work of a VCS tool over a git history, and its replay",
     commits_main},
    {"pool", PROGRAM " pool", "taking things from a pool and putting them back", pool_main},
    {"buffers", PROGRAM " buffers", "buffers of differing sizes from bucket pools and others", buffers_main},
    {"choices", PROGRAM " choices", "the measurements behind doc/design.md", choices_main},
};
#define SUBCOMMAND_COUNT (sizeof(SUBCOMMANDS) / sizeof(SUBCOMMANDS[0]))

static void help(FILE *out)
{
    fputs("usage: " PROGRAM " SUBCOMMAND [OPTION]...\n"
          "       " PROGRAM " SUBCOMMAND --help\n"
          "       " PROGRAM " --help | --version\n\n"
          "Measures bumpool beside other ways of getting scratch memory, on real work.\n\n"
          "Subcommands:\n",
          out);
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", SUBCOMMANDS[i].name, SUBCOMMANDS[i].summary);
}

/* A full disk shows itself only when the last of the output is pushed out. */
static int close_stdout(int status)
{
    if (ferror(stdout) || fflush(stdout) != 0) {
        complain("cannot write standard output: %s", strerror(errno != 0 ? errno : EIO));
        return status == DONE ? FAILED : status;
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return BAD_INPUT;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(stdout);
        return close_stdout(DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf(PROGRAM " %s\n", bp_version());
        return close_stdout(DONE);
    }
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++) {
        char title[64];

        if (strcmp(argv[1], SUBCOMMANDS[i].name) != 0)
            continue;
        snprintf(title, sizeof(title), "%s", SUBCOMMANDS[i].title);
        argv[1] = title; /* getopt begins its messages with it */
        return close_stdout(SUBCOMMANDS[i].run(argc - 1, argv + 1));
    }
    complain("no subcommand \"%s\"; see " PROGRAM " --help", argv[1]);
    return BAD_INPUT;
}
