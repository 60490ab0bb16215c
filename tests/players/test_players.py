"""dash.js and Shaka Player, in a real browser, on a live low-latency stream through our edge.

ffmpeg's own dash muxer makes the stream and an outside origin holds it, so that what is proved here
is the edge (HTTP/2 over TLS, bodies that grow) and the harness itself: it must also see what is wrong.
"""

import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from conftest import QUIET, launch, make_certificate, short_dir  # noqa: E402, F401
from live_origin import LiveOrigin  # noqa: E402
from source import start  # noqa: E402
from watching import Watch, describe  # noqa: E402


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
        QUIET + make_certificate(short_dir) + 'edge: {listen: ["https://127.0.0.1:0"]}\n'
        f'apps: {{live: {{origin: "{s.origin.url}"}}}}\n'
    ).wait_ready()
    (s.url,) = s.edge.urls("edge.listen")
    s.open = []

    def source(tell, *args):
        one = start(tell, "--dash", s.origin.url + "/live/a", "--utc", s.url + "/live/time", *args)
        s.open.append(one)
        # players that begin too early ask for what cannot be there
        assert s.origin.wait_for("/live/a/0-4.m4s", 30), one.words
        return one

    def watch(**options):
        one = Watch(s.url + "/live/a/manifest.mpd", short_dir, **options)
        s.open.append(one)
        return one

    s.source = source
    s.watch = watch
    yield s
    for one in reversed(s.open):
        one.end()
    s.origin.stop()


def test_both_players_play_a_live_stream_through_the_edge(stage):
    epochs = []
    stage.source(epochs.append)
    watch = stage.watch(seconds=15, protocol="h2")
    for event in epochs:
        watch.on_source(event)
    watch.wait_all("steady", 60)
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
