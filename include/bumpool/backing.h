/* SPDX-License-Identifier: MIT
 * Backings: where address ranges (extents) come from.
 *
 * A backing is a vtable and its context. The stock ones are in stock.h; a program's own begins with a
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
                               it. 0: neither can be had for this extent, whatever ops there are: no more of
                               it can be committed, and a release drops 0 bytes */
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
 *           anything between `min` and `preferred`. It may commit less than `min`, when it has commit and
 *           `page` is not 0.
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

/* Frees a configured or third-party backing through its destroy op. Every extent of it must have been
 * disposed of: destroy the arenas and pools over it first. NULL, shared default instances and backings
 * without the op are left alone. */
BP_API void bp_backing_destroy(bp_backing *backing);

BP_END_DECLS

#endif
