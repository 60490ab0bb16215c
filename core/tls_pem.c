#include "core/tls_pem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/tls.h"

enum {
    FILE_MAX = 1 << 20,
    SELF_SIGNED_DAYS = 3650,
    SKEW_DAYS = 1, /* the clock of a client may be behind ours */
};

static enum st file_err(struct err *e, enum st code, const char *path, const char *what)
{
    return err_set(e, code, "%s: %s", path, what);
}

enum st tls_file_read(const char *path, uint8_t **bytes, size_t *n, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat sb;
    ssize_t r = 0;

    *bytes = NULL;
    *n = 0;
    if (fd < 0)
        return file_err(e, ST_ECONF, path, strerrordesc_np(errno));
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode) || sb.st_size > FILE_MAX) {
        (void)close(fd);
        return file_err(e, ST_ECONF, path, "not a file, or larger than 1 MiB");
    }
    *bytes = malloc((size_t)sb.st_size + 1);
    while (*bytes != NULL && *n < (size_t)sb.st_size &&
           (r = read(fd, *bytes + *n, (size_t)sb.st_size - *n)) > 0)
        *n += (size_t)r;
    (void)close(fd);
    if (*bytes == NULL)
        return file_err(e, ST_ENOMEM, path, "no memory");
    if (r < 0) {
        free(*bytes);
        *bytes = NULL;
        return file_err(e, ST_ECONF, path, strerrordesc_np(errno));
    }
    return ST_OK;
}

static enum st open_pem(const char *path, uint8_t **bytes, size_t *n, BIO **bio, struct err *e)
{
    enum st st = tls_file_read(path, bytes, n, e);

    if (st != ST_OK)
        return st;
    *bio = BIO_new_mem_buf(*bytes, (int)*n);
    return *bio != NULL ? ST_OK : file_err(e, ST_ENOMEM, path, "no memory");
}

static void close_pem(uint8_t *bytes, size_t n, BIO *bio)
{
    BIO_free(bio);
    if (bytes != NULL)
        OPENSSL_cleanse(bytes, n);
    free(bytes);
    ERR_clear_error();
}

static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static enum st check_dates(const char *path, const struct tls_pem *p, struct err *e)
{
    int64_t now = clock_wall_us() / (int64_t)SEC_US;
    int64_t from = unix_time(X509_get0_notBefore(p->cert));
    int64_t until = unix_time(X509_get0_notAfter(p->cert));
    char day[32];
    time_t t;
    struct tm tm;

    if (from <= now && now < until)
        return ST_OK;
    t = (time_t)(now < from ? from : until);
    (void)gmtime_r(&t, &tm);
    (void)strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S UTC", &tm);
    return err_set(e, ST_ECONF, "%s: the certificate %s %s", path,
                   now < from ? "is not valid before" : "expired on", day);
}

static enum st read_certs(const char *path, BIO *bio, struct tls_pem *out, struct err *e)
{
    X509 *more;

    out->cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    if (out->cert == NULL)
        return file_err(e, ST_ECONF, path, "there is no PEM certificate in it");
    out->chain = sk_X509_new_null();
    if (out->chain == NULL)
        return file_err(e, ST_ENOMEM, path, "no memory");
    ERR_clear_error();
    while ((more = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(out->chain, more) == 0) {
            X509_free(more);
            return file_err(e, ST_ENOMEM, path, "no memory");
        }
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return err_set(e, ST_ECONF, "%s: certificate %d of its chain is broken", path,
                       sk_X509_num(out->chain) + 1);
    return check_dates(path, out, e);
}

/* Instead of OpenSSL's own, which would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rw, void *u)
{
    (void)buf, (void)size, (void)rw;
    *(bool *)u = true;
    return -1;
}

static enum st load_certs(const char *path, struct tls_pem *out, struct err *e)
{
    uint8_t *bytes = NULL;
    BIO *bio = NULL;
    size_t n;
    enum st st = open_pem(path, &bytes, &n, &bio, e);

    if (st == ST_OK)
        st = read_certs(path, bio, out, e);
    close_pem(bytes, n, bio);
    return st;
}

static enum st load_key(const char *path, struct tls_pem *out, struct err *e)
{
    uint8_t *bytes = NULL;
    BIO *bio = NULL;
    size_t n;
    bool asked = false;
    enum st st = open_pem(path, &bytes, &n, &bio, e);

    if (st == ST_OK) {
        out->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
        if (out->key == NULL)
            st = file_err(e, ST_ECONF, path,
                          asked ? "the key has a passphrase; store it without one"
                                : "there is no PEM private key in it");
    }
    close_pem(bytes, n, bio);
    return st;
}

enum st tls_pem_load(const char *cert_path, const char *key_path, struct tls_pem *out,
                     struct err *e)
{
    enum st st;

    memset(out, 0, sizeof *out);
    st = load_certs(cert_path, out, e);
    if (st == ST_OK)
        st = load_key(key_path, out, e);
    if (st == ST_OK && X509_check_private_key(out->cert, out->key) != 1) {
        ERR_clear_error();
        st = err_set(e, ST_ECONF, "%s: this is not the key of the certificate in %s", key_path,
                     cert_path);
    }
    if (st != ST_OK)
        tls_pem_fini(out);
    return st;
}

void tls_pem_fini(struct tls_pem *p)
{
    X509_free(p->cert);
    sk_X509_pop_free(p->chain, X509_free);
    EVP_PKEY_free(p->key);
    memset(p, 0, sizeof *p);
}

/* Writing: beside the target, then renamed, so nobody ever reads half a key. */
static enum st write_whole(const char *path, mode_t mode, BIO *bio, struct err *e)
{
    char tmp[4096];
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    int fd, err = 0;

