/* SPDX-License-Identifier: MIT
 * Arenas: a bump cursor over one extent, plus spill extents when the configuration allows them.
 *
 * Thread rule: an arena belongs to one thread at a time. Handing it to another thread is allowed with
 * any synchronisation that a plain variable would need.
 *
 * A block lives until the arena is reset, rewound past it, given back or destroyed. There is no free.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_ARENA_H
#define BUMPOOL_ARENA_H

#include <errno.h>

BP_BEGIN_DECLS

/* What the inline paths need, and no more: the rest of an arena is the library's. Read-only outside.
 * cursor and limit are multiples of BP_ALIGNMENT and cursor <= limit; what lies between is the library's. The
 * offsets are part of the ABI. */
struct bp_arena {
    char *cursor;    /* the next block starts here */
    char *limit;     /* the first byte that needs the slow path */
    /* For bp_pool_give_back: with the cursor at most at quick_end, to set it to start is all of a reset. */
    char *quick_end; /* NULL: a reset is more than that */
    char *start;     /* of the first extent's blocks; constant */
};

/* What to do when an extent is used up. */
enum bp_arena_policy {
    BP_ARENA_SPILL = 0, /* grow: in place where the backing can commit more, else by spill extents */
    BP_ARENA_FIXED = 1  /* fail: `size` is a hard bound */
};

struct bp_arena_config {
    size_t struct_size;
    size_t size;      /* bytes that the first extent must be able to hold, at least 1; counted in units of
                         16. The default size is a wish only, where the arena may spill: one with it takes
                         less (down to 64 bytes) from a backing that has no more, such as a small buffer. */
    enum bp_arena_policy policy;
    size_t max_spare; /* bytes of spill extents kept over a reset for the next unit of work; the rest is
                         disposed of. 0 keeps none; BP_UNLIMITED keeps all. */
    unsigned checks;  /* of enum bp_check (check.h); 0: what bp_check_default says */
};
#define BP_ARENA_SIZE_DEFAULT 65536
#define BP_ARENA_SPARE_DEFAULT 1048576
#define BP_ARENA_CONFIG_INIT \
    { sizeof(struct bp_arena_config), BP_ARENA_SIZE_DEFAULT, BP_ARENA_SPILL, BP_ARENA_SPARE_DEFAULT, 0 }

/* Creates an arena of its own over `backing` (NULL: the malloc backing), which must outlive it. The
 * arena's bookkeeping (less than 512 bytes) lies at the start of its extent, in addition to `size`: no
 * malloc. EINVAL: unknown struct_size or policy, size 0 or above PTRDIFF_MAX, out NULL, a backing without
 * acquire or dispose; ENOMEM or the backing's error. */
BP_API int bp_arena_create(bp_backing *backing, const struct bp_arena_config *config, bp_arena **out) BP_NODISCARD;

/* Runs the cleanups and disposes of every extent. NULL is left alone. An arena from a pool is misuse
 * (EINVAL), as is a call from a cleanup of the same arena (EBUSY); nothing is freed then. Destroying an
 * arena twice is not seen. */
BP_API int bp_arena_destroy(bp_arena *a);

/* ---- allocation ----
 *
 * All of these return NULL with errno = ENOMEM when the arena cannot hold the block (fixed and full, or
 * the backing refuses), the size is above PTRDIFF_MAX or a multiplication wraps; the arena is unchanged
 * then. A size of 0 gives a pointer that is not NULL, is aligned, may equal another block's and must not
 * be read through. Contents are unspecified unless said otherwise: most likely the previous unit's.
 *
 * None has the compiler's `malloc` attribute: it lets a compiler assume that no older pointer can equal the
 * new one, which is what recycling makes happen. */

/* The slow path of the two below; call those. `align` is a power of two of at least BP_ALIGNMENT. */
BP_API void *bp_arena_alloc_slow(bp_arena *a, size_t size, size_t align) BP_NODISCARD;

#ifndef BP_NO_INLINE

/* `size` bytes aligned to BP_ALIGNMENT. Cost: 9 instructions and one predicted branch; the block takes
 * `size` rounded up to 16.
 *
 * Why no overflow is possible: cursor and limit are multiples of 16, so room is one, and rounding a
 * size that is at most room up to 16 stays at most room. */
