"""freshet purge: what goes, what stays, and who does not notice."""

import json
import threading

import pytest
from conftest import QUIET, cli, get, metric, wait_for
from live import Publisher, check_media, wait_mpd

KEEP = "cc=max-age%3D60"


@pytest.fixture
def pop(launch, slow_origin):
    origin = slow_origin()
    f = launch(
        QUIET + 'edge: {listen: ["127.0.0.1:0"]}\n'
        f'apps: {{vod: {{origin: "{origin.url}"}}, other: {{origin: "{origin.url}"}}}}\n'
    ).wait_ready()
    (f.base,) = f.urls("edge.listen")
    f.origin = origin
    return f


def purge(f, prefix):
    done = f.cli("purge", prefix, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["whole"] is True
    return told


def test_what_is_below_the_prefix_is_fetched_anew(pop):
    f = pop
    paths = [f"/vod/b/1000/{i}?{KEEP}" for i in range(40)] + [f"/other/b/1000?{KEEP}"]
    for p in paths * 2:
        assert get(f.base + p)[0] == 200
    assert f.origin.stats("/vod/b/1000/7")["requests"] == 1
    told = purge(f, "/vod/")
    assert (told["prefix"], told["purged"], told["bytes"], told["kept"]) == ("/vod/", 40, 40000, 0)
    assert metric(f, "freshet_cache_evictions_total", reason="purge") == 40
    for p in paths:
        assert get(f.base + p)[0] == 200
    assert f.origin.stats("/vod/b/1000/7")["requests"] == 2
    assert f.origin.stats("/other/b/1000")["requests"] == 1
    assert purge(f, "/vod/b/1000/7?")["purged"] == 1
    assert purge(f, "/nothing")["purged"] == 0
    said = f.cli("purge", "/vod").stdout
    assert said == "purged 39 objects, 39000 bytes, below /vod\n"
    f.wait_log("purged", "prefix=/vod/", "purged=40")


def test_who_is_reading_goes_on(pop):
    f = pop
    path = f"/vod/b/100000?gate=g&at=50000&{KEEP}"
    got = []
    reader = threading.Thread(target=lambda: got.append(get(f.base + path)))
    reader.start()
    wait_for(lambda: metric(f, "freshet_http_requests_total", proto="h1", code="200",
                            object="proxy") == 1)  # fmt: skip
    assert purge(f, "/vod/b/")["purged"] == 1
    f.origin.ask("/__open/g")
    reader.join()
    assert (got[0][0], got[0][2]) == (200, get(f.origin.url + path)[2])
    assert get(f.base + path)[0] == 200
    assert f.origin.stats("/vod/b/100000")["requests"] == 3  # with ours, past the edge


@pytest.mark.parametrize("prefix", ["vod/", "", "/vod/../x", "//", "/a b", "/%zz", "/" + "x" * 5000])
def test_what_is_no_prefix(pop, prefix):
    done = pop.cli("purge", prefix)
    assert done.returncode == 1
    assert "prefix" in done.stderr
    assert done.stdout == ""


def test_a_prefix_is_one_line_and_one_word(pop):
    assert get(pop.base + f"/vod/b/10?{KEEP}")[0] == 200
    done = pop.cli("purge", "/vod\n/x")
    assert done.returncode == 1
    assert pop.cli("purge").returncode == 2
    assert pop.cli("purge", "/a", "/b").returncode == 2
    assert metric(pop, "freshet_cache_objects") == 1
    assert cli("purge", "/", "--runtime-dir", "/nonexistent").returncode == 1


def test_a_live_window_made_here_is_kept(launch, short_dir):
    f = launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"], reconnect_window: 0s}\n'
        'edge: {listen: ["127.0.0.1:0"]}\n'
        "encode: {workers: 1}\n"
        "apps: {live: {publish: open}}\n"
    ).wait_ready()
    (edge,), (ingest,) = f.urls("edge.listen"), f.urls("ingest.listen")
    p = Publisher(f"{ingest}/live/cam")
    try:
        url = edge + "/live/cam/manifest.mpd"
        mpd = wait_mpd(url, lambda m: len(m.reps()) == 2 and all(r.closed() for _, _, r in m.reps()))
        rep = mpd.reps()[0][2]
        told = purge(f, "/")
        assert told["purged"] == 0
        assert told["kept"] >= 5  # manifest, two init segments, segments of both
        assert "kept" in f.cli("purge", "/live/").stdout
        for u in (url, rep.init, rep.url(rep.closed()[0][0])):
            assert get(u)[0] == 200
    finally:
        p.end()
    wait_for(lambda: all(s["state"] == "ended" for s in f.ask("streams")["streams"]))
    assert purge(f, "/live/")["kept"] == 0
    assert get(rep.url(rep.closed()[0][0]))[0] in (404, 410)


def test_players_behind_a_pop_do_not_notice(launch, short_dir):
    f = launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
        'edge: {listen: ["127.0.0.1:0"]}\n'
        'origin: {listen: ["http://127.0.0.1:0"]}\n'
        "encode: {workers: 1}\n"
        "apps: {live: {publish: open}}\n"
    ).wait_ready()
    (tier,), (ingest,), (home,) = map(f.urls, ("origin.listen", "ingest.listen", "edge.listen"))
    pop = launch(
        QUIET + f'edge: {{listen: ["127.0.0.1:0"], upstream: ["{tier}"]}}\napps: {{live: {{}}}}\n', "pop"
    ).wait_ready()
    (edge,) = pop.urls("edge.listen")
    p = Publisher(f"{ingest}/live/cam")
    over, purged = threading.Event(), []
    try:
        url = edge + "/live/cam/manifest.mpd"
        wait_mpd(url, lambda m: len(m.reps()) == 2 and all(r.closed() for _, _, r in m.reps()))

        def again_and_again():
            while not over.wait(0.1):
                purged.append(purge(pop, "/live/")["purged"])

        hand = threading.Thread(target=again_and_again)
        hand.start()
        bodies = {}
        while len(bodies) < 8:  # as a player: the segment in progress, too
            mpd = wait_mpd(url, lambda m: m.reps())
            for rep in (r for _, _, r in mpd.reps()):
                newest = rep.url(rep.segments[-1][0])
                if newest not in bodies:
                    status, _, bodies[newest] = get(newest)
                    assert status == 200
        over.set()
        hand.join()
        assert sum(n > 0 for n in purged) > 3
        for there, body in bodies.items():
            assert get(there.replace(edge, home))[2] == body
        check_media(wait_mpd(url, lambda m: m.reps()))
    finally:
        over.set()
        p.end()
