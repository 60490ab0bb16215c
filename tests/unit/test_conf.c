/* Reading, refusing, showing and comparing configurations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "core/conf.h"
#include "core/conf_key.h"

/* Loads from a heap copy of the exact size; the report is in `report` until the next call. */
static char *report;
static enum st parse_bytes(const char *text, size_t n, const struct conf **out)
{
    char *copy = malloc(n > 0 ? n : 1);
    size_t len;
    struct conf *c;
    FILE *f;
    enum st st;

    free(report);
    report = NULL;
    f = open_memstream(&report, &len);
    assert_non_null(f);
    memcpy(copy, text, n);
    st = conf_parse("t.yaml", copy, n, 1, &c, f);
    assert_int_equal(fclose(f), 0);
    free(copy);
    assert_int_equal(st == ST_OK, len == 0);
    assert_int_equal(st == ST_OK, c != NULL);
    *out = c;
    return st;
}

static const struct conf *good(const char *text)
{
    const struct conf *c;

    if (parse_bytes(text, strlen(text), &c) != ST_OK)
        fail_msg("refused: %s\n%s", text, report);
    return c;
}

static void bad(const char *text, const char *why)
{
    const struct conf *c;

    if (parse_bytes(text, strlen(text), &c) != ST_ECONF)
        fail_msg("accepted: %s", text);
    if (strstr(report, why) == NULL)
        fail_msg("\"%s\" is not in the report:\n%s", why, report);
}

static char *dumped(const struct conf *c)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    conf_dump(f, c);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void the_defaults_are_those_of_the_limits_table(void **state)
{
    const struct conf *c = conf_defaults(3);
    const struct conf_edge_limits *l = &c->edge.limits;

    (void)state;
    assert_int_equal(c->generation, 3);
    assert_int_equal(c->loops, 0);
    assert_string_equal(c->path, "");
    assert_string_equal(c->runtime_dir, "/run/freshet");
    assert_string_equal(c->state_dir, "/var/lib/freshet");
    assert_true(c->node.id[0] != '\0');
    assert_int_equal(c->admin.listen_n, 1);
    assert_string_equal(c->admin.listen[0].text, "http://127.0.0.1:8407");
    assert_int_equal(c->edge.listen_n, 0);
    assert_int_equal(c->log.level, CONF_LOG_INFO);
    assert_string_equal(c->tls.default_.cert, "");
    assert_int_equal(c->edge.cache_bytes, UINT64_C(1) << 30);
    assert_int_equal(l->head_bytes, 16384);
    assert_int_equal(l->head_fields, 100);
    assert_int_equal(l->head_timeout_us, 10000000);
    assert_int_equal(l->keepalive_us, 30000000);
    assert_int_equal(l->requests_per_connection, 1000000);
    assert_int_equal(l->h2_streams, 100);
    assert_int_equal(l->h2_continuations, 8);
    assert_int_equal(l->h2_reset_burst, 100);
    assert_int_equal(l->h2_reset_rate, 20);
    assert_int_equal(l->h2_forced_resets, 200);
    assert_int_equal(l->h2_control_frames, 500);
    assert_int_equal(l->slow_rate_bytes_s, 1024);
    assert_int_equal(l->slow_window_us, 30000000);
    assert_int_equal(l->stall_us, 60000000);
    assert_int_equal(l->not_found_ttl_us, 500000);
    assert_int_equal(l->per_address, 0);
    assert_int_equal(c->ingest.listen_n, 0);
    assert_int_equal(c->ingest.idle_timeout_us, 30000000);
    assert_int_equal(c->ingest.limits.per_address, 64);
    assert_int_equal(c->ingest.limits.unpublished, 1024);
    assert_int_equal(c->ingest.limits.commands_s, 50);
    assert_int_equal(c->ingest.limits.handshake_timeout_us, 10000000);
    assert_int_equal(c->ingest.limits.publish_timeout_us, 10000000);
    assert_int_equal(c->ingest.limits.before_bytes, 64 << 10);
    assert_int_equal(c->ingest.limits.data_bytes, 256 << 10);
    assert_int_equal(c->ingest.limits.media_bytes, 8 << 20);
    assert_int_equal(c->ingest.limits.assembly_bytes, 8 << 20);
    assert_int_equal(c->ingest.limits.control_queue_bytes, 64 << 10);
    assert_int_equal(c->ingest.limits.exempt_n, 1);
    conf_unref(&c);
}

