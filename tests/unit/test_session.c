/* ingest/session: what broadcasters do, in pieces of any size, and what each bad one is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>
#include <sys/uio.h>

#include "core/check.h"
#include "ingest/session.h"
#include "tests/unit/rtmp_client.h"

struct world {
    struct rtmp_session *s;
    struct outq_pool pool;
    struct outq out;
    struct buf said;    /* what the sink saw */
    struct buf replies; /* what the broadcaster got */
    struct buf wire;
    struct rtmp_now now;
    enum { ACCEPT, LATER, BUSY } answer;
    int64_t base_ms;
    bool end_at_tag;
};

static bool on_app(void *ctx, const char *app)
{
    (void)ctx;
    return strcmp(app, "live") == 0;
}

static void on_publish(void *ctx, const struct auth_target *t)
{
    struct world *w = ctx;

    buf_printf(&w->said, "publish %s/%s;", t->app, t->stream);
    if (w->answer == ACCEPT)
        rtmp_session_accept(w->s, w->base_ms);
    else if (w->answer == BUSY)
        rtmp_session_refuse(w->s, METRIC_INGEST_CLOSE_BUSY, "somebody else is on");
}

static void on_mark(void *ctx, const struct flv_mark *m)
{
    struct world *w = ctx;

    buf_printf(&w->said, "mark %" PRIu64 "@%" PRId64 "%s;", m->tag, m->base_ms,
               m->discontinuity ? "!" : "");
    assert_true(m->arrival_us == w->now.wall_us);
}

static void on_tag(void *ctx, const struct flv_tag *t, const struct flv_media *m)
{
    struct world *w = ctx;

    assert_true((m == NULL) == (t->type == FLV_SCRIPT));
    buf_printf(&w->said, "%s%s@%" PRIu32 "/%zu;",
               t->type == FLV_VIDEO   ? "v"
               : t->type == FLV_AUDIO ? "a"
                                      : "d",
               m == NULL                 ? ""
               : m->packet == FLV_CONFIG ? "c"
               : m->packet == FLV_END    ? "e"
               : m->key                  ? "k"
                                         : "",
               t->ts_ms, t->n);
    if (w->end_at_tag)
        rtmp_session_end(w->s, METRIC_INGEST_CLOSE_KICKED, "enough");
}

static void on_unpublish(void *ctx, enum rtmp_how how)
{
    struct world *w = ctx;

    buf_puts(&w->said, how == RTMP_ENDED ? "ended;" : "dropped;");
}

static void on_refused(void *ctx, enum auth_why why)
{
    struct world *w = ctx;

    buf_printf(&w->said, "refused %d;", (int)why);
}

static const struct rtmp_ops ops = { .app = on_app,
                                     .publish = on_publish,
                                     .mark = on_mark,
                                     .tag = on_tag,
                                     .unpublish = on_unpublish,
                                     .refused = on_refused };

static void begin(struct world *w)
{
    static const struct rtmp_limits lim = RTMP_LIMITS_DEFAULT;

    *w = (struct world){ .now = { 1000000, 77 } };
    outq_init(&w->out, &w->pool);
    buf_init(&w->said, 1 << 16);
    buf_init(&w->replies, 1 << 20);
    buf_init(&w->wire, 1 << 26);
    w->s = rtmp_session_new(&ops, w, &w->out, 1, &lim);
    assert_non_null(w->s);
}

static void take_replies(struct world *w)
{
    struct iovec v[16];
    int n;

    while ((n = outq_iov(&w->out, v, 16)) > 0) {
        size_t sum = 0;

        for (int i = 0; i < n; i++) {
            buf_add(&w->replies, v[i].iov_base, v[i].iov_len);
            sum += v[i].iov_len;
        }
        outq_consume(&w->out, sum);
    }
}

static void finish(struct world *w)
{
    rtmp_session_free(&w->s);
    outq_clear(&w->out);
    outq_pool_fini(&w->pool);
    buf_fini(&w->said);
    buf_fini(&w->replies);
    buf_fini(&w->wire);
}

/* Feeds n bytes from exact-size copies. */
static enum st feed_bytes(struct world *w, const uint8_t *p, size_t n, size_t step)
{
    enum st st = ST_OK;

