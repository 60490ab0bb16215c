/* Every rule of the growing object, its index and its views, each with a test that fails when the
 * rule is taken out.
 *
 * The table: test, below it the rules it guards, in brackets the mutant (mutants/NAME.patch)
 * that takes the rule out and the build that shows it, where it is not the plain one. mutants.sh
 * tries them all (ctest -C Long -L long).
 *
 * one_object_and_one_want_for_many_misses_on_all_loops
 *     one want for all who miss [fill-want-every-join]
 * two_loops_that_miss_at_once_insert_one_object
 *     look again under the lock before inserting [fill-insert-unlooked]
 * joiners_find_it_before_the_head
 *     joiners find it before the head [fill-join-needs-head]
 * a_late_letter_asks_for_nothing_that_is_there
 *     a forgotten announcement is fetched for nobody [want-dead-expected]
 *     a late letter asks for nothing that is there [want-late-letter]
 * a_fetch_unlinked_before_it_began_still_answers
 *     a fetch unlinked before it began still answers [want-dead-fetching]
 * the_state_is_loaded_before_published
 *     the state is loaded before published [order-state-after-published]
 * bytes_are_written_before_they_are_published
 *     bytes, then published [order-published-before-bytes]
 * an_adopted_body_is_published_before_it_is_complete
 *     published, then the state [order-adopt-state-first]
 * one_letter_a_view_and_one_signal_a_loop
 *     a letter is in the mailbox once [letter-twice]
 *     all waiters are woken [wait-wakes-one]
 *     one signal a loop, only where the mailbox was empty [letter-signal-each]
 * flags_are_only_exchanged
 *     armed is only exchanged [letter-armed-plain]
 * a_waiter_registers_and_then_looks_again
 *     register, then look again [wait-no-second-look]
 * a_change_during_the_walk_is_not_lost
 *     armed is cleared before the waiters are walked [letter-disarm-late]
 * a_waiter_may_park_again_in_its_wake_up_and_is_woken_once
 *     a waiter that parks again is not woken twice for one change [wait-no-change-count]
 * the_oldest_waiter_is_first_and_a_cancelled_one_is_not_woken
 *     the oldest waiter is woken first [wait-newest-first]
 * a_view_is_freed_by_its_loop_after_the_turn
 *     nothing is freed inside its own callback [view-freed-at-once]
 * nothing_is_freed_inside_its_own_callback
 *     nothing is freed inside its own callback, woken or not [view-freed-in-wake, asan]
 * a_letter_without_its_signal_keeps_the_view
 *     a view waits for its letter [view-freed-with-letter, asan]
 * a_view_that_is_gone_gets_no_letter
 *     a view unregisters before it goes [view-not-unregistered, asan]
 * a_replaced_object_leaves_one_view_however_the_table_grows
 *     one view per loop and object [view-second]
 * dead_is_checked_on_every_hit
 *     dead is checked on every hit [dead-not-checked]
 * an_idle_view_of_an_unlinked_object_pins_nothing
 *     an idle view of a dead object lets go [drop-not-done]
 *     unlinking mails every viewing loop [drop-not-mailed]
 * a_lookup_takes_its_reference_under_the_lock
 *     a lookup takes its reference under the lock [lookup-ref-unlocked, asan]
 * a_view_is_registered_under_the_lock
 *     a view is registered under the lock [open-ref-unlocked, asan]
 * the_last_reference_frees_on_any_thread
 *     the last reference frees [unref-keeps]
 * the_prior_is_let_go_of_once
 *     the prior is read by the last reference only [unref-prior-early, asan]
 * a_lifetime_ends_by_unlinking_and_not_on_a_dead_object
 *     no deadline on a dead object [lifetime-on-dead]
 * a_held_object_becomes_negative_when_its_hold_is_over
 *     a held object is told to its home, which ends the hold [held-wants-nobody]
 * an_announcement_takes_a_held_object_over
 *     a held object that is announced is wanted [held-not-wanted]
 *     an announcement takes a held object over [held-deadline-stays]
 * a_held_object_that_was_filled_is_not_asked_for_when_announced
 *     a held object that was filled is not wanted [held-filled-wanted]
 * an_announcement_kills_a_negative_answer
 *     an announcement kills a negative answer [negative-outlives]
 * waiters_of_an_unlinked_announcement_ask_again
 *     waiters of a forgotten announcement ask again [wait-dead-expected]
 * a_waiter_on_a_document_is_woken_by_the_next_version
 *     nobody waits for what is over [wait-dead-document]
 * the_newest_version_is_served_and_there_is_no_gap
 *     the newest version takes the key without a gap [doc-gap]
 * a_stale_version_is_replaced_once_and_adopted
 *     a stale version is replaced when revalidation is asked for [stale-not-replaced]
 *     an adopted body counts against the cap [adopt-weightless]
 * a_replaced_version_leaves_its_homes_queue
 *     a replaced version leaves its home queue [prior-not-settled]
 * the_refresh_of_a_replaced_version_ends
 *     the refresh of a replaced version ends [prior-fill-goes-on]
 * a_scan_does_not_push_the_popular_out
 *     a scan does not push the popular out [evict-lru]
 *     what is used in the main queue stays [evict-main-unspared]
 * what_comes_back_soon_is_kept_longer
 *     what comes back soon is kept longer [evict-no-ghost]
 * objects_of_a_live_window_are_not_evicted
 *     objects of a live window are not evicted [evict-live]
 * a_loop_over_the_cap_asks_the_others
 *     a loop below its share asks the others [evict-greedy]
 * what_another_loop_replaced_is_not_an_eviction
 *     what another loop replaced is not an eviction [evict-counts-dead]
 * a_loop_stops_with_letters_under_way
 *     a loop stops with letters under way [stop-leaves-letters, asan]
 * a_loop_that_stops_starts_no_fill
 *     a loop that stops starts no fill [stop-starts-fills]
 *     a stopped home keeps no timer of its objects [stop-keeps-queues]
 * a_store_is_not_freed_before_its_letters_are_read
 *     a store is not freed before its letters are read [free-with-letters]
 * the_memory_cap_holds_while_objects_grow
 *     memory has a hard cap [pool-uncapped]
 * test_store_forced.c: random_worlds_hold_every_promise
 *     no second fill of one object [want-while-filled]
 * test_store_threads.c: three_loops_at_once
 *     it unregisters under the lock [view-unregistered-unlocked, tsan]
 *     published and the state are loaded with acquire [order-load-relaxed, tsan]
 *     published is stored with release [order-published-relaxed, tsan]
 *     the last reference sees what the others did [order-unref-relaxed, tsan]
 *     the state is stored with release: the head is complete [order-state-relaxed, tsan]
 * test_gobj.c: only_the_transitions_of_the_design_are_possible
 *     a body resumes only where it broke [state-resumed-any]
 *     only the transitions of the table [state-any]
 * test_gobj.c: what_is_not_whole_is_held_back
 *     what was held back is published before COMPLETE [order-held-back]
 * test_gobj.c: a_known_length_is_never_short_nor_over
 *     nothing goes over the promised length [append-over]
 *     nothing short is complete [complete-short]
 * test_gobj.c: no_memory_in_the_middle_of_an_append_shows_nothing
 *     an append is whole or not at all [append-half]
 *     the chunk of a failed append is used by the next [append-new-chunk, asan]
 * test_gobj.c: the_pool_never_passes_its_cap
 *     a refusal costs nothing [pool-leaks-on-refusal]
 * test_gobj.c: cursors_go_forward_and_jump_back
 *     a cursor may go back [cursor-no-way-back]
 * test_gobj.c: an_adopted_body_makes_no_chain
 *     adopted bodies make no chain [adopt-chain]
 * test_stream.c: the_number_decides_what_is_answered
 *     behind the window is gone [where-behind-fetched]
 *     further ahead than the next is absent [where-ahead-held]
 *     the next is held [where-next-absent]
 *     without a subscription nothing is known [where-unsubscribed-known]
 * test_stream.c: a_wide_gap_expires_what_is_behind_it
 *     a window has a longest span [where-gap-unbounded]
 * test_stream.c: holds_are_counted_for_each_stream
 *     holds are counted [hold-uncounted]
 * test_stream.c: the_answer_and_the_objects_change_in_the_right_order
 *     first the answer, then the objects [gone-before-answer]
 *     first the object, then its name [name-before-object]
 * test_stream.c: waiters_of_what_will_not_come_ask_again
 *     END and a new session unlink what was announced [gone-not-ended]
 *     EXPIRE unlinks what was announced [gone-not-expired]
 *     a lost subscription unlinks what was announced [gone-not-lost]
 *     the held one beyond goes too [gone-held-stays]
 * test_stream.c: a_failed_open_segment_wakes_its_readers_also_when_unlinked
 *     a failed segment wakes its readers [close-tells-nobody]
 * test_stream.c: the_newest_document_is_served_and_the_ring_is_bounded
 *     the ring of versions is bounded [doc-ring-unbounded]
 * test_stream.c: a_live_document_does_not_give_way_to_init_segments
 *     a live document does not give way [doc-first-in-first-out]
 * test_stream.c: documents_of_a_lost_stream_grow_stale_and_recover
 *     documents of a lost stream grow stale [doc-fresh-when-lost]
 *
 * What no test can show here: that a waiter is registered before the second look, and not after
 * (letters are delivered by the same thread, so nothing fits in between); that a plain load and
 * store of `armed` under the lock would lose a wake-up (x86 and the lock order them, hence the
 * sources are watched for one instead). The memory orders of `published`, the state and the
 * reference count are not visible on x86 either: TSan sees the race on what they protect.
 */
