"""Hostile HTTP/2 against the running cache: facts on limits, rows 12, 13, 14, 16 to 19."""

import struct
import time

import pytest
import wire
from arena import BIG, KEEP, SLOW, SMALL, arena, pop  # noqa: F401
from wire import (
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS,
    NO_ERROR, PADDED, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM,
    RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, block, content, frame, headers, literal,
    ping, request, rst, settings, window_update,
)  # fmt: skip

OWN = dict(source="127.0.0.66")


def serves(c):
    """The connection is still good."""
    assert c.fetch(SMALL) == (200, content(SMALL, 20000))


def warm(pop):
    with pop.h2() as c:
        assert len(c.fetch(BIG)[1]) == 8000000


# --- breaches of the protocol: the whole connection ends, with GOAWAY ---

OPEN = headers(1, request())
FATAL = {
    "a preface that is none": (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PROTOCOL_ERROR),
    "a preface that turns into HTTP/1": (b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 9, PROTOCOL_ERROR),
    "no SETTINGS after the preface": (PREFACE + ping(), PROTOCOL_ERROR),
}
BREACHES = {
    "HEADERS on stream 0": frame(HEADERS, END_HEADERS | END_STREAM, 0, block(request())),
    "HEADERS on an even stream": headers(2, request()),
    "DATA on stream 0": frame(DATA, 0, 0, b"x"),
    "DATA on an idle stream": frame(DATA, 0, 1, b"x"),
    "WINDOW_UPDATE on an idle stream": window_update(1, 1),
    "RST_STREAM on an idle stream": rst(1),
    "RST_STREAM on stream 0": rst(0),
    "a WINDOW_UPDATE of 0 for the connection": window_update(0, 0),
    "a window above 2^31": window_update(0, wire.MAX_WINDOW),
    "a PING on a stream": frame(PING, 0, 1, b"12345678"),
    "a PING of 7 bytes": ping(b"1234567"),
    "SETTINGS of 5 bytes": frame(SETTINGS, 0, 0, b"12345"),
    "SETTINGS on a stream": frame(SETTINGS, 0, 1),
    "SETTINGS with ACK and payload": frame(SETTINGS, ACK, 0, b"123456"),
    "SETTINGS with a window above 2^31": settings((wire.INITIAL_WINDOW_SIZE, 2**31)),
    "SETTINGS with ENABLE_PUSH 2": settings((wire.ENABLE_PUSH, 2)),
    "SETTINGS with frames below 16384": settings((wire.MAX_FRAME_SIZE, 16383)),
    "PUSH_PROMISE from a client": frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + block(request())),
    "CONTINUATION without HEADERS": frame(CONTINUATION, END_HEADERS, 1, b""),
    "another frame inside a header block": frame(HEADERS, END_STREAM, 1, block(request())) + ping(),
    "CONTINUATION of another stream": frame(HEADERS, END_STREAM, 1, block(request()))
    + frame(CONTINUATION, END_HEADERS, 3, b""),
    "a frame larger than announced": frame(DATA, 0, 1, b"x" * 16385),
    "a frame that claims 16 MiB": frame(HEADERS, 0, 1, b"", length=2**24 - 1),
    "HPACK with a bad index": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\x7f"),
    "HPACK with index 0": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"),
    "HPACK with an endless integer": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00" + b"\xff" * 12),
    "HPACK with a string past its end": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x7e\xffabc"),
    "HPACK with a table above the limit": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\xff\x03"),
    "HPACK with bad Huffman": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x84\xff\xff\xff\xff\x00"),
    "HEADERS whose padding is too long": frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + block(request())),
    "GOAWAY on a stream": frame(GOAWAY, 0, 1, b"\0" * 8),
    "GOAWAY of 7 bytes": frame(GOAWAY, 0, 0, b"\0" * 7),
}  # fmt: skip


def ended_by(c, *codes):
    code, how = c.end()
    assert code in codes and how == "fin", (code, how)


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_ends_the_connection_with_goaway(pop, name):
    with pop.counting(closes={"h2_protocol": 1}), pop.h2() as c:
        c.send(BREACHES[name])
        code, how = c.end()
        assert code not in (None, NO_ERROR, ENHANCE_YOUR_CALM) and how == "fin"


