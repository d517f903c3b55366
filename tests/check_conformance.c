/* SPDX-License-Identifier: MIT
 * The conformance suite tested: a complete backing as a third party would write it passes, and the same
 * backing with one deliberate fault is caught, under the name of the rule it breaks.
 */
#include "support.h"

#include <bumpool/conformance.h>
#include <pthread.h>
#include <sched.h>

enum fault {
    NO_FAULT,
    MISALIGNED,           /* base is 8 bytes off */
    TOO_SMALL,            /* less than min */
    OVERLAPS,             /* the same memory for everybody */
    COMMITTED_TOO_MUCH,   /* beyond the size */
    COMMITTED_TOO_LITTLE, /* below min, and no op to commit more */
    ZERO_BEYOND,          /* known_zero_from beyond the size */
    PAGE_ODD,             /* no power of two */
    PAGE_MISSING,         /* 0 and not all of min committed */
    PAGE_MISSING_COMMITS, /* 0 and more can be committed */
    PAGE_MISSING_DROPS,   /* 0 and a release drops something */
    PAGE_IDLE,            /* not 0 without commit and release */
    FALSE_ZERO,           /* recycled memory passed off as zero */
    DIRTY_COMMIT,         /* new memory passed off as zero */
    FAILURE_WRITES,       /* *out changed on failure */
    FAILURE_NEGATIVE,     /* -ENOMEM */
    FAILURE_OTHER,        /* EAGAIN */
    ROUNDING_WRAPS,       /* SIZE_MAX becomes nothing */
    COMMIT_SHRINKS,
    COMMIT_PRETENDS, /* success without effect */
    COMMIT_CLEARS,   /* the old part */
    COMMIT_MOVES_ZERO,
    COMMIT_FAILURE_CHANGES,
    RELEASE_OUTWARD,
    RELEASE_OTHER,      /* another extent suffers */
    RELEASE_MISCOUNTS,
    RELEASE_SMALL,      /* rounds a part of a page up to a page, in the count only */
    RELEASE_FALSE_ZERO, /* claims zeros, drops nothing */
    RELEASE_GAP,        /* claims zeros up to the end, drops the front */
    RELEASE_FAILURE_DROPS,
    RELEASE_FAILURE_WRITES,
    RELEASE_DECOMMITS,
    POPULATE_CLEARS,
    POPULATE_CHANGES,
    DISPOSE_OTHER, /* another extent suffers */
    LOSES_QUOTA,   /* each dispose loses a little of a fixed amount */
    LOSES_SPACE,   /* dispose forgets to unmap */
    RACES,         /* two threads can get the same memory */
    REFUSES,       /* everything */
    FAULTS
};

static const char *const rules[FAULTS] = {
    [MISALIGNED] = "aligned",
    [TOO_SMALL] = "size",
    [OVERLAPS] = "overlap",
    [COMMITTED_TOO_MUCH] = "committed",
    [COMMITTED_TOO_LITTLE] = "committed",
    [ZERO_BEYOND] = "known-zero",
    [PAGE_ODD] = "page",
    [PAGE_MISSING] = "page",
    [PAGE_MISSING_COMMITS] = "page",
    [PAGE_MISSING_DROPS] = "page",
    [PAGE_IDLE] = "page",
    [FALSE_ZERO] = "zero",
    [DIRTY_COMMIT] = "zero",
    [FAILURE_WRITES] = "untouched",
    [FAILURE_NEGATIVE] = "error",
    [FAILURE_OTHER] = "error",
    [ROUNDING_WRAPS] = "impossible",
    [COMMIT_SHRINKS] = "commit",
    [COMMIT_PRETENDS] = "commit",
    [COMMIT_CLEARS] = "commit-keeps",
    [COMMIT_MOVES_ZERO] = "commit",
    [COMMIT_FAILURE_CHANGES] = "untouched",
    [RELEASE_OUTWARD] = "release-keeps",
    [RELEASE_OTHER] = "memory",
    [RELEASE_MISCOUNTS] = "release",
    [RELEASE_SMALL] = "release",
    [RELEASE_FALSE_ZERO] = "release-zero",
    [RELEASE_GAP] = "release-zero",
    [RELEASE_FAILURE_DROPS] = "release-keeps",
    [RELEASE_FAILURE_WRITES] = "untouched",
    [RELEASE_DECOMMITS] = "release",
    [POPULATE_CLEARS] = "populate",
    [POPULATE_CHANGES] = "populate",
    [DISPOSE_OTHER] = "memory",
    [LOSES_QUOTA] = "recycle",
    [LOSES_SPACE] = "recycle",
    [RACES] = "memory",
    [REFUSES] = "gives",
};

/* A backing over mmap that keeps no more than a page committed at first. A third party's: it uses the public
 * header alone. */
