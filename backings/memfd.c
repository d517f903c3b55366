/* SPDX-License-Identifier: MIT
 * The memfd backing: memory that other processes can map. Each extent is a file of its own, mapped shared.
 *
 * The file is sealed against changes of its size: whoever has its descriptor can write to it, but nobody
 * can cut it short, which would make an access to the extent a SIGBUS, or enlarge it. Its offset 0 is the
 * extent's base. A fresh file reads as zero and takes memory where it is touched.
 *
 * Release makes holes, which read as zero, in the file itself: the memory is free, and the zeros are there
 * for every process that maps it.
 *
 * `data` of an extent is a node in the backing's list, which bp_backing_memfd_find walks. The list is under
 * os_list_lock, system calls are not. An extent leaves the list before its descriptor is closed, so that find
 * never tells a number that is somebody else's by then.
 *
 * A child of fork has the same files mapped and descriptors of its own for them. Its list is its own: what it
 * disposes of goes away in the child alone. What it writes or releases is seen by its parent.
 */
#include <bumpool.h>

#include "configs.h"
#include "os_sync.h"
#include "pages.h"

#include <stdlib.h>

struct file {
    struct file *next, **link; /* link: what points to this one */
    char *base;
    size_t size;
    int fd;
};

struct memfd_backing {
    bp_backing backing;
    struct file *files; /* Sync: os_list_lock, the nodes' links too */
    char name[32];
};

static int map(const struct memfd_backing *b, size_t size, size_t align, struct file *f)
{
    void *base;

    if (!os_round_up(size, os_page_size(), &f->size) || os_memfd(b->name, f->size, &f->fd) != 0)
        return ENOMEM;
    if (os_map_file(f->fd, f->size, align, &base) != 0) {
        os_close(f->fd);
        return ENOMEM;
    }
    f->base = base;
    return 0;
}

static int memfd_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct memfd_backing *b = (struct memfd_backing *)self;
    int saved = errno;
    struct file *f = malloc(sizeof *f);

    os_restore_errno(saved);
    if (f == NULL)
        return ENOMEM;
    if (map(b, preferred, align, f) != 0 && (min == preferred || map(b, min, align, f) != 0)) {
        free(f);
        return ENOMEM;
    }
    os_list_lock();
    f->next = b->files;
    f->link = &b->files;
    if (f->next != NULL)
        f->next->link = &f->next;
    b->files = f;
    os_list_unlock();
    *out = (struct bp_extent){
        .base = f->base, .size = f->size, .committed = f->size, .page = os_page_size(), .data = f};
    return 0;
}

static void memfd_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct file *f = extent->data;

    (void)self;
    os_list_lock();
    *f->link = f->next;
    if (f->next != NULL)
        f->next->link = f->link;
    os_list_unlock();
    os_unmap_special(f->base, f->size);
    os_close(f->fd);
    free(f);
}

static int memfd_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                         size_t *released)
{
    size_t start, end;
    int err;

    (void)self;
    if (!pages_inside(extent, offset, length, &start, &end)) {
        *released = 0;
        return 0;
    }
    err = os_release_file((char *)extent->base + start, end - start);
    if (err != 0)
        return err;
    pages_are_zero(extent, start, end);
    *released = end - start;
    return 0;
}

static int memfd_populate(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length)
{
    (void)self;
    return pages_populate(extent, offset, length);
}

static void memfd_destroy(bp_backing *self)
{
    free(self);
}

static const struct bp_backing_ops memfd_ops = {
    .struct_size = sizeof(struct bp_backing_ops),
    .name = "memfd",
    .acquire = memfd_acquire,
    .dispose = memfd_dispose,
    .release = memfd_release,
    .populate = memfd_populate,
    .destroy = memfd_destroy,
};

/* Whether this process can have such files at all. Being short of something now is no reason against it. */
static bool can_make_files(void)
{
    int fd, err = os_memfd("bumpool", os_page_size(), &fd);

    if (err == 0)
        os_close(fd);
    return err == 0 || err == EMFILE || err == ENFILE || err == ENOMEM || err == EFBIG;
}

int bp_backing_memfd_create(const struct bp_memfd_config *config, bp_backing **out)
{
    struct bp_memfd_config c = BP_MEMFD_CONFIG_INIT;
    struct memfd_backing *b;
    int saved = errno;

    if (out == NULL || config_read(&c, sizeof c, sizeof c, config) != 0)
        return EINVAL;
    if (!can_make_files())
        return ENOSYS;
    b = malloc(sizeof *b);
    os_restore_errno(saved);
    if (b == NULL)
        return ENOMEM;
    *b = (struct memfd_backing){.backing = {&memfd_ops}};
    strncpy(b->name, c.name != NULL ? c.name : "bumpool", sizeof b->name - 1); /* the last byte stays 0 */
    *out = &b->backing;
    return 0;
}

int bp_backing_memfd_find(bp_backing *backing, const void *p, int *fd, size_t *offset, size_t *size)
{
    struct memfd_backing *b = (struct memfd_backing *)backing;
    uintptr_t at = (uintptr_t)p;
    struct file *f;
    int err = ENOENT;

    if (backing == NULL || backing->ops != &memfd_ops || p == NULL)
        return EINVAL;
    if (fd == NULL || offset == NULL || size == NULL)
        return EINVAL;
    os_list_lock();
    for (f = b->files; f != NULL && err != 0; f = f->next) {
        if (at - (uintptr_t)f->base < f->size) { /* wraps for an address below */
            *fd = f->fd;
            *offset = at - (uintptr_t)f->base;
            *size = f->size;
            err = 0;
        }
    }
    os_list_unlock();
    return err;
}
