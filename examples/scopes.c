/* SPDX-License-Identifier: MIT
 *
 * Nested lifetimes. A unit of work reads a file; each of its lines has scratch of its own, gone when the
 * line is done; a mark takes back a result that is not wanted; a cleanup closes the file. Nothing below
 * has anything to free, whichever way it returns.
 */
#include <bumpool.h>

#include <stdio.h>
#include <string.h>

static int files_open;

static void close_file(void *file)
{
    fclose(file);
    files_open--;
}

/* A file that is closed when `a` drops what was allocated up to here. */
static FILE *open_input(bp_arena *a)
{
    FILE *file = tmpfile();

    if (file == NULL)
        return NULL;
    files_open++;
    if (bp_arena_on_reset(a, close_file, file) != 0) {
        close_file(file);
        return NULL;
    }
    fputs("to be or not to be\nthat is the question\n", file);
    rewind(file);
    return file;
}

/* The words of `line` in reverse, in `result`; what that takes is in `scratch`, and dropped on return. */
static const char *reversed(bp_arena *result, bp_arena *scratch, char *line)
{
    BP_ARENA_SCOPE(scratch);
    char *text = bp_arena_strdup(scratch, ""), *rest, *word;

    for (; text != NULL && (word = strtok_r(line, " \n", &rest)) != NULL; line = NULL)
        text = bp_arena_printf(scratch, "%s%s%s", word, *text != '\0' ? " " : "", text);
    return text != NULL ? bp_arena_strdup(result, text) : NULL;
}

static int unit_of_work(bp_pool *pool)
{
    BP_POOL_SCOPE(a, pool);
    BP_POOL_SCOPE(scratch, pool);
    char line[80];
    FILE *file;

    if (a == NULL || scratch == NULL || (file = open_input(a)) == NULL)
        return 1;
    while (fgets(line, sizeof line, file) != NULL) {
        bp_mark before = bp_arena_mark(a);
        const char *text = reversed(a, scratch, line);

        if (text == NULL || bp_arena_used(scratch) != 0)
            return 1;
        puts(text);
        if (strlen(text) < 20) /* too short to be kept */
            bp_arena_rewind(a, before);
    }
    return 0;
}

int main(void)
{
    bp_pool *pool;
    int failed;

    if (bp_pool_create(NULL, NULL, &pool) != 0)
        return 1;
    failed = unit_of_work(pool) || files_open != 0; /* giving `a` back has closed the file */
    return bp_pool_destroy(pool) != 0 || failed;
}
