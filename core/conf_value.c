#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/check.h"
#include "core/conf_key.h"

static_assert(sizeof(enum conf_play) == sizeof(unsigned), "enums are stored as unsigned");

struct unit {
    const char *name;
    uint64_t of;
};
static const struct unit size_units[] = { /* largest first */
                                          { "T", UINT64_C(1) << 40 },
                                          { "G", UINT64_C(1) << 30 },
                                          { "M", UINT64_C(1) << 20 },
                                          { "K", UINT64_C(1) << 10 },
                                          { "", 1 },
                                          { NULL, 0 }
};
static const struct unit time_units[] = { { "d", UINT64_C(86400000000) },
                                          { "h", UINT64_C(3600000000) },
                                          { "m", 60000000 },
                                          { "s", 1000000 },
                                          { "ms", 1000 },
                                          { "us", 1 },
                                          { NULL, 0 } };
static const struct unit int_units[] = { { "", 1 }, { NULL, 0 } };

static const struct unit *units_of(enum conf_type t)
{
    switch (t) {
    case CONF_SIZE:
    case CONF_RATE:
        return size_units;
    case CONF_TIME:
        return time_units;
    default:
        return int_units;
    }
}

static enum st wrong(char why[CONF_WHY], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static enum st wrong(char why[CONF_WHY], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, CONF_WHY, fmt, ap);
    va_end(ap);
    return ST_ECONF;
}

/* ---- numbers ---- */

static void conf_number_text(char out[32], const struct conf_key *k, uint64_t v)
{
    const struct unit *u = units_of(k->type);

    if (v == 0) {
        (void)snprintf(out, 32, "%s", k->zero != NULL ? k->zero : "0");
        return;
    }
    while (v % u->of != 0)
        u++;
    (void)snprintf(out, 32, "%" PRIu64 "%s", v / u->of, u->name);
}

void conf_range_text(char out[CONF_RANGE], const struct conf_key *k)
{
    char lo[32], hi[32];

    conf_number_text(lo, k, k->zero != NULL && k->min == 0 ? 1 : k->min);
    conf_number_text(hi, k, k->max);
    (void)snprintf(out, CONF_RANGE, "%s%s%s to %s", k->zero != NULL ? k->zero : "",
                   k->zero != NULL ? ", or " : "", lo, hi);
}

static const char *how_written(enum conf_type t)
{
    switch (t) {
    case CONF_SIZE:
        return "a size is written 64K, 64M, 64G or as plain bytes";
    case CONF_RATE:
        return "a rate is written 64K or 64M (bytes per second)";
    case CONF_TIME:
        return "a time is written with its unit: 200ms, 30s, 5m, 24h";
    default:
        return "a whole number is wanted";
    }
}

static enum st number_parse(const struct conf_key *k, const char *text, void *field,
                            char why[CONF_WHY])
{
    const struct unit *u = units_of(k->type);
    const char *p = text;
    uint64_t v = 0;
    bool over = false;
    char range[CONF_RANGE];

    if (k->zero == NULL || strcmp(text, k->zero) != 0) {
        if (!isdigit((unsigned char)*p))
            return wrong(why, "%s%s%s", how_written(k->type), k->zero != NULL ? ", or " : "",
                         k->zero != NULL ? k->zero : "");
        for (; isdigit((unsigned char)*p); p++) {
            uint64_t digit = (uint64_t)(*p - '0');

            over = over || v > (UINT64_MAX - digit) / 10;
            v = over ? v : v * 10 + digit;
        }
        while (u->name != NULL && strcmp(u->name, p) != 0)
            u++;
        if (u->name == NULL && (v != 0 || *p != '\0')) /* 0 needs no unit */
            return wrong(why, "%s", how_written(k->type));
        if (u->name != NULL) {
            over = over || v > UINT64_MAX / u->of;
            v = over ? v : v * u->of;
        }
    }
    if (over || v < k->min || v > k->max) {
        conf_range_text(range, k);
        return wrong(why, "out of range: %s", range);
    }
    if (k->size == sizeof(uint32_t)) {
        *(uint32_t *)field = (uint32_t)v;
    } else {
        CHECK(k->size == sizeof(uint64_t));
        *(uint64_t *)field = v;
    }
    return ST_OK;
}

