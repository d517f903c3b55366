/* SPDX-License-Identifier: MIT
 * `local`: a thread's own list. A node that another thread puts stays with that thread, nothing is ever given
 * back to the system before the thread ends, and nobody can say how many nodes there are: a lower bound for
 * what is called, not a pool.
 */
#include "pool_lists.h"

#include <stdlib.h>

struct node {
    struct node *next;
    char rest[LIST_LINE - sizeof(struct node *)];
};

static _Thread_local struct node *cache;

void *local_thread_begin(void *state)
{
    return state;
}

void local_thread_end(void *own)
{
    struct node *node;

    (void)own;
    while ((node = cache) != NULL) {
        cache = node->next;
        free(node);
    }
}

void *local_take(void)
{
    struct node *node = cache;

    if (UNLIKELY(node == NULL))
        return aligned_alloc(LIST_LINE, sizeof(*node));
    cache = node->next;
    return node;
}

void local_put(void *thing)
{
    struct node *node = thing;

    node->next = cache;
    cache = node;
}
