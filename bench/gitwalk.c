/* SPDX-License-Identifier: MIT
 * Walking a git repository.
 *
 * The order is that of `git log`: a queue of commits by committer time, fed with the parents of each commit
 * taken from it. libgit2's revwalk is not used because the one of 1.5 fails at the edge of a shallow clone;
 * here a parent that is not there simply is not queued, and its child's diff is one against the empty tree,
 * as for a root. Commits are listed once; a pass looks each of them up again, as its work needs it.
 */
#include "gitwalk.h"

#ifdef HAVE_LIBGIT2

#include <git2.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

struct gitwalk {
    git_repository *repository;
    git_oid *commits;
    size_t count, room;
};

const char *libgit2_version_text(void)
{
    static char text[32];
    int major, minor, patch;

    git_libgit2_version(&major, &minor, &patch);
    snprintf(text, sizeof(text), "%d.%d.%d", major, minor, patch);
    return text;
}

static const char *git_trouble(void)
{
    const git_error *error = git_error_last();

    return error != NULL && error->message != NULL ? error->message : "unknown error of libgit2";
}

/* ---- listing ---- */

struct queued {
    int64_t time;
    size_t order; /* of two with the same time, the one seen first */
    git_oid id;
};

/* A binary heap, the newest commit on top, and an open addressing set of all commits ever queued. */
struct frontier {
    struct queued *heap;
    size_t used, room;
    git_oid *seen; /* an all-zero id is an empty slot: no object has it */
    size_t seen_used, seen_room;
};

static bool before(const struct queued *a, const struct queued *b)
{
    return a->time != b->time ? a->time > b->time : a->order < b->order;
}

static bool out_of_memory(void)
{
    complain("not enough memory to list the commits");
    return false;
}

static git_oid *seen_slot(git_oid *seen, size_t room, const git_oid *id)
{
    size_t i;

    memcpy(&i, id->id, sizeof(i));
    for (i &= room - 1; !git_oid_is_zero(&seen[i]) && !git_oid_equal(&seen[i], id);)
        i = (i + 1) & (room - 1);
    return &seen[i];
}

/* True in *fresh when the id was not in the set. */
static bool see(struct frontier *f, const git_oid *id, bool *fresh)
{
    git_oid *slot;

    if (f->seen_used >= f->seen_room / 2) {
        size_t room = f->seen_room > 0 ? f->seen_room * 2 : 1024;
        git_oid *seen = calloc(room, sizeof(*seen));

        if (seen == NULL)
            return out_of_memory();
        for (size_t i = 0; i < f->seen_room; i++) {
            if (!git_oid_is_zero(&f->seen[i]))
                *seen_slot(seen, room, &f->seen[i]) = f->seen[i];
        }
        free(f->seen);
        f->seen = seen;
        f->seen_room = room;
    }
    slot = seen_slot(f->seen, f->seen_room, id);
    *fresh = git_oid_is_zero(slot);
    if (*fresh) {
        *slot = *id;
        f->seen_used++;
    }
    return true;
}

/* Queues the commit unless it was before, or is not there (and `optional`). */
static bool enqueue(struct gitwalk *walk, struct frontier *f, const git_oid *id, bool optional)
{
    git_commit *commit;
    struct queued item;
    size_t i;
    bool fresh;
    int error;

    if (!see(f, id, &fresh))
        return false;
    if (!fresh)
        return true;
    error = git_commit_lookup(&commit, walk->repository, id);
    if (error == GIT_ENOTFOUND && optional)
        return true;
    if (error != 0) {
        complain("%s: commit %s: %s", gitwalk_path(walk), git_oid_tostr_s(id), git_trouble());
        return false;
    }
    item = (struct queued){git_commit_time(commit), f->seen_used, *id};
    git_commit_free(commit);
    if (f->used == f->room) {
        size_t room = f->room > 0 ? f->room * 2 : 64;
        struct queued *heap = reallocarray(f->heap, room, sizeof(*heap));

        if (heap == NULL)
            return out_of_memory();
        f->heap = heap;
        f->room = room;
    }
    for (i = f->used++; i > 0 && before(&item, &f->heap[(i - 1) / 2]); i = (i - 1) / 2)
        f->heap[i] = f->heap[(i - 1) / 2];
    f->heap[i] = item;
    return true;
}

static git_oid dequeue(struct frontier *f)
{
    git_oid top = f->heap[0].id;
    struct queued item = f->heap[--f->used];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= f->used)
            break;
        if (child + 1 < f->used && before(&f->heap[child + 1], &f->heap[child]))
            child++;
        if (!before(&f->heap[child], &item))
            break;
        f->heap[i] = f->heap[child];
        i = child;
    }
    f->heap[i] = item;
    return top;
}

