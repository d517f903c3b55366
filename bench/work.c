/* SPDX-License-Identifier: MIT
 * The work of one commit.
 *
 * Identities and message lines are copied, every changed path becomes an entry of a hash map, directories and
 * extensions are summed up in two more maps, and an array of the paths is sorted (by merging, since the C
 * library's qsort takes its scratch from malloc). The digest is FNV-1a over the results, taken in sorted
 * order where there is one.
 */
#include "work.h"

#include <inttypes.h>
#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * FNV_PRIME;
    return hash;
}

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
    return hash_bytes(hash, &number, sizeof(number));
}

static void *scratch(struct work *w, size_t size)
{
    void *p = w->failed ? NULL : w->contestant->unit_alloc(w->state, size);

    if (p == NULL)
        w->failed = true;
    return p;
}

static char *copy(struct work *w, const char *text, size_t length)
{
    char *p = scratch(w, length + 1);

    if (p != NULL) {
        memcpy(p, text, length);
        p[length] = '\0';
    }
    return p;
}

/* The slot of the key, or the empty one where it belongs. The table has an empty slot. */
static struct entry **find_slot(const struct map *map, const char *key, size_t length, uint64_t hash)
{
    size_t i = (size_t)hash & (map->room - 1);

    while (map->slots[i] != NULL) {
        const struct entry *e = map->slots[i];

        if (e->hash == hash && e->length == length && memcmp(e->key, key, length) == 0)
            break;
        i = (i + 1) & (map->room - 1);
    }
    return &map->slots[i];
}

static bool grow(struct work *w, struct map *map)
{
    size_t room = map->room > 0 ? map->room * 2 : 8;
    struct entry **slots = scratch(w, room * sizeof(*slots));

    if (slots == NULL)
        return false;
    for (size_t i = 0; i < room; i++)
        slots[i] = NULL;
    map->slots = slots;
    map->room = room;
    for (struct entry *e = map->first; e != NULL; e = e->next)
        *find_slot(map, e->key, e->length, e->hash) = e;
    return true;
}

/* The entry of the key, made when there is none. */
static struct entry *look_up(struct work *w, struct map *map, const char *key, size_t length)
{
    uint64_t hash = hash_bytes(FNV_START, key, length);
    struct entry **slot, *e;

    if (w->failed || (map->used >= map->room / 4 * 3 && !grow(w, map)))
        return NULL;
    slot = find_slot(map, key, length, hash);
    if (*slot != NULL)
        return *slot;
    e = scratch(w, sizeof(*e));
    if (e == NULL)
        return NULL;
    *e = (struct entry){.key = copy(w, key, length), .length = length, .hash = hash};
    if (e->key == NULL)
        return NULL;
    if (map->last != NULL)
        map->last->next = e;
    else
        map->first = e;
    map->last = e;
    map->used++;
    *slot = e;
    return e;
}

bool work_begin(struct work *w, const struct contestant *contestant, void *state)
{
    *w = (struct work){.contestant = contestant, .state = state, .digest = FNV_START};
    return contestant->unit_begin(state);
}

void work_identity(struct work *w, const char *role, const char *name, const char *email, int64_t when)
{
    size_t name_length = strlen(name), email_length = strlen(email);
    char *who = scratch(w, name_length + email_length + 4);

    if (who == NULL)
        return;
    memcpy(who, name, name_length);
    memcpy(who + name_length, " <", 2);
    memcpy(who + name_length + 2, email, email_length);
    memcpy(who + name_length + 2 + email_length, ">", 2);
    w->digest = hash_bytes(w->digest, role, strlen(role));
    w->digest = hash_bytes(w->digest, who, name_length + email_length + 3);
    w->digest = hash_number(w->digest, (uint64_t)when);
}

