/* SPDX-License-Identifier: MIT
 * Backings: where address ranges (extents) come from.
 *
 * A backing is a vtable and its context. The stock ones are below; a program's own begins with a
 * `bp_backing` whose `ops` points to its vtable. <bumpool/conformance.h> checks any backing against the
 * contract of this page.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_BACKING_H
#define BUMPOOL_BACKING_H

BP_BEGIN_DECLS

/* One contiguous address range. Filled by acquire; kept by whoever acquired it and passed to every
 * later op, which may change `committed` and `known_zero_from` only as that op says. */
struct bp_extent {
    void *base;             /* first byte, aligned as asked */
    size_t size;            /* bytes of address space, at least `min` */
    size_t committed;       /* bytes from base that may be read and written now, at most `size` */
    size_t known_zero_from; /* every byte at or past this offset reads as 0, once committed; `size` when
                               nothing is known. The holder raises it as it writes. */
    size_t page;            /* granule of commit and release in bytes, a power of two; base is a multiple of
                               it. 0: the backing has neither */
    void *data;             /* the backing's own; nobody else looks at it */
};

/* The contract. `extent` is always one that this backing acquired and has not disposed of.
 *
 * op        may fail   at once with                     memory                            twice
 * --------  ---------  -------------------------------  --------------------------------  ------------------
 * acquire   ENOMEM     every op, any thread             zero from known_zero_from on      a new extent each
 * dispose   never      every op on other extents        gone                              no
 * commit    ENOMEM     every op on other extents        old part kept, new part as        yes: no change
 *                                                       known_zero_from says
 * release   any errno  every op on other extents        given range: see below;           yes
 *                                                       the rest kept
 * populate  any errno  every op on other extents        kept                              yes
 * destroy   never      nothing: the caller is alone     all extents were disposed of      no
 *
 * An op returns 0 or a positive errno value; one that fails changes nothing that the caller can see.
 * Callers never pass a `min` of 0, a `preferred` below `min`, or an `align` that is not a power of two
 * of at least 16. acquire and dispose are required; NULL for any other op means "cannot".
 *
 * acquire   sets all of *out on success and nothing on failure. It may give more than `preferred`, or
 *           anything between `min` and `preferred`. It may commit less than `min`, when it has commit.
 * dispose   takes the whole extent, with the base and size that acquire gave.
 * commit    makes at least the first `size` bytes usable and says how many are in extent->committed.
 *           `size` is at most extent->size. Committed memory stays committed until dispose.
 * release   drops the physical pages that lie wholly inside the committed range
 *           [offset, offset + length), rounding inward to extent->page (an end that is the extent's own
 *           need not be a multiple of it), and stores the number of bytes dropped. The range
 *           stays committed and addressable; its contents become zero or unspecified. When the backing
 *           knows that they are zero and the dropped part reaches known_zero_from, it lowers
 *           known_zero_from to the first byte dropped.
 * populate  makes the committed range [offset, offset + length) resident, so that the first write to it
 *           does not fault.
 * destroy   frees the backing itself; NULL for a backing whose memory is not its own. */
struct bp_backing_ops {
    size_t struct_size; /* sizeof(struct bp_backing_ops) of the backing's author */
    const char *name;   /* one word, for messages */
    int (*acquire)(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out);
    void (*dispose)(bp_backing *self, const struct bp_extent *extent);
    int (*commit)(bp_backing *self, struct bp_extent *extent, size_t size);
    int (*release)(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length, size_t *released);
    int (*populate)(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length);
    void (*destroy)(bp_backing *self);
};

struct bp_backing {
    const struct bp_backing_ops *ops;
};

/* Shared default instances: never NULL, need no destroying, any thread.
 *
 * malloc    aligned_alloc and free. Nothing known to be zero, no release.
 * mmap      private anonymous mappings, committed and zero; release by MADV_DONTNEED.
 * reserved  a large reserved range, committed from its base as it is used: an arena over it grows in
 *           place and its blocks never move.
 * mimalloc  mi_malloc_aligned and mi_free; lives in libbumpool-mimalloc (pkg-config bumpool-mimalloc). */
BP_API bp_backing *bp_backing_malloc(void);
BP_API bp_backing *bp_backing_mmap(void);
BP_API bp_backing *bp_backing_reserved(void);
BP_API bp_backing *bp_backing_mimalloc(void);

struct bp_mmap_config {
    size_t struct_size;
    bool populate;  /* make every extent resident when it is acquired */
    bool lazy_free; /* release with MADV_FREE: cheaper, but the pages count as resident until the kernel
                       wants them and are not known to be zero. Falls back to MADV_DONTNEED where the
                       kernel lacks it. */
};
#define BP_MMAP_CONFIG_INIT { sizeof(struct bp_mmap_config), false, false }

struct bp_reserved_config {
    size_t struct_size;
    size_t reservation; /* bytes of address space per extent; halved, down to what the caller needs at
                           least, while the system refuses */
    size_t commit_step; /* bytes committed at first; each later step doubles what is committed, up to
                           4 MiB at once. Rounded up to pages. */
};
#define BP_RESERVED_CONFIG_INIT { sizeof(struct bp_reserved_config), BP_RESERVATION_DEFAULT, 65536 }
#define BP_RESERVATION_DEFAULT ((size_t)1 << (sizeof(size_t) > 4 ? 30 : 24)) /* 1 GiB; 16 MiB on 32 bits */

/* Configured instances. `config` NULL is BP_..._INIT. On success *out is the caller's and goes to
 * bp_backing_destroy. EINVAL: unknown struct_size, or a reservation or step of 0 or above PTRDIFF_MAX;
 * ENOMEM. */
BP_API int bp_backing_mmap_create(const struct bp_mmap_config *config, bp_backing **out) BP_NODISCARD;
BP_API int bp_backing_reserved_create(const struct bp_reserved_config *config, bp_backing **out) BP_NODISCARD;

/* Frees a configured or third-party backing through its destroy op. Every extent of it must have been
 * disposed of: destroy the arenas and pools over it first. NULL, shared default instances and backings
 * without the op are left alone. */
BP_API void bp_backing_destroy(bp_backing *backing);

/* A backing over the caller's own memory: no malloc, and no system call unless threads contend. It hands out
 * as many extents as fit, first fit by address; memory disposed of is joined and used again. Any thread, by a
 * spin lock held for a walk of the free list. The struct is the caller's and must stay where it is; its
 * members are private. */
struct bp_buffer_backing {
    bp_backing backing; /* pass &b.backing as the backing */
    void *free_list;
    void *memory;
    size_t size;
    int lock;
};

/* Makes `b` a backing over `mem[0, size)`, which must outlive it and holds nothing of the caller's any
 * more. EINVAL: `b` or `mem` NULL, or `size` too small to hold one extent after alignment (64 bytes), or
 * above PTRDIFF_MAX. Needs no counterpart: forget it when its extents are disposed of. */
BP_API int bp_backing_buffer_init(struct bp_buffer_backing *b, void *mem, size_t size);

BP_END_DECLS

#endif
