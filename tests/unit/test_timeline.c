/* encode/timeline: where a broadcast is cut, and what is promised about it. */
#include "timeline_world.h"

static const struct show plain = {
    .to_ms = 12000, .num = 30, .den = 1, .gop = 60, .audio_rate = 48000
};

/* Configurations, an anchor 3 s after AST, a show. */
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

static void play_show(const struct show *s)
{
    begin_script(s);
    play();
}

/* What must hold of all that is ever said; returns the segments of a rendition. */
static size_t check_rules(enum tl_rep rep)
{
    int64_t end = 0, n = -1, segment_t = 0, opened_d = 0, scale = 1000;
    uint32_t seq = 0;
    bool open = false;
    size_t segments = 0;

    for (size_t i = 0; i < said_n; i++) {
        const struct said *s = &said[i];

        if (s->kind == 'P' && s->has[rep]) {
            assert_false(open);
            /* sound may reach over the edge, by a frame and what it was ahead */
            int64_t over = rep == TL_AUDIO ? 45 : 0;

            assert_true(s->t >= end * 1000 / scale - over);
            scale = rep == TL_VIDEO                          ? 90000
                    : strcmp(s->hash[rep], aac_a->hash) == 0 ? 48000
                                                             : 44100;
            assert_true(s->first_n > n);
            n = s->first_n - 1;
            seq = 0;
            end = -1;
        }
        if (s->kind == 'P' || s->rep != rep)
            continue;
        if (s->kind == 'O' && s->n != n) {
            assert_false(open);
            assert_int_equal(s->n, n + 1);
            assert_true(end == -1 || s->t >= end);
            n = s->n;
            segment_t = end = s->t;
            open = true;
            opened_d = s->d;
            segments++;
            assert_true(said[i + 1].kind == 'C' && said[i + 1].first && said[i + 1].sap);
        } else if (s->kind == 'O') {
            assert_true(open && s->t == segment_t && s->d > opened_d);
            opened_d = s->d;
        } else if (s->kind == 'C') {
            assert_true(open && s->n == n);
            assert_int_equal(s->first, s->t == segment_t);
            assert_int_equal(s->t, end); /* no gap, no overlap */
            assert_true(s->d > 0);
            assert_int_equal(s->seq, seq + 1);
            seq = s->seq;
            end = s->t + s->d;
        } else {
            assert_true(open && s->n == n);
            assert_int_equal(s->d, end - segment_t);
            open = false;
        }
    }
    assert_false(open);
    return segments;
}

