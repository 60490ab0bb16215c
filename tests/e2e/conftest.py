"""Helpers: a freshet of our own, which is always ended, by its pid."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FRESHET = os.environ.get("FRESHET_BIN", str(ROOT / "build/dev/freshet"))
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

    def __init__(self, directory, text):
        self.dir = pathlib.Path(directory)
        self.conf = self.dir / "freshet.yaml"
        self.run_dir = self.dir / "run"
        self.log = []
        self._changed = threading.Condition()
        self._ended = False
        self.write(text)
        self.proc = subprocess.Popen(
            [FRESHET, "run", "-c", str(self.conf)],
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

    def kill(self):
        """However it stands: this process, and no other."""
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait(PATIENCE)
        self._reader.join(PATIENCE)
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

    def go(text, name="a"):
        directory = short_dir / name
        directory.mkdir(exist_ok=True)
        started.append(Freshet(directory, text))
        return started[-1]

    yield go
    for one in started:
        one.kill()


QUIET = 'admin: {listen: ["127.0.0.1:0"]}\nloops: 2\n'  # what every test box needs
