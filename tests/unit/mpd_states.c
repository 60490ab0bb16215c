/* mpd_states DIR: writes the manifests of a broadcast's states, and of random ones, into DIR. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "manifests/mpd.h"
#include "tests/unit/model_drive.h"

enum { RANDOM_SEEDS = 30, EVERY = 40 };

struct out {
    const char *dir;
    unsigned n;
    unsigned steps;
};

static void save(struct out *out, const struct model *m, const char *what,
                 const struct mpd_opts *from)
{
    struct mpd_opts o = *from;
    char path[512];
    struct buf b;
    FILE *f;

    buf_init(&b, 1 << 22);
    o.publish_us = INT64_C(1760000003) * 1000000 + out->n * 1000;
    if (mpd_write(&b, m, &o) == ST_OK) {
        (void)snprintf(path, sizeof path, "%s/%03u-%s.mpd", out->dir, out->n++, what);
        f = fopen(path, "w");
        CHECK(f != NULL && fwrite(b.data, 1, b.len, f) == b.len && fclose(f) == 0);
    }
    CHECK(b.st == ST_OK);
    buf_fini(&b);
}

static const struct mpd_opts plain;

static const struct model_init video = { .timescale = 90000,
                                         .codecs = "avc1.64001f",
                                         .hash = "0a1b2c3d",
                                         .width = 1280,
                                         .height = 720,
                                         .sar_x = 1,
                                         .sar_y = 1,
                                         .fps_num = 30000,
                                         .fps_den = 1001 };
static const struct model_init small = { .timescale = 90000,
                                         .codecs = "avc1.42c01e",
                                         .hash = "0a1b2c3e",
                                         .width = 400,
                                         .height = 400,
                                         .fps_num = 30,
                                         .fps_den = 1,
                                         .bandwidth_bps = 500000 };
static const struct model_init audio = {
    .timescale = 48000, .codecs = "mp4a.40.2", .hash = "99887766", .rate = 48000, .channels = 8
};

static void begin(struct model *m, uint32_t k, int64_t start_us, uint64_t number)
{
    struct model_rep_start reps[] = { { "v0", start_us / 1000 * 90, number },
                                      { "v1", start_us / 1000 * 90, number },
                                      { "a0", start_us / 1000 * 48, number } };

    CHECK(model_period(m, k, start_us, reps, 3) == ST_OK);
    CHECK(model_init(m, "v0", &video) == ST_OK);
    CHECK(model_init(m, "v1", &small) == ST_OK);
    CHECK(model_init(m, "a0", &audio) == ST_OK);
}

/* Second i of the Period: all three open, one chunk each, then close. */
static void second(struct out *out, struct model *m, int64_t at_s, uint64_t n, bool promised)
{
    static const char *const reps[] = { "v0", "v1", "a0" };

    for (unsigned i = 0; i < 3; i++) {
        int64_t scale = i < 2 ? 90000 : 48000;

        CHECK(model_open(m, reps[i], n, at_s * scale, promised ? scale : 0) == ST_OK);
        save(out, m, "opened", &plain);
        CHECK(model_chunk(m, reps[i], n, at_s * scale, scale / 5, true, 5000) == ST_OK);
    }
    save(out, m, "in-progress", &plain);
    for (unsigned i = 0; i < 3; i++)
        CHECK(model_close(m, reps[i], n, i < 2 ? 90000 - (int64_t)(n % 2) * 3000 : 48000) == ST_OK);
    save(out, m, "closed", &plain);
}

static void broadcast(struct out *out)
{
    const struct mpd_opts dvr = { .window_us = 3600000000 }, short_one = { .window_us = 2000000 },
                          inside = { .in_session = true };
    struct model *m = model_drive_new();

    begin(m, 0, 2000000, 3);
    for (unsigned i = 0; i < 4; i++)
        second(out, m, 2 + i, 3 + i, true);
    CHECK(model_open(m, "v0", 7, 540000, 90000) == ST_OK);
    CHECK(model_open(m, "v0", 7, 540000, 180000) == ST_OK);
    save(out, m, "longer", &plain);
    CHECK(model_open(m, "v0", 7, 540000, 0) == ST_OK);
    save(out, m, "withdrawn", &plain);
    model_cut(m);
    save(out, m, "cut", &plain);
    begin(m, 1, 9123000, 80);
    save(out, m, "new-period-without-media", &plain);
    for (unsigned i = 0; i < 3; i++)
        second(out, m, 10 + i, 80 + i, i > 0);
    save(out, m, "dvr", &dvr);
    save(out, m, "short", &short_one);
    save(out, m, "inside", &inside);
    (void)model_expire(m, 5000000);
    save(out, m, "expired", &plain);
    model_end(m);
    save(out, m, "ended", &plain);
    save(out, m, "ended-inside", &inside);
    save(out, m, "ended-short", &short_one);
    model_free(&m);
}

static bool now_and_then(struct model_drive *d)
{
    struct out *out = d->arg;

    if (++out->steps % EVERY == 0)
        save(out, d->m, "random", &plain);
    return true;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[1500];
    struct out out = { .dir = argc == 2 ? argv[1] : NULL };

    if (out.dir == NULL) {
        (void)fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    broadcast(&out);
    for (uint64_t seed = 1000; seed < 1000 + RANDOM_SEEDS; seed++) {
        struct model_drive d = { .m = model_drive_new(), .step = now_and_then, .arg = &out };

        model_drive_bytes(seed, bytes, sizeof bytes);
        model_drive_run(&d, bytes, sizeof bytes);
        if (!d.m->ended)
            model_end(d.m);
        save(&out, d.m, "random-ended", &plain);
        model_free(&d.m);
    }
    return 0;
}
