"""dash.js and Shaka Player, in a real browser, on a live low-latency stream through our edge.

ffmpeg's own dash muxer makes the stream and an outside origin holds it, so that what is proved here
is the edge (HTTP/2 over TLS, bodies that grow) and the harness itself: it must also see what is wrong.
"""

import datetime
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from conftest import QUIET, launch, make_certificate, short_dir  # noqa: E402, F401
from live_origin import LiveOrigin  # noqa: E402
from source import start  # noqa: E402
from watching import Listener, Watch, describe  # noqa: E402

MANIFEST = "/live/a/manifest.mpd"
pytest_plugins = ["again"]


@pytest.fixture
def stage(launch, short_dir, monkeypatch):  # noqa: F811
    """An origin, an edge in front of it, and a place for temporary files that goes away."""
    monkeypatch.setenv("TMPDIR", str(short_dir))  # the browser's
    for tool in ("node", "ffmpeg"):
        assert shutil.which(tool), f"{tool} is not installed"
    assert (HERE / "node_modules/playwright-core").is_dir(), f"npm ci was not run in {HERE}"

    class Stage:
        tmp = short_dir

    s = Stage()
    s.origin = LiveOrigin()
    s.edge = launch(
        QUIET + make_certificate(short_dir) + 'edge: {listen: ["127.0.0.1:0", "https://127.0.0.1:0"]}\n'
        f'apps: {{live: {{origin: "{s.origin.url}"}}}}\n'
    ).wait_ready()
    s.clear, s.tls = (door + MANIFEST for door in s.edge.urls("edge.listen"))
    s.utc = s.tls.replace(MANIFEST, "/live/time")
    s.open = []

    def source(tell, *args, stream="a"):
        """Live when it returns."""
        one = start(tell, "--dash", f"{s.origin.url}/live/{stream}", "--utc", s.utc, *args)
        s.open.append(one)
        # players that begin too early ask for what cannot be there
        assert s.origin.wait_for(f"/live/{stream}/0-4.m4s", 30), one.words
        return one

    def watch(url, **options):
        s.open.append(Watch(url, short_dir, **options))
        return s.open[-1]

    def listener(url, seconds):
        s.open.append(Listener(url, seconds))
        return s.open[-1]

    s.source = source
    s.watch = watch
    s.listener = listener
    yield s
    for one in reversed(s.open):
        one.end()
    s.origin.stop()


def test_the_judge_sees_each_thing_that_can_be_wrong():
    done = subprocess.run(
        ["node", "--test", HERE / "figures.test.mjs"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(("tls", "h2", {}), id="h2-tls"),
        pytest.param(("tls", "http/1.1", {"http1": True}), id="h1-tls", marks=pytest.mark.long),
        pytest.param(("clear", "http/1.1", {}), id="h1-clear", marks=pytest.mark.long),
    ],
)
def test_all_players_play_a_live_stream_through_the_edge(stage, door):
    name, protocol, options = door
    url = getattr(stage, name)
    epochs = []
    stage.source(epochs.append)
    watch = stage.watch(url, protocol=protocol, **options)
    for event in epochs:
        watch.on_source(event)
    watch.settle()
    # a picture made from now on is seen after about the latency; nothing else happens in this phase
    watch.calm(10)
    for event in watch.wait_all("recovered", 20, mark="calm"):
        assert 1000 < event["after_ms"] < 4000, event
    third = stage.listener(url, 6)
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
    for name, player in report["players"].items():
        assert set(player["phases"]) == {"start", "settle", "calm"}
        assert player["size"] == [640, 360]
    status, said, pictures = third.result()
    assert (status, said) == (0, "")
    assert pictures > 60  # it joins picture and sound at different segments


@pytest.mark.long
def test_the_judge_sees_segments_that_are_missing(stage):
    stage.source(lambda event: None)
    watch = stage.watch(stage.tls, seconds=12)
    watch.wait_all("playing", 60)
    watch.mark("hole")
    video = re.compile(r"/live/a/0-(\d+)\.m4s$")
    newest = max(int(m[1]) for m in map(video.match, list(stage.origin.files)) if m)
    stage.origin.missing |= {f"/live/a/0-{n}.m4s" for n in range(newest + 2, newest + 5)}
    for event in watch.wait_all("http", 30):
        assert event["status"] == 404
    report = watch.report(stop=False)
    assert not report["ok"]
    for player in watch.players:
        assert any(text.startswith(f"{player}: HTTP errors") for text in report["failures"])
        assert report["players"][player]["phases"]["start"]["http_errors"] == []


@pytest.mark.long
def test_the_judge_sees_pictures_that_are_wrong(stage):
    stage.source(lambda event: None, "--lie-at", 300)
    watch = stage.watch(stage.tls, seconds=15)
    report = watch.report(stop=False)
    assert not report["ok"]
    for player in watch.players:
        assert report["players"][player]["jumps"] == 1, describe(report)
        assert any(text.startswith(f"{player}: jumps of barcodes") for text in report["failures"])


def two_periods(utc, first_s):
    """A live manifest whose first Period is stream p0, first_s long, and whose second is p1."""
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=3)
    template = (
        '<SegmentTemplate timescale="1" duration="1" startNumber="1"'
        ' initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s"/>'
    )
    sets = (
        '<AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true">'
        f'{template}<Representation id="0" codecs="avc1.42c01e" bandwidth="600000" width="640" height="360"/>'
        '</AdaptationSet><AdaptationSet contentType="audio" mimeType="audio/mp4" segmentAlignment="true">'
        f'{template}<Representation id="1" codecs="mp4a.40.2" bandwidth="64000" audioSamplingRate="48000"/>'
        "</AdaptationSet>"
    )
    return (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011"'
        f' type="dynamic" availabilityStartTime="{began:%Y-%m-%dT%H:%M:%SZ}" minimumUpdatePeriod="PT60S"'
        ' timeShiftBufferDepth="PT30S" minBufferTime="PT1S">'
        f'<Period id="p0" start="PT0S" duration="PT{first_s}S"><BaseURL>../p0/</BaseURL>{sets}</Period>'
        f'<Period id="p1" start="PT{first_s}S"><BaseURL>../p1/</BaseURL>{sets}</Period>'
        f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="{utc}"/></MPD>'
    ).encode()


@pytest.mark.long
def test_the_judge_knows_a_new_period_with_new_pictures(stage):
    # the second is made while the first plays, well before it is needed
    first = stage.source(lambda event: None, "--seconds", 10, stream="p0")
    stage.source(lambda event: None, "--first-frame", 10000, stream="p1")
    assert first.wait(30) == 0
    stage.origin.put(MANIFEST, two_periods(stage.utc, 10))
    # whole segments, each player behind by its own rule, and a seam that nobody has made smooth
    watch = stage.watch(stage.tls, seconds=14, target=4, tolerance=3, max_gap=2000)
    watch.wait_all("period", 60, id="p0")
    watch.wait_all("period", 60, id="p1")
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
    for player in report["players"].values():
        assert player["periods"] == ["p0", "p1"] and player["jumps"] == 1