void work_message(struct work *w, const char *message)
{
    struct line {
        struct line *next;
        size_t length;
        char text[];
    };
    struct line *first = NULL, **end = &first;

    while (*message != '\0') {
        size_t length = strcspn(message, "\n");
        struct line *line = scratch(w, sizeof(*line) + length + 1);

        if (line == NULL)
            return;
        line->next = NULL;
        line->length = length;
        memcpy(line->text, message, length);
        line->text[length] = '\0';
        *end = line;
        end = &line->next;
        message += length + (message[length] == '\n');
    }
    for (const struct line *line = first; line != NULL; line = line->next)
        w->digest = hash_bytes(w->digest, line->text, line->length + 1);
}

struct entry *work_path(struct work *w, const char *path, char status)
{
    struct entry *e = look_up(w, &w->paths, path, strlen(path));

    if (e != NULL)
        e->status = status;
    return e;
}

/* Merge sort by key. `spare` is as long as `entries`. */
static void sort_entries(struct entry **entries, struct entry **spare, size_t n)
{
    size_t half = n / 2, i = 0, j = half, k = 0;

    if (n < 2)
        return;
    sort_entries(entries, spare, half);
    sort_entries(entries + half, spare, n - half);
    memcpy(spare, entries, n * sizeof(*spare));
    while (i < half && j < n)
        entries[k++] = strcmp(spare[i]->key, spare[j]->key) <= 0 ? spare[i++] : spare[j++];
    while (i < half)
        entries[k++] = spare[i++];
    while (j < n)
        entries[k++] = spare[j++];
}

static struct entry **sorted(struct work *w, const struct map *map)
{
    struct entry **entries, **spare;
    size_t n = 0;

    if (w->failed || map->used == 0)
        return NULL;
    entries = scratch(w, map->used * sizeof(struct entry *));
    spare = scratch(w, map->used * sizeof(struct entry *));
    if (entries == NULL || spare == NULL)
        return NULL;
    for (struct entry *e = map->first; e != NULL; e = e->next)
        entries[n++] = e;
    sort_entries(entries, spare, n);
    return entries;
}

static void add_to(struct work *w, struct map *map, const char *key, size_t length, const struct entry *path)
{
    struct entry *e = look_up(w, map, key, length);

    if (e != NULL) {
        e->files++;
        e->added += path->added;
        e->deleted += path->deleted;
    }
}

/* The path's directory and all above it, and its extension ("" for none). */
static void sum_up(struct work *w, const struct entry *path)
{
    const char *name = path->key, *dot;

    for (const char *slash = strchr(path->key, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        add_to(w, &w->directories, path->key, (size_t)(slash - path->key), path);
        name = slash + 1;
    }
    dot = strrchr(name, '.');
    if (dot == NULL || dot == name) /* .profile has no extension */
        dot = name + strlen(name);
    add_to(w, &w->extensions, dot, strlen(dot), path);
}

static void digest_map(struct work *w, const struct map *map)
{
    struct entry **entries = sorted(w, map);

    w->digest = hash_number(w->digest, map->used);
    for (size_t i = 0; entries != NULL && i < map->used; i++) {
        const struct entry *e = entries[i];

        w->digest = hash_bytes(w->digest, e->key, e->length + 1);
        w->digest = hash_number(w->digest, e->files);
        w->digest = hash_number(w->digest, e->added);
        w->digest = hash_number(w->digest, e->deleted);
        w->digest = hash_number(w->digest, (uint64_t)(unsigned char)e->status << 1 | e->binary);
    }
}

bool work_end(struct work *w, uint64_t *digest)
{
    bool good;

    for (struct entry *e = w->paths.first; e != NULL && !w->failed; e = e->next)
        sum_up(w, e);
    digest_map(w, &w->paths);
    digest_map(w, &w->directories);
    digest_map(w, &w->extensions);
    good = !w->failed;
    if (good)
        *digest = hash_number(*digest, w->digest);
    w->contestant->unit_end(w->state);
    return good;
}

void work_abandon(struct work *w)
{
    w->contestant->unit_end(w->state);
}
