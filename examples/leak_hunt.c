/* SPDX-License-Identifier: MIT
 *
 * A small server with two bugs, and how they are found. One request forgets to give its arena back; another
 * keeps a pointer into its arena, and the next one writes through it. main runs it without the bugs, when
 * nothing must be found, and with them. Where to look:
 *
 *   - BP_POOL_CHECKOUT notes where an arena is checked out; bp_pool_each_live lists those that are out, and
 *     bp_pool_destroy reports them.
 *   - Checked mode, here by configuration, sees writes to what was given back. BUMPOOL_CHECK=all does the
 *     same for a program as it is; see doc/checked.md.
 *   - A misuse handler collects the reports, where the default one would abort at the first.
 */
#include <bumpool.h>

#include <stdio.h>
#include <string.h>

struct server {
    bp_pool *pool;
    bool bugs;
    char *last_user; /* of the request before */
};

/* What a hunt found. */
struct finds {
    int live, destroy, stale, other; /* reports, by what they are about */
};
static int upload_line, login_line; /* for main, to tell whether a report names the right place */

static bool names(const char *text, int line)
{
    char site[64];

    (void)snprintf(site, sizeof site, "leak_hunt.c:%d", line);
    return text != NULL && strstr(text, site) != NULL;
}

/* ---- the server ---- */

static int login(struct server *s, const char *user)
{
    bp_arena *a;
    char *name;

    login_line = __LINE__ + 1;
    if (BP_POOL_CHECKOUT(s->pool, &a) != 0)
        return -1;
    name = bp_arena_printf(a, "user %s", user);
    if (s->last_user != NULL)
        s->last_user[0] = 'U'; /* the bug is not here: it is that this pointer was kept */
    s->last_user = s->bugs ? name : NULL;
    return bp_pool_give_back(s->pool, a);
}

static int upload(struct server *s, size_t size)
{
    bp_arena *a;

    upload_line = __LINE__ + 1;
    if (BP_POOL_CHECKOUT(s->pool, &a) != 0)
        return -1;
    if (s->bugs && size > 10000)
        return 0; /* the bug: a way out without give_back; BP_POOL_SCOPE has none */
    (void)!bp_arena_alloc(a, size);
    return bp_pool_give_back(s->pool, a);
}

/* ---- the hunt ---- */

static void collect(const struct bp_misuse *misuse, void *data)
{
    struct finds *finds = data;

    printf("  report: %s\n", misuse->message);
    for (size_t i = 0; i < misuse->stack_depth && i < 3; i++)
        printf("    %p\n", misuse->stack[i]); /* addr2line makes a line of it */
    if (misuse->kind == BP_MISUSE_LIVE_ARENAS)
        finds->destroy += names(misuse->message, upload_line);
    else if (misuse->kind == BP_MISUSE_USE_AFTER_DROP && names(misuse->message, login_line))
        finds->stale++;
    else
        finds->other++;
}

/* Nothing is being served: whoever has an arena now has forgotten it. */
static int forgotten(const struct bp_live_arena *live, void *data)
{
    struct finds *finds = ((void **)data)[0];
    bp_pool *pool = ((void **)data)[1];

    printf("  live: checked out at %s by thread %ld, %zu return addresses\n",
           live->site != NULL ? live->site : "?", live->thread, live->stack_depth);
    finds->live += names(live->site, upload_line);
    return bp_pool_give_back(pool, (bp_arena *)(uintptr_t)live->arena); /* so that the pool can go */
}
