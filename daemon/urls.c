#include "daemon/urls.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "daemon/admin.h"

static bool host_of(const struct ifaddrs *i, int family, char host[URLS_HOST_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    const void *at;

    if (i->ifa_addr == NULL || i->ifa_addr->sa_family != family ||
        (i->ifa_flags & IFF_LOOPBACK) != 0 || (i->ifa_flags & IFF_UP) == 0)
        return false;
    if (family == AF_INET) {
        at = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
    } else {
        const struct in6_addr *a =
            &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;

        if (IN6_IS_ADDR_LINKLOCAL(a))
            return false;
        at = a;
    }
    if (inet_ntop(family, at, ip, sizeof ip) == NULL)
        return false;
    (void)snprintf(host, URLS_HOST_MAX, family == AF_INET ? "%s" : "[%s]", ip);
    return true;
}

void urls_this_host(char host[URLS_HOST_MAX])
{
    static const int families[] = { AF_INET, AF_INET6 };
    struct ifaddrs *all = NULL;
    bool found = false;

    if (getifaddrs(&all) != 0)
        all = NULL;
    for (int k = 0; k < 2; k++)
        for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next)
            found = host_of(i, families[k], host);
    if (all != NULL)
        freeifaddrs(all);
    if (!found)
        (void)snprintf(host, URLS_HOST_MAX, "localhost");
}

void urls_add(json_t *list, const char *listening)
{
    const char *host = strstr(listening, "://"), *port = strrchr(listening, ':');
    char mine[URLS_HOST_MAX];
    size_t n;

    if (host == NULL || port == NULL || port < host + 3)
        return;
    n = (size_t)(port - host) - 3;
    (void)snprintf(mine, sizeof mine, "%.*s", (int)n, host + 3);
    if (strcmp(mine, "[::]") == 0 || strcmp(mine, "0.0.0.0") == 0)
        urls_this_host(mine);
    (void)json_array_append_new(
        list, json_sprintf("%.*s://%s%s", (int)(host - listening), listening, mine, port));
}

json_t *urls_of_conf(const struct conf *c, const char *section)
{
    bool ingest = strcmp(section, "ingest.listen") == 0;
    const struct conf_url *u = ingest ? c->ingest.listen : c->edge.listen;
    size_t n = ingest ? c->ingest.listen_n : c->edge.listen_n, i;
    json_t *list = json_array(), *answer = NULL, *one;
    struct err err;

    if (list == NULL)
        return NULL;
    if (admin_ask(c->runtime_dir, "listeners", &answer, &err) == ST_OK) {
        json_array_foreach(json_object_get(answer, "listeners"), i, one)
        {
            const char *in = json_string_value(json_object_get(one, "section"));
            const char *actual = json_string_value(json_object_get(one, "actual"));

            if (in != NULL && actual != NULL && strcmp(in, section) == 0)
                urls_add(list, actual);
        }
    } else {
        for (i = 0; i < n; i++)
            urls_add(list, u[i].text);
    }
    json_decref(answer);
    return list;
}

void urls_print_publish(FILE *f, const json_t *bases, const char *app, const char *stream,
                        const char *query)
{
    const char *mark = query[0] != '\0' ? "?" : "";
    json_t *one;
    size_t i;

    json_array_foreach(bases, i, one)
    {
        const char *base = json_string_value(one);

        (void)fprintf(f,
                      "  OBS     server  %s/%s\n"
                      "          key     %s%s%s\n"
                      "  ffmpeg  ffmpeg -re -i FILE -c copy -f flv '%s/%s/%s%s%s'\n",
                      base, app, stream, mark, query, base, app, stream, mark, query);
    }
}
