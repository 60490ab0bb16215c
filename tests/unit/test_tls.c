/* core/tls: certificates by name, protocols, tickets and their rotation, the tier, bad files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/tls.h"

static char dir[] = "/tmp/freshet-tls-XXXXXX";
static char paths[32][128];
static int paths_n;

/* A file in the test's directory, removed at the end. */
static const char *at(const char *name)
{
    char full[128];

    (void)snprintf(full, sizeof full, "%s/%s", dir, name);
    for (int i = 0; i < paths_n; i++)
        if (strcmp(paths[i], full) == 0)
            return paths[i];
    assert_true(paths_n < 32);
    return strcpy(paths[paths_n++], full);
}

static void put(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    (void)close(fd);
}

static void put_text(const char *path, const char *text) { put(path, text, strlen(text)); }

static void self_sign(const char *cert, const char *key, const char *name)
{
    struct err e;

    assert_int_equal(tls_self_signed(at(cert), at(key), &name, 1, &e), ST_OK);
}

/* An RSA certificate for the same names, to stand beside an ECDSA one. */
static void rsa_sign(const char *cert, const char *key)
{
    EVP_PKEY *k = EVP_RSA_gen(2048);
    X509 *x = X509_new();
    BIO *c = BIO_new_file(at(cert), "w"), *f = BIO_new_file(at(key), "w");

    assert_true(k != NULL && x != NULL && c != NULL && f != NULL);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    assert_int_equal(X509_set_pubkey(x, k), 1);
    assert_true(X509_sign(x, k, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(c, x), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(f, k, NULL, NULL, 0, NULL, NULL), 1);
    BIO_free(c);
    BIO_free(f);
    X509_free(x);
    EVP_PKEY_free(k);
}

static int make_files(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    self_sign("a.pem", "a.key", "a.example.com");
    self_sign("b.pem", "b.key", "b.example.com");
    self_sign("w.pem", "w.key", "*.wild.example.com");
    self_sign("ip.pem", "ip.key", "127.0.0.1");
    rsa_sign("rsa.pem", "rsa.key");
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (int i = 0; i < paths_n; i++)
        (void)unlink(paths[i]);
    return rmdir(dir);
}

static struct tls_tickets *random_tickets(const struct tls_tickets *before)
{
    struct tls_tickets *t = NULL;
    struct err e;

    assert_int_equal(tls_tickets_random(before, &t, &e), ST_OK);
    return t;
}

static struct tls_set *set_of(const struct tls_cert_paths *c, int n, struct tls_tickets *tickets)
{
    struct tls_tickets *t = tickets != NULL ? tls_tickets_ref(tickets) : random_tickets(NULL);
    struct tls_set *s = NULL;
    struct err e = { .text = "" };

    if (tls_set_new(c, n, "h2,http/1.1", t, &s, &e) != ST_OK)
        fail_msg("%s", e.text);
    tls_tickets_unref(&t);
    return s;
}

/* What a client wants, and what came of it. */
struct hello {
    SSL_CTX *ctx; /* NULL: one that trusts anybody */
    const char *sni, *alpn_wire, *host;
    const char *ciphers_12;
    SSL_SESSION *session;
    int max_version;

    bool ok;      /* both sides are done */
    bool refused; /* the client has had an alert since */
    bool resumed;
    int version;
    char cn_alt[128]; /* the first alternative name of the server's certificate */
    int key_type;
    char alpn[16];
    SSL_SESSION *next; /* a session for later */
};

static void note_certificate(struct hello *h, SSL *c)
{
    X509 *x = SSL_get0_peer_certificate(c);
    GENERAL_NAMES *san;

    if (x == NULL)
        return;
    h->key_type = EVP_PKEY_get_base_id(X509_get0_pubkey(x));
    san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    if (san != NULL && sk_GENERAL_NAME_value(san, 0)->type == GEN_DNS)
        (void)snprintf(
            h->cn_alt, sizeof h->cn_alt, "%s",
            (const char *)ASN1_STRING_get0_data(sk_GENERAL_NAME_value(san, 0)->d.dNSName));
    GENERAL_NAMES_free(san);
}

static SSL *client_of(const struct hello *h, SSL_CTX *ctx, BIO *b)
{
    SSL *c = SSL_new(ctx);

    assert_non_null(c);
    SSL_set_bio(c, b, b);
    SSL_set_connect_state(c);
    if (h->sni != NULL)
        assert_int_equal(SSL_ctrl(c, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                                  (void *)(uintptr_t)h->sni),
                         1);
    if (h->host != NULL)
        assert_int_equal(SSL_set1_host(c, h->host), 1);
    if (h->alpn_wire != NULL)
        assert_int_equal(SSL_set_alpn_protos(c, (const unsigned char *)h->alpn_wire,
                                             (unsigned)strlen(h->alpn_wire)),
                         0);
    if (h->ciphers_12 != NULL)
        assert_int_equal(SSL_set_cipher_list(c, h->ciphers_12), 1);
    if (h->max_version != 0)
        assert_int_equal(SSL_set_max_proto_version(c, h->max_version), 1);
    if (h->session != NULL)
        assert_int_equal(SSL_set_session(c, h->session), 1);
    return c;
}

/* A handshake in memory; one byte of data follows, so that tickets and alerts are seen. */
static void shake(SSL_CTX *server_ctx, struct hello *h)
{
    SSL_CTX *own = h->ctx == NULL ? SSL_CTX_new(TLS_client_method()) : NULL;
    SSL *s = SSL_new(server_ctx), *c;
    BIO *a, *b;
    const unsigned char *alpn;
    unsigned alpn_n;
    int rs = 0, rc = 0;
    char byte = 'x';

    assert_int_equal(BIO_new_bio_pair(&a, 64 << 10, &b, 64 << 10), 1);
    SSL_set_bio(s, a, a);
    SSL_set_accept_state(s);
    c = client_of(h, h->ctx != NULL ? h->ctx : own, b);
    for (int i = 0; i < 10 && (rs != 1 || rc != 1); i++) {
        rc = SSL_do_handshake(c);
        rs = SSL_do_handshake(s);
    }
    h->ok = rs == 1 && rc == 1;
    if (rs == 1)
        (void)SSL_write(s, &byte, 1);
    h->refused = SSL_read(c, &byte, 1) != 1;
    h->resumed = h->ok && SSL_session_reused(c) == 1;
    h->version = SSL_version(c);
    note_certificate(h, c);
    SSL_get0_alpn_selected(c, &alpn, &alpn_n);
    (void)snprintf(h->alpn, sizeof h->alpn, "%.*s", (int)alpn_n, (const char *)alpn);
    h->next = h->ok ? SSL_get1_session(c) : NULL;
    (void)SSL_shutdown(c); /* an SSL that is not shut down spoils its session */
    SSL_free(c);
    SSL_free(s);
    SSL_CTX_free(own);
    ERR_clear_error();
}

static struct hello shaken(const struct tls_set *set, struct hello h)
{
    shake(tls_set_ctx(set), &h);
    SSL_SESSION_free(h.next);
    h.next = NULL;
    return h;
}

static void names_choose_certificates(void **state)
{
    const struct tls_cert_paths certs[] = {
        { NULL, at("a.pem"), at("a.key") },
        { "B.example.com", at("b.pem"), at("b.key") },
        { "*.wild.example.com", at("w.pem"), at("w.key") },
    };
    static const struct {
        const char *ask, *get;
    } t[] = {
        { NULL, "a.example.com" },
        { "a.example.com", "a.example.com" },
        { "b.example.com", "b.example.com" },
        { "b.EXAMPLE.com", "b.example.com" },
        { "b.example.com.", "b.example.com" },
        { "x.b.example.com", "a.example.com" },
        { "x.wild.example.com", "*.wild.example.com" },
        { "x.y.wild.example.com", "a.example.com" },
        { "wild.example.com", "a.example.com" },
        { ".wild.example.com", "a.example.com" },
        { "nowhere", "a.example.com" },
    };
    struct tls_set *s = set_of(certs, 3, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
            struct hello h = shaken(s, (struct hello){ .sni = t[i].ask, .max_version = v });

            assert_true(h.ok);
            assert_int_equal(h.version, v);
            assert_string_equal(h.cn_alt, t[i].get);
        }
    tls_set_unref(&s);
}

static void a_set_without_names_presents_its_only_certificate(void **state)
{
    const struct tls_cert_paths one = { NULL, at("a.pem"), at("a.key") };
    struct tls_set *s = set_of(&one, 1, NULL);

    (void)state;
    assert_true(shaken(s, (struct hello){ .sni = "b.example.com" }).ok);
    tls_set_unref(&s);
}

static void ecdsa_comes_before_rsa_under_one_name(void **state)
{
    const struct tls_cert_paths certs[] = {
        { "a.example.com", at("rsa.pem"), at("rsa.key") },
        { "a.example.com", at("a.pem"), at("a.key") },
    };
    struct tls_set *s = set_of(certs, 2, NULL);
    struct hello h;

    (void)state;
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
        h = shaken(s, (struct hello){ .sni = "a.example.com", .max_version = v });
        assert_true(h.ok);
        assert_int_equal(h.key_type, EVP_PKEY_EC);
    }
    h = shaken(s, (struct hello){ .max_version = TLS1_2_VERSION,
                                  .ciphers_12 = "ECDHE-RSA-AES128-GCM-SHA256" });
    assert_true(h.ok);
    assert_int_equal(h.key_type, EVP_PKEY_RSA);
    /* no weak ground: CBC, plain RSA key exchange, TLS 1.1 */
    h = shaken(s, (struct hello){ .max_version = TLS1_2_VERSION,
                                  .ciphers_12 = "ECDHE-RSA-AES128-SHA:AES128-GCM-SHA256" });
    assert_false(h.ok);
    h = shaken(
        s, (struct hello){ .max_version = TLS1_1_VERSION, .ciphers_12 = "DEFAULT:@SECLEVEL=0" });
    assert_false(h.ok);
    tls_set_unref(&s);
}

