/* core/hash and core/rdv: spread, stability, and who moves when a node leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/rdv.h"

static const char fox[] = "The quick brown fox jumps over the lazy dog.";

/* Routing depends on these: a failure here is a change of the tier protocol. */
static void stable_hashes_are_the_same_everywhere(void **state)
{
    static const struct {
        size_t n;
        uint64_t h;
    } known[] = {
        { 0, UINT64_C(0x82cc391a2681180b) },  { 5, UINT64_C(0x72a495bcad5d7a1e) },
        { 10, UINT64_C(0x7603e432f7c1940b) }, { 15, UINT64_C(0x37531067c7a76547) },
        { 20, UINT64_C(0xaf927336d178393d) }, { 25, UINT64_C(0xc7f6129d01e9ed92) },
        { 30, UINT64_C(0x244a43759bcdf2fc) }, { 35, UINT64_C(0xb90ea601dbeba459) },
        { 40, UINT64_C(0xaaded9a440408695) },
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char *copy = malloc(known[i].n + 1); /* one off: unaligned, and exact at its end */

        memcpy(copy + 1, fox, known[i].n);
        assert_int_equal(hash64_stable(copy + 1, known[i].n), known[i].h);
        assert_int_not_equal(hash64(copy + 1, known[i].n, 1), known[i].h);
        free(copy);
    }
}

static void every_length_and_every_bit_counts(void **state)
{
    uint8_t in[100] = { 0 };
    uint64_t last = 0;

    (void)state;
    for (size_t n = 0; n <= sizeof in; n++) {
        uint64_t h = hash64(in, n, 42);
        uint64_t flips = 0;

        assert_int_not_equal(h, last); /* zeros of another length */
        last = h;
        for (size_t bit = 0; bit < n * 8; bit++) {
            uint64_t d;

            in[bit / 8] ^= (uint8_t)(1u << bit % 8);
            d = h ^ hash64(in, n, 42);
            in[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_in_range(__builtin_popcountll(d), 10, 54);
            flips += (uint64_t)__builtin_popcountll(d);
        }
        if (n > 0)
            assert_in_range(flips * 100 / (n * 8), n < 4 ? 2900 : 3100, n < 4 ? 3500 : 3300);
    }
}

/* A zero word against the constants, or any other fixed one, must not void the seed. */
static void no_input_makes_the_seed_useless(void **state)
{
    static const uint64_t words[] = { 0, UINT64_MAX, UINT64_C(0xadf85458a2bb4a9b),
                                      UINT64_C(0xafdc5620273d3cf1), UINT64_C(0xd8b9c583ce2d3695) };
    uint64_t in[4];

    (void)state;
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 5; k++) {
            in[0] = in[2] = words[i];
            in[1] = in[3] = words[k];
            for (size_t n = 8; n <= 32; n += 8)
                assert_int_not_equal(hash64(in, n, 1), hash64(in, n, 2));
        }
}

static int cmp64(const void *pa, const void *pb)
{
    uint64_t a, b;

    memcpy(&a, pa, sizeof a);
    memcpy(&b, pb, sizeof b);
    return a < b ? -1 : a > b;
}

static void names_that_count_up_spread_evenly(void **state)
{
    enum { KEYS = 200000, BINS = 1024 };
    static uint64_t h[KEYS];
    static unsigned low[BINS], high[BINS];
    char name[40];

    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        int n = snprintf(name, sizeof name, "live/show/s0/v0/%u.m4s", i);

        h[i] = hash64(name, (size_t)n, 7);
        low[h[i] % BINS]++;
        high[h[i] >> 54]++;
    }
    for (unsigned b = 0; b < BINS; b++) { /* mean 195, sigma 14 */
        assert_in_range(low[b], 195 - 75, 195 + 75);
        assert_in_range(high[b], 195 - 75, 195 + 75);
    }
    qsort(h, KEYS, sizeof h[0], cmp64);
    for (unsigned i = 1; i < KEYS; i++)
        assert_int_not_equal(h[i], h[i - 1]);
}

static uint64_t node_hash(const char *url)
{
    struct rdv_node n;

    assert_int_equal(rdv_node_init(&n, url, 1), ST_OK);
    return n.hash;
}

