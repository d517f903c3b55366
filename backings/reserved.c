/* SPDX-License-Identifier: MIT
 * The reserved backing: a large range of address space per extent, turned into memory from its base as it is
 * used, so that an arena grows in place for as long as anyone can wish.
 *
 * Invariant: [base, base + committed) is memory, [base + committed, base + size) is reserved and
 * inaccessible, and committed is at least a page. So an extent is two areas of the kernel's, one when fully
 * committed: growing moves the border between them and never adds one. (After a fork the kernel may be unable
 * to merge what the child commits with what it inherited; then it is one area per step of commit.)
 *
 * Address space is refused where it is limited (RLIMIT_AS) and memory where it is accounted strictly
 * (vm.overcommit_memory 2). The first makes acquire halve the reservation, which costs nothing but reach; the
 * second makes a commit that wanted to be generous ask again for exactly what is needed.
 *
 * The system's reason is not passed on: ENOMEM says all that a caller can act on.
 *
 * Commits double, so that n bytes take log(n) system calls, but by 4 MiB at most, so that the strictly
 * accounted memory is never far from what is used. The granule of release is a small page: where huge
 * pages come unasked, a large commit may be given some and a release may split one. A granule of
 * 2 MiB would avoid it and make every small arena commit, and on such systems touch, 2 MiB.
 */
#include <bumpool.h>

#include "configs.h"
#include "pages.h"

#include <stdlib.h>

#define STEP_MAX ((size_t)4 << 20)

/* A caller's wish beyond the configured reservation counts up to here: one who wishes for all there is must
 * not get half of the address space. What the caller needs, or the configuration says, is not bounded. */
#define WISH_MAX ((size_t)1 << (sizeof(size_t) > 4 ? 34 : 28))

struct reserved_backing {
    bp_backing backing;
    size_t reservation, commit_step; /* above 0, at most PTRDIFF_MAX, not rounded */
};

static struct reserved_backing shared;

/* `size` rounded up to pages, or the largest size that can be. */
static size_t round_up_or_most(size_t size, size_t page)
{
    size_t rounded;

    return os_round_up(size, page, &rounded) ? rounded : (size_t)PTRDIFF_MAX & ~(page - 1);
}

static int reserved_acquire(bp_backing *self, size_t min, size_t preferred, size_t align,
                            struct bp_extent *out)
{
    const struct reserved_backing *b = (const struct reserved_backing *)self;
    size_t page = os_page_size(), least, size, first;
    void *base;

    if (!os_round_up(min, page, &least))
        return ENOMEM;
    size = preferred < WISH_MAX ? preferred : WISH_MAX;
    size = round_up_or_most(size > b->reservation ? size : b->reservation, page);
    if (size < least)
        size = least;
    while (os_reserve(size, align, &base) != 0) {
        if (size == least)
            return ENOMEM;
        size = size / 2 & ~(page - 1);
        if (size < least)
            size = least;
    }

    first = round_up_or_most(b->commit_step, page);
    if (first > size)
        first = size;
    if (os_commit(base, first) != 0) {
        first = page;
        if (os_commit(base, first) != 0) {
            os_unmap(base, size);
            return ENOMEM;
        }
    }
    *out = (struct bp_extent){.base = base, .size = size, .committed = first, .page = page};
    return 0;
}

static void reserved_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    os_unmap(extent->base, extent->size);
}

static int reserved_commit(bp_backing *self, struct bp_extent *extent, size_t size)
{
    size_t mask = extent->page - 1, committed = extent->committed, step, target;
    char *end = (char *)extent->base + committed;

    (void)self;
    if (size <= committed)
        return 0;
    size = (size + mask) & ~mask; /* at most extent->size, which is whole pages */
    step = committed < STEP_MAX ? committed : STEP_MAX;
    if (step > extent->size - committed)
        step = extent->size - committed;
    target = committed + step > size ? committed + step : size;
    if (os_commit(end, target - committed) != 0) {
        target = size;
        if (os_commit(end, target - committed) != 0)
            return ENOMEM;
    }
    extent->committed = target;
    return 0;
}

static int reserved_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                            size_t *released)
{
    (void)self;
    return pages_release(extent, offset, length, false, released);
}

static int reserved_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    return pages_populate(extent, offset, length);
}

static void reserved_destroy(bp_backing *self)
{
    if (self != &shared.backing)
        free(self);
}

static const struct bp_backing_ops reserved_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "reserved",
    .acquire = reserved_acquire,
    .dispose = reserved_dispose,
    .commit = reserved_commit,
    .release = reserved_release,
    .populate = reserved_populate,
    .destroy = reserved_destroy,
};

static struct reserved_backing shared = {{&reserved_ops}, BP_RESERVATION_DEFAULT, 65536};

bp_backing *bp_backing_reserved(void)
{
    return &shared.backing;
}

int bp_backing_reserved_create(const struct bp_reserved_config *config, bp_backing **out)
{
    struct bp_reserved_config c = BP_RESERVED_CONFIG_INIT;
    struct reserved_backing *b;
    int saved = errno;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    if (c.reservation == 0 || c.reservation > PTRDIFF_MAX)
        return EINVAL;
    if (c.commit_step == 0 || c.commit_step > PTRDIFF_MAX)
        return EINVAL;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    *b = (struct reserved_backing){{&reserved_ops}, c.reservation, c.commit_step};
    *out = &b->backing;
    return 0;
}
