/* SPDX-License-Identifier: MIT
 *
 * Keys and passwords: in memory that is never written to swap or a core file and that no child process
 * gets (bp_backing_locked), overwritten as soon as a request is done (zero_on_give_back; bp_arena_wipe for
 * an arena that is no pool's). Copies are the program's business: a secret must not pass through stdio, a
 * local array or malloc.
 */
#define _GNU_SOURCE
#include <bumpool.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEY_SIZE = 32 };

/* Stands for the key derivation of a cryptographic library, and is none. */
static unsigned char *derive_key(bp_arena *a, const char *passphrase, uint64_t salt)
{
    uint64_t *state = bp_new(a, uint64_t); /* not a local variable: a stack is not locked */
    unsigned char *key = bp_arena_alloc(a, KEY_SIZE);

    if (state == NULL || key == NULL)
        return NULL;
    for (int i = 0; i < KEY_SIZE; i++) {
        *state = salt + (unsigned)i;
        for (const char *p = passphrase; *p != '\0'; p++)
            *state = (*state ^ (unsigned char)*p) * 0x100000001b3u;
        key[i] = (unsigned char)(*state >> 16 | 1); /* never 0: tells it from what was overwritten */
    }
    return key;
}

/* How many of the bytes are not 0. Volatile: they change without the compiler seeing how. */
static int nonzero(const volatile unsigned char *p)
{
    int n = 0;

    for (int i = 0; i < KEY_SIZE; i++)
        n += p[i] != 0;
    return n;
}

/* A child has the pages, but not what was in them. It may look, and use neither the arena nor the pool. */
static int seen_by_child(const unsigned char *key)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(nonzero(key));
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* One request. Where the key was is for main to look at. */
static int serve(bp_pool *pool, const char *passphrase, uint64_t salt, const unsigned char **where)
{
    BP_POOL_SCOPE(a, pool); /* given back, and with that overwritten, on every way out */
    int child;

    if (a == NULL)
        return errno;
    *where = derive_key(a, passphrase, salt);
    if (*where == NULL)
        return ENOMEM;
    child = seen_by_child(*where);
    printf("during the request: %d bytes here, %d in a child\n", nonzero(*where), child);
    return nonzero(*where) == KEY_SIZE && child == 0 ? 0 : EIO;
}

int main(void)
{
    const char *passphrase = "correct horse"; /* a real one is read(2) into the arena, straight */
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    struct bp_arena_config own = BP_ARENA_CONFIG_INIT;
    const unsigned char *key = NULL;
    bp_pool *pool;
    bp_arena *a;
    int rc = bp_backing_locked_probe(); /* at the start, not at the first request */

    if (rc != 0) {
        printf("cannot lock memory for secrets: %s%s\n", strerror(rc),
               rc == EPERM || rc == ENOMEM ? "; raise the limit (ulimit -l, LimitMEMLOCK=)" : "");
        return 77; /* for `make check`: not tried */
    }

    config.name = "secrets";
    config.arena_size = 4096; /* locked memory is scarce: few arenas, small and bounded */
    config.max_arenas = 4;
    config.arena_policy = BP_ARENA_FIXED;
    config.zero_on_give_back = true;
    config.checks = BP_CHECK_OFF; /* main looks at what was given back, which checks would report */
    if (bp_pool_create(bp_backing_locked(), &config, &pool) != 0)
        return 1;
    rc = serve(pool, passphrase, 1, &key);
    if (rc != 0)
        return 1;
    /* No program should follow a pointer past give_back. This one may, to look: the arena is idle, and the
     * pool keeps its memory mapped. */
    printf("after the request: %d bytes left\n", nonzero(key));
    if (nonzero(key) != 0 || bp_pool_destroy(pool) != 0)
        return 1;

    /* An arena that is no pool's: a reset alone overwrites nothing; a wipe does, and so does destroy. */
    own.size = 4096;
    own.checks = BP_CHECK_OFF;
    if (bp_arena_create(bp_backing_locked(), &own, &a) != 0)
        return 1;
    key = derive_key(a, passphrase, 2);
    if (key == NULL)
        return 1;
    bp_arena_reset(a);
    printf("after a reset: %d bytes left\n", nonzero(key));
    bp_arena_wipe(a);
    rc = nonzero(key);
    printf("after a wipe: %d bytes left\n", rc);
    return bp_arena_destroy(a) != 0 || rc != 0;
}
