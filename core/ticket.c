#include "core/ticket.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/h2.h"

bool ticket_good(const struct ticket *t)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

    return memchr(t->session, '\0', sizeof t->session) == t->session + TICKET_SESSION_LEN &&
           strspn(t->session, digits) == TICKET_SESSION_LEN && t->epoch <= TICKET_EPOCH_MAX &&
           t->ast_s >= 0 && t->ast_s <= TICKET_AST_MAX && t->k >= 0 && t->k <= TICKET_K_MAX &&
           t->high <= TICKET_HIGH_MAX;
}

enum field { SESSION, EPOCH, AST, PERIOD, HIGH };

static const struct {
    const char *text;
    uint16_t len;
} names[TICKET_FIELDS] = { [SESSION] = { "freshet-session", 15 },
                           [EPOCH] = { "freshet-epoch", 13 },
                           [AST] = { "freshet-ast", 11 },
                           [PERIOD] = { "freshet-period", 14 },
                           [HIGH] = { "freshet-high", 12 } };

void ticket_put(const struct ticket *t, struct ticket_text *text, struct h2_nv *nv)
{
    (void)snprintf(text->v[SESSION], TICKET_TEXT, "%s", t->session);
    (void)snprintf(text->v[EPOCH], TICKET_TEXT, "%" PRIu64, t->epoch);
    (void)snprintf(text->v[AST], TICKET_TEXT, "%" PRId64, t->ast_s);
    (void)snprintf(text->v[PERIOD], TICKET_TEXT, "%" PRId64, t->k);
    (void)snprintf(text->v[HIGH], TICKET_TEXT, "%" PRIu64, t->high);
    for (int i = 0; i < TICKET_FIELDS; i++)
        nv[i] = (struct h2_nv){ .name = names[i].text,
                                .value = text->v[i],
                                .name_len = names[i].len,
                                .value_len = (uint32_t)strlen(text->v[i]),
                                .once = true };
}

static enum st number(const char *p, size_t n, uint64_t *out)
{
    *out = 0;
    if (n == 0 || n > 18)
        return ST_EPROTO;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return ST_EPROTO;
        *out = *out * 10 + (uint64_t)(p[i] - '0');
    }
    return ST_OK;
}

enum st ticket_set(struct ticket *t, const char *name, size_t name_len, const char *value,
                   size_t value_len)
{
    uint64_t v = 0;
    int i = 0;

    while (i < TICKET_FIELDS &&
           (names[i].len != name_len || memcmp(names[i].text, name, name_len) != 0))
        i++;
    if (i == TICKET_FIELDS)
        return ST_ENOENT;
    if (i == SESSION ? value_len != TICKET_SESSION_LEN : number(value, value_len, &v) != ST_OK)
        return ST_EPROTO;
    switch ((enum field)i) {
    case SESSION:
        memcpy(t->session, value, TICKET_SESSION_LEN);
        break;
    case EPOCH:
        t->epoch = v;
        break;
    case AST:
        t->ast_s = (int64_t)v;
        break;
    case PERIOD:
        t->k = (int64_t)v;
        break;
    case HIGH:
        t->high = v;
        break;
    }
    return ST_OK;
}