static void protocols_are_chosen_by_our_order(void **state)
{
    const struct tls_cert_paths one = { NULL, at("a.pem"), at("a.key") };
    static const struct {
        const char *offer, *get;
        bool ok;
    } t[] = {
        { NULL, "", true },
        { "\x08http/1.1\x02h2", "h2", true },
        { "\x08http/1.1", "http/1.1", true },
        { "\x02h3\x08http/1.1", "http/1.1", true },
        { "\x02h3", "", false },
        { "\x03h2c\x07http/1.", "", false },
    };
    struct tls_set *s = set_of(&one, 1, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct hello h = shaken(s, (struct hello){ .alpn_wire = t[i].offer });

        assert_int_equal(h.ok, t[i].ok);
        assert_string_equal(h.alpn, t[i].get);
    }
    tls_set_unref(&s);
}

/* The session that a first handshake with `from` gives resumes at `to`? */
static bool resumes(const struct tls_set *from, const struct tls_set *to, int version)
{
    struct hello first = { .sni = "a.example.com", .max_version = version };
    struct hello again = first;

    shake(tls_set_ctx(from), &first);
    assert_true(first.ok);
    assert_false(first.resumed);
    again.session = first.next;
    shake(tls_set_ctx(to), &again);
    assert_true(again.ok);
    SSL_SESSION_free(first.next);
    SSL_SESSION_free(again.next);
    return again.resumed;
}

