/* SPDX-License-Identifier: MIT
 * The stock backings.
 *
 * Every ..._create function has the caller pass *out to bp_backing_destroy in the end, when all extents have
 * been disposed of. Its errors: EINVAL: out NULL, an unknown struct_size, a value out of range; ENOMEM;
 * and what is said there. Thread rule: the ops as backing.h has it; every other function, any thread.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_STOCK_H
#define BUMPOOL_STOCK_H

BP_BEGIN_DECLS

/* Shared default instances: never NULL, need no destroying, any thread.
 *
 * malloc    aligned_alloc and free. Nothing known to be zero, no release.
 * mmap      private anonymous mappings, committed and zero; release by MADV_DONTNEED.
 * reserved  a large reserved range, committed from its base as it is used: an arena over it grows in
 *           place and its blocks never move.
 * mimalloc  mi_malloc_aligned and mi_free; lives in libbumpool-mimalloc (pkg-config bumpool-mimalloc).
 * guard, hugetlb, locked: see below. */
BP_API bp_backing *bp_backing_malloc(void);
BP_API bp_backing *bp_backing_mmap(void);
BP_API bp_backing *bp_backing_reserved(void);
BP_API bp_backing *bp_backing_mimalloc(void);
BP_API bp_backing *bp_backing_guard(void);
BP_API bp_backing *bp_backing_hugetlb(void);
BP_API bp_backing *bp_backing_locked(void);

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

/* ---- guard ---- for debugging: wrong accesses fault
 *
 * Each extent ends right before an inaccessible page, and what is before its first page is inaccessible too.
 * Extents are as small as the caller allows. An extent disposed of becomes inaccessible, and its addresses
 * are not used again while it and those disposed of after it are at most `quarantine` bytes: whoever uses it
 * meanwhile faults. The bytes between an extent and the start of its first page can be written without a
 * fault; dispose looks at them and reports a BP_MISUSE_OVERRUN, and then goes on.
 *
 * No release, no commit. Cost: two system calls for each extent acquired and two for each disposed of, one
 * more each time where the kernel can name mappings; a malloc; at least two pages of address space more than
 * the extent; two areas of the kernel's while it is there, ENOMEM at vm.max_map_count. A child of fork has
 * its own copy of all of it. */
struct bp_guard_config {
    size_t struct_size;
    size_t quarantine; /* bytes of address space, inaccessible pages included. An extent that takes more goes
                          at once. 0: none; SIZE_MAX: no bound */
};
#define BP_GUARD_CONFIG_INIT { sizeof(struct bp_guard_config), BP_QUARANTINE_DEFAULT }
#define BP_QUARANTINE_DEFAULT ((size_t)1 << (sizeof(size_t) > 4 ? 30 : 24)) /* 1 GiB; 16 MiB on 32 bits */
BP_API int bp_backing_guard_create(const struct bp_guard_config *config, bp_backing **out) BP_NODISCARD;

/* ---- hugetlb ---- fewer TLB misses for large arenas
 *
 * Extents are whole huge pages from those that the system has set aside (MAP_HUGETLB). Where these are used
 * up they are ordinary memory that the kernel is asked to make huge (MADV_HUGEPAGE), in whole small pages,
 * and plain memory where the extent is too small for that or the system does not want it.
 *
 * Huge pages that were set aside are reserved for an extent when it is acquired: no access fails for want of
 * one. They stay so until it is disposed of, and a release drops 0 bytes: dropped, they would be of use to
 * nobody else, or be gone when they are wanted again. A release drops huge pages of the second kind, and
 * small ones of the third.
 *
 * fork: the reservation stays with the process that acquired the extent. The first of the two that writes to
 * a page afterwards makes it two pages, and a child that there is none for is killed by SIGBUS. So a child
 * should exec, or leave arenas over extents of this kind alone. */
