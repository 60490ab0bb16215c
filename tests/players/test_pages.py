"""Our own pages as a person sees them: in a real browser, on real processes."""

import json
import pathlib
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from bare_rtmp import BareBroadcaster  # noqa: E402
from conftest import QUIET, cli, launch, short_dir, wait_for  # noqa: E402, F401
from live import Mpd, Publisher, wait_mpd  # noqa: E402
from wire import Wire  # noqa: E402


def open_page(url, **options):
    line = ["node", HERE / "look.mjs", "--url", url]
    for name, value in options.items():
        line += ["--" + name, str(value)]
    done = subprocess.run([str(x) for x in line], capture_output=True, text=True, timeout=120, cwd=HERE)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def look(f, **options):
    (admin,) = f.urls("admin.listen")
    seen = open_page(admin + "/status", **options)
    assert seen["errors"] == []
    assert {x.removeprefix(admin) for x in seen["requests"]} <= {
        "/status", "/status.js", "/status.css", "/api/v1/status", "/api/v1/streams",
    }  # fmt: skip
    return seen


@pytest.fixture
def two_tiers(launch, short_dir):  # noqa: F811
    """Where streams are made, and a POP in front of it."""
    f = launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"], idle_timeout: 1h, limits: {unpublished: 2000}}\n'
        'edge: {listen: ["127.0.0.1:0"]}\n'
        'origin: {listen: ["http://127.0.0.1:0"]}\n'
        "encode: {workers: 1}\n"
        "apps: {live: {publish: open}}\n",
        "dc",
    ).wait_ready()
    (tier,), (f.edge,), (f.ingest,) = map(f.urls, ("origin.listen", "edge.listen", "ingest.listen"))
    f.pop = launch(
        QUIET + f'edge: {{listen: ["127.0.0.1:0"], upstream: ["{tier}"]}}\napps: {{live: {{}}}}\n', "pop"
    ).wait_ready()
    f.tier = tier
    return f


def test_the_page_without_a_stream(two_tiers):
    seen = look(two_tiers, seconds=3)
    assert seen["tables"]["streams"] == []
    assert seen["cards"]["viewers"] == "0"
    assert [r[0] for r in seen["tables"]["tiers"]] == ["edge (players)", "origin (our edges)"]
    assert seen["tables"]["upstreams"] == []
    assert seen["words"] != seen["first"]["words"], "it must refresh itself"
    pop = look(two_tiers.pop)
    assert pop["tables"]["upstreams"] == [[two_tiers.tier, "idle", "0", "0", "0"]]


class Player(threading.Thread):
    """Asks for the manifest and each new segment over one connection, until it is stopped."""

    def __init__(self, edge):
        super().__init__(daemon=True)
        self.edge, self.over, self.wire = edge, threading.Event(), Wire(edge)
        self.segments = 0
        self.start()

    def run(self):
        last = None
        while not self.over.wait(0.2):
            url = self.edge + "/live/cam/manifest.mpd"
            status, text = self.ask(url)
            assert status == 200
            rep = Mpd(url, text.decode()).reps()[0][2]
            if rep.closed() and rep.closed()[-1][0] != last:
                last = rep.closed()[-1][0]
                assert self.ask(rep.url(last))[0] == 200
                self.segments += 1

    def ask(self, url):
        self.wire.get(url.removeprefix(self.edge))
        status, _, body = self.wire.answer()
        return status, body

    def stop(self):
        self.over.set()
        self.join()
        self.wire.close()


def test_a_stream_and_who_watches_it_on_both_tiers(two_tiers):
    f = two_tiers
    publisher = Publisher(f"{f.ingest}/live/cam")
    players = []
    try:
        (edge,) = f.pop.urls("edge.listen")
        wait_mpd(edge + "/live/cam/manifest.mpd", lambda m: len(m.reps()) == 2)
        players = [Player(edge) for _ in range(3)]
        wait_for(lambda: all(p.segments > 1 for p in players))
        seen = look(f, rows=1, seconds=4)
        (row,) = seen["tables"]["streams"]
        name, state, viewers, up, renditions, gop, latency, tag, worker = row
        assert (name, state, viewers, worker) == ("live/cam", "live", "0", "0")
        assert "v0 avc1." in renditions and "320x180" in renditions and "kbit/s" in renditions
        assert "a0 mp4a.40.2 48000 Hz" in renditions
        assert gop == "2000 ms" or gop == "-"
        assert latency.endswith(" ms") and 0 < int(latency[:-3]) < 5000
        assert seen["first"]["tables"]["streams"][0][3] != up
        assert seen["cards"]["publishers"] == "1"
        assert dict(seen["tables"]["push"])["subscriptions, of edges"] == "1"
        origin = seen["tables"]["tiers"][1]
        assert int(origin[1].replace(",", "")) + int(origin[2].replace(",", "")) > 0

        seen = look(f.pop, rows=1, seconds=4)
        assert seen["tables"]["streams"][0][:3] == ["live/cam", "elsewhere", "3"]
        assert seen["cards"]["viewers"] == "3"
        assert seen["cards"]["requests"] != "0 /s" and "bit/s" in seen["cards"]["out"]
        assert " / " in seen["cards"]["first byte, p50 / p99"]
        ((url, state, *_),) = seen["tables"]["upstreams"]
        assert url == f.tier and state in ("ok", "idle")
        assert int(seen["tables"]["tiers"][0][1].replace(",", "")) > 0  # hits
        push = dict(seen["tables"]["push"])
        assert push["subscriptions, to upstreams"] == "1"
        assert push["lag, p50 / p99 of 30 s"].endswith(" ms"), push
        assert push["broke off, told anew"] == "0"
    finally:
        for p in players:
            p.stop()
        publisher.end()