static const char whole[] =
    "node: {id: box-1, pop: ams1, weight: 50}\n"
    "loops: 4\n"
    "runtime_dir: /tmp/r\n"
    "admin: {listen: ['127.0.0.1:0', 'unix:/tmp/r/http.sock']}\n"
    "log: {level: debug, format: json}\n"
    "tls:\n"
    "  default: {cert: /a.pem, key: /a.key, tickets: /tickets}\n"
    "  tier: {cert: /t.pem, key: /t.key, ca: /ca.pem}\n"
    "  live.example.com: {cert: \"/l \\\"x\\\" \\\\.pem\", key: /\xc3\xa4.key}\n"
    "  \"*.example.org\": {cert: /w.pem, key: /w.key}\n"
    "edge:\n"
    "  listen: ['http://[::]:8080', 'https://0.0.0.0:8443', 'unix:/e.sock']\n"
    "  upstream: ['HTTPS://DC1.Example.com', 'http://10.0.0.1:9000/', 'unix:/o.sock']\n"
    "  cache: 64M\n"
    "  limits: {per_address: 16, hold: 1500ms, slow_rate: 0, keepalive: 5m, memory: 128M}\n"
    "secrets: {publish: {k2026a: {file: /p.key}}}\n"
    "ingest:\n"
    "  listen: ['RTMP://127.0.0.1:1935', 'rtmps://[0:0::1]:1936']\n"
    "  limits: {per_address: 3, exempt: ['10.0.0.0/8', '::1'], message_media: 1M}\n"
    "apps:\n"
    "  vod: {play: open, origin: 'http://[0:0::1]:8000'}\n"
    "  8:\n"
    "  live: {publish: signed, permanent_keys: yes}\n";

static void every_kind_of_value_is_read(void **state)
{
    const struct conf *c = good(whole);

    (void)state;
    assert_string_equal(c->node.id, "box-1");
    assert_int_equal(c->node.weight, 50);
    assert_int_equal(c->loops, 4);
    assert_int_equal(c->log.level, CONF_LOG_DEBUG);
    assert_int_equal(c->log.format, CONF_LOG_JSON);
    assert_int_equal(c->admin.listen_n, 2);
    assert_int_equal(c->admin.listen[0].port, 0);
    assert_int_equal(c->admin.listen[1].scheme, CONF_UNIX);
    assert_string_equal(c->admin.listen[1].path, "/tmp/r/http.sock");
    assert_string_equal(c->tls.default_.tickets, "/tickets");
    assert_string_equal(c->tls.tier.ca, "/ca.pem");
    assert_int_equal(c->tls.names_n, 2);
    assert_string_equal(c->tls.names[0].name, "live.example.com");
    assert_string_equal(c->tls.names[0].cert, "/l \"x\" \\.pem");
    assert_string_equal(c->tls.names[1].name, "*.example.org");
    assert_string_equal(c->edge.listen[0].host, "::");
    assert_int_equal(c->edge.listen[1].scheme, CONF_HTTPS);
    assert_string_equal(c->edge.upstream[0].text, "https://dc1.example.com:443");
    assert_string_equal(c->edge.upstream[1].text, "http://10.0.0.1:9000");
    assert_int_equal(c->edge.cache_bytes, 64 << 20);
    assert_int_equal(c->edge.limits.per_address, 16);
    assert_int_equal(c->edge.limits.hold_us, 1500000);
    assert_int_equal(c->edge.limits.slow_rate_bytes_s, 0);
    assert_int_equal(c->edge.limits.keepalive_us, 300000000);
    assert_int_equal(c->edge.limits.stall_us, 60000000); /* untouched */
    assert_int_equal(c->apps_n, 3);
    assert_int_equal(c->apps[0].publish, CONF_PUBLISH_NONE);
    assert_int_equal(c->apps[2].publish, CONF_PUBLISH_SIGNED);
    assert_int_equal(c->apps[2].permanent_keys, CONF_YES);
    assert_int_equal(c->secrets.publish_n, 1);
    assert_string_equal(c->secrets.publish[0].name, "k2026a");
    assert_string_equal(c->secrets.publish[0].file, "/p.key");
    assert_string_equal(c->ingest.listen[0].text, "rtmp://127.0.0.1:1935");
    assert_int_equal(c->ingest.listen[0].scheme, CONF_RTMP);
    assert_string_equal(c->ingest.listen[1].text, "rtmps://[::1]:1936");
    assert_int_equal(c->ingest.listen[1].scheme, CONF_RTMPS);
    assert_int_equal(c->ingest.limits.per_address, 3);
    assert_int_equal(c->ingest.limits.exempt_n, 2);
    assert_int_equal(c->ingest.limits.exempt[0].net.bits, 104);
    assert_string_equal(c->ingest.limits.exempt[1].text, "::1");
    assert_int_equal(c->ingest.limits.media_bytes, 1 << 20);
    assert_string_equal(c->apps[0].name, "vod");
    assert_string_equal(c->apps[0].origin.text, "http://[::1]:8000");
    assert_string_equal(c->apps[0].origin.host, "::1");
    assert_string_equal(c->apps[1].name, "8");
    assert_string_equal(c->apps[1].origin.text, "");
    conf_unref(&c);
}