#include "tests/unit/store_world.h"

#include "tests/unit/check_hook.h"

enum { KIB = 1024, MIB = 1024 * 1024 };
enum { HOME = 0, V = 1, W = 2 }; /* loops: K's home, two viewers' */
static const char K[] = "/live/cam/0123456789abc/v0/7.m4s";

static int begin(void **state)
{
    (void)state;
    world_begin(64 * MIB, 16 * MIB, 256 * MIB);
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_end();
    return 0;
}

/* What a test does at a point, once; perhaps not the first time that it is passed. */
static const char *act_at;
static unsigned act_not_yet;
static void (*act)(void);
static void act_once(const char *point)
{
    void (*now)(void) = act;

    if (strcmp(point, act_at) != 0 || act_not_yet-- > 0)
        return;
    sync_hook = NULL;
    act = NULL;
    now();
}
static void at_point(const char *point, void (*what)(void))
{
    act_at = point;
    act_not_yet = 0;
    act = what;
    sync_hook = act_once;
}
static void assert_acted(void)
{
    assert_null(act); /* the point was passed */
    sync_hook = NULL;
}

static struct fill *the_fill(void)
{
    assert_non_null(w.fills);
    assert_null(w.fills->next); /* exactly one */
    return w.fills;
}

static void finish_with(size_t n)
{
    struct fill *f = the_fill();

    if (f->id == 0)
        fill_start(f, UINT64_MAX);
    fill_append(f, n);
    fill_complete(f);
    settle();
}

static struct store_ask hold_ask(void)
{
    struct store_ask ask = ask_for(K, HOME);

    ask.miss = STORE_HOLD;
    return ask;
}

static struct store_ask revalidating_ask(void)
{
    struct store_ask ask = ask_for(K, HOME);

    ask.revalidate = true;
    return ask;
}

/* A view that only the loop's table holds. */
static void leave_idle_view(int loop)
{
    struct store_ask ask = ask_for(K, HOME);
    struct view *v;
    bool inserted;

    assert_int_equal(store_open(&w.loop[loop], &ask, &v, &inserted), ST_OK);
    assert_false(inserted);
    drop_view(&v);
    assert_non_null(find(loop, K));
}

/* --- one fill --- */

static void one_object_and_one_want_for_many_misses_on_all_loops(void **state)
{
    struct reader r[30] = { 0 };

    (void)state;
    for (int i = 0; i < 30; i++) {
        reader_begin(&r[i], i % WORLD_LOOPS, K, HOME);
        if (i == 20)
            settle(); /* also when the fetch is under way */
    }
    settle();
    assert_int_equal(store_objects(w.s), 1);
    assert_int_equal(w.wants, 1);
    finish_with(1000);
    for (int i = 0; i < 30; i++)
        assert_int_equal(r[i].outcome, DONE);
    assert_int_equal(w.wants, 1);
    assert_int_equal(w.refreshes, 0);
    assert_int_equal(world_views(), WORLD_LOOPS); /* one per loop and object */
}

static struct reader other;
static void other_loop_asks(void) { reader_begin(&other, W, K, HOME); }

static void two_loops_that_miss_at_once_insert_one_object(void **state)
{
    struct reader r = { 0 };

    (void)state;
    other = (struct reader){ 0 };
    /* V has looked and found nothing; W inserts; V looks again under the lock */
    at_point("open:looking", other_loop_asks);
    act_not_yet = 1;
    reader_begin(&r, V, K, HOME);
    assert_acted();
    settle();
    assert_int_equal(store_objects(w.s), 1);
    assert_int_equal(w.wants, 1);
    assert_ptr_equal(view_gobj(r.v), view_gobj(other.v));
    finish_with(10);
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(other.outcome, DONE);
}

