/* SPDX-License-Identifier: MIT
 * A conformance suite for backings: checks any backing against the contract in backing.h.
 *
 *     #include <bumpool/conformance.h>
 *     int broken = bp_conformance_run(&mine.backing, NULL, stderr);
 *
 * Everything is static and lives in this header, which needs libc and POSIX threads (-pthread) and not the
 * library. C11 or C++11. The suite writes to what it acquires, disposes of all of it and leaves the backing
 * as it found it; nobody else should use the backing meanwhile. A backing that refuses a large request is
 * fine, one that refuses 64 bytes while nothing is outstanding is not.
 *
 * It cannot check that populate makes memory resident or that release drops pages, only that both
 * leave alone what they must and say no more than is true. It asks for impossible sizes: where an
 * address sanitizer stands behind the backing, run with allocator_may_return_null=1.
 */
#ifndef BUMPOOL_CONFORMANCE_H
#define BUMPOOL_CONFORMANCE_H

#include <bumpool.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct bp_conformance_options {
    size_t largest;       /* largest extent to ask for, in bytes, at least 4096. More is never written. */
    size_t largest_align; /* largest alignment to ask for, a power of two of at least 16 */
    unsigned threads;     /* threads at once, at most 64; 0 skips the rules about threads */
    uint64_t seed;        /* of the pseudo-random choices */
};
#define BP_CONFORMANCE_OPTIONS_INIT { (size_t)1 << 20, (size_t)1 << 16, 4, 1 }

/* Runs all rules over `backing`. Returns the number of rules broken, each of which is reported once, by a
 * line "backing NAME: RULE: what" in `report` (NULL: not reported). `options` NULL is the INIT above. */
static int bp_conformance_run(bp_backing *backing, const struct bp_conformance_options *options,
                              FILE *report);

/* ---- from here on: the suite itself ---- */

#if defined(__GNUC__) || defined(__clang__)
#define BP_CF_UNUSED __attribute__((unused))
#define BP_CF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BP_CF_UNUSED
#define BP_CF_PRINTF(fmt, args)
#endif

/* Under the address sanitizer freed memory stays for a while, so that the process grows; under the thread
 * sanitizer a process that maps more than some address space ends. */
#if defined(__has_feature)
#define BP_CF_ASAN __has_feature(address_sanitizer)
#define BP_CF_TSAN __has_feature(thread_sanitizer)
#else
#define BP_CF_ASAN 0
#define BP_CF_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#undef BP_CF_ASAN
#define BP_CF_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#undef BP_CF_TSAN
#define BP_CF_TSAN 1
#endif

struct bp_cf_held {
    struct bp_extent extent;
    bool held;      /* false: there is no extent */
    size_t written; /* bytes from base that hold the pattern of `seed` */
    unsigned seed;
};
#define BP_CF_SLOTS 8
#define BP_CF_MANY 64
#define BP_CF_RULES 32 /* more than there are */

/* The suite's state: `broken`, `count` and `slots` are under the lock, the rest is constant. */
struct bp_cf {
    bp_backing *backing;
    const struct bp_backing_ops *ops;
    struct bp_conformance_options options;
    FILE *report;
    pthread_mutex_t lock;
    const char *broken[BP_CF_RULES]; /* names of the rules broken so far */
    int count;
    struct bp_cf_held slots[BP_CF_SLOTS];
};
struct bp_cf_worker {
    struct bp_cf *c;
    pthread_t thread;
    uint64_t rng;
};

#define BP_CF_HAS(c, op)                                                                             \
    ((c)->ops->struct_size >= offsetof(struct bp_backing_ops, op) + sizeof((c)->ops->op) &&          \
     (c)->ops->op != NULL)

BP_CF_PRINTF(3, 4)
static void bp_cf_break(struct bp_cf *c, const char *rule, const char *format, ...)
{
    va_list args;

    int i;

    pthread_mutex_lock(&c->lock);
    for (i = 0; i < c->count && strcmp(c->broken[i], rule) != 0; i++)
        ;
    if (i == c->count) {
        c->broken[c->count++] = rule;
        if (c->report != NULL) {
            fprintf(c->report, "backing %s: %s: ",
                    c->ops != NULL && c->ops->name != NULL ? c->ops->name : "(no name)", rule);
            va_start(args, format);
            vfprintf(c->report, format, args);
            va_end(args);
            fputc('\n', c->report);
        }
    }
    pthread_mutex_unlock(&c->lock);
}