static void nothing_at_all_is_the_defaults(void **state)
{
    static const char *const empty[] = { "",
                                         "\n",
                                         "# only a comment\n",
                                         "---\n",
                                         "~\n",
                                         "{}",
                                         "edge:\n",
                                         "edge: {limits: }\napps: ~\n",
                                         "\xef\xbb\xbf# byte order mark\n" };
    const struct conf *d = conf_defaults(1);
    char *want = dumped(d);

    (void)state;
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        const struct conf *c = good(empty[i]);
        char *got = dumped(c);

        assert_string_equal(got, want);
        free(got);
        conf_unref(&c);
    }
    free(want);
    conf_unref(&d);
}

static void what_is_shown_loads_to_the_same(void **state)
{
    const struct conf *a = good(whole), *b;
    char *first = dumped(a), *second;

    (void)state;
    b = good(first);
    second = dumped(b);
    assert_string_equal(first, second);
    assert_non_null(strstr(first, "\n    hold: 1500ms\n"));
    assert_non_null(strstr(first, "\n  \"live.example.com\":\n    cert: "));
    assert_string_equal(b->tls.names[0].cert, a->tls.names[0].cert);
    assert_string_equal(b->tls.names[0].key, "/\xc3\xa4.key");
    free(first);
    free(second);
    conf_unref(&a);
    conf_unref(&b);
}

static void an_error_shows_its_place(void **state)
{
    (void)state;
    bad("edge:\n  cach: 1G\n", "t.yaml:2:3: edge.cach: unknown key; did you mean \"cache\"?\n"
                               "      cach: 1G\n"
                               "      ^\n");
    bad("node: {id: 'a b'}\n", "t.yaml:1:12: node.id: only A-Z a-z 0-9 . _ - may stand in it\n"
                               "    node: {id: 'a b'}\n"
                               "               ^\n");
    bad("# \xc3\xa4\xe2\x82\xac\nedge: {cach\xc3\xa9: 1}", "t.yaml:2:8: edge.cach?: unknown key");
    bad("a\xc3\xa9: {", "t.yaml:1:");
    bad("log: {level:\tloud, \xc3\xa9: 1}", "    log: {level: loud, ?: 1}\n"
                                            "                 ^\n");
}

