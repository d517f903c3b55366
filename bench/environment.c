/* SPDX-License-Identifier: MIT
 * What the figures were measured on.
 */
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <bumpool.h>

#include "gitwalk.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

static void copy_line(char *out, size_t room, const char *text)
{
    size_t length;

    text += strspn(text, " \t");
    length = strcspn(text, "\n");
    snprintf(out, room, "%.*s", (int)(length < room ? length : room - 1), text);
}

static void find_cpu(char *out, size_t room)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    snprintf(out, room, "unknown");
    if (file == NULL)
        return;
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');

        if (colon != NULL && strncmp(line, "model name", 10) == 0) {
            copy_line(out, room, colon + 1);
            break;
        }
    }
    fclose(file);
}

/* The word in brackets: "always [madvise] never". */
static void find_huge_pages(char *out, size_t room)
{
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    char line[128], *open, *close;

    snprintf(out, room, "unknown");
    if (file == NULL)
        return;
    if (fgets(line, sizeof(line), file) != NULL && (open = strchr(line, '[')) != NULL &&
        (close = strchr(open, ']')) != NULL) {
        *close = '\0';
        copy_line(out, room, open + 1);
    }
    fclose(file);
}

void environment_find(struct environment *out)
{
    struct utsname name;

    find_cpu(out->cpu, sizeof(out->cpu));
    find_huge_pages(out->huge_pages, sizeof(out->huge_pages));
    if (uname(&name) == 0)
        snprintf(out->kernel, sizeof(out->kernel), "%.16s %.64s %.64s", name.sysname, name.release,
                 name.machine);
    else
        snprintf(out->kernel, sizeof(out->kernel), "unknown");
#if defined(__clang__)
    snprintf(out->compiler, sizeof(out->compiler), "%s", __VERSION__);
#elif defined(__GNUC__)
    snprintf(out->compiler, sizeof(out->compiler), "gcc %s", __VERSION__);
#else
    snprintf(out->compiler, sizeof(out->compiler), "unknown");
#endif
    out->bumpool = bp_version();
    out->libgit2 = libgit2_version_text();
    out->mimalloc = mimalloc_version_text();
}

void environment_print(const struct environment *e, FILE *out)
{
    fprintf(out, "cpu        %s\nkernel     %s\nhuge pages %s\ncompiler   %s\n", e->cpu, e->kernel,
            e->huge_pages, e->compiler);
    fprintf(out, "libraries  bumpool %s, libgit2 %s, mimalloc %s\n", e->bumpool,
            e->libgit2 != NULL ? e->libgit2 : "left out", e->mimalloc != NULL ? e->mimalloc : "left out");
    if (contestants_left_out[0] != NULL) {
        fputs("left out   not in this build:", out);
        for (size_t i = 0; contestants_left_out[i] != NULL; i++)
            fprintf(out, " %s", contestants_left_out[i]);
        fputc('\n', out);
    }
    if (SANITIZED)
        fputs("note       built with a sanitizer: the figures say nothing about speed\n", out);
    if (malloc_is_replaced())
        fputs("note       another library replaces malloc in this process; the contestant malloc calls the C "
              "library's\n",
              out);
}
