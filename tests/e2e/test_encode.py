"""freshet-encode as the home uses it: over its socket, killed, resumed, and with hostile peers."""

import base64
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest

import boxes
import flv
from conftest import FRESHET, PATIENCE

ENCODE = os.environ.get("FRESHET_ENCODE_BIN", str(pathlib.Path(FRESHET).with_name("freshet-encode")))
AST = 1760000000
ANCHOR_US = (AST + 3) * 1000000
KINDS = {1: "period", 2: "init", 3: "open", 4: "chunk", 5: "close", 6: "health"}

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or not os.path.exists(ENCODE), reason="no ffmpeg, no worker"
)


class Worker:
    """A freshet-encode on a socket of ours."""

    def __init__(self, directory, *args):
        self.path = directory / "worker.sock"
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(self.path))
        self.sock.listen(64)
        self.args = args
        self.proc = None
        self.start()

    def start(self):
        """Again after a kill, on the same socket, as the supervisor does it."""
        fd = self.sock.fileno()
        self.proc = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{fd}', ENCODE, *self.args], pass_fds=[fd]
        )

    def kill(self):
        self.proc.kill()
        self.proc.wait(PATIENCE)

    def close(self):
        self.proc.send_signal(signal.SIGTERM)
        try:
            assert self.proc.wait(PATIENCE) == 0
        finally:
            self.proc.kill()
            self.sock.close()


@pytest.fixture
def worker(short_dir):
    w = Worker(short_dir, "-t", "2")
    yield w
    w.close()


LADDER = {"copy": True, "segment": 2000, "chunk": 200}


def headers(**change):
    h = {
        "freshet-session": "kz3f0a1b2c3d4",
        "freshet-ast": AST,
        "freshet-ladder": json.dumps(LADDER),
        "freshet-period": json.dumps({"k": 0, "number": 0, "start": 0}),
    }
    h.update({"freshet-" + k: v for k, v in change.items()})
    return [x for k, v in h.items() if v is not None for x in ("-H", f"{k}: {v}")]


def curl(worker, *args, name="live/show", upload="."):
    # NB: with -s it would not wake up again after an empty stdin
    cmd = ["curl", "-N", "--http2-prior-knowledge", "--unix-socket", str(worker.path)]
    cmd += ["-X", "POST", "-H", "Expect:", "-T", upload, *args]
    return cmd + [f"http://worker/_encode/{name}"]


