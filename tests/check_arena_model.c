/* SPDX-License-Identifier: MIT
 * Arenas against a plain model: random operations of every kind over every backing, both policies and all
 * checks. The model is a list of the blocks that must be alive, each stamped when it was made; after every step
 * the blocks made must not overlap those alive, and before blocks are dropped all stamps must be intact.
 */
#include "support.h"

enum { MOST_BLOCKS = 600, MOST_MARKS = 24 };

struct block {
    unsigned char *p;
    size_t size;
    unsigned key;
};

struct model {
    bp_arena *a;
    struct rng rng;
    bool fixed;
    struct block blocks[MOST_BLOCKS];
    size_t count;
    struct {
        bp_mark mark;
        size_t count, used;
    } marks[MOST_MARKS];
    size_t depth;
    unsigned next_key;
    size_t high_water;
    size_t refused; /* blocks that a full arena refused */
    int cleanups_due, cleanups_run;
    int cleanups_at[MOST_MARKS];
};

static size_t some_size(struct model *m)
{
    switch (rng_below(&m->rng, 40)) {
    case 0:
        return 0;
    case 1:
        return rng_below(&m->rng, 200000);
    case 2:
    case 3:
        return rng_below(&m->rng, 9000);
    default:
        return 1 + rng_below(&m->rng, 400);
    }
}

static void check_all(struct model *m)
{
    size_t i;

    for (i = 0; i < m->count; i++) {
        must(stamped(m->blocks[i].p, m->blocks[i].size, m->blocks[i].key));
        must(m->blocks[i].size == 0 || (bp_arena_owns(m->a, m->blocks[i].p) &&
                                        bp_arena_owns(m->a, m->blocks[i].p + m->blocks[i].size - 1)));
    }
}

/* The new block must be aligned and clear of all others. `skip`: the one it may lie over. */
static void check_place(struct model *m, const unsigned char *p, size_t size, size_t align, size_t skip)
{
    size_t i;

    must(p != NULL);
    must(is_aligned(p, align) && is_aligned(p, BP_ALIGNMENT));
    must((uintptr_t)p + size >= (uintptr_t)p);
    for (i = 0; i < m->count; i++)
        if (i != skip && size != 0 && m->blocks[i].size != 0)
            must((uintptr_t)p + size <= (uintptr_t)m->blocks[i].p ||
                 (uintptr_t)m->blocks[i].p + m->blocks[i].size <= (uintptr_t)p);
}

static void add(struct model *m, unsigned char *p, size_t size)
{
    struct block *b;

    must(m->count < MOST_BLOCKS);
    b = &m->blocks[m->count++];
    b->p = p;
    b->size = size;
    b->key = m->next_key++;
    stamp(p, size, b->key);
}

/* NULL is right only for a fixed arena (or a buffer used up), and must have changed nothing. */
static bool refused(struct model *m, const void *p, size_t used)
{
    if (p != NULL)
        return false;
    must(errno == ENOMEM);
    must(m->fixed);
    must(bp_arena_used(m->a) == used);
    m->refused++;
    return true;
}

static void drop_to(struct model *m, size_t count)
{
    check_all(m);
    m->count = count;
}

static void do_reset(struct model *m)
{
    drop_to(m, 0);
    m->depth = 0;
    bp_arena_reset(m->a);
    must(bp_arena_used(m->a) == 0);
    must(m->cleanups_run == m->cleanups_due);
}

