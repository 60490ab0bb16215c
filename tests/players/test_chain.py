"""The whole chain: a broadcaster on RTMPS, our encoder worker, MPEG-DASH over HTTP/2 and TLS, and
dash.js and Shaka Player that play it; in peace, and when something in the middle dies or stops.
"""

import os
import pathlib
import shutil
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from cable import Cable  # noqa: E402
from conftest import QUIET, get, launch, make_certificate, short_dir  # noqa: E402, F401
from live import Mpd, wait_mpd  # noqa: E402
from source import start  # noqa: E402
from watching import Listener, Watch, describe  # noqa: E402

MANIFEST = "/live/a/manifest.mpd"
pytest_plugins = ["again"]


class Diary(threading.Thread):
    """Every manifest that said something new, in short: for whoever reads of a failure."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.lines = []
        self._over = threading.Event()
        self.start()

    def run(self):
        last = None
        while not self._over.wait(0.1):
            status, _, text = get(self.url)
            line = self.shorten(text.decode()) if status == 200 else str(status)
            if line != last:
                self.lines.append(f"{round(time.time() * 1000)} {line}")
            last = line

    def shorten(self, text):
        mpd = Mpd(self.url, text)
        words = [mpd.type]
        for period, name, rep in mpd.reps():
            words.append(f"{period}/{name}")
            if rep.segments:
                (first, t0, _), (n, t, d) = rep.segments[0], rep.segments[-1]
                begin, end = ((x - rep.pto) / rep.timescale for x in (t0, t + d))
                words.append(f"{first}..{n}{' open' if rep.open else ''} {begin:.3f}..{end:.3f}")
        return " ".join(words)

    def stop(self):
        self._over.set()
        self.join()


class Stage:
    """A box with every part in it, and what a test has opened there."""

    def __init__(self, launch, short_dir):  # noqa: F811
        self.tmp = short_dir
        self.box = launch(
            QUIET + make_certificate(short_dir) + f"state_dir: {short_dir}/state\n"
            'ingest: {listen: ["rtmps://127.0.0.1:0"]}\n'
            "encode: {workers: 1}\n"
            'edge: {listen: ["http://127.0.0.1:0", "https://127.0.0.1:0"]}\n'
            "apps: {live: {publish: open}}\n"
        ).wait_ready()
        (door,) = self.box.urls("ingest.listen")
        self.cable = Cable("127.0.0.1", urlsplit(door).port)
        self.clear, self.tls = (x + MANIFEST for x in sorted(self.box.urls("edge.listen")))
        self.diary = Diary(self.clear)
        self.open = []
        self.epochs = []  # what the sources have said, for players that come later
        self.players = None

    def source(self, *args):
        """A broadcaster; what is known about its pictures goes to the players."""

        def tell(event):
            self.epochs.append(event)
            if self.players is not None:
                self.players.on_source(event)

        url = f"rtmps://127.0.0.1:{self.cable.port}/live/a"
        self.open.append(start(tell, "--publish", url, *args))
        return self.open[-1]

    def watch(self, **options):
        """Both players, as soon as there is something to play for them."""
        wait_mpd(self.clear, lambda m: m.latest() >= 2)
        self.players = Watch(self.tls, self.tmp, protocol="h2", **options)
        self.open.append(self.players)
        for event in list(self.epochs):
            self.players.on_source(event)
        return self.players

    def listener(self, seconds):
        self.open.append(Listener(self.tls, seconds))
        return self.open[-1]

    def workers(self):
        tasks = pathlib.Path(f"/proc/{self.box.proc.pid}/task").iterdir()
        return [int(pid) for t in tasks for pid in (t / "children").read_text().split()]

    def end(self):
        for one in reversed(self.open):
            one.end()
        self.cable.stop()
        self.diary.stop()
        print("\n".join(self.diary.lines))
        if self.players is not None:
            print(*(e for e in self.players.events if e["event"] != "report"), sep="\n")


@pytest.fixture
def stage(launch, short_dir, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TMPDIR", str(short_dir))  # the browser's
    for tool in ("node", "ffmpeg"):
        assert shutil.which(tool), f"{tool} is not installed"
    assert (HERE / "node_modules/playwright-core").is_dir(), f"npm ci was not run in {HERE}"
    s = Stage(launch, short_dir)
    yield s
    s.end()


def test_what_is_broadcast_is_seen_two_seconds_later(stage):
    stage.source()
    watch = stage.watch(seconds=30)
    watch.wait_all("steady", 60)
    third = stage.listener(10)
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
    for player in report["players"].values():
        assert player["size"] == [640, 360]
        assert (player["periods"], player["jumps"]) == (["p0"], 0)
        assert player["glass_s"] is not None, "the latency was measured, not only believed"
    status, said, pictures = third.result()
    assert (status, said) == (0, "")
    assert pictures > 200  # it joins picture and sound at different segments


# What goes wrong, each thing from the fault to the moment at which it is as if it had never been.


def kill_the_worker(stage, watch):
    (worker,) = stage.workers()
    watch.mark("death")
    os.kill(worker, signal.SIGKILL)
    watch.wait_all("caught_up", 20, mark="death")
    assert worker not in stage.workers()


def cut_the_broadcaster_off(stage, watch, source, *args):
    """For three seconds; returns the one that comes back."""
    stage.cable.cut()
    source.wait(10)
    time.sleep(3)  # away
    watch.mark("back")
    source = stage.source("--first-frame", 10000, *args)
    watch.wait_all("recovered", 30, mark="back")
    watch.wait_all("caught_up", 20, mark="back")
    return source


def freeze_the_broadcaster(watch, source):
    source.freeze()
    time.sleep(5)  # long after the second that makes it a silence
    watch.mark("thaw")
    source.thaw()
    watch.wait_all("recovered", 30, mark="thaw")
    watch.wait_all("caught_up", 20, mark="thaw")


def peace(watch):
    """The report, when two more seconds have gone as if nothing had ever happened."""
    watch.mark("after")
    watch.wait_all("recovered", 20, mark="after")
    report = watch.report()
    assert report["ok"], describe(report)
    for player in report["players"].values():
        after = player["phases"]["after"]
        assert (after["waiting"], after["errors"]) == (0, []) and after["gap_ms"] < 1000, after
        assert after["glass_s"] < 2.5, after
    return report["players"].values()


# Nothing is made while a broadcaster is away, and it takes a moment to begin; players wait that long,
# go on with what is newest, and slow down from there; where a source begins anew its time is measured
# anew.
AWAY = {"max_gap": 9000, "max_waiting": 4, "max_ranges": 2, "max_early": 1.5, "max_spread": 50,
        "max_speed_off": 0.2}  # fmt: skip


def test_players_live_through_one_fault_after_the_other(stage):
    source = stage.source()
    watch = stage.watch(**{**AWAY, "max_waiting": 8, "max_ranges": 3})
    watch.wait_all("steady", 60)
    kill_the_worker(stage, watch)
    source = cut_the_broadcaster_off(stage, watch, source)
    freeze_the_broadcaster(watch, source)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1", "p2"], 1)


@pytest.mark.long
def test_nobody_sees_that_a_worker_was_killed(stage):
    stage.source()
    watch = stage.watch(max_gap=2000)
    watch.wait_all("steady", 60)
    kill_the_worker(stage, watch)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0"], 0), "a takeover opens no Period"


@pytest.mark.long
def test_players_follow_a_broadcaster_who_comes_back(stage):
    first = stage.source()
    watch = stage.watch(**AWAY)
    watch.wait_all("steady", 60)
    cut_the_broadcaster_off(stage, watch, first)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 1)


@pytest.mark.long
def test_who_comes_back_with_a_backlog_does_not_stay_late(stage):
    first = stage.source()
    watch = stage.watch(**AWAY)
    watch.wait_all("steady", 60)
    # five seconds of it, all at once: only its end is played, and as late as everything else
    cut_the_broadcaster_off(stage, watch, first, "--late", 5)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 1)


@pytest.mark.long
def test_players_go_on_after_a_broadcaster_who_was_frozen(stage):
    source = stage.source()
    watch = stage.watch(**AWAY)
    watch.wait_all("steady", 60)
    freeze_the_broadcaster(watch, source)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 0)
