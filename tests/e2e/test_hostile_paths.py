"""Hostile paths, caches and ranges: facts on limits, rows 20 to 22, and on deception."""

import json

import pytest
from arena import KEEP, arena, pop  # noqa: F401
from wire import Wire, content, eventually

# Each spelling stands where a path of the origin's could: none may reach it.
SPELLINGS = [
    "/vod/%2fb/3", "/vod%2fb/3", "/vod%2Fb/3", "/vod/b%2f3", "/vod/b/3%2f", "/%2fvod/b/3",
    "/vod/b%5c3", "/vod\\b\\3", "/vod/b/3\\", "/vod/b/3%00", "/vod/b/3%00.m4s", "/vod/%00/b/3",
    "/vod//b/3", "//vod/b/3", "/vod/b//3", "/vod/b/3//", "///", "//x/vod/b/3",
    "/vod/../vod/b/3", "/vod/b/../b/3", "/..", "/../vod/b/3", "/vod/..", "/vod/b/3/..",
    "/vod/./b/3", "/./vod/b/3", "/vod/b/3/.", "/.",
    "/vod/%2e%2e/vod/b/3", "/vod/%2e%2e%2fvod/b/3", "/vod/.%2e/vod/b/3", "/vod/%2E./vod/b/3",
    "/vod/%2e/b/3", "/vod/b/3/%2e%2e",
    "/vod/b/3;x", "/vod/b/3;x=1", "/vod;x/b/3", "/vod/b/;/3", "/vod/b/3%3b", "/vod/b/3%3Bx",
    "/vod/\xe9/b/3", "/vod/b/3\xff", "/vod/\xc0\xaf/b/3",
    "/vod/%", "/vod/b/3%", "/vod/b/3%2", "/vod/b/3%zz", "/vod/b/3%u002f", "/vod/b/3%+0",
    "/vod/b/3%0d%0aX:y", "/vod/b/3%0a", "/vod/b/3%7f", "/vod/b/3%09", "/vod/b/3\t",
    "/vod/b/3#x", "/%76od%2f/b/3",
    "/_sub/live/a", "/_ingest/live/a", "/_encode/live/a", "/_", "/%5fsub/live/a",
    "/metrics", "/status", "/api/v1/streams", "/p/x", "/other/b/3", "/", "/VOD/b/3",
    "/live", "/live/", "/live/a/manifest.mpd/x.css", "/live/a/manifest.mpd%3f", "/live/a/x.css",
    "/live/a/abcdefghijklm/v0/18446744073709551616.m4s", "/live/a/abcdefghijklm/v0/-1.m4s",
    "/live/a/abcdefghijklm/v0/0x1.m4s", "/live/a/abcdefghijklm/v0/01.m4s", "/live/a/../a/manifest.mpd",
]  # fmt: skip


