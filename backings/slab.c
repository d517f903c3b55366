/* SPDX-License-Identifier: MIT
 * The slab backing: see slab.h.
 *
 * A chunk begins with its header, and its slots follow. Those that were in use and are free again are in a
 * list that runs through them; those behind were never used, so they are still as zero as the chunk came.
 * Chunks with a free slot are in a list, at its head the one that was full until lately, so that few chunks
 * are kept full and the others run empty. An empty one goes back, but for one: a bucket that needs a slot now
 * and then is not to ask for a chunk each time.
 *
 * The lock is not held across a call of the inner backing. Of two threads that find no free slot both may
 * acquire a chunk; both chunks are used.
 */
#include "slab.h"

#include "backing_private.h"
#include "os.h"

#include <pthread.h>
#include <stdlib.h>

/* What a free slot holds. Its memory had some other type before. */
struct __attribute__((may_alias)) slot {
    struct slot *next;
};

struct chunk {
    struct bp_extent extent;
    struct chunk *next, *prev; /* while it has a free slot */
    struct slot *free;
    size_t count;  /* slots */
    size_t carved; /* of these, used at some time */
    size_t live;   /* of these, in use */
};
#define HEADER ((sizeof(struct chunk) + SLAB_ALIGN - 1) & ~(SLAB_ALIGN - 1))

struct slab {
    bp_backing backing;
    bp_backing *inner;
    size_t slot, most;
    pthread_mutex_t lock;
    /* Sync: the lock. */
    struct chunk *head, *tail; /* chunks with a free slot */
    struct chunk *spare;       /* one of these, none of whose slots is in use, or NULL */
    size_t slots;              /* in all chunks */
};

/* ---- under the lock ---- */

static void push(struct slab *s, struct chunk *c)
{
    c->prev = NULL;
    c->next = s->head;
    *(s->head != NULL ? &s->head->prev : &s->tail) = c;
    s->head = c;
}

static void push_last(struct slab *s, struct chunk *c)
{
    c->next = NULL;
    c->prev = s->tail;
    *(s->tail != NULL ? &s->tail->next : &s->head) = c;
    s->tail = c;
}

static void take_out(struct slab *s, struct chunk *c)
{
    *(c->prev != NULL ? &c->prev->next : &s->head) = c->next;
    *(c->next != NULL ? &c->next->prev : &s->tail) = c->prev;
}

static bool is_full(const struct chunk *c)
{
    return c->live == c->count;
}

/* The number of bytes at the start of [offset, offset + size) of a chunk that are not known to be zero. */
static size_t not_zero(const struct chunk *c, size_t offset, size_t size)
{
    size_t from = c->extent.known_zero_from;

    return from <= offset ? 0 : from - offset < size ? from - offset : size;
}

/* A free slot, if there is one. */
static bool take(struct slab *s, struct bp_extent *out)
{
    struct chunk *c = s->head;

    if (c == NULL)
        return false;
    *out = (struct bp_extent){ .size = s->slot, .committed = s->slot, .known_zero_from = s->slot, .data = c };
    if (c->free != NULL) {
        out->base = c->free;
        c->free = c->free->next;
    } else {
        size_t offset = HEADER + c->carved++ * s->slot;

        out->base = (char *)c->extent.base + offset;
        out->known_zero_from = not_zero(c, offset, s->slot);
    }
    c->live++;
    if (s->spare == c)
        s->spare = NULL;
    if (is_full(c))
        take_out(s, c);
    return true;
}

/* How large the next chunk is to be: as large as all there are, so that there are not many. */
static size_t next_size(const struct slab *s)
{
    size_t bytes = s->slots * s->slot, count;

    bytes = bytes < SLAB_CHUNK_MIN ? SLAB_CHUNK_MIN : bytes > SLAB_CHUNK_MAX ? SLAB_CHUNK_MAX : bytes;
    count = bytes / s->slot;
    if (s->slots < s->most && count > s->most - s->slots)
        count = s->most - s->slots;
    return HEADER + (count != 0 ? count : 1) * s->slot;
}

/* ---- chunks; no lock ---- */

/* At best all of it is `size` or what is committed anyway; the rest of an extent that goes far beyond stays
 * reserved. */