static void do_realloc(struct model *m)
{
    size_t i, size = some_size(m), used = bp_arena_used(m->a), keep;
    bool under_a_mark, protected;
    struct block old;
    unsigned char *p;

    if (m->count == 0)
        return;
    i = rng_below(&m->rng, 2) == 0 ? m->count - 1 : rng_below(&m->rng, m->count);
    old = m->blocks[i];
    under_a_mark = m->depth > 0 && i < m->marks[m->depth - 1].count;
    errno = 0;
    p = bp_arena_realloc(m->a, old.p, old.size, size);
    if (refused(m, p, used)) {
        must(size > old.size);
        return;
    }
    keep = size < old.size ? size : old.size;
    must(size > old.size || p == old.p); /* shrinking never moves */
    must(stamped(p, keep, old.key));
    protected = under_a_mark && old.size != 0; /* no bytes, nothing that a rewind would bring back */
    if (p == old.p) {
        must(!protected || round16(size) <= round16(old.size)); /* no growth across a mark */
        must(!protected || bp_arena_used(m->a) == used);
        check_place(m, p, size, BP_ALIGNMENT, i);
        if (under_a_mark && bp_arena_used(m->a) > used) {
            add(m, p, size); /* a block of 0 bytes at the mark has become one above it */
            return;
        }
        m->blocks[i].size = size;
        stamp(p, size, old.key);
    } else {
        check_place(m, p, size, BP_ALIGNMENT, SIZE_MAX);
        if (!under_a_mark) /* else the old block is alive: a rewind brings it back */
            m->blocks[i] = m->blocks[--m->count];
        add(m, p, size);
    }
}

static void do_text(struct model *m)
{
    char text[300], *s;
    size_t n = rng_below(&m->rng, sizeof text - 1), used = bp_arena_used(m->a);
    size_t limit = rng_below(&m->rng, 400);

    memset(text, 'a' + (int)(n % 26), n);
    text[n] = '\0';
    errno = 0;
    switch (rng_below(&m->rng, 3)) {
    case 0:
        s = bp_arena_strdup(m->a, text);
        break;
    case 1:
        s = bp_arena_strndup(m->a, text, limit);
        if (limit < n) {
            text[limit] = '\0';
            n = limit;
        }
        break;
    default:
        s = bp_arena_printf(m->a, "%s", text);
        break;
    }
    if (refused(m, s, used))
        return;
    must(strcmp(s, text) == 0);
    check_place(m, (unsigned char *)s, n + 1, 1, SIZE_MAX);
    add(m, (unsigned char *)s, n + 1);
}

static void do_block(struct model *m)
{
    size_t size = some_size(m), align = BP_ALIGNMENT, used = bp_arena_used(m->a), n;
    unsigned char *p, copy[512];

    errno = 0;
    switch (rng_below(&m->rng, 6)) {
    case 0:
        align = (size_t)1 << rng_below(&m->rng, 14);
        size = size == 0 ? 1 : size;
        p = bp_arena_alloc_aligned(m->a, size, align);
        break;
    case 1:
        p = bp_arena_zalloc(m->a, size);
        must(p == NULL || all_bytes(p, size, 0));
        break;
    case 2:
        n = 1 + rng_below(&m->rng, 9);
        size = size / n * n;
        p = bp_arena_calloc(m->a, n, size / n);
        must(p == NULL || all_bytes(p, size, 0));
        break;
    case 3:
        size = rng_below(&m->rng, sizeof copy);
        stamp(copy, size, 99);
        p = bp_arena_memdup(m->a, copy, size);
        must(p == NULL || stamped(p, size, 99));
        break;
    default:
        p = bp_arena_alloc(m->a, size);
        break;
    }
    if (refused(m, p, used))
        return;
    check_place(m, p, size, align, SIZE_MAX);
    must(bp_arena_used(m->a) >= used + round16(size));
    add(m, p, size);
}

static void ran(void *data)
{
    ((struct model *)data)->cleanups_run++;
}

