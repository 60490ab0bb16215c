/* The growing object by itself: states, bytes at every size, the pool, cursors, adopted bodies. */
#include "tests/unit/store_world.h"

#include "tests/unit/check_hook.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static int begin(void **state)
{
    (void)state;
    world_begin(64 * MIB, 8 * MIB, 64 * MIB);
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_end();
    return 0;
}

static struct gobj *make(struct gobj *prior)
{
    return gobj_new(w.s, "/k", 2, store_hash(w.s, "/k", 2), 0, GOBJ_OUTSIDE,
                    prior != NULL ? GOBJ_FETCHING : GOBJ_EXPECTED, prior);
}

static struct gobj *make_streaming(int64_t length, unsigned *id)
{
    struct gobj *o = make(NULL);

    object_start(o, id, length, UINT64_MAX);
    return o;
}

static struct gobj *make_complete(size_t n)
{
    unsigned id;
    struct gobj *o = make_streaming(-1, &id);

    assert_int_equal(object_append(o, id, n), ST_OK);
    object_complete(o, id);
    return o;
}

/* --- states --- */

enum verb { FETCH, START, NEGATE, FINISH, BREAK, RESUME, FAIL, APPEND, RESERVE, CUT, VERBS };

static void apply(struct gobj *o, enum verb verb)
{
    const struct gobj_head h = { .status = 200, .length = -1 };
    size_t cap;
    void *p;

    switch (verb) {
    case FETCH:
        gobj_fetching(o);
        break;
    case START:
        assert_int_equal(gobj_start(o, &h, 0), ST_OK);
        break;
    case NEGATE:
        assert_int_equal(gobj_negative(o, &h), ST_OK);
        break;
    case FINISH:
        assert_int_equal(gobj_complete(o), ST_OK);
        break;
    case BREAK:
        gobj_resuming(o);
        break;
    case RESUME:
        gobj_resumed(o);
        break;
    case FAIL:
        gobj_fail(o);
        break;
    case APPEND:
        assert_int_equal(gobj_append(o, "x", 1), ST_OK);
        break;
    case RESERVE:
        assert_int_equal(gobj_reserve(o, &p, &cap), ST_OK);
        break;
    case CUT:
        assert_int_equal(gobj_cut(o), ST_OK);
        break;
    case VERBS:
        break;
    }
}

struct attempt {
    struct gobj *o;
    enum verb verb;
};
static void attempt(void *arg)
{
    const struct attempt *a = arg;

    apply(a->o, a->verb);
}
static void commit_two(void *arg) { gobj_commit(arg, 2); }
static void adopt_now(void *arg) { assert_int_equal(gobj_adopt_prior(arg, 0), ST_OK); }

static bool can(struct gobj *o, enum verb verb)
{
    struct attempt a = { o, verb };

    return !dies(attempt, &a);
}

static struct gobj *make_in(enum gobj_state s)
{
    static const enum verb way[][4] = {
        [GOBJ_EXPECTED] = { VERBS },
        [GOBJ_FETCHING] = { FETCH, VERBS },
        [GOBJ_STREAMING] = { FETCH, START, VERBS },
        [GOBJ_RESUMING] = { START, BREAK, VERBS },
        [GOBJ_COMPLETE] = { START, FINISH, VERBS },
        [GOBJ_NEGATIVE] = { NEGATE, VERBS },
        [GOBJ_FAILED] = { FETCH, FAIL, VERBS },
    };
    struct gobj *o = make(NULL);

    for (const enum verb *v = way[s]; *v != VERBS; v++)
        apply(o, *v);
    assert_int_equal(gobj_now(o).state, s);
    return o;
}

static void what_is_not_whole_is_held_back(void **state)
{
    struct gobj *o = make_in(GOBJ_STREAMING), *cut = make_in(GOBJ_STREAMING);
    size_t cap;
    void *p;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct gobj *x = i == 0 ? o : cut;

        assert_int_equal(gobj_reserve(x, &p, &cap), ST_OK);
        memcpy(p, "abcdef", 6);
        gobj_commit_to(x, 6, 4);
        assert_int_equal(gobj_now(x).published, 4);
        assert_int_equal(gobj_written(x), 6);
        gobj_resuming(x); /* what is held back is not asked for again */
        gobj_resumed(x);
        assert_int_equal(gobj_reserve(x, &p, &cap), ST_OK);
        memcpy(p, "gh", 2);
        gobj_commit_to(x, 2, 4);
        assert_int_equal(gobj_now(x).published, 4);
    }
    assert_int_equal(gobj_complete(o), ST_OK);
    assert_int_equal(gobj_now(o).published, 8);
    gobj_resuming(cut);
    assert_int_equal(gobj_cut(cut), ST_OK);
    assert_int_equal(gobj_now(cut).state, GOBJ_COMPLETE);
    assert_int_equal(gobj_now(cut).published, 4);
    gobj_unref(&o);
    gobj_unref(&cut);
}

