/* What an operator of a POP is shown of its publishers. */
#include "uplink_world.h"

#include <jansson.h>
#include <math.h>

static json_t *only_one(struct world *w)
{
    json_t *list = json_array(), *one;

    uplinks_loop_list(&w->l, list);
    assert_int_equal(json_array_size(list), 1);
    one = json_incref(json_array_get(list, 0));
    json_decref(list);
    return one;
}

static const char *word_of(const json_t *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j, name));

    return text != NULL ? text : "";
}

/* Of "relay"; -1: not there. */
static double figure(struct world *w, const char *name)
{
    json_t *one = only_one(w), *j = json_object_get(json_object_get(one, "relay"), name);
    double v = j != NULL ? json_number_value(j) : -1;

    json_decref(one);
    return v;
}

static void an_operator_sees_where_a_publisher_goes(void **state)
{
    struct world *w = *state;
    json_t *one, *none = json_array(), *relay;
    struct pub p;

    uplinks_loop_list(&w->l, none);
    assert_int_equal(json_array_size(none), 0);
    pub_open(w, &p, "live/show");
    one = only_one(w); /* nobody has answered yet */
    assert_string_equal(word_of(one, "relayed"), "live/show");
    assert_string_equal(word_of(one, "state"), "homeless");
    assert_null(json_object_get(one, "last_tag_ms"));
    assert_string_equal(word_of(json_object_get(one, "relay"), "why"), "");
    json_decref(one);
    until(w, p.accepted == 1);
    pass_ms(w, 2000);
    one = only_one(w);
    assert_string_equal(word_of(one, "state"), "relayed");
    assert_string_equal(word_of(one, "session"), "m0abcdefghij1");
    assert_string_equal(word_of(json_object_get(one, "relay"), "dc"), w->dc[last_said(w)->dc].url);
    json_decref(one);
    assert_true(fabs(figure(w, "for_s") - 2) < 0.1);

    /* the link blinks, at the same home */
    int n = w->saids;
    hang_up(w, last_said(w)->conn);
    until(w, w->saids > n && last_said(w)->marked);
    assert_true(figure(w, "times_lost") == 1);
    assert_true(figure(w, "times_moved") == 0);
    assert_true(figure(w, "for_s") < 1);

    /* it is full now, and so is the other one: lost, until that one takes it */
    int first = last_said(w)->dc;
    w->dc[0].status = w->dc[1].status = "503";
    hang_up(w, last_said(w)->conn);
    pass_ms(w, 3000);
    one = only_one(w);
    relay = json_object_get(one, "relay");
    assert_string_equal(word_of(one, "state"), "homeless");
    assert_null(json_object_get(relay, "dc"));
    assert_non_null(strstr(word_of(relay, "why"), ": its answer is 503"));
    json_decref(one);
    assert_true(fabs(figure(w, "for_s") - 3) < 0.1);
    w->dc[1 - first].status = "200";
    until(w, (pass_ms(w, 10), figure(w, "times_moved") == 1));
    assert_true(figure(w, "times_lost") == 2);
    one = only_one(w);
    relay = json_object_get(one, "relay");
    assert_string_equal(word_of(relay, "dc"), w->dc[1 - first].url);
    assert_null(json_object_get(relay, "why"));
    json_decref(one);

    /* gone, even while the rest is on its way */
    w->dc[1 - first].full = true;
    send_headers(&p);
    uplink_leave(&p.up, true);
    uplinks_loop_list(&w->l, none);
    assert_int_equal(json_array_size(none), 0);
    json_decref(none);
    steps(w);
}

static void an_operator_sees_what_a_publisher_sends_and_what_waits(void **state)
{
    struct world *w = *state;
    json_t *one;
    struct pub p;

    pub_open(w, &p, "live/show");
    until(w, p.accepted == 1);
    send_headers(&p);
    assert_true(figure(w, "bitrate_bps") == -1);
    for (int i = 0; i < 25 * 35; i++) { /* 1000 bytes 25 times a second */
        send_frame(&p, i % 50 == 0, 995);
        pass_ms(w, 40);
        say_ack(last_said(w), 0, 3, 100);
        if (i >= 50)
            assert_true(fabs(figure(w, "bitrate_bps") - 200000) < 10000);
    }
    /* all of it: nothing was acknowledged, and the limit is 8 s */
    assert_true(figure(w, "spool_ms") > 7900 && figure(w, "spool_ms") <= 8000);
    assert_true(figure(w, "spool_bytes") == (double)metric_get(&w->l.metrics->ingest_spool_bytes));
    assert_true(figure(w, "spool_lost") == (double)metric_get(&w->l.metrics->ingest_spool_lost));
    assert_true(figure(w, "spool_lost") > 0);
    say_ack(last_said(w), p.sent, 3, 100);
    until(w, figure(w, "spool_ms") <= 2000); /* back to a key frame */
    /* he stands still: it falls, and his last tag grows old */
    for (int i = 0; i < 10; i++) {
        pass_ms(w, 2000);
        say_ack(last_said(w), 0, 3, 100);
    }
    assert_true(figure(w, "bitrate_bps") < 120000);
    one = only_one(w);
    json_int_t old_ms = json_integer_value(json_object_get(one, "last_tag_ms"));
    assert_true(old_ms > 20000 && old_ms < 21000);
    json_decref(one);
    uplink_leave(&p.up, true);
    until(w, last_said(w)->got_all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_operator_sees_where_a_publisher_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_operator_sees_what_a_publisher_sends_and_what_waits,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