/* splitmix64, and a number below `n` from it. */
static size_t bp_cf_below(uint64_t *rng, size_t n)
{
    uint64_t z = (*rng += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (size_t)((z ^ (z >> 31)) % n);
}

static size_t bp_cf_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The byte at offset `i` of the pattern of `seed`; never 0. */
static unsigned char bp_cf_pattern(unsigned seed, size_t i)
{
    return (unsigned char)((((unsigned)i * 2654435761u + seed * 40503u) >> 13) | 1u);
}

/* Writes the pattern to [from, to) and does what the contract asks of whoever writes. */
static void bp_cf_fill(struct bp_extent *e, size_t from, size_t to, unsigned seed)
{
    unsigned char *p = (unsigned char *)e->base;
    size_t i;

    for (i = from; i < to; i++)
        p[i] = bp_cf_pattern(seed, i);
    if (e->known_zero_from < to)
        e->known_zero_from = to;
}

static bool bp_cf_verify(struct bp_cf *c, const char *rule, const char *when, const struct bp_extent *e,
                         size_t from, size_t to, unsigned seed)
{
    const unsigned char *p = (const unsigned char *)e->base;
    size_t i;

    for (i = from; i < to; i++) {
        if (p[i] != bp_cf_pattern(seed, i)) {
            bp_cf_break(c, rule, "%s: byte %zu of %zu lost its contents", when, i, e->size);
            return false;
        }
    }
    return true;
}

/* How much of the extent the suite uses: what is committed, up to the limit of the options. */
static size_t bp_cf_usable(const struct bp_cf *c, const struct bp_extent *e)
{
    return bp_cf_min(bp_cf_min(e->committed, e->size), c->options.largest);
}

/* Is everything from known_zero_from on zero, as far as the suite goes and at the very end? */
static void bp_cf_check_zero(struct bp_cf *c, const char *rule, const char *when, const struct bp_extent *e)
{
    const unsigned char *p = (const unsigned char *)e->base;
    size_t i, end = bp_cf_usable(c, e), committed = bp_cf_min(e->committed, e->size);

    for (i = e->known_zero_from; i < end; i++) {
        if (p[i] != 0) {
            bp_cf_break(c, rule, "%s: byte %zu is not 0, known_zero_from is %zu", when, i,
                        e->known_zero_from);
            return;
        }
    }
    for (i = committed; i > end && i > e->known_zero_from && i + 64 > committed; i--) {
        if (p[i - 1] != 0) {
            bp_cf_break(c, rule, "%s: byte %zu is not 0, known_zero_from is %zu", when, i - 1,
                        e->known_zero_from);
            return;
        }
    }
}

static bool bp_cf_same(const struct bp_extent *a, const struct bp_extent *b)
{
    return a->base == b->base && a->size == b->size && a->committed == b->committed &&
           a->known_zero_from == b->known_zero_from && a->page == b->page && a->data == b->data;
}

/* An op may fail with ENOMEM only, or with any errno value. */
static void bp_cf_check_error(struct bp_cf *c, const char *op, int err, bool any)
{
    if (err < 0 || (!any && err != ENOMEM))
        bp_cf_break(c, "error", "%s fails with %d, not %s", op, err,
                    any ? "a positive errno value" : "ENOMEM");
}

static void bp_cf_dispose(struct bp_cf *c, const struct bp_extent *e)
{
    c->ops->dispose(c->backing, e);
}

/* Acquires, with all that can be said about the result. True: *e is an extent that can be used. */
static bool bp_cf_acquire(struct bp_cf *c, size_t min, size_t preferred, size_t align, struct bp_extent *e)
{
    struct bp_extent out, before;
    bool has_page = BP_CF_HAS(c, commit) || BP_CF_HAS(c, release);
    int err;

    memset(&before, 0xa5, sizeof before);
    memset(&out, 0xa5, sizeof out);
    err = c->ops->acquire(c->backing, min, preferred, align, &out);
    if (err != 0) {
        bp_cf_check_error(c, "acquire", err, false);
        if (memcmp(&out, &before, sizeof out) != 0)
            bp_cf_break(c, "untouched", "acquire of %zu bytes failed and changed its output", min);
        return false;
    }
    if (memcmp(&out.base, &before.base, sizeof out.base) == 0 || out.base == NULL ||
        out.size > (size_t)PTRDIFF_MAX || (uintptr_t)out.base + out.size < (uintptr_t)out.base) {
        bp_cf_break(c, "size", "acquire of %zu bytes gave %zu bytes at %p", min, out.size, out.base);
        return false;
    }
    if (((uintptr_t)out.base & (align - 1)) != 0)
        bp_cf_break(c, "aligned", "base %p is not aligned to %zu", out.base, align);
    if (out.size < min)
        bp_cf_break(c, "size", "asked for %zu bytes, got %zu", min, out.size);
    if (out.committed > out.size)
        bp_cf_break(c, "committed", "%zu bytes committed of %zu", out.committed, out.size);
    if (out.committed < min && !BP_CF_HAS(c, commit))
        bp_cf_break(c, "committed", "%zu of %zu bytes committed and no op to commit more", out.committed,
                    min);
    if (out.known_zero_from > out.size)
        bp_cf_break(c, "known-zero", "known_zero_from %zu in %zu bytes", out.known_zero_from, out.size);
    if ((out.page & (out.page - 1)) != 0)
        bp_cf_break(c, "page", "page %zu is no power of two", out.page);
    else if (out.page != 0 && !has_page)
        bp_cf_break(c, "page", "page is not 0 and there is neither commit nor release");
    else if (out.page == 0 && out.committed < min && has_page)
        bp_cf_break(c, "page", "page is 0 and %zu of %zu bytes are committed", out.committed, min);
    *e = out;
    return true;
}

/* Commits `size` bytes, with all that can be said about it; 0 or the error. [0, written) has the pattern. */
static int bp_cf_commit(struct bp_cf *c, struct bp_extent *e, size_t size, size_t written, unsigned seed)
{
    struct bp_extent before = *e, after;
    int err = c->ops->commit(c->backing, e, size);

    after = *e;
    if (err != 0) {
        bp_cf_check_error(c, "commit", err, false);
        if (!bp_cf_same(&before, &after))
            bp_cf_break(c, "untouched", "commit failed and changed the extent");
        *e = before;
    } else {
        if (after.committed < size || after.committed < before.committed || after.committed > before.size)
            bp_cf_break(c, "commit", "commit of %zu in %zu bytes: committed went from %zu to %zu", size,
                        before.size, before.committed, after.committed);
        if (size <= before.committed && after.committed != before.committed)
            bp_cf_break(c, "commit", "commit of %zu of %zu committed bytes changed committed to %zu", size,
                        before.committed, after.committed);
        if (before.page == 0 && after.committed != before.committed)
            bp_cf_break(c, "page", "page is 0 and commit commits");
        after.committed = before.committed;
        if (!bp_cf_same(&before, &after))
            bp_cf_break(c, "commit", "commit changed more of the extent than committed");
    }
    bp_cf_verify(c, "commit-keeps", "after commit", e, 0, bp_cf_min(written, bp_cf_usable(c, e)), seed);
    bp_cf_check_zero(c, "zero", "after commit", e);
    return err;
}

/* Commits `size` bytes of a fresh extent, where the backing has and lets it. */
static void bp_cf_commit_fresh(struct bp_cf *c, struct bp_extent *e, size_t size)
{
    size = bp_cf_min(size, bp_cf_min(e->size, c->options.largest));
    if (BP_CF_HAS(c, commit) && e->committed < size)
        (void)bp_cf_commit(c, e, size, 0, 0);
}

/* Releases [offset, offset + length) of an extent of which [0, written) has the pattern, and fills it
 * again. */
static void bp_cf_release(struct bp_cf *c, struct bp_extent *e, size_t offset, size_t length, size_t written,
                          unsigned seed)
{
    const size_t page = e->page != 0 ? e->page : 1, untouched = (size_t)0 - 7, end = offset + length;
    const uintptr_t base = (uintptr_t)e->base;
    size_t released, low, high, times;

    /* The pages wholly inside. The last page of an extent may be a short one. */
    low = (size_t)(((base + offset + page - 1) & ~(uintptr_t)(page - 1)) - base);
    high = end == e->size ? end : (size_t)(((base + end) & ~(uintptr_t)(page - 1)) - base);
    if (high < low)
        high = low;

    for (times = 0; times < 2; times++) {
        struct bp_extent before = *e, after;
        int err;

        released = untouched;
        err = c->ops->release(c->backing, e, offset, length, &released);
        after = *e;
        if (err != 0) {
            bp_cf_check_error(c, "release", err, true);
            if (!bp_cf_same(&before, &after) || released != untouched)
                bp_cf_break(c, "untouched", "release failed and changed its output or the extent");
            *e = before;
            if (times == 0) {
                bp_cf_verify(c, "release-keeps", "after a release that failed", e, 0, written, seed);
                return;
            }
            break;
        }
        if (released == untouched || released > length || released > high - low)
            bp_cf_break(c, "release", "release of [%zu, %zu) with pages of %zu says %zu bytes dropped",
                        offset, end, page, released);
        if (e->page == 0 && released != 0)
            bp_cf_break(c, "page", "page is 0 and release drops %zu bytes", released);
        after.known_zero_from = before.known_zero_from;
        if (!bp_cf_same(&before, &after))
            bp_cf_break(c, "release", "release changed more of the extent than known_zero_from");
        if (e->known_zero_from > before.known_zero_from)
            bp_cf_break(c, "release", "release raised known_zero_from");
        if (e->known_zero_from < before.known_zero_from &&
            (released == 0 || e->known_zero_from < low || high < before.known_zero_from))
            bp_cf_break(c, "release-zero",
                        "release of [%zu, %zu) lowered known_zero_from from %zu to %zu, but dropped less",
                        offset, end, before.known_zero_from, e->known_zero_from);
        if (times == 0 && released == 0)
            bp_cf_verify(c, "release-keeps", "after a release of nothing", e, 0, written, seed);
        bp_cf_verify(c, "release-keeps", "before the released range", e, 0, bp_cf_min(low, written), seed);
        bp_cf_verify(c, "release-keeps", "after the released range", e, high, written, seed);
        bp_cf_check_zero(c, "release-zero", "after release", e);
    }
    bp_cf_fill(e, low, bp_cf_min(high, written), seed);
    bp_cf_verify(c, "release", "written after release", e, 0, written, seed);
}

static void bp_cf_populate(struct bp_cf *c, struct bp_extent *e, size_t offset, size_t length, size_t written,
                           unsigned seed)
{
    struct bp_extent before = *e;
    int err = c->ops->populate(c->backing, e, offset, length);

    if (err != 0)
        bp_cf_check_error(c, "populate", err, true);
    if (!bp_cf_same(&before, e))
        bp_cf_break(c, "populate", "populate changed the extent");
    *e = before;
    bp_cf_verify(c, "populate", "after populate", e, 0, written, seed);
    bp_cf_check_zero(c, "populate", "after populate", e);
}

/* Acquires an extent, fills it with a pattern of its own, and leaves its last byte dirty too. */
static bool bp_cf_hold(struct bp_cf *c, uint64_t *rng, size_t min, size_t preferred, size_t align,
                       struct bp_cf_held *h)
{
    h->held = bp_cf_acquire(c, min, preferred, align, &h->extent);
    if (!h->held)
        return false;
    bp_cf_check_zero(c, "zero", "after acquire", &h->extent);
    bp_cf_commit_fresh(c, &h->extent, preferred);
    h->written = bp_cf_usable(c, &h->extent);
    h->seed = (unsigned)bp_cf_below(rng, 1u << 30);
    bp_cf_fill(&h->extent, 0, h->written, h->seed);
    if (h->extent.committed > h->written && h->extent.committed <= h->extent.size) {
        *((unsigned char *)h->extent.base + h->extent.committed - 1) = 1;
        h->extent.known_zero_from = h->extent.committed;
    }
    return true;
}

static void bp_cf_check_held(struct bp_cf *c, const char *when, const struct bp_cf_held *h)
{
    bp_cf_verify(c, "memory", when, &h->extent, 0, h->written, h->seed);
}

/* One extent at a time, of all sizes and alignments; twice each, so that recycled memory is seen. */
static void bp_cf_run_single(struct bp_cf *c, uint64_t *rng)
{
    static const size_t sizes[] = {1, 15, 16, 64, 100, 4095, 4096, 4097, 65536};
    const size_t largest = c->options.largest, count = sizeof sizes / sizeof sizes[0];
    struct bp_cf_held h;
    size_t i, align;

    for (i = 0; i < (count + 2) * 4; i++) {
        size_t which = i / 4, size = which < count ? sizes[which] : which == count ? largest / 3 : largest;

        if (size > largest)
            continue;
        if (bp_cf_hold(c, rng, size, i % 4 < 2 ? size : bp_cf_min(size * 2, largest), BP_ALIGNMENT, &h)) {
            bp_cf_check_held(c, "one extent", &h);
            bp_cf_dispose(c, &h.extent);
        } else if (size <= 64) {
            bp_cf_break(c, "gives", "%zu bytes are not to be had", size);
        }
    }
    for (align = BP_ALIGNMENT; align != 0 && align <= c->options.largest_align; align *= 2) {
        for (i = 0; i < 4; i++) {
            size_t size = 1 + bp_cf_below(rng, i % 2 == 0 ? 64 : bp_cf_min(largest, 65536));

            if (bp_cf_hold(c, rng, size, size, align, &h)) {
                bp_cf_check_held(c, "one aligned extent", &h);
                bp_cf_dispose(c, &h.extent);
            }
        }
    }
}

static size_t bp_cf_acquire_many(struct bp_cf *c, uint64_t sizes_rng, uint64_t *rng, struct bp_cf_held *held)
{
    size_t count, i;

    for (count = 0; count < BP_CF_MANY; count++) {
        size_t size = 1 + bp_cf_below(&sizes_rng, c->options.largest / 16);
        size_t align = (size_t)BP_ALIGNMENT << bp_cf_below(&sizes_rng, 5);
        const struct bp_extent *e = &held[count].extent;

        align = bp_cf_min(align, c->options.largest_align);
        if (!bp_cf_hold(c, rng, size, size + bp_cf_below(&sizes_rng, 256), align, &held[count]))
            break;
        for (i = 0; i < count; i++) {
            const struct bp_extent *other = &held[i].extent;

            if ((uintptr_t)e->base < (uintptr_t)other->base + other->size &&
                (uintptr_t)other->base < (uintptr_t)e->base + e->size)
                bp_cf_break(c, "overlap", "%zu bytes at %p and %zu bytes at %p are both held", e->size,
                            e->base, other->size, other->base);
        }
    }
    return count;
}

/* Many extents held at once; the same ones again and again, disposed of in varying order. */
static void bp_cf_run_many(struct bp_cf *c, uint64_t *rng)
{
    static const size_t rounds = 6;
    struct bp_cf_held held[BP_CF_MANY];
    const uint64_t sizes_rng = *rng;
    size_t round, first = 0, count = 0, i, k;

    for (round = 0; round < rounds; round++) {
        count = bp_cf_acquire_many(c, sizes_rng, rng, held);
        if (round == 0)
            first = count;
        for (i = 0; i < count; i++)
            bp_cf_check_held(c, "many extents held", &held[i]);
        for (k = count; k > 0; k--) {
            i = bp_cf_below(rng, k);
            bp_cf_check_held(c, "others disposed of", &held[i]);
            bp_cf_dispose(c, &held[i].extent);
            held[i] = held[k - 1];
        }
    }
    if (count < first)
        bp_cf_break(c, "recycle", "%zu extents could be held at first, %zu after all were disposed of", first,
                    count);
}

static void bp_cf_run_commit(struct bp_cf *c, uint64_t *rng)
{
    const size_t largest = c->options.largest;
    struct bp_cf_held neighbour;
    struct bp_extent e;
    size_t round, steps, end, target, written;
    bool has_neighbour;
    unsigned seed;

    for (round = 0; round < 4; round++) {
        if (!bp_cf_acquire(c, round < 2 ? 64 : largest / 2, largest, BP_ALIGNMENT, &e))
            continue;
        has_neighbour = bp_cf_hold(c, rng, 64, largest / 4, BP_ALIGNMENT, &neighbour);
        bp_cf_check_zero(c, "zero", "after acquire", &e);
        seed = (unsigned)bp_cf_below(rng, 1u << 30);
        end = bp_cf_min(e.size, largest);
        for (steps = 0; steps < 64; steps++) {
            written = bp_cf_usable(c, &e);
            bp_cf_fill(&e, 0, written, seed);
            if (bp_cf_commit(c, &e, 1, written, seed) != 0 ||
                bp_cf_commit(c, &e, e.committed, written, seed) != 0)
                bp_cf_break(c, "commit", "commit of what is committed already fails");
            if (e.committed >= end || e.committed < written)
                break;
            target = e.committed + 1;
            if (steps % 3 != 0)
                target += bp_cf_below(rng, bp_cf_min(target, 65536));
            if (bp_cf_commit(c, &e, bp_cf_min(target, end), written, seed) != 0)
                break;
        }
        if (e.committed < end && bp_cf_commit(c, &e, end, bp_cf_usable(c, &e), seed) == 0) {
            written = bp_cf_usable(c, &e);
            bp_cf_fill(&e, 0, written, seed);
            bp_cf_verify(c, "memory", "all committed", &e, 0, written, seed);
        }
        if (has_neighbour) {
            bp_cf_check_held(c, "another extent committed", &neighbour);
            bp_cf_dispose(c, &neighbour.extent);
        }
        bp_cf_dispose(c, &e);
    }
}

/* Filled, released in all kinds of ranges, and filled again. */
static void bp_cf_run_release(struct bp_cf *c, uint64_t *rng)
{
    struct bp_cf_held h[3]; /* the middle one is released from; the others look on */
    size_t round, i, held, n, page;

    for (round = 0; round < 3; round++) {
        for (held = 0; held < 3; held++) {
            size_t size = round == 0 ? c->options.largest : c->options.largest / (held == 1 ? 2 : 16);

            if (!bp_cf_hold(c, rng, held == 1 ? size : 64, held == 1 ? size : 64, BP_ALIGNMENT, &h[held]))
                break;
        }
        if (held == 3 && h[1].written > 0) {
            struct bp_extent *e = &h[1].extent;
            const unsigned seed = h[1].seed;

            n = h[1].written;
            page = e->page;
            bp_cf_release(c, e, 0, 0, n, seed);
            bp_cf_release(c, e, bp_cf_min(1, n), 0, n, seed);
            bp_cf_release(c, e, n, 0, n, seed);
            if (page > 2 && page <= n) {
                bp_cf_release(c, e, 1, page - 2, n, seed);
                bp_cf_release(c, e, 0, page - 1, n, seed);
                bp_cf_release(c, e, n - page + 1, page - 2, n, seed);
                bp_cf_release(c, e, 0, page, n, seed);
            }
            if (page > 2 && page <= n / 3) {
                bp_cf_release(c, e, page - 1, page, n, seed);
                bp_cf_release(c, e, page - 1, page + 2, n, seed);
                bp_cf_release(c, e, 1, 3 * page - 1, n, seed);
            }
            bp_cf_release(c, e, 0, n, n, seed);
            bp_cf_release(c, e, 1, n - 1, n, seed);
            bp_cf_release(c, e, n / 2, n - n / 2, n, seed);
            for (i = 0; i < 8; i++) {
                size_t offset = bp_cf_below(rng, n), length = bp_cf_below(rng, n - offset + 1);

                bp_cf_release(c, e, offset, length, n, seed);
            }
            bp_cf_check_held(c, "another extent released", &h[0]);
            bp_cf_check_held(c, "another extent released", &h[2]);
        }
        while (held > 0)
            bp_cf_dispose(c, &h[--held].extent);
    }
}

/* The rest of an extent that is used in part: released, it must not claim more zeros than there are. */
static void bp_cf_run_release_part(struct bp_cf *c, uint64_t *rng)
{
    struct bp_extent e;
    size_t round, n, used;
    unsigned seed;

    for (round = 0; round < 8; round++) {
        if (!bp_cf_acquire(c, 64, c->options.largest / 2, BP_ALIGNMENT, &e))
            continue;
        bp_cf_commit_fresh(c, &e, c->options.largest / 2);
        n = bp_cf_usable(c, &e);
        used = n > 0 ? bp_cf_below(rng, n) : 0;
        seed = (unsigned)bp_cf_below(rng, 1u << 30);
        bp_cf_fill(&e, 0, used, seed);
        bp_cf_release(c, &e, used / 4, n - used / 4, used, seed);
        bp_cf_release(c, &e, 0, used, used, seed);
        bp_cf_dispose(c, &e);
    }
}

static void bp_cf_run_populate(struct bp_cf *c, uint64_t *rng)
{
    struct bp_extent e;
    size_t round, i, n;
    unsigned seed;

    for (round = 0; round < 2; round++) {
        if (!bp_cf_acquire(c, 64, c->options.largest / 2, BP_ALIGNMENT, &e))
            continue;
        bp_cf_commit_fresh(c, &e, c->options.largest / 2);
        n = bp_cf_usable(c, &e);
        seed = (unsigned)bp_cf_below(rng, 1u << 30);
        bp_cf_populate(c, &e, 0, 0, 0, seed);
        bp_cf_populate(c, &e, n / 3, n / 3, 0, seed);
        bp_cf_populate(c, &e, 0, n, 0, seed);
        bp_cf_fill(&e, 0, n, seed);
        for (i = 0; i < 4; i++) {
            size_t offset = bp_cf_below(rng, n + 1), length = bp_cf_below(rng, n - offset + 1);

            bp_cf_populate(c, &e, offset, length, n, seed);
        }
        bp_cf_dispose(c, &e);
    }
}

/* Sizes that nothing can have, some of which wrap when rounded up. */
static void bp_cf_run_impossible(struct bp_cf *c)
{
    static const size_t sizes[] = {SIZE_MAX,         SIZE_MAX - 15,        SIZE_MAX - 4095,
                                   SIZE_MAX - 4096,  SIZE_MAX - 65536,     SIZE_MAX / 2,
                                   SIZE_MAX / 2 + 2, PTRDIFF_MAX,          (size_t)PTRDIFF_MAX - 4095,
                                   (size_t)PTRDIFF_MAX - ((size_t)1 << 22)};
    struct bp_extent e;
    size_t i, align, size;

    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (align = BP_ALIGNMENT; align != 0 && align <= c->options.largest_align; align *= 16) {
            if (bp_cf_acquire(c, sizes[i], sizes[i], align, &e)) {
                bp_cf_break(c, "impossible", "acquire of %zu bytes succeeds", sizes[i]);
                bp_cf_dispose(c, &e);
            }
            if (BP_CF_TSAN || !bp_cf_acquire(c, 64, sizes[i], align, &e))
                continue;
            size = bp_cf_usable(c, &e);
            bp_cf_fill(&e, 0, bp_cf_min(size, 64), 1);
            bp_cf_verify(c, "memory", "impossible size preferred", &e, 0, bp_cf_min(size, 64), 1);
            bp_cf_dispose(c, &e);
        }
    }
}