static void only_the_transitions_of_the_design_are_possible(void **state)
{
    static const unsigned allowed[] = {
        [GOBJ_EXPECTED] = 1u << FETCH | 1u << START | 1u << NEGATE,
        [GOBJ_FETCHING] = 1u << START | 1u << NEGATE | 1u << FAIL,
        [GOBJ_STREAMING] =
            1u << FINISH | 1u << BREAK | 1u << FAIL | 1u << APPEND | 1u << RESERVE | 1u << CUT,
        [GOBJ_RESUMING] = 1u << RESUME | 1u << FAIL | 1u << CUT,
        [GOBJ_COMPLETE] = 0,
        [GOBJ_NEGATIVE] = 0,
        [GOBJ_FAILED] = 0,
    };
    static const enum gobj_state leads_to[] = {
        GOBJ_FETCHING,  GOBJ_STREAMING, GOBJ_NEGATIVE,  GOBJ_COMPLETE,  GOBJ_RESUMING,
        GOBJ_STREAMING, GOBJ_FAILED,    GOBJ_STREAMING, GOBJ_STREAMING, GOBJ_COMPLETE,
    };

    (void)state;
    for (enum gobj_state s = GOBJ_EXPECTED; s <= GOBJ_FAILED; s++)
        for (enum verb v = 0; v < VERBS; v++) {
            struct gobj *o = make_in(s);
            bool legal = (allowed[s] & 1u << v) != 0;

            if (can(o, v) != legal)
                fail_msg("%s, verb %d", gobj_state_name(s), (int)v);
            assert_int_equal(gobj_now(o).state, legal ? leads_to[v] : s);
            gobj_unref(&o);
        }
}

static void a_head_is_copied_and_absent_strings_are_empty(void **state)
{
    char etag[] = "\"7\"", type[] = "video/mp4";
    struct gobj_head h = { .status = 200, .length = -1, .etag = etag, .content_type = type };
    struct gobj *o = make(NULL);

    (void)state;
    assert_int_equal(gobj_start(o, &h, 77), ST_OK);
    etag[1] = type[0] = '?';
    assert_string_equal(gobj_head(o)->etag, "\"7\"");
    assert_string_equal(gobj_head(o)->content_type, "video/mp4");
    assert_string_equal(gobj_head(o)->cache_control, "");
    assert_string_equal(gobj_head(o)->last_modified, "");
    assert_string_equal(gobj_head(o)->fields, "");
    assert_int_equal(gobj_fresh_until(o), 77);
    assert_string_equal(gobj_key(o), "/k");
    gobj_unref(&o);
}

/* --- bytes --- */

/* Reads [off, end) with at most `max` pieces a call and compares. */
static void check_range(const struct gobj *o, unsigned id, struct gobj_cursor *c, uint64_t off,
                        uint64_t end, int max)
{
    while (off < end) {
        struct iovec v[8];
        int n = gobj_span(o, c, off, end, v, max);

        assert_true(n > 0 && n <= max);
        for (int i = 0; i < n; i++) {
            const uint8_t *p = v[i].iov_base;

            assert_true(v[i].iov_len > 0 && v[i].iov_len <= end - off);
            for (size_t k = 0; k < v[i].iov_len; k++)
                if (p[k] != content_byte(id, off + k))
                    fail_msg("byte %llu", (unsigned long long)(off + k));
            off += v[i].iov_len;
        }
    }
}

static void check_whole(const struct gobj *o, unsigned id, uint64_t size)
{
    struct gobj_cursor c = { 0 };
    struct iovec v[1];

    assert_int_equal(gobj_now(o).published, size);
    check_range(o, id, &c, 0, size, 8);
    assert_int_equal(gobj_span(o, &c, size, UINT64_MAX, v, 1), 0);
    assert_int_equal(gobj_span(o, &c, 0, UINT64_MAX, v, 0), 0);
}

