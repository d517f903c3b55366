/* SPDX-License-Identifier: MIT
 *
 * A backing of one's own: extents are the slots of a static array, for a program whose memory is laid
 * out when it is linked. <bumpool/conformance.h> tests it; then a pool runs over it.
 */
#include <bumpool.h>
#include <bumpool/conformance.h>

#include <stdatomic.h>

enum { SLOTS = 8, SLOT_SIZE = 65536, SLOT_ALIGN = 4096 };

struct slot_backing {
    bp_backing backing; /* first: a bp_backing pointer is a pointer to this */
    atomic_bool taken[SLOTS];
};
static _Alignas(SLOT_ALIGN) char slots[SLOTS][SLOT_SIZE];

/* Called by any number of threads at once: whoever turns `taken` to true has the slot. */
static int slot_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct slot_backing *b = (struct slot_backing *)self;

    (void)preferred; /* a wish; a slot is what there is */
    if (min > SLOT_SIZE || align > SLOT_ALIGN)
        return ENOMEM;
    for (int i = 0; i < SLOTS; i++) {
        if (!atomic_exchange(&b->taken[i], true)) {
            /* All of it is usable; it may hold an earlier extent's bytes, so nothing is known to be zero. */
            *out = (struct bp_extent){ .base = slots[i], .size = SLOT_SIZE, .committed = SLOT_SIZE,
                                       .known_zero_from = SLOT_SIZE, .data = &b->taken[i] };
            return 0;
        }
    }
    return ENOMEM;
}

static void slot_dispose(bp_backing *self, const struct bp_extent *extent)
{
    (void)self;
    atomic_store((atomic_bool *)extent->data, false);
}

/* No commit, release or populate: these ops are NULL, which means "cannot". */
static const struct bp_backing_ops slot_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "slots",
    .acquire = slot_acquire,
    .dispose = slot_dispose,
};
static struct slot_backing slot_backing = { .backing = { &slot_ops } };

int main(void)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    bp_arena *arenas[SLOTS + 1];
    bp_pool *pool;
    int n = 0, rc, broken = bp_conformance_run(&slot_backing.backing, NULL, stderr);

    config.arena_size = SLOT_SIZE;
    config.arena_policy = BP_ARENA_FIXED; /* one slot each, and no more */
    if (broken != 0 || bp_pool_create(&slot_backing.backing, &config, &pool) != 0)
        return 1;
    while ((rc = bp_pool_checkout(pool, &arenas[n])) == 0 && n < SLOTS)
        if (bp_arena_alloc(arenas[n++], SLOT_SIZE) == NULL)
            return 1;
    printf("%d rules broken, %d arenas, then: %s\n", broken, n, strerror(rc));
    for (int i = 0; i < n; i++)
        bp_pool_give_back(pool, arenas[i]);
    return bp_pool_destroy(pool) != 0 || n != SLOTS || rc != ENOMEM;
}
