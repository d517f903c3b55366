/* SPDX-License-Identifier: MIT
 * A block is allocated from an arena that was given back and checked out by another thread.
 *
 * release:  no
 * check:    at once: allocation: arena .* of pool "requests" has been given back
 * asan:     at once: allocation: arena .* of pool "requests" has been given back
 * valgrind: at once: allocation: arena .* of pool "requests" has been given back
 * guard:    no
 */
#include "misuse.h"

struct other {
    bp_pool *pool;
    bp_arena *a;
};

static void *next_unit(void *arg)
{
    struct other *other = arg;

    MUST(bp_pool_checkout(other->pool, &other->a));
    new_block(other->a, 100)[0] = 2;
    return NULL;
}

int main(int argc, char **argv)
{
    struct other other = { new_pool("requests"), NULL };
    pthread_t thread;
    bp_arena *a;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(other.pool, &a));
    new_block(a, 100)[0] = 1;
    bp_pool_give_back(other.pool, a);
    MUST(pthread_create(&thread, NULL, next_unit, &other));
    MUST(pthread_join(thread, NULL));
    if (wrong) {
        char *p = bp_arena_alloc(a, opaque(100));

        misuse_done();
        p[0] = 3;
    }
    bp_pool_give_back(other.pool, other.a);
    return bp_pool_destroy(other.pool);
}