    if (snprintf(tmp, sizeof tmp, "%s.new", path) >= (int)sizeof tmp)
        return file_err(e, ST_ECONF, path, "the path is too long");
    (void)unlink(tmp); /* of a run that was killed here */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return file_err(e, ST_EIO, tmp, strerrordesc_np(errno));
    if (write(fd, p, (size_t)n) != (ssize_t)n || fsync(fd) != 0)
        err = errno;
    (void)close(fd);
    if (err == 0 && rename(tmp, path) != 0)
        err = errno;
    if (err == 0)
        return ST_OK;
    (void)unlink(tmp);
    return file_err(e, ST_EIO, tmp, strerrordesc_np(err));
}

static bool add_name(GENERAL_NAMES *names, const char *name)
{
    GENERAL_NAME *g = GENERAL_NAME_new();
    struct in6_addr ip;
    bool is_ip = inet_pton(AF_INET, name, &ip) == 1 || inet_pton(AF_INET6, name, &ip) == 1;
    ASN1_STRING *s = is_ip ? a2i_IPADDRESS(name) : ASN1_IA5STRING_new();

    if (g == NULL || s == NULL || (!is_ip && ASN1_STRING_set(s, name, -1) != 1)) {
        GENERAL_NAME_free(g);
        ASN1_STRING_free(s);
        return false;
    }
    GENERAL_NAME_set0_value(g, is_ip ? GEN_IPADD : GEN_DNS, s);
    if (sk_GENERAL_NAME_push(names, g) > 0)
        return true;
    GENERAL_NAME_free(g);
    return false;
}

static bool add_text_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

static bool add_extensions(X509 *x, const char *const *names, int n)
{
    GENERAL_NAMES *san = GENERAL_NAMES_new();
    bool ok = san != NULL;

    for (int i = 0; i < n && ok; i++)
        ok = add_name(san, names[i]);
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, san, 0, 0) == 1 &&
         add_text_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
         add_text_extension(x, NID_key_usage, "critical,digitalSignature") &&
         add_text_extension(x, NID_ext_key_usage, "serverAuth,clientAuth");
    GENERAL_NAMES_free(san);
    return ok;
}

static bool fill_in(X509 *x, EVP_PKEY *key, const char *const *names, int n)
{
    X509_NAME *subject = X509_get_subject_name(x);
    time_t now = (time_t)(clock_wall_us() / (int64_t)SEC_US);
    uint64_t serial;

    if (RAND_bytes((unsigned char *)&serial, sizeof serial) != 1)
        return false;
    /* a common name has at most 64 characters; the names that count are the alternative ones */
    return X509_set_version(x, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1) == 1 &&
           X509_time_adj_ex(X509_getm_notBefore(x), -SKEW_DAYS, 0, &now) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(x), SELF_SIGNED_DAYS, 0, &now) != NULL &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)"freshet", -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key) == 1 &&
           add_extensions(x, names, n) && X509_sign(x, key, EVP_sha256()) > 0;
}

enum st tls_self_signed(const char *cert_path, const char *key_path, const char *const *names,
                        int n, struct err *e)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *cert_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_secmem());
    enum st st;

    CHECK(n > 0);
    if (key == NULL || x == NULL || cert_pem == NULL || key_pem == NULL ||
        !fill_in(x, key, names, n) || PEM_write_bio_X509(cert_pem, x) != 1 ||
        PEM_write_bio_PKCS8PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1)
        st = file_err(e, ST_ENOMEM, cert_path, "cannot make a certificate");
    else if ((st = write_whole(key_path, 0600, key_pem, e)) == ST_OK)
        st = write_whole(cert_path, 0644, cert_pem, e);
    BIO_free(key_pem);
    BIO_free(cert_pem);
    X509_free(x);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return st;
}