    for (size_t at = 0; at < n && st == ST_OK; at += step) {
        size_t len = n - at < step ? n - at : step;
        uint8_t *copy = malloc(len);
        struct rd in;

        memcpy(copy, p + at, len);
        in = rd_init(copy, len);
        st = rtmp_session_feed(w->s, &in, &w->now);
        if (w->answer != LATER)
            assert_true(st != ST_OK || rd_left(&in) == 0);
        take_replies(w);
        free(copy);
    }
    return st;
}

static enum st feed(struct world *w, size_t step)
{
    enum st st;

    assert_int_equal(w->wire.st, ST_OK);
    st = feed_bytes(w, w->wire.data, w->wire.len, step);
    buf_reset(&w->wire);
    return st;
}

/* The replies after the handshake, as text; forgets them. */
static void read_replies(struct world *w, struct buf *text)
{
    struct chunk_limits lim = { 1 << 20, 1 << 20, 1 << 20 };
    struct chunk_demux *d = chunk_demux_new(&lim);
    struct rtmp_msg m;
    struct rd in;

    assert_true(w->replies.len >= 3073);
    in = rd_init(w->replies.data + 3073, w->replies.len - 3073);
    while (chunk_next(d, &in, &m) == ST_OK) {
        struct amf a = amf_init(m.body, m.n);
        struct amf_event ev;
        struct rd body = rd_init(m.body, m.n);

        if (m.type != RTMP_COMMAND) {
            uint32_t v = rd_u32be(&body);

            buf_printf(text, "[%u %" PRIu32 "]", m.type, v);
            if (m.type == RTMP_SET_CHUNK_SIZE)
                assert_int_equal(chunk_demux_set_size(d, v), ST_OK);
            continue;
        }
        buf_printf(text, "[%" PRIu32, m.msid);
        while (amf_next(&a, &ev) == ST_OK) {
            if (ev.kind == AMF_STRING && (ev.depth == 0 || amf_key_is(&ev, "code")))
                buf_printf(text, " %.*s", (int)ev.n, (const char *)ev.s);
            else if (ev.kind == AMF_NUMBER && ev.depth == 0)
                buf_printf(text, " %g", ev.number);
            else if (amf_key_is(&ev, "videoFourCcInfoMap"))
                buf_puts(text, " caps");
        }
        buf_puts(text, "]");
    }
    assert_int_equal(chunk_why(d), CHUNK_GOOD);
    chunk_demux_free(&d);
}

static void expect_replies(struct world *w, const char *want)
{
    struct buf text;

    buf_init(&text, 10000);
    read_replies(w, &text);
    assert_string_equal(buf_text(&text), want);
    buf_fini(&text);
}

#define CONNECTED "[5 2500000][6 2500000][1 65536][0 _result 1 NetConnection.Connect.Success]"
#define STARTED                                                         \
    CONNECTED "[0 _result 2][0 _result 3][0 _result 4 1][1 onStatus 0 " \
              "NetStream.Publish.Start]"

static void a_broadcast_is_the_same_at_every_split_point(void **state)
{
    static const size_t steps[] = { 1, 2, 3, 5, 7, 64, 127, 128, 129, 1000, 1536, 4096, 1 << 20 };

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct world w;

        begin(&w);
        client_publish(&w.wire, "live", "show");
        client_headers(&w.wire, 500);
        client_video(&w.wire, 500, "\x17\1\0\0\0key", 8);
        client_audio(&w.wire, 510, "\xaf\1raw", 5);
        client_video(&w.wire, 540, "\x27\1\0\0\0frame", 10);
        client_call(&w.wire, 0, "FCUnpublish", 6, "show", -1);
        client_call(&w.wire, 0, "deleteStream", 7, NULL, 1);
        assert_int_equal(feed(&w, steps[i]), ST_OK);
        assert_string_equal(buf_text(&w.said),
                            "publish live/show;mark 0@0;vc@0/48;ac@0/4;vk@0/8;a@10/5;v@40/10;"
                            "ended;");
        expect_replies(&w, STARTED "[0 _result 6][0 _result 7]");
        assert_int_equal(rtmp_session_state(w.s), RTMP_COMMANDS);
        assert_int_equal(rtmp_session_stats(w.s)->frames[METRIC_MEDIA_VIDEO], 3);
        assert_string_equal(rtmp_session_client(w.s), "FMLE/3.0");
        finish(&w);
    }
}