static void nothing_is_missing_and_nothing_twice_at_any_rate(void **state)
{
    static const struct show table[] = {
        { .to_ms = 20000, .num = 30, .den = 1, .gop = 60, .audio_rate = 48000 },
        { .to_ms = 20000, .num = 25, .den = 1, .gop = 50, .audio_rate = 44100 },
        { .to_ms = 20000, .num = 30000, .den = 1001, .gop = 60, .audio_rate = 48000 },
        { .to_ms = 20000,
          .num = 30000,
          .den = 1001,
          .gop = 60,
          .b_frames = 2,
          .audio_rate = 44100 },
        { .to_ms = 20000, .num = 24, .den = 1, .gop = 48, .b_frames = 3, .audio_rate = 48000 },
        { .to_ms = 20000, .num = 60, .den = 1, .gop = 120, .jitter_ms = 15, .audio_rate = 48000 },
        { .to_ms = 20000, .num = 15, .den = 1, .gop = 7, .audio_rate = 44100 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t frames = 0, sent = 0, samples = 0, taken = 0;

        play_show(&table[i]);
        assert_int_equal(count_of('P', TL_VIDEO), 1);
        assert_in_range(check_rules(TL_VIDEO), 9, 11);
        assert_in_range(check_rules(TL_AUDIO), 10, 11);
        for (size_t k = 0; k < script_n; k++)
            sent += script[k].kind == VIDEO, samples += script[k].kind == AUDIO;
        for (size_t k = 0; k < said_n; k++)
            if (said[k].kind == 'C' && said[k].rep == TL_VIDEO)
                frames += said[k].samples;
            else if (said[k].kind == 'C')
                taken += said[k].samples;
        assert_int_equal(frames, sent);
        assert_in_range(taken, samples - 6, samples); /* those before the first picture is shown */
    }
}

static void the_period_begins_with_the_first_picture(void **state)
{
    struct show s = plain;

    (void)state;
    s.from_ms = 5000;
    s.to_ms = 9000;
    s.b_frames = 2;
    play_show(&s);
    /* anchor 3000 + 5000 + one frame of reordering */
    assert_int_equal(nth('P', 0, 0)->t, 8033);
    assert_int_equal(nth('P', 0, 0)->pto[TL_VIDEO], 8033 * 90);
    assert_int_equal(nth('P', 0, 0)->pto[TL_AUDIO], 8033 * 48);
    assert_int_equal(nth('P', 0, 0)->first_n, 4);
    assert_int_equal(nth('C', TL_VIDEO, 0)->t, 8033 * 90);
    assert_in_range(nth('C', TL_AUDIO, 0)->t, 8033 * 48, 8033 * 48 + 1024 + 48);
}

static void chunks_are_as_long_as_they_should_be(void **state)
{
    (void)state;
    play_show(&plain);
    for (size_t i = 0; i < said_n; i++)
        if (said[i].kind == 'C' && said[i].rep == TL_VIDEO)
            assert_in_range(said[i].samples, 6, 6);
        else if (said[i].kind == 'C' && said[i].next_tag < script_tag - 20)
            assert_in_range(said[i].samples, 7, 10); /* the last of a segment may be shorter */
}

static void a_segment_begins_at_an_idr_and_once_per_cell(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 20000;
    s.gop = 15; /* four in a segment */
    play_show(&s);
    assert_int_equal(check_rules(TL_VIDEO), 10);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(nth('X', TL_VIDEO, i)->d, 180000);
    s.gop = 90; /* every 3 s: cells 0 1 3 4 6 */
    play_show(&s);
    assert_int_equal(check_rules(TL_VIDEO), 7);
    s.gop = 58; /* a little short of the cell: each still gets its own, until it slips by 1/8 */
    play_show(&s);
    for (size_t i = 0; i < 3; i++)
        assert_in_range(nth('X', TL_VIDEO, i)->d, 58 * 2970, 58 * 3060);
    check_rules(TL_VIDEO);
    s.gop = 60;
    s.jitter_ms = 30; /* an IDR that jitters around the edge does not double a segment */
    play_show(&s);
    assert_int_equal(check_rules(TL_VIDEO), 10);
}

/* Every promise of a rendition is kept, but for the last segment, which the end cuts short. */
static void check_promises(enum tl_rep rep, size_t from)
{
    for (size_t i = from; i < count_of('O', rep) - 1; i++)
        assert_int_equal(nth('O', rep, i)->d, nth('X', rep, i)->d);
}

static void a_duration_is_promised_from_the_first_segment_on(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 20000;
    play_show(&s);
    check_promises(TL_VIDEO, 0);
    check_promises(TL_AUDIO, 0);
    assert_int_equal(nth('O', TL_VIDEO, 0)->d, 180000);
    s.gop = 20; /* three to a segment */
    play_show(&s);
    check_promises(TL_VIDEO, 0);
    s.gop = 45; /* 1.5 s: two of them reach into the next cell, as is known after the first */
    play_show(&s);
    assert_int_equal(nth('O', TL_VIDEO, 0)->d, 180000);
    assert_int_equal(nth('O', TL_VIDEO, 1)->n, nth('O', TL_VIDEO, 0)->n);
    assert_int_equal(nth('O', TL_VIDEO, 1)->d, 270000);
    assert_int_equal(nth('X', TL_VIDEO, 0)->d, 270000);
    for (size_t i = 1; i < count_of('X', TL_VIDEO) - 1; i++)
        assert_int_equal(nth('O', TL_VIDEO, i + 1)->d, nth('X', TL_VIDEO, i)->d);
    check_promises(TL_AUDIO, 0);
    s.gop = 120; /* twice as long as was thought: so are the next */
    play_show(&s);
    assert_int_equal(nth('O', TL_VIDEO, 1)->d, 360000);
    for (size_t i = 0; i < count_of('X', TL_VIDEO) - 1; i++)
        assert_int_equal(nth('O', TL_VIDEO, i + 1)->d, nth('X', TL_VIDEO, i)->d);
}

/* To the first frame that begins after the pictures' segment. */
static void sound_is_cut_where_pictures_are(void **state)
{
    static const int gops[] = { 60, 20, 45, 250 };
    struct show s = plain;

    (void)state;
    s.to_ms = 60000;
    for (size_t i = 0; i < sizeof gops / sizeof gops[0]; i++) {
        size_t n, a = 0;

        s.gop = gops[i];
        play_show(&s);
        check_rules(TL_AUDIO);
        check_promises(TL_AUDIO, 0);
        n = count_of('O', TL_VIDEO);
        for (size_t v = 0; v < n; v++) {
            int64_t t = nth('O', TL_VIDEO, v)->t * 8 / 15, d = nth('O', TL_VIDEO, v)->d * 8 / 15;

            if (nth('O', TL_VIDEO, v)->n < nth('P', 0, 0)->first_n + 2)
                continue; /* it is not known yet how long GOPs are */
            while (nth('O', TL_AUDIO, a)->t < t)
                a++;
            d = nth('O', TL_AUDIO, a)->t + nth('O', TL_AUDIO, a)->d - t - d;
            assert_in_range(nth('O', TL_AUDIO, a)->t, t, t + 1024 + 48);
            assert_in_range(d + 48, 0,
                            1024 + 96); /* by then the promise may be a millisecond off */
        }
        assert_in_range(count_of('O', TL_AUDIO), n - 1, n + 5);
    }
}

static void where_pictures_promise_nothing_sound_is_cut_by_the_clock(void **state)
{
    struct show s = plain;
    size_t n;

    (void)state;
    s.to_ms = 6000;
    begin_script(&s);
    for (int i = 0; i < 8; i++) {
        s.gop = i % 2 == 0 ? 150 : 90;
        s.from_ms = s.to_ms;
        s.to_ms += s.gop * 100 / 3;
        add_show(&s);
    }
    play();
    check_rules(TL_AUDIO);
    n = count_of('X', TL_AUDIO);
    for (size_t i = n - 10; i < n - 1; i++)
        assert_in_range(nth('X', TL_AUDIO, i)->d, 95000, 97000);
}

static void gops_that_differ_are_not_trusted_again_before_three_are_equal(void **state)
{
    struct show s = plain;
    size_t period;

    (void)state;
    s.to_ms = 4000;
    begin_script(&s);
    s.gop = 45;
    for (int i = 0; i < 6; i++) { /* GOPs of 2 s, then 1.5, 2, 2, 1.5, 2, 2 */
        s.from_ms = s.to_ms;
        s.to_ms += i % 3 == 0 ? 1500 : 2000;
        s.gop = i % 3 == 0 ? 45 : 60;
        add_show(&s);
    }
    add((struct item){ .kind = BREAK });
    s.from_ms = s.to_ms + 2000;
    s.to_ms = s.from_ms + 9000;
    s.gop = 60;
    add_show(&s);
    play();
    check_rules(TL_VIDEO);
    period = (size_t)(nth('P', 0, 1) - said);
    /* the first difference is seen when the first short one ends */
    for (size_t i = 0; i < said_n; i++)
        if (said[i].kind == 'O' && said[i].rep == TL_VIDEO && said[i].t > (3000 + 5500) * 90)
            assert_int_equal(said[i].d, i > period && said[i].t > (3000 + 22000) * 90 ? 180000 : 0);
}

static void a_period_takes_the_gops_of_the_one_before(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 9000;
    s.gop = 90;
    begin_script(&s);
    add((struct item){ .kind = BREAK });
    s.from_ms = 11000;
    s.to_ms = 20000;
    add_show(&s);
    play();
    assert_int_equal(nth('P', 0, 1)->gop, 270000);
    for (const struct said *x = nth('P', 0, 1); x < said + said_n; x++)
        if (x->kind == 'O' && x->rep == TL_VIDEO)
            assert_int_equal(x->d, 270000);
}

static void an_idr_that_does_not_come_makes_the_promise_longer(void **state)
{
    struct show s = plain;
    size_t again = 0;

    (void)state;
    s.to_ms = 24000;
    begin_script(&s);
    for (size_t i = 0, idr = 0; i < script_n; i++)
        if (script[i].kind == VIDEO && script[i].sync && idr++ == 5)
            script[i].sync = false;
    play();
    check_rules(TL_VIDEO);
    for (size_t i = 0; i + 1 < count_of('O', TL_VIDEO); i++) {
        const struct said *a = nth('O', TL_VIDEO, i), *b = nth('O', TL_VIDEO, i + 1);

        if (a->n != b->n)
            continue;
        again++;
        assert_int_equal(a->d, 180000);
        assert_int_equal(b->d, 360000);
        /* then none until three are good again: the long one, two short ones */
        assert_int_equal(nth('O', TL_VIDEO, i + 2)->d, 0);
        assert_int_equal(nth('O', TL_VIDEO, i + 4)->d, 0);
        assert_int_equal(nth('O', TL_VIDEO, i + 5)->d, 180000);
    }
    assert_int_equal(again, 1);
}

static enum st play_to_the_failure(void)
{
    struct timeline *tl = timeline_new(&world_conf, &world_ops, NULL);
    enum st st = ST_OK;

    said_clear();
    for (size_t i = 0; i < script_n && st == ST_OK; i++)
        st = play_item(tl, &script[i]);
    timeline_free(&tl);
    return st;
}

static void twenty_seconds_without_an_idr_are_refused(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 20000;
    s.gop = 100000;
    begin_script(&s);
    assert_int_equal(play_to_the_failure(), ST_OK);
    s.to_ms = 20100;
    begin_script(&s);
    assert_int_equal(play_to_the_failure(), ST_ELIMIT);
    s.audio_rate = 0;
    begin_script(&s);
    assert_int_equal(play_to_the_failure(), ST_ELIMIT);
    /* never one at all */
    for (size_t i = 0; i < script_n; i++)
        script[i].sync = false;
    assert_int_equal(play_to_the_failure(), ST_ELIMIT);
    assert_int_equal(said_n, 0);
    /* the picture stops, the sound goes on */
    s = (struct show){ .from_ms = 12000, .to_ms = 31000, .no_video = true, .audio_rate = 48000 };
    begin_script(&plain);
    add_show(&s);
    assert_int_equal(play_to_the_failure(), ST_ELIMIT);
}

static void a_discontinuity_opens_a_period_at_the_next_idr(void **state)
{
    struct show s = plain;
    const struct said *p;
    int64_t last_n;

    (void)state;
    s.to_ms = 5100;
    begin_script(&s);
    add((struct item){ .kind = BREAK });
    s.from_ms = 5500;
    s.to_ms = 8000;
    add_show(&s);
    script[0].ms = 0;
    play();
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    assert_int_equal(count_of('P', 0), 2);
    p = nth('P', 0, 1);
    assert_int_equal(p->n, 1);
    assert_int_equal(p->t, 8500);
    assert_int_equal(p->first_n, 8500 / 2000 + 2);
    last_n = nth('X', TL_VIDEO, 2)->n;
    assert_true(p->first_n > last_n);
    /* what had not been said is dropped: 5.1 s are 25 chunks of 200 ms and a rest */
    assert_int_equal(nth('X', TL_VIDEO, 2)->d, 90 * 1000);
}

static void periods_never_overlap_and_numbers_rise(void **state)
{
    struct show s = plain;
    struct timeline_conf conf = world_conf;

    (void)state;
    s.to_ms = 3000;
    begin_script(&s);
    for (int i = 0; i < 5; i++) { /* the same second again and again */
        add((struct item){ .kind = BREAK });
        add_show(&(struct show){
            .from_ms = 2000, .to_ms = 4000, .num = 30, .den = 1, .gop = 30, .audio_rate = 48000 });
    }
    play();
    /* what lies before the end of the last Period is dropped: a GOP, then all of them */
    assert_int_equal(count_of('P', 0), 2);
    assert_int_equal(nth('P', 0, 1)->t, 6000);
    assert_int_equal(nth('P', 0, 1)->pto[TL_VIDEO], 6000 * 90);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    conf.k = 7; /* but nobody waits for a minute */
    conf.number = 900;
    conf.earliest_ms = 60000;
    play_with(&conf);
    check_rules(TL_VIDEO);
    assert_int_equal(nth('P', 0, 0)->n, 7);
    assert_int_equal(nth('P', 0, 0)->first_n, 900);
    assert_int_equal(nth('P', 0, 0)->t, 60000);
    assert_int_equal(nth('P', 0, 5)->n, 12);
}

static size_t frames_said(void)
{
    size_t n = 0;

    for (size_t i = 0; i < said_n; i++)
        n += said[i].kind == 'C' && said[i].rep == TL_VIDEO ? said[i].samples : 0;
    return n;
}

static void who_begins_with_a_backlog_begins_where_it_ends(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 15000;
    begin_script(&s);
    come_in_a_hurry(5000); /* in time from 5.55 s on: the last IDR before that is at 4 s */
    play();
    assert_int_equal(count_of('P', 0), 1);
    assert_int_equal(nth('P', 0, 0)->t, 3000 + 4000);
    assert_int_equal(nth('P', 0, 0)->first_n, 3);
    assert_int_equal(nth('C', TL_VIDEO, 0)->t, 7000 * 90);
    assert_int_equal(frames_said(), (15 - 4) * 30);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    check_promises(TL_VIDEO, 0);
    check_promises(TL_AUDIO, 0);
    /* no IDR in it: nothing is lost, and the sound of more than a segment waits with the pictures */
    s.gop = 150;
    begin_script(&s);
    come_in_a_hurry(3000);
    play();
    assert_int_equal(nth('P', 0, 0)->t, 3000);
    assert_int_equal(frames_said(), 15 * 30);
    assert_true(nth('X', TL_AUDIO, 0)->d > 48000 * 3);
    assert_int_equal(nth('O', TL_AUDIO, 0)->d, nth('C', TL_AUDIO, 0)->d);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    /* a little: most broadcasts begin so */
    begin_script(&s);
    come_in_a_hurry(300);
    play();
    assert_in_range(nth('P', 0, 0)->t, 3000, 3004);
    assert_int_equal(frames_said(), 15 * 30);
    check_rules(TL_AUDIO);
    s = (struct show){ .to_ms = 15000, .no_video = true, .audio_rate = 48000 };
    begin_script(&s);
    come_in_a_hurry(5000);
    play();
    assert_in_range(nth('P', 0, 0)->t, 3000 + 5000, 3000 + 6500);
    assert_int_equal(nth('C', TL_AUDIO, 0)->t, nth('P', 0, 0)->t * 48);
    check_rules(TL_AUDIO);
}

static void a_backlog_longer_than_the_gap_waits_for_the_idr_after_it(void **state)
{
    struct show s = plain;
    size_t first;

    (void)state;
    s.to_ms = 6000;
    s.audio_rate = 0;
    begin_script(&s);
    first = script_n;
    add((struct item){ .kind = BREAK });
    add_anchor(3000); /* is 2.5 s too late */
    s.from_ms = 6100;
    s.to_ms = 16000;
    add_show(&s);
    for (size_t i = first; i < script_n; i++)
        if (script[i].kind == VIDEO && script[i].ms == 6300) {
            memmove(&script[i + 1], &script[i], (script_n++ - i) * sizeof script[0]);
            script[i] = (struct item){ .kind = ANCHOR,
                                       .tag = script[i].tag,
                                       .anchor_us = AST_S * INT64_C(1000000) + 500000 };
            break;
        }
    play();
    /* 6100 and 8100 would be before 9000, where the first ended; 10100 is not */
    assert_int_equal(count_of('P', 0), 2);
    assert_int_equal(nth('P', 0, 1)->t, 500 + 10100);
    check_rules(TL_VIDEO);
}

static void a_configuration_sent_again_changes_nothing(void **state)
{
    struct show s = plain;
    size_t n;

    (void)state;
    play_show(&s);
    n = said_n;
    begin_script(&s);
    for (size_t i = 100; i < script_n; i += 100)
        script[i] = (struct item){ .kind = CONFIG,
                                   .tag = script[i].tag,
                                   .ms = script[i].ms,
                                   .init = i % 200 == 0 ? avc_a : aac_a };
    play();
    assert_in_range(said_n, n - 8, n + 8);
    assert_int_equal(count_of('P', 0), 1);
}

static void another_configuration_opens_a_period_at_its_idr(void **state)
{
    struct show s = plain;
    size_t frames = 0;

    (void)state;
    s.to_ms = 5000;
    begin_script(&s);
    s.from_ms = 5000;
    s.to_ms = 9000;
    add_config(avc_b, 5000);
    add_show(&s);
    play();
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    assert_int_equal(count_of('P', 0), 2);
    assert_string_equal(nth('P', 0, 0)->hash[TL_VIDEO], avc_a->hash);
    assert_string_equal(nth('P', 0, 1)->hash[TL_VIDEO], avc_b->hash);
    assert_int_equal(nth('P', 0, 1)->t, 3000 + 5000); /* nothing is lost in between */
    for (size_t i = 0; i < said_n; i++)
        frames += said[i].kind == 'C' && said[i].rep == TL_VIDEO ? said[i].samples : 0;
    assert_int_equal(frames, 270);
    /* what comes before its IDR is of no use to anybody */
    for (size_t i = 0; i < script_n; i++)
        if (script[i].kind == VIDEO && script[i].ms == 5000)
            script[i].sync = false;
    play();
    assert_int_equal(count_of('P', 0), 2);
    assert_int_equal(nth('P', 0, 1)->t, 3000 + 7000);
    for (size_t i = 0; i < said_n; i++)
        frames -= said[i].kind == 'C' && said[i].rep == TL_VIDEO ? said[i].samples : 0;
    assert_int_equal(frames, 60);
    /* another audio: at the next IDR */
    s.from_ms = 9000;
    s.to_ms = 13000;
    s.audio_rate = 44100;
    add_config(aac_b, 9000);
    add_show(&s);
    play();
    check_rules(TL_AUDIO);
    assert_int_equal(count_of('P', 0), 3);
    assert_int_equal(nth('P', 0, 2)->pto[TL_AUDIO], 12000 * 441 / 10);
}

static void audio_that_comes_late_gets_a_period_of_its_own(void **state)
{
    struct show s = plain;

    (void)state;
    script_clear();
    add_config(avc_a, 0);
    add_anchor(3000);
    s.audio_rate = 0;
    s.to_ms = 100;
    add_show(&s);
    add_config(aac_a, 100); /* before the first chunk: it still joins */
    s.from_ms = 100;
    s.to_ms = 4100;
    s.audio_rate = 48000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 1);
    assert_true(nth('P', 0, 0)->has[TL_AUDIO]);
    script_clear();
    add_config(avc_a, 0);
    add_anchor(3000);
    s = plain;
    s.audio_rate = 0;
    s.to_ms = 3000;
    add_show(&s);
    add_config(aac_a, 3000);
    s.from_ms = 3000;
    s.to_ms = 7000;
    s.audio_rate = 48000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 2);
    assert_false(nth('P', 0, 0)->has[TL_AUDIO]);
    assert_true(nth('P', 0, 1)->has[TL_AUDIO]);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
}

