/* gen_config_doc > doc/CONFIG.md, or gen_config_doc --check FILE: is FILE what I would print? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf.h"

static int compare(const char *path, const char *want, size_t len)
{
    FILE *f = fopen(path, "re");
    size_t at = 0, line = 1;
    int c;

    if (f == NULL) {
        perror(path);
        return 1;
    }
    while ((c = fgetc(f)) != EOF && at < len && want[at] == (char)c) {
        line += c == '\n';
        at++;
    }
    (void)fclose(f);
    if (c == EOF && at == len)
        return 0;
    (void)fprintf(stderr,
                  "%s:%zu: differs from the table in core/conf_table.c; build the target "
                  "config_doc\n",
                  path, line);
    return 1;
}

int main(int argc, char **argv)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int rc = 0;

    if (f == NULL)
        return 1;
    conf_doc(f);
    if (fclose(f) != 0)
        return 1;
    if (argc == 3 && strcmp(argv[1], "--check") == 0)
        rc = compare(argv[2], text, len);
    else
        rc = fputs(text, stdout) < 0 || fflush(stdout) != 0;
    free(text);
    return rc;
}