static void feed(struct gobj *o, unsigned id, size_t size, size_t piece)
{
    for (size_t done = 0; done < size;) {
        size_t n = size - done < piece ? size - done : piece;

        assert_int_equal(object_append(o, id, n), ST_OK);
        done += n;
        assert_int_equal(gobj_now(o).published, done);
    }
}

static void feed_in_place(struct gobj *o, unsigned id, size_t size, size_t piece)
{
    for (size_t done = 0; done < size;) {
        size_t cap = 0;
        void *p = NULL;

        assert_int_equal(gobj_reserve(o, &p, &cap), ST_OK);
        assert_true(cap > 0);
        size_t n = cap < piece ? cap : piece;
        if (n > size - done)
            n = size - done;
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)p)[i] = content_byte(id, done + i);
        assert_int_equal(gobj_now(o).published, done);
        gobj_commit(o, n);
        done += n;
    }
}

static void bytes_are_right_at_every_size_around_chunk_borders(void **state)
{
    static const size_t border[] = { 0, 16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, MIB };
    static const size_t piece[] = { 5000, 16 * KIB, 3 * MIB };

    (void)state;
    for (size_t b = 0; b < sizeof border / sizeof border[0]; b++)
        for (int d = -1; d <= 1; d++)
            for (size_t p = 0; p < sizeof piece / sizeof piece[0]; p++)
                for (int how = 0; how < 4; how++) {
                    size_t size = border[b] + (size_t)(d + 1);
                    unsigned id;
                    struct gobj *o;

                    if (border[b] > 0)
                        size--;
                    o = make_streaming(how & 1 ? (int64_t)size : -1, &id);
                    if (how & 2)
                        feed_in_place(o, id, size, piece[p]);
                    else
                        feed(o, id, size, piece[p]);
                    object_complete(o, id);
                    check_whole(o, id, size);
                    gobj_unref(&o);
                }
    assert_int_equal(mem_pool_used(&w.pool), 0);
}

static void a_body_of_known_length_wastes_nothing(void **state)
{
    unsigned id;
    struct gobj *o = make_streaming(100, &id);

    (void)state;
    feed(o, id, 100, 7);
    assert_int_equal(o->capacity_bytes, 100);
    assert_int_equal(mem_pool_used(&w.pool), 100 + sizeof(struct chunk));
    gobj_unref(&o);
    o = make_streaming(MIB, &id);
    feed(o, id, MIB, MIB);
    assert_null(atomic_load(&atomic_load(&o->first)->next)); /* one chunk */
    gobj_unref(&o);
}

static void a_known_length_is_never_short_nor_over(void **state)
{
    unsigned id;
    struct gobj *o = make_streaming(10, &id);
    size_t cap;
    void *p;

    (void)state;
    assert_int_equal(gobj_complete(o), ST_EPROTO);
    assert_int_equal(object_append(o, id, 11), ST_ELIMIT);
    assert_int_equal(object_append(o, id, 9), ST_OK);
    assert_int_equal(gobj_complete(o), ST_EPROTO);
    assert_int_equal(gobj_now(o).state, GOBJ_STREAMING);
    assert_int_equal(object_append(o, id, 2), ST_ELIMIT);
    assert_int_equal(gobj_append(o, "", SIZE_MAX), ST_ELIMIT);
    assert_int_equal(gobj_reserve(o, &p, &cap), ST_OK);
    assert_int_equal(cap, 1);
    assert_true(dies(commit_two, o));
    assert_int_equal(object_append(o, id, 1), ST_OK);
    assert_int_equal(gobj_reserve(o, &p, &cap), ST_ELIMIT);
    assert_int_equal(object_append(o, id, 1), ST_ELIMIT);
    object_complete(o, id);
    check_whole(o, id, 10);
    gobj_unref(&o);
    o = make_streaming(0, &id);
    assert_int_equal(gobj_reserve(o, &p, &cap), ST_ELIMIT);
    assert_int_equal(object_append(o, id, 0), ST_OK);
    object_complete(o, id);
    check_whole(o, id, 0);
    gobj_unref(&o);
}

