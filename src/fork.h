/* SPDX-License-Identifier: MIT
 * fork: the library's locks are taken around it, all of them, in pool_life.c.
 */
#ifndef FORK_H
#define FORK_H

/* Makes it so from now on. Whoever has a lock of his own there calls this before he takes it first. Any thread. */
void fork_init(void);

#endif