BP_INLINE BP_ALLOC_SIZE(2) BP_RETURNS_ALIGNED(16) BP_NODISCARD
void *bp_arena_alloc(bp_arena *a, size_t size)
{
    char *p = a->cursor;

    if (BP_UNLIKELY(size > (size_t)(a->limit - p)))
        return bp_arena_alloc_slow(a, size, BP_ALIGNMENT);
    a->cursor = p + ((size + (BP_ALIGNMENT - 1)) & ~(size_t)(BP_ALIGNMENT - 1));
    return p;
}

/* `size` bytes aligned to `align`, a power of two (else NULL with EINVAL); anything up to 16 is
 * bp_arena_alloc. The alignment is of the address, so it may be larger than a page; a block
 * that does not fit then takes an extent of size + align bytes. */
BP_INLINE BP_ALLOC_SIZE(2) BP_NODISCARD
void *bp_arena_alloc_aligned(bp_arena *a, size_t size, size_t align)
{
    size_t pad, room;
    char *p;

    if (BP_UNLIKELY(align == 0 || (align & (align - 1)) != 0)) {
        errno = EINVAL;
        return NULL;
    }
    if (align <= BP_ALIGNMENT)
        return bp_arena_alloc(a, size);
    pad = (size_t)(0 - (uintptr_t)a->cursor) & (align - 1);
    room = (size_t)(a->limit - a->cursor);
    /* pad first: an aligned cursor past the limit would make room - pad wrap */
    if (BP_UNLIKELY(pad > room || size > room - pad))
        return bp_arena_alloc_slow(a, size, align);
    p = a->cursor + pad;
    a->cursor = p + ((size + (BP_ALIGNMENT - 1)) & ~(size_t)(BP_ALIGNMENT - 1));
    return p;
}

/* `n * size` bytes aligned to `align`; ENOMEM when the product wraps. */
BP_INLINE BP_ALLOC_SIZE(2, 3) BP_NODISCARD
void *bp_arena_alloc_array(bp_arena *a, size_t n, size_t size, size_t align)
{
    if (BP_UNLIKELY(size != 0 && n > SIZE_MAX / size)) {
        errno = ENOMEM;
        return NULL;
    }
    return bp_arena_alloc_aligned(a, n * size, align);
}

#else
BP_API void *bp_arena_alloc(bp_arena *a, size_t size) BP_NODISCARD;
BP_API void *bp_arena_alloc_aligned(bp_arena *a, size_t size, size_t align) BP_NODISCARD;
BP_API void *bp_arena_alloc_array(bp_arena *a, size_t n, size_t size, size_t align) BP_NODISCARD;
#endif

/* One object, or an array of `n`, of a type: correctly aligned, not initialised. */
#define bp_new(a, type) ((type *)bp_arena_alloc_aligned((a), sizeof(type), alignof(type)))
#define bp_new_array(a, type, n) ((type *)bp_arena_alloc_array((a), (n), sizeof(type), alignof(type)))

/* `size` zero bytes. Memory that is known to be zero already (fresh or released pages) is not written;
 * of memory used before, exactly the bytes that were handed out since are cleared. */
BP_API void *bp_arena_zalloc(bp_arena *a, size_t size) BP_NODISCARD BP_ALLOC_SIZE(2);
BP_API void *bp_arena_calloc(bp_arena *a, size_t n, size_t size) BP_NODISCARD BP_ALLOC_SIZE(2, 3);

/* Resizes a block of `old_size` bytes (as asked for) to `new_size`; NULL with ENOMEM leaves it as it was.
 * The last block grows and shrinks in place unless a mark, other than of a scope that has ended, was
 * taken since; any other shrinks for nothing and grows by copying min(old_size, new_size) bytes to a new
 * block aligned to 16. `p` NULL is an alloc. */
BP_API void *bp_arena_realloc(bp_arena *a, void *p, size_t old_size, size_t new_size) BP_NODISCARD;

/* Copies. strndup copies at most `n` bytes and always terminates. printf sizes the string exactly;
 * NULL with the errno of vsnprintf (EOVERFLOW, EILSEQ) when the format cannot be printed. */
