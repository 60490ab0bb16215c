"""From a real encoder over RTMP to a real player over DASH, and what must not stop it."""

import datetime
import http.client
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from boxes import boxes
from conftest import PATIENCE, ROOT, get, make_certificate, metric, wait_for
from live import FFMPEG, FPS, Publisher, check_media, play, wait_mpd

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


class Box:
    """All in one process, and where its doors are."""

    def __init__(self, launch, short_dir, workers=1, name="a", more="",
                 apps="live: {publish: open}", ingest="", encode=""):  # fmt: skip
        self.freshet = launch(
            make_certificate(short_dir)
            + f"state_dir: {short_dir}/{name}-state\n"
            + "loops: 2\n"
            + 'admin: {listen: ["127.0.0.1:0"]}\n'
            + 'ingest: {listen: ["rtmp://127.0.0.1:0", "rtmps://127.0.0.1:0"]'
            + f"{ingest}}}\nencode: {{workers: {workers}{encode}}}\n"
            + 'edge: {listen: ["http://127.0.0.1:0", "https://127.0.0.1:0"]}\n'
            + f"apps: {{{apps}}}\n"
            + more,
            name,
        ).wait_ready()
        self.rtmp, self.rtmps = sorted(self.freshet.urls("ingest.listen"))
        self.http, self.https = sorted(self.freshet.urls("edge.listen"))

    def into(self, name, scheme="rtmp"):
        return f"{self.rtmps if scheme == 'rtmps' else self.rtmp}/live/{name}"

    def mpd(self, name):
        return f"{self.http}/live/{name}/manifest.mpd"

    def workers(self):
        """Pids of its children."""
        pid = self.freshet.proc.pid
        out = []
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            out += map(int, (task / "children").read_text().split())
        return out

    def kill_workers(self):
        """All of them, and waits until there are as many new ones."""
        old = self.workers()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(self.workers()) == len(old) and not set(old) & set(self.workers()))


@pytest.fixture
def box(launch, short_dir):
    return lambda **kw: Box(launch, short_dir, **kw)


@pytest.fixture
def publish():
    """publish(url, seconds) -> a Publisher that is ended with the test."""
    started = []

    def go(*args):
        started.append(Publisher(*args))
        return started[-1]

    yield go
    for p in started:
        p.end()


SECONDS = 18  # longer than a player needs that begins two segments late


def about(frames, seconds):
    """AAC frames of 1024 samples; an encoder adds a few at either end."""
    return abs(frames - seconds * 48000 / 1024) < 5


def number_of(mpd):
    return mpd.latest()


def begin_of(mpd, period):
    """Wall clock."""
    start = re.search(rf'<Period id="{period}" start="PT([0-9.]+)S"', mpd.text)[1]
    return datetime.datetime.fromisoformat(mpd.ast).timestamp() + float(start)