static void a_long_line_is_shown_in_part(void **state)
{
    char text[600], *line;

    (void)state;
    memset(text, ' ', sizeof text);
    memcpy(text, "node: {pop: x,", 14);
    memcpy(text + 400, "weigth: 5", 9);
    text[598] = '}';
    text[599] = '\0';
    bad(text, "t.yaml:1:401: node.weigth: unknown key; did you mean \"weight\"?");
    line = strchr(report, '\n') + 1;
    assert_true(strchr(line, '\n') - line <= 104);
    line = strchr(line, '\n') + 1;
    assert_int_equal(strchr(line, '^') - line, 64);
}

/* text, and what the report must say */
static const struct {
    const char *text, *why;
} hostile[] = {
    /* keys */
    { "edje: {}", "edje: unknown key; did you mean \"edge\"?" },
    { "cache: 1G", "cache: unknown key; did you mean \"edge.cache\"?" },
    { "edge.cache: 1G", "edge.cache: unknown key" },
    { "edge: {limits: {hodl: 3s}}", "did you mean \"hold\"?" },
    { "xyzzy: 1", "t.yaml:1:1: xyzzy: unknown key\n" },
    { "apps: {a: {}, a: {}}", "t.yaml:1:15: apps.a: a key for the second time" },
    { "edge: {limits: {hold: 1s, hold: 1s}}", "edge.limits.hold: a key for the second time" },
    { "\"lo\\x6fps\": 1\nloops: 1", "loops: a key for the second time" },
    { "loops: 1\n<<: {loops: 2}", "<<: unknown key" },
    { "? [a]\n: 1", "a key must be a plain word" },
    { "*: 1", "t.yaml:1:" },
    { "apps: {\"*\": {}}", "apps.*: unknown key" },
    { "apps: {\"\": {}}", "an app is named" },
    { "\"\": 1", "unknown key" },
    /* kinds */
    { "- a", "a section is wanted" },
    { "word", "a section is wanted" },
    { "edge: [1]", "edge: a section is wanted" },
    { "edge: 5", "edge: a section is wanted" },
    { "loops: {a: 1}", "loops: one value is wanted here, not a section" },
    { "loops: [1]", "loops: one value is wanted here, not a list" },
    { "loops:", "loops: a value is missing" },
    { "runtime_dir: ''", "runtime_dir: a value is missing" },
    { "edge: {listen: 'http://[::]:80'}", "edge.listen: a list is wanted" },
    { "edge: {listen: [[]]}", "edge.listen: one value is wanted here, not a list" },
    { "edge: {listen: [~]}", "edge.listen: a value is missing" },
    /* numbers */
    { "loops: 257", "loops: out of range: auto, or 1 to 256" },
    { "loops: many", "loops: a whole number is wanted, or auto" },
    { "loops: -1", "a whole number is wanted" },
    { "loops: 1.5", "a whole number is wanted" },
    { "loops: 1K", "a whole number is wanted" },
    { "loops: 18446744073709551617", "out of range" },
    { "edge: {cache: 1K}", "edge.cache: out of range: 1M to 4T" },
    { "edge: {cache: 64MB}", "a size is written 64K" },
    { "edge: {cache: 16777217T}", "out of range" },
    { "edge: {cache: 64m}", "a size is written 64K" },
    { "edge: {limits: {hold: 3}}", "a time is written with its unit" },
    { "edge: {limits: {hold: 3 s}}", "a time is written with its unit" },
    { "edge: {limits: {hold: 61s}}", "out of range: 0 to 1m" },
    { "edge: {limits: {slow_rate: 1K/s}}", "a rate is written" },
    { "log: {level: Info}", "one of these is wanted: error, warn, note, info, debug" },
    /* texts and names */
    { "node: {pop: 'a b'}", "only A-Z" },
    { "state_dir: \"/a\\nb\"", "a path has no control characters" },
    { "state_dir: \"/a\\0b\"", "a NUL byte has no place here" },
    { "apps: {api: {}}", "reserved" },
    { "apps: {-a: {}}", "an app is named" },
    { "apps: {a/b: {}}", "an app is named" },
    { "tls: {teir: {}}", "tls.teir: unknown key; did you mean \"tier\"?" },
    { "tls: {A.com: {cert: x, key: y}}", "lower case" },
    { "tls: {a..com: {cert: x, key: y}}", "1 to 63 characters" },
    { "tls: {'*.': {cert: x, key: y}}", "1 to 63 characters" },
    /* URLs */
    { "edge: {listen: ['http://localhost:80']}", "an address to listen on is wanted" },
    { "edge: {listen: ['127.0.0.1']}", "a port is wanted" },
    { "edge: {listen: ['http://[::]:65536']}", "a port is a number from 0 to 65535" },
    { "edge: {listen: ['http://[::]:']}", "a port is a number" },
    { "edge: {listen: ['http://[::1:80']}", "in brackets" },
    { "edge: {listen: ['http://[::1]x:80']}", "in brackets" },
    { "edge: {listen: ['[zz]:80']}", "no IPv6 address" },
    { "edge: {listen: ['unix:rel']}", "a unix socket is written unix:/path" },
    { "edge: {listen: ['rtmp://127.0.0.1:1']}", "the scheme is http, https or unix" },
    { "edge: {listen: ['127.0.0.1:1', 'http://127.0.0.1:1']}", "for the second time" },
    { "edge: {listen: ['https://127.0.0.1:1']}", "https needs a certificate" },
    { "edge: {upstream: ['host:80']}", "a URL is wanted" },
    { "edge: {upstream: ['http://']}", "no host name" },
    { "edge: {upstream: ['http://h:0']}", "from 1 to 65535" },
    { "edge: {upstream: ['http://h/x']}", "a path or query has no place" },
    { "edge: {upstream: ['http://h?']}", "a path or query has no place" },
    { "edge: {upstream: ['http://u:p@h']}", "a user name has no place" },
    { "edge: {upstream: ['http://1.2.3']}", "no host name" },
    { "edge: {upstream: ['http://-a']}", "no host name" },
    { "ingest: {listen: ['http://127.0.0.1:1']}", "the scheme is rtmp or rtmps" },
    { "ingest: {listen: ['rtmpx://127.0.0.1:1']}", "the scheme is rtmp or rtmps" },
    { "ingest: {listen: ['127.0.0.1:1935']}", "rtmp://ADDRESS:PORT" },
    { "ingest: {listen: ['unix:/x.sock']}", "rtmp://ADDRESS:PORT" },
    { "ingest: {listen: ['rtmp://127.0.0.1']}", "such as rtmp://127.0.0.1:1935" },
    { "ingest: {listen: ['rtmps://127.0.0.1:1']}", "rtmps needs a certificate" },
    { "ingest: {listen: ['rtmp://127.0.0.1:1', 'rtmp://127.0.0.1:1']}", "for the second time" },
    { "origin: {listen: ['https://127.0.0.1:1']}", "https needs certificates: tls.tier" },
    { "origin: {listen: ['http://0.0.0.0:1']}", "http is for loopback only" },
    { "origin: {listen: ['http://127.0.0.1:1', '127.0.0.1:1']}", "for the second time" },
    { "ingest: {limits: {exempt: ['10.0.0.1/8']}}", "an address or network is wanted" },
    { "ingest: {limits: {exempt: ['host']}}", "an address or network is wanted" },
    { "secrets: {publish: {K1: {file: /k}}}", "a key is named with 1 to 16 of a-z 0-9" },
    { "secrets: {publish: {k1: {}}}", "secrets.publish.k1: file is missing" },
    { "log: {access: access.log}", "log.access: wanted is off, stdout, stderr or a path" },
    { "secrets: {play: {k1: {}}}", "secrets.play.k1: file is missing" },
    { "apps: {live: {play: signed}}", "apps.live.play: signed needs a key in secrets.play" },
    { "secrets: {play: {k1: {file: /k}}}\napps: {v: {play: signed, origin: 'http://s'}}",
      "apps.v.play: tokens are for streams, not for an outside origin" },
    { "apps: {a: {publish: maybe}}", "none, open, local, signed" },
    { "apps: {a: {origin: 'ftp://h'}}", "apps.a.origin: the scheme is" },
    { "apps: {a: {ladder: gold}}", "apps.a: there is no ladder of this name: encode.ladders.gold" },
    { "encode: {ladders: {Gold: {copy: true}}}", "a ladder is named with 1 to 32 of a-z 0-9 _ -" },
    { "encode: {ladders: {gold: {segment: 1s}}}", "encode.ladders.gold: this version cannot" },
    { "encode: {ladders: {gold: {copy: true, segment: 100ms}}}", "500ms" },
    { "encode: {chunk: 1s, ladders: {gold: {copy: true, segment: 500ms}}}", "shorter than" },
    { "encode: {ladders: {square: {segment: 1s, video: [{size: 720x720}]}}}",
      "this version cannot transcode yet" },
    { "ingest: {takeover: priority}", "newest, oldest" },
    /* what only the whole can tell */
    { "tls: {default: {cert: /a}}", "tls.default: cert and key belong together: key is missing" },
    { "tls: {tier: {cert: /a, key: /b}}", "tls.tier: cert and ca belong together" },
    { "tls: {a.com: {}}", "tls.a.com: cert and key are missing" },
    { "edge: {cache: 64M, limits: {memory: 32M}}", "edge.limits.memory: less than edge.cache" },
    /* YAML */
    { "a: &x 1\nb: *x", "t.yaml:1:7: anchors and aliases" },
    { "loops: *x", "t.yaml:1:9: anchors and aliases" },
    { "a: !!str 1", "tags (!) are not used here" },
    { "loops: 1\n---\nloops: 2", "t.yaml:2:1: a second document" },
    { "edge: {", "YAML: " },
    { "edge: \"abc\n", "t.yaml:1:8: YAML: double-quoted scalar without closing quote" },
    { "\tloops: 1", "t.yaml:1:1: YAML: " },
    { "edge:\n  cache: 1G\n listen: []\n", "t.yaml:3:2: YAML: " },
    { "loops: 1\x01", "t.yaml:1:9: a control character" },
    { "loops: 1\x7f", "a control character" },
    { "\xff\xfeloops", "t.yaml:1:1: not UTF-8" },
    { "a: \xc0\xaf", "t.yaml:1:4: not UTF-8" },
    { "a: \xed\xa0\x80", "not UTF-8" },
    { "a: \xf4\x90\x80\x80", "not UTF-8" },
    { "a: \xe2\x82", "not UTF-8" },
    { "[[[[[[[[[[[[[[", "nested too deeply" },
};

