/* What an RTMP broadcaster sends, piece by piece, for tests of ingest/. */
#ifndef TESTS_UNIT_RTMP_CLIENT_H
#define TESTS_UNIT_RTMP_CLIENT_H

#include <string.h>

#include "core/buf.h"
#include "ingest/amf.h"
#include "ingest/chunk.h"

enum { CLIENT_CHUNK = 128 };

static inline void client_hello(struct buf *b)
{
    static const uint8_t zeros[2 * 1536];

    buf_be(b, 3, 1);
    buf_add(b, zeros, sizeof zeros);
}

static inline void client_msg(struct buf *b, unsigned csid, uint8_t type, uint32_t msid,
                              uint32_t ts_ms, const void *body, size_t n)
{
    static const uint8_t none[1];

    chunk_put(b, csid,
              &(struct rtmp_msg){
                  .type = type, .msid = msid, .ts_ms = ts_ms, .body = n > 0 ? body : none, .n = n },
              CLIENT_CHUNK);
}

/* args: AMF after the transaction. */
static inline void client_command(struct buf *b, uint32_t msid, const char *name, double txn,
                                  const struct buf *args)
{
    struct buf body;

    buf_init(&body, 1 << 20);
    amf_put_string(&body, name);
    amf_put_number(&body, txn);
    if (args != NULL)
        buf_add(&body, args->data, args->len);
    client_msg(b, 3, RTMP_COMMAND, msid, 0, body.data, body.len);
    buf_fini(&body);
}

static inline void client_connect(struct buf *b, const char *app)
{
    struct buf args;

    buf_init(&args, 1 << 16);
    amf_put_object(&args);
    amf_put_key(&args, "app");
    amf_put_string(&args, app);
    amf_put_key(&args, "flashVer");
    amf_put_string(&args, "FMLE/3.0");
    amf_put_key(&args, "objectEncoding");
    amf_put_number(&args, 0);
    amf_put_end(&args);
    client_command(b, 0, "connect", 1, &args);
    buf_fini(&args);
}

/* null and a string, or a number when text is NULL. */
static inline void client_call(struct buf *b, uint32_t msid, const char *name, double txn,
                               const char *text, double number)
{
    struct buf args;

    buf_init(&args, 1 << 16);
    amf_put_null(&args);
    if (text != NULL)
        amf_put_string(&args, text);
    else if (number >= 0)
        amf_put_number(&args, number);
    client_command(b, msid, name, txn, &args);
    buf_fini(&args);
}

/* Everything up to publish, as FFmpeg does it. */
static inline void client_publish(struct buf *b, const char *app, const char *key)
{
    client_hello(b);
    client_connect(b, app);
    client_call(b, 0, "releaseStream", 2, key, -1);
    client_call(b, 0, "FCPublish", 3, key, -1);
    client_call(b, 0, "createStream", 4, NULL, -1);
    client_call(b, 1, "publish", 5, key, -1);
}

#define CLIENT_AVC                                                                               \
    "\x17\0\0\0\0\x01\x64\0\x1f\xff\xe1\0\x1a\x67\x64\0\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\0\0" \
    "\x03\0\x10\0\0\x03\x03\xc0\xf1\x83\x19\x60\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0"
#define CLIENT_AAC "\xaf\0\x12\x10"

static inline void client_video(struct buf *b, uint32_t ts_ms, const char *body, size_t n)
{
    client_msg(b, 6, RTMP_VIDEO, 1, ts_ms, body, n);
}

static inline void client_audio(struct buf *b, uint32_t ts_ms, const char *body, size_t n)
{
    client_msg(b, 4, RTMP_AUDIO, 1, ts_ms, body, n);
}

static inline void client_headers(struct buf *b, uint32_t ts_ms)
{
    client_video(b, ts_ms, CLIENT_AVC, sizeof CLIENT_AVC - 1);
    client_audio(b, ts_ms, CLIENT_AAC, sizeof CLIENT_AAC - 1);
}

#endif