static void no_object_grows_past_its_limit(void **state)
{
    unsigned id;
    struct gobj *o = make_streaming(-1, &id);
    size_t cap;
    void *p;

    (void)state;
    store_set_limits(w.s, 64 * MIB, 20 * KIB);
    assert_int_equal(object_append(o, id, 20 * KIB - 1), ST_OK);
    assert_int_equal(object_append(o, id, 2), ST_ELIMIT);
    assert_int_equal(gobj_reserve(o, &p, &cap), ST_OK);
    assert_int_equal(cap, 1);
    store_set_limits(w.s, 64 * MIB, 10); /* lowered under a growing object */
    assert_int_equal(object_append(o, id, 1), ST_ELIMIT);
    assert_int_equal(gobj_reserve(o, &p, &cap), ST_ELIMIT);
    object_complete(o, id); /* what is there is whole, as far as anybody promised */
    check_whole(o, id, 20 * KIB - 1);
    gobj_unref(&o);
}

/* --- the pool --- */

static void no_memory_in_the_middle_of_an_append_shows_nothing(void **state)
{
    unsigned id;
    struct gobj *o = make_streaming(-1, &id);

    (void)state;
    assert_int_equal(object_append(o, id, 10 * KIB), ST_OK);
    mem_pool_set_limit(&w.pool, mem_pool_used(&w.pool) + 300 * KIB); /* one more, not two */
    assert_int_equal(object_append(o, id, 900 * KIB), ST_ENOMEM);
    assert_int_equal(gobj_now(o).published, 10 * KIB);
    assert_int_equal(object_append(o, id, 900 * KIB), ST_ENOMEM);
    assert_true(atomic_load(&w.pool.refused) >= 2);
    mem_pool_set_limit(&w.pool, 64 * MIB);
    feed(o, id, 0, 1);
    assert_int_equal(object_append(o, id, 900 * KIB), ST_OK);
    assert_int_equal(object_append(o, id, 1), ST_OK);
    object_complete(o, id);
    check_whole(o, id, 910 * KIB + 1);
    gobj_unref(&o);
    assert_int_equal(mem_pool_used(&w.pool), 0);

    o = make_streaming(-1, &id); /* and when not even the first chunk can be had */
    mem_pool_set_limit(&w.pool, 0);
    assert_int_equal(object_append(o, id, 1), ST_ENOMEM);
    void *p;
    size_t cap;
    assert_int_equal(gobj_reserve(o, &p, &cap), ST_ENOMEM);
    mem_pool_set_limit(&w.pool, MIB);
    feed_in_place(o, id, 100, 9);
    check_whole(o, id, 100);
    gobj_unref(&o);
}

static void the_pool_never_passes_its_cap(void **state)
{
    struct gobj *o[64];
    unsigned id[64];
    size_t refused = 0;

    (void)state;
    mem_pool_set_limit(&w.pool, MIB);
    for (size_t i = 0; i < 64; i++) {
        o[i] = make_streaming(-1, &id[i]);
        while (object_append(o[i], id[i], 7000) == ST_OK && gobj_now(o[i]).published < 50000)
            assert_true(mem_pool_used(&w.pool) <= MIB);
        refused += gobj_now(o[i]).published < 50000;
        assert_true(mem_pool_used(&w.pool) <= MIB);
    }
    assert_in_range(refused, 30, 63);
    for (size_t i = 0; i < 64; i++) {
        check_whole(o[i], id[i], gobj_now(o[i]).published);
        gobj_unref(&o[i]);
    }
    assert_int_equal(mem_pool_used(&w.pool), 0);
    struct chunk *c = chunk_new(&w.pool, MIB - sizeof(struct chunk)); /* the cap exactly */
    assert_non_null(c);
    assert_null(chunk_new(&w.pool, 0));
    chunk_free(&c);
    assert_null(c);
    chunk_free(&c);
    assert_null(chunk_new(&w.pool, MIB - sizeof(struct chunk) + 1));
}

/* --- cursors --- */

static void cursors_go_forward_and_jump_back(void **state)
{
    const uint64_t size = 700 * KIB;
    struct gobj_cursor c = { 0 };
    unsigned id, rnd = 1;
    struct gobj *o = make_streaming(-1, &id);

    (void)state;
    feed(o, id, size, 30000);
    for (uint64_t off = 0; off < size; off += 9999)
        check_range(o, id, &c, off, off + 9999 < size ? off + 9999 : size, 1);
    for (int i = 0; i < 200; i++) {
        rnd = rnd * 1103515245 + 12345;
        uint64_t off = (rnd >> 8) % size, n = 1 + (rnd >> 4) % 3000;

        check_range(o, id, &c, off, off + n < size ? off + n : size, 1 + i % 3);
    }
    struct iovec v[2];
    c = (struct gobj_cursor){ 0 };
    for (uint64_t at = 16 * KIB; at < size; at *= 2) { /* each side of a border, both ways */
        assert_true(gobj_span(o, &c, at, at + 1, v, 2) == 1 && v[0].iov_len == 1);
        assert_true(gobj_span(o, &c, at - 1, at, v, 2) == 1 && v[0].iov_len == 1);
        check_range(o, id, &c, at - 1, at + 1, 2);
    }
    gobj_unref(&o);
}

