/* SPDX-License-Identifier: MIT
 * `mutex`: what a program writes without a library, a list behind a pthread mutex.
 */
#include "pool_lists.h"

#include <pthread.h>
#include <stdlib.h>

struct node {
    struct node *next;
    char rest[LIST_LINE - sizeof(struct node *)];
};

/* The head shares the mutex's cache line, which comes with the lock anyway. */
struct list {
    pthread_mutex_t lock;
    struct node *head;
    struct node *nodes;
};

void *mutex_setup(size_t nodes, bool capped)
{
    struct list *list = aligned_alloc(LIST_LINE, (sizeof(*list) + LIST_LINE - 1) / LIST_LINE * LIST_LINE);

    (void)capped; /* it always is */
    if (list == NULL)
        return NULL;
    list->nodes = aligned_alloc(LIST_LINE, nodes * sizeof(*list->nodes));
    if (list->nodes == NULL || pthread_mutex_init(&list->lock, NULL) != 0) {
        free(list->nodes);
        free(list);
        return NULL;
    }
    list->head = NULL;
    for (size_t i = 0; i < nodes; i++) {
        list->nodes[i].next = list->head;
        list->head = &list->nodes[i];
    }
    return list;
}

void mutex_teardown(void *state)
{
    struct list *list = state;

    pthread_mutex_destroy(&list->lock);
    free(list->nodes);
    free(list);
}

void *mutex_take(void *state)
{
    struct list *list = state;
    struct node *node;

    pthread_mutex_lock(&list->lock);
    node = list->head;
    if (node != NULL)
        list->head = node->next;
    pthread_mutex_unlock(&list->lock);
    return node;
}

void mutex_put(void *state, void *thing)
{
    struct list *list = state;
    struct node *node = thing;

    pthread_mutex_lock(&list->lock);
    node->next = list->head;
    list->head = node;
    pthread_mutex_unlock(&list->lock);
}