static bool append(struct gitwalk *walk, const git_oid *id)
{
    if (walk->count == walk->room) {
        size_t room = walk->room > 0 ? walk->room * 2 : 1024;
        git_oid *commits = reallocarray(walk->commits, room, sizeof(*commits));

        if (commits == NULL)
            return out_of_memory();
        walk->commits = commits;
        walk->room = room;
    }
    walk->commits[walk->count++] = *id;
    return true;
}

static bool list_commits(struct gitwalk *walk, struct frontier *f, const git_oid *head, size_t max)
{
    if (!enqueue(walk, f, head, false))
        return false;
    while (f->used > 0 && (max == 0 || walk->count < max)) {
        git_oid id = dequeue(f);
        git_commit *commit;
        bool good = true;

        if (!append(walk, &id))
            return false;
        if (git_commit_lookup(&commit, walk->repository, &id) != 0) {
            complain("%s: commit %s: %s", gitwalk_path(walk), git_oid_tostr_s(&id), git_trouble());
            return false;
        }
        for (unsigned i = 0; good && i < git_commit_parentcount(commit); i++)
            good = enqueue(walk, f, git_commit_parent_id(commit, i), true);
        git_commit_free(commit);
        if (!good)
            return false;
        if (walk->count % 512 == 0)
            progress("listing commits: %zu", walk->count);
    }
    return true;
}

/* ---- opening ---- */

static int open_repository(struct gitwalk *walk, const char *path)
{
    int error;

    /* Objects are all that is read, and nothing that the repository's configuration names is run: whose it
     * is does not matter. */
    (void)git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    /* nor is anything in the user's or the system's configuration wanted, or worth failing for */
    (void)git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, GIT_CONFIG_LEVEL_GLOBAL, "");
    (void)git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, GIT_CONFIG_LEVEL_XDG, "");
    (void)git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, GIT_CONFIG_LEVEL_SYSTEM, "");
    if (path == NULL)
        error = git_repository_open_ext(&walk->repository, ".", 0, NULL);
    else
        error = git_repository_open_ext(&walk->repository, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
    if (error != 0)
        complain("%s: %s", path != NULL ? path : ".", git_trouble());
    return error != 0 ? BAD_INPUT : DONE;
}

static int find_head(struct gitwalk *walk, git_oid *id)
{
    git_reference *head;
    git_object *commit;
    int error = git_repository_head(&head, walk->repository);

    if (error == GIT_EUNBORNBRANCH || error == GIT_ENOTFOUND) {
        complain("%s: no commits: HEAD names a branch that does not exist yet", gitwalk_path(walk));
        return BAD_INPUT;
    }
    if (error == 0) {
        error = git_reference_peel(&commit, head, GIT_OBJECT_COMMIT);
        git_reference_free(head);
    }
    if (error != 0) {
        complain("%s: HEAD: %s", gitwalk_path(walk), git_trouble());
        return BAD_INPUT;
    }
    *id = *git_object_id(commit);
    git_object_free(commit);
    return DONE;
}

int gitwalk_open(const char *path, size_t max, struct gitwalk **out)
{
    struct frontier frontier = {0};
    struct gitwalk *walk = calloc(1, sizeof(*walk));
    git_oid head;
    int status;

    if (walk == NULL || git_libgit2_init() < 0) {
        complain("cannot start libgit2");
        free(walk);
        return BAD_INPUT;
    }
    status = open_repository(walk, path);
    if (status == DONE)
        status = find_head(walk, &head);
    if (status == DONE && !list_commits(walk, &frontier, &head, max))
        status = BAD_INPUT;
    progress_clear();
    free(frontier.heap);
    free(frontier.seen);
    if (status != DONE) {
        gitwalk_close(walk);
        return status;
    }
    *out = walk;
    return DONE;
}

void gitwalk_close(struct gitwalk *walk)
{
    if (walk == NULL)
        return;
    git_repository_free(walk->repository);
    free(walk->commits);
    free(walk);
    git_libgit2_shutdown();
}

void gitwalk_cut(struct gitwalk *walk, size_t count)
{
    if (count < walk->count)
        walk->count = count;
}

size_t gitwalk_commits(const struct gitwalk *walk)
{
    return walk->count;
}

const char *gitwalk_path(const struct gitwalk *walk)
{
    const char *workdir = git_repository_workdir(walk->repository);

    return workdir != NULL ? workdir : git_repository_path(walk->repository);
}

bool gitwalk_is_shallow(const struct gitwalk *walk)
{
    return git_repository_is_shallow(walk->repository) == 1;
}

/* ---- the work of a commit ---- */

struct diffing {
    struct work *work;
    struct entry *current;
};

static char status_letter(git_delta_t status)
{
    switch (status) {
    case GIT_DELTA_ADDED: return 'A';
    case GIT_DELTA_DELETED: return 'D';
    case GIT_DELTA_TYPECHANGE: return 'T';
    default: return 'M';
    }
}

