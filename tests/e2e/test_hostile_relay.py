"""POST /_ingest, byte by byte: what a POP of ours would never say, and what it may say oddly."""

import json
import struct

import flv
import pytest
import wire
from conftest import PATIENCE, QUIET, metric
from live import FFMPEG, check_media, wait_mpd

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")

CLAIM = ("freshet-claim", "00000000000000a1")
BEHIND = ("freshet-behind", "0")
TICKET = [("freshet-session", "m0abcdefghij1"), ("freshet-epoch", "5"), ("freshet-ast", "1800000000"),
          ("freshet-period", "3"), ("freshet-high", "400")]  # fmt: skip
OPEN = wire.END_HEADERS  # a body follows


@pytest.fixture
def dc(launch, short_dir):
    f = launch(
        QUIET
        + f"state_dir: {short_dir}/state\n"
        + "encode: {workers: 1}\n"
        + 'origin: {listen: ["http://127.0.0.1:0"]}\n'
        + 'edge: {listen: ["http://127.0.0.1:0"]}\n'
        + "ingest: {limits: {message_media: 64K}}\n"
        + "apps: {live: {publish: none}}\n"
    ).wait_ready()
    (f.tier,) = f.urls("origin.listen")
    (f.http,) = f.urls("edge.listen")
    return f


def bring(h2, stream, data):
    """DATA, within the frames' size; the windows are large enough for what we send."""
    for at in range(0, len(data), 16384):
        h2.send(wire.frame(wire.DATA, 0, stream, data[at : at + 16384]))


def relay(h2, *more, name="show"):
    """An exchange that is accepted; its stream."""
    stream = h2.open(f"/_ingest/live/{name}", CLAIM, BEHIND, *more, method="POST", flags=OPEN)
    assert wire.status_of(h2.wait(wire.HEADERS, stream=stream).payload) == 200
    return stream


def records(data):
    at, out = 0, []
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            break
        kind, n = data[at + 4], struct.unpack_from(">H", data, at + 16)[0]
        out.append((kind, json.loads(data[at + 18 : at + 18 + n])))
        at += 4 + size
    return out


BAD_HEADS = {
    "no claim": [BEHIND],
    "a claim of nothing": [("freshet-claim", "0" * 16), BEHIND],
    "a short claim": [("freshet-claim", "a1"), BEHIND],
    "a claim with capitals": [("freshet-claim", "00000000000000A1"), BEHIND],
    "half a key": [("freshet-claim", CLAIM[1] + ".0011"), BEHIND],
    "a key and more": [("freshet-claim", CLAIM[1] + "." + "0" * 32 + ".later"), BEHIND],
    "no age": [CLAIM],
    "an age that is none": [CLAIM, ("freshet-behind", "-1")],
    "an age of years": [CLAIM, ("freshet-behind", "99999999999999999999")],
    "half a ticket": [CLAIM, BEHIND, *TICKET[:3]],
    "a ticket of no session": [CLAIM, BEHIND, ("freshet-session", "M0ABCDEFGHIJ1"), *TICKET[1:]],
    "a ticket beyond all numbers": [CLAIM, BEHIND, *TICKET[:4], ("freshet-high", "9" * 15)],
}


def test_a_head_that_no_pop_sends_is_refused_and_nothing_else(dc):
    with wire.H2(dc.tier) as h2:
        for what, fields in BAD_HEADS.items():
            stream = h2.open("/_ingest/live/show", *fields, method="POST", flags=OPEN)
            assert h2.answer(stream)[0] == 400, what
        for path in ("/_ingest/", "/_ingest/live", "/_ingest/live/", "/_ingest/live/show/more",
                     "/_ingest/p/show", "/_ingest/live/.show"):  # fmt: skip
            stream = h2.open(path, CLAIM, BEHIND, method="POST", flags=OPEN)
            assert h2.answer(stream)[0] in (400, 404), path
        stream = h2.open("/_ingest/other/show", CLAIM, BEHIND, method="POST", flags=OPEN)
        assert h2.answer(stream)[0] == 404
        dc.wait_log("not configured here", "stream=other/show")
        assert h2.fetch("/_ingest/live/show", CLAIM, BEHIND)[0] == 400  # GET
        assert h2.fetch("/_ingest/live/show", CLAIM, BEHIND, method="POST")[0] == 400  # no body
        relay(h2)  # and the connection is as good as new


