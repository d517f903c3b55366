/* SPDX-License-Identifier: MIT
 * See check_tools.h.
 */
#define _GNU_SOURCE
#include "config.h"

#include "check_tools.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_VALGRIND_MEMCHECK_H
#include <valgrind/memcheck.h>
#else
#define VALGRIND_CREATE_MEMPOOL(pool, redzone, zeroed) (void)(redzone)
#define VALGRIND_DESTROY_MEMPOOL(pool) (void)(pool)
#define VALGRIND_MEMPOOL_ALLOC(pool, p, size) (void)(p)
#define VALGRIND_MEMPOOL_FREE(pool, p) (void)(p)
#define VALGRIND_MEMPOOL_CHANGE(pool, p, q, size) ((void)(pool), (void)(size))
#define VALGRIND_MAKE_MEM_UNDEFINED(p, size) ((void)(p), 0)
#define VALGRIND_MAKE_MEM_NOACCESS(p, size) (void)(p)
#define VALGRIND_MAKE_MEM_DEFINED(p, size) ((void)(p), 0)
#endif

#define WEAK __attribute__((weak, visibility("default")))
extern void __asan_poison_memory_region(void const volatile *p, size_t size) WEAK;
extern void __asan_unpoison_memory_region(void const volatile *p, size_t size) WEAK;
extern void __asan_set_error_report_callback(void (*callback)(const char *report)) WEAK;
extern void *__asan_get_report_address(void) WEAK;
extern void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t size) WEAK;

static bool on_asan(void)
{
    return __asan_poison_memory_region != NULL && __asan_unpoison_memory_region != NULL;
}

/* Memcheck, that is: its other tools, such as profilers, do not know this request and leave it at 0. */
static bool on_valgrind(void)
{
    char byte = 0;

    return VALGRIND_MAKE_MEM_DEFINED(&byte, sizeof byte) != 0;
}

const char *tool_name(void)
{
    return on_asan() ? "AddressSanitizer" : on_valgrind() ? "Valgrind" : NULL;
}

void tool_arena_begin(const void *anchor, size_t zone)
{
    if (on_valgrind())
        VALGRIND_CREATE_MEMPOOL(anchor, zone, 0);
}

void tool_arena_end(const void *anchor)
{
    if (on_valgrind())
        VALGRIND_DESTROY_MEMPOOL(anchor);
}

void tool_hide(char *p, const char *end)
{
    if (p >= end)
        return;
    if (on_asan())
        __asan_poison_memory_region(p, (size_t)(end - p));
    else if (on_valgrind())
        (void)VALGRIND_MAKE_MEM_NOACCESS(p, (size_t)(end - p));
}

void tool_show(char *p, const char *end)
{
    if (p >= end)
        return;
    if (on_asan())
        __asan_unpoison_memory_region(p, (size_t)(end - p));
    else if (on_valgrind())
        (void)VALGRIND_MAKE_MEM_DEFINED(p, (size_t)(end - p));
}

void tool_block(const void *anchor, char *p, size_t size)
{
    if (on_valgrind())
        VALGRIND_MEMPOOL_ALLOC(anchor, p, size);
}

void tool_block_gone(const void *anchor, char *p)
{
    if (on_valgrind())
        VALGRIND_MEMPOOL_FREE(anchor, p);
}

void tool_block_resized(const void *anchor, char *p, size_t before, size_t size)
{
    if (!on_valgrind())
        return;
    VALGRIND_MEMPOOL_CHANGE(anchor, p, p, size);
    if (size > before)
        (void)VALGRIND_MAKE_MEM_UNDEFINED(p + before, size - before);
}

static void (*tell_about)(const void *address);
static pthread_once_t tell_once = PTHREAD_ONCE_INIT;

static void reported(const char *report)
{
    (void)report;
    if (__asan_get_report_address != NULL)
        tell_about(__asan_get_report_address());
}

static void set_callback(void)
{
    if (__asan_set_error_report_callback != NULL)
        __asan_set_error_report_callback(reported);
}

void tool_on_report(void (*tell)(const void *address))
{
    if (!on_asan())
        return;
    tell_about = tell;
    pthread_once(&tell_once, set_callback);
}

void tool_print_stack(const struct misuse_stack *stack)
{
    if (__sanitizer_symbolize_pc == NULL) {
        misuse_stack_print(stack);
        return;
    }
    for (size_t i = 0; i < stack->depth; i++) {
        char where[512] = "", line[600];

        /* A return address is past its call, perhaps in the next line. There may be several strings, for inlined
         * functions, and an empty one after the last. */
        __sanitizer_symbolize_pc((char *)stack->frames[i] - 1, "%p in %f %L", where, sizeof where - 1);
        for (const char *p = where; *p != '\0'; p += strlen(p) + 1) {
            (void)snprintf(line, sizeof line, "    #%zu %s\n", i, p);
            (void)!write(STDERR_FILENO, line, strlen(line));
        }
    }
}