static void hostile_files_are_refused_with_the_reason(void **state)
{
    const struct conf *c;
    const char nul[] = { 'a', ':', ' ', 0, '\n' };

    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++)
        bad(hostile[i].text, hostile[i].why);
    assert_int_equal(parse_bytes(nul, sizeof nul, &c), ST_ECONF);
    assert_non_null(strstr(report, "t.yaml:1:4: a control character"));
}

static void all_errors_are_told_up_to_twenty(void **state)
{
    char text[400] = "";
    int lines = 0;

    (void)state;
    bad("loops: x\nlog: {level: y}\nedge: {cache: z, limits: {hold: 1}}\n", "t.yaml:1:8: loops");
    assert_non_null(strstr(report, "t.yaml:2:14: log.level"));
    assert_non_null(strstr(report, "t.yaml:3:15: edge.cache"));
    assert_non_null(strstr(report, "t.yaml:3:33: edge.limits.hold"));
    for (int i = 0; i < 25; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "xyz%d: 1\n", i);
    bad(text, "... and 5 more\n");
    for (const char *p = report; (p = strstr(p, "unknown key")) != NULL; p++)
        lines++;
    assert_int_equal(lines, 20);
}

static void a_file_is_cut_anywhere_and_nothing_breaks(void **state)
{
    const struct conf *c;

    (void)state;
    for (size_t n = 0; n < sizeof whole; n++) {
        enum st st = parse_bytes(whole, n, &c);

        assert_true(st == ST_OK || st == ST_ECONF);
        conf_unref(&c);
    }
}

