/* SPDX-License-Identifier: MIT
 * Traces.
 *
 * A trace file comes from anywhere, so nothing in it is believed: parsing makes two walks over the bytes, the
 * first of which checks every number and counts, and only then is memory taken, for what was really there.
 * Every number takes at least one byte, which bounds that memory by the file's length. Compressed files
 * go through xz in a process of its own, fed by file descriptor, so that no shell and no file name is
 * involved.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char MAGIC[] = "UNITTRACE1\n";
#define MAGIC_LENGTH (sizeof(MAGIC) - 1)

static const unsigned char XZ_MAGIC[6] = {0xfd, '7', 'z', 'X', 'Z', 0};

struct reader {
    const unsigned char *data;
    size_t length, at;
    const char *trouble; /* why the last number could not be read */
};

static bool read_number(struct reader *r, uint64_t *out)
{
    uint64_t value = 0;
    unsigned shift = 0;

    for (;;) {
        unsigned char byte;

        if (r->at == r->length) {
            r->trouble = "the file ends in the middle";
            return false;
        }
        byte = r->data[r->at++];
        if (shift > 63 || (shift == 63 && (byte & 0x7f) > 1)) {
            r->trouble = "a number is larger than 64 bits";
            return false;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
        shift += 7;
    }
    *out = value;
    return true;
}

static size_t round_up_16(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

static int bad_number(const char *name, const struct reader *r)
{
    complain("%s: %s (at byte %zu)", name, r->trouble, r->at);
    return BAD_INPUT;
}

/* Checks all of it and fills in the counts and sums. */
static int check(const char *name, const unsigned char *data, size_t length, struct trace *t)
{
    struct reader r = {data, length, MAGIC_LENGTH, NULL};
    uint64_t units, count, size;

    if (length < MAGIC_LENGTH || memcmp(data, MAGIC, MAGIC_LENGTH) != 0) {
        complain(length == 0 ? "%s: empty file" : "%s: not a UNITTRACE1 trace", name);
        return BAD_INPUT;
    }
    if (!read_number(&r, &units))
        return bad_number(name, &r);
    if (units > length - r.at) {
        complain("%s: says %llu units, but only %zu bytes follow", name, (unsigned long long)units,
                 length - r.at);
        return BAD_INPUT;
    }
    if (units == 0) {
        complain("%s: holds no units", name);
        return BAD_INPUT;
    }
    for (uint64_t u = 0; u < units; u++) {
        size_t unit_bytes = 0;

        if (!read_number(&r, &count))
            return bad_number(name, &r);
        if (count > length - r.at) {
            complain("%s: unit %llu says %llu allocations, but only %zu bytes follow", name,
                     (unsigned long long)u + 1, (unsigned long long)count, length - r.at);
            return BAD_INPUT;
        }
        for (uint64_t i = 0; i < count; i++) {
            if (!read_number(&r, &size))
                return bad_number(name, &r);
            if (size > TRACE_MAX_UNIT_BYTES ||
                round_up_16((size_t)size) > TRACE_MAX_UNIT_BYTES - unit_bytes) {
                complain("%s: unit %llu asks for more than %zu MiB", name, (unsigned long long)u + 1,
                         TRACE_MAX_UNIT_BYTES >> 20);
                return BAD_INPUT;
            }
            unit_bytes += round_up_16(size > 0 ? (size_t)size : 1);
            t->bytes += size;
        }
        t->allocs += (size_t)count;
        if (unit_bytes > t->max_unit_bytes)
            t->max_unit_bytes = unit_bytes;
        if (count > t->max_unit_allocs)
            t->max_unit_allocs = (size_t)count;
    }
    t->units = (size_t)units;
    if (r.at < length) {
        complain("%s: %zu bytes too many after the last unit", name, length - r.at);
        return BAD_INPUT;
    }
    return DONE;
}

int trace_parse(const char *name, const unsigned char *data, size_t length, struct trace *out)
{
    struct trace t = {0};
    struct reader r = {data, length, MAGIC_LENGTH, NULL};
    uint64_t number = 0;
    size_t at = 0;
    int status;

    memset(out, 0, sizeof(*out));
    status = check(name, data, length, &t);
    if (status != DONE)
        return status;
    t.counts = calloc(t.units, sizeof(*t.counts));
    t.sizes = calloc(t.allocs + 1, sizeof(*t.sizes));
    if (t.counts == NULL || t.sizes == NULL) {
        complain("%s: not enough memory for %zu allocations", name, t.allocs);
        trace_free(&t);
        return BAD_INPUT;
    }
    (void)read_number(&r, &number);
    for (size_t u = 0; u < t.units; u++) {
        (void)read_number(&r, &number);
        t.counts[u] = (uint32_t)number;
        for (uint32_t i = t.counts[u]; i > 0; i--) {
            (void)read_number(&r, &number);
            t.sizes[at++] = number > 0 ? (uint32_t)number : 1;
        }
    }
    *out = t;
    return DONE;
}

/* Reads `fd` to its end. Gives up early on what cannot be a trace, so that an endless device ends too. */
static int slurp(const char *name, int fd, unsigned char **data, size_t *length)
{
    size_t room = 65536, used = 0;
    unsigned char *buffer = malloc(room);

    while (buffer != NULL) {
        ssize_t got = read(fd, buffer + used, room - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            complain("%s: %s", name, strerror(errno));
            free(buffer);
            return BAD_INPUT;
        }
        if (got == 0) {
            *data = buffer;
            *length = used;
            return DONE;
        }
        used += (size_t)got;
        if (used >= MAGIC_LENGTH && memcmp(buffer, MAGIC, MAGIC_LENGTH) != 0) {
            complain("%s: not a UNITTRACE1 trace", name);
            free(buffer);
            return BAD_INPUT;
        }
        if (used == room) {
            unsigned char *larger;

            if (room >= TRACE_MAX_FILE) {
                complain("%s: larger than %zu MiB", name, TRACE_MAX_FILE >> 20);
                free(buffer);
                return BAD_INPUT;
            }
            larger = realloc(buffer, room * 2);
            if (larger == NULL)
                break;
            buffer = larger;
            room *= 2;
        }
    }
    complain("%s: not enough memory to read it", name);
    free(buffer);
    return BAD_INPUT;
}

/* `xz -dc` from `fd` into a new pipe. */
static int start_xz(int fd, int *pipe_out, pid_t *pid)
{
    char *const argv[] = {(char[]){"xz"}, (char[]){"-dc"}, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], error;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    error = posix_spawn_file_actions_init(&actions);
    if (error != 0) {
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    error = posix_spawn_file_actions_adddup2(&actions, fd, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    if (error == 0) /* one line of ours is enough */
        error = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    if (error == 0)
        error = posix_spawnp(pid, "xz", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (error != 0)
        close(ends[0]);
    else
        *pipe_out = ends[0];
    return error;
}

static int slurp_xz(const char *name, int fd, unsigned char **data, size_t *length)
{
    int from = -1, error, status, code;
    pid_t pid, done;

    error = start_xz(fd, &from, &pid);
    if (error != 0) {
        complain("%s: cannot run xz to decompress it: %s", name, strerror(error));
        return BAD_INPUT;
    }
    code = slurp(name, from, data, length);
    close(from); /* an xz with more to say is stopped by SIGPIPE */
    do {
        done = waitpid(pid, &status, 0);
    } while (done < 0 && errno == EINTR);
    if (code == DONE && (done != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        complain("%s: xz cannot decompress it", name);
        free(*data);
        code = BAD_INPUT;
    }
    return code;
}

int trace_read(const char *path, struct trace *out)
{
    unsigned char start[sizeof(XZ_MAGIC)], *data;
    size_t length;
    ssize_t got;
    int fd, status;

    memset(out, 0, sizeof(*out));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain("%s: %s", path, strerror(errno));
        return BAD_INPUT;
    }
    /* by content, not by name; what cannot be read at an offset (a pipe) is taken as plain */
    got = pread(fd, start, sizeof(start), 0);
    if (got == (ssize_t)sizeof(start) && memcmp(start, XZ_MAGIC, sizeof(start)) == 0)
        status = slurp_xz(path, fd, &data, &length);
    else
        status = slurp(path, fd, &data, &length);
    close(fd);
    if (status != DONE)
        return status;
    status = trace_parse(path, data, length, out);
    free(data);
    return status;
}

static bool write_number(FILE *out, uint64_t value)
{
    while (value >= 0x80) {
        if (putc((int)(value & 0x7f) | 0x80, out) == EOF)
            return false;
        value >>= 7;
    }
    return putc((int)value, out) != EOF;
}

bool trace_write(const struct trace *trace, FILE *out)
{
    const uint32_t *size = trace->sizes;

    if (fwrite(MAGIC, 1, MAGIC_LENGTH, out) != MAGIC_LENGTH || !write_number(out, trace->units))
        return false;
    for (size_t u = 0; u < trace->units; u++) {
        if (!write_number(out, trace->counts[u]))
            return false;
        for (uint32_t i = 0; i < trace->counts[u]; i++) {
            if (!write_number(out, *size++))
                return false;
        }
    }
    return fflush(out) == 0;
}

void trace_free(struct trace *trace)
{
    free(trace->counts);
    free(trace->sizes);
    memset(trace, 0, sizeof(*trace));
}

/* Makes room for one more element of an array of numbers. */
static bool make_room(uint32_t **array, size_t used, size_t *room)
{
    size_t more = *room > 0 ? *room * 2 : 1024;
    uint32_t *larger;

    if (used < *room)
        return true;
    larger = reallocarray(*array, more, sizeof(**array));
    if (larger == NULL)
        return false;
    *array = larger;
    *room = more;
    return true;
}

bool trace_builder_unit(struct trace_builder *builder)
{
    struct trace *t = &builder->trace;

    if (!make_room(&t->counts, t->units, &builder->units_room))
        return false;
    t->counts[t->units++] = 0;
    builder->unit_bytes = 0;
    return true;
}

bool trace_builder_alloc(struct trace_builder *builder, size_t size)
{
    struct trace *t = &builder->trace;
    uint32_t *count = &t->counts[t->units - 1];

    if (size > TRACE_MAX_UNIT_BYTES || round_up_16(size) > TRACE_MAX_UNIT_BYTES - builder->unit_bytes)
        return false;
    if (!make_room(&t->sizes, t->allocs, &builder->allocs_room))
        return false;
    t->sizes[t->allocs++] = (uint32_t)size;
    t->bytes += size;
    builder->unit_bytes += round_up_16(size);
    if (builder->unit_bytes > t->max_unit_bytes)
        t->max_unit_bytes = builder->unit_bytes;
    if (++*count > t->max_unit_allocs)
        t->max_unit_allocs = *count;
    return true;
}