static void tickets_resume_wherever_their_key_is_known(void **state)
{
    const struct tls_cert_paths one = { NULL, at("a.pem"), at("a.key") };
    const struct tls_cert_paths two[] = { { NULL, at("b.pem"), at("b.key") },
                                          { "a.example.com", at("a.pem"), at("a.key") } };
    struct tls_tickets *k0 = random_tickets(NULL), *k1 = random_tickets(k0),
                       *k2 = random_tickets(k1);
    struct tls_set *s0 = set_of(&one, 1, k0), *twin = set_of(two, 2, k0), *s1 = set_of(&one, 1, k1),
                   *s2 = set_of(&one, 1, k2), *other = set_of(&one, 1, NULL);

    (void)state;
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
        assert_true(resumes(s0, s0, v));
        assert_true(resumes(s0, twin, v)); /* another context, chosen by name */
        assert_true(resumes(twin, s0, v));
        assert_true(resumes(s0, s1, v));  /* one reload later */
        assert_false(resumes(s0, s2, v)); /* two */
        assert_false(resumes(s0, other, v));
    }
    tls_set_unref(&s0);
    tls_set_unref(&twin);
    tls_set_unref(&s1);
    tls_set_unref(&s2);
    tls_set_unref(&other);
    tls_tickets_unref(&k0);
    tls_tickets_unref(&k1);
    tls_tickets_unref(&k2);
}