/* `head`, then `unit` over and over up to n bytes. */
static void flood(const char *head, const char *unit, size_t n, const char *why)
{
    char *text = malloc(n);
    size_t len = strlen(head), step = strlen(unit);
    const struct conf *c;

    memcpy(text, head, len);
    for (; len + step <= n; len += step)
        memcpy(text + len, unit, step);
    assert_int_equal(parse_bytes(text, len, &c), ST_ECONF);
    if (strstr(report, why) == NULL)
        fail_msg("\"%s\" is not in the report:\n%s", why, report);
    free(text);
}

static void size_depth_and_number_are_limited(void **state)
{
    (void)state;
    flood("", "#\n", (1 << 20) + 2, "larger than 1 MiB");
    flood("edge: {listen: [", "x,", 1 << 20, "too many values");
    flood("", "- ", 1 << 20, "nested too deeply");
    flood("", "{a: ", 1 << 20, "nested too deeply");
    flood("edge: {listen: [", "'http://[::]:0',", 16 + 65 * 16, "YAML");
    flood("x: \"", "a", 1 << 20, "YAML");
    {
        char *text = calloc(1, 40000);

        for (int i = 0; i < 2500; i++)
            (void)sprintf(text + strlen(text), "a%d:\n", i);
        bad(text, "too many keys in one section");
        free(text);
    }
}