/* Bytes of address space of this process, or 0 where that is not known or means nothing. */
static size_t bp_cf_address_space(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    size_t size = 0;

    if (f == NULL)
        return 0;
    while (fgets(line, (int)sizeof line, f) != NULL) {
        if (sscanf(line, "VmSize: %zu kB", &size) == 1)
            break;
    }
    fclose(f);
    return BP_CF_ASAN ? 0 : size * 1024;
}

/* Thousands of extents, one after another: the last must be as easy to get as the first. */
static void bp_cf_run_recycle(struct bp_cf *c)
{
    static const size_t cycles = 4096;
    const size_t size = bp_cf_min(65536, c->options.largest), before = bp_cf_address_space();
    struct bp_extent e;
    size_t i, after;

    for (i = 0; i < cycles; i++) {
        if (!bp_cf_acquire(c, 64, size, BP_ALIGNMENT, &e)) {
            bp_cf_break(c, "recycle", "acquire fails after %zu extents that were all disposed of", i);
            return;
        }
        bp_cf_fill(&e, 0, bp_cf_min(bp_cf_usable(c, &e), 16), 1);
        bp_cf_dispose(c, &e);
    }
    after = bp_cf_address_space();
    if (before != 0 && after > before && after - before > cycles * size / 4)
        bp_cf_break(c, "recycle", "the process grew by %zu bytes over %zu extents of %zu, one at a time",
                    after - before, cycles, size);
}