@pytest.mark.parametrize("name", FATAL)
def test_a_bad_preface_ends_the_connection(pop, name):
    raw, code = FATAL[name]
    with pop.counting(closes={"h2_protocol": 1}), pop.h2(hello=False) as c:
        c.send(raw)
        ended_by(c, code, None)


def test_a_torn_preface_is_put_together(pop):
    raw = PREFACE + settings((wire.HEADER_TABLE_SIZE, 0)) + OPEN
    with pop.counting(), pop.h2(hello=False) as c:
        for i in range(len(raw)):
            c.send(raw[i : i + 1])
        assert c.answer(1)[0] == 200


def test_a_preface_that_stops_is_not_waited_for(pop):
    with pop.limited(head_timeout="300ms", keepalive="500ms"):
        for n in (1, 3, 4, 10, 24):
            with pop.h2(hello=False) as c:
                began = time.monotonic()
                c.send(PREFACE[:n])
                assert c.end()[1] == "fin"
                assert time.monotonic() - began < 1.5 + SLOW


# --- bad requests: the stream ends, or gets its 400; the connection goes on ---

BAD_REQUESTS = {
    "an upper-case name": request("/time", ("X-Upper", "1")),
    "connection": request("/time", ("connection", "close")),
    "keep-alive": request("/time", ("keep-alive", "1")),
    "proxy-connection": request("/time", ("proxy-connection", "close")),
    "transfer-encoding": request("/time", ("transfer-encoding", "chunked")),
    "upgrade": request("/time", ("upgrade", "h2c")),
    "te other than trailers": request("/time", ("te", "gzip")),
    "an empty name": request("/time", ("", "x")),
    "a name with a space": request("/time", ("a b", "x")),
    "a name with a colon": request("/time", ("a:b", "x")),
    "a value with NUL": request("/time", ("a", "x\0y")),
    "a value with CR LF": request("/time", ("a", "x\r\nevil: 1")),
    "no method": request(drop=(":method",)),
    "no scheme": request(drop=(":scheme",)),
    "no path": request(drop=(":path",)),
    "an empty path": request(""),
    "two methods": [(":method", "GET"), *request()],
    "two paths": [(":path", "/"), *request()],
    "an unknown pseudo field": [(":evil", "1"), *request()],
    "a response's pseudo field": [(":status", "200"), *request()],
    "a pseudo field behind the others": [*request(drop=(":path",)), ("a", "b"), (":path", "/time")],
    "CONNECT": request(method="CONNECT"),
    "a path without slash": request("time"),
    "a path with a scheme": request("http://x/time"),
    "a path with a space": request("/ti me"),
    "a path with a fragment": request("/time#x"),
    "a path with a byte above ASCII": request("/tim\xe9"),
    "a host other than :authority": request("/time", ("host", "other")),
    "userinfo in :authority": request(authority="user@x"),
    "userinfo in host": request("/time", ("host", "u@x"), drop=(":authority",)),
    "an :authority with a path": request(authority="x/y"),
    "an empty :authority": request(authority=""),
    "no authority at all": request(drop=(":authority",)),
    "two hosts": request("/time", ("host", "x"), ("host", "x")),
    "two lengths": request("/time", ("content-length", "0"), ("content-length", "0")),
    "a length that is none": request("/time", ("content-length", "1x")),
    "a length without body": request("/time", ("content-length", "5")),
    "a length of -1": request("/time", ("content-length", "-1")),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_ends_its_stream_alone(pop, name):
    before = pop.counters()
    with pop.counting(resets=None, codes=None), pop.h2() as c:
        c.send(headers(1, BAD_REQUESTS[name]))
        c._next = 3
        status, code = c.answer(1)
        assert status in ("reset", 400, 405, 413), (status, code)
        serves(c)
    after = pop.counters()
    if status == "reset":
        assert code == PROTOCOL_ERROR
        assert after["resets"]["bad_request"] == before["resets"]["bad_request"] + 1
    else:
        assert after["codes"][f"h2 {status}"] == before["codes"].get(f"h2 {status}", 0) + 1


def test_other_methods_are_answered_and_go_no_further(pop):
    asked = pop.asked()
    with pop.counting(codes={"h2 405": 5, "h2 501": 1}), pop.h2() as c:
        for method in ("POST", "PUT", "DELETE", "TRACE", "PATCH"):
            assert c.fetch("/vod/b/7", method=method)[0] == 405
        assert c.fetch("/vod/b/7", method="BREW")[0] == 501
        serves(c)
    assert pop.asked() == asked


def test_a_body_is_refused_and_its_rest_thrown_away(pop):
    with pop.counting(codes={"h2 413": 1}), pop.h2() as c:
        stream = c.open("/time", flags=END_HEADERS)
        for _ in range(40):
            c.send(frame(DATA, 0, stream, b"z" * 1000))
        assert c.answer(stream)[0] == 413
        assert c.wait(RST_STREAM, stream=stream).code == NO_ERROR
        c.send(frame(DATA, END_STREAM, stream, b"z" * 1000))
        serves(c)


# --- limits on heads ---


def test_an_oversized_header_list_ends_its_stream(pop):
    with pop.counting(resets={"bad_request": 1}), pop.h2() as c:
        s = c.next_id()
        fields = block(request("/time", *[("x", "y" * 3000)] * 6))
        c.send(frame(HEADERS, END_STREAM, s, fields[:16000]))
        c.send(frame(CONTINUATION, END_HEADERS, s, fields[16000:]))
        assert c.answer(s) == ("reset", ENHANCE_YOUR_CALM)
        serves(c)


def test_the_key_for_the_header_list_works(pop):
    with pop.limited(h2_header_list="2K"), pop.counting(resets={"bad_request": 1}), pop.h2() as c:
        assert c.fetch("/time", ("x", "y" * 1000))[0] == 200
        assert c.fetch("/time", ("x", "y" * 2000)) == ("reset", ENHANCE_YOUR_CALM)
        serves(c)


def test_too_many_fields_are_answered_431(pop):
    with pop.counting(codes={"h2 431": 2}), pop.h2() as c:
        assert c.fetch("/time", *[("x", "y")] * 101)[0] == 431
        with pop.limited(head_fields=8):
            assert c.fetch("/time", *[("x", "y")] * 9)[0] == 431
            assert c.fetch("/time", *[("x", "y")] * 8)[0] == 200
        serves(c)


def test_an_hpack_bomb_costs_a_stream_each_and_no_memory(pop):
    """One entry of 4,000 bytes in the table, then thousands of references of one byte each."""
    bomb = block(request()) + literal("x", "y" * 4000, how=0x40) + b"\xbe" * 12000
    with pop.growing_at_most(8), pop.counting(resets={"bad_request": 20}), pop.h2() as c:
        for _ in range(20):
            s = c.next_id()
            c.send(frame(HEADERS, END_STREAM | END_HEADERS, s, bomb))
            assert c.answer(s) == ("reset", ENHANCE_YOUR_CALM)
        serves(c)


@pytest.mark.parametrize("limit", [None, 3])
def test_a_continuation_flood_ends_the_connection(pop, limit):
    limits = {} if limit is None else {"h2_continuations": limit}
    with pop.limited(**limits), pop.growing_at_most(8):
        with pop.counting(closes={"h2_continuation": 1}), pop.h2() as c:
            c.send(frame(HEADERS, END_STREAM, 1, block(request())))
            c.send(frame(CONTINUATION, 0, 1, b"") * ((limit or 8) + 1))
            ended_by(c, ENHANCE_YOUR_CALM)
        with pop.counting(), pop.h2() as c:
            s = c.next_id()
            c.send(frame(HEADERS, END_STREAM, s, block(request())))
            c.send(frame(CONTINUATION, 0, s, b"") * ((limit or 8) - 1))
            c.send(frame(CONTINUATION, END_HEADERS, s, b""))
            assert c.answer(s)[0] == 200


def test_a_head_that_does_not_end_is_not_waited_for(pop):
    """HEADERS without END_HEADERS, and then nothing: no stream could ever be answered behind it."""
    with pop.limited(head_timeout="500ms"), pop.counting(closes={"head_timeout": 1}), pop.h2() as c:
        c.settle()
        began = time.monotonic()
        c.send(frame(HEADERS, END_STREAM, 1, block(request())))
        assert c.end()[1] == "fin"
        assert 0.4 < time.monotonic() - began < 2 + SLOW


def test_a_head_in_drips_gets_no_new_time(pop):
    """Its frame has come in part only: one byte more each time must not buy a new keepalive."""
    raw = headers(1, request("/time", ("x", "y" * 1000)))
    with pop.limited(head_timeout="500ms", keepalive="500ms"), pop.h2() as c:
        c.settle()
        began = time.monotonic()
        i = 0
        while i < len(raw) and c.silent(0.1):
            c.send(raw[i : i + 1])
            i += 1
        c.end()
        assert time.monotonic() - began < 2 + SLOW


# --- floods ---

FLOODS = {
    "PING": lambda i: ping(),
    "PING with ACK": lambda i: ping(flags=ACK),
    "SETTINGS": lambda i: frame(SETTINGS),
    "SETTINGS with a new window each": lambda i: settings((wire.INITIAL_WINDOW_SIZE, 1000 + i)),
    "PRIORITY": lambda i: frame(PRIORITY, 0, 2 * i + 101, struct.pack(">IB", 0, 16)),
    "empty DATA": lambda i: frame(DATA, 0, 1),
    "padded empty DATA": lambda i: frame(DATA, PADDED, 1, b"\x05\0\0\0\0\0"),
}


def flood(c, name, n):
    if "empty DATA" in name:  # its answer, 413, waits for window: the stream stays open
        c.send(headers(1, request(), END_HEADERS))
    # in pieces: the end of the connection may come before the last byte has been sent
    for at in range(0, n, 50):
        if not c.send(b"".join(FLOODS[name](i) for i in range(at, min(at + 50, n)))):
            return


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_control_frames_ends_the_connection(pop, name):
    with pop.growing_at_most(8), pop.counting(closes={"h2_control_flood": 1}), pop.h2(window=0) as c:
        flood(c, name, 2000)
        ended_by(c, ENHANCE_YOUR_CALM)


@pytest.mark.parametrize("name", FLOODS)
def test_the_key_for_control_frames_works(pop, name):
    with pop.limited(h2_control_frames=20):
        with pop.counting(closes={"h2_control_flood": 1}), pop.h2(window=0) as c:
            flood(c, name, 30)
            ended_by(c, ENHANCE_YOUR_CALM)


def test_control_frames_that_nobody_reads_the_answers_of_are_not_kept(pop):
    """Answers pile up only to the limit of the control queue, whatever the rate may be."""
    with pop.limited(h2_control_frames=1000000), pop.growing_at_most(8):
        with pop.counting(closes={"h2_control_flood": 1}), pop.h2(rcvbuf=4096) as c:
            burst = ping() * 4000
            c.sock.settimeout(10)
            try:
                while c.send(burst):
                    pass
            except TimeoutError:
                pytest.fail("it takes and takes")


def test_floods_of_what_costs_nothing_are_endured(pop):
    """WINDOW_UPDATE, unknown frames, DATA of a stream that is over: dropped, and nobody notices."""
    with pop.growing_at_most(8), pop.counting(), pop.h2(conn_window=False) as c:
        serves(c)
        for _ in range(50):
            c.send(window_update(0, 1) * 400 + frame(0x7F, 0, 0, b"x" * 10) * 400)
            c.send(frame(DATA, 0, 1, b"late") * 400)
        serves(c)


@pytest.mark.parametrize("limits, n", [({}, 400), (dict(h2_reset_burst=5, h2_reset_rate=1), 12)])
def test_a_rapid_reset_ends_the_connection(pop, limits, n):
    with pop.limited(**limits), pop.growing_at_most(8):
        with pop.counting(closes={"h2_rapid_reset": 1}, resets=None), pop.h2() as c:
            c.send(b"".join(headers(2 * i + 1, request("/vod/b/9/gate=never")) + rst(2 * i + 1)
                            for i in range(n)))  # fmt: skip
            ended_by(c, ENHANCE_YOUR_CALM)


# --- MadeYouReset (CVE-2025-8671): resets that the client makes us send ---


def overflow(i):
    return headers(i, request("/vod/b/9/gate=never")) + window_update(i, wire.MAX_WINDOW)


MADE = {
    "a window that overflows": overflow,
    "a WINDOW_UPDATE of 0": lambda i: headers(i, request("/vod/b/9/gate=never")) + window_update(i, 0),
    "DATA after END_STREAM": lambda i: headers(i, request("/vod/b/9/gate=never")) + frame(DATA, 0, i, b"x"),
    "HEADERS after END_STREAM": lambda i: headers(i, request("/vod/b/9/gate=never")) * 2,
    "HEADERS of streams long over": lambda i: headers(99999, request()) if i == 1 else headers(i, request()),
    "PRIORITY of 4 bytes": lambda i: headers(i, request("/vod/b/9/gate=never")) + frame(PRIORITY, 0, i, b"1234"),
    "RST_STREAM of 3 bytes": lambda i: headers(i, request("/vod/b/9/gate=never")) + frame(RST_STREAM, 0, i, b"123"),
    "WINDOW_UPDATE of 3 bytes": lambda i: headers(i, request("/vod/b/9/gate=never")) + frame(WINDOW_UPDATE, 0, i, b"123"),
    "HEADERS that depend on themselves": lambda i: frame(
        HEADERS, END_HEADERS | END_STREAM | wire.PRIO, i, struct.pack(">IB", i, 16) + block(request())),
    "a body of another length": lambda i: headers(i, request("/vod/b/9/gate=never", ("content-length", "1")), END_HEADERS)
    + frame(DATA, END_STREAM, i, b"xy"),
    "an upper-case name": lambda i: headers(i, request("/time", ("X", "y"))),
    "another host": lambda i: headers(i, request("/time", ("host", "other"))),
    "an oversized header list": lambda i: headers(i, request("/time", *[("x", "y" * 900)] * 18)),
    "trailers with a pseudo field": lambda i: headers(i, request("/vod/b/9/gate=never"), END_HEADERS)
    + headers(i, [(":path", "/")]),
}  # fmt: skip


@pytest.mark.parametrize("limits, most", [({}, 210), (dict(h2_forced_resets=10), 20)])
@pytest.mark.parametrize("name", MADE)
def test_resets_that_we_are_made_to_send_end_the_connection(pop, name, limits, most):
    before = pop.counters()
    with pop.limited(**limits), pop.growing_at_most(16), pop.h2(**OWN) as c:
        sent = 0
        while sent < 20000 and c.send(MADE[name](2 * sent + 1)):
            sent += 1
            if sent % 10 == 0:
                try:
                    c.settle()
                except wire.Ended:
                    break
        code, how = c.end()
        assert code not in (None, NO_ERROR)
        assert sent <= most
    reasons = {"h2_forced_resets", "h2_protocol"}
    assert wire.eventually(
        lambda: sum(pop.counters()["closes"][r] - before["closes"][r] for r in reasons) == 1
    )


# --- windows and slow readers: the stream alone ---


def test_a_stream_over_the_limit_is_refused_alone(pop):
    """As long as the client has not said that it knows the limit."""
    with pop.limited(h2_streams=5), pop.counting(resets=None), pop.h2(window=0) as c:
        streams = [c.open(SMALL) for _ in range(6)]
        assert c.answer(streams[5]) == ("reset", REFUSED_STREAM)
        for s in streams[:5]:
            c.send(window_update(s, 100000))
        done = set()
        while len(done) < 5:
            f = c.wait(DATA)
            done |= {f.stream} if f.last else set()
        last = c.next_id()
        c.send(settings((wire.INITIAL_WINDOW_SIZE, 65535)) + headers(last, request(SMALL)))
        assert c.answer(last)[0] == 200


def test_a_stream_over_the_known_limit_ends_the_connection(pop):
    with pop.limited(h2_streams=5), pop.counting(closes={"h2_protocol": 1}), pop.h2(window=0) as c:
        c.settle()
        for _ in range(6):
            c.open(SMALL)
        ended_by(c, PROTOCOL_ERROR)


@pytest.mark.parametrize("stall, window, reason", [("1s", "30s", "stall"), ("60s", "1s", "slow_reader")])
def test_a_starved_stream_is_reset_alone(pop, stall, window, reason):
    warm(pop)
    with pop.limited(stall=stall, slow_window=window), pop.counting(resets={reason: 2}):
        with pop.h2(window=0) as c:
            c.settle()
            began = time.monotonic()
            stuck, slow = c.open(BIG), c.open(BIG)
            c.send(window_update(slow, 10))
            for s in (stuck, slow):
                assert c.wait(RST_STREAM).code == CANCEL
            assert 0.9 < time.monotonic() - began < 2.5 + SLOW
            good = c.next_id()
            c.send(headers(good, request(SMALL)) + window_update(good, 20000))
            assert c.answer(good)[0] == 200


def test_a_drip_of_window_is_too_slow_all_the_same(pop):
    warm(pop)
    with pop.limited(slow_window="1s"), pop.counting(resets={"slow_reader": 1}), pop.h2(window=0) as c:
        c.settle()
        began = time.monotonic()
        s = c.open(BIG)
        while RST_STREAM not in {f.kind for f in c.settle()}:
            assert time.monotonic() - began < 3 + SLOW
            c.send(window_update(s, 1))
            time.sleep(0.05)  # the pace is what is tested


def test_a_hundred_starved_streams_take_bounded_memory(pop):
    warm(pop)
    with pop.growing_at_most(40), pop.h2(window=0) as other:
        wires = [pop.h2(window=0) for _ in range(20)]
        for c in wires:
            c.settle()
            for _ in range(100):
                c.open(BIG)
        for c in wires:
            c.settle()
        other.settle()
        for c in wires:
            c.close()


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_a_connection_that_is_not_read_is_let_go(pop, tls):
    warm(pop)
    with pop.limited(stall="1s", slow_window="1s"), pop.counting(closes={"stall": 1}, resets=None):
        c = pop.h2(tls, rcvbuf=4096)
        for _ in range(20):
            c.open(BIG)
        began = time.monotonic()
    assert time.monotonic() - began < 3 + SLOW
    c.close()


# --- the ends of connections ---


def test_an_idle_connection_ends_with_goaway(pop):
    with pop.limited(keepalive="400ms"), pop.counting(closes={"keepalive": 1}), pop.h2() as c:
        serves(c)
        began = time.monotonic()
        ended_by(c, NO_ERROR)
        assert 0.3 < time.monotonic() - began < 1.5 + SLOW


def test_pings_do_not_keep_an_idle_connection(pop):
    with pop.limited(keepalive="400ms"), pop.counting(closes={"keepalive": 1}), pop.h2() as c:
        serves(c)
        began = time.monotonic()
        with pytest.raises((wire.Ended, AssertionError)):
            while time.monotonic() < began + 3:
                c.silent(0.05)
                assert c.send(ping())
                c.settle()
        assert 0.3 < time.monotonic() - began < 1.5 + SLOW


def test_requests_do_keep_it(pop):
    with pop.limited(keepalive="400ms"), pop.counting(), pop.h2() as c:
        c.settle()
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            assert c.silent(0.1)
            serves(c)


def test_requests_per_connection_ends_it_in_good_order(pop):
    with pop.limited(requests_per_connection=3), pop.h2(**OWN) as c:
        for _ in range(3):
            serves(c)
        ended_by(c, NO_ERROR)
    assert wire.eventually(lambda: pop.counters()["closes"]["request_limit"] > 0)


def test_a_client_that_ignores_the_goaway_gets_no_further(pop):
    """It always has a stream open, so the connection is never idle."""
    with pop.limited(requests_per_connection=3, h2_streams=10), pop.h2(**OWN) as c:
        c.open("/vod/b/9/gate=never/x=goaway")
        served = 0
        for _ in range(40):
            c.open("/time")
            served += sum(f.kind == HEADERS for f in c.settle())
        assert c.goaway == NO_ERROR
        assert 3 <= served <= 13


def test_a_goaway_from_the_client_lets_its_streams_end(pop):
    warm(pop)
    with pop.counting(), pop.h2() as c:
        s = c.open(BIG)
        c.wait(HEADERS, stream=s)
        c.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
        size = 0
        while True:
            f = c.wait(DATA, stream=s)
            size += len(f.payload)
            if f.last:
                break
        assert size == 8000000
        assert c.end()[1] == "fin"


def test_a_client_that_leaves_with_streams_open(pop):
    warm(pop)
    with pop.growing_at_most(8):
        for i in range(20):
            with pop.h2() as c:
                for _ in range(20):
                    c.open(BIG)
                c.wait(DATA)
        with pop.h2() as c:
            for _ in range(50):
                c.open("/vod/b/9/gate=never")
            c.settle()
        serves_one = pop.h2()
        serves(serves_one)
        serves_one.close()


def test_cancelling_half_of_a_hundred_is_legal(pop):
    with pop.counting(resets={"client": 50}), pop.h2(window=0) as c:
        streams = [c.open(f"/vod/b/30000/{KEEP}/x={i}") for i in range(100)]
        c.send(b"".join(rst(s) for s in streams[::2]))
        c.send(settings((wire.INITIAL_WINDOW_SIZE, 65535)))
        left = set(streams[1::2])
        while left:
            f = c.read()
            assert f.kind != RST_STREAM and f.kind != GOAWAY
            if f.last:
                left.discard(f.stream)