/* As a worker hears it that begins with a session which is an hour old. */
static void audio_is_there_however_late_the_session(void **state)
{
    struct show s = plain;

    (void)state;
    s.from_ms = 3600000;
    s.to_ms = s.from_ms + 10000;
    s.audio_late_ms = 5; /* the picture comes first */
    script_clear();
    add_config(avc_a, 0);
    add_config(aac_a, 0);
    add_anchor(3000);
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 1);
    assert_true(nth('P', 0, 0)->has[TL_AUDIO]);
    check_rules(TL_AUDIO);
}

static void audio_that_stays_away_is_left_out(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 4000;
    begin_script(&s);
    s.from_ms = 4000;
    s.to_ms = 20000;
    s.audio_rate = 0;
    add_show(&s);
    s.from_ms = 20000;
    s.to_ms = 24000;
    s.audio_rate = 48000;
    add_show(&s);
    play();
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    assert_int_equal(count_of('P', 0), 3);
    assert_true(nth('P', 0, 0)->has[TL_AUDIO]);
    assert_false(nth('P', 0, 1)->has[TL_AUDIO]);
    assert_int_equal(nth('P', 0, 1)->t, 3000 + 10000);
    assert_true(nth('P', 0, 2)->has[TL_AUDIO]);
}

static void sound_alone_is_a_broadcast_too(void **state)
{
    struct show s = { .to_ms = 12000, .no_video = true, .audio_rate = 44100 };

    (void)state;
    play_show(&s);
    assert_int_equal(count_of('P', 0), 1);
    assert_false(nth('P', 0, 0)->has[TL_VIDEO]);
    assert_int_equal(check_rules(TL_AUDIO), 5);
    /* and then there is a picture */
    add_config(avc_a, 12000);
    s = plain;
    s.from_ms = 12000;
    s.to_ms = 16000;
    s.audio_rate = 44100;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 2);
    check_rules(TL_AUDIO);
    check_rules(TL_VIDEO);
}

