"""What a home remembers of its broadcasts: when it is killed, when a key expires."""

import json
import os
import secrets
import signal
import time

import pytest
from conftest import BUILD, metric
from live import FFMPEG, FPS, check_media, play, wait_mpd
from test_box import sign
from test_live import Box, number_of, publish, schema_says, wait_for  # noqa: F401

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


def session_of(mpd):
    return mpd.reps()[0][2].init.split("/")[-3]


def test_a_killed_home_goes_on_with_the_broadcast(launch, short_dir, publish):  # noqa: F811
    b = Box(launch, short_dir)
    publish(b.into("show"))
    before = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 2)
    wait_for(lambda: list((short_dir / "a-state/streams").rglob("show.past")))
    b.freshet.stop(signal.SIGKILL)

    b = Box(launch, short_dir)  # the same directories, as after a crash
    publish(b.into("show"), 8)
    m = wait_mpd(b.mpd("show"), lambda m: len(m.periods) == 2)
    assert session_of(m) == session_of(before) and m.ast == before.ast
    assert schema_says(m, short_dir) == ""
    for name, rep in m.periods["p0"].items():  # who was in the middle of it finds his way out
        was = before.periods["p0"][name]
        assert not rep.open and rep.segments[0] == was.segments[0]
        assert rep.init.split("/")[-2:] == was.init.split("/")[-2:]
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
    wait_for(lambda: not list((short_dir / "a-state/streams").rglob("*.*")))
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


def test_segments_are_as_long_as_the_ladder_of_the_app_says(launch, short_dir, publish):  # noqa: F811
    ladders = ", ladders: {brisk: {copy: true, segment: 1s}, calm: {copy: true, segment: 4s}}"
    apps = "live: {publish: open, ladder: brisk}, slow: {publish: open, ladder: calm}"
    b = Box(launch, short_dir, encode=ladders, apps=apps)
    slow = b.mpd("show").replace("/live/", "/slow/")
    publish(b.into("show"), 9, "-g", "30")
    publish(b.into("show").replace("/live/", "/slow/"), 13, "-g", "60")
    for page, s in ((b.mpd("show"), 1), (slow, 4)):
        wait_mpd(page, lambda m: m.periods["p0"]["v0"].open and number_of(m) > 0)
        m = wait_mpd(page, lambda m: m.type == "static")
        rep = m.periods["p0"]["v0"]
        assert schema_says(m, short_dir) == ""
        assert {d for _, _, d in rep.segments[:-1]} == {s * rep.timescale}
        assert len(rep.segments) >= 3
        check_media(m)
    # what a broadcast began with, it keeps; the next one has the new length
    on = publish(b.into("two"), None, "-g", "30")
    wait_mpd(b.mpd("two"), lambda m: number_of(m) >= 1)
    b.freshet.write(b.freshet.conf.read_text().split("\n", 1)[1].replace("segment: 1s", "segment: 3s"))
    done = b.freshet.cli("reload")
    assert done.returncode == 0, done.stderr
    n = number_of(wait_mpd(b.mpd("two"), bool))
    m = wait_mpd(b.mpd("two"), lambda m: number_of(m) >= n + 3)
    rep = m.periods["p0"]["v0"]
    assert {d for _, _, d in rep.closed()} == {rep.timescale}
    on.send(signal.SIGINT)
    wait_mpd(b.mpd("two"), lambda m: m.type == "static")
    publish(b.into("two"), None, "-g", "30")
    m = wait_mpd(b.mpd("two"), lambda m: m.type == "dynamic" and len(m.periods["p0"]["v0"].closed()) > 1)
    rep = m.periods["p0"]["v0"]
    assert {d for _, _, d in rep.closed()} == {3 * rep.timescale}


def test_where_the_oldest_wins_a_second_publisher_is_told_so(launch, short_dir, publish):  # noqa: F811
    b = Box(launch, short_dir, ingest=", takeover: oldest")
    first = publish(b.into("show"))
    wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 1)
    status, said = publish(b.into("show")).wait()
    assert status != 0 and "somebody else publishes this stream" in said
    n = number_of(wait_mpd(b.mpd("show"), bool))
    wait_mpd(b.mpd("show"), lambda m: number_of(m) > n)
    first.send(signal.SIGKILL)
    publish(b.into("show"), 3)
    wait_mpd(b.mpd("show"), lambda m: "p1" in m.periods)


