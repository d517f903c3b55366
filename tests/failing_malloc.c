/* SPDX-License-Identifier: MIT
 * See failing_malloc.h. The plan is three atomics that are not read together: a test sets it while no other
 * thread allocates, or does not mind which call fails. All of them are sequentially consistent and pair with
 * the accesses in failing_malloc_plan and wanted below.
 */
#include "failing_malloc.h"

#include <errno.h>
#include <stdatomic.h>

/* The names are the linker's. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_realloc(void *p, size_t size);

static atomic_size_t plan_at, calls, injected;
static atomic_bool plan_persistent;

static bool wanted(void)
{
    size_t at = atomic_load(&plan_at), call = atomic_fetch_add(&calls, 1) + 1;

    if (at == 0 || call < at || (call > at && !atomic_load(&plan_persistent)))
        return false;
    atomic_fetch_add(&injected, 1);
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return wanted() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return wanted() ? NULL : __real_calloc(n, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return wanted() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return wanted() ? NULL : __real_realloc(p, size);
}

void failing_malloc_plan(size_t fail_at, bool persistent)
{
    atomic_store(&plan_at, 0);
    atomic_store(&plan_persistent, persistent);
    atomic_store(&calls, 0);
    atomic_store(&injected, 0);
    atomic_store(&plan_at, fail_at);
}

size_t failing_malloc_injected(void)
{
    return atomic_load(&injected);
}

size_t failing_malloc_calls(void)
{
    return atomic_load(&calls);
}
