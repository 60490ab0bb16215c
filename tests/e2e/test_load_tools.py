"""slow_origin and crowd against each other: what one does, the other must see.

FRESHET_LOAD_BIN names the folder of the two programs (ctest sets it); else build/dev.
"""
import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("FRESHET_LOAD_BIN", ROOT / "build/dev/tests/load"))


def start(*args):
    p = subprocess.Popen([BIN / "slow_origin", "--with-parent", *args],
                         stdout=subprocess.PIPE, text=True)
    return p, p.stdout.readline().strip()


def stop(p):
    p.terminate()
    assert p.wait(10) == 0
    p.stdout.close()


@pytest.fixture
def origin():
    p, url = start()
    yield url
    stop(p)


def crowd(url, *args, rc=0):
    r = subprocess.run([BIN / "crowd", "--url", url, *map(str, args)],
                       stdout=subprocess.PIPE, text=True, timeout=90)
    assert r.returncode == rc, r.stdout
    return json.loads(r.stdout)


def get(url, **headers):
    """status, headers, body; an HTTP error is an answer too."""
    req = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(req, timeout=20) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def stats(origin, path=None):
    s = json.loads(get(origin + "/__stats")[2])
    return s["paths"][path] if path else s


def test_two_thousand_clients_get_every_byte(origin):
    r = crowd(origin + "/vod/b/60000?delay=100", "--n", 2000, "--size", 60000)
    assert r["ok"] == 2000 and r["errors"] == {} and r["status"] == {"200": 2000}
    assert r["bytes"] == 2000 * 60000
    assert r["first_ms"]["n"] == r["done_ms"]["n"] == 2000
    assert r["first_ms"]["p50"] >= 100
    assert r["first_ms"]["p50"] <= r["first_ms"]["p99"] <= r["first_ms"]["max"]
    s = stats(origin, "/vod/b/60000")
    assert s["requests"] == s["done"] == 2000 and s["aborted"] == 0
    assert s["body_bytes"] == 2000 * 60000


def test_one_flipped_byte_is_a_mismatch(origin):
    r = crowd(origin + "/vod/b/60000?flip=59999", "--n", 3, rc=1)
    assert r["ok"] == 0 and r["errors"] == {"mismatch": 3}
    assert crowd(origin + "/vod/b/60000?flip=60000", "--n", 3)["ok"] == 3
    assert crowd(origin + "/vod/b/60000?flip=0", "--n", 3, "--no-verify")["ok"] == 3


@pytest.mark.parametrize("how, seen", [("rst", "reset"), ("fin", "cut")])
@pytest.mark.parametrize("framing", ["cl=1", "cl=0"])
def test_a_death_in_mid_body_is_an_error_after_that_many_bytes(origin, how, seen, framing):
    r = crowd(f"{origin}/vod/b/100000?die=70001&how={how}&{framing}", "--n", 20, rc=1)
    assert r["ok"] == 0 and r["errors"] == {seen: 20}
    assert r["bytes"] == 20 * 70001
    assert stats(origin, "/vod/b/100000")["cut"] == 20


