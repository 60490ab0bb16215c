#include "tests/load/request.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Copies a header's value if the line has that name. */
static void header(const char *line, const char *name, char *dst, size_t cap)
{
    size_t n = strlen(name);

    if (strncasecmp(line, name, n) == 0 && line[n] == ':')
        (void)snprintf(dst, cap, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
}

enum st request_parse(struct request *r, char *head)
{
    char *save = NULL, *line = strtok_r(head, "\r\n", &save);
    char method[8] = "", version[12] = "", connection[64] = "", length[24] = "", coding[24] = "";

    *r = (struct request){ 0 };
    if (line == NULL || sscanf(line, "%7s %4095s %11s", method, r->target, version) != 3)
        return ST_EPROTO;
    r->head_only = strcmp(method, "HEAD") == 0;
    r->http10 = strcmp(version, "HTTP/1.0") == 0;
    if ((!r->head_only && strcmp(method, "GET") != 0) || r->target[0] != '/' ||
        (!r->http10 && strcmp(version, "HTTP/1.1") != 0))
        return ST_EPROTO;
    for (const char *p = r->target; *p != '\0'; p++) {
        if (*p < '!' || *p > '~' || *p == '"' || *p == '\\')
            return ST_EPROTO; /* the path is printed in JSON */
    }
    while ((line = strtok_r(NULL, "\r\n", &save)) != NULL) {
        header(line, "Range", r->range, sizeof r->range);
        header(line, "If-Range", r->if_range, sizeof r->if_range);
        header(line, "If-None-Match", r->if_none_match, sizeof r->if_none_match);
        header(line, "Connection", connection, sizeof connection);
        header(line, "Content-Length", length, sizeof length);
        header(line, "Transfer-Encoding", coding, sizeof coding);
    }
    if ((length[0] != '\0' && strcmp(length, "0") != 0) || coding[0] != '\0')
        return ST_EPROTO; /* bodies are none of our business, and would be read as requests */
    r->close = strcasestr(connection, "close") != NULL ||
               (r->http10 && strcasestr(connection, "keep-alive") == NULL);
    return ST_OK;
}