static int chunk_make(const struct slab *s, size_t size, struct chunk **out)
{
    struct bp_extent extent;
    struct chunk *c;
    int rc = backing_acquire(s->inner, HEADER + s->slot, size, SLAB_ALIGN, &extent);

    if (rc != 0)
        return rc;
    rc = backing_commit(s->inner, &extent, size < extent.size ? size : extent.size);
    if (rc != 0)
        rc = backing_commit(s->inner, &extent, HEADER + s->slot);
    if (rc != 0) {
        backing_dispose(s->inner, &extent);
        return rc;
    }
    c = extent.base;
    *c = (struct chunk){ .extent = extent, .count = (extent.committed - HEADER) / s->slot };
    *out = c;
    return 0;
}

static void chunk_dispose(const struct slab *s, struct chunk *c)
{
    struct bp_extent extent = c->extent; /* `c` lies in it */

    backing_dispose(s->inner, &extent);
}

/* ---- ops ---- */

static int slab_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct slab *s = (struct slab *)(void *)self;
    struct chunk *c = NULL;
    size_t size;
    bool taken;
    int rc;

    (void)preferred;
    if (min > s->slot || align > SLAB_ALIGN)
        return ENOMEM;
    pthread_mutex_lock(&s->lock);
    taken = take(s, out);
    size = next_size(s);
    pthread_mutex_unlock(&s->lock);
    if (taken)
        return 0;
    rc = chunk_make(s, size, &c);
    pthread_mutex_lock(&s->lock);
    if (rc == 0) {
        push(s, c);
        s->slots += c->count;
    }
    if (take(s, out)) /* without a new chunk, from what others gave back or acquired meanwhile */
        rc = 0;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void slab_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct slab *s = (struct slab *)(void *)self;
    struct chunk *c = extent->data, *gone = NULL;
    struct slot *slot = extent->base;

    pthread_mutex_lock(&s->lock);
    if (is_full(c))
        push(s, c);
    slot->next = c->free;
    c->free = slot;
    c->live--;
    if (c->live == 0) {
        take_out(s, c);
        if (s->spare == NULL) {
            s->spare = c;
            push_last(s, c); /* used when nothing else is left */
        } else {
            s->slots -= c->count;
            gone = c;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (gone != NULL)
        chunk_dispose(s, gone);
}

/* By hand: the inner backing's op is for one caller at a time in a chunk, and here each slot has its own. */
static int slab_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    volatile char *p = (volatile char *)extent->base + offset;
    size_t page = os_page_size();

    (void)self;
    for (size_t i = 0; i < length; i += page - ((uintptr_t)(p + i) & (page - 1)))
        p[i] = p[i];
    return 0;
}

static const struct bp_backing_ops slab_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "slab",
    .acquire = slab_acquire,
    .dispose = slab_dispose,
    .populate = slab_populate,
};

/* ---- life ---- */

int slab_create(bp_backing *inner, size_t slot, size_t most, struct slab **out)
{
    int saved = errno;
    struct slab *s = malloc(sizeof *s);

    os_restore_errno(saved);
    if (s == NULL)
        return ENOMEM;
    *s = (struct slab){ .backing = { &slab_ops }, .inner = inner, .slot = slot, .most = most };
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

void slab_destroy(struct slab *s)
{
    (void)slab_trim(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

bp_backing *slab_backing(struct slab *s)
{
    return &s->backing;
}

size_t slab_trim(struct slab *s)
{
    struct chunk *c;
    size_t bytes;

    pthread_mutex_lock(&s->lock);
    c = s->spare;
    s->spare = NULL;
    if (c != NULL) {
        take_out(s, c);
        s->slots -= c->count;
    }
    pthread_mutex_unlock(&s->lock);
    if (c == NULL)
        return 0;
    bytes = c->extent.committed;
    chunk_dispose(s, c);
    return bytes;
}

/* ---- fork ---- */

void slab_before_fork(struct slab *s)
{
    pthread_mutex_lock(&s->lock);
}

void slab_after_fork(struct slab *s)
{
    pthread_mutex_unlock(&s->lock);
}
