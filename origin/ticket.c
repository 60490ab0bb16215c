#include "origin/ticket.h"

#include <string.h>

bool ticket_good(const struct ticket *t)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

    return memchr(t->session, '\0', sizeof t->session) == t->session + TICKET_SESSION_LEN &&
           strspn(t->session, digits) == TICKET_SESSION_LEN && t->epoch <= TICKET_EPOCH_MAX &&
           t->ast_s >= 0 && t->ast_s <= TICKET_AST_MAX && t->k >= 0 && t->k <= TICKET_K_MAX &&
           t->high <= TICKET_HIGH_MAX;
}