def h1_status(pop, path):
    with pop.wire() as w:
        w.send(b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        return w.answer()[0]


def h2_status(pop, path):
    with pop.h2() as c:
        return c.fetch(path)[0]


@pytest.mark.parametrize("proto", [h1_status, h2_status])
def test_no_trick_of_spelling_gets_through(pop, proto):
    before = pop.asked()
    got = {p: proto(pop, p) for p in SPELLINGS}
    # a tab is no path of HTTP/2 at all
    assert {p: s for p, s in got.items() if s not in (400, 404)} in ({}, {"/vod/b/3\t": "reset"})
    assert pop.asked() == before


OVERLONG = ["/vod/%c0%ae%c0%ae/b/3", "/vod/b%c0%af3", "/vod/b%e0%80%af3", "/vod/b/3%ff"]


@pytest.mark.parametrize("path", OVERLONG)
def test_overlong_bytes_are_passed_on_as_they_are(pop, path):
    """They are no dots and slashes to us, and the origin gets the same spelling to judge."""
    assert h1_status(pop, path) == 404
    with Wire(pop.origin) as w:
        w.get("/__stats", "Connection: close")
        paths = {p.lower() for p in json.loads(w.answer()[2])["paths"]}
    assert path in paths


def test_equal_spellings_are_one_object(pop):
    """Each is a legal way to write the same path: one fill."""
    path = f"/vod/b/4001/x=~same/{KEEP}"
    before = pop.asked()
    for p in (path, path.replace("~", "%7e"), path.replace("~", "%7E"), path.replace("/b/", "/%62/")):
        with pop.wire() as w:
            w.get(p)
            status, _, body = w.answer()
            assert (status, body) == (200, content(path, 4001))
    assert pop.asked() == before + 1


def test_a_long_path_is_refused(pop):
    before = pop.asked()
    assert h1_status(pop, "/vod/b/3/" + "a" * 2100) == 414
    assert h2_status(pop, "/vod/b/3/" + "a" * 2100) == 414
    assert h1_status(pop, "/vod/b/3?" + "a" * 3100) == 414
    assert pop.asked() == before


def test_unkeyed_input_makes_no_other_object(pop):
    """What is not in the key must not change what is stored under it."""
    path = f"/vod/b/4002/{KEEP}"
    before = pop.asked()
    lines = [
        "X-Forwarded-Host: evil", "X-Original-URL: /other", "X-HTTP-Method-Override: DELETE",
        "Forwarded: host=evil", "X-Forwarded-Proto: nothttps", "Accept-Encoding: evil",
        "User-Agent: <script>", "Cookie: a=b", "Origin: http://evil",
    ]  # fmt: skip
    answers = set()
    for line in [*lines, *lines]:
        with pop.wire(source="127.0.0.66") as w:
            w.get(path, line, host="evil" if line is lines[0] else "x")
            status, fields, body = w.answer()
            answers.add((status, body, fields["content-type"], "evil" in str(fields)))
    assert answers == {(200, content(path, 4002), answers.copy().pop()[2], False)}
    assert pop.asked() <= before + 2  # with a cookie it may be asked for apart


def test_a_stylesheet_behind_a_private_page_is_another_object(pop):
    """Deception wants /private/x.css kept as a file while the origin reads /private."""
    before = pop.asked()
    with pop.wire() as w:
        for _ in range(2):
            w.get("/vod/b/50/cc=private/x.css")
            assert w.answer()[0] in (200, 400)
    assert pop.asked() == before + 2  # private: never kept


def test_a_404_of_a_segment_to_come_is_short(pop):
    path = "/vod/b/4003/status=404/times=1"
    with pop.wire() as w:
        before = pop.asked()
        w.get(path)
        assert w.answer()[0] == 404
        w.get(path)
        assert w.answer()[0] == 404
        assert pop.asked() == before + 1  # remembered

        def there():
            w.get(path)
            return w.answer()[0] == 200

        assert eventually(there, 1.5)
        assert pop.asked() == before + 2


def test_the_key_for_404s_works(pop):
    path = "/vod/b/4004/status=404/times=1"
    with pop.limited(not_found_ttl="0s"), pop.wire() as w:
        w.get(path)
        assert w.answer()[0] == 404

        def there():
            w.get(path)
            return w.answer()[0] == 200

        assert eventually(there, 0.3)


def test_a_flood_of_unknown_names_costs_the_origin_each_name_once(pop):
    with pop.growing_at_most(16), pop.wire() as w:
        before = pop.asked()
        for i in range(300):
            w.get(f"/vod/b/10/status=404/x={i % 100}")
        for _ in range(300):
            assert w.answer()[0] == 404
        assert pop.asked() <= before + 200


def test_native_streams_that_nobody_has_are_404_at_once(pop):
    with pop.counting(codes={"h1 404": 3}), pop.wire() as w:
        for path in ("manifest.mpd", "master.m3u8", "abcdefghijklm/v0/5.m4s"):
            w.get(f"/live/a/{path}")
            assert w.answer()[0] == 404


# --- ranges ---

R = f"/vod/b/10000/{KEEP}/x=ranges"
WHOLE = 200, None
RANGES = {
    "bytes=0-0": (206, (0, 0)),
    "bytes=9999-": (206, (9999, 9999)),
    "bytes=-1": (206, (9999, 9999)),
    "bytes=-99999": (206, (0, 9999)),
    "bytes=0-9223372036854775807": (206, (0, 9999)),
    "bytes=0-9223372036854775808": (206, (0, 9999)),
    "bytes=5-18446744073709551615": (206, (5, 9999)),
    "bytes=5-18446744073709551616": (206, (5, 9999)),
    "bytes=5-99999999999999999999999999": (206, (5, 9999)),
    "bytes=-18446744073709551616": (206, (0, 9999)),
    "bytes=0-9007199254740991": (206, (0, 9999)),
    "bytes=10000-": (416, None),
    "bytes=10000-10001": (416, None),
    "bytes=9223372036854775807-": (416, None),
    "bytes=9223372036854775808-9223372036854775809": (416, None),
    "bytes=18446744073709551615-18446744073709551615": (416, None),
    "bytes=18446744073709551616-18446744073709551617": (416, None),
    "bytes=-0": (416, None),
    "bytes=2-1": WHOLE,
    "bytes=0-1,2-3": WHOLE,
    "bytes=0-,0-,0-": WHOLE,
    "bytes=" + ",".join(["0-"] * 1000): WHOLE,
    "bytes=" + ",".join(f"{i}-{i}" for i in range(1000)): WHOLE,
    "bytes=": WHOLE,
    "bytes=-": WHOLE,
    "bytes=a-b": WHOLE,
    "bytes=0x0-1": WHOLE,
    "bytes=+0-1": WHOLE,
    "bytes=0--1": WHOLE,
    "bytes 0-1": WHOLE,
    "lines=0-1": WHOLE,
    "bytes=0-1;2-3": WHOLE,
}


def expected(body, status, span):
    whole = content(R, 10000)
    if status == 416:
        return len(body) < 100
    return body == (whole if span is None else whole[span[0] : span[1] + 1])


@pytest.mark.parametrize("value", RANGES, ids=lambda v: v[:50])
def test_a_range_gives_one_part_or_the_whole(pop, value):
    status, span = RANGES[value]
    with pop.growing_at_most(4), pop.wire() as w, pop.h2() as c:
        w.get(R)
        assert w.answer()[2] == content(R, 10000)
        w.get(R, f"Range: {value}")
        got, fields, body = w.answer()
        assert got == status and expected(body, status, span)
        if span is not None:
            assert fields["content-range"] == f"bytes {span[0]}-{span[1]}/10000"
        elif status == 416:
            assert fields["content-range"] == "bytes */10000"
        got, body = c.fetch(R, ("range", value))
        assert got == status and expected(body, status, span)


def test_two_range_fields_are_none(pop):
    with pop.wire() as w:
        w.get(R, "Range: bytes=0-1", "Range: bytes=2-3")
        status, _, body = w.answer()
        assert (status, body) == (200, content(R, 10000))


def test_ranges_are_never_sent_to_the_origin_as_they_came(pop):
    path = f"/vod/b/10001/{KEEP}/x=unseen"
    with pop.wire() as w:
        w.get(path, "Range: bytes=5-6")
        status, _, body = w.answer()
        assert (status, body) == (206, content(path, 2, 5))
    with Wire(pop.origin) as w:
        w.get("/__stats", "Connection: close")
        assert json.loads(w.answer()[2])["paths"][path]["ranges"] == 0