struct crooked {
    bp_backing backing;
    struct bp_backing_ops ops;
    enum fault fault;
    pthread_mutex_t lock;     /* over what follows */
    struct bp_extent spare;   /* FALSE_ZERO: disposed of last; base NULL: none */
    struct bp_extent other;   /* RELEASE_OTHER, DISPOSE_OTHER: acquired last; base NULL: none */
    size_t quota;             /* LOSES_QUOTA: what is left */
    unsigned destroyed;
    atomic_uintptr_t racy;    /* RACES: a free extent, taken and put back without care; relaxed */
    void *everybody;          /* OVERLAPS */
};

#define UNSIZED ((size_t)16 << 20)

static struct crooked *crooked_of(bp_backing *b)
{
    return (struct crooked *)b;
}

static size_t round_page(size_t n)
{
    return (n + page_size() - 1) & ~(page_size() - 1);
}

/* The memory of an extent: `size` is whole pages. */
static char *crooked_map(size_t size, size_t align)
{
    size_t lead, span = align > page_size() ? size + align : size;
    char *p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    lead = (size_t)(0 - (uintptr_t)p) & (align - 1);
    if (lead > 0)
        munmap(p, lead);
    if (span - lead > size)
        munmap(p + lead + size, span - lead - size);
    return p + lead;
}

static int crooked_fail(const struct crooked *c, struct bp_extent *out)
{
    if (c->fault == FAILURE_WRITES)
        out->size = 0;
    return c->fault == FAILURE_NEGATIVE ? -ENOMEM : c->fault == FAILURE_OTHER ? EAGAIN : ENOMEM;
}

static bool crooked_special(struct crooked *c, size_t size, size_t align, struct bp_extent *out)
{
    bool done = false;

    pthread_mutex_lock(&c->lock);
    if (c->fault == FALSE_ZERO && c->spare.base != NULL && c->spare.size >= size &&
        is_aligned(c->spare.base, align)) {
        *out = c->spare;
        out->known_zero_from = 0;
        c->spare.base = NULL;
        done = true;
    }
    pthread_mutex_unlock(&c->lock);
    if (c->fault == RACES && size <= UNSIZED && align <= page_size()) {
        uintptr_t p = atomic_load_explicit(&c->racy, memory_order_relaxed);

        if (p != 0) {
            sched_yield();
            atomic_store_explicit(&c->racy, 0, memory_order_relaxed);
            *out = (struct bp_extent){ .base = (void *)p, .size = UNSIZED, .committed = UNSIZED,
                                       .known_zero_from = UNSIZED, .page = page_size() };
            done = true;
        }
    }
    return done;
}

static int crooked_acquire(bp_backing *b, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct crooked *c = crooked_of(b);
    size_t size = preferred, least = min, page = page_size();
    struct bp_extent e = { .page = page };

    if (c->fault == REFUSES)
        return ENOMEM;
    if (c->fault != ROUNDING_WRAPS && min > SIZE_MAX / 4)
        return crooked_fail(c, out);
    if (size > SIZE_MAX / 4)
        size = min;
    size = round_page(c->fault == MISALIGNED ? size + 8 : size);
    if (c->fault == ROUNDING_WRAPS && size < min)
        size = page;
    if (crooked_special(c, size, align, out))
        return 0;
    if (c->fault == RACES)
        size = UNSIZED;
    if (c->fault == OVERLAPS) {
        if (size > UNSIZED || align > page)
            return ENOMEM;
        e.base = c->everybody;
    } else {
        e.base = e.data = crooked_map(size, align);
    }
    if (e.base == NULL)
        return crooked_fail(c, out);
    e.size = size;
    e.committed = c->ops.commit != NULL ? page : size;
    e.known_zero_from = c->fault == OVERLAPS ? size : 0;

    pthread_mutex_lock(&c->lock);
    if (c->fault == LOSES_QUOTA && (c->quota < 16 || size > (size_t)1 << 20)) {
        pthread_mutex_unlock(&c->lock);
        munmap(e.data, size);
        return ENOMEM;
    }
    if (c->fault == RELEASE_OTHER || c->fault == DISPOSE_OTHER)
        c->other = e;
    pthread_mutex_unlock(&c->lock);

    if (c->fault == MISALIGNED) {
        e.base = (char *)e.base + 8;
        e.size = size - 8;
    }
    if (c->fault == TOO_SMALL && least > page)
        e.size = e.committed = page;
    if (c->fault == COMMITTED_TOO_MUCH)
        e.committed = size + page;
    if (c->fault == COMMITTED_TOO_LITTLE)
        e.committed = page;
    if (c->fault == ZERO_BEYOND)
        e.known_zero_from = size + 1;
    if (c->fault == PAGE_ODD)
        e.page = 3 * page;
    if (c->fault == PAGE_MISSING || c->fault == PAGE_MISSING_COMMITS || c->fault == PAGE_MISSING_DROPS)
        e.page = 0;
    if (c->fault == PAGE_MISSING_COMMITS)
        e.committed = round_page(min);
    *out = e;
    return 0;
}