struct bp_hugetlb_config {
    size_t struct_size;
    size_t page_size; /* bytes of a huge page to be had by MAP_HUGETLB, a power of two; 0: the default one */
    bool strict;      /* reserved huge pages or ENOMEM */
};
#define BP_HUGETLB_CONFIG_INIT { sizeof(struct bp_hugetlb_config), 0, false }
BP_API int bp_backing_hugetlb_create(const struct bp_hugetlb_config *config, bp_backing **out) BP_NODISCARD;

/* What the extents that are there now, and all there were, are made of. EINVAL: not a hugetlb backing, or a
 * NULL. */
struct bp_hugetlb_stats {
    size_t hugetlb, advised, plain;                   /* extents now */
    size_t hugetlb_bytes, advised_bytes, plain_bytes; /* bytes now */
    size_t total_hugetlb, total_advised, total_plain; /* extents since the backing was made */
    size_t page_size; /* bytes of a huge page, as configured or by default; 0: the system has none */
};
BP_API int bp_backing_hugetlb_stats(bp_backing *backing, struct bp_hugetlb_stats *out);

/* ---- memfd ---- memory that other processes can map
 *
 * Each extent is a memfd_create(2) file of its own, mapped shared and sealed against changes of its size. So
 * it costs a descriptor, and a child of fork shares it with its parent: the child must leave alone the
 * arenas and pools over it that it inherited, but for reading what both have agreed on. Likewise another
 * process that maps a file may write to blocks it was told of and nowhere else: an arena counts on unused
 * memory being as it left it. release punches holes; the memory is free at once. ENOMEM also when the
 * process is out of descriptors, and for a file above RLIMIT_FSIZE. ENOSYS: the kernel has no memfd, or does
 * not let this process have any. */
struct bp_memfd_config {
    size_t struct_size;
    const char *name; /* shown in /proc/PID/maps; copied, cut to 31 bytes; NULL: "bumpool" */
};
#define BP_MEMFD_CONFIG_INIT { sizeof(struct bp_memfd_config), NULL }
BP_API int bp_backing_memfd_create(const struct bp_memfd_config *config, bp_backing **out) BP_NODISCARD;

/* The file behind address `p`: *fd, the backing's (dup it to keep it: it is closed when the extent is
 * disposed of), the *offset of `p` in it, and the file's *size, in bytes. ENOENT: no extent of this backing
 * has `p`; EINVAL: not a memfd backing, or a NULL. On failure the outputs are as they were. Cost: a walk
 * over the extents of the backing. */
BP_API int bp_backing_memfd_find(bp_backing *backing, const void *p, int *fd, size_t *offset, size_t *size);

/* ---- locked ---- for secrets
 *
 * Memory that is never swapped (mlock), left out of core dumps (MADV_DONTDUMP), zero in a child of fork
 * (MADV_WIPEONFORK), between two inaccessible pages, and overwritten with zeros before it is disposed of. It
 * fails closed: an extent that cannot have all of it is ENOMEM, most likely for RLIMIT_MEMLOCK. Extents are
 * whole pages. A reset overwrites nothing: see zero_on_give_back (pool.h) and bp_arena_wipe.
 *
 * In a child of fork the memory is there, zero and no longer locked: locks are not inherited. A child must
 * leave alone the arenas and pools over it that it inherited, for their bookkeeping, or a part of it, was
 * wiped, too. Who calls the backing itself may dispose of the child's copy. What the child acquires is locked.
 *
 * No release, no commit. Cost: five system calls for each extent acquired, one more where the kernel can
 * name mappings, and one for each disposed of; all pages are made at once; three areas of the kernel's.
 *
 * bp_backing_locked_probe: 0, or why a page cannot be had: EPERM (RLIMIT_MEMLOCK is 0 and the process not
 * privileged), ENOMEM (the limit, or vm.max_map_count, is reached), EAGAIN, ENOSYS or EINVAL (the kernel
 * lacks something). For a clear message at start-up. */
BP_API int bp_backing_locked_probe(void);

