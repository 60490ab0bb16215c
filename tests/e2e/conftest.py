"""Helpers: a freshet of our own, which is always ended, by its pid."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import openmetrics
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FRESHET = os.environ.get("FRESHET_BIN", str(ROOT / "build/dev/freshet"))
BUILD = os.environ.get("FRESHET_BUILD", "")  # release, asan, ...: what may be asked of its speed
LOAD = pathlib.Path(
    os.environ.get("FRESHET_LOAD_BIN", pathlib.Path(FRESHET).resolve().parent / "tests/load")
)
PATIENCE = float(os.environ.get("FRESHET_TEST_PATIENCE", "20"))  # seconds, for anything


def cli(*args, **kw):
    """Runs one command to its end; the result has returncode, stdout and stderr."""
    return subprocess.run(
        [FRESHET, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, **kw
    )


def make_certificate(directory):
    """Puts cert.pem and key.pem there; returns the configuration that names them."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "30", "-subj", "/CN=localhost",
         "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True)  # fmt: skip
    return f"tls: {{default: {{cert: {directory}/cert.pem, key: {directory}/key.pem}}}}\n"


class Freshet:
    """A running process: a configuration file, a runtime directory, its log so far."""

    def __init__(self, directory, text, program=FRESHET):
        self.dir = pathlib.Path(directory)
        self.conf = self.dir / "freshet.yaml"
        self.run_dir = self.dir / "run"
        self.log = []
        self._changed = threading.Condition()
        self._ended = False
        self.write(text)
        self.proc = subprocess.Popen(
            [program, "run", "-c", str(self.conf)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def write(self, text):
        """Replaces the configuration file at once; the runtime directory is always our own."""
        fresh = self.conf.with_suffix(".new")
        fresh.write_text(f"runtime_dir: {self.run_dir}\n" + text)
        fresh.replace(self.conf)

    def _read(self):
        for line in self.proc.stderr:
            with self._changed:
                self.log.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_log(self, *words, after=0):
        """Waits for a log line with all the words; returns its index."""

        def found():
            for i in range(after, len(self.log)):
                if all(w in self.log[i] for w in words):
                    return i
            return None

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, PATIENCE)
            at = found()
            assert at is not None, f"no line with {words} in:\n" + "\n".join(self.log)
            return at

    def wait_ready(self):
        self.wait_log("ready", "loops=")
        return self

    def cli(self, command, *args):
        return cli(command, "--runtime-dir", self.run_dir, *args)

    def ask(self, command):
        done = self.cli(command, "--json")
        return json.loads(done.stdout)

    def urls(self, section):
        """Where it listens, with the real ports."""
        return [x["actual"] for x in self.ask("listeners")["listeners"] if x["section"] == section]

    def send(self, number):
        self.proc.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Ends it in good order; returns the exit status."""
        self.send(number)
        return self.wait()

    def wait(self):
        status = self.proc.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def end(self):
        """If it still runs, it ends in good order: 0. Else None: how it ended, a test has said."""
        try:
            return self.stop() if self.proc.poll() is None else None
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.wait()
            return "it hangs"
        finally:
            self.proc.stderr.close()


@pytest.fixture
def short_dir():
    """A directory with a name short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as d:
        yield pathlib.Path(d)


@pytest.fixture
def launch(short_dir):
    """launch(yaml) -> a Freshet, not waited for; launch(yaml, name) for one of several."""
    started = []

    def go(text, name="a", **kw):
        directory = short_dir / name
        directory.mkdir(exist_ok=True)
        started.append(Freshet(directory, text, **kw))
        return started[-1]

    yield go
    # a sanitizer says what it has found at the end, and by the exit status
    ends = [(one, one.end()) for one in started]
    for one, status in ends:
        assert status in (None, 0), f"exit {status}:\n" + "\n".join(one.log)


class Origin:
    """A slow_origin (tests/load/script.h tells what its URLs can ask for)."""

    def __init__(self):
        self.proc = subprocess.Popen(
            [LOAD / "slow_origin", "--with-parent"], stdout=subprocess.PIPE, text=True
        )
        self.url = self.proc.stdout.readline().strip()

    def ask(self, page):
        return get(self.url + page)[2]

    def stats(self, path):
        """The counts for a path (without the query); all of them 0 when it was never asked for."""
        none = {"requests": 0, "done": 0, "aborted": 0, "ranges": 0}
        return json.loads(self.ask("/__stats"))["paths"].get(path, none)

    def stop(self):
        self.proc.terminate()
        assert self.proc.wait(PATIENCE) == 0
        self.proc.stdout.close()


@pytest.fixture
def slow_origin():
    """slow_origin() -> an Origin; one more each time."""
    started = []

    def go():
        started.append(Origin())
        return started[-1]

    yield go
    for one in started:
        one.stop()


def get(url, **headers):
    """status, headers, body; an HTTP error is an answer too."""
    req = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(req, timeout=PATIENCE) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def crowd_start(url, *args):
    """Many clients at once (tests/load/crowd.c), in the background."""
    return subprocess.Popen(
        [LOAD / "crowd", "--url", url, "--timeout", "60000", *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
    )


def crowd_end(proc, rc=0):
    """What they saw."""
    out, _ = proc.communicate(timeout=90)
    assert proc.returncode == rc, out
    return json.loads(out)


def crowd(url, *args, rc=0):
    return crowd_end(crowd_start(url, *args), rc)


def metric(f, name, **labels):
    """One sample of the metrics of f; 0 when the series is not shown."""
    (admin,) = f.urls("admin.listen")
    series = openmetrics.parse(get(admin + "/metrics")[2].decode())
    return series.get((name, frozenset(labels.items())), 0)


def wait_for(true):
    """Asks again and again, for as long as a test has patience."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


QUIET = 'admin: {listen: ["127.0.0.1:0"]}\nloops: 2\n'  # what every test box needs