static void crooked_dispose(bp_backing *b, const struct bp_extent *e)
{
    struct crooked *c = crooked_of(b);
    struct bp_extent old = *e;

    pthread_mutex_lock(&c->lock);
    if (c->fault == LOSES_QUOTA)
        c->quota -= 16;
    if (c->fault == DISPOSE_OTHER && c->other.base != NULL && c->other.base != e->base)
        *(char *)c->other.base = 0;
    if (c->other.base == e->base)
        c->other.base = NULL;
    if (c->fault == FALSE_ZERO) {
        struct bp_extent spare = c->spare;

        c->spare = *e;
        old = spare;
    }
    pthread_mutex_unlock(&c->lock);
    if (c->fault == RACES) {
        atomic_store_explicit(&c->racy, (uintptr_t)e->base, memory_order_relaxed);
        return; /* what was there is lost, which nobody minds */
    }
    if (old.base != NULL && c->fault != OVERLAPS && c->fault != LOSES_SPACE)
        munmap(old.data, round_page(old.size));
}

static int crooked_commit(bp_backing *b, struct bp_extent *e, size_t size)
{
    struct crooked *c = crooked_of(b);
    size_t committed = round_page(size), old = e->committed;

    if (c->fault == COMMIT_FAILURE_CHANGES && size > 3 * page_size()) {
        e->committed = e->size;
        return ENOMEM;
    }
    if (c->fault == COMMIT_PRETENDS)
        return 0;
    if (c->fault == COMMIT_SHRINKS) {
        e->committed = committed;
        return 0;
    }
    if (committed <= old)
        return 0;
    e->committed = committed < e->size ? committed : e->size;
    if (c->fault == COMMIT_CLEARS)
        memset(e->base, 0, old / 2);
    if (c->fault == DIRTY_COMMIT)
        ((char *)e->base)[e->committed - 1] = 1;
    if (c->fault == COMMIT_MOVES_ZERO)
        e->known_zero_from = e->size;
    return 0;
}

static int crooked_release(bp_backing *b, struct bp_extent *e, size_t offset, size_t length, size_t *released)
{
    struct crooked *c = crooked_of(b);
    size_t page = page_size(), from = round_page(offset), to = (offset + length) & ~(page - 1);

    if (c->fault == RELEASE_OUTWARD) {
        from = offset & ~(page - 1);
        to = round_page(offset + length);
        to = to < e->committed ? to : e->committed;
    }
    if (from >= to) {
        *released = c->fault == RELEASE_SMALL && length > 0 ? length : 0;
        return 0;
    }
    pthread_mutex_lock(&c->lock);
    if (c->fault == RELEASE_OTHER && c->other.base != NULL && c->other.base != e->base)
        *(char *)c->other.base = 0;
    pthread_mutex_unlock(&c->lock);
    if (c->fault != RELEASE_FALSE_ZERO && madvise((char *)e->base + from, to - from, MADV_DONTNEED) != 0)
        return errno;
    if (c->fault == RELEASE_FAILURE_WRITES)
        *released = 0;
    if (c->fault == RELEASE_FAILURE_DROPS || c->fault == RELEASE_FAILURE_WRITES)
        return EINVAL;
    if (c->fault == RELEASE_GAP || (to >= e->known_zero_from && from < e->known_zero_from))
        e->known_zero_from = from;
    if (c->fault == RELEASE_DECOMMITS)
        e->committed = from;
    *released = c->fault == RELEASE_MISCOUNTS ? length + page : to - from;
    if (c->fault == RELEASE_OUTWARD && *released > length)
        *released = length;
    return 0;
}

static int crooked_populate(bp_backing *b, struct bp_extent *e, size_t offset, size_t length)
{
    struct crooked *c = crooked_of(b);
    size_t i;

    for (i = offset; i < offset + length; i += page_size()) {
        volatile char *p = (char *)e->base + i;

        *p = c->fault == POPULATE_CLEARS ? 0 : *p;
    }
    if (c->fault == POPULATE_CHANGES)
        e->known_zero_from = e->size;
    return 0;
}

static void crooked_destroy(bp_backing *b)
{
    crooked_of(b)->destroyed++;
}

