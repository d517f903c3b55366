/* SPDX-License-Identifier: MIT
 * The locked backing: for secrets. Memory that stays in RAM, out of core dumps and out of children of fork,
 * between two inaccessible pages, and is overwritten before the system gets it back.
 *
 * It fails closed: an extent has all of this or there is none. What each part is for:
 *
 *     mlock            nothing is written to swap
 *     MADV_DONTDUMP    nor to a core file
 *     MADV_WIPEONFORK  a child, whose memory is not locked, finds zeros
 *     two gaps         neither a neighbour that runs over nor the extent itself gets across
 *     explicit_bzero   the page is zero before the kernel has it; no compiler drops it, as it may memset
 *
 * Extents are whole pages, since that is what can be locked. There is no state but what is in the extent: its
 * `data` is the start of the range, gaps included, so that a child can dispose of its copy like the parent.
 *
 * Locked memory is scarce (RLIMIT_MEMLOCK), so where `preferred` is refused, `min` is tried.
 */
#include <bumpool.h>

#include "os.h"

#include <string.h>

/* 0, or why the system refuses; then everything is undone. */
static int take(size_t wanted, size_t align, struct bp_extent *out)
{
    void *memory, *start;
    size_t size, span;
    int err;

    if (!os_round_up(wanted, os_page_size(), &size))
        return ENOMEM;
    err = os_map_guarded(size, align, &memory, &start, &span);
    if (err != 0)
        return err;
    err = os_make_secret(memory, size);
    if (err != 0) {
        os_unmap_special(start, span);
        return err;
    }
    *out = (struct bp_extent){.base = memory, .size = size, .committed = size, .data = start};
    return 0;
}

static void locked_dispose(bp_backing *self, const struct bp_extent *extent)
{
    char *end = (char *)extent->base + extent->size + os_page_size();

    (void)self;
    explicit_bzero(extent->base, extent->size);
    os_unmap_special(extent->data, (size_t)(end - (char *)extent->data));
}

static int locked_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    (void)self;
    if (take(preferred, align, out) == 0 || (min < preferred && take(min, align, out) == 0))
        return 0;
    return ENOMEM;
}

static const struct bp_backing_ops locked_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "locked",
    .acquire = locked_acquire,
    .dispose = locked_dispose,
};

static bp_backing shared = {&locked_ops};

bp_backing *bp_backing_locked(void)
{
    return &shared;
}

int bp_backing_locked_probe(void)
{
    struct bp_extent extent;
    int err = take(1, 1, &extent);

    if (err == 0)
        locked_dispose(&shared, &extent);
    return err;
}
