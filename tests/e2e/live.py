"""Live streams for tests: a publisher, waiting for a manifest, a close look at what it lists."""

import os
import shutil
import ssl
import subprocess
import time
import urllib.request

from boxes import Bad, Checker
from conftest import PATIENCE, get
from dash import Mpd

FFMPEG = shutil.which("ffmpeg")
FPS = 30


class Publisher:
    """An ffmpeg that publishes a test picture and a tone at their own pace."""

    def __init__(self, url, seconds=None, *more):
        command = [FFMPEG, "-v", "error", "-nostdin", "-re",
                   "-f", "lavfi", "-i", f"testsrc2=s=320x180:r={FPS}",
                   "-f", "lavfi", "-i", "sine=r=48000"]  # fmt: skip
        command += ["-t", str(seconds)] if seconds else []
        command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
                    "-threads", "1", "-g", "60", "-c:a", "aac", *more,
                    "-flvflags", "no_duration_filesize", "-f", "flv", url]  # fmt: skip
        self.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True)  # fmt: skip

    def send(self, number):
        self.proc.send_signal(number)

    def wait(self):
        """How it ended, and what it said."""
        said = self.proc.communicate(timeout=PATIENCE * 2)[1]
        return self.proc.returncode, said.strip()

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.communicate()


def fetch(url):
    """Also over TLS, with whatever certificate."""
    if not url.startswith("https"):
        return get(url)[2]
    loose = ssl.create_default_context()
    loose.check_hostname, loose.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, timeout=PATIENCE, context=loose) as r:
        return r.read()


def wait_mpd(url, wanted, patience=None):
    """The first manifest for which wanted(mpd) holds."""
    until = time.monotonic() + (patience or PATIENCE)
    mpd = None
    while time.monotonic() < until:
        status, _, text = get(url)
        if status == 200:
            mpd = Mpd(url, text.decode())
            if wanted(mpd):
                return mpd
        time.sleep(0.05)
    raise AssertionError(f"no such manifest at {url}:\n{mpd.text if mpd else status}")


class Viewer:
    """Fetches every closed segment once, in the order of the manifests that it is given, and holds
    it against its boxes and the timeline: no gap and no overlap in a Period, times as they are
    announced, numbers that rise for ever."""

    def __init__(self):
        self.checkers = {}  # (Period, rendition): a Checker
        self.last = {}  # rendition: the highest number
        self.samples = {}  # rendition: how many there were

    def take(self, mpd):
        for period, name, rep in mpd.reps():
            for n, t, d in rep.closed():
                c = self.checkers.get((period, name))
                if c is None:
                    c = Checker(fetch(rep.init), mpd.ast_s(), rep.pto)
                    self.checkers[period, name] = c
                elif c.segments and t < c.end:
                    continue  # seen
                self.one(c, f"{period} {name}/{n}", name, rep.url(n), (n, t, d))
        return self

    def one(self, c, where, name, url, listed):
        n, t, d = listed
        assert n > self.last.get(name, 0), f"{where}: after {self.last.get(name)}"
        assert not c.segments or n == self.last[name] + 1, f"{where}: after {self.last[name]}"
        assert c.end in (None, t), f"{where}: the timeline has {t} where {c.end} is due"
        self.last[name] = n
        before = c.samples
        try:
            c.segment(fetch(url))
        except Bad as e:
            raise Bad(f"{where}: {e}") from e
        assert c.segments[-1] == [t, t + d], f"{where}: {c.segments[-1]}, listed as {[t, t + d]}"
        self.samples[name] = self.samples.get(name, 0) + c.samples - before


def check_media(mpd):
    """How many samples there are of each rendition; all that is listed is as it should be."""
    return Viewer().take(mpd).samples


def play(url, seconds=None):
    """How many pictures ffmpeg shows; it has nothing to complain about."""
    command = [FFMPEG, "-v", "warning", "-nostdin", "-tls_verify", "0", "-i", url]
    if not url.startswith("https"):
        del command[4:6]
    command += ["-t", str(seconds)] if seconds else []
    command += ["-map", "0:v", "-map", "0:a", "-progress", "-", "-f", "null", os.devnull]
    r = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3)
    assert r.returncode == 0 and r.stderr == "", r.stderr
    return int([x for x in r.stdout.splitlines() if x.startswith("frame=")][-1].split("=")[1])
