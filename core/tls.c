/* Who holds whom. A tls_set holds its front context, which is the one that SSL objects are made of.
 * The front's ex_data holds the name map, whose entries hold the other contexts; none of those
 * holds the front, so there is no cycle. An SSL keeps the front (as the context its session belongs
 * to) and the one chosen by name; so the map outlives the set for as long as a handshake may need
 * it.
 *
 * OpenSSL asks the front for tickets, and the chosen context for ALPN: both have the same data. */
#include "core/tls.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/tls_pem.h"

enum {
    TICKETS_MAGIC = 0x71cce75a,
    SET_MAGIC = 0x7155e7a1,
    NAME_MAX_BYTES = 253,
    CLIENT_READ_BYTES =
        64 << 10, /* one recv, four records; larger ones would be mmap'ed each time */
};

/* Tickets. */

struct ticket_key {
    uint8_t name[16], mac[32], cipher[32];
};
_Static_assert(sizeof(struct ticket_key) == TLS_TICKET_KEY_BYTES, "as in the file");

struct tls_tickets {
    int magic;
    int n;
    struct ticket_key keys[TLS_TICKET_KEYS_MAX];
    EVP_CIPHER *cipher;
    atomic_int refs;
};

static enum st tickets_alloc(struct tls_tickets **out, struct err *e)
{
    struct tls_tickets *t = calloc(1, sizeof *t);

    if (t != NULL)
        t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (t == NULL || t->cipher == NULL) {
        free(t);
        return err_set(e, ST_ENOMEM, "no memory");
    }
    OBJ_INIT(t, TICKETS_MAGIC);
    atomic_init(&t->refs, 1);
    *out = t;
    return ST_OK;
}

enum st tls_tickets_load(const char *path, struct tls_tickets **out, struct err *e)
{
    uint8_t *bytes;
    size_t n;
    enum st st = tls_file_read(path, &bytes, &n, e);

    if (st != ST_OK)
        return st;
    if (n == 0 || n % TLS_TICKET_KEY_BYTES != 0 || n > sizeof(*out)->keys)
        st =
            err_set(e, ST_ECONF, "%s: has %zu bytes; ticket keys are 1 to %d times %d random bytes",
                    path, n, TLS_TICKET_KEYS_MAX, TLS_TICKET_KEY_BYTES);
    else
        st = tickets_alloc(out, e);
    if (st == ST_OK) {
        memcpy((*out)->keys, bytes, n);
        (*out)->n = (int)(n / TLS_TICKET_KEY_BYTES);
    }
    OPENSSL_cleanse(bytes, n);
    free(bytes);
    return st;
}

enum st tls_tickets_random(const struct tls_tickets *before, struct tls_tickets **out,
                           struct err *e)
{
    enum st st = tickets_alloc(out, e);

    if (st != ST_OK)
        return st;
    if (RAND_bytes((unsigned char *)&(*out)->keys[0], TLS_TICKET_KEY_BYTES) != 1) {
        tls_tickets_unref(out);
        return err_set(e, ST_EIO, "no random bytes");
    }
    (*out)->n = 1;
    if (before != NULL) {
        OBJ_CHECK(before, TICKETS_MAGIC);
        (*out)->keys[1] = before->keys[0];
        (*out)->n = 2;
    }
    return ST_OK;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *t)
{
    OBJ_CHECK(t, TICKETS_MAGIC);
    CHECK(atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed) > 0);
    return t;
}

void tls_tickets_unref(struct tls_tickets **tp)
{
    struct tls_tickets *t = *tp;

    *tp = NULL;
    if (t == NULL)
        return;
    OBJ_CHECK(t, TICKETS_MAGIC);
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    EVP_CIPHER_free(t->cipher);
    OBJ_FINI(t, TICKETS_MAGIC);
    OPENSSL_cleanse(t->keys, sizeof t->keys);
    free(t);
}

/* What our callbacks need, kept by each context for itself. */

struct name {
    char *name;   /* lower case; "*.example.com" as it stands */
    SSL_CTX *ctx; /* a reference; NULL: the front itself */
};

struct ctx_data {
    struct tls_tickets *tickets; /* NULL: none are given */
    uint8_t alpn[64];            /* as on the wire */
    unsigned alpn_n;
    struct name *names; /* sorted; the front's only */
    size_t names_n;
};

