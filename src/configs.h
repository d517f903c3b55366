/* SPDX-License-Identifier: MIT
 * Reading configuration structs of callers compiled against an older header.
 *
 * Every configuration begins with `size_t struct_size` and grows at its end only, never into the padding
 * that the last member leaves: an older caller's padding is garbage inside its struct_size. A caller says
 * with struct_size how much of it exists; what it does not know keeps its default. One from the future
 * (larger than ours) is refused, since an option that is not understood must not be ignored in silence.
 */
#ifndef BUMPOOL_SRC_CONFIGS_H
#define BUMPOOL_SRC_CONFIGS_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* `dst` (dst_size bytes) holds the defaults. Overlays what `src` has of it; NULL has nothing. first_size is
 * the size of the struct in the first release. EINVAL, with dst as it was and nothing of src read beyond
 * struct_size, when struct_size is below first_size or above dst_size. */
static inline int config_read(void *dst, size_t dst_size, size_t first_size, const void *src)
{
    size_t size;

    if (src == NULL)
        return 0;
    memcpy(&size, src, sizeof size);
    if (size < first_size || size > dst_size)
        return EINVAL;
    memcpy(dst, src, size);
    memcpy(dst, &dst_size, sizeof dst_size);
    return 0;
}

#endif
