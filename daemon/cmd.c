#include "daemon/cmd.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/conf.h"
#include "daemon/admin.h"
#include "daemon/box.h"

void cmd_print_json(json_t *j)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;

    (void)puts(text != NULL ? text : "{\"ok\":false,\"error\":\"out of memory\"}");
    free(text);
    json_decref(j);
}

struct conf *cmd_conf(const struct cmd_args *a, FILE *report)
{
    struct conf *c;

    if (a->config == NULL)
        return box_conf(a->state_dir, a->runtime_dir, report);
    return conf_load(a->config, 1, &c, report) == ST_OK ? c : NULL;
}

/* The process is where its configuration says; none given: where the box's does. */
static enum st find(const struct cmd_args *a, const char *command, json_t **answer, struct err *err,
                    FILE *report)
{
    const struct conf *where;
    struct conf *c;
    enum st st;

    if (a->runtime_dir != NULL)
        return admin_ask(a->runtime_dir, command, answer, err);
    if ((c = cmd_conf(a, report)) == NULL)
        return ST_ECONF;
    where = c;
    st = admin_ask(c->runtime_dir, command, answer, err);
    conf_unref(&where);
    return st;
}

json_t *cmd_ask(const struct cmd_args *a, const char *command)
{
    struct err err = { .text = "" };
    char *report = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&report, &len);
    json_t *answer = NULL;
    const char *said;

    if (f == NULL || find(a, command, &answer, &err, f) != ST_OK) {
        if (f != NULL && err.text[0] != '\0')
            (void)fprintf(f, "%s\n", err.text);
    }
    if (f == NULL || fclose(f) != 0 || report == NULL) {
        (void)fputs("out of memory\n", stderr);
        json_decref(answer);
        return NULL;
    }
    if (answer != NULL && json_is_true(json_object_get(answer, "ok"))) {
        free(report);
        return answer;
    }
    said = answer != NULL ? json_string_value(json_object_get(answer, "error")) : report;
    (void)fputs(said != NULL ? said : "the process gave no reason\n", stderr);
    if (a->json)
        cmd_print_json(json_pack("{s:b, s:s?}", "ok", 0, "error", said));
    json_decref(answer);
    free(report);
    return NULL;
}