static void the_server_hello_is_one_piece_and_waits_for_no_c2(void **state)
{
    static uint8_t hello[1537] = { 3 };
    struct world w;

    (void)state;
    begin(&w);
    assert_int_equal(feed_bytes(&w, hello, 1536, 100), ST_OK);
    assert_int_equal(w.replies.len, 0);
    assert_int_equal(feed_bytes(&w, hello + 1536, 1, 1), ST_OK);
    assert_int_equal(w.replies.len, 3073);
    finish(&w);
}

static void an_answer_may_take_its_time_and_no_byte_is_lost(void **state)
{
    struct world w;
    struct rd in;

    (void)state;
    begin(&w);
    w.answer = LATER;
    client_publish(&w.wire, "live", "show");
    client_headers(&w.wire, 0);
    in = rd_init(w.wire.data, w.wire.len);
    assert_int_equal(rtmp_session_feed(w.s, &in, &w.now), ST_OK);
    assert_int_equal(rtmp_session_state(w.s), RTMP_ASKED);
    assert_true(rd_left(&in) > 0);
    assert_int_equal(rtmp_session_feed(w.s, &in, &w.now), ST_OK); /* still nothing */
    assert_string_equal(buf_text(&w.said), "publish live/show;");
    rtmp_session_accept(w.s, 9000);
    assert_int_equal(rtmp_session_feed(w.s, &in, &w.now), ST_OK);
    assert_int_equal(rd_left(&in), 0);
    assert_string_equal(buf_text(&w.said), "publish live/show;mark 0@9000;vc@9000/48;ac@9000/4;");
    take_replies(&w);
    expect_replies(&w, STARTED);
    finish(&w);
}

static void a_second_publisher_never_reads_start(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    w.answer = BUSY;
    client_publish(&w.wire, "live", "show");
    assert_int_equal(feed(&w, 1 << 20), ST_EPROTO);
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_BUSY);
    expect_replies(&w, CONNECTED "[0 _result 2][0 _result 3][0 _result 4 1]"
                                 "[1 onStatus 0 NetStream.Publish.BadName]");
    assert_string_equal(buf_text(&w.said), "publish live/show;");
    finish(&w);
}

static void the_end_of_a_broadcast_is_told_from_a_pause(void **state)
{
    static const struct {
        const char *command;
        const char *text;
        double number;
        uint32_t msid;
        const char *said;
    } table[] = {
        { "FCUnpublish", "show", -1, 0, "ended;" }, { "deleteStream", NULL, 1, 0, "ended;" },
        { "deleteStream", NULL, 2, 0, "" },         { "closeStream", NULL, -1, 1, "dropped;" },
        { "closeStream", NULL, -1, 2, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct world w;

        begin(&w);
        client_publish(&w.wire, "live", "show");
        assert_int_equal(feed(&w, 1 << 20), ST_OK);
        buf_reset(&w.said);
        client_call(&w.wire, table[i].msid, table[i].command, 0, table[i].text, table[i].number);
        assert_int_equal(feed(&w, 1 << 20), ST_OK);
        assert_string_equal(buf_text(&w.said), table[i].said);
        buf_reset(&w.said);
        /* media of a broadcast that has ended goes nowhere, and the stream may begin again */
        client_headers(&w.wire, 0);
        client_call(&w.wire, 1, "publish", 0, "again", -1);
        if (table[i].said[0] != '\0') {
            assert_int_equal(feed(&w, 1 << 20), ST_OK);
            assert_string_equal(buf_text(&w.said), "publish live/again;");
        } else {
            assert_int_equal(feed(&w, 1 << 20), ST_EPROTO); /* publish while publishing */
            assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_COMMAND);
        }
        finish(&w);
    }
    struct world w;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    rtmp_session_end(w.s, METRIC_INGEST_CLOSE_PEER_RESET, NULL);
    assert_string_equal(buf_text(&w.said), "publish live/show;dropped;");
    finish(&w);
}

