/* SPDX-License-Identifier: MIT
 * Misuse: programming errors that the library can see and that must never pass silently.
 *
 * An errno value tells a program what the world did to it; misuse tells a programmer what the program
 * did wrong. Every detected misuse goes to one handler for the process. The default prints one line to
 * standard error and aborts. When a handler returns, the call that found the misuse changes nothing
 * and returns the error given for its kind (0 where it returns a count, nothing where it returns nothing).
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_MISUSE_H
#define BUMPOOL_MISUSE_H

BP_BEGIN_DECLS

enum bp_misuse_kind {
    BP_MISUSE_DOUBLE_GIVE_BACK = 1, /* the arena has been given back already: EINVAL */
    BP_MISUSE_FOREIGN_ARENA,        /* the pointer is no arena of this pool: EINVAL */
    BP_MISUSE_DEAD_POOL,            /* the pool has been destroyed: EINVAL */
    BP_MISUSE_POOL_ARENA,           /* bp_arena_destroy of an arena that belongs to a pool: EINVAL */
    BP_MISUSE_DEAD_MARK,            /* rewind to a mark that is no longer below the cursor: EINVAL */
    BP_MISUSE_BUSY_ARENA,           /* reset, rewind, destroy or give_back from inside a cleanup: EBUSY */
    BP_MISUSE_LIVE_ARENAS,          /* bp_pool_destroy while arenas are live or somebody
                                       waits: EBUSY. Told, but not fatal: the default handler
                                       prints its line and does not abort */
    BP_MISUSE_BAD_BUFFER,           /* put of a buffer that is none of this bucket pool's, or
                                       whose data pointer was changed: EINVAL */
    /* Only in checked mode (check.h), and OVERRUN also from the guard backing: */
    BP_MISUSE_IDLE_ARENA,           /* use of an arena after it was given back: EINVAL */
    BP_MISUSE_BAD_BLOCK,            /* realloc of what is no block of the arena, or has another size: EINVAL */
    BP_MISUSE_CLEANUP_ALLOCATES,    /* a cleanup allocates from its own arena: EBUSY */
    BP_MISUSE_OVERRUN,              /* bytes just before or after a block were written. This and the next
                                       are found after the fact; the call that finds them goes on */
    BP_MISUSE_USE_AFTER_DROP        /* bytes of a block were written after reset, rewind or give_back */
};

struct bp_misuse {
    enum bp_misuse_kind kind;
    const char *message;   /* one line, no newline; valid during the handler only */
    const bp_pool *pool;   /* the pool of the call, or NULL; possibly destroyed: compare, do not use */
    const bp_arena *arena; /* the arena of the call, or NULL; possibly not one: compare, do not use */
    void *const *stack;    /* return addresses from where the block in question was allocated, or, with
                              LIVE_ARENAS, the first live arena checked out; the innermost first; NULL
                              unless checked mode knows them */
    size_t stack_depth;    /* how many */
};

/* Sets the handler for the whole process; NULL restores the default. Any thread; a call that is
 * reporting at the same moment uses either the old pair or the new one, never a mixture. The handler is
 * called with no lock held, may call any function of the library, and may leave by longjmp (but not out of a
 * cleanup: its arena would be busy for ever). */
BP_API void bp_set_misuse_handler(void (*fn)(const struct bp_misuse *misuse, void *data), void *data);

BP_END_DECLS

#endif
