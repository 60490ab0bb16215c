"""Reloads under load: no connection is closed, every transfer is whole, the new value counts at once."""

import contextlib
import signal
import socket
import ssl

import pytest
from conftest import (
    PATIENCE,
    QUIET,
    crowd_end,
    crowd_start,
    get,
    make_certificate,
    metric,
)

KEEP = "cc=max-age%3D60"
SIZE = 250 << 10
IDLE = 400


class Client:
    """One connection of HTTP/1.1, kept."""

    def __init__(self, url, context=None):
        scheme, rest = url.split("://")
        host, port = rest.rsplit(":", 1)
        self.sock = socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")

    def ask(self, path):
        """status, headers (names in lower case), body"""
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        status = self.file.readline().split()
        assert status, "the connection was closed"
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return int(status[1]), headers, self.file.read(int(headers["content-length"]))

    def ended(self):
        """Waits for the end of it."""
        return self.file.read(1) == b""

    def certificate(self):
        return self.sock.getpeercert(binary_form=True)

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def dial():
    with contextlib.ExitStack() as all_of_them:

        def go(url, context=None):
            c = Client(url, context)
            all_of_them.callback(c.close)
            return c

        yield go


def trusting():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def config(origin, listen=("127.0.0.1:0",), limits="", extra=""):
    listen = ", ".join(f'"{x}"' for x in listen)
    return (
        QUIET + extra + f"edge: {{listen: [{listen}], limits: {{{limits}}}}}\n"
        f'apps: {{vod: {{origin: "{origin.url}"}}}}\n'
    )


def reload(f, text):
    f.write(text)
    done = f.cli("reload")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_twenty_reloads_under_load_close_nothing(launch, slow_origin, dial):
    origin = slow_origin()
    f = launch(config(origin)).wait_ready()
    (url,) = f.urls("edge.listen")
    small = f"/vod/b/100?{KEEP}"
    body = get(url + small)[2]
    idle = [dial(url) for _ in range(IDLE)]
    for c in idle:
        assert c.ask(small)[2] == body
    # one that flows all the time, and one that stands still until the reloads are over
    drip = crowd_start(f"{url}/vod/drip/{SIZE}?over=3000&{KEEP}", "--n", 50, "--size", SIZE)
    gated = crowd_start(f"{url}/vod/b/{SIZE}?gate=g&at=100000&{KEEP}", "--n", 50, "--size", SIZE)
    origin.ask(f"/__wait/1/vod/drip/{SIZE}")
    origin.ask(f"/__wait/1/vod/b/{SIZE}")
    for i in range(20):
        listen = ["127.0.0.1:0"] + (["[::1]:0"] if i % 2 else [])
        limits = f"keepalive: {30 + i}s, not_found_ttl: {i + 1}ms"
        reload(f, config(origin, listen, limits, f"log: {{level: {'info' if i % 2 else 'note'}}}\n"))
        assert len(f.urls("edge.listen")) == len(listen)
    assert f.urls("edge.listen")[0] == url
    origin.ask("/__open/g")
    assert crowd_end(gated)["ok"] == crowd_end(drip)["ok"] == 50
    for c in idle:
        assert c.ask(small)[2] == body
    assert metric(f, "freshet_http_closes_total", reason="reload") == 0
    assert metric(f, "freshet_config_generation") == 21
    assert metric(f, "freshet_config_reload_total", result="ok") == 20
    for path in (f"/vod/drip/{SIZE}", f"/vod/b/{SIZE}"):
        assert origin.stats(path)["requests"] == 1


def test_the_new_origin_is_asked_as_soon_as_reload_returns(launch, slow_origin, dial):
    origins = [slow_origin(), slow_origin()]
    f = launch(config(origins[0])).wait_ready()
    (url,) = f.urls("edge.listen")
    kept = [dial(url) for _ in range(8)]  # on both loops, most likely
    for i in range(10):
        now, other = origins[i % 2], origins[1 - i % 2]
        reload(f, config(now))
        for k, c in enumerate(kept):
            path = f"/vod/b/50/{i}-{k}"
            assert c.ask(path)[0] == 200
            assert now.stats(path)["requests"] == 1
            assert other.stats(path)["requests"] == 0


def test_a_fetch_under_way_ends_at_the_old_origin(launch, slow_origin):
    old, new = slow_origin(), slow_origin()
    f = launch(config(old)).wait_ready()
    (url,) = f.urls("edge.listen")
    path = f"/vod/b/{SIZE}"
    running = crowd_start(f"{url}{path}?gate=g&at=100000&{KEEP}", "--n", 20, "--size", SIZE)
    old.ask(f"/__wait/1{path}")
    reload(f, config(new))
    joined = crowd_start(f"{url}{path}?gate=g&at=100000&{KEEP}", "--n", 20, "--size", SIZE)
    old.ask("/__open/g")
    assert crowd_end(running)["ok"] == crowd_end(joined)["ok"] == 20
    assert old.stats(path)["requests"] == 1
    assert new.stats(path)["requests"] == 0


