"""What an operator sees of viewers and of the process: the command, the API, the counters."""

import json

import openmetrics
import pytest
from conftest import QUIET, get, metric, wait_for
from live import Publisher, wait_mpd
from wire import H2, Wire


@pytest.fixture
def on_air(launch, short_dir):
    f = launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
        'edge: {listen: ["127.0.0.1:0"]}\n'
        'origin: {listen: ["http://127.0.0.1:0"]}\n'
        f"log: {{access: {short_dir}/access.log}}\n"
        "encode: {workers: 1}\n"
        "apps: {live: {publish: open}}\n"
    ).wait_ready()
    f.access = short_dir / "access.log"
    (f.edge,), (ingest,) = f.urls("edge.listen"), f.urls("ingest.listen")
    publisher = Publisher(f"{ingest}/live/cam")
    f.mpd = wait_mpd(
        f.edge + "/live/cam/manifest.mpd",
        lambda m: len(m.reps()) == 2 and all(r.closed() for _, _, r in m.reps()),
    )
    yield f
    publisher.end()


def viewers(f, name="live/cam"):
    return {s["name"]: s["viewers"] for s in f.ask("streams")["streams"]}.get(name)


def test_viewers_are_connections_that_watch(on_air):
    f = on_air
    wait_for(lambda: viewers(f) == 0)  # those of the fixture are gone
    rep = f.mpd.reps()[0][2]
    segment = rep.url(rep.closed()[-1][0]).removeprefix(f.edge)
    open_ones = []
    for i in range(6):  # on either loop
        w = Wire(f.edge)
        open_ones.append(w)
        for path in (["/live/cam/manifest.mpd"], [segment], ["/live/cam/manifest.mpd", segment])[i % 3]:
            w.get(path)
            assert w.answer()[0] == 200
    for _ in range(2):
        h = H2(f.edge)
        open_ones.append(h)
        for _ in range(5):
            assert h.fetch("/live/cam/manifest.mpd")[0] == 200
    for path in ("/live/nobody/manifest.mpd", "/watch/live/cam", "/time", "/live/cam/x"):
        w = Wire(f.edge)
        open_ones.append(w)
        w.get(path)
        w.answer()
    assert viewers(f) == 8
    assert metric(f, "freshet_viewers") == 8
    assert viewers(f, "live/nobody") is None
    shown = [x for x in f.cli("streams").stdout.splitlines() if x.startswith("live/cam")]
    assert shown[0].split()[4] == "8"
    for w in open_ones[:3]:
        w.close()
    wait_for(lambda: viewers(f) == 5)
    for w in open_ones[3:]:
        w.close()
    wait_for(lambda: viewers(f) == 0 and metric(f, "freshet_viewers") == 0)


def test_a_stream_that_is_made_elsewhere_is_listed_where_it_is_watched(on_air, launch):
    f = on_air
    (tier,) = f.urls("origin.listen")
    pop = launch(
        QUIET + f'edge: {{listen: ["127.0.0.1:0"], upstream: ["{tier}"]}}\napps: {{live: {{}}}}\n',
        "pop",
    ).wait_ready()
    (edge,) = pop.urls("edge.listen")
    wait_for(lambda: viewers(f) == 0)
    name = "freshet_cache_requests_total"
    assert metric(f, name, tier="edge", result="hit") > 0
    assert metric(f, name, tier="origin", result="hit") == 0
    with Wire(edge) as w:
        w.get("/live/cam/manifest.mpd")
        assert w.answer()[0] == 200
        assert [(s["name"], s["state"], s["viewers"]) for s in pop.ask("streams")["streams"]] == [
            ("live/cam", "elsewhere", 1)
        ]
        assert "elsewhere" in pop.cli("streams").stdout
        # who asks there is no viewer, and is told apart
        rep = f.mpd.reps()[0][2]
        for _ in range(2):
            w.get(rep.url(rep.closed()[-1][0]).removeprefix(f.edge))
            assert w.answer()[0] == 200
        assert metric(f, name, tier="origin", result="hit") > 0
        assert metric(pop, name, tier="edge", result="miss") > 0
        assert metric(pop, name, tier="origin", result="miss") == 0
        assert viewers(f) == 0
        assert " tier=origin proto=h2 " in f.access.read_text()
    wait_for(lambda: pop.ask("streams")["streams"] == [])


def test_the_status_as_json(on_air):
    f = on_air
    (admin,) = f.urls("admin.listen")

    def now():
        status, headers, body = get(admin + "/api/v1/status")
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert headers["cache-control"] == "no-store"
        return json.loads(body)

    wait_for(lambda: get(admin + "/api/v1/status")[0] == 200)
    wait_for(lambda: now()["metrics"]["cache_requests"]["edge"]["hit"] > 0)
    told = now()
    assert (told["ok"], told["pid"], told["loops"], told["whole"]) == (True, f.proc.pid, 2, True)
    assert told["generation"] == 1 and 0 < told["uptime_s"] < 100
    assert told["upstreams"] == []
    assert told["metrics"]["ingest_publishers"] == 1
    assert told["metrics"]["http_requests"]["h1"]["200"]["manifest"] > 0

    wait_for(lambda: now()["at_us"] > told["at_us"])  # by itself
    # the same names as in /metrics
    text = get(admin + "/metrics")[2].decode()
    assert {x.name.removeprefix("freshet_") for x in openmetrics.families(text)} == set(
        told["metrics"]
    ) - {"histogram_bounds_seconds"}
    assert get(f.edge + "/api/v1/status")[0] == 404