/* ---- numa ---- memory of one node
 *
 * Private mappings bound to a NUMA node by mbind(2); otherwise as mmap. ENOSYS: the kernel knows no nodes;
 * EPERM: a sandbox does not let one choose. */
struct bp_numa_config {
    size_t struct_size;
    unsigned node; /* as in /sys/devices/system/node/nodeN. EINVAL: there is none, or not for this process */
    bool strict;   /* pages of that node only: when it is full the kernel kills. Otherwise preferred. */
};
#define BP_NUMA_CONFIG_INIT { sizeof(struct bp_numa_config), 0, false }
BP_API int bp_backing_numa_create(const struct bp_numa_config *config, bp_backing **out) BP_NODISCARD;

/* ---- fallback ---- one backing, and another where it fails
 *
 * acquire asks `first` and, whatever its error is, then `second`; every other op goes to the backing that the
 * extent came from. It has each op that one of the two has; for an extent whose backing lacks it, there is
 * nothing to commit, a release drops 0 bytes, and populate does nothing. Each extent costs a small malloc.
 * Both must outlive it; destroy leaves them alone. EINVAL: a NULL, or a backing without acquire or
 * dispose. */
BP_API int bp_backing_fallback_create(bp_backing *first, bp_backing *second, bp_backing **out) BP_NODISCARD;

/* Extents there are now from each of the two. EINVAL: not a fallback backing, or a NULL. */
BP_API int bp_backing_fallback_counts(bp_backing *backing, size_t *first, size_t *second);

/* ---- faulty ---- a backing that fails on demand, for tests
 *
 * Passes every op on to `inner`, which must outlive it, but for those that the plan makes fail: acquire and
 * commit with ENOMEM, release and populate with EINVAL. It has the ops that `inner` has. It also checks what
 * it is asked for against the contract of backing.h, and that every extent comes back as it was given, before
 * it is destroyed: a breach is a bug of its caller, printed in one line before abort(). It has a lock of its
 * own: a child of fork may use it if no other thread of the parent did at that moment. */
enum bp_faulty_op {
    BP_FAULTY_ACQUIRE = 1,
    BP_FAULTY_COMMIT = 2,
    BP_FAULTY_RELEASE = 4,
    BP_FAULTY_POPULATE = 8,
    BP_FAULTY_ALL = 15
};
struct bp_faulty_plan {
    size_t struct_size;
    unsigned ops;     /* of enum bp_faulty_op: the calls that count; not a commit of what is committed */
    size_t fail_at;   /* the n-th of them fails, from 1; 0: none */
    bool persistent;  /* and every later one, too */
    unsigned one_in;  /* besides, each of them fails with a chance of one in so many; 0: none */
    uint64_t seed;    /* the same calls in the same order meet the same chance */
};
#define BP_FAULTY_PLAN_INIT { sizeof(struct bp_faulty_plan), BP_FAULTY_ALL, 0, false, 0, 0 }
/* A NULL plan is the init one: no failure. EINVAL also: `inner` NULL or without acquire or dispose, unknown
 * ops in a plan. */
BP_API int bp_backing_faulty_create(bp_backing *inner, const struct bp_faulty_plan *plan,
                                    bp_backing **out) BP_NODISCARD;

/* A new plan from now on; its count and its seed start anew. EINVAL: not a faulty backing, or a plan as
 * above. */
BP_API int bp_backing_faulty_plan(bp_backing *faulty, const struct bp_faulty_plan *plan);

struct bp_faulty_stats {
    size_t injected;       /* failures since the latest plan */
    size_t extents, bytes; /* outstanding now */
    size_t acquires, disposes, commits, releases, populates; /* calls, failed ones too, since it was made */
};
/* EINVAL: not a faulty backing, or a NULL. */
BP_API int bp_backing_faulty_stats(bp_backing *faulty, struct bp_faulty_stats *out);

BP_END_DECLS

#endif
