/* core/record: a body read in pieces says the same as the body read whole, and what was read can
 * be written and says the same again. The first byte chooses the pieces. */
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/hash.h"
#include "core/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 24, RECORD_LIMIT = 1 << 16 };

/* Adds what the reader says to `said`, and the records themselves to `copy`. */
static enum st feed(struct record_reader *r, const uint8_t *p, size_t n, struct buf *said,
                    struct buf *copy)
{
    uint8_t *own = malloc(n > 0 ? n : 1); /* exact size: ASan sees over-reads */
    struct record_event ev;
    struct rd in;
    enum st st;

    CHECK(own != NULL);
    memcpy(own, p, n);
    in = rd_init(own, n);
    while ((st = record_next(r, &in, &ev)) == ST_OK) {
        if (ev.what == RECORD_GOT_HEAD) {
            char *json = json_dumps(ev.json, JSON_COMPACT);

            CHECK(json != NULL && ev.head.payload <= RECORD_LIMIT);
            buf_printf(said, "%s %u %" PRIu64 " %zu %s ", record_type_name(ev.head.type),
                       (unsigned)ev.head.flags, ev.head.seq, ev.head.payload, json);
            record_put(copy, ev.head.type, ev.head.flags, ev.head.seq, ev.json, ev.head.payload);
            free(json);
        } else if (ev.what == RECORD_GOT_BYTES) {
            CHECK(ev.n > 0 && ev.n <= ev.head.payload);
            for (size_t i = 0; i < ev.n; i++)
                buf_printf(said, "%02x", (unsigned)ev.bytes[i]);
            buf_add(copy, ev.bytes, ev.n);
        } else {
            buf_puts(said, "\n");
        }
    }
    CHECK(st != ST_MORE || rd_left(&in) == 0);
    free(own);
    return st;
}

static enum st read_all(const uint8_t *p, size_t n, unsigned pieces, struct buf *said,
                        struct buf *copy)
{
    struct record_reader r;
    uint64_t seed = pieces;
    enum st st = ST_MORE;

    record_reader_init(&r, RECORD_LIMIT);
    for (size_t at = 0, len = n; at < n && st == ST_MORE; at += len) {
        if (pieces != 0) {
            seed = hash_mix(seed + at);
            len = 1 + (size_t)(seed % (pieces < 128 ? pieces : pieces * 4));
        }
        if (len > n - at)
            len = n - at;
        st = feed(&r, p + at, len, said, copy);
    }
    if (st == ST_MORE)
        st = record_reader_end(&r);
    record_reader_fini(&r);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts, again, copy, rest;
    enum st st;

    if (size == 0 || size > 1 << 17)
        return 0;
    buf_init(&whole, LIMIT);
    buf_init(&parts, LIMIT);
    buf_init(&again, LIMIT);
    buf_init(&copy, LIMIT);
    buf_init(&rest, LIMIT);
    st = read_all(data + 1, size - 1, 0, &whole, &copy);
    CHECK(read_all(data + 1, size - 1, data[0] + 1u, &parts, &rest) == st);
    CHECK(whole.st == ST_OK && strcmp(buf_text(&whole), buf_text(&parts)) == 0);
    CHECK(copy.len == rest.len);
    if (st == ST_OK && copy.st == ST_OK && copy.len > 0) {
        buf_reset(&rest);
        CHECK(read_all(copy.data, copy.len, 0, &again, &rest) == ST_OK);
        CHECK(strcmp(buf_text(&whole), buf_text(&again)) == 0);
    }
    buf_fini(&whole);
    buf_fini(&parts);
    buf_fini(&again);
    buf_fini(&copy);
    buf_fini(&rest);
    return 0;
}