static void crooked_init(struct crooked *c, enum fault fault)
{
    memset(c, 0, sizeof *c);
    c->ops = (struct bp_backing_ops){ sizeof c->ops,   "crooked",       crooked_acquire,  crooked_dispose,
                                      crooked_commit,  crooked_release, crooked_populate, crooked_destroy };
    c->backing.ops = &c->ops;
    c->fault = fault;
    c->quota = (size_t)1 << 14;
    pthread_mutex_init(&c->lock, NULL);
    if (fault == COMMITTED_TOO_LITTLE || fault == PAGE_IDLE || fault == PAGE_MISSING_DROPS || fault == OVERLAPS ||
        fault == RACES)
        c->ops.commit = NULL;
    if (fault == PAGE_IDLE)
        c->ops.release = NULL;
    if (fault == OVERLAPS)
        c->everybody = mmap(NULL, UNSIZED, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Runs the suite and returns what it reported, to be freed. */
static char *run(bp_backing *backing, unsigned threads, int *broken)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;
    char *text = NULL;
    size_t size = 0;
    FILE *report = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(report);
    options.largest = 96 * KIB;
    options.largest_align = 16 * KIB;
    options.threads = threads;
    *broken = bp_conformance_run(backing, &options, report);
    fclose(report);
    return text;
}

static size_t lines(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

START_TEST(third_party_passes)
{
    struct crooked c;
    char *text;
    int broken;

    crooked_init(&c, NO_FAULT);
    text = run(&c.backing, 4, &broken);
    ck_assert_msg(broken == 0, "%s", text);
    ck_assert_str_eq(text, "");
    free(text);
    bp_backing_destroy(&c.backing);
    ck_assert_uint_eq(c.destroyed, 1);
}
END_TEST

/* An ops table from before the optional ops were invented: what lies beyond must not be looked at. */
START_TEST(short_ops)
{
    struct bp_backing_ops *ops = malloc(offsetof(struct bp_backing_ops, commit));
    struct crooked c;
    char *text;
    int broken;

    ck_assert_ptr_nonnull(ops);
    crooked_init(&c, PAGE_IDLE);
    c.fault = PAGE_MISSING; /* right, when there is neither op */
    c.ops.struct_size = offsetof(struct bp_backing_ops, commit);
    memcpy(ops, &c.ops, c.ops.struct_size);
    c.backing.ops = ops;
    text = run(&c.backing, 2, &broken);
    ck_assert_msg(broken == 0, "%s", text);
    free(text);
    bp_backing_destroy(&c.backing);
    ck_assert_uint_eq(c.destroyed, 0);
    free(ops);
}
END_TEST

START_TEST(bad_ops)
{
    struct crooked c;
    bp_backing none = { NULL };

    ck_assert_int_eq(bp_conformance_run(NULL, NULL, NULL), 1);
    ck_assert_int_eq(bp_conformance_run(&none, NULL, NULL), 1);
    crooked_init(&c, NO_FAULT);
    c.ops.struct_size = offsetof(struct bp_backing_ops, dispose);
    ck_assert_int_eq(bp_conformance_run(&c.backing, NULL, NULL), 1);
    crooked_init(&c, NO_FAULT);
    c.ops.dispose = NULL;
    ck_assert_int_eq(bp_conformance_run(&c.backing, NULL, NULL), 1);
    crooked_init(&c, NO_FAULT);
    c.ops.name = NULL;
    ck_assert_int_eq(bp_conformance_run(&c.backing, NULL, NULL), 1);
}
END_TEST

START_TEST(fault_is_caught)
{
    enum fault fault = (enum fault)_i;
    struct crooked c;
    char *text, wanted[64];
    int broken;

    if (fault == RACES && BP_CF_TSAN) {
        fprintf(stderr, "SKIP: a race on purpose, under the thread sanitizer\n");
        return;
    }
    if (fault == LOSES_SPACE && BP_CF_ASAN) {
        fprintf(stderr, "SKIP: growth of the process, under the address sanitizer\n");
        return;
    }
    crooked_init(&c, fault);
    text = run(&c.backing, fault == RACES ? 8 : 0, &broken);
    snprintf(wanted, sizeof wanted, "backing crooked: %s: ", rules[fault]);
    ck_assert_msg(broken > 0, "fault %d is not caught", _i);
    ck_assert_msg(strstr(text, wanted) != NULL, "fault %d: no rule %s in:\n%s", _i, rules[fault], text);
    ck_assert_uint_eq(lines(text), (size_t)broken);
    free(text);
}
END_TEST

static Suite *conformance_suite(void)
{
    Suite *s = suite_create("conformance");
    TCase *tc = add_case(s, "passes");

    tcase_add_test(tc, third_party_passes);
    tcase_add_test(tc, short_ops);
    tc = add_case(s, "faults");
    tcase_add_test(tc, bad_ops);
    tcase_add_loop_test(tc, fault_is_caught, NO_FAULT + 1, FAULTS);
    return s;
}

int main(void)
{
    return run_suite(conformance_suite());
}
