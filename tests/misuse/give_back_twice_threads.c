/* SPDX-License-Identifier: MIT
 * An arena is given back by two threads.
 *
 * release:  at once: give_back: arena .* has been given back already
 * check:    at once: give_back: arena .* has been given back already
 * asan:     at once: give_back: arena .* has been given back already
 * valgrind: at once: give_back: arena .* has been given back already
 * guard:    at once: give_back: arena .* has been given back already
 */
#include "misuse.h"

struct work {
    bp_pool *pool;
    bp_arena *a;
};

static void *consumer(void *arg)
{
    struct work *work = arg;

    bp_pool_give_back(work->pool, work->a);
    return NULL;
}

int main(int argc, char **argv)
{
    struct work work = { new_pool("requests"), NULL };
    pthread_t thread;

    misuse_begin(argc, argv);
    MUST(bp_pool_checkout(work.pool, &work.a));
    MUST(pthread_create(&thread, NULL, consumer, &work));
    MUST(pthread_join(thread, NULL));
    if (wrong) {
        bp_pool_give_back(work.pool, work.a);
        misuse_done();
    }
    return bp_pool_destroy(work.pool);
}