static void publish_false_is_a_pause_and_unknown_commands_get_a_result(void **state)
{
    struct world w;
    struct buf args;

    (void)state;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_call(&w.wire, 0, "_checkbw", 6, NULL, -1);
    client_call(&w.wire, 0, "whatIsThis", 7, NULL, -1);
    client_call(&w.wire, 0, "whatIsThis", 0, NULL, -1);
    client_call(&w.wire, 0, "_error", 9, NULL, -1);
    buf_init(&args, 100);
    amf_put_null(&args);
    amf_put_bool(&args, false);
    client_command(&w.wire, 1, "publish", 0, &args);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    expect_replies(&w, STARTED "[0 _result 6][0 _result 7]");
    assert_string_equal(buf_text(&w.said), "publish live/show;dropped;");
    buf_fini(&args);
    finish(&w);
}

static void enhanced_clients_hear_what_there_is(void **state)
{
    struct world w;
    struct buf args;

    (void)state;
    begin(&w);
    client_hello(&w.wire);
    buf_init(&args, 1000);
    amf_put_object(&args);
    amf_put_key(&args, "app");
    amf_put_string(&args, "live");
    amf_put_key(&args, "capsEx");
    amf_put_number(&args, 15);
    amf_put_end(&args);
    client_command(&w.wire, 0, "connect", 1, &args);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    expect_replies(&w, "[5 2500000][6 2500000][1 65536]"
                       "[0 _result 1 NetConnection.Connect.Success caps]");
    buf_fini(&args);
    finish(&w);
}

static void more_tracks_on_more_streams_are_taken_and_not_used(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_call(&w.wire, 0, "createStream", 6, NULL, -1);
    client_call(&w.wire, 2, "publish", 7, "Track 2", -1);
    client_headers(&w.wire, 0);
    client_msg(&w.wire, 5, RTMP_AUDIO, 2, 0, CLIENT_AAC, 4);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    expect_replies(&w, STARTED "[0 _result 6 2][2 onStatus 0 NetStream.Publish.Start]");
    assert_string_equal(buf_text(&w.said), "publish live/show;mark 0@0;vc@0/48;ac@0/4;");
    assert_int_equal(rtmp_session_stats(w.s)->dropped[METRIC_MEDIA_AUDIO], 1);
    finish(&w);
}

static void data_is_handed_on_and_ours_cannot_be_forged(void **state)
{
    static const char set[] = "\2\0\x0d@setDataFrame\2\0\x0aonMetaData\3\0\0\x09";
    static const char bare[] = "\2\0\x0aonMetaData\3\0\0\x09";
    static const char amf3[] = "\0\2\0\x0aonMetaData\3\0\0\x09";
    static const char forged[] = "\2\0\x08_freshet\3\0\0\x09";
    static const char wrapped[] = "\2\0\x0d@setDataFrame\2\0\x08_freshet\3\0\0\x09";
    struct world w;

    (void)state;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_msg(&w.wire, 4, RTMP_DATA, 1, 0, set, sizeof set - 1);
    client_msg(&w.wire, 4, RTMP_DATA, 1, 0, bare, sizeof bare - 1);
    client_msg(&w.wire, 4, RTMP_DATA_AMF3, 1, 0, amf3, sizeof amf3 - 1);
    client_msg(&w.wire, 4, RTMP_DATA, 1, 0, forged, sizeof forged - 1);
    client_msg(&w.wire, 4, RTMP_DATA, 1, 0, wrapped, sizeof wrapped - 1);
    client_msg(&w.wire, 4, RTMP_DATA, 1, 0, "\5", 1);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    assert_string_equal(buf_text(&w.said), "publish live/show;mark 0@0;d@0/17;d@0/17;d@0/17;");
    assert_int_equal(rtmp_session_stats(w.s)->dropped[METRIC_MEDIA_DATA], 3);
    finish(&w);
}

static void marks_come_each_second_and_where_the_clock_jumps(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_video(&w.wire, 0, CLIENT_AVC, sizeof CLIENT_AVC - 1);
    client_video(&w.wire, 999, "\x17\1\0\0\0k", 6);
    client_video(&w.wire, 1000, "\x27\1\0\0\0k", 6);
    client_video(&w.wire, 1999, "\x27\1\0\0\0k", 6);
    client_video(&w.wire, 100000, "\x27\1\0\0\0k", 6);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    assert_string_equal(buf_text(&w.said),
                        "publish live/show;mark 0@0;vc@0/48;vk@999/6;mark 2@1000;v@1000/6;"
                        "v@1999/6;mark 4@2000!;v@2000/6;");
    assert_int_equal(rtmp_session_stats(w.s)->timelines, 1);
    finish(&w);
}