/* Puts `mine` into one of the places shared by all threads and takes out what another one left there. */
static void bp_cf_swap(struct bp_cf *c, size_t slot, struct bp_cf_held *mine)
{
    struct bp_cf_held other;

    pthread_mutex_lock(&c->lock);
    other = c->slots[slot];
    c->slots[slot] = *mine;
    pthread_mutex_unlock(&c->lock);
    *mine = other;
}

static void *bp_cf_work(void *data)
{
    struct bp_cf_worker *w = (struct bp_cf_worker *)data;
    struct bp_cf *c = w->c;
    struct bp_cf_held h;
    size_t i, size, align;

    for (i = 0; i < 300; i++) {
        size = 1 + bp_cf_below(&w->rng, bp_cf_min(c->options.largest / 8, i % 16 == 0 ? 65536 : 8192));
        align = bp_cf_min((size_t)BP_ALIGNMENT << bp_cf_below(&w->rng, 5), c->options.largest_align);
        h.held = bp_cf_acquire(c, size, size, align, &h.extent);
        if (!h.held)
            continue;
        bp_cf_check_zero(c, "zero", "threads at work", &h.extent);
        bp_cf_commit_fresh(c, &h.extent, size);
        h.written = bp_cf_min(bp_cf_usable(c, &h.extent), 65536);
        h.seed = (unsigned)bp_cf_below(&w->rng, 1u << 30);
        bp_cf_fill(&h.extent, 0, h.written, h.seed);
        if (i % 4 == 0 && BP_CF_HAS(c, release))
            bp_cf_release(c, &h.extent, bp_cf_below(&w->rng, h.written + 1), 0, h.written, h.seed);
        if (i % 4 == 1 && BP_CF_HAS(c, release))
            bp_cf_release(c, &h.extent, 0, h.written, h.written, h.seed);
        if (i % 4 == 2 && BP_CF_HAS(c, populate))
            bp_cf_populate(c, &h.extent, 0, h.written, h.written, h.seed);
        bp_cf_check_held(c, "threads at work", &h);
        bp_cf_swap(c, bp_cf_below(&w->rng, BP_CF_SLOTS), &h);
        if (h.held) {
            bp_cf_check_held(c, "from another thread", &h);
            bp_cf_dispose(c, &h.extent);
        }
    }
    return NULL;
}

