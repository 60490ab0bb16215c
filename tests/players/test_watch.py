"""/watch/APP/STREAM, the page that an edge has for people: in a real browser, with what it may not do."""

import pathlib
import re
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from conftest import QUIET, launch, make_certificate, short_dir  # noqa: E402, F401
from live import wait_mpd  # noqa: E402
from source import start  # noqa: E402
from watching import Page  # noqa: E402

pytest_plugins = ["again"]


class Stage:
    def __init__(self, launch, short_dir):  # noqa: F811
        self.tmp = short_dir
        self.box = launch(
            QUIET + make_certificate(short_dir) + f"state_dir: {short_dir}/state\n"
            'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
            "encode: {workers: 1}\n"
            'edge: {listen: ["http://127.0.0.1:0", "https://127.0.0.1:0"]}\n'
            "apps: {live: {publish: open}}\n"
        ).wait_ready()
        (self.rtmp,) = self.box.urls("ingest.listen")
        self.clear, self.tls = sorted(self.box.urls("edge.listen"))
        self.open = []

    def source(self, *args):
        self.open.append(start(lambda event: None, "--publish", self.rtmp + "/live/a", *args))
        return self.open[-1]

    def page(self, name="live/a"):
        self.open.append(Page(f"{self.tls}/watch/{name}", self.tmp))
        return self.open[-1]

    def mpd(self, true):
        return wait_mpd(self.clear + "/live/a/manifest.mpd", true)


@pytest.fixture
def stage(launch, short_dir, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TMPDIR", str(short_dir))  # the browser's
    s = Stage(launch, short_dir)
    yield s
    for one in reversed(s.open):
        one.end()


def number(text):
    """The first one in it, or None."""
    found = re.match(r"[0-9.]+", text)
    return float(found[0]) if found else None


def plays(look):
    return look["text"]["words"].startswith("Playing") and (number(look["text"]["latency"]) or 0) > 0


def check_playing(page):
    """For three seconds of pictures, with all the figures."""
    first = page.see(plays)
    at = page.events.index(first)
    now = page.see(lambda e: plays(e) and e["time"] > first["time"] + 3, after=at)
    assert now["title"] == "live/a - freshet" and now["text"]["name"] == "live/a"
    assert now["size"] == [640, 360]
    took_s = (now["at_ms"] - first["at_ms"]) / 1000
    assert abs(now["time"] - first["time"] - took_s) < 1, "at the pace of the clock"
    assert 1 < number(now["text"]["latency"]) < 5, now["text"]
    assert 0 < number(now["text"]["buffer"]) < 5, now["text"]
    assert re.fullmatch(r"v0, 640x360, [0-9]+ kbit/s", now["text"]["rendition"]), now["text"]
    dropped, shown = map(int, re.fullmatch(r"(\d+) of (\d+)", now["text"]["dropped"]).groups())
    assert shown > 60 and dropped < shown / 2


def test_the_page_waits_plays_and_says_that_it_is_over(stage):
    early = stage.page()
    early.see(lambda e: e["text"]["words"] == "Not on the air; waiting for it.")
    source = stage.source()
    check_playing(early)  # by itself
    late = stage.page()
    check_playing(late)
    source.stop()
    source.wait(10)
    for page in (early, late):
        page.see(lambda e: e["ended"] and e["text"]["words"] == "The broadcast is over.")
    assert late.wrong() == []
    # a browser notes in the console that there was no manifest yet, and nothing else
    assert early.wrong() != []
    for e in early.wrong():
        assert (e["event"], "404" in e["text"]) == ("console", True), e
        assert e["url"] == stage.tls + "/live/a/manifest.mpd"


@pytest.mark.long
def test_who_comes_after_the_end_sees_what_there_was(stage):
    stage.source("--seconds", 6)
    stage.mpd(lambda m: m.type == "static")
    page = stage.page()
    end = page.see(lambda e: e["ended"] and e["text"]["words"] == "The broadcast is over.")
    assert end["size"] == [640, 360]
    assert page.see(lambda e: e["time"] < end["time"] - 4), "from the beginning on"
    assert page.wrong() == []
