/* SPDX-License-Identifier: MIT
 *
 * Checked mode: an arena that knows its blocks.
 *
 * Each block of a checked arena has a record, kept out of the arena's own memory so that no stray write
 * reaches it, in the order of allocation; marks have one too, which tells a dead mark from one that looks the
 * same. A block lies between red zones in its *place*:
 *
 *     place    start         start + size      place_end
 *      |zone    |block        |zone             |
 *
 * and places follow one another without gaps, so that what is below a segment's `touched` and not in a place
 * in use is what was dropped, and with BP_CHECK_POISON holds nothing but POISON.
 *
 * Dropped blocks. Where BP_CHECK_QUARANTINE allows it, the cursor stays where it is (stay): the records
 * of what was dropped stay in the list, marked. Otherwise the cursor goes down as in any arena; the
 * records move to `last`, where they only serve to put a name to an address.
 *
 * Bytes used are counted as if there were no red zones, and a fixed arena fails when an unchecked one
 * would: it takes further segments for what checks need.
 *
 * Sync: a struct checks belongs to the holder of its arena, as that does; `idle` and the list of all excepted.
 * A report of AddressSanitizer looks at all of them without a lock, since nothing else runs any more.
 */
#define _GNU_SOURCE
#include "check_blocks.h"

#include "check_tools.h"
#include "fork.h"
#include "os.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ZONE = 16,      /* bytes of a red zone; more where the size is no multiple of BP_ALIGNMENT */
    ZONE_BYTE = 0xFD,
    POISON_BYTE = 0xDB,
    FILL_BYTE = 0xAB,
    STAY_MAX = 4096 /* records of dropped blocks before the cursor goes down */
};
/* Bytes that a block's alignment may cost. They are written, which makes memory of what in an unchecked arena is but
 * addresses. */
#define SLACK_MAX ((size_t)1 << 30)

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct checks *all; /* sync: all_lock */

static _Atomic(uint64_t) marks; /* taken so far. Relaxed; pairs with itself */

/* ---- what the bytes say ---- */

/* The first byte of [p, end) that is not `value`, or NULL. */
static const char *find_other(const char *p, const char *end, int value)
{
    while (p < end && (unsigned char)*p == value)
        p++;
    return p < end ? p : NULL;
}

static void fill(char *p, const char *end, int value)
{
    if (p < end)
        memset(p, value, (size_t)(end - p));
}

/* Guard pages leave room of their own, where a size is no multiple of what blocks are aligned to. */
static bool has_zones(const struct checks *c)
{
    return (c->what & (BP_CHECK_REDZONE | BP_CHECK_GUARD)) != 0;
}

/* A byte of a shown block's zones that was written, or NULL: the one nearest to the block. */
static const char *spoilt_zone(const struct checks *c, const struct block *b)
{
    const char *p;

    if (!has_zones(c))
        return NULL;
    p = find_other(b->start + b->size, b->place_end, ZONE_BYTE);
    if (p != NULL)
        return p;
    for (p = b->start; p-- != b->place;)
        if ((unsigned char)*p != ZONE_BYTE)
            return p;
    return NULL;
}

static void write_zones(struct block *b)
{
    fill(b->place, b->start, ZONE_BYTE);
    fill(b->start + b->size, b->place_end, ZONE_BYTE);
}

static void hide_zones(const struct checks *c, const struct block *b)
{
    if (!has_zones(c))
        return;
    tool_hide(b->place, b->start);
    tool_hide(b->start + b->size, b->place_end);
}

/* Whether bytes that were dropped are to hold POISON_BYTE, and can be looked at: with guard pages they are
 * gone. */
static bool poisons(const struct checks *c)
{
    return (c->what & BP_CHECK_POISON) != 0;
}

/* Looks whether [p, end), dropped, is as it was left. Leaves it shown if `show`, else hidden again. */
static size_t look_at_dropped(struct arena *a, char *p, const char *end, bool show)
{
    const char *byte;
    size_t errors = 0;

    tool_show(p, end);
    byte = find_other(p, end, POISON_BYTE);
    if (byte != NULL) {
        check_report_dropped(a, byte);
        fill(p, end, POISON_BYTE); /* one report is enough */
        errors = 1;
    }
    if (!show)
        tool_hide(p, end);
    return errors;
}

/* ---- records ---- */