static uint64_t number_get(const struct conf_key *k, const void *field)
{
    return k->size == sizeof(uint32_t) ? *(const uint32_t *)field : *(const uint64_t *)field;
}

/* ---- words ---- */

static enum st enum_parse(const struct conf_key *k, const char *text, void *field,
                          char why[CONF_WHY])
{
    int n;

    for (unsigned i = 0; k->words[i] != NULL; i++)
        if (strcmp(k->words[i], text) == 0) {
            memcpy(field, &i, sizeof i);
            return ST_OK;
        }
    n = snprintf(why, CONF_WHY, "one of these is wanted: %s", k->words[0]);
    for (unsigned i = 1; k->words[i] != NULL && n > 0 && n < CONF_WHY; i++)
        n += snprintf(why + n, (size_t)(CONF_WHY - n), ", %s", k->words[i]);
    return ST_ECONF;
}

static enum st string_put(const char *text, void *field, struct conf_mem *m)
{
    const char *copy = conf_mem_text(m, text, strlen(text));

    if (copy == NULL)
        return ST_ENOMEM;
    memcpy(field, &copy, sizeof copy);
    return ST_OK;
}

static bool has_control(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

static enum st string_parse(const struct conf_key *k, const char *text, void *field,
                            struct conf_mem *m, char why[CONF_WHY])
{
    if (strlen(text) > k->max)
        return wrong(why, "too long: at most %" PRIu64 " bytes", k->max);
    if (k->type == CONF_PATH && has_control(text))
        return wrong(why, "a path has no control characters");
    for (const char *p = text; k->type == CONF_STRING && *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            return wrong(why, "only A-Z a-z 0-9 . _ - may stand in it");
    return string_put(text, field, m);
}

/* ---- URLs ---- */

static bool is_host_name(const char *s)
{
    const char *last = strrchr(s, '.');
    size_t label = 0;

    last = last != NULL ? last + 1 : s;
    if (strlen(s) > 253 || strspn(last, "0123456789") == strlen(last))
        return false; /* all digits at the end: a broken IPv4 address */
    for (;; s++) {
        if (isalnum((unsigned char)*s) || *s == '_' || (*s == '-' && label > 0)) {
            label++;
        } else {
            if (label == 0 || label > 63 || (*s != '.' && *s != '\0'))
                return false;
            if (*s == '\0')
                return true;
            label = 0;
        }
    }
}

static bool is_listens(const struct conf_key *k)
{
    return k->type == CONF_LISTENS || k->type == CONF_RTMP_LISTENS;
}

/* HOST[:PORT] at p, n bytes, into u; *v6 when HOST stood in brackets. */
static enum st authority(const struct conf_key *k, const char *p, size_t n, struct conf_url *u,
                         char host[256], bool *v6, char why[CONF_WHY])
{
    bool listens = is_listens(k);
    char given[256];
    const char *end, *colon;
    unsigned long port;
    unsigned char addr[16];

    if (n >= sizeof given)
        return wrong(why, "the host is too long");
    memcpy(given, p, n);
    given[n] = '\0';
    *v6 = given[0] == '[';
    end = *v6 ? strchr(given, ']') : given + strcspn(given, ":");
    if (end == NULL || (*v6 && end[1] != '\0' && end[1] != ':'))
        return wrong(why, "an IPv6 address stands in brackets: [::1]:8080");
    colon = *v6 ? end + 1 : end;
    (void)snprintf(host, 256, "%.*s", (int)(end - given - *v6), given + *v6);
    for (char *c = host; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    if (*v6) {
        if (inet_pton(AF_INET6, host, addr) != 1)
            return wrong(why, "this is no IPv6 address");
        (void)inet_ntop(AF_INET6, addr, host, 256);
    } else if (inet_pton(AF_INET, host, addr) != 1 && (listens || !is_host_name(host))) {
        return wrong(why, listens ? "an address to listen on is wanted, such as 127.0.0.1:8080, "
                                    "[::]:8080 or 0.0.0.0:8080"
                                  : "this is no host name and no address");
    }
    if (*colon == '\0') {
        if (listens)
            return wrong(why, "a port is wanted, such as %s://127.0.0.1:%s",
                         conf_scheme_name(u->scheme), u->scheme < CONF_RTMP ? "8080" : "1935");
        u->port = u->scheme == CONF_HTTPS ? 443 : 80;
        return ST_OK;
    }
    port = strtoul(colon + 1, NULL, 10);
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || colon[1] == '\0' ||
        port > UINT16_MAX || (!listens && port == 0))
        return wrong(why, "a port is a number from %d to 65535", listens ? 0 : 1);
    u->port = (uint16_t)port;
    return ST_OK;
}

static enum st unix_parse(const char *path, struct conf_url *u, struct conf_mem *m,
                          char why[CONF_WHY])
{
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];

    if (path[0] != '/' || path[1] == '\0' || has_control(path))
        return wrong(why, "a unix socket is written unix:/path/to/socket");
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return wrong(why, "the path of a unix socket has at most %zu bytes",
                     sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    u->scheme = CONF_UNIX;
    u->port = 0;
    (void)snprintf(text, sizeof text, "unix:%s", path);
    u->host = "";
    u->text = conf_mem_text(m, text, strlen(text));
    if (u->text == NULL)
        return ST_ENOMEM;
    u->path = u->text + 5;
    return ST_OK;
}

const char *conf_scheme_name(enum conf_scheme scheme)
{
    static const char *const names[] = { [CONF_HTTP] = "http",
                                         [CONF_HTTPS] = "https",
                                         [CONF_UNIX] = "unix",
                                         [CONF_RTMP] = "rtmp",
                                         [CONF_RTMPS] = "rtmps" };

    return names[scheme];
}

/* n: its length, without "://". */
static enum st scheme_parse(const struct conf_key *k, const char *text, size_t n,
                            struct conf_url *u, char why[CONF_WHY])
{
    enum conf_scheme clear = k->type == CONF_RTMP_LISTENS ? CONF_RTMP : CONF_HTTP;
    enum conf_scheme tls = k->type == CONF_RTMP_LISTENS ? CONF_RTMPS : CONF_HTTPS;

    u->scheme = n == strlen(conf_scheme_name(tls)) ? tls : clear;
    if (n == strlen(conf_scheme_name(u->scheme)) &&
        strncasecmp(text, conf_scheme_name(u->scheme), n) == 0)
        return ST_OK;
    return wrong(why, k->type == CONF_RTMP_LISTENS ? "the scheme is rtmp or rtmps"
                                                   : "the scheme is http, https or unix");
}

static enum st net_parse(const char *text, struct conf_net *net, struct conf_mem *m,
                         char why[CONF_WHY])
{
    if (addr_net_parse(text, &net->net) != ST_OK)
        return wrong(why, "an address or network is wanted, such as 10.0.0.0/8 or 2001:db8::/32");
    return string_put(text, &net->text, m);
}

static enum st url_parse(const struct conf_key *k, const char *text, struct conf_url *u,
                         struct conf_mem *m, char why[CONF_WHY])
{
    const char *p = text, *sep = strstr(text, "://");
    char host[256], canonical[300];
    size_t n;
    bool v6 = false;
    enum st st;

    *u = (struct conf_url){ .host = "", .path = "", .text = "" };
    if (text[0] == '\0' && k->type == CONF_URL)
        return ST_OK;
    if (strncmp(text, "unix:", 5) == 0 && k->type != CONF_RTMP_LISTENS)
        return unix_parse(text + 5, u, m, why);
    if (sep != NULL) {
        st = scheme_parse(k, text, (size_t)(sep - text), u, why);
        if (st != ST_OK)
            return st;
        p = sep + 3;
    } else if (k->type == CONF_RTMP_LISTENS) {
        return wrong(why, "rtmp://ADDRESS:PORT or rtmps://ADDRESS:PORT is wanted");
    } else if (k->type != CONF_LISTENS) {
        return wrong(why, "a URL is wanted, such as http://host:8080, https://host or "
                          "unix:/path");
    }
    n = strcspn(p, "/?#");
    if (memchr(p, '@', n) != NULL)
        return wrong(why, "a user name has no place here");
    if (p[n] != '\0' && strcmp(p + n, "/") != 0)
        return wrong(why, "a path or query has no place here: only scheme, host and port");
    st = authority(k, p, n, u, host, &v6, why);
    if (st != ST_OK)
        return st;
    (void)snprintf(canonical, sizeof canonical, "%s://%s%s%s:%u", conf_scheme_name(u->scheme),
                   v6 ? "[" : "", host, v6 ? "]" : "", (unsigned)u->port);
    u->host = conf_mem_text(m, host, strlen(host));
    u->text = conf_mem_text(m, canonical, strlen(canonical));
    return u->host != NULL && u->text != NULL ? ST_OK : ST_ENOMEM;
}

/* ---- any of them ---- */

enum st conf_value_parse(const struct conf_key *k, const char *text, void *field,
                         struct conf_mem *m, char why[CONF_WHY])
{
    why[0] = '\0';
    switch (k->type) {
    case CONF_INT:
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_RATE:
        return number_parse(k, text, field, why);
    case CONF_ENUM:
        return enum_parse(k, text, field, why);
    case CONF_STRING:
    case CONF_PATH:
        return string_parse(k, text, field, m, why);
    case CONF_URL:
    case CONF_URLS:
    case CONF_LISTENS:
    case CONF_RTMP_LISTENS:
        return url_parse(k, text, field, m, why);
    case CONF_NETS:
        return net_parse(text, field, m, why);
    case CONF_SECTION:
    case CONF_MAP:
        break;
    }
    check_failed("a heading has no value", __func__, __FILE__, __LINE__);
}

void conf_print_quoted(FILE *f, const char *s)
{
    (void)fputc('"', f);
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            (void)fputc('\\', f);
        (void)fputc(*s, f);
    }
    (void)fputc('"', f);
}

static void print_list(FILE *f, const struct conf_key *k, const void *base)
{
    size_t n;
    const void *v = conf_list_get(k, base, &n);

    (void)fputc('[', f);
    for (size_t i = 0; i < n; i++) {
        (void)fputs(i > 0 ? ", " : "", f);
        conf_print_quoted(f, k->type == CONF_NETS ? ((const struct conf_net *)v)[i].text
                                                  : ((const struct conf_url *)v)[i].text);
    }
    (void)fputc(']', f);
}

bool conf_value_print(FILE *f, const struct conf_key *k, const void *base)
{
    const void *field = (const char *)base + k->off;
    const char *s;
    unsigned word;
    char number[32];

    switch (k->type) {
    case CONF_INT:
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_RATE:
        conf_number_text(number, k, number_get(k, field));
        (void)fputs(number, f);
        return true;
    case CONF_ENUM:
        memcpy(&word, field, sizeof word);
        (void)fputs(k->words[word], f);
        return true;
    case CONF_URLS:
    case CONF_LISTENS:
    case CONF_RTMP_LISTENS:
    case CONF_NETS:
        print_list(f, k, base);
        return true;
    case CONF_STRING:
    case CONF_PATH:
    case CONF_URL:
        if (k->type == CONF_URL)
            s = ((const struct conf_url *)field)->text;
        else
            memcpy(&s, field, sizeof s);
        if (s[0] == '\0')
            return false;
        conf_print_quoted(f, s);
        return true;
    case CONF_SECTION:
    case CONF_MAP:
        break;
    }
    return false;
}

size_t conf_element_size(const struct conf_key *k)
{
    if (k->type == CONF_MAP)
        return k->size;
    return k->type == CONF_NETS ? sizeof(struct conf_net) : sizeof(struct conf_url);
}

void conf_list_put(const struct conf_key *k, void *base, const void *v, size_t n)
{
    memcpy((char *)base + k->off, &v, sizeof v);
    memcpy((char *)base + k->off_n, &n, sizeof n);
}

const void *conf_list_get(const struct conf_key *k, const void *base, size_t *n)
{
    const void *v;

    memcpy(&v, (const char *)base + k->off, sizeof v);
    memcpy(n, (const char *)base + k->off_n, sizeof *n);
    return v;
}