def encode(worker, body, **change):
    done = subprocess.run(
        curl(worker, *headers(**change), upload="-"), input=body, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return list(records(done.stdout))


def records(data):
    """(kind, json, bytes) of each whole record."""
    at, seq = 0, 0
    while len(data) - at >= 4:
        length = int.from_bytes(data[at : at + 4], "big")
        if len(data) - at < 4 + length:
            return
        kind, flags, zero, number, n = struct.unpack_from(">BBHQH", data, at + 4)
        seq += 1
        assert (flags, zero, number) == (0, 0, seq)
        text = data[at + 18 : at + 18 + n]
        yield KINDS[kind], json.loads(text), data[at + 18 + n : at + 4 + length]
        at += 4 + length


def media(recs):
    """{(period k, rep): (init, {number: bytes})}, as the home would keep it; and the Periods."""
    out, periods, k, closed = {}, {}, None, set()
    for kind, j, data in recs:
        if kind == "period":
            k = j["k"]
            periods[k] = dict(j)
        elif kind == "init":
            out[k, j["rep"]] = (data, {})
            periods[k][j["rep"]] = j
        elif kind == "chunk":
            segments = out[k, j["rep"]][1]
            assert (j["rep"], j["n"]) not in closed
            segments[j["n"]] = segments.get(j["n"], b"") + data
        elif kind == "close":
            closed.add((j["rep"], j["n"]))
    return out, periods


def check(recs, directory):
    """Everything that can be said of a stream without knowing what is in it."""
    tracks, periods = media(recs)
    found = {}
    for (k, rep), (init, segments) in tracks.items():
        p = periods[k]
        c = boxes.Checker(init, AST, p["reps"][rep]["pto"])
        numbers = list(segments)
        assert numbers == list(range(p["reps"][rep]["number"], numbers[-1] + 1))
        for data in segments.values():
            c.segment(data)
        ends = {j["n"]: j["d"] for kind, j, _ in recs if kind == "close" and j["rep"] == rep}
        for n, (t, end) in zip(numbers, c.segments):
            assert ends[n] == end - t
        path = directory / f"{rep}-{k}.mp4"
        path.write_bytes(init + b"".join(segments.values()))
        done = subprocess.run(
            ["ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
        found[k, rep] = (c, path)
    return found, periods


def pictures(path):
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )
    return [x.split(",")[-1].strip() for x in done.stdout.splitlines() if not x.startswith("#")]


@pytest.mark.parametrize(
    "rate,bf,sample_rate,gop",
    [
        ("25", 0, 48000, 50),
        ("25", 2, 44100, 25),
        ("30", 0, 44100, 60),
        ("30", 2, 48000, 60),
        ("30000/1001", 0, 48000, 60),
        ("30000/1001", 2, 44100, 45),
    ],
)
def test_what_comes_out_is_what_went_in(worker, short_dir, rate, bf, sample_rate, gop):
    source = flv.make(short_dir / "in.flv", rate=rate, bf=bf, sample_rate=sample_rate, gop=gop)
    body = b"".join(flv.broadcast(flv.tags(source), ANCHOR_US))
    recs = encode(worker, body)
    found, periods = check(recs, short_dir)
    assert sorted(found) == [(0, "a0"), (0, "v0")]
    video, path = found[0, "v0"]
    sent = [t for t in flv.tags(source) if t[0] == flv.VIDEO and t[2][1] == 1]
    assert video.samples == len(sent)
    assert video.init.size == (320, 180)
    assert pictures(path) == pictures(source)
    first_ms = sent[0][1] + int.from_bytes(sent[0][2][2:5], "big")
    assert periods[0]["start"] == 3000 + first_ms
    assert video.segments[0][0] == (3000 + first_ms) * 90
    audio = found[0, "a0"][0]
    assert audio.init.timescale == sample_rate
    assert abs(audio.segments[0][0] / sample_rate - 3 - first_ms / 1000) < 0.025
    again = encode(worker, body)
    same = [r for r in again if r[0] != "health"] == [r for r in recs if r[0] != "health"]
    assert same


class Feed:
    """An exchange in the middle: the body so far has gone in, what comes back is read here."""

    def __init__(self, worker, body, **change):
        self.proc = subprocess.Popen(
            curl(worker, *headers(**change)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, bufsize=0,
        )
        self.got = b""
        self.taken = False  # all of the body
        self.no_more = threading.Event()
        self.thread = threading.Thread(target=self._write, args=(body,), daemon=True)
        self.thread.start()

    def _write(self, body):
        at = 0
        try:
            while at < len(body):
                at += os.write(self.proc.stdin.fileno(), body[at : at + 65536])
            self.taken = True
            self.no_more.wait()
        except BrokenPipeError:
            pass
        self.proc.stdin.close()

    def read_until(self, enough):
        while not enough(list(records(self.got))):
            ready, _, _ = select.select([self.proc.stdout], [], [], PATIENCE)
            assert ready, "the worker says nothing"
            more = os.read(self.proc.stdout.fileno(), 65536)
            assert more, "the worker has gone"
            self.got += more
        return list(records(self.got))

    def rest(self):
        self.no_more.set()
        while more := self.proc.stdout.read(65536):
            self.got += more
        self.proc.wait(PATIENCE)
        self.thread.join(PATIENCE)
        return list(records(self.got))

    def end(self):
        self.no_more.set()
        self.proc.kill()
        self.proc.wait(PATIENCE)
        self.proc.stdout.close()


def resume_of(recs):
    """What the home does: the states, and the first tag that is needed."""
    states, need, period = {}, {}, None
    for kind, j, _ in recs:
        if kind == "period":
            period = j
            need = {rep: j["next_tag"] for rep in j["reps"]}
        elif kind == "chunk":
            states[j["rep"]] = j["state"]
            need[j["rep"]] = j["next_tag"]
    text = base64.b64encode(json.dumps(states).encode()).decode()
    return text, min(need.values())


@pytest.mark.parametrize("chunks", [1, 9, 23, 40])
def test_killed_and_resumed_inside_a_segment(worker, short_dir, chunks):
    source = flv.tags(flv.make(short_dir / "in.flv", seconds=8, bf=2, sample_rate=44100))
    pieces = flv.broadcast(source, ANCHOR_US)
    whole, _ = media(encode(worker, b"".join(pieces)))
    feed = Feed(worker, b"".join(pieces[: len(pieces) * 3 // 4]))
    feed.read_until(lambda recs: [k for k, _, _ in recs].count("chunk") >= chunks)
    worker.kill()
    before = feed.rest()
    feed.end()
    # the last ones that were whole; as many as the test wants
    seen = [i for i, r in enumerate(before) if r[0] == "chunk"][chunks - 1]
    before = before[: seen + 1]
    worker.start()
    state, first = resume_of(before)
    after = encode(worker, b"".join(flv.broadcast(source, ANCHOR_US, first)), resume=state)
    assert not [r for r in after if r[0] in ("period", "init")]
    joined = {}
    for kind, j, data in before + after:
        if kind == "chunk":
            joined.setdefault(j["rep"], {}).setdefault(j["n"], []).append(data)
    for rep, segments in joined.items():
        same = {n: b"".join(d) for n, d in segments.items()} == whole[0, rep][1]
        assert same, rep


def test_a_reconnect_opens_a_period_with_rising_numbers(worker, short_dir):
    one = flv.tags(flv.make(short_dir / "1.flv", seconds=5))
    two = flv.tags(flv.make(short_dir / "2.flv", seconds=4, bf=2, size="640x360"))
    body = flv.broadcast(one, ANCHOR_US)
    body.append(flv.mark(len(one) + 1, 7000, ANCHOR_US, discontinuity=True))
    body += [flv.tag(k, ms + 7000, b) for k, ms, b in two]
    found, periods = check(encode(worker, b"".join(body)), short_dir)
    assert sorted(found) == [(0, "a0"), (0, "v0"), (1, "a0"), (1, "v0")]
    assert found[1, "v0"][0].init.size == (640, 360)
    assert periods[1]["start"] >= 10000
    assert periods[1]["reps"]["v0"]["number"] == periods[1]["start"] // 2000 + 2
    assert found[0, "v0"][0].segments[-1][1] <= periods[1]["start"] * 90


def test_what_a_stream_is_refused_for_is_said(worker, short_dir):
    source = flv.tags(flv.make(short_dir / "in.flv", seconds=25, rate="5", gop=1000))
    recs = encode(worker, b"".join(flv.broadcast(source, ANCHOR_US)))
    assert recs[-1][0] == "health" and "key frame" in recs[-1][1]["refused"]
    assert [r[0] for r in recs].count("close") >= 2
    recs = encode(worker, b"this is no FLV at all")
    assert recs[-1][1]["refused"] == "this is not FLV"


@pytest.mark.parametrize(
    "status,name,change",
    [
        (404, "live", {}),
        (404, "live/../show", {}),
        (404, "live/" + "x" * 65, {}),
        (404, "-live/show", {}),
        (400, "live/show", {"session": "short"}),
        (400, "live/show", {"ast": "12a"}),
        (400, "live/show", {"ast": None}),
        (400, "live/show", {"ladder": "{}"}),
        (400, "live/show", {"ladder": '{"copy":true,"segment":2000,"chunk":4000}'}),
        (400, "live/show", {"period": '{"k":-1,"number":0,"start":0}'}),
        (400, "live/show", {"resume": "!!!!"}),
        (400, "live/show", {"resume": base64.b64encode(b"[]..").decode()}),
        (501, "live/show", {"ladder": '{"segment":2000,"chunk":200}'}),
    ],
)
def test_a_head_that_makes_no_exchange(worker, status, name, change):
    done = subprocess.run(
        curl(worker, "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", *headers(**change),
             name=name, upload="-"),
        input=b"", capture_output=True, text=False, timeout=PATIENCE,
    )
    assert done.stdout.decode() == str(status)


def test_no_more_streams_than_it_was_told(short_dir):
    w = Worker(short_dir, "--streams", "1")
    source = flv.tags(flv.make(short_dir / "in.flv", seconds=3))
    body = b"".join(flv.broadcast(source, ANCHOR_US))
    first = Feed(w, body)
    first.read_until(lambda recs: len(recs) > 3)
    done = subprocess.run(
        curl(w, "-o", "/dev/null", "-w", "%{http_code}", *headers(), upload="-"), input=body,
        capture_output=True, timeout=PATIENCE,
    )
    assert done.stdout == b"503"
    assert first.rest()[-1][0] in ("close", "health")
    first.end()
    assert encode(w, body)  # there is room again
    w.close()


def test_a_home_that_does_not_read_stops_only_itself(worker, short_dir):
    source = flv.tags(flv.make(short_dir / "in.flv", seconds=6))
    filler = (400000).to_bytes(4, "big") + b"\x0c" + bytes([255]) * 399998 + b"\x80"
    heavy = [(k, ms, b + filler if k == flv.VIDEO and b[1] == 1 else b) for k, ms, b in source]
    body = b"".join(flv.broadcast(heavy, ANCHOR_US))
    assert len(body) > 60e6
    feed = Feed(worker, body)  # and nobody reads
    recs = encode(worker, b"".join(flv.broadcast(source, ANCHOR_US)))
    assert sorted(check(recs, short_dir)[0]) == [(0, "a0"), (0, "v0")]
    assert not feed.taken
    status = pathlib.Path(f"/proc/{worker.proc.pid}/status").read_text()
    if os.environ.get("FRESHET_BUILD", "dev") in ("dev", "release"):
        assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 100 * 1024
    whole, _ = media(feed.rest())
    assert sum(map(len, whole[0, "v0"][1].values())) > 60e6
    feed.end()


def test_it_gives_up_what_it_does_not_need(worker, short_dir):
    encode(worker, b"")  # it is past its start
    proc = pathlib.Path(f"/proc/{worker.proc.pid}")
    assert re.search(r"NoNewPrivs:\s+1", (proc / "status").read_text())
    limits = (proc / "limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    assert re.search(r"Max open files\s+256\s+256", limits)
    if os.environ.get("FRESHET_BUILD", "dev") in ("dev", "release"):
        assert not re.search(r"Max address space\s+unlimited", limits)


def sanitized():
    binary = pathlib.Path(ENCODE).read_bytes()
    return b"__asan_init" in binary or b"__tsan_init" in binary


@pytest.mark.skipif(sanitized(), reason="a sanitizer needs more than the sandbox allows")
def test_all_its_threads_are_in_the_sandbox(worker, short_dir):
    body = b"".join(flv.broadcast(flv.tags(flv.make(short_dir / "1.flv", seconds=5)), ANCHOR_US))
    assert sorted(check(encode(worker, body), short_dir)[0]) == [(0, "a0"), (0, "v0")]
    tasks = list(pathlib.Path(f"/proc/{worker.proc.pid}/task").iterdir())
    assert len(tasks) >= 3
    for task in tasks:
        assert re.search(r"^Seccomp:\s2$", (task / "status").read_text(), re.M), task


def test_it_dies_with_its_parent(short_dir):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(short_dir / "s"))
    sock.listen(8)
    parent = subprocess.Popen(
        ["bash", "-c", f'"{ENCODE}" -l info 3<&{sock.fileno()} & echo $!; wait'],
        pass_fds=[sock.fileno()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    pid = int(parent.stdout.readline())
    handle = os.pidfd_open(pid)
    assert "ready" in parent.stderr.readline()
    parent.kill()
    parent.wait(PATIENCE)
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)
    parent.stdout.close()
    parent.stderr.close()
    sock.close()


def test_it_wants_its_socket():
    done = subprocess.run([ENCODE], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "descriptor 3" in done.stderr
    done = subprocess.run([ENCODE, "--threads", "0"], capture_output=True, text=True)
    assert done.returncode == 2
    done = subprocess.run([ENCODE, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout
