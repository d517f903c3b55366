/* SPDX-License-Identifier: MIT
 * The buffer backing: extents carved out of memory that the caller owns. For programs that may not call
 * malloc, for memory with special properties (static, locked, on a device), and for tests.
 *
 * The free list lives in the free memory itself: a free block begins with its node, and a block in use has
 * nothing, since dispose is told base and size. Everything is in units of 16 bytes, the size of the largest
 * node, so any piece that is left over, before an aligned extent or after it, is a free block, and no byte is
 * ever lost. After the last dispose the list is one block again, as after init.
 *
 * Invariants, under the lock: blocks are in order of address; no two of them touch; they and the extents
 * given out make up [memory, memory + size) exactly.
 *
 * acquire takes the first block that has `preferred` bytes past the alignment, else the one with most
 * bytes if these are at least `min`. The walk is O(free blocks): a buffer feeds a few arenas, not many.
 *
 * The lock spins, since there may be no thread library; after a while it yields, in case the holder shares
 * our processor. That yield, under contention, is the only system call.
 */
#include <bumpool.h>

#include <errno.h>
#include <sched.h>

#define UNIT ((size_t)16)
#define SMALLEST ((size_t)64)

/* The caller's memory may have any type of its own. */
struct __attribute__((may_alias)) block {
    struct block *next;
    size_t size; /* bytes, node included */
};
_Static_assert(sizeof(struct block) <= UNIT, "a node fits in the smallest piece");

static void lock(struct bp_buffer_backing *b)
{
    unsigned spins = 0;

    /* acquire, pairs with the release in unlock; the relaxed load only waits for a reason to try again */
    while (__atomic_exchange_n(&b->lock, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&b->lock, __ATOMIC_RELAXED) != 0) {
            if (++spins % 128 == 0)
                sched_yield();
        }
    }
}

static void unlock(struct bp_buffer_backing *b)
{
    /* release, pairs with the acquire in lock */
    __atomic_store_n(&b->lock, 0, __ATOMIC_RELEASE);
}

static size_t padding(const struct block *block, size_t align)
{
    return (size_t)(0 - (uintptr_t)block) & (align - 1);
}

static void link_after(struct bp_buffer_backing *b, struct block *previous, struct block *block)
{
    if (previous != NULL)
        previous->next = block;
    else
        b->free_list = block;
}

/* Makes [p, p + size) the free block between `previous` and `next`, both possibly NULL; an empty range is no
 * block. Returns the block before `next`. */
static struct block *insert(struct bp_buffer_backing *b, struct block *previous, char *p, size_t size,
                            struct block *next)
{
    struct block *block = (struct block *)(void *)p;

    if (size == 0) {
        link_after(b, previous, next);
        return previous;
    }
    block->next = next;
    block->size = size;
    link_after(b, previous, block);
    return block;
}

static int buffer_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct bp_buffer_backing *b = (struct bp_buffer_backing *)self;
    struct block *block, *previous = NULL, *best = NULL, *before_best = NULL, *next;
    size_t room, most = 0, pad, size, whole;
    char *base;

    if (min > (size_t)PTRDIFF_MAX)
        return ENOMEM;
    if (preferred > (size_t)PTRDIFF_MAX)
        preferred = PTRDIFF_MAX;
    min = (min + UNIT - 1) & ~(UNIT - 1);
    preferred = (preferred + UNIT - 1) & ~(UNIT - 1);

    lock(b);
    for (block = b->free_list; block != NULL && most < preferred; previous = block, block = block->next) {
        pad = padding(block, align);
        room = block->size > pad ? block->size - pad : 0;
        if (room >= min && room > most) {
            best = block;
            before_best = previous;
            most = room;
        }
    }
    if (best == NULL) {
        unlock(b);
        return ENOMEM;
    }
    whole = best->size;
    next = best->next;
    pad = padding(best, align);
    size = most < preferred ? most : preferred;
    base = (char *)best + pad;
    previous = insert(b, before_best, (char *)best, pad, next);
    insert(b, previous, base + size, whole - pad - size, next);
    unlock(b);

    *out = (struct bp_extent){.base = base, .size = size, .committed = size, .known_zero_from = size};
    return 0;
}

static void buffer_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct bp_buffer_backing *b = (struct bp_buffer_backing *)self;
    struct block *previous = NULL, *next;
    char *p = extent->base;
    size_t size = extent->size;

    lock(b);
    next = b->free_list;
    while (next != NULL && (char *)next < p) {
        previous = next;
        next = next->next;
    }
    if (next != NULL && (char *)next == p + size) {
        size += next->size;
        next = next->next;
    }
    if (previous != NULL && (char *)previous + previous->size == p) {
        previous->size += size;
        previous->next = next;
    } else {
        insert(b, previous, p, size, next);
    }
    unlock(b);
}

static const struct bp_backing_ops buffer_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "buffer",
    .acquire = buffer_acquire,
    .dispose = buffer_dispose,
};

int bp_backing_buffer_init(struct bp_buffer_backing *b, void *mem, size_t size)
{
    size_t pad;
    char *p = mem;

    if (b == NULL || p == NULL || size > (size_t)PTRDIFF_MAX)
        return EINVAL;
    pad = padding(mem, UNIT);
    if (size < pad || size - pad < SMALLEST)
        return EINVAL;
    b->backing.ops = &buffer_ops;
    b->memory = p + pad;
    b->size = (size - pad) & ~(UNIT - 1);
    b->lock = 0;
    insert(b, NULL, p + pad, b->size, NULL);
    return 0;
}
