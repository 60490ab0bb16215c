"""What comes to the door of broadcasters, while one of them is on the air and loses nothing by it."""

import itertools
import pathlib
import random
import select
import struct
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import bare_rtmp as rtmp
import flv
import pytest
from arena import SLOW, Arena
from bare_rtmp import BareBroadcaster, Rtmp, chunks, head, number, pairs, text
from conftest import Freshet, get, make_certificate
from live import FFMPEG, Mpd, Viewer, wait_mpd
from wire import PATIENCE, Ended, Wire, eventually

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")

FPS, LOOP_S = 25, 8  # 200 pictures, and exactly 375 frames of AAC
KIB = 1024


class Broadcast(threading.Thread):
    """A clip again and again, each frame at its time; `sent` counts them, `wrong` says what was."""

    def __init__(self, url, tags):
        super().__init__(daemon=True, name="broadcast")
        self.sent = {"v0": 0, "a0": 0}
        self.wrong = None
        self._over = threading.Event()
        self._tags = tags
        self._to = BareBroadcaster(url)
        self._to.send(chunks(rtmp.SET_CHUNK_SIZE, struct.pack(">I", 65536), csid=2))

    def _closed(self):
        ready, _, _ = select.select([self._to.sock], [], [], 0)
        return bool(ready) and self._to.sock.recv(4096) == b""

    def _all(self):
        for round_ in itertools.count():
            for kind, ms, body in self._tags:
                if round_ == 0 or not flv.is_config((kind, ms, body)):
                    yield kind, ms + round_ * LOOP_S * 1000, body

    def run(self):
        began = time.monotonic()
        try:
            for kind, ms, body in self._all():
                if self._over.wait(max(0, began + ms / 1000 - time.monotonic())):
                    break
                assert not self._closed(), "closed"
                assert self._to.send(chunks(kind, body, 1, 4, ms, 65536)), "broken"
                if body[1] == 1:
                    self.sent["v0" if kind == flv.VIDEO else "a0"] += 1
        except (AssertionError, OSError) as e:
            self.wrong = f"the broadcaster after {self.sent}: {e!r}"

    def stop(self):
        """It says goodbye."""
        self._over.set()
        self.join(PATIENCE)
        self._to.command("deleteStream", b"\x05", number(1), transaction=0)
        self._to.close()


class Follower(threading.Thread):
    """Looks at all that comes of a broadcast, and that it goes on coming."""

    slowest = 4 * SLOW  # from one segment to the next one

    def __init__(self, url):
        super().__init__(daemon=True, name="follower")
        self.viewer, self.wrong = Viewer(), None
        self.url, self._over = url, threading.Event()

    def look(self):
        status, _, page = get(self.url)
        assert status == 200, status
        mpd = Mpd(self.url, page.decode())
        assert list(mpd.periods) == ["p0"], "another Period"
        self.viewer.take(mpd)
        return mpd

    def run(self):
        last, since = 0, time.monotonic()
        while not self._over.wait(0.2):
            try:
                self.look()
                now = self.viewer.last.get("v0", 0)
                if now > last:
                    last, since = now, time.monotonic()
                assert time.monotonic() - since < self.slowest, "no new segment"
            except (AssertionError, OSError) as e:
                self.wrong = f"the follower at {last}: {e!r}"
                return

    def stop(self):
        self._over.set()
        self.join(PATIENCE)


