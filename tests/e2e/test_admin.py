"""The admin port, and what the binary is made of."""

import re
import socket
import subprocess

import openmetrics
import pytest
from conftest import FRESHET, QUIET, ROOT, crowd, get, metric

KEEP = "cc=max-age%3D60"


@pytest.fixture
def box(launch, slow_origin):
    origin = slow_origin()
    f = launch(
        QUIET + 'edge: {listen: ["127.0.0.1:0"]}\n'
        f'apps: {{vod: {{origin: "{origin.url}"}}}}\n'
    ).wait_ready()
    (admin,) = f.urls("admin.listen")
    (edge,) = f.urls("edge.listen")
    return f, admin, edge


def test_metrics_are_openmetrics(box):
    f, admin, edge = box
    crowd(f"{edge}/vod/b/1000?{KEEP}", "--n", 5)
    get(edge + "/nothing")
    status, headers, body = get(admin + "/metrics")
    assert status == 200
    assert headers["Content-Type"] == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    assert headers["Cache-Control"] == "no-store"
    families = {x.name: x for x in openmetrics.families(body.decode())}
    assert all(name.startswith("freshet_") for name in families)
    told = dict(re.findall(r"^\| `(freshet_\w+)` \| (\w+) ", (ROOT / "doc/METRICS.md").read_text(),
                           re.MULTILINE))  # fmt: skip
    assert {n + "_total" * (x.kind == "counter"): x.kind for n, x in families.items()} == told
    assert families["freshet_http_ttfb_seconds"].unit == "seconds"
    assert families["freshet_cache_bytes"].unit == "bytes"


def test_metrics_count_what_was_done(box):
    f, admin, edge = box
    crowd(f"{edge}/vod/b/1000?{KEEP}", "--n", 5, "--keep", 2)
    get(edge + "/nothing")
    assert metric(f, "freshet_cache_fills_total", tier="edge") == 1
    # the body, and what it costs us to keep it
    assert 1000 <= metric(f, "freshet_cache_bytes") < 2000
    assert metric(f, "freshet_cache_objects") == 1
    asked = [
        metric(f, "freshet_cache_requests_total", tier="edge", result=r)
        for r in ("miss", "hit", "hit_wait")
    ]
    assert asked[0] == 1 and sum(asked) == 10
    assert metric(f, "freshet_http_requests_total", proto="h1", code="200", object="proxy") == 10
    assert metric(f, "freshet_http_requests_total", proto="h1", code="404", object="other") == 1
    assert metric(f, "freshet_http_response_bytes_total") > 10 * 1000


def test_health_and_readiness(box):
    _, admin, _ = box
    status, _, body = get(admin + "/healthz")
    assert (status, body) == (200, b"ok\n")
    status, _, body = get(admin + "/readyz")
    assert (status, body) == (200, b"ready\n")


def test_head_and_options_of_the_admin_port(box):
    _, admin, _ = box
    host, port = admin.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b"".join(iter(lambda: s.recv(4096), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"content-length: 3" in head and body == b""


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/status", "/api/v1/streams"])
def test_players_cannot_reach_the_admin_pages(box, path):
    _, _, edge = box
    assert get(edge + path)[0] == 404


@pytest.mark.parametrize("path", ["/vod/b/1000", "/time", "/", "/nothing", "/_sub/live/x"])
def test_the_admin_port_serves_no_objects(box, path):
    f, admin, _ = box
    assert get(admin + path)[0] == 404
    assert metric(f, "freshet_upstream_requests_total", code="2xx") == 0


@pytest.mark.parametrize("path", ["/_sub/live/x", "/_ingest/live/x", "/_encode/live/x"])
def test_players_cannot_reach_what_is_between_our_machines(box, path):
    _, _, edge = box
    assert get(edge + path)[0] == 404


def test_time_is_for_players(box):
    _, _, edge = box
    status, headers, body = get(edge + "/time")
    assert status == 200 and headers["Cache-Control"] == "no-store"
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body)


def test_more_requests_sent_ahead_than_are_read_at_once(box):
    _, _, edge = box
    host, port = edge.removeprefix("http://").rsplit(":", 1)
    one = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(one * 1000 + b"GET /nothing HTTP/1.0\r\n\r\n")
        got = b"".join(iter(lambda: s.recv(65536), b""))
    assert got.count(b"HTTP/1.1 404 ") == 1001


def test_an_edge_host_has_no_codec_on_it():
    libraries = subprocess.run(["ldd", FRESHET], capture_output=True, text=True, check=True).stdout
    assert "libnghttp2" in libraries and "libevent" in libraries
    for one in ("libav", "libsw", "libx264"):
        assert one not in libraries