def test_limits_count_at_once_also_for_connections_that_are_there(launch, slow_origin, dial):
    origin = slow_origin()
    f = launch(config(origin)).wait_ready()
    (url,) = f.urls("edge.listen")
    kept = [dial(url) for _ in range(8)]
    for c in kept:
        assert "connection" not in c.ask("/nothing")[1]
    said = reload(f, config(origin, limits="requests_per_connection: 2"))
    assert "edge.limits.requests_per_connection: 1000000 -> 2 (live)\n" in said
    for c in kept:
        assert c.ask("/nothing")[1]["connection"] == "close"
        assert c.ended()


def test_a_shorter_keepalive_counts(launch, slow_origin, dial):
    origin = slow_origin()
    f = launch(config(origin, limits="keepalive: 1h")).wait_ready()
    (url,) = f.urls("edge.listen")
    there, busy = dial(url), dial(url)
    there.ask("/nothing")
    reload(f, config(origin, limits="keepalive: 200ms"))
    busy.ask("/nothing")
    assert busy.ended()
    assert there.ask("/nothing")[0] == 404  # silent since before: it has the time that it was given


def test_listeners_come_and_go_and_their_connections_stay(launch, slow_origin, short_dir, dial):
    origin = slow_origin()
    f = launch(config(origin)).wait_ready()
    (first,) = f.urls("edge.listen")
    sock = short_dir / "edge.sock"
    reload(f, config(origin, ["127.0.0.1:0", "[::1]:0", f"unix:{sock}"]))
    assert f.urls("edge.listen")[0] == first
    second = f.urls("edge.listen")[1]
    kept = dial(second)
    assert kept.ask("/nothing")[0] == 404
    assert sock.exists()
    reload(f, config(origin))
    assert f.urls("edge.listen") == [first]
    with pytest.raises(ConnectionRefusedError):
        dial(second)
    assert not sock.exists()
    # whoever came in by it stays
    assert kept.ask("/nothing")[0] == 404
    assert dial(first).ask("/nothing")[0] == 404


def test_a_new_certificate_is_shown_to_new_connections(launch, slow_origin, short_dir, dial):
    origin = slow_origin()
    text = config(origin, ["https://127.0.0.1:0"], extra=make_certificate(short_dir))
    f = launch(text).wait_ready()
    (url,) = f.urls("edge.listen")
    old = dial(url, trusting())
    assert old.ask("/nothing")[0] == 404
    # other files under the same names, and not a word changed in the configuration
    make_certificate(short_dir)
    reload(f, text)
    pem = ssl.PEM_cert_to_DER_cert((short_dir / "cert.pem").read_text())
    for _ in range(8):  # on both loops
        assert dial(url, trusting()).certificate() == pem
    assert old.certificate() != pem
    assert old.ask("/nothing")[0] == 404


def test_a_certificate_that_is_no_good_changes_nothing(launch, slow_origin, short_dir, dial):
    origin = slow_origin()
    tls = make_certificate(short_dir)
    f = launch(config(origin, ["https://127.0.0.1:0"], extra=tls)).wait_ready()
    (url,) = f.urls("edge.listen")
    shown = dial(url, trusting()).certificate()
    certificate = (short_dir / "cert.pem").read_bytes()
    make_certificate(short_dir)
    (short_dir / "cert.pem").write_bytes(certificate)  # the key is another one's now
    f.write(config(origin, ["https://127.0.0.1:0", "[::1]:0"], extra=tls))
    done = f.cli("reload")
    assert done.returncode == 1
    assert f"{short_dir}/key.pem: this is not the key of the certificate" in done.stderr
    assert f.urls("edge.listen") == [url]
    assert dial(url, trusting()).certificate() == shown
    assert metric(f, "freshet_config_generation") == 1


@pytest.mark.parametrize("by", ["reload", "SIGHUP"])
def test_a_broken_file_changes_nothing_and_says_where(launch, slow_origin, dial, by):
    old, new = slow_origin(), slow_origin()
    f = launch(config(old)).wait_ready()
    (url,) = f.urls("edge.listen")
    kept = dial(url)
    assert kept.ask("/vod/b/10/1")[0] == 200
    path = f"/vod/b/{SIZE}"
    running = crowd_start(f"{url}{path}?gate=g&at=100000&{KEEP}", "--n", 20, "--size", SIZE)
    old.ask(f"/__wait/1{path}")
    f.write(config(new, ["127.0.0.1:0", "[::1]:0"]) + "nonsense: 1\n")
    where = f"{f.conf}:6:1: nonsense: unknown key"
    if by == "reload":
        done = f.cli("reload")
        assert done.returncode == 1
        assert where in done.stderr
    else:
        f.send(signal.SIGHUP)
        f.wait_log("nothing changed")
    f.wait_log(where)
    assert f.urls("edge.listen") == [url]
    assert kept.ask("/vod/b/10/2")[0] == 200
    old.ask("/__open/g")
    assert crowd_end(running)["ok"] == 20
    assert new.stats("/vod/b/10/2")["requests"] == 0
    assert metric(f, "freshet_config_reload_total", result="failed") == 1
    # and the next good one is taken
    f.write(config(new))
    f.send(signal.SIGHUP)
    f.wait_log("reloaded", "generation=2")
    assert kept.ask("/vod/b/10/3")[0] == 200
    assert new.stats("/vod/b/10/3")["requests"] == 1