static void joiners_find_it_before_the_head(void **state)
{
    struct reader first = { 0 }, second = { 0 };

    (void)state;
    reader_begin(&first, V, K, HOME);
    reader_begin(&second, W, K, HOME); /* no letter has been delivered yet */
    assert_ptr_equal(view_gobj(first.v), view_gobj(second.v));
    assert_int_equal(gobj_now(view_gobj(second.v)).state, GOBJ_FETCHING);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    fill_append(the_fill(), 3);
    settle();
    assert_int_equal(first.got, 3); /* the first bytes, long before the last */
    assert_int_equal(second.got, 3);
    finish_with(4);
    assert_int_equal(second.got, 7);
}

static void a_late_letter_asks_for_nothing_that_is_there(void **state)
{
    struct reader r = { 0 };

    (void)state;
    struct gobj *o = expect(K, HOME);
    reader_begin(&r, V, K, HOME); /* wanted; the letter is on its way */
    unsigned id;
    object_start(o, &id, -1, UINT64_MAX);
    assert_int_equal(object_append(o, id, 9), ST_OK);
    object_complete(o, id);
    store_notify(o);
    store_completed(&w.loop[HOME], o);
    settle();
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(w.wants + w.refreshes, 0);
    gobj_unref(&o);

    w.fetch_announced = true; /* wanted, then unlinked, then the letter */
    o = expect("/x", HOME);
    struct reader x = { 0 };
    reader_begin(&x, V, "/x", HOME);
    store_unlink(&w.loop[HOME], o);
    settle();
    assert_int_equal(w.wants, 0);
    assert_int_equal(x.outcome, ASK_AGAIN);
    gobj_unref(&o);
}

static void a_fetch_unlinked_before_it_began_still_answers(void **state)
{
    struct reader r = { 0 };

    (void)state;
    reader_begin(&r, V, K, HOME);
    unlink_key(K);
    settle();
    assert_int_equal(w.wants, 1);
    finish_with(10);
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(mem_pool_used(&w.pool), 0); /* and is kept for nobody */
}

static void a_refresh_is_asked_for_once_it_is_stale_and_not_after(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 10, world_now_us + SEC_US);
    struct gobj *o = lookup(K);
    store_refresh(o);
    settle();
    assert_int_equal(w.refreshes, 0);
    pass_time(2 * SEC_US);
    for (int i = 0; i < 5; i++)
        store_refresh(o);
    settle();
    assert_int_equal(w.refreshes, 1);
    assert_true(the_fill()->refreshes);
    store_refresh(o);
    gobj_freshen(o, world_now_us + SEC_US);
    fill_end(the_fill());
    settle();
    assert_int_equal(w.refreshes, 1);
    gobj_unref(&o);
}

/* --- order of stores and loads --- */

static struct gobj *now_o;
static unsigned now_id;
static void append_and_complete(void)
{
    assert_int_equal(object_append(now_o, now_id, 50), ST_OK);
    object_complete(now_o, now_id);
}

static void the_state_is_loaded_before_published(void **state)
{
    struct gobj_now now;

    (void)state;
    now_o = expect(K, HOME);
    object_start(now_o, &now_id, -1, UINT64_MAX);
    assert_int_equal(object_append(now_o, now_id, 50), ST_OK);
    at_point("now:between", append_and_complete);
    now = gobj_now(now_o);
    assert_acted();
    assert_false(now.state == GOBJ_COMPLETE && now.published < 100);
    now = gobj_now(now_o);
    assert_int_equal(now.state, GOBJ_COMPLETE);
    assert_int_equal(now.published, 100);
    gobj_unref(&now_o);
}

static uint64_t published_then;
static enum gobj_state state_then;
static void look_now(void)
{
    published_then = gobj_now(now_o).published;
    state_then = gobj_now(now_o).state;
}

static void bytes_are_written_before_they_are_published(void **state)
{
    (void)state;
    now_o = expect(K, HOME);
    object_start(now_o, &now_id, -1, UINT64_MAX);
    assert_int_equal(object_append(now_o, now_id, 50), ST_OK);
    at_point("append:written", look_now);
    assert_int_equal(object_append(now_o, now_id, 50), ST_OK);
    assert_acted();
    assert_int_equal(published_then, 50);
    gobj_unref(&now_o);
}

static void an_adopted_body_is_published_before_it_is_complete(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 500, world_now_us);
    reader_ask(&r, V, &ask);
    settle();
    now_o = the_fill()->o;
    at_point("adopt:published", look_now);
    fill_adopt(the_fill(), UINT64_MAX);
    assert_acted();
    assert_int_equal(published_then, 500);
    assert_int_equal(state_then, GOBJ_FETCHING);
    settle();
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(r.got, 500);
}

/* --- letters --- */

static void one_letter_a_view_and_one_signal_a_loop(void **state)
{
    struct reader r[9] = { 0 };
    struct reader second = { 0 };

    (void)state;
    for (int i = 0; i < 9; i++)
        reader_begin(&r[i], i % WORLD_LOOPS, K, HOME);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    settle();
    atomic_store(&letters_pushed, 0);
    atomic_store(&signals_sent, 0);
    for (int i = 0; i < 4; i++)
        fill_append(the_fill(), 10);
    assert_int_equal(atomic_load(&letters_pushed), WORLD_LOOPS); /* not one per append */
    assert_int_equal(atomic_load(&signals_sent), WORLD_LOOPS);
    settle();
    for (int i = 0; i < 9; i++)
        assert_int_equal(r[i].got, 40);
    fill_append(the_fill(), 10);
    assert_int_equal(atomic_load(&letters_pushed), 2 * WORLD_LOOPS); /* armed again */
    assert_int_equal(atomic_load(&signals_sent), 2 * WORLD_LOOPS);
    settle();

    /* a second object's letter into a mailbox that has one owes no signal */
    reader_begin(&second, V, "/2", HOME);
    settle();
    struct fill *f2 = w.fills;
    fill_append(f2->next, 10);
    unsigned before = atomic_load(&signals_sent);
    fill_start(f2, UINT64_MAX);
    assert_int_equal(atomic_load(&signals_sent), before);
    settle();
    fill_append(f2, 1);
    fill_complete(f2);
    finish_with(1);
    assert_int_equal(second.outcome, DONE);
}

static void flags_are_only_exchanged(void **state)
{
    struct reader r[6] = { 0 };

    (void)state;
    atomic_store(&flags_touched_plainly, 0);
    for (int i = 0; i < 6; i++)
        reader_begin(&r[i], i % WORLD_LOOPS, K, HOME);
    settle();
    finish_with(100);
    leave_idle_view(V);
    unlink_key(K);
    settle();
    assert_int_equal(atomic_load(&flags_touched_plainly), 0);
}