static int on_file(const git_diff_delta *delta, float done, void *payload)
{
    struct diffing *d = payload;
    const char *path = delta->status == GIT_DELTA_DELETED ? delta->old_file.path : delta->new_file.path;

    (void)done;
    d->current = work_path(d->work, path, status_letter(delta->status));
    return d->current != NULL ? 0 : GIT_EUSER;
}

static int on_binary(const git_diff_delta *delta, const git_diff_binary *binary, void *payload)
{
    struct diffing *d = payload;

    (void)delta;
    (void)binary;
    d->current->binary = true;
    return 0;
}

/* Without context lines, a hunk's old lines are the deleted ones and its new lines the added ones. */
static int on_hunk(const git_diff_delta *delta, const git_diff_hunk *hunk, void *payload)
{
    struct diffing *d = payload;

    (void)delta;
    d->current->deleted += (uint64_t)hunk->old_lines;
    d->current->added += (uint64_t)hunk->new_lines;
    return 0;
}

/* The tree of the first parent; NULL for a root, or when the parent is not in this repository. */
static int parent_tree(const git_commit *commit, git_tree **out)
{
    git_commit *parent;
    int error;

    *out = NULL;
    if (git_commit_parentcount(commit) == 0)
        return 0;
    error = git_commit_parent(&parent, commit, 0);
    if (error == GIT_ENOTFOUND)
        return 0;
    if (error != 0)
        return error;
    error = git_commit_tree(out, parent);
    git_commit_free(parent);
    return error;
}

static int diff_commit(git_repository *repository, const git_commit *commit, struct work *work)
{
    git_diff_options options;
    struct diffing diffing = {work, NULL};
    git_tree *old = NULL, *new = NULL;
    git_diff *diff = NULL;
    int error;

    error = git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
    options.context_lines = 0;
    options.flags |= GIT_DIFF_INCLUDE_TYPECHANGE;
    if (error == 0)
        error = git_commit_tree(&new, commit);
    if (error == 0)
        error = parent_tree(commit, &old);
    if (error == 0)
        error = git_diff_tree_to_tree(&diff, repository, old, new, &options);
    if (error == 0)
        error = git_diff_foreach(diff, on_file, on_binary, on_hunk, NULL, &diffing);
    git_diff_free(diff);
    git_tree_free(old);
    git_tree_free(new);
    return error;
}

static int do_commit(struct gitwalk *walk, const git_oid *id, struct work *work)
{
    const git_signature *who;
    git_commit *commit;
    int error;

    error = git_commit_lookup(&commit, walk->repository, id);
    if (error != 0)
        return error;
    who = git_commit_author(commit);
    if (who != NULL)
        work_identity(work, "author", who->name, who->email, who->when.time);
    who = git_commit_committer(commit);
    if (who != NULL)
        work_identity(work, "committer", who->name, who->email, who->when.time);
    if (git_commit_message(commit) != NULL)
        work_message(work, git_commit_message(commit));
    error = diff_commit(walk->repository, commit, work);
    git_commit_free(commit);
    return error;
}

int gitwalk_pass(struct gitwalk *walk, const struct contestant *contestant, void *state, uint64_t *digest)
{
    uint64_t result = 0;

    for (size_t i = 0; i < walk->count; i++) {
        struct work work;
        int error = 0;

        if (work_begin(&work, contestant, state)) {
            error = do_commit(walk, &walk->commits[i], &work);
            if (error != 0 && !work.failed) {
                complain("%s: commit %s: %s", gitwalk_path(walk), git_oid_tostr_s(&walk->commits[i]),
                         git_trouble());
                work_abandon(&work);
                return BAD_INPUT;
            }
            if (work_end(&work, &result))
                continue;
        }
        complain("%s: out of memory at commit %s", contestant->name, git_oid_tostr_s(&walk->commits[i]));
        return FAILED;
    }
    *digest = result;
    return DONE;
}

#else /* no libgit2 */

int gitwalk_open(const char *path, size_t max, struct gitwalk **out)
{
    (void)path;
    (void)max;
    (void)out;
    complain("this build has no libgit2: a repository cannot be read, only --trace files");
    return BAD_INPUT;
}

void gitwalk_close(struct gitwalk *walk)
{
    (void)walk;
}

void gitwalk_cut(struct gitwalk *walk, size_t count)
{
    (void)walk;
    (void)count;
}

size_t gitwalk_commits(const struct gitwalk *walk)
{
    (void)walk;
    return 0;
}

const char *gitwalk_path(const struct gitwalk *walk)
{
    (void)walk;
    return "";
}

bool gitwalk_is_shallow(const struct gitwalk *walk)
{
    (void)walk;
    return false;
}

int gitwalk_pass(struct gitwalk *walk, const struct contestant *contestant, void *state, uint64_t *digest)
{
    (void)walk;
    (void)contestant;
    (void)state;
    (void)digest;
    return BAD_INPUT;
}

const char *libgit2_version_text(void)
{
    return NULL;
}

#endif