static void broadcasts_go_on_over_the_24_and_32_bit_marks(void **state)
{
    static const uint32_t starts[] = { 16777000, UINT32_C(4294960000), UINT32_C(4294967000) };

    (void)state;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct world w;
        uint64_t n = 0;

        begin(&w);
        client_publish(&w.wire, "live", "show");
        client_headers(&w.wire, starts[i]);
        for (uint32_t ms = 0; ms < 9000; ms += 40)
            client_video(&w.wire, starts[i] + ms, "\x27\1\0\0\0k", 6);
        assert_int_equal(feed(&w, 333), ST_OK);
        assert_non_null(strstr(buf_text(&w.said), "v@8960/6;"));
        n = rtmp_session_stats(w.s)->frames[METRIC_MEDIA_VIDEO];
        assert_int_equal(n, 226);
        assert_int_equal(rtmp_session_stats(w.s)->timelines, 0);
        assert_int_equal(rtmp_session_stats(w.s)->repaired, 0);
        finish(&w);
    }
}

static void aggregates_are_split(void **state)
{
    /* 1000 ms in the message, its tags at 5000 and 5040 */
    static const char tags[] = "\x08\0\0\4\0\x13\x88\0\0\0\0" CLIENT_AAC "\0\0\0\x0f"
                               "\x08\0\0\3\0\x13\xb0\0\0\0\0\xaf\1x\0\0\0\x0e";
    static const char nested[] = "\x16\0\0\1\0\0\0\0\0\0\0x\0\0\0\x0c";
    struct world w;

    (void)state;
    for (size_t cut = 0; cut < sizeof tags; cut++) {
        size_t n = sizeof tags - 1 - cut;
        bool whole = cut == 0 || cut == 4 || n == 0 || n == 15 || n == 19;

        begin(&w);
        client_publish(&w.wire, "live", "show");
        client_msg(&w.wire, 4, RTMP_AGGREGATE, 1, 1000, tags, n);
        assert_int_equal(feed(&w, 1 << 20), whole ? ST_OK : ST_EPROTO);
        if (!whole)
            assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_AGGREGATE);
        if (cut == 0)
            assert_string_equal(buf_text(&w.said), "publish live/show;mark 0@0;ac@0/4;a@40/3;");
        finish(&w);
    }
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_msg(&w.wire, 4, RTMP_AGGREGATE, 1, 1000, nested, sizeof nested - 1);
    assert_int_equal(feed(&w, 1 << 20), ST_EPROTO);
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_AGGREGATE);
    finish(&w);
}

static void pings_and_windows_are_answered(void **state)
{
    static char frame[5000] = "\xaf\1";
    struct world w;

    (void)state;
    begin(&w);
    client_hello(&w.wire);
    client_msg(&w.wire, 2, RTMP_USER_CONTROL, 0, 0, "\0\6\1\2\3\4", 6);
    client_msg(&w.wire, 2, RTMP_USER_CONTROL, 0, 0, "\0\3\0\0\0\1\0\0\1\0", 10);
    client_msg(&w.wire, 2, RTMP_WINDOW_ACK_SIZE, 0, 0, "\0\0\x10\0", 4);
    client_msg(&w.wire, 2, RTMP_SET_PEER_BANDWIDTH, 0, 0, "\0\0\x10\0\2", 5);
    client_msg(&w.wire, 2, RTMP_ACK, 0, 0, "\0\0\x10\0", 4);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    expect_replies(&w, "[4 459010]");                      /* 0x00070102 */
    client_msg(&w.wire, 4, RTMP_AUDIO, 1, 0, frame, 3964); /* a byte less than the window */
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    expect_replies(&w, "[4 459010]");
    assert_int_equal(feed_bytes(&w, (const uint8_t *)"\4", 1, 1), ST_OK);
    expect_replies(&w, "[4 459010][3 4096]");
    finish(&w);
}

/* --- hostile --- */

static void put_raw(struct buf *b, const char *p, size_t n) { buf_add(b, p, n); }

