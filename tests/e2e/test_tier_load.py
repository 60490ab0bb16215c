"""A crowd over two POPs: every object is filled once at each, and the data centre does not notice
how many there are."""

import asyncio
import json
import subprocess
import sys

import pytest
from conftest import BUILD, LOAD, PATIENCE, ROOT, get, metric
from live import FFMPEG, Mpd, wait_mpd
from test_tiers import Dc, Pop, Publishers

sys.path.insert(0, str(ROOT / "tests/load"))
import viewers  # noqa: E402

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
SECONDS = 20
SANITIZED = BUILD in ("asan", "tsan")
CROWD = 40 if SANITIZED else 190
MANY = 30 if SANITIZED else 100


@pytest.fixture
def broadcast(launch, short_dir):
    """broadcast(seconds) -> the data centre, with a broadcast that ends by itself."""
    p = Publishers()

    def go(seconds):
        dc = Dc(launch, short_dir)
        p.add(dc.publish("show", seconds))
        return dc

    yield go
    for one in p.all:
        if one.proc.poll() is None:
            one.end()


def at_the_end(pop):
    """{rendition: its last number} of the whole broadcast."""
    mpd = wait_mpd(pop.mpd("show"), lambda m: m.type == "static", PATIENCE * 2)
    return {name: rep.segments[-1][0] for _, name, rep in mpd.reps()}


def segments_from(first, last):
    """How many objects there are from the first that was asked for on."""
    return sum(last[rep] - first[rep] + 1 for rep in last if rep in first)


def first_seen(paths):
    """{rendition: lowest number} of .../SESSION/REP/NUMBER.m4s."""
    first = {}
    for p in paths:
        if p.endswith(".m4s"):
            rep, number = p[: -len(".m4s")].split("/")[-2:]
            first[rep] = min(first.get(rep, int(number)), int(number))
    return first


def test_each_object_is_filled_once_however_many_watch(broadcast, launch):
    dc = broadcast(SECONDS + 10)
    few, many = Pop(launch, dc.tier, "few"), Pop(launch, dc.tier, "many")
    for pop in few, many:
        wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)

    async def all_of_them():
        return await asyncio.gather(
            viewers.watch([few.mpd("show")], 10, SECONDS),
            viewers.watch([many.mpd("show")], CROWD, SECONDS),
        )

    seen = [one for (one,) in asyncio.run(all_of_them())]
    for audience, pop, n in zip(seen, (few, many), (10, CROWD)):
        assert audience.wrong == []
        assert audience.requests > n * SECONDS / 2
        last = at_the_end(pop)
        objects = segments_from(first_seen(audience.sizes), last)
        assert objects >= 2 * (SECONDS // 2 - 1)
        assert pop.metric("cache_fills_total", tier="edge") == objects
        # what else is asked for: the subscription, a manifest and the two beginnings
        asked = pop.metric("upstream_requests_total", code="2xx")
        assert objects <= asked <= objects + 4


def filling(pop):
    """The URL of a video segment that has just begun."""
    first = Mpd(pop.mpd("show"), get(pop.mpd("show"))[2].decode()).latest()
    mpd = wait_mpd(pop.mpd("show"), lambda m: m.latest() > first)
    return list(mpd.periods.values())[-1]["v0"].url(mpd.latest())


def test_who_joins_a_segment_that_grows_gets_it_at_once(broadcast, launch):
    dc = broadcast(14)
    pop = Pop(launch, dc.tier)
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    url = filling(pop)
    done = subprocess.run(
        [LOAD / "crowd", "--url", url, "--n", str(MANY), "--join-over", "1000", "--no-verify"],
        stdout=subprocess.PIPE, text=True, timeout=PATIENCE * 2)  # fmt: skip
    saw = json.loads(done.stdout)
    assert done.returncode == 0 and saw["ok"] == MANY and saw["errors"] == {}, saw
    assert saw["done_ms"]["p50"] > saw["first_ms"]["p50"]
    if BUILD == "release":
        assert saw["first_ms"]["p99"] < 100, saw
    # one fill here, and what follows of the rendition that is watched; nothing else was asked for
    objects = segments_from(first_seen([url]), at_the_end(pop))
    assert pop.metric("cache_fills_total", tier="edge") == objects
    asked = {"proto": "h2", "code": "200", "object": "segment"}
    assert metric(dc.freshet, "freshet_http_requests_total", **asked) == objects