static void a_jump_opens_a_period_and_a_gap_does_not(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 4000;
    begin_script(&s);
    s.from_ms = 4000 + 9000;
    s.to_ms = s.from_ms + 4000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 1);
    begin_script(&plain);
    s.from_ms = 12000 + 11000;
    s.to_ms = s.from_ms + 4000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 2);
    assert_int_equal(nth('P', 0, 1)->t, 3000 + 23000);
    check_rules(TL_VIDEO);
    begin_script(&plain);
    s.from_ms = 12000 - 2000; /* back */
    s.to_ms = s.from_ms + 4000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 2);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
}

static void a_small_step_back_is_repaired(void **state)
{
    struct timeline *tl = timeline_new(&world_conf, &world_ops, NULL);
    unsigned moved = 0;

    (void)state;
    begin_script(&plain);
    for (size_t i = 50; i < script_n; i += 50)
        if (script[i].kind == VIDEO && !script[i].sync)
            script[i].ms -= moved++ % 2 == 0 ? 100 : 33; /* 33: often the same as before */
    assert_true(moved > 4);
    said_clear();
    for (size_t i = 0; i < script_n; i++)
        assert_int_equal(play_item(tl, &script[i]), ST_OK);
    timeline_end(tl);
    assert_in_range(timeline_counts(tl)->repaired, moved / 2 + 1, moved);
    assert_int_equal(count_of('P', 0), 1);
    check_rules(TL_VIDEO);
    timeline_free(&tl);
}