static void a_waiter_registers_and_then_looks_again(void **state)
{
    struct reader r = { 0 };

    (void)state;
    reader_begin(&r, V, K, HOME);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    settle();
    struct gobj_now seen = r.seen;
    view_cancel(&r.waiter);
    fill_append(the_fill(), 10);
    settle(); /* the letter has come: nobody waited */
    assert_false(view_wait(r.v, &r.waiter, seen));
    assert_null(r.waiter.on);
    reader_run(&r);
    assert_int_equal(r.got, 10);
    finish_with(5);
    assert_int_equal(r.outcome, DONE);
}

static void append_while_it_parks(void) { fill_append(the_fill(), 10); }

static void armed_is_cleared_before_the_waiters_are_walked(void **state)
{
    struct reader r = { 0 };

    (void)state;
    reader_begin(&r, V, K, HOME);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    settle();
    /* the letter is being delivered, the reader has looked, not found anything, and is back on the
     * list: what comes now needs a letter of its own */
    store_notify(view_gobj(r.v));
    at_point("now:between", append_while_it_parks);
    turn(V); /* deliver -> wake -> look; the append falls between its state and published */
    sync_hook = NULL;
    settle();
    assert_int_equal(r.got, 10);

    store_notify(view_gobj(r.v));
    at_point("wait:registered", append_while_it_parks);
    turn(V);
    assert_acted();
    settle();
    assert_int_equal(r.got, 20);
    finish_with(1);
}

static void appends_when_woken(struct reader *r)
{
    unsigned wakes = r->wakes;

    reader_run(r); /* has parked again */
    if (wakes < 5)
        fill_append(the_fill(), 10); /* as a writer on another loop may at this very moment */
}

static void a_change_during_the_walk_is_not_lost(void **state)
{
    struct reader r = { .on_wake = appends_when_woken };

    (void)state;
    reader_begin(&r, V, K, HOME);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    settle();
    assert_int_equal(r.got, 40);
    assert_int_equal(r.wakes, 5);
    r.on_wake = NULL;
    finish_with(1);
    assert_int_equal(r.outcome, DONE);
}

static void parks_again_at_once(struct reader *r)
{
    assert_true(r->wakes < 50); /* one change, one wake-up */
    r->parked_as += 1000000 + r->wakes;
    assert_true(view_wait(r->v, &r->waiter, gobj_now(view_gobj(r->v))));
}

static void a_waiter_may_park_again_in_its_wake_up_and_is_woken_once(void **state)
{
    struct reader r[3] = { { .on_wake = parks_again_at_once },
                           { .on_wake = parks_again_at_once },
                           { .on_wake = parks_again_at_once } };

    (void)state;
    for (int i = 0; i < 3; i++)
        reader_begin(&r[i], V, K, HOME);
    settle();
    for (unsigned change = 1; change <= 4; change++) {
        if (change == 1)
            fill_start(the_fill(), UINT64_MAX);
        else
            fill_append(the_fill(), 1);
        settle();
        for (int i = 0; i < 3; i++)
            assert_int_equal(r[i].wakes, change);
    }
    for (int i = 0; i < 3; i++)
        reader_leave(&r[i]);
    finish_with(1);
}

static struct reader *victims[3];
static unsigned woken_in_order;
static void cancels_the_next(struct reader *r)
{
    woken_in_order++;
    if (r == victims[0]) {
        reader_leave(victims[1]);
        reader_leave(victims[0]);
    } else {
        reader_run(r);
    }
}

static void the_oldest_waiter_is_first_and_a_cancelled_one_is_not_woken(void **state)
{
    struct reader r[3] = { { .on_wake = cancels_the_next },
                           { .on_wake = cancels_the_next },
                           { .on_wake = cancels_the_next } };

    (void)state;
    woken_in_order = 0;
    for (int i = 0; i < 3; i++) {
        victims[i] = &r[i];
        reader_begin(&r[i], V, K, HOME);
    }
    settle();
    fill_start(the_fill(), UINT64_MAX); /* reader_wake() checks the order */
    settle();
    assert_int_equal(woken_in_order, 2);
    assert_int_equal(r[0].wakes, 1);
    assert_int_equal(r[1].wakes, 0);
    assert_int_equal(r[2].wakes, 1);
    finish_with(1);
    assert_int_equal(r[2].outcome, DONE);
}

/* --- views --- */

static void a_view_is_freed_by_its_loop_after_the_turn(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 10, UINT64_MAX);
    leave_idle_view(V);
    struct view *v = find(V, K);
    struct own *held = own_ref(view_own(v));
    unlink_key(K);
    settle();
    assert_int_equal(world_views(), 1); /* dead, and held by a request */
    own_unref(&held);
    assert_int_equal(world_views(), 1); /* buried: we may be inside its callback */
    turn(HOME);
    assert_int_equal(world_views(), 1); /* by nobody else */
    turn(V);
    assert_int_equal(world_views(), 0);
}

static void leaves_when_woken(struct reader *r)
{
    reader_leave(r);
    assert_int_equal(store_loop_of(&w.loop[V])->all_views, 1);
}

static void nothing_is_freed_inside_its_own_callback(void **state)
{
    struct reader r = { 0 };

    (void)state;
    w.carry_on = true;
    reader_begin(&r, V, K, HOME);
    settle();
    unlink_key(K);
    settle(); /* the table has let go: the reader is the last holder */
    r.on_wake = leaves_when_woken;
    fill_start(the_fill(), UINT64_MAX);
    settle();
    assert_int_equal(r.outcome, IDLE);
    fill_fail(the_fill());
    assert_world_is_empty();
}

static void a_view_waits_for_its_letter_before_it_goes(void **state)
{
    struct reader r = { 0 };

    (void)state;
    reader_begin(&r, V, K, HOME);
    settle();
    unlink_key(K);
    turn(V); /* the table has let go; the reader has been told of the failure */
    assert_int_equal(r.outcome, ABORTED);
    settle();
    assert_world_is_empty();

    /* the same, but the letter is in the mailbox when the last holder goes */
    w.carry_on = true;
    reader_begin(&r, V, K, HOME);
    settle();
    unlink_key(K);
    settle();
    fill_start(the_fill(), UINT64_MAX); /* letter */
    reader_leave(&r);
    assert_null(w.loop[V].graves);
    assert_int_equal(world_views(), 1);
    turn(V);
    assert_int_equal(world_views(), 0);
    fill_fail(the_fill());
}