static void a_cursor_at_the_end_goes_on_when_more_comes(void **state)
{
    unsigned id;
    struct gobj *o = make_streaming(-1, &id);
    struct gobj_cursor c = { 0 };
    struct iovec v[1];
    uint64_t off = 0;

    (void)state;
    assert_int_equal(gobj_span(o, &c, 0, UINT64_MAX, v, 1), 0); /* nothing yet */
    for (int i = 0; i < 40; i++) {
        assert_int_equal(object_append(o, id, 4 * KIB), ST_OK); /* ends on every border */
        check_range(o, id, &c, off, off + 4 * KIB, 1);
        off += 4 * KIB;
        assert_int_equal(gobj_span(o, &c, off, UINT64_MAX, v, 1), 0);
    }
    gobj_unref(&o);
}

/* --- revalidation --- */

static void an_adopted_body_makes_no_chain(void **state)
{
    struct gobj *o = make_complete(40 * KIB), *root = o;
    unsigned id = w.contents;
    uint64_t used = mem_pool_used(&w.pool);

    (void)state;
    for (int i = 0; i < 10; i++) {
        struct gobj *next = make(o); /* the reference goes with it */

        assert_int_equal(gobj_adopt_prior(next, 1000u + (unsigned)i), ST_OK);
        assert_int_equal(gobj_now(next).state, GOBJ_COMPLETE);
        assert_int_equal(gobj_fresh_until(next), 1000 + i);
        assert_ptr_equal(gobj_prior(next), root);
        assert_null(gobj_prior(root));
        assert_string_equal(gobj_head(next)->etag, gobj_head(root)->etag);
        check_whole(next, id, 40 * KIB);
        o = next;
    }
    assert_int_equal(atomic_load(&root->refs), 1);
    assert_int_equal(mem_pool_used(&w.pool), used);
    gobj_unref(&o);
    assert_int_equal(mem_pool_used(&w.pool), 0);
}

static void a_body_of_its_own_lets_the_stale_one_go(void **state)
{
    struct gobj *o = make(make_complete(40 * KIB));
    unsigned id;

    (void)state;
    assert_false(can(o, APPEND)); /* before it has started */
    object_start(o, &id, -1, 0);
    assert_null(gobj_prior(o));
    assert_int_equal(mem_pool_used(&w.pool), 0);
    assert_int_equal(object_append(o, id, 5), ST_OK);
    check_whole(o, id, 5);
    gobj_unref(&o);
    o = make(make_complete(10));
    gobj_fail(o);
    gobj_unref(&o);
    assert_int_equal(mem_pool_used(&w.pool), 0);
    assert_null(o);
    gobj_unref(&o);
}

static void nothing_is_appended_to_borrowed_bytes(void **state)
{
    struct gobj *o = make(make_complete(10)), *none = make(NULL);

    (void)state;
    assert_int_equal(gobj_adopt_prior(o, 0), ST_OK);
    assert_false(can(o, APPEND));
    assert_true(dies(adopt_now, none));
    gobj_unref(&o);
    gobj_unref(&none);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(only_the_transitions_of_the_design_are_possible),
        T(what_is_not_whole_is_held_back),
        T(a_head_is_copied_and_absent_strings_are_empty),
        T(bytes_are_right_at_every_size_around_chunk_borders),
        T(a_body_of_known_length_wastes_nothing),
        T(a_known_length_is_never_short_nor_over),
        T(no_object_grows_past_its_limit),
        T(no_memory_in_the_middle_of_an_append_shows_nothing),
        T(the_pool_never_passes_its_cap),
        T(cursors_go_forward_and_jump_back),
        T(a_cursor_at_the_end_goes_on_when_more_comes),
        T(an_adopted_body_makes_no_chain),
        T(a_body_of_its_own_lets_the_stale_one_go),
        T(nothing_is_appended_to_borrowed_bytes),
    };

    cmocka_set_test_filter(getenv("FRESHET_TEST")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
