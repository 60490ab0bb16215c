/* encode/timeline_state: another worker goes on where one was killed, after any chunk, and nobody
 * can tell from what has been said. */
#include "timeline_world.h"

static struct said *whole;
static size_t whole_n;

/* What the home keeps of what it has heard: the Period, and each rendition's last chunk. */
struct home {
    const struct said *period;
    const struct said *last[TL_REPS];
    bool in_period[TL_REPS]; /* last[] is of this Period */
};

static struct home heard(size_t n)
{
    struct home h = { .period = NULL };

    for (size_t i = 0; i < n; i++) {
        const struct said *s = &whole[i];

        if (s->kind == 'P') {
            h.period = s;
            h.in_period[0] = h.in_period[1] = false;
        } else if (s->kind == 'C') {
            h.last[s->rep] = s;
            h.in_period[s->rep] = true;
        }
    }
    return h;
}

/* The lowest tag that is needed. */
static uint64_t resume_tag(const struct home *h)
{
    uint64_t tag = UINT64_MAX;

    for (int i = 0; i < TL_REPS; i++) {
        uint64_t need = h->in_period[i] ? h->last[i]->next_tag : h->period->next_tag;

        if (h->period->has[i] && need < tag)
            tag = need;
    }
    return tag;
}

static json_t *states_of(const struct home *h)
{
    json_t *o = json_object();

    for (int i = 0; i < TL_REPS; i++)
        if (h->last[i] != NULL)
            assert_int_equal(
                json_object_set_new(o, tl_rep_name[i], json_loads(h->last[i]->state, 0, NULL)), 0);
    return o;
}

/* A new worker: configurations and anchor in force, then all tags from `tag` on. */
static void play_from(const json_t *states, uint64_t tag)
{
    struct timeline *tl = timeline_new(&world_conf, &world_ops, NULL);
    const struct item *in_force[3] = { NULL };

    said_n = 0; /* NB: states live on in whole[] */
    for (size_t i = 0; i < script_n && script[i].tag < tag; i++) {
        if (script[i].kind == CONFIG)
            in_force[script[i].init->video] = &script[i];
        if (script[i].kind == ANCHOR)
            in_force[2] = &script[i];
    }
    for (int i = 0; i < 3; i++)
        if (in_force[i] != NULL)
            assert_int_equal(play_item(tl, in_force[i]), ST_OK);
    assert_int_equal(timeline_resume(tl, states), ST_OK);
    for (size_t i = 0; i < script_n; i++)
        if (script[i].tag >= tag)
            assert_int_equal(play_item(tl, &script[i]), ST_OK);
    timeline_end(tl);
    timeline_free(&tl);
}

static bool same_said(const struct said *a, const struct said *b)
{
    return a->kind == b->kind && a->n == b->n && a->t == b->t && a->d == b->d &&
           a->first == b->first && a->sap == b->sap && a->seq == b->seq &&
           a->next_tag == b->next_tag && a->bytes == b->bytes && a->first_n == b->first_n &&
           a->gop == b->gop && memcmp(a->pto, b->pto, sizeof a->pto) == 0 &&
           (a->state == NULL) == (b->state == NULL) &&
           (a->state == NULL || strcmp(a->state, b->state) == 0);
}

/* One rendition of the whole against a prefix of it and what the next worker said. An OPEN or CLOSE
 * that was the last thing said may come once more. */
static void compare(enum tl_rep rep, size_t prefix)
{
    size_t w = 0, heard_already = 0;
    const struct said *last = NULL;

    for (; w < prefix; w++)
        if (whole[w].kind == 'P' || whole[w].rep == rep)
            last = &whole[w];
    for (size_t i = 0; i < said_n; i++) {
        const struct said *s = &said[i];

        if (s->kind != 'P' && s->rep != rep)
            continue;
        while (w < whole_n && whole[w].kind != 'P' && whole[w].rep != rep)
            w++;
        if (w < whole_n && same_said(s, &whole[w])) {
            w++;
            continue;
        }
        heard_already++;
        assert_true(last != NULL && (s->kind == 'X' || s->kind == 'O'));
        for (size_t k = prefix; k-- > 0;)
            if (same_said(s, &whole[k]) && whole[k].rep == rep) {
                last = &whole[k];
                break;
            } else {
                assert_true(k > 0);
            }
    }
    while (w < whole_n && whole[w].kind != 'P' && whole[w].rep != rep)
        w++;
    assert_int_equal(w, whole_n);
    assert_in_range(heard_already, 0, 1);
}