/* False: there is no memory. */
static bool make_room(struct block_list *list, size_t room)
{
    int saved = errno;
    void *item = NULL;

    if (room <= list->room)
        return true;
    if (room <= PTRDIFF_MAX / sizeof *list->item)
        item = realloc(list->item, room * sizeof *list->item);
    os_restore_errno(saved);
    if (item == NULL)
        return false;
    list->item = item;
    list->room = room;
    return true;
}

static struct block *block_push(struct block_list *list)
{
    if (list->count == list->room && !make_room(list, list->room == 0 ? 64 : list->room * 2))
        return NULL;
    memset(&list->item[list->count], 0, sizeof *list->item);
    return &list->item[list->count++];
}

/* The block in use that starts at `p`, or NULL. Blocks of 0 bytes may lie where others do. */
static struct block *find_block(struct checks *c, const char *p)
{
    for (size_t i = c->block.count; i-- != 0;) {
        struct block *b = &c->block.item[i];

        if (b->start == p && b->mark == 0 && b->size != 0 && !b->dropped)
            return b;
    }
    return NULL;
}

static void drop_block(struct arena *a, struct block *b)
{
    struct checks *c = a->checks;
    const char *spoilt;

    b->dropped = true;
    if (b->mark != 0)
        return;
    tool_block_gone(a, b->start);
    tool_show(b->place, b->place_end);
    spoilt = spoilt_zone(c, b);
    if (spoilt != NULL)
        check_report_zone(a, b, spoilt);
    if (poisons(c)) {
        fill(b->place, b->place_end, POISON_BYTE);
        tool_hide(b->place, b->place_end);
    }
}

/* Drops the blocks from number `from` on. */
static void drop_from(struct arena *a, size_t from)
{
    struct checks *c = a->checks;
    const char *site = atomic_load_explicit(&a->site, memory_order_relaxed); /* the holder's own */

    if (site != NULL)
        c->site = site;
    for (size_t i = c->block.count; i-- > from;)
        if (!c->block.item[i].dropped)
            drop_block(a, &c->block.item[i]);
}

/* What was dropped before, as far as the current segment and the records know. */
static size_t look(struct arena *a)
{
    struct checks *c = a->checks;
    size_t errors = 0;

    if (!poisons(c))
        return 0;
    for (size_t i = 0; i < c->block.count; i++) {
        const struct block *b = &c->block.item[i];

        if (b->dropped && b->mark == 0)
            errors += look_at_dropped(a, b->place, b->place_end, false);
    }
    return errors + look_at_dropped(a, a->pub.cursor, a->current->touched, false);
}

/* The records from number `from` on are dropped, and the cursor goes below them. */
static void forget_from(struct checks *c, size_t from)
{
    size_t count = c->block.count - from;

    if (from == 0) { /* nothing to copy */
        struct block_list last = c->last;

        c->last = c->block;
        c->block = last;
        c->block.count = 0;
        return;
    }
    if (count != 0 && make_room(&c->last, count)) {
        memcpy(c->last.item, c->block.item + from, count * sizeof *c->last.item);
        c->last.count = count;
    }
    c->block.count = from;
}

/* Whether what was dropped can stay where it is for now, and allocation go on behind it. */
static bool can_stay(const struct arena *a)
{
    const struct checks *c = a->checks;
    const struct segment *s = a->current;

    return (c->what & BP_CHECK_QUARANTINE) != 0 && (c->what & BP_CHECK_GUARD) == 0 &&
           c->block.count < STAY_MAX && a->pub.cursor - s->start <= (s->end - s->start) / 2;
}

static size_t zone_of(const struct checks *c)
{
    return (c->what & BP_CHECK_REDZONE) != 0 ? ZONE : 0;
}

/* ---- life ---- */

static void tell_of_address(const void *address)
{
    check_tell_of_address(all, address); /* without the lock: nothing else runs any more */
}

int check_make(unsigned config, bp_backing **backing, struct checks **out)
{
    unsigned what = check_effective(config);
    struct misuse_stack first;
    struct checks *c;
    int saved = errno;

    *out = NULL;
    if (what == 0)
        return 0;
    fork_init();
    c = calloc(1, sizeof *c);
    if (c != NULL) {
        c->what = what;
        /* Secrets stay where they are safe: the locked backing has inaccessible pages, too. */
        if ((what & BP_CHECK_GUARD) != 0 && *backing != bp_backing_locked())
            *backing = bp_backing_guard();
        misuse_stack_take(&first, NULL); /* the first time loads a library */
        tool_on_report(tell_of_address);
    }
    os_restore_errno(saved);
    *out = c;
    return c != NULL ? 0 : ENOMEM;
}