struct changes {
    char text[2000];
};
static void add(void *arg, const struct conf_change *ch)
{
    struct changes *all = arg;
    size_t n = strlen(all->text);

    (void)snprintf(all->text + n, sizeof all->text - n, "%s: %s -> %s (%s)\n", ch->key, ch->from,
                   ch->to, conf_when_name(ch->when));
}

static void a_reload_tells_each_changed_key(void **state)
{
    const struct conf *a =
        good("node: {id: a}\nedge: {limits: {hold: 2s}}\n"
             "tls: {b.com: {cert: /b, key: /k}, gone.com: {cert: /g, key: /k}}\n");
    const struct conf *b =
        good("node: {id: b}\nedge: {limits: {hold: 2000ms}, listen: ['[::1]:80']}\n"
             "tls: {new.com: {cert: /n, key: /k}, b.com: {cert: /b2, key: /k}}\n"
             "apps: {vod: {origin: 'http://s'}}\n");
    struct changes all = { "" };

    (void)state;
    assert_int_equal(conf_diff(a, a, add, &all), ST_OK);
    assert_string_equal(all.text, "");
    assert_int_equal(conf_diff(a, b, add, &all), ST_OK);
    assert_string_equal(all.text, "apps.vod.ladder:  -> \"source\" (new-sessions)\n"
                                  "apps.vod.origin:  -> \"http://s:80\" (live)\n"
                                  "apps.vod.permanent_keys:  -> no (new-sessions)\n"
                                  "apps.vod.play:  -> open (live)\n"
                                  "apps.vod.play_grace:  -> 12h (live)\n"
                                  "apps.vod.publish:  -> none (new-sessions)\n"
                                  "edge.listen: [] -> [\"http://[::1]:80\"] (live)\n"
                                  "node.id: \"a\" -> \"b\" (restart)\n"
                                  "tls.\"b.com\".cert: \"/b\" -> \"/b2\" (live)\n"
                                  "tls.\"gone.com\".cert: \"/g\" ->  (live)\n"
                                  "tls.\"gone.com\".key: \"/k\" ->  (live)\n"
                                  "tls.\"new.com\".cert:  -> \"/n\" (live)\n"
                                  "tls.\"new.com\".key:  -> \"/k\" (live)\n");
    conf_unref(&a);
    conf_unref(&b);
}

