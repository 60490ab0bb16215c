"""A minute of a broadcast with B-frames and a reconnect: each segment of it, box by box."""

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PATIENCE
from live import FFMPEG, FPS, Viewer, fetch, wait_mpd
from test_live import about, box, publish  # noqa: F401

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")

B_FRAMES = ("-tune", "fastdecode", "-bf", "2", "-b_strategy", "0")


def decoded(data, kind):
    """How many frames ffmpeg makes of it, without a word."""
    r = subprocess.run(
        [FFMPEG, "-v", "warning", "-xerror", "-i", "pipe:", "-map", f"0:{kind}", "-progress", "-",
         "-f", "null", os.devnull],
        input=data, capture_output=True, timeout=PATIENCE * 3,
    )  # fmt: skip
    assert r.returncode == 0 and r.stderr == b"", r.stderr
    frames = re.findall(rb"^frame=([0-9]+)$", r.stdout, re.M)
    return int(frames[-1]) if kind == "v" else None


class Growing:
    """Asks for each segment as soon as it is listed, while it grows."""

    def __init__(self, pool):
        self.pool, self.bodies = pool, {}

    def look(self, mpd):
        for _, _, rep in mpd.reps():
            url = rep.url(rep.segments[-1][0]) if rep.segments else None
            if rep.open and url not in self.bodies:
                self.bodies[url] = self.pool.submit(fetch, url)


def follow(page, viewer, growing, over):
    """Looks at each manifest until over(manifest), which it returns."""

    def one(mpd):
        growing.look(mpd)
        viewer.take(mpd)
        return over(mpd)

    return wait_mpd(page, one, PATIENCE * 6)


@pytest.mark.parametrize("seconds", [16, pytest.param(60, marks=pytest.mark.long)])
def test_every_segment_of_it_is_as_it_should_be(box, publish, seconds):  # noqa: F811
    b = box(more="origin: {window: 120s}\n")
    page, half = b.mpd("show"), seconds // 2
    with ThreadPoolExecutor(8) as pool:
        viewer, growing = Viewer(), Growing(pool)
        first = publish(b.into("show"), None, *B_FRAMES)
        follow(page, viewer, growing, lambda m: len(m.reps()[0][2].closed()) >= half // 2)
        first.send(signal.SIGKILL)
        publish(b.into("show", "rtmps"), half, *B_FRAMES)
        mpd = follow(page, viewer, growing, lambda m: m.type == "static")
        grown = {url: body.result() for url, body in growing.bodies.items()}

    assert list(mpd.periods) == ["p0", "p1"]
    listed = {rep.url(n): (p, name) for p, name, rep in mpd.reps() for n, _, _ in rep.segments}
    assert len(listed) == sum(len(c.segments) for c in viewer.checkers.values())
    assert set(grown) <= set(listed)
    assert len(grown) >= len(listed) - 4, "all but those that were over before they were seen"
    whole = {url: fetch(url) for url in listed}
    for url, body in grown.items():
        assert body == whole[url], f"{url}: other bytes while it grew"

    for period, name, rep in mpd.reps():
        c = viewer.checkers[period, name]
        lengths = {d for _, _, d in rep.segments[:-1]}
        frame = 0 if c.init.video else 1024
        assert all(abs(d - 2 * rep.timescale) <= frame for d in lengths), lengths
        data = fetch(rep.init) + b"".join(whole[u] for u, of in listed.items() if of == (period, name))
        if c.init.video:
            assert len(c.cts) >= 3, "B-frames"
            assert decoded(data, "v") == c.samples
        else:
            decoded(data, "a")
    assert viewer.checkers["p1", "v0"].samples == half * FPS
    assert about(viewer.checkers["p1", "a0"].samples, half)