void check_gone(struct arena *a)
{
    static struct checks gone = { .idle = true };
    struct checks *c = a->checks;

    if (c != NULL)
        a->checks = &gone;
    check_unmake(c);
}

void check_unmake(struct checks *c)
{
    if (c == NULL)
        return;
    free(c->block.item);
    free(c->last.item);
    free(c);
}

void check_begin(struct arena *a, struct checks *c)
{
    c->arena = a;
    a->checks = c;
    if ((c->what & BP_CHECK_GUARD) != 0)
        a->max_spare = 0; /* what is dropped is to be inaccessible */
    arena_flag(a, ARENA_CHECKED);
    arena_set_limit(a, NULL);
    tool_arena_begin(a, zone_of(c));
    pthread_mutex_lock(&all_lock);
    c->next = all;
    if (all != NULL)
        all->previous = c;
    all = c;
    pthread_mutex_unlock(&all_lock);
}

void check_end(struct arena *a)
{
    struct checks *c = a->checks;

    (void)look(a);
    tool_arena_end(a);
    pthread_mutex_lock(&all_lock);
    *(c->previous != NULL ? &c->previous->next : &all) = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    pthread_mutex_unlock(&all_lock);
}

/* ---- blocks ---- */

static void *refuse(int error)
{
    errno = error;
    return NULL;
}

/* Whether a fixed arena has room for a block, had it no red zones, and what that would add to `used`. */
static bool has_room(const struct arena *a, size_t size, size_t align, size_t *counted)
{
    size_t pad = (size_t)(0 - ((uintptr_t)a->first.start + a->checks->used)) & (align - 1);
    size_t room = (size_t)(a->first.end - a->first.start) - a->checks->used;

    *counted = pad + round_up_16(size);
    return pad <= room && size <= room - pad;
}

/* A place for a block of `size` bytes at the end of an extent of its own, or, where none can be had, below. */
static bool place_alone(struct arena *a, struct block *b, size_t align)
{
    size_t before = zone_of(a->checks);
    char *end = NULL, *start;

    if (align > SLACK_MAX)
        return false;
    start = arena_alloc_alone(a, b->size, align, &end);
    if (start == NULL)
        return false;
    b->start = start;
    b->place_end = end;
    /* the extent has room before the block if its alignment left some */
    b->place = (size_t)(start - a->newest->start) >= before ? start - before : start;
    return true;
}

static bool place_in_row(struct arena *a, struct block *b, size_t align)
{
    size_t zone = zone_of(a->checks), need = zone + round_up_16(b->size) + zone;
    size_t slack = (size_t)(0 - (uintptr_t)(a->pub.cursor + zone)) & (align - 1), total = slack + need;
    struct segment *s;
    char *p, *dirty;

    if (total > (size_t)(a->current->end - a->pub.cursor)) /* who knows where the next segment begins */
        total = align - BP_ALIGNMENT + need;
    if (total > PTRDIFF_MAX - BP_ALIGNMENT || total - need > SLACK_MAX)
        return false;
    p = arena_bump(a, total, BP_ALIGNMENT);
    if (p == NULL)
        return false;
    b->place = p;
    b->place_end = p + total;
    b->start = p + zone + ((size_t)(0 - (uintptr_t)(p + zone)) & (align - 1));
    s = arena_segment_of(a, p);
    dirty = s->touched < b->place_end ? s->touched : b->place_end;
    if (poisons(a->checks) && p < dirty)
        (void)look_at_dropped(a, p, dirty, true);
    return true;
}

