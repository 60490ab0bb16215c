"""Live streams for tests: a publisher, waiting for a manifest, a close look at what it lists."""

import os
import shutil
import ssl
import subprocess
import time
import urllib.request

from conftest import PATIENCE, get
from dash import Mpd, chunks_of

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


def check_media(mpd):
    """No gap and no overlap in a Period, times as the timeline says, numbers that rise for ever.
    Returns how many samples there are of each rendition."""
    last, samples = {}, {}
    for period, name, rep in mpd.reps():
        where = f"{period} {name}"
        assert fetch(rep.init)[4:8] == b"ftyp", where
        at = None
        for n, t, d in rep.closed():
            assert n > last.get(name, 0), f"{where}: number {n} after {last.get(name)}"
            last[name] = n
            at = t if at is None else at
            assert t == at, f"{where}/{n}: the timeline has {t} where {at} is due"
            for dts, total, count, _ in chunks_of(fetch(rep.url(n))):
                assert dts == at, f"{where}/{n}: a chunk at {dts} where {at} is due"
                at += total
                samples[name] = samples.get(name, 0) + count
            assert at == t + d, f"{where}/{n} ends at {at}, not at {t + d}"
    return samples


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
