/* SPDX-License-Identifier: MIT
 * Where pages come from: huge pages, and the memory of one NUMA node. The rest of the operating system is
 * os.h, whose rules hold here, too. A port to another system replaces os_place_linux.c.
 */
#ifndef BUMPOOL_SRC_OS_PLACE_H
#define BUMPOOL_SRC_OS_PLACE_H

#include <stdbool.h>
#include <stddef.h>

/* The size of the huge pages that the system sets aside by default, or 0 when it has none. Cost: a load,
 * after the first call. */
size_t os_huge_page(void);

/* Memory, zero, to read and write, of huge pages that were set aside, each of `page` bytes, a power of two;
 * `size` is a multiple of it. All of them are reserved for it at once: none can be missing later. Any error
 * means that there are not enough of them. Give it back as a whole, by os_unmap_huge. */
int os_map_huge(size_t size, size_t page, size_t align, void **out);
void os_unmap_huge(void *p, size_t size);

/* The size of a transparent huge page when the system makes them where it is asked to, else 0. Cost as
 * above. */
size_t os_advised_page(void);

/* Asks for them, in a range from os_map. */
int os_advise_huge(void *p, size_t size);

#define OS_NODES 1024u /* a node is a number below it */

/* As os_map, with all pages from one node; when that is full, from others, or, if `strict`, from none.
 * EINVAL: no such node, or not for this process; ENOSYS, EPERM: the system, or a sandbox, does not let one
 * choose. Give it back by os_unmap_node, with the same node and strict. */
int os_map_node(size_t size, size_t align, unsigned node, bool strict, void **out);
void os_unmap_node(void *p, size_t size, unsigned node, bool strict);

#endif