/* `first` is the return address for the block's stack to begin with. */
static void *make_block(struct arena *a, size_t size, size_t align, const void *first)
{
    struct checks *c = a->checks;
    struct block b = { .size = size, .align = align };
    struct block *record;
    bool placed;

    if (size > PTRDIFF_MAX - 4 * ZONE || align > PTRDIFF_MAX || size > PTRDIFF_MAX - 4 * ZONE - align)
        return refuse(ENOMEM);
    if ((a->flags & ARENA_FIXED) != 0 && !has_room(a, size, align, &b.counted))
        return refuse(ENOMEM);
    record = block_push(&c->block); /* first, for it may fail */
    if (record == NULL)
        return refuse(ENOMEM);
    placed = (c->what & BP_CHECK_GUARD) != 0 && place_alone(a, &b, align);
    if (!placed && !place_in_row(a, &b, align)) {
        c->block.count--;
        a->pub.limit = a->pub.cursor;
        return refuse(ENOMEM);
    }
    a->pub.limit = a->pub.cursor;
    if ((a->flags & ARENA_FIXED) == 0)
        b.counted = round_up_16(size) + (placed ? 0 : (size_t)(b.start - b.place) - zone_of(c));
    misuse_stack_take(&b.stack, first);
    *record = b;
    c->used += b.counted;

    tool_show(b.place, b.place_end);
    if (has_zones(c))
        write_zones(&b);
    if ((c->what & BP_CHECK_FILL) != 0)
        fill(b.start, b.start + size, FILL_BYTE);
    hide_zones(c, &b);
    tool_block(a, b.start, size);
    return b.start;
}

/* Reports an allocation that is an error in itself. */
static int refuses(struct arena *a, size_t size)
{
    if (check_is_idle(a, "allocation"))
        return EINVAL;
    if ((a->flags & ARENA_IN_CLEANUP) == 0)
        return 0;
    return misuse_report(BP_MISUSE_CLEANUP_ALLOCATES, check_pool_of(a), &a->pub,
                         "a cleanup of arena %p allocates %zu bytes from it, which the reset that called it drops",
                         (void *)a, size);
}

void *check_alloc(struct arena *a, size_t size, size_t align)
{
    int error = refuses(a, size);
    void *p = error != 0 ? refuse(error) : make_block(a, size, align, __builtin_return_address(0));

    check_tell();
    return p;
}

/* Whether a block is the last in an unchecked arena's sense, where none but what is dropped comes after it and
 * nothing is between it and the cursor; and whether a mark that is alive comes after it. */
static void place_in_list(const struct checks *c, const struct block *b, bool *is_last, bool *under_a_mark)
{
    *is_last = !b->holed;
    *under_a_mark = false;
    for (const struct block *later = b + 1; later < c->block.item + c->block.count; later++)
        if (!later->dropped && (later->mark != 0 || later->counted != 0)) { /* else it has no bytes */
            *is_last = false;
            *under_a_mark |= later->mark != 0;
        }
}

/* Shows a block's zones, which are to be written anew, and looks at them. Returns how many errors there are. */
static size_t open_zones(struct arena *a, const struct block *b)
{
    const char *spoilt;

    tool_show(b->place, b->start);
    tool_show(b->start + b->size, b->place_end);
    spoilt = spoilt_zone(a->checks, b);
    if (spoilt != NULL)
        check_report_zone(a, b, spoilt);
    return spoilt != NULL;
}

static void close_zones(const struct checks *c, struct block *b)
{
    if (has_zones(c))
        write_zones(b);
    hide_zones(c, b);
}

/* In place. */
static void shrink(struct arena *a, struct block *b, size_t size, bool is_last)
{
    struct checks *c = a->checks;
    size_t freed = is_last ? round_up_16(b->size) - round_up_16(size) : 0;

    (void)open_zones(a, b);
    tool_show(b->start + size, b->start + b->size);
    tool_block_resized(a, b->start, b->size, size);
    b->holed |= !is_last && round_up_16(b->size) != round_up_16(size);
    b->size = size;
    b->counted -= freed;
    c->used -= freed;
    close_zones(c, b);
}

/* The last block, in place. False: there is no room. */
static bool grow(struct arena *a, struct block *b, size_t size)
{
    size_t more = round_up_16(size) - round_up_16(b->size), before = b->size;
    struct checks *c = a->checks;
    char *end, *dirty;

    if (b->place_end != a->pub.cursor || (uintptr_t)b->place < (uintptr_t)a->current->start ||
        round_up_16(size) + zone_of(c) > (size_t)(a->current->end - b->start))
        return false;
    if ((a->flags & ARENA_FIXED) != 0 && more > (size_t)(a->first.end - a->first.start) - c->used)
        return false;
    end = b->start + round_up_16(size) + zone_of(c);
    if (end > b->place_end) { /* it may have been larger before */
        if (arena_commit(a, end) != 0)
            return false;
        dirty = a->current->touched < end ? a->current->touched : end;
        if (poisons(c))
            (void)look_at_dropped(a, b->place_end, dirty, true);
        tool_show(b->place_end, end);
        a->pub.cursor = a->pub.limit = end;
    }
    (void)open_zones(a, b);
    if (end > b->place_end)
        b->place_end = end;
    b->size = size;
    b->counted += more;
    c->used += more;
    tool_show(b->start + before, b->place_end);
    if ((c->what & BP_CHECK_FILL) != 0)
        fill(b->start + before, b->start + size, FILL_BYTE);
    tool_block_resized(a, b->start, before, size);
    close_zones(c, b);
    return true;
}

