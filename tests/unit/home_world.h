/* tests/unit/home_world.h - a home on one loop, workers that say what a test wants, publishers
 *
 * Purpose   workers are HTTP/2 servers on unix sockets in the test itself: they keep what they get
 *           and answer with records of its choice. The state records are real files, written by the
 *           real thread. Time is the test's: pass_ms() lets it go on, and what is due fires.
 * Waiting   until(w, cond) of tests/unit/h2_script.h
 */
#ifndef TESTS_UNIT_HOME_WORLD_H
#define TESTS_UNIT_HOME_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/conf.h"
#include "core/h2.h"
#include "core/loop.h"
#include "core/mem.h"
#include "core/metric.h"
#include "core/record.h"
#include "edge/fetch.h"
#include "edge/gobj.h"
#include "edge/store.h"
#include "edge/stream.h"
#include "edge/view.h"
#include "origin/disk.h"
#include "origin/home.h"
#include "origin/home_int.h"
#include "tests/unit/h2_script.h"

enum { WORKERS = 3, CONNS = 16, SAIDS = 64 };

static uint64_t world_mono_us = 1000 * SEC_US;
static int64_t world_wall_us = INT64_C(1800000000) * (int64_t)SEC_US;
static uint64_t world_mono(void) { return world_mono_us; }
static int64_t world_wall(void) { return world_wall_us; }
static const struct clock_source world_clock = { world_mono, world_wall };

/* One exchange, as a worker sees it. */
struct said {
    struct words words;
    struct h2 *h2;
    int32_t id;
    int worker, conn;
    struct buf got; /* what the home sends */
    bool got_all, closed;
    char path[160], session[32], ast[32], ladder[128], period[160], resume[8192];
};

struct script {
    int listening;
    struct addr_sock addr;
    const char *status;
};

struct world {
    struct loop l;
    struct loop *loops[1];
    struct mem_pool pool;
    struct store *store;
    const struct conf *conf;
    struct disk *disk;
    struct home *home;
    char dir[32];
    char state_dir[64];
    unsigned n_workers;
    struct script worker[WORKERS];
    const struct addr_sock *addrs[WORKERS];
    struct {
        int fd, worker;
        struct h2 *h2;
        struct world *w;
    } conn[CONNS];
    int conns;
    struct said *said[SAIDS]; /* in the order in which they came */
    int saids;
    unsigned hung[WORKERS];
};

/* --- a worker --- */

static inline void *on_stream(struct h2 *h2, void *ctx, int32_t id)
{
    struct world *w = ctx;
    struct said *s = calloc(1, sizeof *s);

    assert_true(s != NULL && w->saids < SAIDS);
    w->said[w->saids++] = s;
    words_init(&s->words);
    s->h2 = h2;
    s->id = id;
    for (int i = 0; i < w->conns; i++)
        if (w->conn[i].h2 == h2) {
            s->worker = w->conn[i].worker;
            s->conn = i;
        }
    buf_init(&s->got, 8 << 20);
    return s;
}

static inline void on_header(struct h2 *h2, void *stream, int32_t id, const char *name,
                             size_t name_len, const char *value, size_t value_len)
{
    struct said *s = stream;
    const struct script_field fields[] = { { ":path", s->path, sizeof s->path },
                                           { "freshet-session", s->session, sizeof s->session },
                                           { "freshet-ast", s->ast, sizeof s->ast },
                                           { "freshet-ladder", s->ladder, sizeof s->ladder },
                                           { "freshet-period", s->period, sizeof s->period },
                                           { "freshet-resume", s->resume, sizeof s->resume } };

    (void)h2, (void)id;
    script_keep(fields, sizeof fields / sizeof fields[0], name, name_len, value, value_len);
}

