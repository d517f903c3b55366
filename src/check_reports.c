/* SPDX-License-Identifier: MIT
 *
 * Checked mode in words: what was found, and what a tool's report is about.
 */
#define _GNU_SOURCE
#include "check_blocks.h"

#include "check_tools.h"

#include <stdio.h>
#include <unistd.h>

const char *check_describe(const struct arena *a, char *text, size_t size)
{
    const char *site = atomic_load_explicit(&a->site, memory_order_relaxed); /* the holder's own */
    int n = snprintf(text, size, "arena %p", (const void *)a);

    if (site == NULL)
        site = a->checks->site;
    if (a->totals != NULL && n > 0 && (size_t)n < size)
        n += snprintf(text + n, size - (size_t)n, " of pool \"%s\"", a->totals->pool_name);
    if (site != NULL && n > 0 && (size_t)n < size)
        (void)snprintf(text + n, size - (size_t)n, " (checked out at %s)", site);
    return text;
}

/* In its segment. */
static size_t offset_in(const struct arena *a, const char *p)
{
    const struct segment *s = a->newest;

    while (s->older != NULL && ((uintptr_t)p < (uintptr_t)s->start || (uintptr_t)p >= (uintptr_t)s->end))
        s = s->older;
    return (size_t)((uintptr_t)p - (uintptr_t)s->start);
}

void check_report_zone(struct arena *a, const struct block *b, const char *byte)
{
    unsigned value = (unsigned char)*byte;
    char who[160];

    check_describe(a, who, sizeof who);
    if (byte < b->start)
        misuse_note_block(BP_MISUSE_OVERRUN, check_pool_of(a), &a->pub, &b->stack,
                          "underrun in %s: the byte %zu before a block of %zu bytes (at %p) is 0x%02x", who,
                          (size_t)(b->start - byte), b->size, (void *)b->start, value);
    else
        misuse_note_block(BP_MISUSE_OVERRUN, check_pool_of(a), &a->pub, &b->stack,
                          "overrun in %s: the byte %zu after a block of %zu bytes (at %p) is 0x%02x", who,
                          (size_t)(byte - (b->start + b->size)) + 1, b->size, (void *)b->start, value);
}

static const struct block *find_in(const struct block_list *list, const char *p)
{
    for (size_t i = list->count; i-- != 0;) {
        const struct block *b = &list->item[i];

        if (b->mark == 0 && (uintptr_t)p >= (uintptr_t)b->place && (uintptr_t)p < (uintptr_t)b->place_end)
            return b;
    }
    return NULL;
}

void check_report_dropped(struct arena *a, const char *byte)
{
    const struct block *b = find_in(&a->checks->block, byte);
    char who[160];

    if (b == NULL)
        b = find_in(&a->checks->last, byte);
    check_describe(a, who, sizeof who);
    if (b == NULL)
        misuse_note_block(BP_MISUSE_USE_AFTER_DROP, check_pool_of(a), &a->pub, NULL,
                          "use after drop in %s: offset %zu, dropped by reset, rewind or give_back, "
                          "was written later", who, offset_in(a, byte));
    else
        misuse_note_block(BP_MISUSE_USE_AFTER_DROP, check_pool_of(a), &a->pub, &b->stack,
                          "use after drop in %s: byte %td of a block of %zu bytes (at %p), dropped by reset, "
                          "rewind or give_back, was written later", who, byte - b->start, b->size,
                          (void *)b->start);
}

/* ---- after the report of a tool ---- */

static void tell_line(const char *format, ...) BP_PRINTF(1, 2);
static void tell_line(const char *format, ...)
{
    char line[320];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    (void)!write(STDERR_FILENO, line, strlen(line));
}

static bool lies_in(const struct segment *chain, uintptr_t p)
{
    for (const struct segment *s = chain; s != NULL; s = s->older)
        if (p >= (uintptr_t)s->start && p < (uintptr_t)s->end)
            return true;
    return false;
}

void check_tell_of_address(const struct checks *all, const void *address)
{
    const char *p = address;

    for (const struct checks *c = all; c != NULL; c = c->next) {
        const struct block *b = find_in(&c->block, p);
        char who[160];

        check_describe(c->arena, who, sizeof who);
        if (b == NULL)
            b = find_in(&c->last, p);
        if (b == NULL && (lies_in(c->arena->newest, (uintptr_t)p) || lies_in(c->arena->spare, (uintptr_t)p)))
            tell_line("bumpool: %p is in %s, where no block is\n", address, who);
        if (b == NULL)
            continue;
        if ((uintptr_t)p < (uintptr_t)b->start)
            tell_line("bumpool: %p is %zu bytes before a block of %zu bytes in %s", address, (size_t)(b->start - p),
                      b->size, who);
        else if ((uintptr_t)p >= (uintptr_t)b->start + b->size)
            tell_line("bumpool: %p is %zu bytes after a block of %zu bytes in %s", address,
                      (size_t)(p - (b->start + b->size)), b->size, who);
        else
            tell_line("bumpool: %p is byte %zu of a block of %zu bytes in %s", address, (size_t)(p - b->start),
                      b->size, who);
        tell_line("%s\nbumpool: it was allocated at\n",
                  b->dropped ? " which was dropped by reset, rewind or give_back" : "");
        tool_print_stack(&b->stack);
        return;
    }
}