static void *resize(struct arena *a, char *p, size_t old_size, size_t new_size, const void *first)
{
    bool is_last = false, under_a_mark = false;
    struct checks *c = a->checks;
    struct block *b;
    size_t counted, align;
    void *q;

    b = find_block(c, p);
    if (old_size == 0 && zone_of(c) == 0) /* then one of 0 bytes may lie where another does */
        b = NULL;
    if (b == NULL && old_size != 0) {
        misuse_report(BP_MISUSE_BAD_BLOCK, check_pool_of(a), &a->pub, "realloc of %p, which is no block of arena %p",
                      (void *)p, (void *)a);
        return refuse(EINVAL);
    }
    if (b != NULL && b->size != old_size) {
        misuse_report_block(BP_MISUSE_BAD_BLOCK, check_pool_of(a), &a->pub, &b->stack,
                            "realloc of the block at %p of arena %p as one of %zu bytes, which has %zu", (void *)p,
                            (void *)a, old_size, b->size);
        return refuse(EINVAL);
    }
    arena_raise_peak(a); /* in case it shrinks */
    if (b != NULL)
        place_in_list(c, b, &is_last, &under_a_mark);
    if (new_size <= old_size) {
        if (b != NULL && new_size != old_size)
            shrink(a, b, new_size, is_last);
        return p;
    }
    if (is_last && grow(a, b, new_size))
        return p;
    /* The last block an unchecked arena grows in place, with the alignment and the padding that it has. */
    counted = is_last ? b->counted : 0;
    align = is_last ? b->align : BP_ALIGNMENT;
    c->used -= counted;
    q = make_block(a, new_size, align, first);
    if (q == NULL) {
        c->used += counted;
        return NULL;
    }
    memcpy(q, p, old_size);
    b = b != NULL ? find_block(c, p) : NULL; /* the list may have moved */
    if (b != NULL && !under_a_mark) /* else a rewind brings it back */
        drop_block(a, b);
    return q;
}

void *check_realloc(struct arena *a, char *p, size_t old_size, size_t new_size)
{
    int error = check_is_idle(a, "realloc") ? EINVAL : new_size > old_size ? refuses(a, new_size) : 0;
    void *q = error != 0 ? refuse(error) : resize(a, p, old_size, new_size, __builtin_return_address(0));

    check_tell();
    return q;
}

char *check_reset(struct arena *a)
{
    struct checks *c = a->checks;
    char *here = a->pub.cursor;

    drop_from(a, 0);
    c->used = 0;
    (void)look(a);
    if (a->current == &a->first && (a->flags & ARENA_SPILLED) == 0 && can_stay(a))
        return here;
    forget_from(c, 0);
    return a->first.start;
}

/* The record's number is in `earlier`, which checked arenas have no other use for, its own in `epoch`. */
void check_mark(struct arena *a, bp_mark *mark)
{
    struct checks *c = a->checks;
    struct block *record = c->block.item + c->block.count;

    /* Programs that mark and rewind for ever are not to have records for ever: where nothing lies between, one
     * does for several marks. */
    while (record > c->block.item && record[-1].dropped)
        record--;
    if (record > c->block.item && record[-1].mark != 0 && record[-1].counted == c->used) {
        record--;
    } else {
        record = block_push(&c->block);
        if (record == NULL) {
            mark->earlier = c->block.count;
            mark->epoch = 0; /* not known apart from others */
            return;
        }
        record->mark = atomic_fetch_add_explicit(&marks, 1, memory_order_relaxed) + 1;
        record->counted = c->used;
    }
    record->size++;
    mark->earlier = (size_t)(record - c->block.item);
    mark->epoch = record->mark;
}

void check_unmark(struct arena *a, const bp_mark *mark)
{
    struct block_list *list = &a->checks->block;

    if (mark->epoch == 0 || !check_mark_is_alive(a, mark) || --list->item[mark->earlier].size != 0)
        return;
    list->item[mark->earlier].dropped = true;
    while (list->count != 0 && list->item[list->count - 1].mark != 0 && list->item[list->count - 1].dropped)
        list->count--;
}