static inline void on_head(struct h2 *h2, void *stream, int32_t id, bool last)
{
    struct world *w = h2_ctx(h2);
    struct said *s = stream;
    const char *status = w->worker[s->worker].status;
    struct h2_nv nv = { .name = ":status", .value = status, .name_len = 7, .value_len = 3 };

    (void)last;
    assert_int_equal(h2_respond(h2, id, &nv, 1, strcmp(status, "200") == 0 ? &s->words.body : NULL),
                     ST_OK);
}

static inline void on_data(struct h2 *h2, void *stream, int32_t id, const uint8_t *p, size_t n)
{
    buf_add(&((struct said *)stream)->got, p, n);
    h2_consume(h2, id, n);
}

static inline void on_end(struct h2 *h2, void *stream, int32_t id)
{
    (void)h2, (void)id;
    ((struct said *)stream)->got_all = true;
}

static inline void on_close(struct h2 *h2, void *stream, int32_t id, const struct h2_close *why)
{
    (void)h2, (void)id, (void)why;
    ((struct said *)stream)->closed = true;
}

static const struct h2_ops script_ops = { .on_stream = on_stream,
                                          .on_header = on_header,
                                          .on_head = on_head,
                                          .on_data = on_data,
                                          .on_end = on_end,
                                          .on_close = on_close };