static void a_running_process_keeps_its_restart_keys(void **state)
{
    const struct conf *a = good("node: {id: a, weight: 7}\nloops: 2\nruntime_dir: /a\n"), *b;
    struct conf *fresh;
    FILE *f = fopen("/dev/null", "w");
    static const char text[] = "node: {id: b, weight: 8}\nloops: 3\nruntime_dir: /b\n";

    (void)state;
    assert_int_equal(conf_parse("t", text, sizeof text - 1, 2, &fresh, f), ST_OK);
    (void)fclose(f);
    assert_int_equal(conf_keep_restart(fresh, a), ST_OK);
    conf_unref(&a);
    assert_string_equal(fresh->node.id, "a");
    assert_string_equal(fresh->runtime_dir, "/a");
    assert_int_equal(fresh->loops, 2);
    assert_int_equal(fresh->node.weight, 8);
    b = fresh;
    conf_unref(&b);
}

static void a_file_is_read_or_the_reason_given(void **state)
{
    char path[] = "/tmp/freshet-conf-XXXXXX", *text = NULL;
    int fd = mkstemp(path);
    struct conf *c;
    const struct conf *drop;
    size_t len;
    FILE *f;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "loops: 3\n", 9), 9);
    (void)close(fd);
    assert_int_equal(conf_load(path, 9, &c, stderr), ST_OK);
    assert_int_equal(c->loops, 3);
    assert_int_equal(c->generation, 9);
    assert_string_equal(c->path, path);
    drop = c;
    conf_unref(&drop);
    assert_int_equal(truncate(path, 0), 0);
    f = open_memstream(&text, &len);
    assert_int_equal(conf_load(path, 1, &c, f), ST_ECONF);
    assert_null(c);
    (void)unlink(path);
    assert_int_equal(conf_load(path, 1, &c, f), ST_EIO);
    assert_null(c);
    assert_int_equal(conf_load("/", 1, &c, f), ST_EIO);
    (void)fclose(f);
    assert_non_null(strstr(text, ": the file is empty\n"));
    assert_non_null(strstr(text, ": No such file or directory\n"));
    assert_non_null(strstr(text, "/: Is a directory\n"));
    free(text);
}

/* Rules of the table that no reader of it can see at a glance. */
static void the_table_is_in_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < conf_keys_n; i++) {
        const struct conf_key *k = &conf_keys[i];
        const char *dot = strrchr(k->path, '.');
        bool heading = dot == NULL;

        assert_true(k->help[strlen(k->help) - 1] == '.');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(conf_keys[j].path, k->path);
            if (dot != NULL && strlen(conf_keys[j].path) == (size_t)(dot - k->path) &&
                strncmp(conf_keys[j].path, k->path, (size_t)(dot - k->path)) == 0)
                heading = conf_keys[j].type == CONF_SECTION || conf_keys[j].type == CONF_MAP;
        }
        if (!heading)
            fail_msg("%s stands under no heading", k->path);
        if (k->when == CONF_RESTART)
            assert_true(k->type == CONF_INT || k->type == CONF_STRING || k->type == CONF_PATH);
        if (k->type == CONF_MAP)
            assert_non_null(k->bad_name);
        else if (k->type != CONF_SECTION)
            assert_non_null(k->def);
    }
}

static int drop_report(void **state)
{
    (void)state;
    free(report);
    report = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_those_of_the_limits_table),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(nothing_at_all_is_the_defaults),
        cmocka_unit_test(what_is_shown_loads_to_the_same),
        cmocka_unit_test(an_error_shows_its_place),
        cmocka_unit_test(a_long_line_is_shown_in_part),
        cmocka_unit_test(hostile_files_are_refused_with_the_reason),
        cmocka_unit_test(all_errors_are_told_up_to_twenty),
        cmocka_unit_test(a_file_is_cut_anywhere_and_nothing_breaks),
        cmocka_unit_test(size_depth_and_number_are_limited),
        cmocka_unit_test(a_reload_tells_each_changed_key),
        cmocka_unit_test(a_running_process_keeps_its_restart_keys),
        cmocka_unit_test(a_file_is_read_or_the_reason_given),
        cmocka_unit_test(the_table_is_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, drop_report);
}
