#include "edge/breaker.h"

#include <string.h>

bool breaker_allows(struct breaker *b, uint64_t now_us)
{
    if (b->open_us == 0)
        return true;
    if (now_us < b->open_us)
        return false;
    if (b->trial_us != 0 && now_us - b->trial_us < BREAKER_TRIAL_US)
        return false;
    b->trial_us = now_us;
    return true;
}

static void note(struct breaker *b, uint64_t now_us, bool ok)
{
    uint64_t s = now_us / SEC_US;
    unsigned i = (unsigned)(s % BREAKER_SLOTS);

    if (b->slot_s[i] != s) {
        b->slot_s[i] = s;
        b->ok[i] = b->bad[i] = 0;
    }
    b->ok[i] += ok;
    b->bad[i] += !ok;
}

void breaker_recent(const struct breaker *b, uint64_t now_us, unsigned *ok, unsigned *bad)
{
    uint64_t s = now_us / SEC_US;

    *ok = *bad = 0;
    for (unsigned i = 0; i < BREAKER_SLOTS; i++) {
        if (b->slot_s[i] + BREAKER_SLOTS <= s)
            continue;
        *ok += b->ok[i];
        *bad += b->bad[i];
    }
}

static bool mostly_bad(const struct breaker *b, uint64_t now_us)
{
    unsigned ok, bad;

    breaker_recent(b, now_us, &ok, &bad);
    return ok + bad >= BREAKER_MIN && bad > ok;
}

void breaker_result(struct breaker *b, uint64_t now_us, bool ok)
{
    bool trial = b->trial_us != 0;

    b->trial_us = 0;
    if (ok && trial) {
        memset(b, 0, sizeof *b); /* what was before says nothing any more */
        return;
    }
    note(b, now_us, ok);
    b->row = ok ? 0 : b->row + 1;
    if (!ok && (trial || b->row >= BREAKER_ROW || mostly_bad(b, now_us)))
        b->open_us = now_us + BREAKER_OPEN_US;
}

void breaker_undecided(struct breaker *b) { b->trial_us = 0; }