static inline void let_in(struct world *w, int worker)
{
    int fd;

    while ((fd = accept4(w->worker[worker].listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
           0) {
        assert_true(w->conns < CONNS);
        w->conn[w->conns].fd = fd;
        w->conn[w->conns].worker = worker;
        w->conn[w->conns].h2 = h2_server_new(&w->l, &h2_limits_tier, &script_ops, w);
        assert_non_null(w->conn[w->conns].h2);
        w->conns++;
    }
}

static inline void hang_up(struct world *w, int i)
{
    if (w->conn[i].h2 == NULL)
        return;
    h2_free(&w->conn[i].h2);
    (void)close(w->conn[i].fd);
}

static inline void serve(struct world *w, int i)
{
    if (w->conn[i].h2 != NULL && !script_serve(w->conn[i].fd, w->conn[i].h2))
        hang_up(w, i);
}

/* One turn of everybody. */
static inline void step(struct world *w)
{
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    for (unsigned i = 0; i < w->n_workers; i++)
        let_in(w, (int)i);
    for (int i = 0; i < w->conns; i++)
        serve(w, i);
}

/* What is under way arrives: for what is not to happen. The disk's thread has no part in it. */
static inline void steps(struct world *w)
{
    for (int i = 0; i < 50; i++)
        step(w);
}

static inline void pass_ms(struct world *w, uint64_t ms)
{
    for (uint64_t done = 0; done < ms; done += 10) {
        world_mono_us += 10 * MS_US;
        world_wall_us += 10 * (int64_t)MS_US;
        (void)loop_touch(&w->l);
        timer_wheel_sweep(&w->l);
        step(w);
    }
}

/* --- what it says --- */

static inline void say(struct said *s, enum record_type type, size_t payload, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static inline void say(struct said *s, enum record_type type, size_t payload, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    record_put_text(&s->words.out, type, 0, ++s->words.seq, text, (size_t)n, payload);
    if (payload > 0)
        memset(buf_grow(&s->words.out, payload), 'x', payload);
    assert_true(s->words.out.st == ST_OK && s->words.out.len <= WORDS_BYTES);
    h2_resume(s->h2, s->id);
}

/* A Period with one picture rendition of 90 kHz, its INIT and nothing else. */
static inline void say_period(struct said *s, int k, int start_ms, unsigned number, int next_tag)
{
    say(s, RECORD_PERIOD, 0,
        "{\"k\":%d,\"start\":%d,\"next_tag\":%d,\"reps\":{\"v0\":{\"pto\":%d,\"number\":%u}}}", k,
        start_ms, next_tag, start_ms * 90, number);
    say(s, RECORD_INIT, 100,
        "{\"rep\":\"v0\",\"codecs\":\"avc1.64001f\",\"hash\":\"0123abcd\",\"timescale\":90000,"
        "\"w\":320,\"h\":180,\"fps\":\"30\"}");
}

static inline void say_open(struct said *s, unsigned n, int t_ms)
{
    say(s, RECORD_OPEN, 0, "{\"rep\":\"v0\",\"n\":%u,\"t\":%d}", n, t_ms * 90);
}

static inline void say_chunk(struct said *s, unsigned n, int t_ms, int d_ms, int next_tag,
                             const char *state)
{
    say(s, RECORD_CHUNK, 1000,
        "{\"rep\":\"v0\",\"n\":%u,\"t\":%d,\"d\":%d,\"sap\":1,\"next_tag\":%d,\"state\":%s}", n,
        t_ms * 90, d_ms * 90, next_tag, state);
}

static inline void say_close(struct said *s, unsigned n, int d_ms)
{
    say(s, RECORD_CLOSE, 0, "{\"rep\":\"v0\",\"n\":%u,\"d\":%d}", n, d_ms * 90);
}

static inline void finish(struct said *s)
{
    s->words.last = true;
    h2_resume(s->h2, s->id);
}

/* A number in the JSON of a header. */
static inline int64_t in_json(const char *text, const char *name)
{
    json_t *j = json_loads(text, 0, NULL);
    int64_t v = json_integer_value(json_object_get(j, name));

    assert_non_null(j);
    json_decref(j);
    return v;
}

/* --- a publisher --- */

struct pub {
    struct door *door;
    int accepted, closed, acks;
    struct ticket ticket;
    enum door_why why;
    uint64_t acked, high;
    int64_t k;
    uint32_t ts_ms; /* of the next tag */
};

static inline void on_accepted(void *ctx, const struct ticket *t)
{
    struct pub *p = ctx;

    p->accepted++;
    p->ticket = *t;
}

static inline void on_acked(void *ctx, uint64_t tag, int64_t k, uint64_t high)
{
    struct pub *p = ctx;

    assert_true(tag >= p->acked && k >= p->k && high >= p->high);
    p->acks++;
    p->acked = tag;
    p->k = k;
    p->high = high;
}

static inline void on_closed(void *ctx, enum door_why why)
{
    struct pub *p = ctx;

    p->closed++;
    p->why = why;
}

static const struct door_ops pub_ops = { .accepted = on_accepted,
                                         .acked = on_acked,
                                         .closed = on_closed };

static inline void pub_claim(struct world *w, struct pub *p, const char *name,
                             const struct door_claim *c)
{
    *p = (struct pub){ .ts_ms = 0 };
    assert_int_equal(door_open(w->home, &w->l, name, c, &pub_ops, p, &p->door), ST_OK);
    until(w, p->accepted > 0 || p->closed > 0);
}

static inline void pub_open(struct world *w, struct pub *p, const char *name,
                            const struct ticket *t)
{
    struct door_claim c = { .ticket = t };

    pub_claim(w, p, name, &c);
}

static inline void pub_leave(struct world *w, struct pub *p, bool ended)
{
    door_leave(&p->door, ended);
    step(w);
}

/* n frames 33 ms apart, and as much time with them. */
static inline void pub_frames(struct world *w, struct pub *p, int n)
{
    static const uint8_t config[] = { 0x17, 0, 0, 0, 0, 1, 0x64, 0, 31, 0xff, 0xe0, 0 };
    static const uint8_t frame[] = { 0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65 };

    for (int i = 0; i < n; i++) {
        struct flv_tag tag = { FLV_VIDEO, p->ts_ms, frame, sizeof frame };

        if (p->ts_ms == 0)
            tag = (struct flv_tag){ FLV_VIDEO, 0, config, sizeof config };
        assert_true(door_tag(p->door, &tag, false, world_wall_us));
        door_flush(p->door);
        p->ts_ms += 30;
        pass_ms(w, 30);
    }
}

/* --- the world --- */

static inline void on_hung(void *ctx, unsigned worker, uint64_t since_us)
{
    struct world *w = ctx;

    assert_true(since_us <= world_mono_us);
    w->hung[worker]++;
}

static inline struct session *session_of(struct world *w, const char *name)
{
    for (struct session *s = home_loop_of(&w->l)->first; s != NULL; s = s->next)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static inline void open_worker(struct world *w, unsigned i)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct script *s = &w->worker[i];
    struct err e;

    (void)snprintf(un.sun_path, sizeof un.sun_path, "%s/w%u", w->dir, i);
    s->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listening, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(s->listening, 8), 0);
    assert_int_equal(addr_unix(un.sun_path, &s->addr, &e), ST_OK);
    s->status = "200";
    w->addrs[i] = &s->addr;
}

static inline void home_begin(struct world *w)
{
    struct store_cfg store = { .cap_bytes = 64 << 20, .object_bytes = 8 << 20, .ops = &fetch_ops };
    struct home_cfg cfg = { .state_dir = w->state_dir,
                            .workers = w->addrs,
                            .n_workers = w->n_workers,
                            .hung = on_hung,
                            .ctx = w };

    assert_int_equal(loop_init(&w->l, 0, 1), ST_OK);
    w->loops[0] = &w->l;
    w->l.metrics = metrics_new();
    w->l.conf = w->conf;
    mem_pool_init(&w->pool, 64 << 20);
    cfg.store = w->store = store_new(&store, &w->pool, w->loops, 1);
    cfg.disk = w->disk = disk_new();
    assert_true(w->l.metrics != NULL && w->store != NULL && w->disk != NULL);
    assert_int_equal(store_loop_start(w->store, &w->l), ST_OK);
    w->home = home_new(&cfg, w->loops, 1);
    assert_non_null(w->home);
    assert_int_equal(home_loop_start(w->home, &w->l), ST_OK);
}

/* p: a publisher who is still there, or NULL. */
static inline void home_end(struct world *w, struct pub *p)
{
    home_loop_stop(&w->l);
    if (p != NULL)
        door_leave(&p->door, false);
    disk_free(&w->disk);
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    for (int i = 0; i < w->conns; i++)
        hang_up(w, i);
    store_loop_stop(&w->l);
    assert_int_equal(loop_turn_nowait(&w->l), ST_OK);
    store_free(&w->store);
    assert_int_equal(mem_pool_used(&w->pool), 0);
    home_free(&w->home);
    loop_fini(&w->l);
    metrics_free(&w->l.metrics);
    for (int i = 0; i < w->saids; i++) {
        buf_fini(&w->said[i]->words.out);
        buf_fini(&w->said[i]->got);
        free(w->said[i]);
    }
    w->saids = w->conns = 0;
}

/* more: YAML on top of the defaults. */
static inline struct world *world_open(unsigned n_workers, const char *more)
{
    struct world *w = calloc(1, sizeof *w);
    struct conf *c;

    assert_non_null(w);
    clock_use(&world_clock);
    world_mono_us += 1000 * SEC_US;
    world_wall_us += 1000 * (int64_t)SEC_US;
    (void)strcpy(w->dir, "/tmp/fr-home-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->state_dir, sizeof w->state_dir, "%s/state", w->dir);
    assert_int_equal(conf_parse("test", more, strlen(more), 1, &c, stderr), ST_OK);
    w->conf = c;
    w->n_workers = n_workers;
    for (unsigned i = 0; i < n_workers; i++)
        open_worker(w, i);
    home_begin(w);
    return w;
}

static inline void world_close(struct world *w)
{
    char command[64];

    home_end(w, NULL);
    for (unsigned i = 0; i < w->n_workers; i++)
        (void)close(w->worker[i].listening);
    (void)snprintf(command, sizeof command, "rm -r %s", w->dir);
    assert_int_equal(system(command), 0);
    conf_unref(&w->conf);
    clock_use(NULL);
    free(w);
}

#endif