static void hostile_sessions_are_closed_with_their_reason(void **state)
{
    static const struct {
        const char *what;
        int stage; /* 0 raw, 1 hands shaken, 2 connected, 3 publishing */
        const char *bytes;
        size_t n;
        enum metric_ingest_close why;
    } table[] = {
#define ROW(what, stage, why, bytes) \
    { what, stage, bytes, sizeof bytes - 1, METRIC_INGEST_CLOSE_##why }
        ROW("HTTP", 0, HTTP, "GET / HTTP/1.1\r\n"),
        ROW("TLS", 0, TLS, "\x16\3\1\2\0"),
        ROW("RTMPE", 0, RTMPE, "\6"),
        ROW("nonsense", 0, VERSION, "\xff"),
        ROW("type 3 first", 1, CHUNK_HEADER, "\xc3"),
        ROW("chunk size 0", 1, CHUNK_SIZE, "\2\0\0\0\0\0\4\1\0\0\0\0\0\0\0\0"),
        ROW("a control message that is short", 1, CONTROL, "\2\0\0\0\0\0\3\1\0\0\0\0\0\0\1"),
        ROW("a ping that is short", 1, CONTROL, "\2\0\0\0\0\0\4\4\0\0\0\0\0\6\0\0"),
        ROW("a long command before publish", 1, MESSAGE_SIZE, "\3\0\0\0\1\0\1\x14\0\0\0\0"),
        ROW("long media before publish", 2, MESSAGE_SIZE, "\4\0\0\0\1\0\1\x09\0\0\0\0"),
        ROW("a long command after publish", 3, MESSAGE_SIZE, "\3\0\0\0\4\0\1\x14\0\0\0\0"),
        ROW("long data after publish", 3, MESSAGE_SIZE, "\3\0\0\0\4\0\1\x12\1\0\0\0"),
        ROW("long media after publish", 3, MESSAGE_SIZE, "\4\0\0\0\x80\0\1\x09\1\0\0\0"),
        ROW("another length inside a message", 3, CHUNK_IN_MESSAGE,
            "\4\0\0\0\0\0\x81\x09\1\0\0\0"
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\x44\0\0\0\0\1\0\x09"),
        ROW("an empty command", 1, COMMAND, "\3\0\0\0\0\0\0\x14\0\0\0\0"),
        ROW("a command without a name", 1, COMMAND, "\3\0\0\0\0\0\1\x14\0\0\0\0\5"),
        ROW("an unknown marker", 1, AMF, "\3\0\0\0\0\0\1\x14\0\0\0\0\x0e"),
        ROW("a string that is cut", 1, AMF, "\3\0\0\0\0\0\4\x14\0\0\0\0\2\0\x09x"),
        ROW("createStream before connect", 1, COMMAND,
            "\3\0\0\0\0\0\x18\x14\0\0\0\0\2\0\x0c"
            "createStream\0\0\0\0\0\0\0\0\0"),
        ROW("broken data", 3, AMF, "\3\0\0\0\0\0\1\x12\1\0\0\0\x0e"),
        ROW("VP6", 3, CODEC, "\4\0\0\0\0\0\2\x09\1\0\0\0\x14x"),
        ROW("HEVC", 3, CODEC, "\4\0\0\0\0\0\6\x09\1\0\0\0\x90hvc1x"),
        ROW("MP3", 3, CODEC, "\4\0\0\0\0\0\2\x08\1\0\0\0\x2fx"),
        ROW("Opus", 3, CODEC, "\4\0\0\0\0\0\6\x08\1\0\0\0\x90Opusx"),
        ROW("start codes for a configuration", 3, CODEC_CONFIG,
            "\4\0\0\0\0\0\x0a\x09\1\0\0\0\x17\0\0\0\0\0\0\0\1\x67"),
        ROW("no AAC configuration", 3, CODEC_CONFIG, "\4\0\0\0\0\0\3\x08\1\0\0\0\xaf\0\x12"),
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t step = 1; step < 2000; step += 1999 - 1) {
            struct world w;

            begin(&w);
            if (table[i].stage == 1)
                client_hello(&w.wire);
            if (table[i].stage == 2) {
                client_hello(&w.wire);
                client_connect(&w.wire, "live");
            }
            if (table[i].stage == 3)
                client_publish(&w.wire, "live", "show");
            if (w.wire.len > 0)
                assert_int_equal(feed(&w, 1 << 20), ST_OK);
            put_raw(&w.wire, table[i].bytes, table[i].n);
            if (feed(&w, step) != ST_EPROTO || rtmp_session_why(w.s) != table[i].why)
                fail_msg("%s: %s", table[i].what,
                         metric_label_text(METRIC_LABEL_INGEST_CLOSE, rtmp_session_why(w.s)));
            if (table[i].stage == 3)
                assert_non_null(strstr(buf_text(&w.said), "dropped;"));
            struct rd in = rd_init("x", 1);
            assert_int_equal(rtmp_session_feed(w.s, &in, &w.now), ST_EPROTO); /* it sticks */
            finish(&w);
        }
    }
}

static void names_that_are_bad_are_denied(void **state)
{
    static const struct {
        const char *app, *key, *said, *replies;
        enum metric_ingest_close why;
    } table[] = {
        { "nowhere", "show", "refused 6;", "[0 _error 1 NetConnection.Connect.InvalidApp]",
          METRIC_INGEST_CLOSE_APP },
        { "..", "show", "refused 2;", "[0 _error 1 NetConnection.Connect.Rejected]",
          METRIC_INGEST_CLOSE_NAME },
        { "live", "../x", "refused 2;",
          CONNECTED "[0 _result 2][0 _result 3][0 _result 4 1]"
                    "[1 onStatus 0 NetStream.Publish.Denied]",
          METRIC_INGEST_CLOSE_NAME },
        { "live", "show?exp=1&exp=2", "refused 5;",
          CONNECTED "[0 _result 2][0 _result 3][0 _result 4 1]"
                    "[1 onStatus 0 NetStream.Publish.Denied]",
          METRIC_INGEST_CLOSE_NAME },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct world w;

        begin(&w);
        client_publish(&w.wire, table[i].app, table[i].key);
        assert_int_equal(feed(&w, 1 << 20), ST_EPROTO);
        assert_int_equal(rtmp_session_why(w.s), table[i].why);
        assert_string_equal(buf_text(&w.said), table[i].said);
        expect_replies(&w, table[i].replies);
        finish(&w);
    }
}

static void sixty_thousand_nested_objects_cost_what_nine_do(void **state)
{
    struct world w;
    struct buf args;

    (void)state;
    begin(&w);
    client_hello(&w.wire);
    buf_init(&args, 1 << 20);
    for (int i = 0; i < 15000; i++)
        buf_add(&args, "\3\0\1k", 4);
    client_command(&w.wire, 0, "connect", 1, &args);
    assert_int_equal(feed(&w, 1000), ST_EPROTO);
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_AMF_LIMIT);
    buf_fini(&args);
    finish(&w);
    /* and 60,000 of them are too long for a command already */
    begin(&w);
    client_hello(&w.wire);
    buf_init(&args, 1 << 20);
    for (int i = 0; i < 60000; i++)
        buf_add(&args, "\3\0\1k", 4);
    client_command(&w.wire, 0, "connect", 1, &args);
    assert_int_equal(feed(&w, 1000), ST_EPROTO);
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_MESSAGE_SIZE);
    buf_fini(&args);
    finish(&w);
}

