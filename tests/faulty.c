/* SPDX-License-Identifier: MIT
 * See faulty.h. An extent enters the table after the inner acquire and leaves it before the inner dispose, so
 * that an address that the inner backing hands out again at once is never in the table twice.
 */
#include "faulty.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HAS(ops_, op) \
    ((ops_)->struct_size >= offsetof(struct bp_backing_ops, op) + sizeof((ops_)->op) && (ops_)->op != NULL)

static void breach(const struct faulty *f, const char *op, const char *what)
{
    fprintf(stderr, "faulty: backing %s: %s: %s\n", f->ops.name, op, what);
    abort();
}

static void lock(struct faulty *f)
{
    if (pthread_mutex_lock(&f->lock) != 0)
        abort();
}

static void unlock(struct faulty *f)
{
    if (pthread_mutex_unlock(&f->lock) != 0)
        abort();
}

/* Under the lock: does the plan make this call fail? */
static bool planned(struct faulty *f, unsigned op)
{
    if ((f->plan_ops & op) == 0 || f->plan_at == 0)
        return false;
    f->plan_calls++;
    if (f->plan_calls < f->plan_at || (f->plan_calls > f->plan_at && !f->plan_persistent))
        return false;
    atomic_fetch_add(&f->injected, 1);
    return true;
}

/* Under the lock: the entry for this extent. Newest first, since most extents live shortly. */
static struct bp_extent *lookup(struct faulty *f, const char *op, const struct bp_extent *extent)
{
    size_t i;

    if (extent == NULL)
        breach(f, op, "extent is NULL");
    for (i = atomic_load(&f->extents); i-- > 0;) {
        struct bp_extent *known = &f->table[i];

        if (known->base != extent->base)
            continue;
        if (known->size != extent->size)
            breach(f, op, "extent has another size than acquire gave");
        if (known->page != extent->page || known->data != extent->data)
            breach(f, op, "page or data of the extent were changed");
        if (extent->known_zero_from > extent->size)
            breach(f, op, "known_zero_from is beyond the extent");
        return known;
    }
    breach(f, op, "extent is not outstanding");
    return NULL;
}

/* As lookup, for ops that use committed memory. */
static struct bp_extent *lookup_range(struct faulty *f, const char *op, const struct bp_extent *extent,
                                      size_t offset, size_t length)
{
    struct bp_extent *known = lookup(f, op, extent);

    if (known->committed != extent->committed)
        breach(f, op, "committed is not what the backing said last");
    if (offset > extent->committed || length > extent->committed - offset)
        breach(f, op, "range is not committed");
    return known;
}

/* Under the lock: room for one more entry. */
static void table_grow(struct faulty *f)
{
    size_t used = atomic_load(&f->extents), room = f->table_room == 0 ? 256 : f->table_room * 2;
    void *table;

    if (used < f->table_room)
        return;
    table = mmap(NULL, room * sizeof *f->table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        breach(f, "acquire", "no memory for the table of extents");
    if (used != 0) {
        memcpy(table, f->table, used * sizeof *f->table);
        munmap(f->table, f->table_room * sizeof *f->table);
    }
    f->table = table;
    f->table_room = room;
}

static int faulty_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct faulty *f = (struct faulty *)self;
    struct bp_extent extent;
    bool fails;
    int err;

    if (min == 0 || preferred < min)
        breach(f, "acquire", "min is 0 or preferred below min");
    if (align < 16 || (align & (align - 1)) != 0)
        breach(f, "acquire", "align is no power of two of at least 16");
    if (out == NULL)
        breach(f, "acquire", "out is NULL");
    atomic_fetch_add(&f->acquires, 1);
    lock(f);
    fails = planned(f, FAULTY_ACQUIRE);
    unlock(f);
    if (fails)
        return ENOMEM;

    err = f->inner->ops->acquire(f->inner, min, preferred, align, out);
    if (err != 0)
        return err;
    extent = *out;
    lock(f);
    table_grow(f);
    f->table[atomic_fetch_add(&f->extents, 1)] = extent;
    atomic_fetch_add(&f->bytes, extent.size);
    unlock(f);
    return 0;
}

static void faulty_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct faulty *f = (struct faulty *)self;
    struct bp_extent *known;

    atomic_fetch_add(&f->disposes, 1);
    lock(f);
    known = lookup(f, "dispose", extent);
    *known = f->table[atomic_fetch_sub(&f->extents, 1) - 1];
    atomic_fetch_sub(&f->bytes, extent->size);
    unlock(f);
    f->inner->ops->dispose(f->inner, extent);
}

static int faulty_commit(bp_backing *self, struct bp_extent *extent, size_t size)
{
    struct faulty *f = (struct faulty *)self;
    bool fails;
    int err;

    atomic_fetch_add(&f->commits, 1);
    lock(f);
    lookup_range(f, "commit", extent, 0, 0);
    if (size > extent->size)
        breach(f, "commit", "size is beyond the extent");
    fails = planned(f, FAULTY_COMMIT);
    unlock(f);
    if (fails)
        return ENOMEM;

    err = f->inner->ops->commit(f->inner, extent, size);
    lock(f);
    lookup(f, "commit", extent)->committed = extent->committed;
    unlock(f);
    return err;
}

static int faulty_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                          size_t *released)
{
    struct faulty *f = (struct faulty *)self;
    bool fails;

    atomic_fetch_add(&f->releases, 1);
    if (released == NULL)
        breach(f, "release", "released is NULL");
    lock(f);
    lookup_range(f, "release", extent, offset, length);
    fails = planned(f, FAULTY_RELEASE);
    unlock(f);
    return fails ? EINVAL : f->inner->ops->release(f->inner, extent, offset, length, released);
}

static int faulty_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    struct faulty *f = (struct faulty *)self;
    bool fails;

    atomic_fetch_add(&f->populates, 1);
    lock(f);
    lookup_range(f, "populate", extent, offset, length);
    fails = planned(f, FAULTY_POPULATE);
    unlock(f);
    return fails ? EINVAL : f->inner->ops->populate(f->inner, extent, offset, length);
}

void faulty_init(struct faulty *f, bp_backing *inner)
{
    const struct bp_backing_ops *ops = inner->ops;

    memset(f, 0, sizeof *f);
    f->ops.struct_size = sizeof f->ops;
    f->ops.name = ops->name;
    f->ops.acquire = faulty_acquire;
    f->ops.dispose = faulty_dispose;
    f->ops.commit = HAS(ops, commit) ? faulty_commit : NULL;
    f->ops.release = HAS(ops, release) ? faulty_release : NULL;
    f->ops.populate = HAS(ops, populate) ? faulty_populate : NULL;
    f->backing.ops = &f->ops;
    f->inner = inner;
    if (pthread_mutex_init(&f->lock, NULL) != 0)
        abort();
}

void faulty_plan(struct faulty *f, unsigned ops, size_t fail_at, bool persistent)
{
    lock(f);
    f->plan_ops = ops;
    f->plan_at = fail_at;
    f->plan_calls = 0;
    f->plan_persistent = persistent;
    atomic_store(&f->injected, 0);
    unlock(f);
}