bool check_mark_is_alive(const struct arena *a, const bp_mark *mark)
{
    const struct block_list *list = &a->checks->block;

    if (mark->epoch == 0)
        return mark->earlier <= list->count;
    return mark->earlier < list->count && list->item[mark->earlier].mark == mark->epoch &&
           !list->item[mark->earlier].dropped;
}

bool check_rewind(struct arena *a, const bp_mark *mark)
{
    size_t from = mark->earlier + (mark->epoch != 0); /* the mark itself stays alive */
    struct checks *c = a->checks;

    drop_from(a, from);
    if (mark->epoch != 0) {
        c->used = c->block.item[mark->earlier].counted;
    } else {
        c->used = 0;
        for (size_t i = 0; i < from; i++)
            c->used += c->block.item[i].mark == 0 && !c->block.item[i].dropped ? c->block.item[i].counted : 0;
    }
    (void)look(a);
    if (a->newest == mark->newest && a->current == mark->segment && can_stay(a))
        return true;
    forget_from(c, from);
    return false;
}

size_t check_used(const struct arena *a)
{
    return a->checks->used;
}

bool check_owns(const struct arena *a, const void *p)
{
    const struct block_list *list = &a->checks->block;
    uintptr_t x = (uintptr_t)p;

    for (size_t i = list->count; i-- != 0;) {
        const struct block *b = &list->item[i];

        if (b->mark == 0 && !b->dropped && x >= (uintptr_t)b->start &&
            x < (uintptr_t)b->start + round_up_16(b->size))
            return true;
    }
    return false;
}

size_t bp_arena_check(bp_arena *pub)
{
    struct arena *a = arena_of(pub);
    struct checks *c = a->checks;
    size_t errors;

    if (c == NULL || check_is_idle(a, "check"))
        return 0;
    errors = look(a);
    for (size_t i = 0; i < c->block.count && has_zones(c); i++) {
        struct block *b = &c->block.item[i];

        if (b->dropped || b->mark != 0)
            continue;
        errors += open_zones(a, b);
        close_zones(c, b); /* one report is enough */
    }
    check_tell();
    return errors;
}

/* ---- idle arenas ---- */

void check_set_idle(struct arena *a)
{
    atomic_store_explicit(&a->checks->idle, true, memory_order_relaxed); /* pairs with check_is_idle */
}

void check_set_live(struct arena *a, const struct misuse_stack *from)
{
    static const struct misuse_stack nowhere;

    a->checks->from = from != NULL ? *from : nowhere;
    atomic_store_explicit(&a->checks->idle, false, memory_order_relaxed); /* pairs with check_is_idle */
}

const struct misuse_stack *check_live_since(const struct arena *a)
{
    return &a->checks->from;
}

bool check_is_idle(const struct arena *a, const char *call)
{
    char who[160];

    if (BP_LIKELY(a->checks == NULL))
        return false;
    /* Pairs with check_set_idle and check_set_live. */
    if (!atomic_load_explicit(&a->checks->idle, memory_order_relaxed))
        return false;
    misuse_report(BP_MISUSE_IDLE_ARENA, check_pool_of(a), &a->pub, "%s: %s has been given back", call,
                  check_describe(a, who, sizeof who));
    return true;
}

void check_look(struct arena *a)
{
    (void)look(a);
    check_tell();
}

void check_tell(void)
{
    misuse_tell();
}

void check_settle(struct arena *a)
{
    (void)look(a);
    forget_from(a->checks, 0);
    a->pub.cursor = a->pub.limit = a->first.start;
}

/* ---- tools ---- */

void check_show(struct arena *a, char *p, const char *end)
{
    if (a->checks != NULL)
        tool_show(p, end);
}

void check_hide(struct arena *a, char *p, const char *end)
{
    if (a->checks != NULL && poisons(a->checks))
        tool_hide(p, end);
}

void check_show_extent(struct arena *a, const struct bp_extent *extent)
{
    char *base = extent->base;

    check_show(a, base, base + extent->committed);
}

/* ---- fork ---- */

void check_before_fork(void)
{
    pthread_mutex_lock(&all_lock);
}

void check_after_fork(void)
{
    pthread_mutex_unlock(&all_lock);
}