BAD_BODIES = {
    "no FLV": b"GET / HTTP/1.1\r\n\r\n",
    "a tag over the limit": flv.HEADER + bytes([9, 1, 0, 1]) + bytes(7),
    "a script that is no mark": flv.HEADER + flv.tag(flv.SCRIPT, 0, b"\x02\0\x0aonMetaData"),
    "a mark of tag 0": flv.HEADER + flv.mark(0, 0, 1),
    "marks that count backwards": flv.HEADER + flv.mark(9, 0, 1) + flv.mark(8, 0, 1),
    "a wrong size": flv.HEADER + flv.mark(1, 0, 1) + flv.tag(9, 0, b"\x17\x01\0\0\0")[:-1] + b"!",
}


def test_a_body_that_no_pop_sends_breaks_its_own_exchange_only(dc):
    with wire.H2(dc.tier) as h2:
        good = relay(h2, name="good")
        for what, body in BAD_BODIES.items():
            stream = relay(h2, name="bad")
            bring(h2, stream, body)
            assert h2.wait(wire.RST_STREAM, stream=stream).code == wire.PROTOCOL_ERROR, what
        assert metric(dc, "freshet_relay_exchanges") == 1
        # half a tag at the end is no end
        stream = relay(h2, name="bad")
        bring(h2, stream, flv.HEADER + flv.mark(1, 0, 1)[:-3])
        h2.send(wire.frame(wire.DATA, wire.END_STREAM, stream))
        assert h2.wait(wire.RST_STREAM, stream=stream).code == wire.PROTOCOL_ERROR
        first = h2.wait(wire.DATA, stream=good)  # the other one's heart beats
        assert records(first.payload)[0][0] == 64


def test_whoever_is_replaced_or_too_late_is_told(dc):
    with wire.H2(dc.tier) as h2:
        old = relay(h2)
        young = h2.open("/_ingest/live/show", ("freshet-claim", "00000000000000b2"), BEHIND,
                        method="POST", flags=OPEN)  # fmt: skip
        data = b""
        while not (f := h2.wait(wire.DATA, stream=old)).last:
            data += f.payload
        data += f.payload
        assert records(data)[-1] == (37, {"why": "taken"})
        assert h2.wait(wire.RST_STREAM, stream=old).code == wire.NO_ERROR
        # with a ticket from before
        stream = h2.open("/_ingest/live/show", CLAIM, BEHIND, *TICKET, method="POST", flags=OPEN)
        assert h2.answer(stream)[0] == 409
        h2.send(wire.ping())
        assert metric(dc, "freshet_relay_exchanges") == 1, young


def test_a_broadcast_may_come_in_pieces_of_any_size(dc, short_dir):
    seconds = 6
    tags = [t for t in flv.tags(flv.make(short_dir / "a.flv", seconds)) if t[0] != flv.SCRIPT]
    data = flv.HEADER
    for n, t in enumerate(tags, 1):
        if n % 50 == 1:  # some clock, but a steady one
            data += flv.mark(n, t[1], 5000000 + t[1] * 1000)
        data += flv.tag(*t)
    with wire.H2(dc.tier) as h2:
        # it has all waited at the POP, the first tag for as long as it takes
        ago = ("freshet-behind", str(seconds * 1000))
        stream = h2.open("/_ingest/live/show", CLAIM, ago, *TICKET, method="POST", flags=OPEN)
        assert wire.status_of(h2.wait(wire.HEADERS, stream=stream).payload) == 200
        at, size = 0, 1
        while at < len(data):
            h2.send(wire.frame(wire.DATA, 0, stream, data[at : at + size]))
            at += size
            size = size * 7 % 4093 + 1 if at > 300 else 1  # the first ones byte by byte
        h2.send(wire.frame(wire.DATA, wire.END_STREAM, stream))
        while not h2.wait(wire.DATA, stream=stream).last:
            pass
    url = f"{dc.http}/live/show/manifest.mpd"
    mpd = wait_mpd(url, lambda m: m.type == "static", PATIENCE)
    assert check_media(mpd)["v0"] == seconds * 30
    # it goes on from the ticket
    assert "/m0abcdefghij1/" in mpd.reps()[0][2].media
    assert list(mpd.periods) == ["p19"]
    assert mpd.reps()[0][2].segments[0][0] >= 400
