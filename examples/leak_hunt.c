/* SPDX-License-Identifier: MIT
 *
 * A small server with two bugs, and how to find them: an upload forgets to give its arena back, and a
 * login keeps a pointer into its arena, through which the next one writes. main runs it without the bugs,
 * when nothing must be found, and with them.
 *
 *   - BP_POOL_CHECKOUT notes where an arena is checked out; bp_pool_each_live lists those that are out, and
 *     bp_pool_destroy reports them.
 *   - Checked mode sees writes to what was given back. Here it is in the configuration; for a program as it
 *     is, BUMPOOL_CHECK=poison,redzone,quarantine in the environment does the same.
 *   - A misuse handler collects the reports; the default one aborts at the first.
 */
#include <bumpool.h>

#include <stdio.h>
#include <string.h>

static bool bugs;
static int login_line, upload_line; /* for main to tell whether a report names the right place */
static int found_live, found_by_destroy, found_stale, found_other;

/* ---- the server ---- */

static int login(bp_pool *pool, const char *user)
{
    static char *greeted; /* by the login before */
    bp_arena *a;
    char *name;

    login_line = __LINE__ + 1;
    if (BP_POOL_CHECKOUT(pool, &a) != 0)
        return -1;
    name = bp_arena_printf(a, "user %s", user);
    if (name != NULL && greeted != NULL)
        greeted[0] = 'U'; /* where it goes wrong; what is wrong is that the pointer was kept */
    greeted = bugs && bp_check_tool() == NULL ? name : NULL; /* a tool does not let the program live */
    return bp_pool_give_back(pool, a);
}

static int upload(bp_pool *pool, size_t size)
{
    bp_arena *a;

    upload_line = __LINE__ + 1;
    if (BP_POOL_CHECKOUT(pool, &a) != 0)
        return -1;
    if (size > 10000 && bugs)
        return 0; /* too large; and the arena is forgotten. With BP_POOL_SCOPE it could not be */
    (void)!bp_arena_zalloc(a, size);
    return bp_pool_give_back(pool, a);
}

/* ---- the hunt ---- */

static bool names(const char *text, int line)
{
    char site[32];

    (void)snprintf(site, sizeof site, "leak_hunt.c:%d", line);
    return text != NULL && strstr(text, site) != NULL;
}

static void collect(const struct bp_misuse *misuse, void *data)
{
    (void)data;
    printf("  report: %s\n", misuse->message);
    for (size_t i = 0; i < misuse->stack_depth && i < 4; i++)
        printf("          called from %p\n", misuse->stack[i]); /* addr2line knows which line that is */
    if (misuse->kind == BP_MISUSE_LIVE_ARENAS && names(misuse->message, upload_line))
        found_by_destroy++;
    else if (misuse->kind == BP_MISUSE_USE_AFTER_DROP && names(misuse->message, login_line))
        found_stale++;
    else
        found_other++;
}

static int forgotten(const struct bp_live_arena *live, void *data)
{
    (void)data;
    printf("  live:   an arena of thread %ld, checked out at %s, %zu return addresses\n", live->thread,
           live->site != NULL ? live->site : "?", live->stack_depth);
    ++*(names(live->site, upload_line) ? &found_live : &found_other);
    return 0;
}

/* Some requests, and then the places to look. False: the program does not work. */
static bool hunt(bool with_bugs)
{
    struct bp_pool_config config = BP_POOL_CONFIG_INIT;
    bp_pool *pool;
    int rc;

    printf("%s bugs:\n", with_bugs ? "with" : "without");
    bugs = with_bugs;
    config.name = "requests";
    config.checks = BP_CHECK_REDZONE | BP_CHECK_POISON | BP_CHECK_QUARANTINE;
    if (bp_pool_create(NULL, &config, &pool) != 0 || login(pool, "ann") != 0 || upload(pool, 400) != 0 ||
        login(pool, "bob") != 0 || upload(pool, 40000) != 0)
        return false;

    /* Nothing is being served: whoever holds an arena has forgotten it. */
    if (bp_pool_each_live(pool, forgotten, NULL) != 0)
        return false;
    /* A stale write is seen when the memory is looked at: at its next use, or when it goes. So have it go. */
    (void)bp_pool_trim(pool, 0);
    rc = bp_pool_destroy(pool); /* EBUSY while arenas are live; their memory stays */
    return with_bugs ? rc != 0 : rc == 0;
}

int main(void)
{
    if (bp_check_tool() != NULL)
        printf("without the stale write: %s would end the program right there\n", bp_check_tool());
    bp_set_misuse_handler(collect, NULL);
    if (!hunt(false) || found_live + found_by_destroy + found_stale + found_other != 0 || !hunt(true))
        return 1;
    printf("found: %d live, %d by destroy, %d stale, %d other\n", found_live, found_by_destroy, found_stale,
           found_other);
    return found_live != 1 || found_by_destroy != 1 || found_other != 0 ||
           found_stale != (bp_check_tool() == NULL);
}
