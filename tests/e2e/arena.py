"""A cache under attack: the process, its origin, its counters, and two bystanders.

The bystanders ask for one object again and again, one over HTTP/1.1 and one over HTTP/2, from
addresses of their own, for as long as the process runs. Each test sees to it that they were served
well meanwhile. Limits are set by reloads, which is how an operator would, and proves the keys.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import tempfile
import threading
import time

import pytest
from conftest import FRESHET, Freshet, make_certificate
from wire import H2, PATIENCE, Ended, Wire, content, eventually

ORIGIN = pathlib.Path(FRESHET).parent / "tests/load/slow_origin"
BINARY = pathlib.Path(FRESHET).read_bytes()
SANITIZED = b"__asan_init" in BINARY or b"__tsan_init" in BINARY
SLOW = 5 if SANITIZED else 1  # what takes longer there
KEEP = "cc=max-age=3600"
SMALL, BIG = f"/vod/b/20000/{KEEP}", f"/vod/b/8000000/{KEEP}"
SERIES = re.compile(r"^(freshet_\w+)(?:\{(.*)\})? (\S+)$")


class Bystander(threading.Thread):
    """Asks for the same object all the time; `wrong` says what went wrong, and when it was slow."""

    slowest = 2.0 * SLOW

    def __init__(self, url, proto, source):
        super().__init__(daemon=True, name=f"bystander-{proto}")
        self.url, self.proto, self.source = url, proto, source
        self.served = 0
        self.wrong = None
        self._over = threading.Event()
        self._body = content(SMALL, 20000)
        self._wire = None

    def _ask(self):
        if self._wire is None:
            kind = H2 if self.proto == "h2" else Wire
            self._wire = kind(self.url, source=self.source)
        if self.proto == "h2":
            status, body = self._wire.fetch(SMALL)
            again = self._wire.goaway is None
        else:
            self._wire.get(SMALL)
            status, fields, body = self._wire.answer()
            again = fields.get("connection") != "close"
        assert status == 200 and body == self._body, (status, len(body))
        if not again:  # told so in good order
            self._wire.close()
            self._wire = None

    def run(self):
        while not self._over.wait(0.01):
            began = time.monotonic()
            try:
                self._ask()
                took = time.monotonic() - began
                assert took < self.slowest, f"it took {took:.1f} s"
                self.served += 1
            except (AssertionError, Ended, OSError, ValueError) as e:
                self.wrong = f"{self.proto} after {self.served}: {e!r}"
                return

    def stop(self):
        self._over.set()
        self.join(PATIENCE)
        if self._wire is not None:
            self._wire.close()


class Arena:
    """A process under attack, and what it says about itself. Has .freshet, .admin, _text()."""

    families = {}  # short name: (metric, text of its labels)
    always = ()  # families in which nothing may move that was not foretold
    noise = {}  # what bystanders, scrapes and late ends of other tests move

    @contextlib.contextmanager
    def limited(self, **limits):
        """The same process with these limits in force; the defaults come back afterwards."""
        self._reload(limits)
        try:
            yield
        finally:
            self._reload({})

    def _reload(self, limits):
        self.freshet.write(self._text(limits))
        done = self.freshet.cli("reload")
        assert done.returncode == 0, done.stderr

    def metrics(self):
        with Wire(self.admin) as w:
            w.get("/metrics", "Connection: close")
            status, _, body = w.answer()
            assert status == 200
        found = {}
        for line in body.decode().splitlines():
            if m := SERIES.match(line):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', m[2] or ""))
                found.setdefault(m[1], []).append((labels, float(m[3])))
        return found

    def counters(self):
        """{family: {label text: count}}, summed over the labels that the text leaves out."""
        found, all_of_it = {}, self.metrics()
        for family, (name, text) in self.families.items():
            sums = found[family] = {}
            for labels, value in all_of_it.get(name, []):
                key = text.format(**labels)
                sums[key] = sums.get(key, 0) + int(value)
        return found

    @contextlib.contextmanager
    def counting(self, **wanted):
        """counting(closes={"bad_request": 1}): exactly these move, and nothing else that is not
        noise, in the families named and in those that always count (None: not)."""
        before = self.counters()
        yield
        wanted = {**{f: {} for f in self.always}, **wanted}
        wanted = {f: w for f, w in wanted.items() if w is not None}

        def moved():
            now = self.counters()
            return {
                f: {k: v - before[f].get(k, 0) for k, v in now[f].items()
                    if v != before[f].get(k, 0) and (k in wanted[f] or k not in self.noise.get(f, ()))}
                for f in wanted
            }  # fmt: skip

        def enough():
            got = moved()
            return all(got[f].get(k, 0) >= n for f in wanted for k, n in wanted[f].items())

        eventually(enough)
        assert moved() == wanted

    def rss_kib(self):
        for line in open(f"/proc/{self.freshet.proc.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    @contextlib.contextmanager
    def growing_at_most(self, mib):
        """Its resident memory, at the end of the block and once more when it has settled."""
        before = self.rss_kib()
        yield
        grown = (self.rss_kib() - before) / 1024
        assert SANITIZED or grown <= mib, f"grew by {grown:.1f} MiB"


class Pop(Arena):
    """A cache, its origin and its bystanders."""

    families = {
        "closes": ("freshet_http_closes_total", "{reason}"),
        "resets": ("freshet_http_streams_reset_total", "{reason}"),
        "limits": ("freshet_limit_hits_total", "{limit}"),
        "codes": ("freshet_http_requests_total", "{proto} {code}"),
        "handshakes": ("freshet_tls_handshakes_total", "{result}"),
    }
    always = ("closes", "resets", "limits")
    noise = {"closes": {"done", "peer_fin", "peer_reset"}, "codes": {"h1 200", "h2 200"}}

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self._tls = make_certificate(self.dir)
        self._origin = subprocess.Popen(
            [ORIGIN, "--with-parent"], stdout=subprocess.PIPE, text=True
        )
        self.origin = self._origin.stdout.readline().strip()
        self.limits = {}
        self.freshet = Freshet(self.dir, self._text({})).wait_ready()
        (self.admin,) = self.freshet.urls("admin.listen")
        self.clear, self.tls = self.freshet.urls("edge.listen")
        self.bystanders = [
            Bystander(self.clear, "h1", "127.0.0.11"),
            Bystander(self.clear, "h2", "127.0.0.12"),
        ]
        for b in self.bystanders:
            b.start()
        self.well()

    def _text(self, limits):
        keys = ", ".join(f"{k}: {v}" for k, v in limits.items())
        return (
            'admin: {listen: ["127.0.0.1:0"]}\nloops: 2\n'
            f"{self._tls}edge:\n  listen: ['http://127.0.0.1:0', 'https://127.0.0.1:0']\n"
            f"  cache: 256M\n  limits: {{{keys}}}\n"
            f'apps:\n  vod: {{origin: "{self.origin}"}}\n  live: {{}}\n'
        )

    # connections of an attacker

    def wire(self, tls=False, **kw):
        return Wire(self.tls if tls else self.clear, **kw)

    def h2(self, tls=False, **kw):
        return H2(self.tls if tls else self.clear, **kw)

    def asked(self):
        """How many requests have reached the origin."""
        with Wire(self.origin) as w:
            w.get("/__stats", "Connection: close")
            return json.loads(w.answer()[2])["requests"]

    def connections(self):
        return sum(v for _, v in self.metrics()["freshet_http_connections"])

    def well(self):
        """Both bystanders are served, now, and nothing has gone wrong."""
        marks = [b.served for b in self.bystanders]

        def on():
            return all(b.served > m or b.wrong for b, m in zip(self.bystanders, marks))

        served = eventually(on)
        if self.freshet.proc.poll() is not None:
            pytest.fail("it died:\n" + "\n".join(self.freshet.log[-60:]))
        assert served, "a bystander waits"
        wrong = [b.wrong for b in self.bystanders if b.wrong]
        if wrong:
            pytest.fail("\n".join(wrong))

    def end(self):
        for b in self.bystanders:
            b.stop()
        self._origin.terminate()
        self._origin.wait(PATIENCE)
        self._origin.stdout.close()
        try:
            status = self.freshet.stop()
        finally:
            self.freshet.end()
        bad = [x for x in self.freshet.log if "Sanitizer" in x or "runtime error" in x]
        assert status == 0 and bad == [], "\n".join(self.freshet.log[-60:])


@pytest.fixture(scope="module")
def arena():
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as d:
        p = Pop(d)
        yield p
        p.end()


@pytest.fixture
def pop(arena):
    """The process with the defaults; afterwards the bystanders must have been served."""
    arena.well()
    yield arena
    arena.well()
