"""demo.sh, with the programs that are built already: what it checks, and what it leaves behind."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import FRESHET, PATIENCE, ROOT, get, wait_for

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


class Demo:
    """In a session and with a directory for temporary files of its own."""

    def __init__(self, directory, *args):
        env = {**os.environ, "FRESHET_BIN": FRESHET, "TMPDIR": str(directory)}
        self.dir = directory
        self.text = ""
        self.sessions = set()
        self.proc = subprocess.Popen(
            [ROOT / "demo.sh", *args], env=env, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def until(self, words):
        """Reads on until a line has these words."""
        for line in self.proc.stdout:
            self.text += line
            if words in line:
                return self
        raise AssertionError(f"it never said {words}:\n{self.text}")

    def end(self):
        """How it ends, and all it says."""
        self.text += self.proc.communicate(timeout=PATIENCE * 6)[0]
        return self.proc.returncode

    def pids(self):
        """It and all that came of it, whatever their session: {pid: command line}."""
        found, mark = {}, b"TMPDIR=" + os.fsencode(self.dir)
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                session = os.getsid(int(p.name))
                if mark in (p / "environ").read_bytes().split(b"\0"):
                    self.sessions.add(session)
                if session in self.sessions:  # a worker has no environment
                    found[int(p.name)] = (p / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                pass  # it is gone
        return {pid: line for pid, line in found.items() if line}  # else it is init's to reap

    def left(self):
        """Processes and files; those that die with their parent may take a moment."""
        until = time.monotonic() + 2
        while (left := [*self.pids().values(), *self.dir.iterdir()]) and time.monotonic() < until:
            time.sleep(0.02)
        return left


@pytest.fixture
def demo(short_dir):
    started = []

    def go(*args):
        started.append(Demo(short_dir, *args))
        return started[-1]

    yield go
    for d in started:
        if d.proc.poll() is None:
            d.proc.terminate()
            d.end()


def test_once_both_pops_play(demo):
    d = demo("--once")
    assert d.end() == 0, d.text
    assert d.text.endswith("\nPASS\n"), d.text
    figures = dict(re.findall(r"^  ([a-z].*?)  +(\d.*)$", d.text, re.M))
    segments = figures["segments of the broadcast"].split()
    assert figures["fetched from the data centre"].split() == segments
    assert d.left() == []


def test_it_runs_until_ctrl_c_and_leaves_nothing(demo):
    try:
        taken = socket.create_server(("127.0.0.1", 8081))
    except OSError:
        taken = socket.socket()  # by somebody else, which is as good
    with taken:
        d = demo().until("Stop with Ctrl-C.")
        pages = re.findall(r"(http://\S+)/watch/live/demo", d.text)
        statuses = re.findall(r"http://\S+/status", d.text)
        assert len(pages) == 2 and len(statuses) == 3
        assert not pages[0].endswith(":8081")
        for page in pages:
            wait_for(lambda page=page: get(page + "/live/demo/manifest.mpd")[0] == 200)
            assert get(page + "/watch/live/demo")[0] == 200
        for status in statuses:
            assert get(status)[0] == 200
        freshets = [pid for pid, line in d.pids().items() if " run -c " in line]
        assert len(freshets) == 3
        assert d.proc.pid not in map(os.getpgid, freshets), "Ctrl-C is the script's"
        os.killpg(d.proc.pid, signal.SIGINT)  # as a terminal does
        assert d.end() == 0, d.text
    assert d.left() == []
    for page in pages:
        with pytest.raises(OSError):
            get(page)


def test_sigterm_in_the_middle_leaves_nothing(demo):
    d = demo("--once").until("broadcasting")
    wait_for(lambda: any("-progress" in c for c in d.pids().values()))  # of the check
    d.proc.terminate()
    assert d.end() == 143, d.text
    assert d.left() == []


def test_once_fails_when_a_pop_dies(demo):
    d = demo("--once").until("broadcasting")
    (pop,) = [p for p, c in d.pids().items() if "pop2.yaml" in c and "run" in c.split()]
    os.kill(pop, signal.SIGKILL)
    assert d.end() == 1, d.text
    assert "pop2 has ended" in d.text and "PASS" not in d.text
    assert d.left() == []