static void a_node_is_its_url_with_its_port(void **state)
{
    static const char *const same[][2] = {
        { "https://DC1.Example", "https://dc1.example:443" },
        { "HTTPS://dc1/", "https://dc1:443/path?query" },
        { "http://dc1", "http://dc1:80" },
        { "http://dc1:", "http://dc1:80" },
        { "https://[2001:DB8::1]", "https://[2001:db8::1]:443" },
        { "Worker-2", "worker-2" },
    };
    static const char *const differ[][2] = {
        { "https://dc1:443", "https://dc1:9443" },
        { "https://dc1", "http://dc1" },
        { "https://[::1]:443", "https://[::1:443]" },
        { "worker-1", "worker-2" },
    };
    static const char *const bad[] = { "", "https://", "http:///x", "rtmp://host" };
    struct rdv_node n;
    char long_url[RDV_URL_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_int_equal(node_hash(same[i][0]), node_hash(same[i][1]));
    for (size_t i = 0; i < sizeof differ / sizeof differ[0]; i++)
        assert_int_not_equal(node_hash(differ[i][0]), node_hash(differ[i][1]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rdv_node_init(&n, bad[i], 1), ST_ECONF);
    assert_int_equal(rdv_node_init(&n, "a", RDV_WEIGHT_MAX + 1), ST_ECONF);
    memset(long_url, 'a', sizeof long_url);
    long_url[RDV_URL_MAX + 1] = 0;
    assert_int_equal(rdv_node_init(&n, long_url, 1), ST_ECONF);
    long_url[RDV_URL_MAX] = 0;
    memcpy(long_url, "https://", 8);
    assert_int_equal(rdv_node_init(&n, long_url, 1), ST_OK);
}

enum { NODES = 20, KEYS = 20000 };
static struct rdv_node nodes[NODES];

static int make_nodes(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        char url[40];

        (void)snprintf(url, sizeof url, "https://dc%d:9443", i);
        if (rdv_node_init(&nodes[i], url, 1) != ST_OK)
            return 1;
    }
    return 0;
}

static void rank_key(const struct rdv_node *list, int n, int key, int *order)
{
    char name[40];
    int len = snprintf(name, sizeof name, "live/stream-%d", key);

    rdv_rank(list, n, name, (size_t)len, order);
}

static void a_rank_is_the_same_everywhere(void **state)
{
    static const int want[] = {
        6, 4, 1, 14, 18, 8, 7, 2, 16, 19, 11, 5, 10, 15, 13, 17, 12, 3, 9, 0
    };
    int order[NODES];

    (void)state;
    rank_key(nodes, NODES, 1, order);
    assert_memory_equal(order, want, sizeof order);
}

static void the_order_of_the_list_does_not_matter(void **state)
{
    struct rdv_node turned[NODES];
    int a[NODES], b[NODES];

    (void)state;
    nodes[3].weight = nodes[9].weight = nodes[4].weight = 0; /* drained: last, and still ordered */
    nodes[5].weight = 100;
    for (int i = 0; i < NODES; i++)
        turned[i] = nodes[NODES - 1 - i];
    for (int k = 0; k < 500; k++) {
        rank_key(nodes, NODES, k, a);
        rank_key(turned, NODES, k, b);
        for (int i = 0; i < NODES; i++)
            assert_int_equal(a[i], NODES - 1 - b[i]);
        for (int i = NODES - 3; i < NODES; i++)
            assert_int_equal(nodes[a[i]].weight, 0);
    }
}

static void losing_one_of_twenty_moves_its_own_keys_only(void **state)
{
    int before[NODES], after[NODES], moved = 0;
    int second[NODES] = { 0 };

    (void)state;
    for (int k = 0; k < KEYS; k++) {
        nodes[7].weight = 1;
        rank_key(nodes, NODES, k, before);
        nodes[7].weight = 0;
        rank_key(nodes, NODES, k, after);
        if (before[0] == 7) {
            moved++;
            assert_int_equal(after[0], before[1]);
            second[after[0]]++;
        }
        /* the whole order closes ranks */
        for (int i = 0, j = 0; i < NODES - 1; i++, j++) {
            j += before[j] == 7;
            assert_int_equal(after[i], before[j]);
        }
    }
    assert_in_range(moved, KEYS * 45 / 1000, KEYS * 55 / 1000);
    for (int i = 0; i < NODES; i++) /* and they go evenly to the others: mean 53 */
        assert_in_range(second[i], i == 7 ? 0 : 20, i == 7 ? 0 : 90);
}

static void shares_follow_the_weights(void **state)
{
    static const uint32_t weight[] = { 1, 2, 3, 4, 10 };
    int won[5] = { 0 }, order[5];

    (void)state;
    for (int i = 0; i < 5; i++)
        nodes[i].weight = weight[i] * 100;
    for (int k = 0; k < 10 * KEYS; k++) {
        rank_key(nodes, 5, k, order);
        won[order[0]]++;
    }
    for (int i = 0; i < 5; i++) { /* within 2 % of the whole, and of a share where it is big */
        int share = (int)weight[i] * KEYS / 2;

        assert_in_range(won[i], share * 98 / 100, share * 102 / 100);
    }
}

static void extreme_weights_do_not_overflow(void **state)
{
    int order[3], won = 0;

    (void)state;
    nodes[0].weight = 1;
    nodes[1].weight = RDV_WEIGHT_MAX;
    nodes[2].weight = RDV_WEIGHT_MAX;
    for (int k = 0; k < 20000; k++) {
        rank_key(nodes, 3, k, order);
        assert_true(order[0] != order[1] && order[1] != order[2] && order[0] != order[2]);
        won += order[0] == 1;
    }
    assert_in_range(won, 9700, 10300);
}

static void bounded_load_keeps_heavy_keys_apart(void **state)
{
    enum { STREAMS = 200, WORKERS = 8 };
    uint64_t load[WORKERS] = { 0 };
    int at[STREAMS], order[WORKERS], stayed = 0;

    (void)state;
    for (int k = 0; k < STREAMS; k++) {
        rank_key(nodes, WORKERS, k, order);
        at[k] = rdv_pick_bounded(nodes, WORKERS, order, load, 1, 110, -1);
        load[at[k]]++;
        for (int i = 0; i < WORKERS; i++)
            assert_true(load[i] <= ((unsigned)(k + 1) * 110 + 799) / 800);
    }
    /* asked again where they are, all stay; where they are counts against nobody twice */
    for (int k = 0; k < STREAMS; k++) {
        rank_key(nodes, WORKERS, k, order);
        load[at[k]]--;
        stayed += rdv_pick_bounded(nodes, WORKERS, order, load, 1, 110, at[k]) == at[k];
        load[at[k]]++;
    }
    assert_int_equal(stayed, STREAMS);
}

static void a_full_node_is_left_and_a_dead_one_never_taken(void **state)
{
    static const int order[] = { 0, 1, 2 };
    uint64_t load[3] = { 10, 0, 0 };

    (void)state;
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, 1, 110, 0), 1);
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, 1, 110, 2), 2);
    nodes[1].weight = 0;
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, 1, 110, 1), 2);
    nodes[2].weight = 3;
    load[0] = load[2] = 10; /* shares 5.25 and 15.75 of 21: full, and not */
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, 1, 100, 0), 2);
    /* one lump that fits nowhere goes where it is least over: 110/1 against 110/3 */
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, 100, 100, -1), 2);
    load[0] = load[2] = UINT64_MAX; /* no overflow */
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, UINT64_MAX, 110, -1), 2);
    nodes[0].weight = nodes[2].weight = 0;
    assert_int_equal(rdv_pick_bounded(nodes, 3, order, load, 1, 110, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stable_hashes_are_the_same_everywhere),
        cmocka_unit_test(every_length_and_every_bit_counts),
        cmocka_unit_test(no_input_makes_the_seed_useless),
        cmocka_unit_test(names_that_count_up_spread_evenly),
        cmocka_unit_test(a_node_is_its_url_with_its_port),
        cmocka_unit_test_setup(a_rank_is_the_same_everywhere, make_nodes),
        cmocka_unit_test_setup(the_order_of_the_list_does_not_matter, make_nodes),
        cmocka_unit_test_setup(losing_one_of_twenty_moves_its_own_keys_only, make_nodes),
        cmocka_unit_test_setup(shares_follow_the_weights, make_nodes),
        cmocka_unit_test_setup(extreme_weights_do_not_overflow, make_nodes),
        cmocka_unit_test_setup(bounded_load_keeps_heavy_keys_apart, make_nodes),
        cmocka_unit_test_setup(a_full_node_is_left_and_a_dead_one_never_taken, make_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