static void do_mark(struct model *m)
{
    size_t level;

    if (rng_below(&m->rng, 3) == 0) {
        if (bp_arena_on_reset(m->a, ran, m) == 0)
            m->cleanups_due++;
        else
            must(m->fixed);
    }
    if (m->depth == 0 || (m->depth < MOST_MARKS && rng_below(&m->rng, 2) == 0)) {
        level = m->depth++;
        m->marks[level].mark = bp_arena_mark(m->a);
        m->marks[level].count = m->count;
        m->marks[level].used = bp_arena_used(m->a);
        m->cleanups_at[level] = m->cleanups_due;
        return;
    }
    level = m->depth - 1 - rng_below(&m->rng, m->depth) * rng_below(&m->rng, 2);
    drop_to(m, m->marks[level].count);
    m->cleanups_run = 0;
    must(bp_arena_rewind(m->a, m->marks[level].mark) == 0);
    must(m->cleanups_run == m->cleanups_due - m->cleanups_at[level]);
    m->cleanups_due = m->cleanups_at[level];
    m->cleanups_run = 0;
    must(bp_arena_used(m->a) == m->marks[level].used);
    m->depth = level + 1; /* the mark is alive */
    check_all(m);
}

/* Not checked, and the checks one by one and together: a right program must not see a difference. */
static const unsigned checks[] = {
    BP_CHECK_OFF,
    BP_CHECK_REDZONE,
    BP_CHECK_POISON,
    BP_CHECK_QUARANTINE,
    BP_CHECK_FILL,
    BP_CHECK_GUARD,
    BP_CHECK_REDZONE | BP_CHECK_POISON,
    BP_CHECK_REDZONE | BP_CHECK_POISON | BP_CHECK_QUARANTINE | BP_CHECK_FILL,
    BP_CHECK_GUARD | BP_CHECK_REDZONE | BP_CHECK_POISON,
    BP_CHECK_ALL,
};
enum { CHECKS = sizeof checks / sizeof checks[0] };

START_TEST(random_operations)
{
    struct bp_arena_config config = BP_ARENA_CONFIG_INIT;
    static struct model m;
    struct place on;
    size_t step, steps, used;

    memset(&m, 0, sizeof m);
    m.rng = rng_start("random_operations");
    place_open(&on, _i / 2 % BACKINGS);
    m.fixed = _i % 2 == 1;
    config.size = m.fixed ? 100000 : 4096;
    config.policy = m.fixed ? BP_ARENA_FIXED : BP_ARENA_SPILL;
    config.max_spare = m.fixed ? 0 : config.max_spare;
    config.checks = checks[_i / 2 / BACKINGS];
    steps = config.checks == BP_CHECK_OFF ? times(40000, 3000) : times(6000, 500);
    ck_assert_int_eq(bp_arena_create(on.backing, &config, &m.a), 0);
    for (step = 0; step < steps; step++) {
        switch (rng_below(&m.rng, 12)) {
        case 0:
        case 1:
            do_realloc(&m);
            break;
        case 2:
            do_mark(&m);
            break;
        case 3:
            do_text(&m);
            break;
        default:
            do_block(&m);
            break;
        }
        used = bp_arena_used(m.a);
        m.high_water = used > m.high_water ? used : m.high_water;
        must(bp_arena_high_water(m.a) >= m.high_water);
        must(used <= bp_arena_capacity(m.a));
        must(bp_arena_remaining(m.a) <= bp_arena_capacity(m.a));
        if (m.count == MOST_BLOCKS || used > 4 * MIB || rng_below(&m.rng, 500) == 0) {
            m.cleanups_run = 0;
            do_reset(&m);
            m.cleanups_due = m.cleanups_run = 0;
        }
    }
    check_all(&m);
    ck_assert(!m.fixed || m.refused > 0 || slow_run());
    ck_assert_int_eq(bp_arena_destroy(m.a), 0);
    place_close(&on);
}
END_TEST

static Suite *model_suite(void)
{
    Suite *s = suite_create("arena model");
    TCase *tc = add_case(s, "random");

    tcase_add_loop_test(tc, random_operations, 0, 2 * BACKINGS * CHECKS);
    return s;
}

int main(void)
{
    return run_suite(model_suite());
}
