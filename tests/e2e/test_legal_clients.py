"""Clients that keep to the rules and use what they allow: none is cut under the default limits."""

import re
import subprocess

import pytest
from arena import BIG, KEEP, SLOW, SMALL, arena, pop  # noqa: F401


def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
    return done.stdout


def all_succeeded(out, n):
    m = re.search(rb"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    assert tuple(map(int, m.groups())) == (n, n, 0, 0), out


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_ten_thousand_requests_on_one_connection(pop, tls):
    base = pop.tls if tls else pop.clear
    with pop.counting():
        all_succeeded(run("h2load", "-n10000", "-c1", "-m100", base + SMALL), 10000)
        all_succeeded(run("h2load", "--h1", "-n10000", "-c1", base + SMALL), 10000)


def test_a_hundred_streams_on_each_of_ten_connections(pop):
    with pop.counting():
        all_succeeded(run("h2load", "-n3000", "-c10", "-m100", pop.clear + f"/vod/b/100000/{KEEP}"), 3000)


@pytest.mark.parametrize("bits", [1, 4, 10, 30])
def test_windows_of_every_size(pop, bits):
    """h2load returns the window as it reads: the smallest are a byte and fifteen."""
    path = "/vod/b/300/" if bits < 10 else "/vod/b/300000/"
    n = 20 if bits < 10 else 200
    with pop.counting():
        out = run("h2load", f"-n{n}", "-c2", "-m10", f"-w{bits}", "-W30", pop.clear + path + KEEP)
        all_succeeded(out, n)


def test_curl_in_every_version_of_http(pop, tmp_path):
    with pop.counting():
        for how in ("--http1.0", "--http1.1", "--http2-prior-knowledge", "--http2"):
            for base in (pop.clear, pop.tls):
                if how == "--http2-prior-knowledge" and base == pop.tls:
                    continue
                out = run("curl", "-sSk", how, "-o", tmp_path / "o", "-w", "%{http_code} %{size_download}",
                          base + BIG)  # fmt: skip
                assert out == b"200 8000000"


def test_curl_asks_for_many_with_ranges_and_conditions(pop, tmp_path):
    with pop.counting():
        urls = [f"{pop.clear}/vod/b/{n}/{KEEP}" for n in range(1000, 1100)]
        args = [x for u in urls for x in ("-o", "/dev/null", u)]
        many = [x.replace(pop.clear, pop.tls) for x in args]
        assert run("curl", "-sSkZ", "-w", "%{http_code} ", *many) == b"200 " * 100
        assert run("curl", "-sS", "-r", "5-9", "-o", "/dev/null", "-w", "%{http_code} ", *args) == b"206 " * 100
        tag = re.search(rb"(?im)^etag: (\S+)", run("curl", "-sSI", urls[0]))
        if tag is not None:
            out = run("curl", "-sS", "-H", f"If-None-Match: {tag[1].decode()}", "-w", "%{http_code}", urls[0])
            assert out == b"304"


def test_nghttp_with_priorities_padding_and_trailers(pop):
    with pop.counting():
        for more in (["--no-dep"], ["-p", "7"], ["-b", "200"], ["-c", "0"], ["-w", "10", "-W", "10"]):
            out = run("nghttp", "-nsv", *more, pop.clear + SMALL)
            assert b"GOAWAY" not in out.split(b"send GOAWAY")[0]
            assert re.search(rb" 200 ", out)
