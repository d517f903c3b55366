/* SPDX-License-Identifier: MIT
 * The guard backing: for debugging. Wrong accesses fault at once instead of doing harm later.
 *
 *     [inaccessible page][slack][extent][inaccessible page]
 *                        ^ start of a page             ^ end of a page
 *
 * An extent ends where a page does, so that the first byte past it faults. What is left of its first page,
 * the slack, cannot fault; it holds a pattern that dispose looks at. The size is what the caller cannot do
 * without, rounded up to the alignment: an extent larger than that would hide what runs over. Where the
 * alignment is larger than a page there is no slack, and the inaccessible range before the extent is as large
 * as the alignment.
 *
 * Quarantine: a range disposed of loses its memory and its access, and waits in a queue until it is
 * among the oldest and the queue is larger than its bound. Its node comes from malloc when the extent is
 * acquired, so that dispose needs no memory. A range that the system refuses to unmap goes back to the
 * old end of the queue: it is tried again with the next dispose, and until then nobody gets its addresses.
 * One at which the system refuses even the hiding (see os_hide) waits in the queue like others.
 *
 * The queue is under os_list_lock, system calls are not: a range is in the queue or in the hands of one
 * thread. In a child of fork the queue is the child's own, with addresses of its own; a range that another
 * thread had in its hands stays mapped there.
 */
#include <bumpool.h>

#include "configs.h"
#include "misuse_private.h"
#include "os.h"

#include <stdlib.h>

#define SLACK_BYTE 0xFD

struct range {
    struct range *newer;
    char *memory; /* the first byte of slack, or of the extent */
    void *start;  /* of all of it */
    size_t span;
};

struct guard_backing {
    bp_backing backing;
    size_t bound;                  /* of `bytes`; constant */
    size_t bytes;                  /* in the queue. Sync, this and below: os_list_lock */
    struct range *oldest, *newest; /* `newest` is valid while there is an oldest */
};

static struct guard_backing shared;

static int guard_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    size_t size, whole, slack;
    struct range *r;
    void *memory;
    int saved = errno;

    (void)self;
    (void)preferred;
    if (!os_round_up(min, align, &size) || !os_round_up(size, os_page_size(), &whole))
        return ENOMEM;
    r = malloc(sizeof *r);
    os_restore_errno(saved);
    if (r == NULL)
        return ENOMEM;
    if (os_map_guarded(whole, align, &memory, &r->start, &r->span) != 0) {
        free(r);
        return ENOMEM;
    }
    r->memory = memory;
    slack = whole - size;
    memset(r->memory, SLACK_BYTE, slack);
    *out = (struct bp_extent){.base = r->memory + slack, .size = size, .committed = size, .data = r};
    return 0;
}

/* ---- quarantine ---- */

static void push_newest(struct guard_backing *b, struct range *r)
{
    os_list_lock();
    r->newer = NULL;
    if (b->oldest == NULL)
        b->oldest = r;
    else
        b->newest->newer = r;
    b->newest = r;
    b->bytes += r->span;
    os_list_unlock();
}

static void push_oldest(struct guard_backing *b, struct range *r)
{
    os_list_lock();
    if (b->oldest == NULL)
        b->newest = r;
    r->newer = b->oldest;
    b->oldest = r;
    b->bytes += r->span;
    os_list_unlock();
}

/* Takes the oldest out, or NULL when at most `bound` bytes are in the queue. */
static struct range *pop_oldest(struct guard_backing *b, size_t bound)
{
    struct range *r = NULL;

    os_list_lock();
    if (b->bytes > bound) {
        r = b->oldest;
        b->oldest = r->newer;
        b->bytes -= r->span;
    }
    os_list_unlock();
    return r;
}

/* Unmaps the oldest while the queue is above its bound, or until the system refuses. */
static void shrink(struct guard_backing *b)
{
    struct range *r;

    while ((r = pop_oldest(b, b->bound)) != NULL) {
        if (os_try_unmap(r->start, r->span) != 0) {
            push_oldest(b, r);
            return;
        }
        free(r);
    }
}

/* ---- dispose ---- */

/* Tells of bytes before the extent that were written. A handler that jumps out leaves the extent as it is. */
static void check_slack(const struct range *r, const struct bp_extent *extent)
{
    size_t slack = (size_t)((char *)extent->base - r->memory), i, first = slack, count = 0;

    for (i = slack; i-- > 0;) {
        if ((unsigned char)r->memory[i] != SLACK_BYTE) {
            first = i;
            count++;
        }
    }
    if (count != 0)
        (void)misuse_report(BP_MISUSE_OVERRUN, NULL, NULL,
                            "guard backing: extent of %zu bytes at %p: %zu bytes before it were written, the "
                            "first of them %zu before it",
                            extent->size, extent->base, count, slack - first);
}

static void guard_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct guard_backing *b = (struct guard_backing *)self;
    struct range *r = extent->data;

    check_slack(r, extent);
    /* What has no place in the queue must not push others out of it. */
    if (r->span > b->bound && os_try_unmap(r->start, r->span) == 0) {
        free(r);
    } else {
        os_hide(r->memory, (size_t)((char *)extent->base + extent->size - r->memory));
        if (r->span > b->bound)
            push_oldest(b, r);
        else
            push_newest(b, r);
    }
    shrink(b);
}

/* ---- life ---- */

static void guard_destroy(bp_backing *self)
{
    struct guard_backing *b = (struct guard_backing *)self;
    struct range *r;

    if (b == &shared)
        return;
    while ((r = pop_oldest(b, 0)) != NULL) {
        os_unmap(r->start, r->span);
        free(r);
    }
    free(b);
}

static const struct bp_backing_ops guard_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "guard",
    .acquire = guard_acquire,
    .dispose = guard_dispose,
    .destroy = guard_destroy,
};

static struct guard_backing shared = {.backing = {&guard_ops}, .bound = BP_QUARANTINE_DEFAULT};

bp_backing *bp_backing_guard(void)
{
    return &shared.backing;
}

int bp_backing_guard_create(const struct bp_guard_config *config, bp_backing **out)
{
    struct bp_guard_config c = BP_GUARD_CONFIG_INIT;
    struct guard_backing *b;
    int saved = errno;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    *b = (struct guard_backing){.backing = {&guard_ops}, .bound = c.quarantine};
    *out = &b->backing;
    return 0;
}
