"""What a home remembers of its broadcasts: when it is killed, when a key expires."""

import secrets
import signal
import time

import pytest
from live import FFMPEG, check_media, play, wait_mpd
from test_box import sign
from test_live import Box, number_of, publish, schema_says, wait_for  # noqa: F401

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


def session_of(mpd):
    return mpd.reps()[0][2].init.split("/")[-3]


def test_a_killed_home_goes_on_with_the_broadcast(launch, short_dir, publish):  # noqa: F811
    b = Box(launch, short_dir)
    publish(b.into("show"))
    before = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 2)
    b.freshet.stop(signal.SIGKILL)

    b = Box(launch, short_dir)  # the same directories, as after a crash
    publish(b.into("show"), 8)
    m = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 1)
    assert session_of(m) == session_of(before) and m.ast == before.ast
    assert schema_says(m, short_dir) == ""
    m = wait_mpd(b.mpd("show"), lambda m: m.type == "static")
    (period,) = m.periods
    assert int(period[1:]) >= 16
    for _, name, rep in m.reps():
        assert rep.segments[0][0] > before.periods["p0"][name].segments[-1][0]
        at_s = rep.segments[0][1] / rep.timescale
        last = before.periods["p0"][name].segments[-1]
        assert at_s > last[1] / before.periods["p0"][name].timescale, "its time goes on"
    check_media(m)
    assert play(b.mpd("show")) > 0
    # and what is over is over, also for the disk
    wait_for(lambda: not list((short_dir / "a-state/streams").rglob("*.json")))
    b.freshet.stop(signal.SIGKILL)
    b = Box(launch, short_dir)
    publish(b.into("show"))
    assert session_of(wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 1)) != session_of(m)


def test_an_expired_key_may_return_into_its_broadcast(launch, short_dir, publish):  # noqa: F811
    key = short_dir / "publish.key"
    key.write_text(secrets.token_hex(32) + "\n")
    b = Box(launch, short_dir,
            more=f"secrets: {{publish: {{k1: {{file: {key}}}}}}}\n",
            apps="live: {publish: signed}")  # fmt: skip
    exp = int(time.time()) + 5
    url = sorted(sign(b.freshet, "live/show", "--exp", str(exp))["urls"])[0]
    first = publish(url)
    before = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 1)
    first.send(signal.SIGKILL)
    wait_for(lambda: time.time() > exp + 1)
    other = publish(sign(b.freshet, "live/show", "--exp", str(exp - 1))["urls"][-1])
    assert "expired" in other.wait()[1], "another key, and an old one"
    again = publish(url, 4)
    m = wait_mpd(b.mpd("show"), lambda m: "p1" in m.periods)
    assert session_of(m) == session_of(before)
    assert again.wait()[0] == 0
    wait_mpd(b.mpd("show"), lambda m: m.type == "static")
    late = publish(url)
    status, said = late.wait()
    assert status != 0 and "expired" in said
