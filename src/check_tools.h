/* SPDX-License-Identifier: MIT
 * Talking to AddressSanitizer and Valgrind, whichever the process runs under; otherwise nothing happens.
 *
 * AddressSanitizer is found by weak symbols, which its runtime in the program defines, Valgrind by its
 * client requests, a few instructions that do nothing outside of it.
 */
#ifndef CHECK_TOOLS_H
#define CHECK_TOOLS_H

#include "misuse_private.h"

/* Its name, or NULL. */
const char *tool_name(void);

/* `anchor` stands for an arena, whose blocks are to be told apart from other memory and have so many bytes
 * before and after them that are nobody's. */
void tool_arena_begin(const void *anchor, size_t zone);
void tool_arena_end(const void *anchor);

/* [p, end) may not be touched / may be, by anyone. */
void tool_hide(char *p, const char *end);
void tool_show(char *p, const char *end);

/* [p, p + size) is a block: to be touched, and undefined until it is written; is one no more. */
void tool_block(const void *anchor, char *p, size_t size);
void tool_block_gone(const void *anchor, char *p);

/* It has another size now; what it has grown by is undefined. */
void tool_block_resized(const void *anchor, char *p, size_t before, size_t size);

/* Has `tell(address)` called when the tool has printed a report about an address; once in the process. */
void tool_on_report(void (*tell)(const void *address));

/* Prints the frames with function, file and line where the tool can say. */
void tool_print_stack(const struct misuse_stack *stack);

#endif