static void forget_whole(void)
{
    for (size_t i = 0; i < whole_n; i++)
        free(whole[i].state);
    free(whole);
    whole = NULL;
    whole_n = 0;
}

static void kill_after_every_chunk(void)
{
    play();
    whole = malloc(said_n * sizeof *whole);
    memcpy(whole, said, said_n * sizeof *whole);
    whole_n = said_n;
    said_n = 0;
    for (size_t cut = 1; cut < whole_n; cut++) {
        struct home h = heard(cut);
        json_t *states;

        if (whole[cut - 1].kind != 'C' || cut == whole_n)
            continue;
        states = states_of(&h);
        play_from(states, resume_tag(&h));
        compare(TL_VIDEO, cut);
        compare(TL_AUDIO, cut);
        json_decref(states);
        said_clear();
    }
    forget_whole();
}

static void begin_script(const struct show *s)
{
    script_clear();
    if (!s->no_video)
        add_config(avc_a, s->from_ms);
    if (s->audio_rate > 0)
        add_config(s->audio_rate == 48000 ? aac_a : aac_b, s->from_ms);
    add_anchor(3000);
    add_show(s);
}

static void any_worker_goes_on_inside_the_segment(void **state)
{
    static const struct show table[] = {
        { .to_ms = 11000, .num = 30, .den = 1, .gop = 60, .audio_rate = 48000 },
        { .to_ms = 11000,
          .num = 30000,
          .den = 1001,
          .gop = 45,
          .b_frames = 2,
          .audio_rate = 44100 },
        { .to_ms = 14000, .num = 60, .den = 1, .gop = 120, .jitter_ms = 13, .audio_rate = 48000 },
        { .to_ms = 26000, .num = 30, .den = 1, .gop = 250, .audio_rate = 44100 },
        { .to_ms = 8000, .num = 30, .den = 1, .gop = 30 },
        { .to_ms = 9000, .no_video = true, .audio_rate = 44100 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        begin_script(&table[i]);
        kill_after_every_chunk();
    }
}

static void also_around_everything_that_can_happen(void **state)
{
    struct show s = { .to_ms = 5000, .num = 30, .den = 1, .gop = 60, .audio_rate = 48000 };

    (void)state;
    begin_script(&s);
    for (size_t i = 40; i < script_n; i += 40)
        script[i].ms -= script[i].kind == VIDEO ? 50 : 0; /* repairs */
    for (size_t i = 0; i < script_n; i++)
        script[i].ms += script[i].kind == AUDIO && script[i].ms > 3000 ? 400 : 0; /* a gap */
    for (size_t i = 0; i < script_n; i++)
        script[i].ms -= script[i].kind == AUDIO && script[i].ms > 4400 ? 800 : 0; /* too much */
    add((struct item){ .kind = BREAK });
    add_anchor(3040);
    s.from_ms = 5000;
    s.to_ms = 13000;
    s.b_frames = 2;
    s.audio_late_ms = 5; /* the IDR is the first of all */
    add_show(&s);
    for (size_t i = 0, idr = 0; i < script_n; i++) /* one IDR does not come */
        if (script[i].kind == VIDEO && script[i].sync && script[i].ms > 9000 && idr++ == 0)
            script[i].sync = false;
    s.from_ms = 13000 + 15000; /* a jump */
    s.to_ms = s.from_ms + 4000;
    add_show(&s);
    kill_after_every_chunk();
}

/* The pictures' segments, by which sound goes, are promised, longer than promised, and not promised. */
static void also_where_no_two_gops_are_alike(void **state)
{
    static const int gops[] = { 60, 90, 75, 30, 60, 60, 60, 60, 60, 100, 20, 60 };
    struct show s = { .num = 30, .den = 1, .gop = 60, .audio_rate = 48000 };

    (void)state;
    s.to_ms = 3000;
    begin_script(&s);
    for (size_t i = 0; i < sizeof gops / sizeof gops[0]; i++) {
        s.gop = gops[i];
        s.from_ms = s.to_ms;
        s.to_ms += gops[i] * 100 / 3;
        s.audio_late_ms = i % 3 == 0 ? 90 : 0;
        add_show(&s);
    }
    kill_after_every_chunk();
}

static void also_where_somebody_begins_in_a_hurry(void **state)
{
    struct show s = { .to_ms = 9000, .num = 30, .den = 1, .gop = 45, .audio_rate = 48000 };

    (void)state;
    begin_script(&s);
    come_in_a_hurry(2500);
    kill_after_every_chunk();
    assert_true(script_n > 0);
    begin_script(&s); /* GOPs of the Period before count, also for a worker that has not seen it */
    add((struct item){ .kind = BREAK });
    s.from_ms = 9000;
    s.to_ms = 14000;
    add_show(&s);
    kill_after_every_chunk();
}

static void other_parameters_or_missing_tags_open_a_period(void **state)
{
    struct show s = { .to_ms = 7000, .num = 30, .den = 1, .gop = 60, .audio_rate = 48000 };
    struct home h;
    json_t *states;
    uint64_t tag;
    size_t cut = 60;

    (void)state;
    begin_script(&s);
    play();
    whole = malloc(said_n * sizeof *whole);
    memcpy(whole, said, said_n * sizeof *whole);
    whole_n = said_n;
    while (whole[cut - 1].kind != 'C')
        cut++;
    h = heard(cut);
    states = states_of(&h);
    tag = resume_tag(&h);

    play_from(states, tag + 1); /* one is not there */
    assert_int_equal(said[0].kind, 'X');
    assert_int_equal(said[1].kind, 'X');
    assert_int_equal(said[2].kind, 'P');
    assert_int_equal(said[2].n, 1);
    assert_true(said[2].first_n > h.last[TL_VIDEO]->n && said[2].first_n > h.last[TL_AUDIO]->n);
    assert_true(said[2].t * 90 >= h.last[TL_VIDEO]->t + h.last[TL_VIDEO]->d);
    for (size_t i = 0; i < 2; i++) /* closed at the last whole chunk */
        assert_int_equal(said[i].d,
                         h.last[said[i].rep]->t + h.last[said[i].rep]->d -
                             json_integer_value(json_object_get(
                                 json_object_get(states, tl_rep_name[said[i].rep]), "t")));
    said_clear();

    script[0].init = avc_b;
    play_from(states, tag);
    assert_int_equal(said[2].kind, 'P');
    assert_string_equal(said[2].hash[TL_VIDEO], avc_b->hash);
    script[0].init = avc_a;
    said_clear();
    json_decref(states);
    forget_whole();
}

static const struct change {
    const char *from, *to;
} bad_video[] = {
    { "'v':3", "'v':2" },
    { "'next':9", "'next':-9" },
    { "'k':0", "'k':'0'" },
    { "'start':3000", "'start':99999999999999" },
    { "'num':1,", "" },
    { "0123abcd", "0123abcg" },
    { "0123abcd", "" },
    { "0123abcd", "0123abcd0" },
    { "'ts':90000", "'ts':0" },
    { "'ts':90000", "'ts':999999" },
    { "'end':288000", "'end':1" },
    { "'seq':1", "'seq':4294967296" },
    { "'d':0", "'d':180000" },
    { "'idr':270000", "'idr':285001" },
    { "'gop':0", "'gop':1e3" },
    { "'eq':0", "'eq':5000" },
    { "'eq':0,'since':0", "'eq':1,'since':270000" },
    { "'shift':0", "'shift':9999999999" },
    { "'off':3000", "'off':-99999999999999" },
    { "'end':288000", "'end':999999999999999" },
    { "{'v0':", "{'v1':" },
    { "'v0':{", "'v0':[],'x':{" },
    { "'since':0", "'since':-1" },
    { "'dts':285000", "'dts':null" },
    { "'pgop':0", "'pgop':-1" },
    { "'pgop':0,", "" },
    { "'said':5", "'said':-5" },
    { "'trust':0", "'trust':1" },
}, bad_audio[] = {
    { "'pos':153600", "'pos':-1" },
    { "'pos':153600,", "" },
    { "'d':96256", "'d':-1" },
    { "'d':96256", "'d':999999999999999" },
    { "'pend':450000", "'pend':-1" },
    { "'pend':450000", "'pend':999999999999999" },
    { ",'pd':180000", "" },
    { "'pd':180000", "'pd':-1" },
    { "'pd':180000", "'pd':999999999999999" },
};

/* NULL: the state as it is. */
static enum st resume_changed(const char *good, const struct change *change)
{
    struct timeline *tl = timeline_new(&world_conf, &world_ops, NULL);
    char text[1024], *at;
    enum st st;
    json_t *o;

    (void)snprintf(text, sizeof text, "%s", good);
    if (change != NULL) {
        at = strstr(text, change->from);
        assert_non_null(at);
        (void)snprintf(at, sizeof text - (size_t)(at - text), "%s%s", change->to,
                       good + (at - text) + strlen(change->from));
    }
    for (char *p = text; *p != 0; p++)
        *p = *p == '\'' ? '"' : *p;
    o = json_loads(text, 0, NULL);
    assert_non_null(o);
    st = timeline_resume(tl, o);
    json_decref(o);
    timeline_end(tl);
    timeline_free(&tl);
    said_clear();
    return st;
}

static void what_cannot_be_a_state_of_ours_is_refused(void **state)
{
    static const char video[] =
        "{'v0':{'v':3,'next':9,'k':0,'start':3000,'off':3000,'tag':3,'num':1,'said':5,'pgop':0,"
        "'v0':'0123abcd',"
        "'a0':'','ts':90000,'n':1,'t':270000,'end':288000,'seq':1,'d':0,'dts':285000,'dur':3000,"
        "'shift':0,'idr':270000,'gop':0,'eq':0,'since':0,'trust':0}}";
    static const char audio[] =
        "{'a0':{'v':3,'next':9,'k':0,'start':3000,'off':3000,'tag':3,'num':1,'said':5,'pgop':0,"
        "'v0':'','a0':'0123abcd','ts':48000,'n':1,'t':144000,'end':153600,'seq':1,'pos':153600,"
        "'d':96256,'pend':450000,'pd':180000}}";

    (void)state;
    assert_int_equal(resume_changed(video, NULL), ST_OK);
    for (size_t i = 0; i < sizeof bad_video / sizeof bad_video[0]; i++)
        assert_int_equal(resume_changed(video, &bad_video[i]), ST_EPROTO);
    assert_int_equal(resume_changed(audio, NULL), ST_OK);
    for (size_t i = 0; i < sizeof bad_audio / sizeof bad_audio[0]; i++)
        assert_int_equal(resume_changed(audio, &bad_audio[i]), ST_EPROTO);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_worker_goes_on_inside_the_segment),
        cmocka_unit_test(also_around_everything_that_can_happen),
        cmocka_unit_test(also_where_no_two_gops_are_alike),
        cmocka_unit_test(also_where_somebody_begins_in_a_hurry),
        cmocka_unit_test(other_parameters_or_missing_tags_open_a_period),
        cmocka_unit_test(what_cannot_be_a_state_of_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, world_begin, world_end);
}
