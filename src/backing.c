/* SPDX-License-Identifier: MIT
 * What is common to all backings: their end. Each stock backing has its own file in backings/.
 */
#include "backing_private.h"

void bp_backing_destroy(bp_backing *backing)
{
    if (backing != NULL && BACKING_HAS(backing->ops, destroy))
        backing->ops->destroy(backing);
}