static void commands_have_a_rate_and_replies_a_limit(void **state)
{
    struct world w;

    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        begin(&w);
        client_hello(&w.wire);
        assert_int_equal(feed(&w, 1 << 20), ST_OK);
        for (int i = 0; i < 60; i++) {
            enum st st;

            client_msg(&w.wire, 2, RTMP_USER_CONTROL, 0, 0, "\0\6\1\2\3\4", 6);
            st = feed(&w, 1 << 20);
            assert_int_equal(st, slow || i < 50 ? ST_OK : ST_EPROTO);
            if (slow)
                w.now.mono_us += 50000;
        }
        if (!slow)
            assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_COMMAND_RATE);
        finish(&w);
    }
    /* somebody who asks, slowly, and reads nothing */
    begin(&w);
    client_hello(&w.wire);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    enum st st = ST_OK;
    size_t asked = 0;
    while (st == ST_OK && asked++ < 10000) {
        struct rd in;

        buf_reset(&w.wire);
        client_msg(&w.wire, 2, RTMP_USER_CONTROL, 0, 0, "\0\6\1\2\3\4", 6);
        w.now.mono_us += 100000;
        in = rd_init(w.wire.data, w.wire.len);
        st = rtmp_session_feed(w.s, &in, &w.now);
    }
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_CONTROL_QUEUE);
    assert_true(outq_bytes(&w.out) <= (64 << 10) + 100);
    finish(&w);
}