/* Distances between audio chunks that do not join. */
static int64_t audio_gaps(void)
{
    int64_t end = -1, gaps = 0;

    for (size_t i = 0; i < count_of('C', TL_AUDIO); i++) {
        const struct said *c = nth('C', TL_AUDIO, i);

        assert_true(end == -1 || c->t >= end);
        gaps += end == -1 ? 0 : c->t - end;
        end = c->t + c->d;
    }
    return gaps;
}

static size_t audio_samples(void)
{
    size_t n = 0;

    for (size_t i = 0; i < count_of('C', TL_AUDIO); i++)
        n += nth('C', TL_AUDIO, i)->samples;
    return n;
}

static void audio_follows_its_counter_until_it_is_far_off(void **state)
{
    size_t sent;

    (void)state;
    begin_script(&plain);
    for (size_t i = 0; i < script_n; i++)
        if (script[i].kind == AUDIO)
            script[i].ms += (int64_t)rnd(90); /* within 100 ms: nothing happens */
    play();
    assert_int_equal(audio_gaps(), 0);
    begin_script(&plain);
    for (size_t i = 0; i < script_n; i++)
        if (script[i].kind == AUDIO && script[i].ms > 6000)
            script[i].ms += 300;
    play();
    assert_in_range(audio_gaps(), 295 * 48, 305 * 48);
    begin_script(&plain);
    play();
    sent = audio_samples();
    for (size_t i = 0; i < script_n; i++)
        if (script[i].kind == AUDIO && script[i].ms > 6000)
            script[i].ms -= 300; /* too much of it: frames go until the clock has caught up */
    play();
    assert_int_equal(audio_gaps(), 0);
    assert_int_equal(audio_samples(), sent - 300 * 48 / 1024 - 1);
}