def test_an_upstream_that_is_gone_is_seen(two_tiers):
    f = two_tiers
    assert f.stop() == 0
    (edge,) = f.pop.urls("edge.listen")
    with Wire(edge) as w:
        for i in range(12):
            w.get(f"/live/s{i}/manifest.mpd")
            assert w.answer()[0] >= 500
    seen = look(f.pop, seconds=2)
    ((url, state, *_),) = seen["tables"]["upstreams"]
    assert url == f.tier and state in ("left alone for a moment", "failing")


def test_who_publishes_through_a_pop_and_where_to(two_tiers, launch):  # noqa: F811
    f = two_tiers
    pop = launch(
        QUIET + f"state_dir: {f.pop.dir}/relay-state\n"
        f'ingest: {{listen: ["rtmp://127.0.0.1:0"], relay: ["{f.tier}"]}}\n'
        "apps: {live: {publish: open}}\n",
        "relay",
    ).wait_ready()
    publisher = Publisher(pop.urls("ingest.listen")[0] + "/live/cam")
    try:
        wait_for(lambda: any("bitrate_bps" in s["relay"] for s in pop.ask("streams")["streams"]))
        (row,) = look(pop, rows=1, seconds=3)["tables"]["streams"]
        name, state, viewers, up, where, gop, latency, tag, worker = row
        assert (name, state, viewers, worker) == ("live/cam", "relayed", "0", "-")
        assert where.startswith(f"to {f.tier} for ") and "bit/s; spool " in where
        assert tag.endswith(" ms")
        assert f.stop() == 0
        wait_for(lambda: all("why" in s["relay"] for s in pop.ask("streams")["streams"]))
        (row,) = look(pop, rows=1, seconds=3)["tables"]["streams"]
        assert row[1] == "homeless"
        assert row[4].startswith("no home for ") and f"; {f.tier}: " in row[4]
        assert "home lost 1, moved 0" in row[4]
    finally:
        publisher.end()


def test_a_thousand_streams(two_tiers):
    f = two_tiers
    with ThreadPoolExecutor(16) as pool:
        crowd = list(pool.map(BareBroadcaster, [f"{f.ingest}/live/s{i:04}" for i in range(1000)]))
    try:
        wait_for(lambda: len(f.ask("streams")["streams"]) == 1000)
        seen = look(f, rows=1000, seconds=5)
        assert [r[0] for r in seen["tables"]["streams"]] == [f"live/s{i:04}" for i in range(1000)]
        assert all(r[1] == "live" for r in seen["tables"]["streams"])
        assert seen["longest_ms"] < 1000
        assert seen["cards"]["publishers"] == "1,000"
        seen = look(f, rows=1000, type="s099", seconds=3)
        assert [r[0] for r in seen["tables"]["streams"]] == [f"live/s099{i}" for i in range(10)]
    finally:
        for one in crowd:
            one.close()


def test_the_player_page_behind_a_token(launch, short_dir):  # noqa: F811
    (short_dir / "play.key").write_text("00" * 32)
    f = launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
        'edge: {listen: ["127.0.0.1:0"]}\n'
        "encode: {workers: 1}\n"
        f"secrets: {{play: {{k1: {{file: {short_dir}/play.key}}}}}}\n"
        "apps: {gate: {publish: open, play: signed}}\n"
    ).wait_ready()
    (edge,), (ingest,) = f.urls("edge.listen"), f.urls("ingest.listen")
    publisher = Publisher(f"{ingest}/gate/cam")
    try:
        done = cli("sign", "play", "gate/cam", "-c", f.conf, "--for", "1h", "--json")
        token = json.loads(done.stdout)["token"]
        wait_mpd(f"{edge}/p/{token}/gate/cam/manifest.mpd", lambda m: len(m.reps()) == 2)
        seen = open_page(f"{edge}/p/{token}/watch/gate/cam", playing=2)
        assert seen["errors"] == []
        media = [x for x in seen["requests"] if "/gate/cam/" in x and "/watch/" not in x]
        for what in ("manifest.mpd", "/v0/init-", "/a0/init-", "/v0/[0-9]+.m4s", "/a0/[0-9]+.m4s"):
            assert any(re.search(what, x) for x in media), what
        assert all(x.startswith(f"{edge}/p/{token}/gate/cam/") for x in media)
    finally:
        publisher.end()