class Door(Arena):
    """All in one process, one worker; a broadcast, and somebody who follows it."""

    families = {
        "closes": ("freshet_ingest_closes_total", "{fault} {reason}"),
        "limits": ("freshet_limit_hits_total", "{limit}"),
        "auth": ("freshet_ingest_auth_total", "{result}"),
        "dropped": ("freshet_ingest_frames_dropped_total", "{media}"),
        "unusable": ("freshet_encoder_frames_dropped_total", ""),
        "restarts": ("freshet_encoder_restarts_total", "{reason}"),
    }
    always = ("closes", "limits", "dropped", "restarts")
    noise = {"closes": {"peer peer_fin", "peer peer_reset"}}  # who has seen enough, and goes

    def __init__(self, directory):
        self.dir = directory
        self._tls = make_certificate(directory)
        self.freshet = Freshet(directory, self._text({})).wait_ready()
        (self.admin,) = self.freshet.urls("admin.listen")
        (self.http,) = self.freshet.urls("edge.listen")
        self.clear, self.secret = sorted(self.freshet.urls("ingest.listen"))
        clip = flv.make(directory / "clip.flv", LOOP_S, rate=FPS, gop=FPS, size="160x90")
        tags = [t for t in flv.tags(clip) if t[0] != flv.SCRIPT and t[2][1] < 2]
        sound = [t for t in tags if t[0] == flv.AUDIO and t[2][1] == 1][: LOOP_S * 48000 // 1024]
        self.tags = [t for t in tags if t[0] == flv.VIDEO or flv.is_config(t) or t in sound]
        self.broadcast = Broadcast(f"{self.clear}/live/bystander", self.tags)
        self.broadcast.start()
        page = f"{self.http}/live/bystander/manifest.mpd"
        if not eventually(lambda: get(page)[0] == 200):
            pytest.fail("\n".join([str(self.broadcast.wrong), *self.freshet.log]))
        self.follower = Follower(page)
        self.follower.start()

    def _text(self, limits):
        idle = limits.pop("idle_timeout", "30s")
        keys = ", ".join(f"{k}: {v}" for k, v in limits.items())
        return (
            f'admin: {{listen: ["127.0.0.1:0"]}}\nloops: 2\nstate_dir: {self.dir}/state\n'
            f"{self._tls}log: {{level: info}}\n"
            'ingest:\n  listen: ["rtmp://127.0.0.1:0", "rtmps://127.0.0.1:0"]\n'
            f"  idle_timeout: {idle}\n  reconnect_window: 1s\n  limits: {{{keys}}}\n"
            "encode: {workers: 1, ladders: {source: {copy: true, segment: 1s}}}\n"
            'edge: {listen: ["http://127.0.0.1:0"]}\n'
            "apps: {live: {publish: open}, none: {publish: none}}\n"
        )

    def config(self, kind):
        """The configuration of the clip: of video or audio."""
        return next(t[2] for t in self.tags if t[0] == kind and flv.is_config(t))

    def memory(self):
        return self.metrics()["freshet_ingest_memory_bytes"][0][1]

    def publisher(self, name, **kw):
        return BareBroadcaster(f"{self.clear}/live/{name}", **kw)

    def logged(self, *words):
        """The lines with all the words; there is nothing in the log that a terminal would obey."""
        log = list(self.freshet.log)
        assert all(line.isascii() and line.isprintable() for line in log), log
        return [line for line in log if all(w in line for w in words)]

    def well(self):
        wrong = [x.wrong for x in (self.broadcast, self.follower) if x.wrong]
        if wrong or self.freshet.proc.poll() is not None:
            pytest.fail("\n".join(wrong + self.freshet.log[-60:]))

    def end(self):
        self.broadcast.stop()
        self.follower.stop()
        try:
            self.well()
            static = lambda: self.follower.look().type == "static"  # noqa: E731
            assert eventually(static)
            seen, sent = self.follower.viewer.samples, self.broadcast.sent
            # the first sound comes before the first picture, with which the Period begins
            assert seen == {**sent, "a0": sent["a0"] - 1}, sent
            assert self.freshet.stop() == 0
        finally:
            self.freshet.end()
        bad = [x for x in self.freshet.log if "Sanitizer" in x or "runtime error" in x]
        assert bad == []


@pytest.fixture(scope="module")
def house():
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as d:
        one = Door(pathlib.Path(d))
        yield one
        one.end()


@pytest.fixture
def door(house):
    """The process with the defaults; afterwards it is as well as before, and as small."""
    house.well()
    before = house.memory()
    yield house
    assert eventually(lambda: house.memory() < before + 64 * KIB)
    house.logged()
    house.well()


def attack(door, why, *acts, limit=None, **more):
    """Each act gets a connection of its own (`act.on` makes it), and sees the end of it."""
    began = time.monotonic()
    with door.counting(closes={why: len(acts)}, **more):
        for act in acts:
            with act(door) as w:
                assert w.end() in ("fin", "reset")
    assert time.monotonic() - began < 5 * SLOW


def says(*what, on=Rtmp, app=None):
    """An act: connects to `app` (if any), then sends these bytes."""

    def act(door):
        w = on(door.clear)
        if app:
            w.connect(app)
        for x in what:
            w.send(x)
        return w

    return act


def on_air(*what, name="foe"):
    """An act: publishes first."""

    def act(door):
        w = door.publisher(name)
        for x in what:
            w.send(x)
        return w

    return act


def command(name, *values, stream=0):
    return chunks(rtmp.COMMAND, text(name) + number(1) + b"".join(values), stream=stream)


# --- one after the other: what is no RTMP ---

DEEP = text("connect") + number(1) + b"\x03" + b"\0\1a\x03" * 60000
DEEPER = text("connect") + number(1) + b"\x0a\0\0\0\1" * 12000

BAD = {
    # the handshake
    "HTTP": ("peer http", says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", on=Wire)),
    "TLS to the clear port": ("peer tls", says(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", on=Wire)),
    "RTMPE": ("peer rtmpe", says(b"\x06" + bytes(1536), on=Wire)),
    "another version": ("peer version", says(b"\x7f" + bytes(1536), on=Wire)),
    # chunks
    "no header before": ("peer chunk_header", says(head(1, 3, 0, 10, 20)), says(head(2, 3)),
                         says(head(3, 3))),
    "another length inside a message": (
        "peer chunk_in_message", says(head(0, 3, 0, 500, 20) + bytes(128) + head(1, 3, 0, 9, 20))),
    "another type inside a message": (
        "peer chunk_in_message", says(head(0, 3, 0, 500, 20) + bytes(128) + head(0, 3, 0, 500, 9))),
    "65 chunk streams": (
        "peer chunk_streams",
        says(b"".join(chunks(rtmp.ACKNOWLEDGE, bytes(4), csid=i) for i in range(2, 64)),
             *(b"\0" + bytes([i]) + chunks(rtmp.ACKNOWLEDGE, bytes(4))[1:] for i in range(3)))),
    "a chunk size of 0": (
        "peer chunk_size", *(says(chunks(rtmp.SET_CHUNK_SIZE, struct.pack(">I", v), csid=2))
                             for v in (0, 0x80000000))),
    "8 MiB before it publishes": ("peer message_size", says(head(0, 4, 0, 8 << 20, rtmp.VIDEO))),
    "a command of 16 MiB": ("peer message_size", on_air(head(0, 3, 0, 0xFFFFFF, rtmp.COMMAND))),
    "a frame of 16 MiB": ("peer message_size", on_air(head(0, 4, 0, 0xFFFFFF, rtmp.VIDEO, 1))),
    "half messages": (
        "peer message_memory",
        says(*(head(0, i, 0, 60000, 20) + (head(3, i)).join([bytes(128)] * 40) for i in range(3, 63)))),
    # control messages and commands
    "a control message cut short": (
        "peer control", *(says(chunks(k, bytes(n), csid=2))
                          for k, n in ((rtmp.SET_CHUNK_SIZE, 3), (rtmp.ABORT, 0),
                                       (rtmp.USER_CONTROL, 1), (rtmp.WINDOW_SIZE, 2)))),
    "a flood of aborts": ("peer command_rate", says(chunks(rtmp.ABORT, bytes(4), csid=2) * 51)),
    "a flood of commands": ("peer command_rate", says(command("FCPublish", b"\x05") * 50, app="live")),
    "pings whose answers nobody reads": (
        "peer command_rate", says(chunks(rtmp.USER_CONTROL, b"\0\6" + bytes(4), csid=2) * 1000)),
    "nested 60,000 levels": (
        "peer message_size", says(chunks(rtmp.COMMAND, DEEP))),
    "nested in what is let in": (
        "peer amf_limit", says(chunks(rtmp.COMMAND, DEEP[: 64 * KIB])),
        says(chunks(rtmp.COMMAND, DEEPER[: 64 * KIB])), on_air(chunks(rtmp.COMMAND, DEEP)),
        on_air(chunks(rtmp.DATA, DEEP, 1))),
    "a name of 60,000": (
        "peer amf_limit", says(command("publish", b"\x05", text("x" * 60000), stream=1), app="live")),
    "AMF that is none": (
        "peer amf", *(says(chunks(rtmp.COMMAND, b)) for b in
                      (b"\x02", b"\x02\0\xff", b"\x02\0\1a\0", text("connect") + b"\x04"))),
    "no name of a command": ("peer command", says(chunks(rtmp.COMMAND, number(1)))),
    "commands before connect": (
        "peer command", says(command("createStream", b"\x05")),
        says(command("publish", b"\x05", text("a"), stream=1))),
    "connect twice": ("peer command", says(command("connect", pairs(app="live")), app="live")),
    "an aggregate that is none": (
        "peer aggregate", on_air(chunks(rtmp.AGGREGATE, b"\x09\0\0\xff" + bytes(20), 1)),
        on_air(chunks(rtmp.AGGREGATE, b"\x16" + bytes(14), 1)),
        on_air(chunks(rtmp.AGGREGATE, bytes(5), 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_who_breaks_the_rules_is_shown_out(door, name):
    why, *acts = BAD[name]
    with door.growing_at_most(4):
        attack(door, why, *acts, dropped=None)


def test_no_rtmp_comes_to_the_port_with_tls(door):
    with door.counting(closes={"peer tls_handshake": 2}):
        for what in (b"\x03" + bytes(1536), b"GET / HTTP/1.1\r\n\r\n"):
            with Wire(door.secret.replace("rtmps:", "rtmp:")) as w:
                w.send(what)
                assert w.end() in ("fin", "reset")


def test_tls_hides_nothing(door):
    bad = chunks(rtmp.COMMAND, DEEP[: 64 * KIB]), chunks(rtmp.SET_CHUNK_SIZE, bytes(4), csid=2)
    with door.counting(closes={"peer amf_limit": 1, "peer chunk_size": 1}):
        for what in bad:
            with Rtmp(door.secret) as w:
                w.send(what)
                assert w.end() in ("fin", "reset")


# --- names ---

BAD_APPS = {
    "a NUL": "live\0", "a name after a NUL": "live\0../x", "dots": "..", "a dot": ".",
    "a way up": "live/..", "a backslash": "li\\ve", "lines": "live\r\nX: y", "colours": "\x1b[31mlive",
    "a space": "li ve", "UTF-8": "l\u00efve", "a long one": "a" * 65, "percent NUL": "live%00",
    "percent slash": "%2f", "a broken percent": "live%2", "an underscore first": "_live",
    "empty parts": "live//x", "four parts": "a/b/c/d", "p": "p", "time": "time", "api": "api",
    "metrics": "metrics", "status": "status", "watch": "watch", "hidden": "%70",
}  # fmt: skip
BAD_STREAMS = {
    "nothing": "", "a NUL": "x\0", "a name after a NUL": "x\0/../../etc", "a slash": "/",
    "dots": "..", "a way up": "../x", "lines": "x\r\nSet-Cookie: a", "colours": "\x1b]0;x\x07",
    "a long one": "x" * 65, "a very long one": "x" * 8000, "percent NUL": "x%00", "percent lines": "x%0d%0a",
    "percent dots": "%2e%2e", "a broken percent": "x%zz", "a key twice": "x?kid=a&kid=b",
    "any name twice": "x?a=1&a=2", "half a signature": "x?exp=5&kid=k1", "no number": "x?exp=1e9&kid=k&sig=00",
    "many parameters": "x?" + "&".join(f"a{i}=1" for i in range(40)),
}  # fmt: skip


def told(w):
    """All that it was told, to the end, which is in good order."""
    try:
        while True:
            w.more()
    except Ended as e:
        assert e.args == ("fin",)
    w.close()
    return w.data


def test_names_of_every_bad_kind_are_refused_in_good_order(door):
    every = [(app, "x") for app in BAD_APPS.values()] + [("live", s) for s in BAD_STREAMS.values()]
    with door.counting(auth={"name": len(every)}, closes={"peer name": len(every)}):
        for app, name in every:
            w = Rtmp(door.clear)
            w.connect(app)
            w.publish(name)
            said = told(w)
            assert b"NetConnection.Connect.Rejected" in said or b"Publish.Denied" in said, (app, name)
    with door.counting(auth={"app": 2}, closes={"policy app": 2}):
        for app in ("nowhere", "none"):
            w = Rtmp(door.clear)
            w.connect(app)
            assert b"NetConnection.Connect.InvalidApp" in told(w)


def test_no_terminal_obeys_what_a_broadcaster_calls_himself(door):
    """What somebody calls himself goes to the log, where it is escaped."""

    def logged():
        with Rtmp(door.clear) as w:
            w.command("connect", pairs(app="live", flashVer="\x1b[2J\r\nfake line\x7f\x9b"))
            w.publish("loud")
            w.until(b"NetStream.Publish.Start")
            w.command("deleteStream", b"\x05", number(1), transaction=0)
            w.command("ping", b"\x05", transaction=9)
            w.until(b"_result" + number(9))
        return door.logged("publishes", "stream=loud")

    assert eventually(logged)  # which has so many lines a second
    assert "\\x1b[2J\\x0d\\x0afake line" in logged()[0]


# --- how long, how many, how much ---


def ends_after(w, seconds):
    """The connection ends, after about so long."""
    began = time.monotonic()
    w.end()
    took = time.monotonic() - began
    w.close()
    return seconds * 0.6 < took < seconds + 1.5 + SLOW


def test_who_is_silent_or_slow_is_not_waited_for(door):
    short = {"handshake_timeout": "700ms", "publish_timeout": "700ms", "idle_timeout": "1s"}
    closes = {"peer handshake_timeout": 6, "peer publish_timeout": 3, "peer idle": 2}

    def slow(w, raw):
        """A byte at a time, as long as somebody listens."""
        began = time.monotonic()
        for b in raw:
            if not w.send(bytes([b])) or time.monotonic() - began > 5:
                break
            time.sleep(0.05)
        w.end()
        w.close()
        return time.monotonic() - began < 4

    def shaken(*what):
        return says(*what)(door)

    with door.growing_at_most(4), door.limited(**short), door.counting(closes=closes, auth=None):
        quiet = [
            (says(on=Wire)(door), 0.7),
            (says(b"\x03", on=Wire)(door), 0.7),
            (says(b"\x03" + bytes(1535), on=Wire)(door), 0.7),
            (says(b"\x03" + bytes(1536 + 1535), on=Wire)(door), 0.7),
            (Wire(door.secret.replace("rtmps:", "rtmp:")), 0.7),
            (shaken(), 0.7),
            (says(app="live")(door), 0.7),
            (door.publisher("quiet"), 1.0),
            (on_air(head(0, 4, 0, 8 << 20, rtmp.VIDEO, 1) + bytes(128), name="half")(door), 1.0),
        ]
        with ThreadPoolExecutor(16) as pool:
            ends = [pool.submit(ends_after, *q) for q in quiet]
            ends.append(pool.submit(slow, says(on=Wire)(door), b"\x03" + bytes(1000)))
            ends.append(pool.submit(slow, shaken(), chunks(rtmp.COMMAND, DEEP[:1000])))
            assert [e.result() for e in ends] == [True] * len(ends)


def test_declared_is_not_allocated(door):
    """Row 12: what an idle connection takes, one in mid-message, and one that promises 8 MiB."""
    n = 64
    before = door.memory()

    def each():
        return (door.memory() - before) / n

    with door.limited(publish_timeout="4s", idle_timeout="4s"), door.growing_at_most(24):
        with door.counting(closes={"peer publish_timeout": 2 * n, "peer idle": n}):
            idle = [Rtmp(door.clear) for _ in range(n)]
            assert eventually(lambda: door.metrics()["freshet_ingest_connections"][0][1] > n)
            assert 1 * KIB < each() < 32 * KIB
            half = [says(head(0, 3, 0, 65535, 20) + head(3, 3).join([bytes(128)] * 256))(door)
                    for _ in range(n)]  # fmt: skip
            assert eventually(lambda: each() > 32 * KIB), each()
            assert each() < (32 + 96) * KIB
            big = [on_air(head(0, 4, 0, 8 << 20, rtmp.VIDEO, 1) + bytes(128), name=f"big{i}")(door)
                   for i in range(n)]  # fmt: skip
            for w in big:  # between the chunks of the frame: so much has been read
                w.command("ping", b"\x05", transaction=9)
                w.until(b"_result" + number(9))
            assert each() < (32 + 96 + 96) * KIB
            for w in idle + half + big:
                w.end()
                w.close()


def test_what_is_put_together_is_bounded(door):
    """A publisher: two frames of 5 MiB at once are more than it may have."""
    half = 5 << 20
    with door.counting(closes={"peer message_memory": 1}), door.publisher("fat") as w:
        w.send(chunks(rtmp.SET_CHUNK_SIZE, struct.pack(">I", half), csid=2))
        top = 0
        for csid in (4, 5, 6):
            w.send(head(0, csid, 0, half + 1, rtmp.VIDEO, 1) + bytes(half))
            top = max(top, door.memory())
        w.end()
    assert top < (16 << 20)


def test_answers_that_nobody_reads_are_not_kept(door):
    """Row 13. Each command is answered; the peer's window is closed, so they stay with us."""
    with door.limited(commands=1000000), door.growing_at_most(8):
        with door.counting(closes={"peer control_queue": 1}):
            w = Rtmp(door.clear, rcvbuf=4096)
            w.connect("live")
            flood = command("FCPublish", b"\x05") * 2000
            try:
                w.sock.settimeout(PATIENCE)
                while w.send(flood):
                    pass
            finally:
                w.close()


def refused(url, source):
    with Wire(url, source=source) as w:
        w.send(b"\x03" + bytes(1536))
        return w.end() in ("fin", "reset") and w.data == b""


def test_an_address_has_only_so_many_connections(door):
    with door.limited(per_address=3, exempt="[127.0.0.1/32]"):
        with door.counting(limits={"ingest_per_address": 4}):
            mine = [Rtmp(door.clear, source="127.0.0.66") for _ in range(3)]
            assert all(refused(door.clear, "127.0.0.66") for _ in range(4))
            Rtmp(door.clear, source="127.0.0.67").close()
            for w in mine:
                w.close()
    said = "too many connections of one address", "peer=127.0.0.66"
    assert eventually(lambda: door.logged("ingest", *said))


def test_only_so_many_wait_to_publish(door):
    with door.limited(unpublished=5):
        with door.counting(limits={"ingest_unpublished": 3}):
            mine = [Rtmp(door.clear) for _ in range(5)]
            assert all(refused(door.clear, f"127.0.0.{i}") for i in (71, 72, 73))
            for w in mine:
                w.close()
        door.publisher("late").close()
    said = "too many connections that do not publish", "peer=127.0.0.7"
    assert eventually(lambda: door.logged("ingest", *said))


# --- media ---

AVC, AAC = b"\x17\0\0\0\0", b"\xaf\0"


def bits(*fields):
    """(value, width) each; width 0: an unsigned Exp-Golomb code. Filled up as an RBSP is."""
    out = ""
    for value, width in fields:
        code = f"{value + 1:b}"
        out += f"{value:0{width}b}" if width else "0" * (len(code) - 1) + code
    out += "1"
    out += "0" * (-len(out) % 8)
    return int(out, 2).to_bytes(len(out) // 8, "big")


def sps(width, height):
    """Baseline, of so many pixels."""
    return b"\x67\x42\0\x1f" + bits((0, 0), (0, 0), (0, 0), (0, 0), (1, 0), (0, 1),
                                      (width // 16 - 1, 0), (height // 16 - 1, 0), (1, 1), (1, 1),
                                      (0, 1), (0, 1))  # fmt: skip


def avcc(*sets, length=3):
    first = b"\x01\x42\0\x1f" + bytes([0xFC | length, 0xE1])
    return AVC + first + b"\1".join(struct.pack(">H", len(x)) + x for x in sets)


GOOD_SPS, PPS = sps(160, 96), b"\x68\xce\x3c\x80"
BAD_CONFIGS = {
    "65535x65535": avcc(sps(65536, 65536), PPS),
    "8208x4320": avcc(sps(8208, 4320), PPS),
    "as large as numbers go": avcc(sps(0xFFFFFFF0, 16), PPS),
    "half an SPS": avcc(GOOD_SPS[:5], PPS),
    "an SPS that is longer than all": AVC + b"\x01\x42\0\x1f\xff\xe1\xff\xff" + GOOD_SPS,
    "no SPS": AVC + b"\x01\x42\0\x1f\xff\xe0\0",
    "no PPS": AVC + b"\x01\x42\0\x1f\xff\xe1" + struct.pack(">H", len(GOOD_SPS)) + GOOD_SPS,
    "a PPS for an SPS": avcc(PPS, PPS),
    "lengths of three bytes": avcc(GOOD_SPS, PPS, length=2),
}
BAD_SOUNDS = {
    "half a configuration": AAC + b"\x12",
    "no such rate": AAC + b"\x16\x90",
    "a rate of 0": AAC + b"\x17\x80\0\0\x08",
    "no channels": AAC + b"\x11\x80",
    "AAC Main": AAC + b"\x09\x90",
    "another codec than AAC": AAC + b"\xf9\x90\x10",
}


def test_configurations_that_lie_are_refused(door):
    every = [(rtmp.VIDEO, c) for c in BAD_CONFIGS.values()]
    every += [(rtmp.AUDIO, c) for c in BAD_SOUNDS.values()]
    with door.counting(closes={"peer codec_config": len(every), "policy codec": 2}):
        for i, (kind, body) in enumerate(every):
            w = door.publisher(f"liar{i}")
            w.send(chunks(kind, body, 1))
            assert b"configuration" in told(w), body
        for kind, body in ((rtmp.VIDEO, b"\x12\0\0\0\0"), (rtmp.AUDIO, b"\x2f\0\0")):
            w = door.publisher("other")
            w.send(chunks(kind, body, 1))
            assert b"is not supported: use" in told(w)


def test_frames_of_garbage_reach_nobody(door):
    """A good configuration, and frames that are none: counted, not played, and nobody dies."""
    good = [t[2] for t in door.tags if t[0] == flv.VIDEO and not flv.is_config(t)]
    frame = good[0][:5]
    bad = [
        frame + struct.pack(">I", 0xFFFFFFFF) + bytes(40),  # a NAL unit beyond the packet
        frame + struct.pack(">I", 100) + bytes(40),
        frame + bytes(40),  # NAL units of nothing
        frame + b"\0\0",
        frame + b"\0\0\0\1\x06",  # no picture
        frame,
    ]
    with door.counting(unusable={"": len(bad) + 1}, dropped={"video": 3, "audio": 2}):
        with door.publisher("garbage") as w:
            w.send(chunks(rtmp.VIDEO, door.config(flv.VIDEO), 1))
            w.send(chunks(rtmp.AUDIO, door.config(flv.AUDIO), 1))
            for i, body in enumerate(bad):
                w.send(chunks(rtmp.VIDEO, body, 1, ms=40 * i))
            w.send(chunks(rtmp.AUDIO, b"\xaf\1", 1, ms=200))
            for kind, body in ((rtmp.VIDEO, b"\x17"), (rtmp.VIDEO, b"\x17\1\0"), (rtmp.AUDIO, b"\xaf"),
                               (rtmp.VIDEO, b"\x57\1\0\0\0"), (rtmp.AUDIO, b"\xaf\7")):  # fmt: skip
                w.send(chunks(kind, body, 1, ms=240))
            w.send(chunks(rtmp.VIDEO, b"", 1) + chunks(rtmp.AUDIO, b"", 1))  # "nothing yet"
            w.command("ping", b"\x05", transaction=9)
            w.until(b"_result" + number(9))
            assert get(f"{door.http}/live/garbage/manifest.mpd")[0] in (404, 503)


def test_noise_for_pictures_is_passed_on_and_kills_nobody(door):
    """What no one here decodes: slices of noise in good NAL units. They are players' business."""
    noise = random.Random(1)
    with door.counting(unusable={}), door.publisher("noise") as w:
        w.send(chunks(rtmp.VIDEO, door.config(flv.VIDEO), 1))
        w.send(chunks(rtmp.AUDIO, door.config(flv.AUDIO), 1))
        for i in range(200):
            idr = i % 25 == 0
            nal = (b"\x65" if idr else b"\x41") + noise.randbytes(noise.randrange(1, 3000))
            picture = (b"\x17" if idr else b"\x27") + b"\1\0\0\0" + struct.pack(">I", len(nal)) + nal
            w.send(chunks(rtmp.VIDEO, picture, 1, 6, 40 * i))
            sound = b"\xaf\1" + noise.randbytes(noise.randrange(1, 400))
            w.send(chunks(rtmp.AUDIO, sound, 1, 7, 40 * i))
        page = f"{door.http}/live/noise/manifest.mpd"
        wait_mpd(page, lambda m: len(m.periods["p0"]["v0"].closed()) >= 4)


# --- what an operator sees ---


def test_the_log_says_why(door):
    """It says five lines a second and no more of a kind: who is not named comes again."""
    acts = {why: act for why, act, *_ in BAD.values()}
    acts["peer codec_config"] = on_air(chunks(rtmp.VIDEO, BAD_CONFIGS["65535x65535"], 1))
    acts["peer name"] = says(command("publish", b"\x05", text("x\r\n"), stream=1), app="live")

    def named(why):
        fault, reason = why.split()
        return door.logged("closed", f"reason={reason}", f"fault={fault}", "peer=127.0.0.1")

    def all_named():
        missing = [why for why in acts if not named(why)]
        for why in missing[:8]:
            with acts[why](door) as w:
                w.end()
        return missing == []

    assert eventually(all_named), [why for why in acts if not named(why)]