static void frames_of_no_use_are_dropped_and_counted(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_video(&w.wire, 0, "", 0);
    client_audio(&w.wire, 0, "", 0);
    client_video(&w.wire, 0, "\x17\1\0\0\0k", 6); /* before its configuration */
    client_audio(&w.wire, 0, "\xaf\1x", 3);
    client_video(&w.wire, 0, "\x17\1\0", 3); /* cut */
    client_video(&w.wire, 0, "\x57\0", 2);   /* a command */
    client_headers(&w.wire, 0);
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    assert_string_equal(buf_text(&w.said), "publish live/show;mark 0@0;vc@0/48;ac@0/4;");
    assert_int_equal(rtmp_session_stats(w.s)->dropped[METRIC_MEDIA_VIDEO], 3);
    assert_int_equal(rtmp_session_stats(w.s)->dropped[METRIC_MEDIA_AUDIO], 1);
    finish(&w);
}

static void a_sink_may_end_it_from_inside_a_tag(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    w.end_at_tag = true;
    client_publish(&w.wire, "live", "show");
    client_headers(&w.wire, 0);
    assert_int_equal(feed(&w, 1 << 20), ST_EPROTO);
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_KICKED);
    assert_int_equal(rtmp_close_fault(rtmp_session_why(w.s)), METRIC_FAULT_OPERATOR);
    assert_string_equal(buf_text(&w.said), "publish live/show;mark 0@0;vc@0/48;dropped;");
    expect_replies(&w, STARTED "[1 onStatus 0 NetStream.Publish.Rejected]");
    finish(&w);
}

static void clocks_that_disagree_for_ever_are_closed(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    client_publish(&w.wire, "live", "show");
    client_headers(&w.wire, 0);
    for (uint32_t i = 0; i < 100; i++) {
        client_video(&w.wire, i * 40, "\x27\1\0\0\0k", 6);
        client_audio(&w.wire, i * 40 + 3600000, "\xaf\1x", 3);
    }
    assert_int_equal(feed(&w, 1 << 20), ST_EPROTO);
    assert_int_equal(rtmp_session_why(w.s), METRIC_INGEST_CLOSE_TIMESTAMPS);
    finish(&w);
}

static void an_idle_session_is_small(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    assert_true(rtmp_session_memory(w.s) < 16 << 10);
    client_hello(&w.wire);
    client_connect(&w.wire, "live");
    assert_int_equal(feed(&w, 1 << 20), ST_OK);
    assert_true(rtmp_session_memory(w.s) < 12 << 10);
    finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broadcast_is_the_same_at_every_split_point),
        cmocka_unit_test(the_server_hello_is_one_piece_and_waits_for_no_c2),
        cmocka_unit_test(an_answer_may_take_its_time_and_no_byte_is_lost),
        cmocka_unit_test(a_second_publisher_never_reads_start),
        cmocka_unit_test(the_end_of_a_broadcast_is_told_from_a_pause),
        cmocka_unit_test(publish_false_is_a_pause_and_unknown_commands_get_a_result),
        cmocka_unit_test(enhanced_clients_hear_what_there_is),
        cmocka_unit_test(more_tracks_on_more_streams_are_taken_and_not_used),
        cmocka_unit_test(data_is_handed_on_and_ours_cannot_be_forged),
        cmocka_unit_test(marks_come_each_second_and_where_the_clock_jumps),
        cmocka_unit_test(broadcasts_go_on_over_the_24_and_32_bit_marks),
        cmocka_unit_test(aggregates_are_split),
        cmocka_unit_test(pings_and_windows_are_answered),
        cmocka_unit_test(hostile_sessions_are_closed_with_their_reason),
        cmocka_unit_test(names_that_are_bad_are_denied),
        cmocka_unit_test(sixty_thousand_nested_objects_cost_what_nine_do),
        cmocka_unit_test(commands_have_a_rate_and_replies_a_limit),
        cmocka_unit_test(frames_of_no_use_are_dropped_and_counted),
        cmocka_unit_test(a_sink_may_end_it_from_inside_a_tag),
        cmocka_unit_test(clocks_that_disagree_for_ever_are_closed),
        cmocka_unit_test(an_idle_session_is_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
