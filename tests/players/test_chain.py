"""The whole chain: a broadcaster on RTMPS, our encoder worker, MPEG-DASH over HTTP/2 and TLS, and
dash.js and Shaka Player that play it; in peace, and when something in the middle dies or stops.
"""

import pathlib
import sys
import time
from urllib.parse import urlsplit

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from cable import Cable  # noqa: E402
from conftest import QUIET, launch, make_certificate, short_dir  # noqa: E402, F401
from stage import AWAY, Stage, kill_the_worker, newcomers, peace  # noqa: E402
from watching import describe  # noqa: E402

pytest_plugins = ["again"]


class Box(Stage):
    """With every part in one process."""

    def __init__(self, launch, short_dir):  # noqa: F811
        self.box = launch(
            QUIET + make_certificate(short_dir) + f"state_dir: {short_dir}/state\n"
            'ingest: {listen: ["rtmps://127.0.0.1:0"]}\n'
            "encode: {workers: 1}\n"
            'edge: {listen: ["http://127.0.0.1:0", "https://127.0.0.1:0"]}\n'
            "apps: {live: {publish: open}}\n"
        ).wait_ready()
        (door,) = self.box.urls("ingest.listen")
        self.cable = Cable("127.0.0.1", urlsplit(door).port)
        clear, tls = sorted(self.box.urls("edge.listen"))
        super().__init__(short_dir, clear, tls, f"rtmps://127.0.0.1:{self.cable.port}", self.box)

    def end(self):
        super().end()
        self.cable.stop()


@pytest.fixture
def stage(launch, short_dir, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TMPDIR", str(short_dir))  # the browser's
    s = Box(launch, short_dir)
    yield s
    s.end()


def test_what_is_broadcast_is_seen_two_seconds_later(stage):
    stage.source()
    watch = stage.watch()
    watch.settle()
    watch.calm(20)
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


def test_players_live_through_one_fault_after_the_other(stage):
    source = stage.source()
    watch = stage.watch(**{**AWAY, "max_waiting": 8, "max_ranges": 3})
    watch.settle()
    kill_the_worker(stage, watch)
    source = cut_the_broadcaster_off(stage, watch, source)
    freeze_the_broadcaster(watch, source)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1", "p2"], 1)
    for player in newcomers(stage):
        assert (player["periods"], player["jumps"]) == (["p2"], 0)


@pytest.mark.long
def test_pictures_in_long_segments_and_sound_in_short_ones(stage):
    stage.source("--gop", 250 / 30)  # OBS, as it comes
    stage.mpd(lambda m: m.latest() >= 2)
    for player in newcomers(stage):
        assert (player["periods"], player["jumps"]) == (["p0"], 0)


@pytest.mark.long
def test_nobody_sees_that_a_worker_was_killed(stage):
    stage.source()
    watch = stage.watch(max_gap=2000)
    watch.settle()
    kill_the_worker(stage, watch)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0"], 0), "a takeover opens no Period"


@pytest.mark.long
def test_players_follow_a_broadcaster_who_comes_back(stage):
    first = stage.source()
    watch = stage.watch(**AWAY)
    watch.settle()
    cut_the_broadcaster_off(stage, watch, first)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 1)


@pytest.mark.long
def test_who_comes_back_with_a_backlog_does_not_stay_late(stage):
    first = stage.source()
    watch = stage.watch(**AWAY)
    watch.settle()
    # five seconds of it, all at once: only its end is played, and as late as everything else
    cut_the_broadcaster_off(stage, watch, first, "--late", 5)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 1)


@pytest.mark.long
def test_players_go_on_after_a_broadcaster_who_was_frozen(stage):
    source = stage.source()
    watch = stage.watch(**AWAY)
    watch.settle()
    freeze_the_broadcaster(watch, source)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 0)