static void a_publisher_who_lags_gets_a_later_period(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 70000;
    begin_script(&s);
    add_anchor(3150);
    s.from_ms = 70000;
    s.to_ms = 140000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 2);
    assert_int_equal(nth('P', 0, 1)->t, 3150 + 70000);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
    for (size_t i = 0; i < script_n; i++) /* not for a trifle */
        if (script[i].kind == ANCHOR && script[i].tag > 100)
            script[i].anchor_us -= 51000;
    play();
    assert_int_equal(count_of('P', 0), 1);
    s.from_ms = 0; /* and not within a minute */
    s.to_ms = 30000;
    begin_script(&s);
    add_anchor(3150);
    s.from_ms = 30000;
    s.to_ms = 70000;
    add_show(&s);
    play();
    assert_int_equal(nth('P', 0, 1)->t, 3150 + 60000);
}

static void a_publisher_who_leads_by_a_gop_loses_it(void **state)
{
    struct show s = plain;

    (void)state;
    s.to_ms = 70000;
    begin_script(&s);
    add_anchor(3000 - 1900);
    s.from_ms = 70000;
    s.to_ms = 90000;
    add_show(&s);
    play();
    assert_int_equal(count_of('P', 0), 1);
    for (size_t i = 0; i < script_n; i++)
        if (script[i].kind == ANCHOR && script[i].tag > 100)
            script[i].anchor_us -= 150000;
    play();
    assert_int_equal(count_of('P', 0), 2);
    /* one GOP dropped, and no earlier than where the last Period ended */
    assert_int_equal(nth('P', 0, 1)->t, 3000 + 70000);
    assert_int_equal(frames_said(), 90 * 30 - 60);
    check_rules(TL_VIDEO);
    check_rules(TL_AUDIO);
}

