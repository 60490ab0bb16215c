#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/cmd.h"

static int64_t number(const json_t *j, const char *name)
{
    return json_integer_value(json_object_get(j, name));
}

static const char *text(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));

    return s != NULL ? s : "-";
}

/* A number that may not be known. */
static void column(const json_t *j, const char *name, int width, const char *unit)
{
    char cell[32] = "-";

    if (json_object_get(j, name) != NULL)
        (void)snprintf(cell, sizeof cell, "%" PRId64 "%s", number(j, name), unit);
    (void)printf(" %*s", width, cell);
}

static void print_rendition(const json_t *r)
{
    (void)printf("    %-3s %-14s %6" PRId64 " kbit/s", text(r, "rep"), text(r, "codecs"),
                 number(r, "bitrate_bps") / 1000);
    if (json_object_get(r, "width") != NULL)
        (void)printf("  %" PRId64 "x%" PRId64 "  gop %" PRId64 "ms", number(r, "width"),
                     number(r, "height"), number(r, "gop_ms"));
    else
        (void)printf("  %" PRId64 " Hz  %" PRId64 " channels", number(r, "rate"),
                     number(r, "channels"));
    if (json_object_get(r, "fps") != NULL)
        (void)printf("  %.4g fps", json_real_value(json_object_get(r, "fps")));
    (void)printf("\n");
}

/* Where a publisher's stream goes from here. */
static void print_relay(const json_t *r)
{
    double for_s = json_real_value(json_object_get(r, "for_s"));

    if (json_object_get(r, "dc") != NULL)
        (void)printf("    to %s for %.0fs", text(r, "dc"), for_s);
    else
        (void)printf("    no home for %.0fs", for_s);
    if (json_object_get(r, "bitrate_bps") != NULL)
        (void)printf("  %" PRId64 " kbit/s", number(r, "bitrate_bps") / 1000);
    (void)printf("  spool %" PRId64 " KiB %" PRId64 "ms", number(r, "spool_bytes") / 1024,
                 number(r, "spool_ms"));
    if (number(r, "spool_lost") > 0)
        (void)printf(" (%" PRId64 " tags lost)", number(r, "spool_lost"));
    (void)printf("  home lost %" PRId64 ", moved %" PRId64 "\n", number(r, "times_lost"),
                 number(r, "times_moved"));
    if (json_object_get(r, "why") != NULL)
        (void)printf("    %s\n", text(r, "why"));
}

static void print_stream(const json_t *s)
{
    json_t *one;
    size_t i;

    char up[32] = "-";

    if (json_object_get(s, "uptime_s") != NULL)
        (void)snprintf(up, sizeof up, "%.0fs", json_real_value(json_object_get(s, "uptime_s")));
    (void)printf("%-32s %-13s %-9s %7s", text(s, "name"), text(s, "session"), text(s, "state"), up);
    column(s, "viewers", 7, "");
    column(s, "period", 6, "");
    column(s, "last_tag_ms", 9, "ms");
    column(s, "latency_ms", 8, "ms");
    column(s, "worker", 6, "");
    (void)printf("\n");
    if (json_object_get(s, "relay") != NULL)
        print_relay(json_object_get(s, "relay"));
    json_array_foreach(json_object_get(s, "renditions"), i, one) print_rendition(one);
}

static int run(const struct cmd_args *a)
{
    json_t *answer = cmd_ask(a, "streams"), *one;
    size_t i;

    if (answer == NULL)
        return 1;
    if (a->json) {
        cmd_print_json(answer);
        return 0;
    }
    (void)printf("%-32s %-13s %-9s %7s %7s %6s %9s %8s %6s\n", "STREAM", "SESSION", "STATE", "UP",
                 "VIEWERS", "PERIOD", "LAST TAG", "LATENCY", "WORKER");
    json_array_foreach(json_object_get(answer, "streams"), i, one) print_stream(one);
    json_array_foreach(json_object_get(answer, "refused"), i, one)(void)
        printf("%-32s %-13s for %" PRId64 "s more\n", text(one, "name"), text(one, "why"),
               number(one, "left_s"));
    if (!json_is_true(json_object_get(answer, "whole")))
        (void)fputs("not every loop has answered in time\n", stderr);
    json_decref(answer);
    return 0;
}

const struct cmd cmd_streams = {
    .name = "streams",
    .takes = CMD_CONFIG | CMD_DIR | CMD_JSON,
    .usage = "[--json] [-c FILE | --runtime-dir DIR]",
    .summary = "show what is on the air, and how many watch",
    .details =
        "STATE is live, waiting (for a publisher who may come back), ended, relayed (published\n"
        "here, its home is a data centre), homeless (the same, and no data centre has it), or\n"
        "elsewhere: watched here, made by another process. VIEWERS: connections that were given\n"
        "a manifest or a segment in the last ten seconds. LAST TAG: since the publisher's last\n"
        "frame came. LATENCY: the age of the newest chunk that can be played, from the arrival of\n"
        "its first frame. Below: its renditions, with the bitrate of their last segments. Of one\n"
        "that is relayed: where to and since when, the bitrate that comes in, what is kept for\n"
        "the next home, how often it has lost its home and moved to another.\n"
        "In the end the streams that are refused: banned by freshet kick, or quarantined because\n"
        "encoders have crashed on them.",
    .run = run,
};
