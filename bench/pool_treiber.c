/* SPDX-License-Identifier: MIT
 * `treiber`: a lock-free stack. Its top is one 64-bit word, a node's number and a tag: the tag changes with
 * every put, so that a compare-and-swap fails when the node was taken and put back in between (ABA), up to
 * 2^32 puts later.
 */
#include "pool_lists.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Numbers count from 1; 0 is the end. `next` is read by threads that lose the race for the node. */
struct node {
    _Atomic uint32_t next;
    char rest[LIST_LINE - sizeof(uint32_t)];
};

struct stack {
    _Atomic uint64_t top; /* the number below, the tag above */
    struct node *nodes;
};

void *treiber_setup(size_t nodes, bool capped)
{
    struct stack *stack = aligned_alloc(LIST_LINE, LIST_LINE);

    (void)capped; /* it always is */
    if (stack == NULL)
        return NULL;
    stack->nodes = aligned_alloc(LIST_LINE, nodes * sizeof(*stack->nodes));
    if (stack->nodes == NULL) {
        free(stack);
        return NULL;
    }
    for (size_t i = 0; i < nodes; i++)
        atomic_init(&stack->nodes[i].next, (uint32_t)i);
    atomic_init(&stack->top, nodes);
    return stack;
}

void treiber_teardown(void *state)
{
    struct stack *stack = state;

    free(stack->nodes);
    free(stack);
}

void *treiber_take(void *state)
{
    struct stack *stack = state;
    uint64_t top = atomic_load_explicit(&stack->top, memory_order_acquire), after;
    struct node *node;

    do {
        if ((uint32_t)top == 0)
            return NULL;
        node = &stack->nodes[(uint32_t)top - 1];
        after = (top & ~(uint64_t)UINT32_MAX) | atomic_load_explicit(&node->next, memory_order_relaxed);
        /* acquire pairs with the release in treiber_put: what the last holder wrote is seen */
    } while (!atomic_compare_exchange_weak_explicit(&stack->top, &top, after, memory_order_acquire,
                                                    memory_order_acquire));
    return node;
}

void treiber_put(void *state, void *thing)
{
    struct stack *stack = state;
    struct node *node = thing;
    uint64_t top = atomic_load_explicit(&stack->top, memory_order_relaxed), after;

    do {
        atomic_store_explicit(&node->next, (uint32_t)top, memory_order_relaxed);
        after = ((top >> 32) + 1) << 32 | (uint32_t)(node - stack->nodes + 1);
    } while (!atomic_compare_exchange_weak_explicit(&stack->top, &top, after, memory_order_release,
                                                    memory_order_relaxed));
}