static void big_frames_make_shorter_chunks(void **state)
{
    (void)state;
    begin_script(&plain);
    for (size_t i = 0; i < script_n; i++)
        if (script[i].kind == VIDEO)
            script[i].n = i % 7 == 0 ? TL_CHUNK_BYTES_MAX - 1000 : 3000000;
    script_n = 300;
    play();
    check_rules(TL_VIDEO);
    for (size_t i = 0; i < count_of('C', TL_VIDEO); i++)
        assert_in_range(nth('C', TL_VIDEO, i)->samples, 1, 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_missing_and_nothing_twice_at_any_rate),
        cmocka_unit_test(the_period_begins_with_the_first_picture),
        cmocka_unit_test(chunks_are_as_long_as_they_should_be),
        cmocka_unit_test(a_segment_begins_at_an_idr_and_once_per_cell),
        cmocka_unit_test(a_duration_is_promised_from_the_first_segment_on),
        cmocka_unit_test(sound_is_cut_where_pictures_are),
        cmocka_unit_test(where_pictures_promise_nothing_sound_is_cut_by_the_clock),
        cmocka_unit_test(gops_that_differ_are_not_trusted_again_before_three_are_equal),
        cmocka_unit_test(a_period_takes_the_gops_of_the_one_before),
        cmocka_unit_test(an_idr_that_does_not_come_makes_the_promise_longer),
        cmocka_unit_test(twenty_seconds_without_an_idr_are_refused),
        cmocka_unit_test(a_discontinuity_opens_a_period_at_the_next_idr),
        cmocka_unit_test(periods_never_overlap_and_numbers_rise),
        cmocka_unit_test(who_begins_with_a_backlog_begins_where_it_ends),
        cmocka_unit_test(a_backlog_longer_than_the_gap_waits_for_the_idr_after_it),
        cmocka_unit_test(a_configuration_sent_again_changes_nothing),
        cmocka_unit_test(another_configuration_opens_a_period_at_its_idr),
        cmocka_unit_test(audio_that_comes_late_gets_a_period_of_its_own),
        cmocka_unit_test(audio_is_there_however_late_the_session),
        cmocka_unit_test(audio_that_stays_away_is_left_out),
        cmocka_unit_test(sound_alone_is_a_broadcast_too),
        cmocka_unit_test(a_jump_opens_a_period_and_a_gap_does_not),
        cmocka_unit_test(a_small_step_back_is_repaired),
        cmocka_unit_test(audio_follows_its_counter_until_it_is_far_off),
        cmocka_unit_test(a_publisher_who_lags_gets_a_later_period),
        cmocka_unit_test(a_publisher_who_leads_by_a_gop_loses_it),
        cmocka_unit_test(big_frames_make_shorter_chunks),
    };
    return cmocka_run_group_tests(tests, world_begin, world_end);
}