def schema_says(mpd, directory):
    """What xmllint complains about; "": nothing, or it is not here."""
    folder = ROOT.parent / "shared/dash-schema"
    if shutil.which("xmllint") is None or not (folder / "DASH-MPD.xsd").exists():
        print("the manifests were not held against the schema: it is not here")
        return ""
    path = directory / "check.mpd"
    path.write_text(mpd.text)
    r = subprocess.run(
        ["xmllint", "--noout", "--nonet", "--schema", folder / "DASH-MPD.xsd", path],
        capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    return "" if r.returncode == 0 else r.stderr


def test_what_is_published_plays_live_and_afterwards(box, publish, short_dir):
    b = box()
    streams = {
        "clear": ("rtmp",),
        "secret": ("rtmps",),
        "extended": ("rtmp", "-output_ts_offset", "16777"),  # 24 bits end 215 ms later
        "wrapping": ("rtmp", "-output_ts_offset", "4294960"),  # 32 bits end 7.3 s later
    }
    for name, (scheme, *more) in streams.items():
        publish(b.into(name, scheme), SECONDS, *more)
    with ThreadPoolExecutor() as pool:
        # from the first chunk on both segments in progress are listed, promised
        early = lambda m: all(r.open for _, _, r in m.reps())  # noqa: E731
        for m in pool.map(lambda n: wait_mpd(b.mpd(n), early), streams):
            assert [r.segments[0][0] for _, _, r in m.reps()] == [number_of(m)] * 2
            assert schema_says(m, short_dir) == ""
        # as much as ffmpeg plays below: at the live edge its demuxer takes a number for an index
        # (the tests of players have those that can do it)
        live = list(pool.map(lambda n: wait_mpd(b.mpd(n), lambda m: number_of(m) >= 4), streams))
        for m in live:
            assert m.type == "dynamic"
            assert schema_says(m, short_dir) == ""
        page = b.mpd("secret").replace(b.http, b.https)
        seen = list(pool.map(lambda u: play(u, 6), [b.mpd("clear"), page]))
        assert all(n >= 6 * FPS - 2 for n in seen), seen
        ends = list(pool.map(lambda n: wait_mpd(b.mpd(n), lambda m: m.type == "static"), streams))
        samples = list(pool.map(check_media, ends))
        for name, m, before, s in zip(streams, ends, live, samples):
            assert schema_says(m, short_dir) == ""
            assert m.ast == before.ast and list(m.periods) == ["p0"], name
            assert s["v0"] == SECONDS * FPS, (name, s)
            assert about(s["a0"], SECONDS), (name, s)
        seen = list(pool.map(lambda n: play(b.mpd(n)), streams))
        assert seen == [s["v0"] for s in samples]


def test_workers_that_are_killed_leave_no_gap(box, publish):
    one, two = box(workers=1, name="a"), box(workers=2, name="b")
    publish(one.into("once"), 9)
    publish(two.into("x"), 9)
    publish(two.into("y"), 9)
    pages = [one.mpd("once"), two.mpd("x"), two.mpd("y")]
    for p in pages:
        wait_mpd(p, lambda m: number_of(m) >= 2)
    one.kill_workers()
    two.kill_workers()
    one.kill_workers()  # before the first new one can have said much
    before = {p: number_of(wait_mpd(p, lambda m: m.type == "dynamic")) for p in pages}
    for p in pages:
        wait_mpd(p, lambda m, p=p: number_of(m) > before[p])
    two.kill_workers()
    for p in pages:
        m = wait_mpd(p, lambda m: m.type == "static")
        assert list(m.periods) == ["p0"], "a takeover opens no Period"
        s = check_media(m)
        assert s["v0"] == 9 * FPS and about(s["a0"], 9), s
        numbers = [n for n, _, _ in m.periods["p0"]["v0"].segments]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert play(p) == 9 * FPS


def test_a_publisher_that_comes_back_goes_on_in_a_new_period(box, publish):
    b = box()
    crashed, frozen = publish(b.into("crash")), publish(b.into("freeze"))
    first = wait_mpd(b.mpd("crash"), lambda m: number_of(m) >= 2)
    for name in ("crash", "freeze"):
        wait_mpd(b.mpd(name), lambda m: m.periods["p0"]["a0"].open)
    crashed.send(signal.SIGKILL)
    frozen.send(signal.SIGSTOP)
    at = time.monotonic()

    # what is open is closed by and by, for a player that reads it would wait for ever
    for name in ("crash", "freeze"):
        m = wait_mpd(b.mpd(name), lambda m: not any(r.open for _, _, r in m.reps()))
        assert 0.5 < time.monotonic() - at < 2.5, "about a second after the last tag"
        assert m.type == "dynamic"
        check_media(m)
    wait_for(lambda: time.monotonic() - at > 3)
    publish(b.into("crash"), 5)
    wait_for(lambda: time.monotonic() - at > 5)
    thaw = time.time()
    frozen.send(signal.SIGCONT)

    m = wait_mpd(b.mpd("crash"), lambda m: "p1" in m.periods and len(m.periods) == 2)
    assert m.type == "dynamic" and m.ast == first.ast
    assert m.reps()[0][2].url(1) == first.reps()[0][2].url(1), "the same session"
    assert m.periods["p1"]["v0"].segments[0][0] > m.periods["p0"]["v0"].segments[-1][0]
    m = wait_mpd(b.mpd("freeze"), lambda m: "p1" in m.periods)
    assert begin_of(m, "p1") > thaw - 2.5, "what is older than players are behind is not played"
    b.freshet.wait_log("late after a silence", "stream=live/freeze")
    assert metric(b.freshet, "freshet_ingest_frames_dropped_total", media="video") > 30
    m = wait_mpd(b.mpd("crash"), lambda m: m.type == "static")
    assert check_media(m)["v0"] >= 5 * FPS
    frozen.send(signal.SIGINT)
    assert frozen.wait()[1] == ""
    m = wait_mpd(b.mpd("freeze"), lambda m: m.type == "static")
    check_media(m)
    assert m.ast and list(m.periods)[:2] == ["p0", "p1"]


def test_the_newest_publisher_takes_a_name_over(box, publish):
    b = box()
    old = publish(b.into("show"))
    first = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 2)
    publish(b.into("show"), 4)
    status, _ = old.wait()
    assert status != 0, "the old one is closed"
    b.freshet.wait_log("closed", "reason=replaced", "stream=show")
    m = wait_mpd(b.mpd("show"), lambda m: m.type == "static")
    assert m.ast == first.ast and list(m.periods) == ["p0", "p1"]
    assert check_media(m)["v0"] >= 4 * FPS


