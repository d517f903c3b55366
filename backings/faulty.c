/* SPDX-License-Identifier: MIT
 * The faulty backing: another one's extents, with failures on demand and a check of whoever uses it.
 *
 * It has the ops that the inner backing has, and destroy. What it knows is under one lock, which is
 * never held while the inner backing works: a gate or a delay in there holds up nobody else.
 *
 * The table has every outstanding extent as the backing described it last. An extent enters it after the
 * inner acquire and leaves it before the inner dispose, so that an address that the inner backing hands out
 * again at once is never in it twice. It is searched from its end, since most extents live shortly, and is
 * mapped memory: this is for tests, and tests make malloc fail.
 */
#include <bumpool.h>

#include "backing_private.h"
#include "configs.h"
#include "os.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct faulty_backing {
    bp_backing backing;
    struct bp_backing_ops ops;
    bp_backing *inner;
    pthread_mutex_t lock;
    /* Sync: lock, from here on. */
    struct bp_faulty_plan plan;
    size_t calls;    /* that the plan counts, since it was made */
    uint64_t random; /* state of the generator */
    struct bp_faulty_stats stats;
    struct bp_extent *table; /* stats.extents of them */
    size_t table_size;       /* bytes */
};

/* One write, as a misuse is reported. */
static _Noreturn void breach(const struct faulty_backing *b, const char *op, const char *what)
{
    char line[256];

    (void)snprintf(line, sizeof line, "bumpool: faulty backing over %s: %s: %s\n", b->inner->ops->name, op,
                   what);
    (void)!write(STDERR_FILENO, line, strlen(line));
    abort();
}

/* splitmix64 */
static uint64_t draw(struct faulty_backing *b)
{
    uint64_t z = b->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Under the lock: does the plan make this call fail? */
static bool planned(struct faulty_backing *b, unsigned op)
{
    const struct bp_faulty_plan *p = &b->plan;
    bool fails;

    if ((p->ops & op) == 0)
        return false;
    b->calls++;
    fails = p->fail_at != 0 && (b->calls == p->fail_at || (p->persistent && b->calls > p->fail_at));
    /* drawn for every call that counts: which ones chance hits does not depend on fail_at */
    if (p->one_in != 0 && draw(b) % p->one_in == 0)
        fails = true;
    if (fails)
        b->stats.injected++;
    return fails;
}

/* Under the lock: the entry for this extent, which must be as acquire gave it. */
static struct bp_extent *lookup(struct faulty_backing *b, const char *op, const struct bp_extent *extent)
{
    struct bp_extent *known;
    size_t i;

    if (extent == NULL)
        breach(b, op, "extent is NULL");
    for (i = b->stats.extents; i > 0 && b->table[i - 1].base != extent->base; i--)
        ;
    if (i == 0)
        breach(b, op, "extent is not outstanding");
    known = &b->table[i - 1];
    if (known->size != extent->size)
        breach(b, op, "extent has another size than acquire gave");
    if (known->page != extent->page || known->data != extent->data)
        breach(b, op, "page or data of the extent were changed");
    if (extent->known_zero_from > extent->size)
        breach(b, op, "known_zero_from is beyond the extent");
    return known;
}

/* What the ops on committed memory have in common. True: this call is to fail. */
static bool begin(struct faulty_backing *b, unsigned op, size_t *count, const char *name,
                  const struct bp_extent *extent, size_t offset, size_t length)
{
    bool fails;

    pthread_mutex_lock(&b->lock);
    ++*count;
    if (lookup(b, name, extent)->committed != extent->committed)
        breach(b, name, "committed is not what the backing said last");
    if (offset > extent->committed || length > extent->committed - offset)
        breach(b, name, "range is not committed");
    fails = planned(b, op);
    pthread_mutex_unlock(&b->lock);
    return fails;
}

/* Under the lock. False: no memory for it. */
static bool table_add(struct faulty_backing *b, const struct bp_extent *extent)
{
    size_t used = b->stats.extents * sizeof *b->table, size;
    void *table;

    if (b->table_size - used < sizeof *b->table) {
        size = b->table_size == 0 ? 4 * os_page_size() : 2 * b->table_size;
        if (os_map(size, sizeof(void *), &table) != 0)
            return false;
        if (b->table_size != 0) {
            memcpy(table, b->table, used);
            os_unmap(b->table, b->table_size);
        }
        b->table = table;
        b->table_size = size;
    }
    b->table[b->stats.extents++] = *extent;
    b->stats.bytes += extent->size;
    return true;
}

static int faulty_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct faulty_backing *b = (struct faulty_backing *)self;
    struct bp_extent extent;
    bool fails;
    int err;

    if (min == 0 || preferred < min)
        breach(b, "acquire", "min is 0 or preferred below min");
    if (align < 16 || (align & (align - 1)) != 0)
        breach(b, "acquire", "align is no power of two of at least 16");
    if (out == NULL)
        breach(b, "acquire", "out is NULL");
    pthread_mutex_lock(&b->lock);
    b->stats.acquires++;
    fails = planned(b, BP_FAULTY_ACQUIRE);
    pthread_mutex_unlock(&b->lock);
    if (fails)
        return ENOMEM;

    err = b->inner->ops->acquire(b->inner, min, preferred, align, &extent);
    if (err != 0)
        return err;
    pthread_mutex_lock(&b->lock);
    fails = !table_add(b, &extent);
    pthread_mutex_unlock(&b->lock);
    if (fails) {
        b->inner->ops->dispose(b->inner, &extent);
        return ENOMEM;
    }
    *out = extent;
    return 0;
}

static void faulty_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct faulty_backing *b = (struct faulty_backing *)self;
    struct bp_extent *known;

    pthread_mutex_lock(&b->lock);
    b->stats.disposes++;
    known = lookup(b, "dispose", extent);
    b->stats.bytes -= known->size;
    *known = b->table[--b->stats.extents];
    pthread_mutex_unlock(&b->lock);
    b->inner->ops->dispose(b->inner, extent);
}

static int faulty_commit(bp_backing *self, struct bp_extent *extent, size_t size)
{
    struct faulty_backing *b = (struct faulty_backing *)self;
    unsigned op;
    int err;

    if (extent != NULL && size > extent->size)
        breach(b, "commit", "size is beyond the extent");
    /* what is committed already cannot fail to be */
    op = extent != NULL && size <= extent->committed ? 0 : BP_FAULTY_COMMIT;
    if (begin(b, op, &b->stats.commits, "commit", extent, 0, 0))
        return ENOMEM;
    err = b->inner->ops->commit(b->inner, extent, size);
    pthread_mutex_lock(&b->lock);
    lookup(b, "commit", extent)->committed = extent->committed;
    pthread_mutex_unlock(&b->lock);
    return err;
}

static int faulty_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                          size_t *released)
{
    struct faulty_backing *b = (struct faulty_backing *)self;

    if (released == NULL)
        breach(b, "release", "released is NULL");
    if (begin(b, BP_FAULTY_RELEASE, &b->stats.releases, "release", extent, offset, length))
        return EINVAL;
    return b->inner->ops->release(b->inner, extent, offset, length, released);
}

static int faulty_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    struct faulty_backing *b = (struct faulty_backing *)self;

    if (begin(b, BP_FAULTY_POPULATE, &b->stats.populates, "populate", extent, offset, length))
        return EINVAL;
    return b->inner->ops->populate(b->inner, extent, offset, length);
}

static void faulty_destroy(bp_backing *self)
{
    struct faulty_backing *b = (struct faulty_backing *)self;

    if (b->stats.extents != 0)
        breach(b, "destroy", "extents are outstanding");
    if (b->table_size != 0)
        os_unmap(b->table, b->table_size);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* NULL: it is another kind of backing. */
static struct faulty_backing *faulty_of(bp_backing *backing)
{
    bool is = backing != NULL && backing->ops != NULL && backing->ops->acquire == faulty_acquire;

    return is ? (struct faulty_backing *)backing : NULL;
}

static int plan_read(struct bp_faulty_plan *p, const struct bp_faulty_plan *plan)
{
    *p = (struct bp_faulty_plan)BP_FAULTY_PLAN_INIT;
    if (config_read(p, sizeof *p, sizeof *p, plan) != 0 || (p->ops & ~(unsigned)BP_FAULTY_ALL) != 0)
        return EINVAL;
    return 0;
}

int bp_backing_faulty_create(bp_backing *inner, const struct bp_faulty_plan *plan, bp_backing **out)
{
    const struct bp_backing_ops *ops;
    struct faulty_backing *b;
    struct bp_faulty_plan p;
    int saved = errno;

    if (inner == NULL || out == NULL || !backing_is_sane(inner) || plan_read(&p, plan) != 0)
        return EINVAL;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    ops = inner->ops;
    *b = (struct faulty_backing){ .inner = inner, .plan = p, .random = p.seed };
    b->ops = (struct bp_backing_ops){
        .struct_size = sizeof b->ops,
        .name = "faulty",
        .acquire = faulty_acquire,
        .dispose = faulty_dispose,
        .commit = BACKING_HAS(ops, commit) ? faulty_commit : NULL,
        .release = BACKING_HAS(ops, release) ? faulty_release : NULL,
        .populate = BACKING_HAS(ops, populate) ? faulty_populate : NULL,
        .destroy = faulty_destroy,
    };
    b->backing.ops = &b->ops;
    pthread_mutex_init(&b->lock, NULL); /* cannot fail without attributes */
    *out = &b->backing;
    return 0;
}

int bp_backing_faulty_plan(bp_backing *faulty, const struct bp_faulty_plan *plan)
{
    struct faulty_backing *b = faulty_of(faulty);
    struct bp_faulty_plan p;

    if (b == NULL || plan_read(&p, plan) != 0)
        return EINVAL;
    pthread_mutex_lock(&b->lock);
    b->plan = p;
    b->calls = 0;
    b->random = p.seed;
    b->stats.injected = 0;
    pthread_mutex_unlock(&b->lock);
    return 0;
}

int bp_backing_faulty_stats(bp_backing *faulty, struct bp_faulty_stats *out)
{
    struct faulty_backing *b = faulty_of(faulty);

    if (b == NULL || out == NULL)
        return EINVAL;
    pthread_mutex_lock(&b->lock);
    *out = b->stats;
    pthread_mutex_unlock(&b->lock);
    return 0;
}
