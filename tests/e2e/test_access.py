"""The log of accesses: what is in a line, that nothing hides in it, rotation, and a stuck reader."""

import hashlib
import json
import os
import re
import shlex
import socket
import struct
import threading

import pytest
from conftest import QUIET, crowd, get, make_certificate, metric, wait_for
from wire import H2, HEADERS, Wire, rst

KEEP = "cc=max-age%3D60"
SECRET = "5eC" * 22  # as long as the secret part of a token


@pytest.fixture
def pop(launch, slow_origin, short_dir):
    origin = slow_origin()

    def text(to, extra=""):
        return (
            QUIET + make_certificate(short_dir) + f"log: {{access: {to}{extra}}}\n"
            'edge: {listen: ["127.0.0.1:0", "https://127.0.0.1:0"]}\n'
            f'apps: {{vod: {{origin: "{origin.url}"}}, live: {{}}}}\n'
        )

    def go(extra="", to=short_dir / "access.log"):
        f = launch(text(to, extra)).wait_ready()
        f.base, f.tls = f.urls("edge.listen")
        f.text, f.origin, f.access = text, origin, to
        return f

    return go


def lines(f, n):
    """The lines so far, when there are n of them."""

    def now():
        return f.access.read_text().splitlines() if f.access.exists() else []

    wait_for(lambda: len(now()) >= n)
    assert len(now()) == n
    return now()


def fields(line):
    """Of a text line, as if it were JSON."""
    time, *rest = shlex.split(line)
    found = dict(x.split("=", 1) for x in rest)
    assert len(found) == len(rest), line
    number = ("status", "bytes", "ttfb_us", "duration_us")
    return {"time": time} | {k: int(v) if k in number else v for k, v in found.items()}


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_request_is_one_line(pop, form):
    f = pop(f", access_format: {form}")
    read = json.loads if form == "json" else fields
    path = f"/vod/b/5000?{KEEP}"
    # one after the other: the lines of two loops have no order
    for n, method in enumerate(("GET", "GET", "HEAD"), 1):
        with Wire(f.base) as w:
            w.get(path, method=method)
            w.answer(method)
        lines(f, n)
    with H2(f.tls) as h:
        assert h.fetch(path)[0] == 200
    lines(f, 4)
    assert get(f.base + "/live/nobody/manifest.mpd")[0] == 404
    lines(f, 5)
    assert get(f.base + "/time")[0] == 200
    seen = [read(x) for x in lines(f, 6)]
    for one in seen:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
        assert one["peer"] == "127.0.0.1"
        assert one["close"] == "done"
        assert 0 <= one["ttfb_us"] <= one["duration_us"] < 20_000_000
    told = [[x[k] for k in ("proto", "tls", "method", "path", "status", "bytes", "cache")] for x in seen]
    assert told == [
        ["h1", "no", "GET", path, 200, 5000, "miss"],
        ["h1", "no", "GET", path, 200, 5000, "hit"],
        ["h1", "no", "HEAD", path, 200, 0, "hit"],
        ["h2", "yes", "GET", path, 200, 5000, "hit"],
        ["h1", "no", "GET", "/live/nobody/manifest.mpd", 404, 14, "-"],
        ["h1", "no", "GET", "/time", 200, 24, "-"],
    ]
    assert "cmcd" not in seen[0]
    get(f.urls("admin.listen")[0] + "/healthz")
    assert get(f.base + f"{path}&CMCD=bl%3D2100%2Csid%3D%22x%22")[0] == 200
    lines(f, 7)
    assert get(f.base + path, CMCD_Request="bl=1", CMCD_Session='sid="x y"')[0] == 200
    one, two = [read(x) for x in lines(f, 8)[6:]]  # and none of the admin port
    assert (one["path"], one["cmcd"]) == (path, "bl%3D2100%2Csid%3D%22x%22")
    assert two["cmcd"] == 'bl=1,sid="x y"'


