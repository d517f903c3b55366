/* SPDX-License-Identifier: MIT
 * Checked mode: finds the errors that recycling hides from sanitizers.
 *
 * A block of a bump arena has no neighbour that a tool knows of, and its memory is never freed: an overflow
 * runs into the next block, and a pointer kept over a reset reads the next unit's data. A checked arena or
 * pool behaves as in production in all that its contract says, and sees such errors.
 *
 * It needs no other build of the library, and costs nothing when it is off: the inline paths are the same.
 * A checked arena keeps its limit at its cursor, so that each of its allocations takes the slow path.
 *
 * Which checks an arena or pool has is settled when it is created: by the `checks` of its configuration, or
 * when that is 0 by the environment variable BUMPOOL_CHECK, a list such as "redzone,poison" (words as below,
 * "all", or "none"), or when that is not set by the tool that the process runs under: POISON, REDZONE and
 * QUARANTINE under AddressSanitizer or Valgrind's Memcheck, nothing otherwise. A program that runs with more rights than
 * its user has (setuid) ignores the variable.
 *
 * What is found goes to the misuse handler (misuse.h). Under AddressSanitizer and Valgrind the tool itself
 * reports, at the very access, what reads or writes where nothing is allocated; bumpool tells the
 * tool what is, and adds where the block nearest to the address was allocated; Valgrind knows where it was
 * dropped, too.
 *
 * A checked arena uses more memory, malloc among it; over a backing that has no more, allocations can fail
 * that would not otherwise. doc/checked.md has a table of what is caught where.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_CHECK_H
#define BUMPOOL_CHECK_H

BP_BEGIN_DECLS

enum bp_check {
    BP_CHECK_POISON = 1,      /* what is dropped is overwritten with 0xDB and looked at again before it is
                                 reused: a byte that changed is reported. For a tool it is inaccessible. */
    BP_CHECK_REDZONE = 2,     /* at least 16 bytes of 0xFD before and after each block, looked at when it
                                 is dropped. For a tool they are inaccessible. */
    BP_CHECK_QUARANTINE = 4,  /* what was dropped is reused as late as can be: in a pool the arena that has
                                 been idle longest comes first, and only when the caps, or 64 MiB, are
                                 reached; within an arena, the second half of the extent is used first. Use
                                 of an idle arena is reported. */
    BP_CHECK_GUARD = 8,       /* each block has an extent of its own from the guard backing (stock.h) in
                                 place of the arena's, so that a wrong access faults at once; of backings
                                 only `locked`, which has such pages itself, keeps its arenas. Two areas of
                                 the kernel's for each block. */
    BP_CHECK_FILL = 16,       /* new blocks are filled with 0xAB, unless they are to be zero */
    BP_CHECK_ALL = 31,
    BP_CHECK_OFF = 32         /* no checks, whatever the environment says; alone */
};

/* The checks of arenas and pools whose configuration says 0, as flags; 0: none. Read from the environment once
 * in the life of the process. */
BP_API unsigned bp_check_default(void);

/* "AddressSanitizer", "Valgrind", or NULL: the tool that checked arenas talk to. Static. */
BP_API const char *bp_check_tool(void);

/* Looks at the red zones and at what was dropped now, as a reset would, in a checked arena; a way to
 * close in on who writes there. Returns how many errors were reported; 0 for an arena that is not
 * checked. For the holder of the arena. Cost: reads all the bytes it looks at. */
BP_API size_t bp_arena_check(bp_arena *a);

BP_END_DECLS

#endif