static void ticket_keys_from_a_file_rotate_without_a_gap(void **state)
{
    const struct tls_cert_paths one = { NULL, at("a.pem"), at("a.key") };
    uint8_t key[3][TLS_TICKET_KEY_BYTES], file[3][TLS_TICKET_KEY_BYTES];
    struct tls_tickets *t[2] = { NULL, NULL };
    struct tls_set *s[2];
    struct err e;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        memset(key[i], (int)(i + 1), sizeof key[i]);
    /* before: current 0, previous 2, next 1; after: current 1, previous 0, next 2 */
    for (int after = 0; after < 2; after++) {
        memcpy(file[0], key[after ? 1 : 0], sizeof file[0]);
        memcpy(file[1], key[after ? 0 : 2], sizeof file[1]);
        memcpy(file[2], key[after ? 2 : 1], sizeof file[2]);
        put(at("tickets"), file, sizeof file);
        assert_int_equal(tls_tickets_load(at("tickets"), &t[after], &e), ST_OK);
        s[after] = set_of(&one, 1, t[after]);
        tls_tickets_unref(&t[after]);
    }
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
        assert_true(resumes(s[0], s[1], v)); /* this host has rotated, the one before had not */
        assert_true(resumes(s[1], s[0], v)); /* and the other way round: `next` */
    }
    for (size_t n = 0; n <= sizeof file + 1; n++) {
        struct tls_tickets *x = NULL;
        bool good = n > 0 && n <= sizeof file && n % TLS_TICKET_KEY_BYTES == 0;
        uint8_t longer[sizeof file + 1] = { 0 };

        put(at("tickets"), longer, n);
        assert_int_equal(tls_tickets_load(at("tickets"), &x, &e), good ? ST_OK : ST_ECONF);
        if (!good)
            assert_non_null(strstr(e.text, at("tickets")));
        tls_tickets_unref(&x);
    }
    tls_set_unref(&s[0]);
    tls_set_unref(&s[1]);
}

static void a_set_lives_as_long_as_its_handshakes(void **state)
{
    const struct tls_cert_paths certs[] = { { NULL, at("a.pem"), at("a.key") },
                                            { "b.example.com", at("b.pem"), at("b.key") } };
    struct tls_set *s = set_of(certs, 2, NULL), *ref = tls_set_ref(s);
    SSL_CTX *client = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(tls_set_ctx(s)), *c;
    struct hello h = { .sni = "b.example.com" };
    BIO *a, *b;
    int rs = 0, rc = 0;

    (void)state;
    tls_set_unref(&s);
    assert_null(s);
    assert_true(tls_set_ctx(ref) != NULL);
    tls_set_unref(&ref); /* a reload, before the handshake has begun */
    assert_int_equal(BIO_new_bio_pair(&a, 64 << 10, &b, 64 << 10), 1);
    SSL_set_bio(ssl, a, a);
    SSL_set_accept_state(ssl);
    c = client_of(&h, client, b);
    for (int i = 0; i < 10 && (rs != 1 || rc != 1); i++) {
        rc = SSL_do_handshake(c);
        rs = SSL_do_handshake(ssl);
    }
    assert_true(rs == 1 && rc == 1);
    note_certificate(&h, c);
    assert_string_equal(h.cn_alt, "b.example.com");
    SSL_free(c);
    SSL_free(ssl);
    SSL_CTX_free(client);
}

enum { SWAPS = 10 };

static void *shake_and_let_go(void *arg)
{
    struct tls_set **mine = arg;

    for (int i = 0; i < SWAPS; i++) {
        struct hello h = { .sni = i % 2 == 0 ? "b.example.com" : NULL };

        shake(tls_set_ctx(mine[i]), &h);
        SSL_SESSION_free(h.next);
        tls_set_unref(&mine[i]);
    }
    return NULL;
}