def test_the_next_segment_is_held_and_others_are_refused(box, publish):
    b = box(more="origin: {window: 6s}\n")
    publish(b.into("show"))
    m = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 2)
    rep = m.periods["p0"]["v0"]
    n = number_of(m)
    ready = threading.Barrier(3)

    def follow(number):
        """When the head came, when the last byte, and all of them."""
        u = urlsplit(rep.url(number))
        c = http.client.HTTPConnection(u.hostname, u.port, timeout=PATIENCE)
        c.connect()
        ready.wait()
        c.request("GET", u.path)
        r = c.getresponse()
        head = time.monotonic()
        body = r.read()
        c.close()
        return r.status, head, time.monotonic(), body

    with ThreadPoolExecutor() as pool:
        # connections are spread over the loops by the kernel: two viewers, and a third to be sure
        views = [pool.submit(follow, n + 2) for _ in range(3)]
        wait_mpd(b.mpd("show"), lambda m: number_of(m) >= n + 2)
        got = [v.result() for v in views]
    # n + 2 may have been too far ahead for a moment at the very beginning
    good = [g for g in got if g[0] == 200]
    assert {g[0] for g in got} <= {200, 404}
    n = number_of(wait_mpd(b.mpd("show"), lambda m, n=n: number_of(m) > n))
    with ThreadPoolExecutor() as pool:
        views = [pool.submit(follow, n + 1) for _ in range(3)]
        good += [v.result() for v in views]
    tail = good[-3:]
    assert [g[0] for g in tail] == [200] * 3
    assert tail[0][3] == tail[1][3] == tail[2][3]
    assert [k for k, _, _ in boxes(tail[0][3])].count("moof") > 5
    assert all(end - head > 1.0 for _, head, end, _ in tail), "it comes as it is made"
    assert get(rep.url(number_of(wait_mpd(b.mpd("show"), bool)) + 20))[0] == 404
    wait_for(lambda: get(rep.url(1))[0] != 200)
    assert get(rep.url(1))[0] == 410
    assert get(rep.url(number_of(wait_mpd(b.mpd("show"), bool)) - 1))[0] == 200


def gone(pids):
    return all(not pathlib.Path(f"/proc/{p}").exists() or
               pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
               for p in pids)  # fmt: skip


def test_it_ends_under_load_and_takes_its_workers_along(box, publish):
    b = box(workers=2)
    names = [f"s{i}" for i in range(10)]
    for i, name in enumerate(names):
        publish(b.into(name, "rtmps" if i % 2 else "rtmp"))
    for name in names:
        wait_mpd(b.mpd(name), lambda m: number_of(m) >= 1, PATIENCE * 2)
    stop = threading.Event()

    def watch(name):
        while not stop.is_set():
            try:
                m = wait_mpd(b.mpd(name), lambda m: number_of(m) >= 1, 1)
                get(m.periods["p0"]["v0"].url(number_of(m)))
            except (AssertionError, OSError, http.client.HTTPException):
                return

    viewers = [threading.Thread(target=watch, args=(n,)) for n in names]
    for v in viewers:
        v.start()
    workers = b.workers()
    assert len(workers) == 2
    wait_mpd(b.mpd("s0"), lambda m: number_of(m) >= 2)
    assert b.freshet.stop() == 0, "\n".join(b.freshet.log[-30:])
    stop.set()
    for v in viewers:
        v.join(PATIENCE)
    assert gone(workers)


def test_workers_die_with_a_daemon_that_is_killed(box, publish):
    b = box(workers=2)
    publish(b.into("show"))
    wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 1)
    workers = b.workers()
    assert len(workers) == 2
    b.freshet.stop(signal.SIGKILL)
    wait_for(lambda: gone(workers))