static struct reader *leaver;
static bool leaver_buried;
static void leaver_goes(void)
{
    reader_leave(leaver); /* the letter is in the mailbox, its signal is not */
    leaver_buried = w.loop[leaver->loop].graves != NULL;
    turn(leaver->loop); /* takes the letter all the same */
}

static void a_letter_without_its_signal_keeps_the_view(void **state)
{
    struct reader r = { 0 };

    (void)state;
    w.carry_on = true;
    reader_begin(&r, V, K, HOME);
    settle();
    unlink_key(K);
    settle();
    leaver = &r;
    at_point("signal:before", leaver_goes);
    fill_start(the_fill(), UINT64_MAX);
    assert_acted();
    assert_false(leaver_buried);
    settle();
    assert_int_equal(world_views(), 0);
    fill_fail(the_fill());
}

static void a_view_that_is_gone_gets_no_letter(void **state)
{
    struct reader r = { 0 };

    (void)state;
    w.carry_on = true;
    reader_begin(&r, V, K, HOME);
    settle();
    unlink_key(K);
    settle();
    reader_leave(&r);
    unsigned before = atomic_load(&letters_pushed);
    fill_start(the_fill(), UINT64_MAX);
    assert_int_equal(atomic_load(&letters_pushed), before);
    settle();
    assert_null(the_fill()->o->views);
    fill_fail(the_fill());
}

static void a_replaced_object_leaves_one_view_however_the_table_grows(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };
    char key[WORLD_KEY_MAX];

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 10, world_now_us);
    leave_idle_view(V);
    reader_ask(&r, V, &ask); /* replaces it; the old view is still in the table */
    struct view *v = r.v;
    for (unsigned i = 0; store_loop_of(&w.loop[V])->buckets == VIEW_BUCKETS_MIN; i++) {
        (void)snprintf(key, sizeof key, "/fill/%u", i);
        publish(key, HOME, GOBJ_MEDIA, 1, UINT64_MAX);
        struct store_ask a = ask_for(key, HOME);
        struct view *idle;
        bool inserted;
        assert_int_equal(store_open(&w.loop[V], &a, &idle, &inserted), ST_OK);
        drop_view(&idle);
        assert_true(i < 2 * VIEW_BUCKETS_MIN);
    }
    assert_ptr_equal(find(V, K), v); /* whichever of the two comes first in its chain */
    settle();
    assert_ptr_equal(find(V, K), v);
    finish_with(10);
    assert_int_equal(r.outcome, DONE);
}

/* --- unlinking --- */

static void dead_is_checked_on_every_hit(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 10, UINT64_MAX);
    leave_idle_view(V);
    unlink_key(K);
    assert_null(find(V, K)); /* its letter has not come yet */
    struct reader r = { 0 };
    reader_begin(&r, V, K, HOME);
    assert_int_equal(r.outcome, WAITING); /* a new object */
    settle();
    finish_with(3);
    assert_int_equal(r.got, 3);
}

static void an_idle_view_of_an_unlinked_object_pins_nothing(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 100 * KIB, UINT64_MAX);
    for (int i = 0; i < WORLD_LOOPS; i++)
        leave_idle_view(i);
    assert_true(mem_pool_used(&w.pool) > 100 * KIB);
    unlink_key(K);
    settle(); /* no request comes */
    assert_world_is_empty();
}

static void a_reader_of_an_unlinked_object_reads_on(void **state)
{
    struct reader r = { 0 };

    (void)state;
    w.carry_on = true;
    reader_begin(&r, V, K, HOME);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    fill_append(the_fill(), 100);
    settle();
    unlink_key(K);
    settle();
    assert_int_equal(r.outcome, WAITING);
    finish_with(100);
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(r.got, 200);
    assert_world_is_empty();
}

static struct gobj *looked_up;
static void unlink_now(void)
{
    unlink_key(K);
    settle();
}

static void a_lookup_takes_its_reference_under_the_lock(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 100, UINT64_MAX);
    at_point("lookup:unlocked", unlink_now);
    looked_up = lookup(K);
    assert_acted();
    assert_non_null(looked_up);
    assert_int_equal(gobj_now(looked_up).published, 100); /* ASan watches */
    assert_true(gobj_is_dead(looked_up));
    gobj_unref(&looked_up);
    assert_world_is_empty();
}

static void a_view_is_registered_under_the_lock(void **state)
{
    struct store_ask ask = ask_for(K, HOME);
    struct view *v;
    bool inserted;

    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 100, UINT64_MAX);
    at_point("open:registered", unlink_now);
    assert_int_equal(store_open(&w.loop[V], &ask, &v, &inserted), ST_OK);
    assert_acted();
    assert_int_equal(gobj_now(view_gobj(v)).published, 100);
    settle();
    assert_null(find(V, K));
    drop_view(&v);
    settle();
    assert_world_is_empty();
}

static void *unref_elsewhere(void *arg)
{
    struct gobj *o = arg;

    gobj_unref(&o);
    return NULL;
}

static void the_last_reference_frees_on_any_thread(void **state)
{
    pthread_t t;

    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 100 * KIB, UINT64_MAX);
    struct gobj *o = lookup(K);
    store_unlink(&w.loop[HOME], o);
    assert_true(mem_pool_used(&w.pool) > 0);
    assert_int_equal(pthread_create(&t, NULL, unref_elsewhere, o), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_world_is_empty();
}

static void home_starts_it(void)
{
    fill_start(the_fill(), UINT64_MAX);
    fill_fail(the_fill());
    settle();
}

static void the_prior_is_let_go_of_once(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 10, world_now_us);
    reader_ask(&r, V, &ask);
    settle();
    struct gobj *o = gobj_ref(view_gobj(r.v));
    at_point("unref:dropping", home_starts_it);
    gobj_unref(&o); /* we are about to give ours up; the home starts, fails and unlinks it */
    assert_acted();
    settle();
    assert_int_equal(r.outcome, ABORTED);
    assert_world_is_empty();
}

static void a_lifetime_ends_by_unlinking_and_not_on_a_dead_object(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_MEDIA, 10, UINT64_MAX);
    struct gobj *o = lookup(K);
    store_unlink_at(&w.loop[HOME], o, world_now_us + SEC_US);
    pass_time(SEC_US / 2);
    assert_false(gobj_is_dead(o));
    pass_time(SEC_US);
    assert_true(gobj_is_dead(o));
    store_unlink_at(&w.loop[HOME], o, world_now_us + SEC_US);
    assert_false(timer_is_set(store_timer(o)));
    gobj_unref(&o);
    assert_world_is_empty();
}

/* --- expected, held, negative --- */

static void a_held_object_becomes_negative_when_its_hold_is_over(void **state)
{
    struct store_ask ask = hold_ask();
    struct reader r[2] = { { 0 }, { 0 } };

    (void)state;
    reader_ask(&r[0], V, &ask);
    reader_ask(&r[1], W, &ask);
    settle();
    assert_int_equal(w.wants, 0);
    assert_int_equal(r[0].outcome, WAITING);
    pass_time(WORLD_HOLD_US + SEC_US / 2);
    assert_int_equal(w.held_over, 1);
    assert_int_equal(r[0].outcome, NOT_FOUND);
    assert_int_equal(r[1].outcome, NOT_FOUND);
    pass_time(WORLD_NEGATIVE_US + SEC_US / 2);
    assert_world_is_empty();
}

static void an_announcement_takes_a_held_object_over(void **state)
{
    struct store_ask ask = hold_ask();
    struct reader r = { 0 };

    (void)state;
    w.fetch_announced = true;
    reader_ask(&r, V, &ask);
    settle();
    struct gobj *o = expect(K, HOME);
    assert_ptr_equal(o, view_gobj(r.v));
    assert_false(store_was_held(o));
    assert_false(timer_is_set(store_timer(o)));
    settle();
    assert_int_equal(w.wants, 1); /* somebody waits for it */
    pass_time(2 * WORLD_HOLD_US);
    assert_int_equal(r.outcome, WAITING);
    gobj_unref(&o);
    finish_with(10);
    assert_int_equal(r.outcome, DONE);
    o = expect(K, HOME); /* late, and again: it is there, nothing is asked */
    settle();
    assert_int_equal(w.wants + w.refreshes, 1);
    gobj_unref(&o);
}

static void a_held_object_that_was_filled_is_not_asked_for_when_announced(void **state)
{
    struct store_ask ask = hold_ask();
    struct reader r = { 0 };

    (void)state;
    reader_ask(&r, V, &ask);
    settle();
    struct gobj *o = lookup(K);
    timer_cancel(&w.loop[HOME], store_timer(o));
    gobj_fetching(o); /* the subscription is gone: it is fetched after all */
    (void)fill_new(o);
    gobj_unref(&o);
    fill_start(the_fill(), UINT64_MAX);
    o = expect(K, HOME);
    settle();
    assert_int_equal(w.wants + w.refreshes, 0);
    gobj_unref(&o);
    finish_with(3);
    assert_int_equal(r.outcome, DONE);
}

static void an_announcement_kills_a_negative_answer(void **state)
{
    struct reader r = { 0 };

    (void)state;
    reader_begin(&r, V, K, HOME);
    settle();
    fill_negative(the_fill());
    settle();
    assert_int_equal(r.outcome, NOT_FOUND);
    reader_begin(&r, W, K, HOME);
    assert_int_equal(r.outcome, NOT_FOUND); /* from memory */
    assert_int_equal(w.wants, 1);
    struct gobj *o = expect(K, HOME);
    assert_int_equal(gobj_now(o).state, GOBJ_EXPECTED);
    gobj_unref(&o);
    settle();
    reader_begin(&r, W, K, HOME);
    assert_int_equal(r.outcome, WAITING);
    unlink_key(K);
    settle();
    assert_int_equal(r.outcome, ASK_AGAIN);
    pass_time(WORLD_NEGATIVE_US * 3); /* the old answer's deadline hits nobody */
    assert_world_is_empty();
}

static void waiters_of_an_unlinked_announcement_ask_again(void **state)
{
    struct reader r = { 0 }, late = { 0 };

    (void)state;
    struct gobj *o = expect(K, HOME);
    reader_begin(&r, V, K, HOME);
    reader_begin(&late, W, K, HOME);
    settle();
    view_cancel(&late.waiter); /* about to park again when the letter has come and gone */
    struct gobj_now seen = late.seen;
    store_unlink(&w.loop[HOME], o);
    settle();
    assert_int_equal(r.outcome, ASK_AGAIN);
    assert_false(view_wait(late.v, &late.waiter, seen));
    reader_leave(&late);
    gobj_unref(&o);
    settle();
    assert_world_is_empty();
}

static void a_waiter_on_a_document_is_woken_by_the_next_version(void **state)
{
    struct reader r = { 0 };
    struct store_ask ask = ask_for(K, HOME);
    bool inserted;

    (void)state;
    publish(K, HOME, GOBJ_DOC, 10, UINT64_MAX);
    r.waiter.wake = reader_wake;
    r.outcome = WAITING;
    assert_int_equal(store_open(&w.loop[V], &ask, &r.v, &inserted), ST_OK);
    struct gobj_now seen = gobj_now(view_gobj(r.v));
    r.parked_as = UINT64_MAX;
    assert_true(view_wait(r.v, &r.waiter, seen));
    publish(K, HOME, GOBJ_DOC, 20, UINT64_MAX);
    w.content[1] = 11; /* reader_run() reads the version it holds */
    settle();
    assert_int_equal(r.wakes, 1);
    assert_int_equal(r.outcome, DONE);

    /* and one that looks too late does not park for ever */
    assert_int_equal(store_open(&w.loop[V], &ask, &r.v, &inserted), ST_OK);
    seen = gobj_now(view_gobj(r.v));
    publish(K, HOME, GOBJ_DOC, 30, UINT64_MAX);
    settle();
    assert_false(view_wait(r.v, &r.waiter, seen));
    drop_view(&r.v);
}

/* --- versions --- */

static void the_newest_version_is_served_and_there_is_no_gap(void **state)
{
    struct reader r = { 0 };

    (void)state;
    for (size_t n = 1; n <= 5; n++) {
        publish(K, HOME, GOBJ_DOC, n, UINT64_MAX);
        for (int i = 0; i < WORLD_LOOPS; i++) { /* also before the letters have come */
            reader_begin(&r, i, K, HOME);
            assert_int_equal(r.outcome, DONE);
            assert_int_equal(r.got, n);
        }
        assert_int_equal(store_objects(w.s), 1);
    }
    settle();
    assert_int_equal(w.wants, 0);
    assert_int_equal(world_views(), WORLD_LOOPS);
}

static void a_stale_version_is_replaced_once_and_adopted(void **state)
{
    struct store_ask ask;
    struct reader r[4] = { { 0 } };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 100, world_now_us + SEC_US);
    leave_idle_view(V);
    uint64_t bytes = store_cache_bytes(w.s), used = mem_pool_used(&w.pool);
    for (int round = 0; round < 4; round++) {
        pass_time(2 * SEC_US);
        ask = revalidating_ask();
        for (int i = 0; i < 4; i++)
            reader_ask(&r[i], i % WORLD_LOOPS, &ask);
        settle();
        assert_int_equal(w.wants, round + 1);
        assert_non_null(gobj_prior(the_fill()->o));
        assert_int_equal(r[3].outcome, WAITING);
        fill_adopt(the_fill(), world_now_us + SEC_US);
        settle();
        for (int i = 0; i < 4; i++)
            assert_int_equal(r[i].outcome, DONE);
        assert_int_equal(store_objects(w.s), 1);
        assert_int_equal(store_cache_bytes(w.s), bytes); /* the body is counted, once */
        assert_int_equal(mem_pool_used(&w.pool), used);
        struct gobj *o = lookup(K);
        assert_null(gobj_prior(gobj_prior(o)));
        gobj_unref(&o);
    }
    ask = revalidating_ask(); /* fresh: nobody is asked */
    reader_ask(&r[0], V, &ask);
    assert_int_equal(r[0].outcome, DONE);
    settle();
    assert_int_equal(w.wants, 4);
}

static void a_replaced_version_leaves_its_homes_queue(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 100, world_now_us);
    struct gobj *old = lookup(K);
    store_unlink_at(&w.loop[HOME], old, world_now_us + 60 * SEC_US);
    gobj_unref(&old);
    reader_ask(&r, V, &ask);
    struct gobj *o = gobj_ref(view_gobj(r.v)); /* the home starts before the letter has come */
    unsigned id;
    object_start(o, &id, -1, UINT64_MAX);
    assert_int_equal(mem_pool_used(&w.pool), 0);
    assert_int_equal(store_cache_bytes(w.s), 0);
    settle();
    assert_int_equal(object_append(o, id, 1), ST_OK);
    object_complete(o, id);
    store_notify(o);
    store_completed(&w.loop[HOME], o);
    gobj_unref(&o);
    settle();
    assert_int_equal(r.outcome, DONE);
    assert_int_equal(w.wants, 0);
}

static void the_refresh_of_a_replaced_version_ends(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 100, world_now_us);
    struct gobj *o = lookup(K);
    store_refresh(o);
    settle();
    assert_int_equal(w.refreshes, 1);
    reader_ask(&r, V, &ask);
    settle();
    assert_int_equal(w.unlinked, 1);
    assert_null(o->fill);
    gobj_unref(&o);
    finish_with(5);
    assert_int_equal(r.got, 5);
}

/* --- eviction --- */

enum { BODY = 16 * KIB, WEIGHT = BODY + sizeof(struct gobj) + 10 }; /* of one in these tests */

static bool has(const char *key)
{
    struct gobj *o = lookup(key);
    bool there = o != NULL;

    gobj_unref(&o);
    return there;
}

static const char *numbered(const char *what, unsigned i)
{
    static char key[WORLD_KEY_MAX];

    (void)snprintf(key, sizeof key, "/%s/%u", what, i);
    return key;
}

static void use(unsigned i, const char *what)
{
    struct reader r = { 0 };

    reader_begin(&r, V, numbered(what, i), i % WORLD_LOOPS);
    settle();
    if (w.fills != NULL)
        finish_with(BODY);
    assert_int_equal(r.outcome, DONE);
}

static void a_scan_does_not_push_the_popular_out(void **state)
{
    const unsigned fits = 120, hot = 30;
    unsigned survivors = 0;

    (void)state;
    store_set_limits(w.s, fits * WEIGHT, MIB);
    for (int round = 0; round < 4; round++)
        for (unsigned i = 0; i < hot; i++)
            use(i, "hot");
    for (unsigned i = 0; i < 10 * fits; i++) {
        use(i, "scan");
        if (i % 8 == 0)
            use(i / 8 % hot, "hot"); /* somebody watches them meanwhile */
        assert_true(store_cache_bytes(w.s) <= fits * WEIGHT);
    }
    for (unsigned i = 0; i < hot; i++)
        survivors += has(numbered("hot", i));
    assert_int_equal(survivors, hot);
    assert_int_equal(w.wants, hot + 10 * fits); /* none of them was fetched twice */
    assert_true(w.evicted > 9 * fits);
}

static void what_comes_back_soon_is_kept_longer(void **state)
{
    (void)state;
    store_set_limits(w.s, 40 * WEIGHT, MIB);
    use(0, "back");
    for (unsigned i = 0; has(numbered("back", 0)); i++)
        use(i, "first"); /* until it is pushed out, unloved */
    use(0, "back");
    struct gobj *o = lookup(numbered("back", 0));
    assert_int_equal(o->fifo, FIFO_MAIN);
    gobj_unref(&o);
}

static void objects_of_a_live_window_are_not_evicted(void **state)
{
    (void)state;
    store_set_limits(w.s, 20 * WEIGHT, MIB);
    for (unsigned i = 0; i < 40; i++) {
        use(i, "live");
        struct gobj *o = lookup(numbered("live", i));
        store_set_windowed(home_loop(o), o, true);
        gobj_unref(&o);
    }
    for (unsigned i = 0; i < 100; i++)
        use(i, "other");
    for (unsigned i = 0; i < 40; i++)
        assert_true(has(numbered("live", i)));
    for (unsigned i = 0; i < 40; i++) { /* the window moves on */
        struct gobj *o = lookup(numbered("live", i));
        store_set_windowed(home_loop(o), o, false);
        gobj_unref(&o);
    }
    settle();
    assert_true(store_cache_bytes(w.s) <= 20 * WEIGHT);
}

static void a_loop_over_the_cap_asks_the_others(void **state)
{
    (void)state;
    store_set_limits(w.s, 30 * WEIGHT, MIB);
    for (unsigned i = 0; i < 30; i++)
        use(3 * i, "a"); /* all at home on loop 0 */
    assert_int_equal(w.evicted, 0);
    for (unsigned i = 0; i < 10; i++)
        use(3 * i + 1, "b"); /* loop 1 is below its share */
    settle();
    for (unsigned i = 0; i < 10; i++)
        assert_true(has(numbered("b", 3 * i + 1)));
    assert_int_equal(w.evicted, 10);
}

static void what_another_loop_replaced_is_not_an_eviction(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, BODY, world_now_us);
    reader_ask(&r, V, &ask); /* K's old version is dead, and still in its home's queue */
    store_set_limits(w.s, 0, MIB);
    publish("/other", HOME, GOBJ_MEDIA, BODY, UINT64_MAX);
    assert_int_equal(w.evicted, 1);
    assert_int_equal(store_cache_bytes(w.s), 0);
    settle();
    finish_with(3);
    assert_int_equal(r.outcome, DONE);
}

/* --- the end of a loop --- */