/* Every loop holds each generation for a while; whoever is last frees it. */
static void loops_share_sets_and_keys(void **state)
{
    const struct tls_cert_paths certs[] = { { NULL, at("a.pem"), at("a.key") },
                                            { "b.example.com", at("b.pem"), at("b.key") } };
    struct tls_tickets *keys = random_tickets(NULL);
    struct tls_set *held[2][SWAPS];
    pthread_t t[2];

    (void)state;
    for (int i = 0; i < SWAPS; i++) {
        held[0][i] = set_of(certs, 2, keys);
        held[1][i] = tls_set_ref(held[0][i]);
    }
    for (int k = 0; k < 2; k++)
        assert_int_equal(pthread_create(&t[k], NULL, shake_and_let_go, held[k]), 0);
    tls_tickets_unref(&keys);
    for (int k = 0; k < 2; k++)
        assert_int_equal(pthread_join(t[k], NULL), 0);
    for (int i = 0; i < SWAPS; i++)
        assert_true(held[0][i] == NULL && held[1][i] == NULL);
}

static SSL_CTX *tier_client(const char *cert, const char *key, const char *ca)
{
    const struct tls_tier_paths p = { cert, key, ca };
    SSL_CTX *ctx = NULL;
    struct err e = { .text = "" };

    if (tls_client(&p, &ctx, &e) != ST_OK)
        fail_msg("%s", e.text);
    return ctx;
}

static void the_tier_asks_both_sides_for_certificates(void **state)
{
    const struct tls_tier_paths p = { at("a.pem"), at("a.key"), at("b.pem") };
    SSL_CTX *server = NULL;
    struct err e;
    struct {
        const char *cert, *key, *ca, *host;
        bool refused;
    } t[] = {
        { at("b.pem"), at("b.key"), at("a.pem"), "a.example.com", false },
        { NULL, NULL, at("a.pem"), "a.example.com", true },               /* no certificate */
        { at("w.pem"), at("w.key"), at("a.pem"), "a.example.com", true }, /* a stranger's */
        { at("b.pem"), at("b.key"), at("b.pem"), "a.example.com", true }, /* not our server */
        { at("b.pem"), at("b.key"), at("a.pem"), "b.example.com", true }, /* not that name */
    };

    (void)state;
    assert_int_equal(tls_tier_server(&p, &server, &e), ST_OK);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
            SSL_CTX *client = tier_client(t[i].cert, t[i].key, t[i].ca);
            struct hello h = {
                .ctx = client, .host = t[i].host, .alpn_wire = "\x02h2", .max_version = v
            };

            shake(server, &h);
            assert_int_equal(h.refused, t[i].refused);
            if (!t[i].refused)
                assert_string_equal(h.alpn, "h2");
            SSL_SESSION_free(h.next);
            SSL_CTX_free(client);
        }
    SSL_CTX_free(server);
}