def test_a_worker_that_hangs_is_replaced(launch, short_dir, publish):  # noqa: F811
    b = Box(launch, short_dir, workers=2)
    for name in ("x", "y"):
        publish(b.into(name), 14)
    pages = [b.mpd("x"), b.mpd("y")]
    for p in pages:
        wait_mpd(p, lambda m: number_of(m) >= 2)
    frozen, other = b.workers()
    os.kill(frozen, signal.SIGSTOP)
    wait_for(lambda: metric(b.freshet, "freshet_encoder_restarts_total", reason="hung") == 1)
    wait_for(lambda: len(b.workers()) == 2 and frozen not in b.workers() and other in b.workers())
    wait_for(lambda: metric(b.freshet, "freshet_encoder_workers", state="up") == 2)
    for p in pages:
        m = wait_mpd(p, lambda m: m.type == "static")
        assert list(m.periods) == ["p0"]
        assert check_media(m)["v0"] == 14 * FPS, "nothing is missing"
    assert metric(b.freshet, "freshet_encoder_restarts_total", reason="hung") == 1


def test_a_stream_that_encoders_crash_on_is_quarantined(launch, short_dir, publish):  # noqa: F811
    # a sanitizer would make an exit of it
    crash = signal.SIGILL if BUILD in ("asan", "tsan") else signal.SIGSEGV
    b = Box(launch, short_dir)
    bad = publish(b.into("bad"))

    def end_worker(number):
        """And waits until the next one has taken the stream over."""
        before = number_of(wait_mpd(b.mpd("bad"), bool))
        (old,) = b.workers()
        os.kill(old, number)
        wait_for(lambda: len(b.workers()) == 1 and b.workers() != [old])
        wait_mpd(b.mpd("bad"), lambda m: number_of(m) > before)

    wait_mpd(b.mpd("bad"), lambda m: number_of(m) >= 1)
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, crash, crash):
        end_worker(number)
    assert b.freshet.ask("streams")["refused"] == []
    (old,) = b.workers()
    os.kill(old, crash)
    status, said = bad.wait()
    assert status != 0 and "encoders have crashed on this stream" in said
    status, said = publish(b.into("bad")).wait()
    assert status != 0 and "encoders have crashed on this stream" in said
    (told,) = b.freshet.ask("streams")["refused"]
    assert told["name"] == "live/bad" and told["why"] == "quarantined"
    assert 500 < told["left_s"] <= 600
    assert "quarantined" in b.freshet.cli("streams").stdout
    assert metric(b.freshet, "freshet_encoder_quarantines_total") == 1
    assert metric(b.freshet, "freshet_encoder_restarts_total", reason="crash") >= 5
    publish(b.into("good"))
    wait_mpd(b.mpd("good"), lambda m: number_of(m) >= 1)


def test_kick_closes_a_publisher_and_ban_refuses_the_stream(launch, short_dir, publish):  # noqa: F811
    b = Box(launch, short_dir)
    f = b.freshet
    for args, said in (
        (("live",), "not the name of a stream"),
        (("live/../x",), "not the name of a stream"),
        (("live/show",), "nobody publishes this stream here"),
        (("live/show", "--ban", "soon"), "a time is written with its unit"),
    ):
        done = f.cli("kick", *args)
        assert done.returncode == 1 and said in done.stderr, (args, done.stderr)
    first = publish(b.into("show"))
    before = wait_mpd(b.mpd("show"), lambda m: number_of(m) >= 1)
    done = f.cli("kick", "live/show")
    assert done.returncode == 0 and "may come back" in done.stdout
    status, said = first.wait()
    assert status != 0 and "the operator has closed this publication" in said
    again = publish(b.into("show"))
    m = wait_mpd(b.mpd("show"), lambda m: "p1" in m.periods)
    assert session_of(m) == session_of(before), "the broadcast has waited for it"

    done = f.cli("kick", "live/show", "--ban", "10m", "--json")
    assert json.loads(done.stdout) == {"ok": True, "stream": "live/show", "banned_s": 600}
    status, said = again.wait()
    assert status != 0 and "the operator refuses this stream" in said
    assert wait_mpd(b.mpd("show"), lambda m: m.type == "static"), "and the broadcast is over"
    status, said = publish(b.into("show")).wait()
    assert status != 0 and "the operator refuses this stream" in said
    (told,) = f.ask("streams")["refused"]
    assert (told["name"], told["why"]) == ("live/show", "banned") and 500 < told["left_s"] <= 600
    assert metric(f, "freshet_ingest_closes_total", reason="kicked", fault="operator") == 3
    assert "refused no longer" in f.cli("kick", "live/show", "--ban", "0s").stdout
    publish(b.into("show"))
    m = wait_mpd(b.mpd("show"), lambda m: m.type == "dynamic" and number_of(m) >= 1)
    assert session_of(m) != session_of(before)
