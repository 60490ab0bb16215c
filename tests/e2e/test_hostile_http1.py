"""Hostile HTTP/1 against the running cache: facts on limits, rows 14, 15 and 19."""

import socket
import time

import pytest
from arena import BIG, KEEP, SLOW, SMALL, arena, pop  # noqa: F401
from wire import Ended, content, eventually

H = b"Host: x\r\n"


def good(*lines):
    return b"GET /time HTTP/1.1\r\n" + H + b"".join(x + b"\r\n" for x in lines) + b"\r\n"


def smuggled(*lines, body=b""):
    """A POST-shaped GET in front of a second request that must never be answered."""
    return good(*lines) + body + b"GET /vod/b/1 HTTP/1.1\r\nHost: x\r\n\r\n"


BAD = {
    "length and coding": smuggled(
        b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "coding and length": smuggled(b"Transfer-Encoding: chunked", b"Content-Length: 0"),
    "two lengths": smuggled(b"Content-Length: 0", b"Content-Length: 5"),
    "two equal lengths": smuggled(b"Content-Length: 0", b"Content-Length: 0"),
    "a list of lengths": smuggled(b"Content-Length: 0, 0"),
    "a signed length": smuggled(b"Content-Length: +0"),
    "a negative length": smuggled(b"Content-Length: -1"),
    "a hex length": smuggled(b"Content-Length: 0x0"),
    "no length": smuggled(b"Content-Length:"),
    "a length past 64 bits": smuggled(b"Content-Length: 18446744073709551616"),
    "coding chunked twice": smuggled(b"Transfer-Encoding: chunked, chunked"),
    "two codings": smuggled(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "coding identity": smuggled(b"Transfer-Encoding: identity"),
    "coding gzip, chunked": smuggled(b"Transfer-Encoding: gzip, chunked"),
    "coding xchunked": smuggled(b"Transfer-Encoding: xchunked"),
    "coding with a tab": smuggled(b"Transfer-Encoding: chunked\x0b"),
    "coding in quotes": smuggled(b'Transfer-Encoding: "chunked"'),
    "coding behind a fold": smuggled(b"Transfer-Encoding:", b" chunked"),
    "coding in HTTP/1.0": b"GET /time HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": b"GET /time HTTP/1.1\nHost: x\n\n",
    "a bare LF in the fields": b"GET /time HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a bare CR": good(b"X: a\rContent-Length: 5"),
    "CR CR LF": b"GET /time HTTP/1.1\r\r\nHost: x\r\n\r\n",
    "NUL in a value": good(b"X: a\x00b"),
    "NUL in a name": good(b"X\x00: a"),
    "NUL in the target": b"GET /ti\x00me HTTP/1.1\r\n" + H + b"\r\n",
    "DEL in a value": good(b"X: \x7f"),
    "a folded line": good(b"X: a", b" b"),
    "a folded line with a tab": good(b"X: a", b"\tb"),
    "a fold as the first line": b"GET /time HTTP/1.1\r\n X: a\r\n" + H + b"\r\n",
    "space before the colon": good(b"X : a"),
    "space before the colon of a length": smuggled(b"Content-Length : 5", body=b"hello"),
    "tab before the colon": good(b"X\t: a"),
    "an empty name": good(b": a"),
    "no colon": good(b"Xyz"),
    "a name with brackets": good(b"X[]: a"),
    "a name with a byte above ASCII": good(b"X\xe9: a"),
    "HTTP/0.9": b"GET /time\r\n",
    "HTTP/0.9 with a host": b"GET /time\r\n" + H + b"\r\n",
    "a lower-case version": b"GET /time http/1.1\r\n" + H + b"\r\n",
    "two spaces": b"GET  /time HTTP/1.1\r\n" + H + b"\r\n",
    "a tab in the line": b"GET\t/time HTTP/1.1\r\n" + H + b"\r\n",
    "a space in the target": b"GET /ti me HTTP/1.1\r\n" + H + b"\r\n",
    "a fragment": b"GET /time#x HTTP/1.1\r\n" + H + b"\r\n",
    "a byte above ASCII in the target": b"GET /tim\xc3\xa9 HTTP/1.1\r\n" + H + b"\r\n",
    "a method in lower case": b"get /time HTTP/1.1\r\n" + H + b"\r\n",
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "three empty lines": b"\r\n\r\n\r\n" + good(),
    "no host": b"GET /time HTTP/1.1\r\n\r\n",
    "two hosts": good(b"Host: y"),
    "two equal hosts": good(b"Host: x"),
    "a host with userinfo": b"GET /time HTTP/1.1\r\nHost: a@x\r\n\r\n",
    "a host with a path": b"GET /time HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "an empty host": b"GET /time HTTP/1.1\r\nHost:\r\n\r\n",
    "an absolute form of another host": b"GET http://other/time HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute form with userinfo": b"GET http://x@x/time HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute form of another scheme": b"GET ftp://x/time HTTP/1.1\r\n" + H + b"\r\n",
    "an authority form": b"GET x:80 HTTP/1.1\r\n" + H + b"\r\n",
    "a star": b"GET * HTTP/1.1\r\n" + H + b"\r\n",
}

OTHER = {
    "a body with a length": (413, "body_refused", smuggled(b"Content-Length: 5", body=b"hello")),
    "a body in chunks": (
        413, "body_refused", smuggled(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")),
    "a body announced and not sent": (
        413, "body_refused", good(b"Content-Length: 9", b"Expect: 100-continue")),
    "a huge body": (413, "body_refused", smuggled(b"Content-Length: 18446744073709551614")),
    "a POST": (405, "bad_request", b"POST /time HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n"),
    "a CONNECT": (405, "bad_request", b"CONNECT x:443 HTTP/1.1\r\n" + H + b"\r\n"),
    "an unknown method": (501, "bad_request", b"BREW /time HTTP/1.1\r\n" + H + b"\r\n"),
    "version 1.2": (505, "bad_request", b"GET /time HTTP/1.2\r\n" + H + b"\r\n"),
    "version 2.0": (505, "bad_request", b"GET /time HTTP/2.0\r\n" + H + b"\r\n"),
    "a head too long": (431, "head_too_large", good(b"X: " + b"a" * 16400)),
    "a head that never ends": (
        431, "head_too_large", b"GET /time HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"X: " + b"a" * 20000),
    "a head too long behind empty lines": (
        431, "head_too_large", b"\r\n\r\n" + good(b"X: " + b"a" * 20000)),
    "too many fields": (431, "head_too_large", good(*[b"X: y"] * 101)),
    "a target too long": (414, "head_too_large", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "a target without end": (414, "head_too_large", b"GET /" + b"a" * 16000),
}  # fmt: skip
REFUSED = {n: (400, "bad_request", raw) for n, raw in BAD.items()} | OTHER


def ended_after_one_answer(w, status):
    got, fields, _ = w.answer()
    assert got == status
    assert fields["connection"] == "close"
    assert w.end() == "fin"
    assert w.data == b""


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_head_is_answered_once_and_closed(pop, name):
    status, reason, raw = REFUSED[name]
    with pop.counting(closes={reason: 1}, codes={f"h1 {status}": 1}):
        with pop.wire() as w:
            w.send(raw)
            ended_after_one_answer(w, status)


def test_bad_heads_do_not_reach_the_origin(pop):
    before = pop.asked()
    for name, (status, _, raw) in REFUSED.items():
        with pop.wire() as w:
            w.send(raw.replace(b"/time", b"/vod/b/3"))
            ended_after_one_answer(w, status)
    assert pop.asked() == before


@pytest.mark.parametrize("name", ["length and coding", "a bare LF", "a body with a length",
                                  "a head too long", "noise"])  # fmt: skip
def test_a_bad_head_in_single_bytes_gets_the_same_answer(pop, name):
    status, reason, raw = REFUSED[name]
    with pop.counting(closes={reason: 1}):
        with pop.wire() as w:
            for i in range(len(raw)):
                if not w.send(raw[i : i + 1]):
                    break
            ended_after_one_answer(w, status)


def test_a_bad_head_behind_good_ones_ends_the_row(pop):
    with pop.counting(closes={"bad_request": 1}, codes={"h1 400": 1}):
        with pop.wire() as w:
            w.send(good() * 3 + good(b"X : a") + good() * 3)
            for _ in range(3):
                assert w.answer()[0] == 200
            ended_after_one_answer(w, 400)


def test_an_answer_arrives_although_the_body_is_still_being_sent(pop):
    with pop.counting(closes={"body_refused": 1}, codes={"h1 413": 1}):
        with pop.wire() as w:
            w.send(good(b"Content-Length: 1000000"))
            for _ in range(20):
                w.send(b"z" * 10000)
            ended_after_one_answer(w, 413)


def test_the_keys_for_the_head_work(pop):
    with pop.limited(head_bytes="1K", head_fields=8):
        for raw in (good(b"X: " + b"a" * 1100), good(*[b"X: y"] * 8)):
            with pop.counting(closes={"head_too_large": 1}, codes={"h1 431": 1}), pop.wire() as w:
                w.send(raw)
                ended_after_one_answer(w, 431)
        with pop.wire() as w:
            w.send(good(*[b"X: y"] * 7))
            assert w.answer()[0] == 200


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /time HTTP/1.1\r\n", b"P", b"PRI"])
def test_a_head_that_does_not_come_is_not_waited_for(pop, sent):
    with pop.limited(head_timeout="300ms"), pop.counting(closes={"head_timeout": 1}):
        with pop.wire() as w:
            began = time.monotonic()
            w.send(sent)
            assert w.end() == "fin"
            assert 0.2 < time.monotonic() - began < 1 + SLOW


def test_a_head_in_drips_gets_no_new_time_with_each_byte(pop):
    with pop.limited(head_timeout="500ms"), pop.counting(closes={"head_timeout": 1}):
        with pop.wire() as w:
            began = time.monotonic()
            w.send(good())
            assert w.answer()[0] == 200
            w.send(b"GET /time HTTP/1.1\r\n")
            while w.silent(0.05):
                w.send(b"X: y\r\n")
            assert w.how is not None
            assert 0.4 < time.monotonic() - began < 1.2 + SLOW


def test_an_idle_connection_is_closed_after_keepalive(pop):
    with pop.limited(keepalive="300ms"), pop.counting(closes={"keepalive": 1}):
        with pop.wire() as w:
            w.send(good())
            assert w.answer()[0] == 200
            began = time.monotonic()
            assert w.end() == "fin"
            assert 0.2 < time.monotonic() - began < 1 + SLOW


def test_requests_per_connection_is_the_number_answered(pop):
    with pop.limited(requests_per_connection=3):
        with pop.wire(source="127.0.0.66") as w:
            w.send(good() * 5)
            assert [w.answer()[1].get("connection") for _ in range(3)] == [None, None, "close"]
            assert w.end() == "fin"
            assert w.data == b""
        assert eventually(lambda: pop.counters()["closes"]["request_limit"] > 0)


def test_ten_thousand_pipelined_requests_are_answered_in_order(pop):
    """Sent in one go, longer than any buffer, and read only afterwards."""
    n = 10000
    paths = [b"/vod/b/%d/%s" % (i % 50 + 1, KEEP.encode()) for i in range(n)]
    raw = b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p for p in paths)
    bodies = {p: content(p.decode(), i % 50 + 1) for i, p in enumerate(paths[:50])}
    with pop.growing_at_most(16), pop.counting(codes={}):
        with pop.wire() as w:
            for p in paths[:50]:
                w.get(p.decode())
                assert w.answer()[2] == bodies[p]
            sent = 0
            for p in range(0, n, 1000):
                part = raw[len(raw) * p // n : len(raw) * (p + 1000) // n]
                w.send(part)
                while sent < p + 500:
                    assert w.answer()[2] == bodies[paths[sent]]
                    sent += 1
            while sent < n:
                assert w.answer()[2] == bodies[paths[sent]]
                sent += 1
            assert w.data == b""


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_a_first_burst_longer_than_the_buffer_is_answered_whole(pop, tls):
    with pop.counting(), pop.wire(tls) as w:
        w.send(good(b"X: " + b"y" * 60) * 500)
        for _ in range(500):
            assert w.answer()[0] == 200


def test_a_flood_that_nobody_reads_takes_bounded_memory(pop):
    """50 connections pipeline a large object again and again and read nothing."""
    with pop.wire() as w:
        w.get(BIG)
        w.answer()
    with pop.limited(stall="1s", slow_window="1s"), pop.growing_at_most(50):
        with pop.counting(closes={"stall": 50}):
            wires = [pop.wire(rcvbuf=4096) for _ in range(50)]
            for w in wires:
                w.send((b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % BIG.encode()) * 200)
        for w in wires:
            w.close()


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("stall, window, reason", [("1s", "30s", "stall"), ("60s", "1s", "slow_reader")])
def test_a_reader_that_stops_is_let_go(pop, tls, stall, window, reason):
    with pop.limited(stall=stall, slow_window=window), pop.wire(tls, rcvbuf=4096) as w:
        began = time.monotonic()
        with pop.counting(closes={reason: 1}):
            w.get(BIG)
            w.head()
        assert 0.9 < time.monotonic() - began < 2 + SLOW


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_a_reader_just_fast_enough_is_not_let_go(pop, tls):
    """8 KiB a second where 1 KiB is the limit: slower than any buffer of ours empties."""
    with pop.limited(slow_window="1s", slow_rate="1K", stall="2s"), pop.counting():
        with pop.wire(tls, rcvbuf=4096) as w:
            w.get(BIG)
            w.head()
            end = time.monotonic() + 4
            while time.monotonic() < end:
                w.more(size=1024)
                time.sleep(0.12)  # the pace is what is tested


def test_a_client_that_leaves_in_mid_answer_is_counted(pop):
    wires = [pop.wire(rcvbuf=4096) for _ in range(20)]
    for w in wires:
        w.get(BIG)
        w.head()
    with pop.counting(closes={"peer_reset": 20}):
        for w in wires:
            w.close()


def test_a_half_closed_client_still_gets_its_answers(pop):
    with pop.counting(), pop.wire() as w:
        w.send(good() * 2 + b"GET " + SMALL.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\nGET /ti")
        w.sock.shutdown(socket.SHUT_WR)
        assert [w.answer()[0] for _ in range(3)] == [200, 200, 200]
        with pytest.raises(Ended):
            w.more()