static void self_signed_files_are_whole_and_the_key_is_private(void **state)
{
    const char *names[] = { "localhost", "127.0.0.1", "::1" };
    struct stat sb;
    struct err e;
    X509 *x;
    BIO *b;

    (void)state;
    put_text(at("s.key.new"), "of a run that was killed");
    assert_int_equal(tls_self_signed(at("s.pem"), at("s.key"), names, 3, &e), ST_OK);
    assert_int_equal(stat(at("s.key"), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    assert_int_equal(access(at("s.key.new"), F_OK), -1);
    b = BIO_new_file(at("s.pem"), "r");
    x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    assert_non_null(x);
    assert_int_equal(X509_check_host(x, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "127.0.0.2", 0), 0);
    X509_free(x);
    BIO_free(b);
    assert_int_equal(tls_self_signed("/nonexistent/c", "/nonexistent/k", names, 1, &e), ST_EIO);
    assert_non_null(strstr(e.text, "/nonexistent/k"));
}

static int64_t wall_s;
static int64_t test_wall(void) { return wall_s * (int64_t)SEC_US; }
static uint64_t test_mono(void) { return SEC_US; }
static const struct clock_source test_clock = { test_mono, test_wall };

static void expect_refused(const char *cert, const char *key, const char *file, const char *why)
{
    const struct tls_cert_paths c = { NULL, cert, key };
    struct tls_tickets *t = random_tickets(NULL);
    struct tls_set *s = NULL;
    struct err e = { .text = "" };

    assert_int_equal(tls_set_new(&c, 1, NULL, t, &s, &e), ST_ECONF);
    assert_null(s);
    if (strstr(e.text, file) != e.text || strstr(e.text, why) == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(ERR_peek_error(), 0);
    tls_tickets_unref(&t);
}

static void bad_files_are_named_with_the_reason(void **state)
{
    int64_t now = clock_wall_us() / (int64_t)SEC_US;
    EVP_PKEY *k = EVP_EC_gen("P-256");
    char pem[4096], broken[8192];
    BIO *b = BIO_new_file(at("locked.key"), "w");
    FILE *f;
    size_t n;

    (void)state;
    expect_refused(at("none.pem"), at("a.key"), at("none.pem"), "No such file");
    expect_refused(at("a.pem"), at("none.key"), at("none.key"), "No such file");
    expect_refused(dir, at("a.key"), dir, "not a file");
    expect_refused(at("a.pem"), at("b.key"), at("b.key"), at("a.pem"));
    expect_refused(at("a.key"), at("a.key"), at("a.key"), "no PEM certificate");
    expect_refused(at("a.pem"), at("a.pem"), at("a.pem"), "no PEM private key");
    put_text(at("empty.pem"), "");
    expect_refused(at("empty.pem"), at("a.key"), at("empty.pem"), "no PEM certificate");

    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(b, k, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
    BIO_free(b);
    EVP_PKEY_free(k);
    expect_refused(at("a.pem"), at("locked.key"), at("locked.key"), "passphrase");

    f = fopen(at("a.pem"), "r");
    n = fread(pem, 1, sizeof pem - 1, f);
    (void)fclose(f);
    pem[n] = '\0';
    (void)snprintf(broken, sizeof broken, "%s-----BEGIN CERTIFICATE-----\nMIIB\n", pem);
    put_text(at("broken.pem"), broken);
    expect_refused(at("broken.pem"), at("a.key"), at("broken.pem"), "certificate 1 of its chain");

    clock_use(&test_clock);
    wall_s = now + INT64_C(3651) * 86400;
    expect_refused(at("a.pem"), at("a.key"), at("a.pem"), "expired on 20");
    wall_s = now - INT64_C(2) * 86400;
    expect_refused(at("a.pem"), at("a.key"), at("a.pem"), "not valid before 20");
    clock_use(NULL);
}

static void bad_names_and_doubles_are_refused(void **state)
{
    static const char *const bad[] = {
        "", ".", "*", "*.", "a b", "x*.example.com", "*.*.com", "..", "a/b", "\xc3\xa4.example.com"
    };
    struct tls_tickets *t = random_tickets(NULL);
    struct tls_set *s = NULL;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct tls_cert_paths c = { bad[i], at("a.pem"), at("a.key") };

        assert_int_equal(tls_set_new(&c, 1, NULL, t, &s, &e), ST_ECONF);
    }
    const struct tls_cert_paths twice[] = { { "x.com", at("a.pem"), at("a.key") },
                                            { "X.com", at("b.pem"), at("b.key") } };

    assert_int_equal(tls_set_new(twice, 2, NULL, t, &s, &e), ST_ECONF);
    assert_non_null(strstr(e.text, at("b.pem")));
    assert_non_null(strstr(e.text, "same kind"));
    assert_int_equal(tls_set_new(twice, 1, "h2,,x", t, &s, &e), ST_ECONF);
    tls_tickets_unref(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_choose_certificates),
        cmocka_unit_test(a_set_without_names_presents_its_only_certificate),
        cmocka_unit_test(ecdsa_comes_before_rsa_under_one_name),
        cmocka_unit_test(protocols_are_chosen_by_our_order),
        cmocka_unit_test(tickets_resume_wherever_their_key_is_known),
        cmocka_unit_test(ticket_keys_from_a_file_rotate_without_a_gap),
        cmocka_unit_test(a_set_lives_as_long_as_its_handshakes),
        cmocka_unit_test(loops_share_sets_and_keys),
        cmocka_unit_test(the_tier_asks_both_sides_for_certificates),
        cmocka_unit_test(self_signed_files_are_whole_and_the_key_is_private),
        cmocka_unit_test(bad_files_are_named_with_the_reason),
        cmocka_unit_test(bad_names_and_doubles_are_refused),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