def test_no_token_and_no_control_character_gets_into_it(pop):
    f = pop()
    token = f"1767225600-k1-{SECRET[:64]}"
    short = hashlib.sha256(token.encode()).hexdigest()[:8]
    with Wire(f.base) as w:
        for target in (
            f"/p/{token}/live/cam/manifest.mpd",
            f"/p/{token}/../x",
            f"/%70/{token}/live//",
            f"/p/%31{token[1:]}/live/cam/manifest.mpd",
            f"/live/cam/manifest.mpd?x=/p/{token}/&CMCD=nor%3D%22..%2Fp%2F{token}%2F1%22",
            f"/vod/x;/p/{token}",
        ):
            w.get(target)
            assert w.answer()[0] in (400, 404)
        w.get("/", f"CMCD-Object: nor=/p/{token}/x")
        w.answer()
    with Wire(f.base) as w:
        w.send(f"GET /p/{token}/\x01\x7f\"\\\xff HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
        w.end()
    with Wire(f.base) as w:
        w.send(f"BREW /p/{token}/x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        w.end()
    seen = lines(f, 9)
    whole = f.access.read_bytes()
    assert SECRET[:20] not in whole.decode()
    assert all(0x20 <= b < 0x7F or b == 0x0A for b in whole)
    assert fields(seen[0])["path"] == f"/p/~{short}/live/cam/manifest.mpd"
    assert fields(seen[3])["path"] == f"/p/~{short}/live/cam/manifest.mpd"  # in its one spelling
    assert fields(seen[7])["path"] == ""  # of a head that cannot be read, nothing is
    assert all("~" in x for x in seen[:7] + seen[8:])


def test_how_a_request_ended(pop):
    f = pop()
    slow = f"/vod/b/3000000?gate=never&at=2000000&{KEEP}"
    with Wire(f.base) as w:  # leaves while the body is on its way
        w.get(slow)
        w.head()
    (line,) = lines(f, 1)
    one = fields(line)
    assert (one["status"], one["cache"]) == (200, "miss")
    assert one["close"] in ("peer_fin", "peer_reset")
    assert one["bytes"] < 3000000
    with Wire(f.base) as w:  # before there is an answer
        w.get(f"/vod/b/10?gate=never2&{KEEP}")
        wait_for(lambda: f.origin.stats("/vod/b/10")["requests"] == 1)
        w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one = fields(lines(f, 2)[1])
    assert (one["status"], one["bytes"], one["close"]) == (0, 0, "peer_reset")
    assert "ttfb_us" not in one
    with H2(f.base) as h:
        stream = h.open(slow)
        h.wait(HEADERS, stream=stream)
        h.send(rst(stream))
        assert fields(lines(f, 3)[2])["close"] == "client"


def test_a_rotation_is_a_move_and_a_reload(pop):
    f = pop()
    url = f"{f.base}/vod/b/100?{KEEP}"
    assert get(url)[0] == 200
    lines(f, 1)
    moved = f.access.with_suffix(".1")
    f.access.rename(moved)
    assert get(url)[0] == 200
    wait_for(lambda: len(moved.read_text().splitlines()) == 2)
    assert f.cli("reload").returncode == 0
    assert get(url)[0] == 200
    lines(f, 1)
    assert len(moved.read_text().splitlines()) == 2
    wait_for(lambda: not [x for x in os.listdir(f"/proc/{f.proc.pid}/fd")
                          if os.path.exists(p := f"/proc/{f.proc.pid}/fd/{x}")
                          and os.readlink(p) == str(moved)])  # fmt: skip
    # off, and on again elsewhere
    f.write(f.text("off"))
    assert f.cli("reload").returncode == 0
    assert get(url)[0] == 200
    f.write(f.text("stderr", ", access_format: json"))
    assert f.cli("reload").returncode == 0
    assert get(url)[0] == 200
    f.wait_log('"path":"/vod/b/100?')
    lines(f, 1)


def test_what_cannot_be_opened_stops_the_reload(pop, short_dir):
    f = pop()
    os.mkfifo(short_dir / "nobody")
    for to, why in [
        ("/nonexistent/x", "No such file"),
        (short_dir, "Is a directory"),
        (short_dir / "nobody", "nobody reads this pipe"),
        ("access.log", "a path from the root"),
    ]:
        f.write(f.text(to))
        done = f.cli("reload")
        assert done.returncode == 1
        assert "log.access" in done.stderr and why in done.stderr
    assert get(f"{f.base}/vod/b/100?{KEEP}")[0] == 200
    lines(f, 1)


def test_a_reader_that_sleeps_holds_nobody_up(pop, short_dir):
    fifo = short_dir / "pipe"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    f = pop(to=fifo)
    url = f"{f.base}/vod/b/10?{KEEP}&x={'y_' * 200}"
    asked = 1
    while metric(f, "freshet_access_log_dropped_total") == 0:  # the queue and the pipe are full
        assert crowd(url, "--n", 500, "--size", 10)["ok"] == 500
        asked += 500
    assert get(url)[0] == 200
    dropped = metric(f, "freshet_access_log_dropped_total")
    os.set_blocking(end, True)
    got = []
    reader = threading.Thread(target=lambda: got.append(read_all(end)))
    reader.start()
    f.write(f.text("off"))
    assert f.cli("reload").returncode == 0  # the old one is closed when all is written
    reader.join()
    seen = got[0].decode().splitlines()
    assert len(seen) == asked - dropped  # what was taken is written, to the last line
    assert all(fields(x)["status"] == 200 for x in seen)


def read_all(fd):
    whole = b""
    while more := os.read(fd, 1 << 16):
        whole += more
    os.close(fd)
    return whole


def test_a_sample_is_a_part(pop):
    f = pop(", access_sample: 10")
    with Wire(f.base) as w:  # one connection, so one loop
        for _ in range(41):
            w.get(f"/vod/b/10?{KEEP}")
            w.answer()
    lines(f, 5)