static void a_loop_stops_with_letters_under_way(void **state)
{
    struct reader r[3] = { { 0 } };

    (void)state;
    for (int i = 0; i < 3; i++)
        reader_begin(&r[i], i, K, HOME); /* a want letter for the home */
    settle();
    fill_start(the_fill(), UINT64_MAX);
    settle();
    fill_append(the_fill(), 10); /* a letter for each view */
    for (int i = 0; i < 3; i++)
        reader_leave(&r[i]);
    store_loop_stop(&w.loop[V]);
    assert_null(store_loop_of(&w.loop[V]));
    fill_append(the_fill(), 10); /* no letter for it any more */
    assert_null(atomic_load(&w.loop[V].mailbox.newest));
    store_loop_stop(&w.loop[W]);
    fill_end(the_fill());
    reader_begin(&r[0], HOME, "/other", V); /* wanted of a loop that has stopped */
    reader_leave(&r[0]);
    store_loop_stop(&w.loop[HOME]);
    settle(); /* world_end(): all is freed */
    assert_int_equal(w.wants, 1);
}

static void a_loop_that_stops_starts_no_fill(void **state)
{
    struct store_ask ask = revalidating_ask();
    struct reader r = { 0 };

    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 10, world_now_us);
    struct gobj *old = lookup(K);
    store_unlink_at(&w.loop[HOME], old, world_now_us + 60 * SEC_US);
    gobj_unref(&old);
    reader_ask(&r, V, &ask); /* K's want letter is on its way to HOME */
    leave_idle_view(HOME);
    publish("/q", HOME, GOBJ_MEDIA, 10, UINT64_MAX);
    store_loop_stop(&w.loop[HOME]);
    assert_int_equal(w.wants, 0);
    reader_leave(&r);
}

static void v_asks_for_k(void)
{
    struct store_ask ask = revalidating_ask();

    reader_ask(&other, W, &ask);
}

static void a_letter_posted_while_a_loop_stops_is_let_go(void **state)
{
    (void)state;
    other = (struct reader){ 0 };
    publish(K, HOME, GOBJ_OUTSIDE, 10, world_now_us);
    leave_idle_view(HOME);
    at_point("last:unregistered", v_asks_for_k); /* store_loop_stop() lets go of that view */
    store_loop_stop(&w.loop[HOME]);
    assert_acted();
    assert_int_equal(w.wants, 0);
    reader_leave(&other);
}

static void free_store(void *arg)
{
    (void)arg;
    struct store *s = w.s;

    store_free(&s);
}

static void a_store_is_not_freed_before_its_letters_are_read(void **state)
{
    (void)state;
    publish(K, HOME, GOBJ_OUTSIDE, 10, world_now_us); /* nobody views it */
    struct gobj *o = lookup(K);
    store_refresh(o);
    gobj_unref(&o);
    assert_true(dies(free_store, NULL));
}

static void the_memory_cap_holds_while_objects_grow(void **state)
{
    struct reader r = { 0 };

    (void)state;
    mem_pool_set_limit(&w.pool, 100 * KIB);
    reader_begin(&r, V, K, HOME);
    settle();
    fill_start(the_fill(), UINT64_MAX);
    for (int i = 0; i < 50; i++) {
        fill_append(the_fill(), 10 * KIB);
        assert_true(mem_pool_used(&w.pool) <= 100 * KIB);
    }
    settle();
    assert_in_range(r.got, 50 * KIB, 100 * KIB);
    fill_fail(the_fill());
    settle();
    assert_int_equal(r.outcome, ABORTED);
    assert_world_is_empty();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(one_object_and_one_want_for_many_misses_on_all_loops),
        T(two_loops_that_miss_at_once_insert_one_object),
        T(joiners_find_it_before_the_head),
        T(a_late_letter_asks_for_nothing_that_is_there),
        T(a_fetch_unlinked_before_it_began_still_answers),
        T(a_refresh_is_asked_for_once_it_is_stale_and_not_after),
        T(the_state_is_loaded_before_published),
        T(bytes_are_written_before_they_are_published),
        T(an_adopted_body_is_published_before_it_is_complete),
        T(one_letter_a_view_and_one_signal_a_loop),
        T(flags_are_only_exchanged),
        T(a_waiter_registers_and_then_looks_again),
        T(armed_is_cleared_before_the_waiters_are_walked),
        T(a_change_during_the_walk_is_not_lost),
        T(a_waiter_may_park_again_in_its_wake_up_and_is_woken_once),
        T(the_oldest_waiter_is_first_and_a_cancelled_one_is_not_woken),
        T(a_view_is_freed_by_its_loop_after_the_turn),
        T(nothing_is_freed_inside_its_own_callback),
        T(a_view_waits_for_its_letter_before_it_goes),
        T(a_letter_without_its_signal_keeps_the_view),
        T(a_view_that_is_gone_gets_no_letter),
        T(a_replaced_object_leaves_one_view_however_the_table_grows),
        T(dead_is_checked_on_every_hit),
        T(an_idle_view_of_an_unlinked_object_pins_nothing),
        T(a_reader_of_an_unlinked_object_reads_on),
        T(a_lookup_takes_its_reference_under_the_lock),
        T(a_view_is_registered_under_the_lock),
        T(the_last_reference_frees_on_any_thread),
        T(the_prior_is_let_go_of_once),
        T(a_lifetime_ends_by_unlinking_and_not_on_a_dead_object),
        T(a_held_object_becomes_negative_when_its_hold_is_over),
        T(an_announcement_takes_a_held_object_over),
        T(a_held_object_that_was_filled_is_not_asked_for_when_announced),
        T(an_announcement_kills_a_negative_answer),
        T(waiters_of_an_unlinked_announcement_ask_again),
        T(a_waiter_on_a_document_is_woken_by_the_next_version),
        T(the_newest_version_is_served_and_there_is_no_gap),
        T(a_stale_version_is_replaced_once_and_adopted),
        T(a_replaced_version_leaves_its_homes_queue),
        T(the_refresh_of_a_replaced_version_ends),
        T(a_scan_does_not_push_the_popular_out),
        T(what_comes_back_soon_is_kept_longer),
        T(objects_of_a_live_window_are_not_evicted),
        T(a_loop_over_the_cap_asks_the_others),
        T(what_another_loop_replaced_is_not_an_eviction),
        T(a_loop_stops_with_letters_under_way),
        T(a_loop_that_stops_starts_no_fill),
        T(a_letter_posted_while_a_loop_stops_is_let_go),
        T(a_store_is_not_freed_before_its_letters_are_read),
        T(the_memory_cap_holds_while_objects_grow),
    };

    cmocka_set_test_filter(getenv("FRESHET_TEST")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