def test_a_reset_waits_until_a_slow_reader_has_it_all(origin):
    got = b""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", int(origin.rsplit(":", 1)[1])))
        s.sendall(b"GET /vod/b/400000?die=300000 HTTP/1.1\r\nHost: o\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while piece := s.recv(4096):
                got += piece
    assert len(got.partition(b"\r\n\r\n")[2]) == 300000


def test_death_before_the_head_and_after_the_last_byte(origin):
    r = crowd(origin + "/vod/b/100?die=head", "--n", 2, rc=1)
    assert r["errors"] == {"reset": 2} and r["bytes"] == 0
    # with a length the body is whole; without one, only the last chunk could say so
    assert crowd(origin + "/vod/b/100?die=100&how=fin")["ok"] == 1
    assert crowd(origin + "/vod/b/100?die=100&how=fin&cl=0", rc=1)["errors"] == {"cut": 1}
    # and a body that ends with the connection cannot tell
    assert crowd(origin + "/vod/b/100?die=50&how=fin&eof=1")["ok"] == 1
    assert crowd(origin + "/vod/b/100?die=50&how=fin&eof=1", "--size", 100, rc=1)["errors"] == \
        {"size": 1}


def test_faults_can_be_for_the_first_requests_only(origin):
    r = crowd(origin + "/vod/b/100?status=503&times=2", "--keep", 5, rc=1)
    assert r["errors"] == {"status": 2} and r["ok"] == 3
    assert r["status"] == {"200": 3, "503": 2} and r["connections"] == 1


def test_a_drip_takes_its_time_and_begins_at_once(origin):
    r = crowd(origin + "/vod/drip/100000?over=600", "--n", 5)
    assert r["done_ms"]["p50"] >= 600
    assert r["first_ms"]["max"] < 600


def test_joiners_come_after_the_first_byte_and_spread_out(origin):
    r = crowd(origin + "/vod/drip/50000?over=300&delay=200", "--n", 20, "--join-over", 400)
    assert r["ok"] == 20 and r["connections"] == 21
    assert r["opener_first_ms"] >= 200 and r["opener_done_ms"] >= 500
    # the last starts at 200 + 400 * 19 / 20 and needs 500 ms of its own
    assert r["last_done_ms"] >= 200 + 380 + 500


def test_a_stall_is_a_timeout(origin):
    r = crowd(origin + "/vod/b/100?stall=10", "--n", 2, "--timeout", 300, rc=1)
    assert r["errors"] == {"timeout": 2} and r["bytes"] == 20
    get(origin + "/__wait/2/vod/b/100?for=aborted")
    assert stats(origin, "/vod/b/100")["aborted"] == 2


def test_a_gate_holds_the_head_or_the_body(origin):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        a = pool.submit(get, origin + "/vod/b/100?gate=a")
        b = pool.submit(get, origin + "/vod/b/200?gate=a&at=50")
        get(origin + "/__wait/1/vod/b/100")
        get(origin + "/__wait/1/vod/b/200")
        assert stats(origin, "/vod/b/100")["done"] == stats(origin, "/vod/b/200")["done"] == 0
        assert stats(origin, "/vod/b/100")["body_bytes"] == 0
        get(origin + "/__open/a")
        assert len(a.result(20)[2]) == 100 and len(b.result(20)[2]) == 200
    assert stats(origin, "/vod/b/100")["in_flight"] == 0
    assert stats(origin, "/vod/b/100")["in_flight_max"] == 1
    get(origin + "/__reset")
    assert stats(origin)["paths"] == {}


def test_ranges_and_validators(origin):
    url = origin + "/vod/b/1000?etag=v1&cc=max-age%3D60"
    whole = get(url)
    assert whole[0] == 200 and whole[1]["ETag"] == '"v1"' and whole[1]["Cache-Control"] == "max-age=60"
    part = get(url, Range="bytes=10-19")
    assert part[0] == 206 and part[2] == whole[2][10:20]
    assert part[1]["Content-Range"] == "bytes 10-19/1000"
    assert get(url, Range="bytes=990-", If_Range='"v1"')[2] == whole[2][990:]
    assert get(url, Range="bytes=990-", If_Range='"v2"')[2] == whole[2]
    assert get(url, Range="bytes=1000-")[0] == 416
    assert get(url + "&ranges=0", Range="bytes=0-1")[0] == 200
    assert get(url, If_None_Match='"v0", "v1"')[0] == 304
    assert get(url, If_None_Match='"v0"')[0] == 200
    s = stats(origin, "/vod/b/1000")
    assert s["ranges"] == 5 and s["conditional"] == 2
    seq = origin + "/vod/b/7?etag=v&etag_seq=1"
    assert [get(seq)[1]["ETag"] for _ in range(2)] == ['"v-1"', '"v-2"']
    r = crowd(origin + "/vod/b/9999", "--header", "Range: bytes=1001-", "--status", 206,
              "--size", 8998)
    assert r["ok"] == 1


def test_what_is_not_in_the_language_is_refused(origin):
    assert get(origin + "/vod/file")[0] == 404
    assert get(origin + "/vod/b/10?dealy=1")[0] == 400
    assert get(origin + "/__nothing")[0] == 404


def test_a_unix_socket_and_idle_connections(tmp_path):
    path = tmp_path / "o.sock"
    p, url = start("--unix", str(path))
    assert url == f"unix:{path}"
    r = crowd("http://box/vod/b/100", "--unix", path, "--n", 200, "--idle", "--hold", 50,
              "--pid", p.pid)
    assert r["ok"] == 200 and r["open_at_end"] == 200 and r["rss_after_kib"] > 0
    stop(p)


def test_crowd_speaks_tls(tmp_path):
    crt, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-days", "2",
                    "-keyout", key, "-out", crt], check=True, stderr=subprocess.DEVNULL)
    server = subprocess.Popen(["openssl", "s_server", "-www", "-accept", "127.0.0.1:0",
                               "-cert", crt, "-key", key], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        port = next(line for line in server.stdout if line.startswith("ACCEPT")).split(":")[-1].strip()
        r = crowd(f"https://127.0.0.1:{port}/", "--no-verify")
        assert r["ok"] == 1 and r["bytes"] > 100
        assert crowd(f"http://127.0.0.1:{port}/", "--no-verify", "--timeout", 5000, rc=1)["ok"] == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_nothing_but_loopback_is_asked(origin):
    for url in ("http://192.0.2.1:80/", "http://example.com:80/", "ftp://127.0.0.1:21/", "http://127.0.0.1/"):
        r = subprocess.run([BIN / "crowd", "--url", url], stderr=subprocess.PIPE)
        assert r.returncode == 2
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        r = crowd(f"http://127.0.0.1:{s.getsockname()[1]}/vod/b/1", "--n", 3, rc=1)
    assert r["errors"] == {"connect": 3}
