/* SPDX-License-Identifier: MIT
 * Messages and the progress line, which share standard error and must not write over each other.
 */
#include "bench.h"

#include <stdarg.h>
#include <unistd.h>

static bool progress_shown;

void progress_clear(void)
{
    if (progress_shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress_shown = false;
    }
}

void progress(const char *format, ...)
{
    va_list args;

    if (!isatty(STDERR_FILENO))
        return;
    fputs("\r\033[K", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
    progress_shown = true;
}

void complain(const char *format, ...)
{
    va_list args;

    progress_clear();
    fputs(PROGRAM ": ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
