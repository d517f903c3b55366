/* SPDX-License-Identifier: MIT
 * The options that subcommands with tables of pairs share: lists of names, numbers, the CSV file.
 */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pool_choose(const struct pool_options *o, const char *what, const char *list, size_t count,
                const char *(*name_of)(size_t), bool *chosen)
{
    for (;;) {
        size_t length = strcspn(list, ","), i = 0;

        while (i < count && (strncmp(name_of(i), list, length) != 0 || name_of(i)[length] != '\0'))
            i++;
        if (i == count) {
            complain("no %s \"%.*s\"; see " PROGRAM " %s --help", what, (int)length, list, o->workload);
            return BAD_INPUT;
        }
        chosen[i] = true;
        if (list[length] == '\0')
            return DONE;
        list += length + 1;
    }
}

int pool_read_number(const char *option, const char *text, size_t most, size_t *out)
{
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value == 0 || value > most) {
        complain("--%s: \"%s\" is not a number from 1 to %zu", option, text, most);
        return BAD_INPUT;
    }
    *out = (size_t)value;
    return DONE;
}

int pool_open_csv(struct pool_options *o)
{
    o->out = stdout;
    if (o->csv_path == NULL)
        return DONE;
    if (strcmp(o->csv_path, "-") == 0) {
        o->csv = stdout;
        o->out = stderr;
    } else {
        o->csv = fopen(o->csv_path, "we");
    }
    if (o->csv != NULL) {
        fputs("workload,case,contestant,metric,median,min,max\n", o->csv);
        return DONE;
    }
    complain("%s: %s", o->csv_path, strerror(errno));
    return FAILED;
}

int pool_close_csv(struct pool_options *o)
{
    bool bad;

    if (o->csv == NULL || o->csv == stdout) /* which is main's to look after */
        return DONE;
    bad = ferror(o->csv) != 0;
    if (fclose(o->csv) == 0 && !bad)
        return DONE;
    complain("cannot write %s: %s", o->csv_path, strerror(errno != 0 ? errno : EIO));
    return FAILED;
}
