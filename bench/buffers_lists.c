/* SPDX-License-Identifier: MIT
 * What a program writes without a library: an array of lists behind mutexes. It keeps everything, sees no
 * misuse and must be told the size again when a buffer is put back. Away from the loops, so that they call
 * it.
 */
#include "buffers_lists.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    LINE = 64,    /* bytes that processors pass back and forth as one */
    LEAST_LOG2 = 6,
    LISTS = 48,
    MAP_LOG2 = 17, /* buffers of this many bytes and more are mappings of their own */
};

/* A free buffer holds the link. */
struct node {
    struct node *next;
};

/* The head shares the mutex's cache line, which comes with the lock anyway. */
struct list {
    pthread_mutex_t lock;
    struct node *head;
    char rest[LINE - sizeof(pthread_mutex_t) - sizeof(struct node *)];
};

struct lists {
    struct list list[LISTS];
};

/* A list's number is the binary logarithm of its buffers' size. */
static inline size_t number_of(size_t size)
{
    size_t log2 = size > 1 ? 64 - (size_t)__builtin_clzll((unsigned long long)(size - 1)) : 0;

    return log2 > LEAST_LOG2 ? log2 : LEAST_LOG2;
}

static void *fresh(size_t number)
{
    size_t size = (size_t)1 << number;
    void *data;

    if (number < MAP_LOG2)
        return aligned_alloc(LINE, size);
    data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return data != MAP_FAILED ? data : NULL;
}

static void dispose(void *data, size_t number)
{
    if (number < MAP_LOG2)
        free(data);
    else
        munmap(data, (size_t)1 << number);
}

struct lists *lists_create(void)
{
    struct lists *lists = aligned_alloc(LINE, sizeof(*lists));

    for (size_t i = 0; lists != NULL && i < LISTS; i++) {
        pthread_mutex_init(&lists->list[i].lock, NULL); /* which cannot fail in glibc and musl */
        lists->list[i].head = NULL;
    }
    return lists;
}

void lists_destroy(struct lists *lists)
{
    for (size_t i = 0; i < LISTS; i++) {
        struct node *node;

        while ((node = lists->list[i].head) != NULL) {
            lists->list[i].head = node->next;
            dispose(node, i);
        }
        pthread_mutex_destroy(&lists->list[i].lock);
    }
    free(lists);
}

void *lists_get(struct lists *lists, size_t size)
{
    size_t number = number_of(size);
    struct list *list;
    struct node *node;

    if (UNLIKELY(number >= LISTS))
        return NULL;
    list = &lists->list[number];
    pthread_mutex_lock(&list->lock);
    node = list->head;
    if (node != NULL)
        list->head = node->next;
    pthread_mutex_unlock(&list->lock);
    return node != NULL ? node : fresh(number);
}

void lists_put(struct lists *lists, void *data, size_t size)
{
    struct list *list = &lists->list[number_of(size)];
    struct node *node = data;

    pthread_mutex_lock(&list->lock);
    node->next = list->head;
    list->head = node;
    pthread_mutex_unlock(&list->lock);
}