static void bp_cf_run_threads(struct bp_cf *c, uint64_t *rng)
{
    struct bp_cf_worker workers[64];
    size_t i, started, count = bp_cf_min(c->options.threads, 64);

    memset(c->slots, 0, sizeof c->slots);
    for (started = 0; started < count; started++) {
        struct bp_cf_worker *w = &workers[started];

        w->c = c;
        w->rng = *rng + started * 7919;
        if (pthread_create(&w->thread, NULL, bp_cf_work, w) != 0)
            break;
    }
    for (i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    for (i = 0; i < BP_CF_SLOTS; i++) {
        if (c->slots[i].held) {
            bp_cf_check_held(c, "threads are done", &c->slots[i]);
            bp_cf_dispose(c, &c->slots[i].extent);
        }
    }
}

static bool bp_cf_run_ops(struct bp_cf *c)
{
    const size_t least = offsetof(struct bp_backing_ops, dispose) + sizeof c->ops->dispose;

    if (c->ops == NULL || c->ops->struct_size < least)
        bp_cf_break(c, "ops", "there are no ops, or struct_size has no room for acquire and dispose");
    else if (c->ops->name == NULL || c->ops->acquire == NULL || c->ops->dispose == NULL)
        bp_cf_break(c, "ops", "name, acquire or dispose is NULL");
    else
        return true;
    return false;
}

BP_CF_UNUSED
static int bp_conformance_run(bp_backing *backing, const struct bp_conformance_options *options, FILE *report)
{
    const struct bp_conformance_options defaults = BP_CONFORMANCE_OPTIONS_INIT;
    struct bp_cf c;
    uint64_t rng;

    memset(&c, 0, sizeof c);
    c.backing = backing;
    c.ops = backing != NULL ? backing->ops : NULL;
    c.options = options != NULL ? *options : defaults;
    c.report = report;
    if (c.options.largest < 4096)
        c.options.largest = 4096;
    if (c.options.largest_align < BP_ALIGNMENT)
        c.options.largest_align = BP_ALIGNMENT;
    rng = c.options.seed;
    if (pthread_mutex_init(&c.lock, NULL) != 0)
        return -1;

    if (bp_cf_run_ops(&c)) {
        bp_cf_run_single(&c, &rng);
        bp_cf_run_many(&c, &rng);
        if (BP_CF_HAS(&c, commit))
            bp_cf_run_commit(&c, &rng);
        if (BP_CF_HAS(&c, release)) {
            bp_cf_run_release(&c, &rng);
            bp_cf_run_release_part(&c, &rng);
        }
        if (BP_CF_HAS(&c, populate))
            bp_cf_run_populate(&c, &rng);
        bp_cf_run_impossible(&c);
        bp_cf_run_recycle(&c);
        if (c.options.threads > 0)
            bp_cf_run_threads(&c, &rng);
        if (report != NULL)
            fflush(report);
    }
    pthread_mutex_destroy(&c.lock);
    return c.count;
}

#endif