static void free_data(void *parent, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    struct ctx_data *d = p;

    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->names_n; i++) {
        free(d->names[i].name);
        SSL_CTX_free(d->names[i].ctx);
    }
    free(d->names);
    tls_tickets_unref(&d->tickets);
    free(d);
}

/* OpenSSL hands out slots per process. Main makes the first context before any thread looks. */
static int data_slot(void)
{
    static int slot = -1;

    if (slot < 0)
        slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_data);
    return slot;
}

static struct ctx_data *data_of(const SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), data_slot());
}

static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int enc)
{
    const struct tls_tickets *t = data_of(ssl)->tickets;
    char digest[] = "SHA256";
    struct ticket_key k;
    OSSL_PARAM params[3];
    int i = 0, ok;

    if (enc) {
        memcpy(name, t->keys[0].name, sizeof t->keys[0].name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(t->cipher)) != 1)
            return -1;
    } else {
        while (i < t->n && memcmp(name, t->keys[i].name, sizeof t->keys[i].name) != 0)
            i++;
        if (i == t->n)
            return 0; /* a full handshake */
    }
    k = t->keys[i]; /* the parameters want it writable */
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k.mac, sizeof k.mac);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
    params[2] = OSSL_PARAM_construct_end();
    ok = EVP_MAC_CTX_set_params(mac, params) == 1 &&
         EVP_CipherInit_ex(cipher, t->cipher, NULL, k.cipher, iv, enc) == 1;
    OPENSSL_cleanse(&k, sizeof k);
    if (!ok)
        return -1;
    return enc || i == 0 ? 1 : 2; /* 2: good, and replaced by one of the current key */
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                           const unsigned char *in, unsigned in_n, void *arg)
{
    const struct ctx_data *d = data_of(ssl);

    (void)arg;
    for (unsigned i = 0; i < d->alpn_n; i += 1u + d->alpn[i])
        for (unsigned j = 0; j < in_n && j + 1 + in[j] <= in_n; j += 1u + in[j])
            if (in[j] == d->alpn[i] && memcmp(in + j, d->alpn + i, 1u + in[j]) == 0) {
                *out = in + j + 1;
                *out_n = in[j];
                return SSL_TLSEXT_ERR_OK;
            }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static const struct name *find_name(const struct ctx_data *d, char *name)
{
    struct name key = { .name = name };

    return bsearch(&key, d->names, d->names_n, sizeof *d->names, by_name);
}

static bool to_lower(const char *in, char out[NAME_MAX_BYTES + 1])
{
    size_t n = strlen(in);

    if (n > 0 && in[n - 1] == '.')
        n--;
    if (n == 0 || n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(in[i] >= 'A' && in[i] <= 'Z' ? in[i] - 'A' + 'a' : in[i]);
    out[n] = '\0';
    return true;
}

static int choose_name(SSL *ssl, int *alert, void *arg)
{
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct ctx_data *d = arg; /* the front's, also when a retried hello comes again */
    char name[NAME_MAX_BYTES + 1], *dot;
    const struct name *hit;

    (void)alert;
    if (asked == NULL || d->names_n == 0 || !to_lower(asked, name))
        return SSL_TLSEXT_ERR_NOACK;
    hit = find_name(d, name);
    dot = strchr(name, '.');
    if (hit == NULL && dot != NULL && dot > name) {
        dot[-1] = '*';
        hit = find_name(d, dot - 1);
    }
    if (hit == NULL)
        return SSL_TLSEXT_ERR_NOACK; /* the default */
    if (hit->ctx != NULL && SSL_set_SSL_CTX(ssl, hit->ctx) == NULL)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

/* Contexts. */

static enum st ssl_err(struct err *e, enum st code, const char *path)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return err_set(e, code, "%s: %s", path, why != NULL ? why : "no memory");
}

static const char ciphers_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
                                 "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
static const char ciphers_13[] =
    "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";

/* What servers and clients have in common; NULL: no memory. */
static SSL_CTX *ctx_new(const SSL_METHOD *method)
{
    char groups[] = "X25519:P-256:P-384"; /* the macro wants it writable */
    SSL_CTX *ctx = SSL_CTX_new(method);
    struct ctx_data *d = calloc(1, sizeof *d);

    if (ctx == NULL || d == NULL || SSL_CTX_set_ex_data(ctx, data_slot(), d) != 1) {
        free(d);
        SSL_CTX_free(ctx);
        return NULL;
    }
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_cipher_list(ctx, ciphers_12) == 1 &&
        SSL_CTX_set_ciphersuites(ctx, ciphers_13) == 1 &&
        SSL_CTX_set1_groups_list(ctx, groups) == 1)
        return ctx;
    SSL_CTX_free(ctx); /* with d */
    return NULL;
}

static struct ctx_data *ctx_data(SSL_CTX *ctx) { return SSL_CTX_get_ex_data(ctx, data_slot()); }

static enum st use_cert(SSL_CTX *ctx, const char *cert, const char *key, struct err *e)
{
    struct tls_pem pem;
    enum st st = tls_pem_load(cert, key, &pem, e);

    if (st != ST_OK)
        return st;
    /* 0: an ECDSA and an RSA certificate may share a name, two of a kind may not */
    if (SSL_CTX_use_cert_and_key(ctx, pem.cert, pem.key, pem.chain, 0) != 1)
        st = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_NOT_REPLACING_CERTIFICATE
                 ? err_set(e, ST_ECONF, "%s: this name has a certificate of the same kind", cert)
                 : ssl_err(e, ST_ECONF, cert);
    tls_pem_fini(&pem);
    ERR_clear_error();
    return st;
}

static enum st set_protocols(SSL_CTX *ctx, const char *alpn, struct err *e)
{
    struct ctx_data *d = ctx_data(ctx);

    for (const char *p = alpn; *p != '\0';) {
        size_t n = strcspn(p, ",");

        if (n == 0 || d->alpn_n + 1 + n > sizeof d->alpn)
            return err_set(e, ST_ECONF, "%s: not a list of protocols", alpn);
        d->alpn[d->alpn_n] = (uint8_t)n;
        memcpy(d->alpn + d->alpn_n + 1, p, n);
        d->alpn_n += 1 + (unsigned)n;
        p += n + (p[n] == ',');
    }
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    return ST_OK;
}

static enum st set_ctx_new(const char *alpn, struct tls_tickets *tickets, SSL_CTX **out,
                           struct err *e)
{
    static const unsigned char sid[] = "freshet";
    SSL_CTX *ctx = ctx_new(TLS_server_method());
    enum st st = ST_OK;

    if (ctx == NULL)
        return ssl_err(e, ST_ENOMEM, "TLS context");
    ctx_data(ctx)->tickets = tls_tickets_ref(tickets);
    /* the same for all: what one loop or machine gave, any other takes */
    (void)SSL_CTX_set_session_id_context(ctx, sid, sizeof sid - 1);
    (void)SSL_CTX_set_timeout(ctx, TLS_TICKET_LIFE_S);
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
    if (alpn != NULL)
        st = set_protocols(ctx, alpn, e);
    if (st == ST_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return st;
}

/* The set. */

struct tls_set {
    int magic;
    SSL_CTX *front;
    atomic_int refs;
};

static bool name_is_good(const char *name)
{
    const char *rest = strncmp(name, "*.", 2) == 0 ? name + 2 : name;

    return rest[0] != '\0' && rest[0] != '.' &&
           rest[strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789-_.")] == '\0';
}

static SSL_CTX *ctx_of_name(const struct tls_set *s, const char *name)
{
    const struct ctx_data *d = ctx_data(s->front);

    for (size_t i = 0; i < d->names_n; i++)
        if (strcmp(d->names[i].name, name) == 0)
            return d->names[i].ctx != NULL ? d->names[i].ctx : s->front;
    return NULL;
}

/* A context of its own for a new name; ctx NULL: the front answers to it. Takes ctx. */
static enum st add_to_map(struct tls_set *s, const char *name, SSL_CTX *ctx, struct err *e)
{
    struct ctx_data *d = ctx_data(s->front);
    struct name *more = realloc(d->names, (d->names_n + 1) * sizeof *more);
    char *copy = strdup(name);

    if (more != NULL)
        d->names = more;
    if (more == NULL || copy == NULL) {
        free(copy);
        SSL_CTX_free(ctx);
        return err_set(e, ST_ENOMEM, "no memory");
    }
    d->names[d->names_n++] = (struct name){ copy, ctx };
    return ST_OK;
}

static enum st add_cert(struct tls_set *s, const struct tls_cert_paths *c, bool first,
                        const char *alpn, struct tls_tickets *tickets, struct err *e)
{
    char name[NAME_MAX_BYTES + 1] = "";
    SSL_CTX *ctx = s->front;
    enum st st = ST_OK;

    if (c->name != NULL && (!to_lower(c->name, name) || !name_is_good(name)))
        return err_set(e, ST_ECONF, "%s: not a server name", c->name);
    if (c->name != NULL) {
        ctx = ctx_of_name(s, name);
        if (ctx == NULL && first) {
            ctx = s->front;
            st = add_to_map(s, name, NULL, e);
        } else if (ctx == NULL) {
            st = set_ctx_new(alpn, tickets, &ctx, e);
            if (st == ST_OK)
                st = add_to_map(s, name, ctx, e);
        }
    }
    return st == ST_OK ? use_cert(ctx, c->cert, c->key, e) : st;
}

enum st tls_set_new(const struct tls_cert_paths *certs, int n, const char *alpn,
                    struct tls_tickets *tickets, struct tls_set **out, struct err *e)
{
    struct tls_set *s = calloc(1, sizeof *s);
    struct ctx_data *d;
    enum st st;

    CHECK(n > 0);
    if (s == NULL)
        return err_set(e, ST_ENOMEM, "no memory");
    OBJ_INIT(s, SET_MAGIC);
    atomic_init(&s->refs, 1);
    st = set_ctx_new(alpn, tickets, &s->front, e);
    for (int i = 0; i < n && st == ST_OK; i++)
        st = add_cert(s, &certs[i], i == 0, alpn, tickets, e);
    if (st != ST_OK) {
        tls_set_unref(&s);
        return st;
    }
    d = ctx_data(s->front);
    if (d->names_n > 0)
        qsort(d->names, d->names_n, sizeof *d->names, by_name);
    (void)SSL_CTX_set_tlsext_servername_callback(s->front, choose_name);
    (void)SSL_CTX_set_tlsext_servername_arg(s->front, d);
    *out = s;
    return ST_OK;
}

struct tls_set *tls_set_ref(struct tls_set *s)
{
    OBJ_CHECK(s, SET_MAGIC);
    CHECK(atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed) > 0);
    return s;
}

void tls_set_unref(struct tls_set **sp)
{
    struct tls_set *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    OBJ_CHECK(s, SET_MAGIC);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(s->front);
    OBJ_FINI(s, SET_MAGIC);
    free(s);
}

SSL_CTX *tls_set_ctx(const struct tls_set *s)
{
    OBJ_CHECK(s, SET_MAGIC);
    return s->front;
}

/* The tier. */

static enum st trust(SSL_CTX *ctx, const char *ca, struct err *e)
{
    if (ca == NULL)
        return SSL_CTX_set_default_verify_paths(ctx) == 1 ? ST_OK
                                                          : ssl_err(e, ST_ECONF, "system CA store");
    return SSL_CTX_load_verify_file(ctx, ca) == 1 ? ST_OK : ssl_err(e, ST_ECONF, ca);
}

enum st tls_tier_server(const struct tls_tier_paths *p, SSL_CTX **out, struct err *e)
{
    SSL_CTX *ctx = ctx_new(TLS_server_method());
    enum st st;

    if (ctx == NULL)
        return ssl_err(e, ST_ENOMEM, "TLS context");
    /* few and long connections: each proves itself anew, no ticket stands in for a certificate */
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    st = use_cert(ctx, p->cert, p->key, e);
    if (st == ST_OK)
        st = trust(ctx, p->ca, e);
    if (st == ST_OK)
        st = set_protocols(ctx, "h2", e);
    if (st == ST_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return st;
}

enum st tls_client(const struct tls_tier_paths *p, SSL_CTX **out, struct err *e)
{
    SSL_CTX *ctx = ctx_new(TLS_client_method());
    enum st st = ST_OK;

    if (ctx == NULL)
        return ssl_err(e, ST_ENOMEM, "TLS context");
    SSL_CTX_set_default_read_buffer_len(ctx, CLIENT_READ_BYTES);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (p->cert != NULL)
        st = use_cert(ctx, p->cert, p->key, e);
    if (st == ST_OK)
        st = trust(ctx, p->ca, e);
    if (st == ST_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return st;
}
