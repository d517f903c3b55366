/* SPDX-License-Identifier: MIT
 *
 * Which checks arenas have whose configuration does not say: BUMPOOL_CHECK in the environment, or the tool that the
 * process runs under.
 */
#define _GNU_SOURCE
#include "check_tools.h"
#include "checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *word;
    unsigned what;
} words[] = {
    { "poison", BP_CHECK_POISON }, { "redzone", BP_CHECK_REDZONE }, { "quarantine", BP_CHECK_QUARANTINE },
    { "guard", BP_CHECK_GUARD },   { "fill", BP_CHECK_FILL },       { "all", BP_CHECK_ALL },
    { "none", 0 },
};

static unsigned parse_word(const char *word, size_t length)
{
    char line[160];

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, word, length) == 0)
            return words[i].what;
    (void)snprintf(line, sizeof line,
                   "bumpool: BUMPOOL_CHECK: no such word: \"%.*s\" "
                   "(poison, redzone, quarantine, guard, fill, all, none)\n",
                   (int)(length < 32 ? length : 32), word);
    (void)!write(STDERR_FILENO, line, strlen(line));
    return 0;
}

static unsigned parse(const char *list)
{
    unsigned what = 0;

    while (*list != '\0') {
        size_t length = strcspn(list, ", ");

        if (length != 0)
            what |= parse_word(list, length);
        list += length;
        list += *list != '\0';
    }
    return what;
}

unsigned bp_check_default(void)
{
    /* The flags plus one, 0 before the first call. No pthread_once, which ends with a system call. Relaxed, pairs
     * with itself: two threads may both parse, and find the same. */
    static _Atomic(unsigned) known;
    unsigned what = atomic_load_explicit(&known, memory_order_relaxed);
    const char *list;

    if (what != 0)
        return what - 1;
    list = secure_getenv("BUMPOOL_CHECK");
    if (list != NULL)
        what = parse(list);
    else if (tool_name() != NULL)
        what = BP_CHECK_POISON | BP_CHECK_REDZONE | BP_CHECK_QUARANTINE;
    atomic_store_explicit(&known, what + 1, memory_order_relaxed);
    return what;
}

const char *bp_check_tool(void)
{
    return tool_name();
}

unsigned check_effective(unsigned config)
{
    return config == 0 ? bp_check_default() : config & (unsigned)BP_CHECK_ALL;
}