BP_API void *bp_arena_memdup(bp_arena *a, const void *p, size_t size) BP_NODISCARD BP_ALLOC_SIZE(3);
BP_API char *bp_arena_strdup(bp_arena *a, const char *s) BP_NODISCARD;
BP_API char *bp_arena_strndup(bp_arena *a, const char *s, size_t n) BP_NODISCARD;
BP_API char *bp_arena_printf(bp_arena *a, const char *format, ...) BP_NODISCARD BP_PRINTF(2, 3);
BP_API char *bp_arena_vprintf(bp_arena *a, const char *format, va_list args) BP_NODISCARD BP_PRINTF(2, 0);

/* ---- marks, cleanups, reset ---- */

/* A position to come back to. Plain data, owned by nobody; private members. A mark is alive until the
 * arena is rewound to an older mark, reset, given back or destroyed; rewinding to it keeps it alive. */
struct bp_mark {
    char *cursor;
    void *segment, *newest, *cleanup;
    char *floor;
    size_t earlier, epoch;
};
typedef struct bp_mark bp_mark;

/* Marks nest to any depth. Cost: a copy of seven words. */
BP_API bp_mark bp_arena_mark(bp_arena *a);

/* Drops everything allocated since the mark: runs the cleanups registered since, newest first, and retires
 * the spill extents chained since. A dead mark is misuse where it can be seen (EINVAL). */
BP_API int bp_arena_rewind(bp_arena *a, bp_mark mark);

/* Has `fn(data)` called when the memory allocated now goes away: at rewind past this point, reset,
 * give_back or destroy, newest first, in the thread that does it. The registration takes 32 bytes of the
 * arena. `fn` may read the arena's blocks, but not reset, rewind, destroy or give it back (misuse, EBUSY), nor
 * register (EBUSY). Nor should it allocate from the arena: what it got would be gone when the reset is done,
 * and checked mode takes it for misuse. EINVAL: fn NULL; ENOMEM. An arena without cleanups pays nothing for them. */
BP_API int bp_arena_on_reset(bp_arena *a, void (*fn)(void *data), void *data);

/* Drops everything; never fails. O(1) plus the cleanups and the spill extents to retire; no system call
 * unless spill extents beyond max_spare are disposed of. The holder of a pool's arena may call it too. */
BP_API void bp_arena_reset(bp_arena *a);

/* bp_arena_reset, after which everything that was ever handed out of the extents that it keeps has been
 * overwritten with zeros, which no compiler drops. Cost: O(bytes touched since the last wipe or release). */
BP_API void bp_arena_wipe(bp_arena *a);

/* ---- facts ---- O(1), except capacity and owns, which are O(extents). */
BP_API size_t bp_arena_used(const bp_arena *a);       /* bytes handed out, with padding */
BP_API size_t bp_arena_capacity(const bp_arena *a);   /* bytes usable in the extents it holds,
                                                         spares included */
BP_API size_t bp_arena_remaining(const bp_arena *a);  /* bytes left in the current extent, committed or not */
BP_API size_t bp_arena_high_water(const bp_arena *a); /* the most `used` has ever been */
BP_API bool bp_arena_owns(const bp_arena *a, const void *p); /* p points to a byte, be it padding, handed out
                                                                and not dropped since */

/* ---- scopes ---- for compilers with the cleanup attribute */
#if defined(__GNUC__) || defined(__clang__)
struct bp_arena_scope_guard {
    bp_arena *arena;
    bp_mark mark;
};
BP_API void bp_arena_scope_end(struct bp_arena_scope_guard *guard);

/* Rewinds `a` (not NULL) to this line when control leaves the enclosing block by any way but longjmp and
 * exit. */
#define BP_ARENA_SCOPE(a) BP_ARENA_SCOPE_(a, __LINE__)
#define BP_ARENA_SCOPE_(a, line) BP_ARENA_SCOPE__(a, line)
#define BP_ARENA_SCOPE__(a, line)                                                             \
    __attribute__((cleanup(bp_arena_scope_end), unused)) struct bp_arena_scope_guard bp_scope_##line = { \
        (a), bp_arena_mark(a) }
#endif

BP_END_DECLS

#endif
