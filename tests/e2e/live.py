"""Live streams for tests: a publisher, the manifest as a tree, a close look at segments."""

import os
import shutil
import ssl
import struct
import subprocess
import time
import urllib.request
import xml.etree.ElementTree as ET

from conftest import PATIENCE, get

FFMPEG = shutil.which("ffmpeg")
NS = "{urn:mpeg:dash:schema:mpd:2011}"
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


class Rep:
    def __init__(self, base, e):
        t = e.find(NS + "SegmentTemplate")
        name = e.get("id")
        self.timescale = int(t.get("timescale"))
        self.pto = int(t.get("presentationTimeOffset", "0"))
        self.init = base + t.get("initialization").replace("$RepresentationID$", name)
        self.segments = []  # (number, t, d)
        self.open = t.get("availabilityTimeComplete") == "false"  # the last one still grows
        self.media = base + t.get("media").replace("$RepresentationID$", name)
        number, at = int(t.get("startNumber")), 0
        for s in t.find(NS + "SegmentTimeline"):
            at = int(s.get("t", at))
            for _ in range(int(s.get("r", "0")) + 1):
                self.segments.append((number, at, int(s.get("d"))))
                at += int(s.get("d"))
                number += 1

    def url(self, number):
        return self.media.replace("$Number$", str(number))

    def closed(self):
        return self.segments[:-1] if self.open else self.segments


class Mpd:
    def __init__(self, url, text):
        self.text = text
        root = ET.fromstring(text)
        self.type = root.get("type")
        self.ast = root.get("availabilityStartTime")
        self.periods = {}
        for p in root.iter(NS + "Period"):
            base = url.rsplit("/", 1)[0] + "/" + p.find(NS + "BaseURL").text
            self.periods[p.get("id")] = {
                e.get("id"): Rep(base, e) for e in p.iter(NS + "Representation")
            }

    def reps(self):
        return [(p, name, r) for p, reps in self.periods.items() for name, r in reps.items()]

    def latest(self, name="v0"):
        """Number of the newest listed segment of the newest Period; 0: none."""
        reps = list(self.periods.values())[-1] if self.periods else {}
        return reps[name].segments[-1][0] if name in reps and reps[name].segments else 0


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


def boxes(data, at=0, end=None):
    end = len(data) if end is None else end
    while at < end:
        size, kind = struct.unpack_from(">I4s", data, at)
        assert 8 <= size <= end - at, f"{kind} does not fit at {at}"
        yield kind.decode("latin-1"), at + 8, at + size
        at += size


def chunks_of(data):
    """(decoding time, duration, samples, bytes of media) of each moof and its mdat."""
    kinds = [k for k, _, _ in boxes(data)]
    assert kinds[0] == "styp" and kinds.count("styp") == 1, kinds
    assert kinds.count("moof") == kinds.count("mdat") > 0, kinds
    out = []
    for kind, start, stop in boxes(data):
        if kind == "moof":
            for k, a, b in boxes(data, start, stop):
                if k == "traf":
                    out.append(read_traf(data, a, b))
        elif kind == "mdat":
            assert out[-1][3] == stop - start, "trun and mdat differ"
    return out


def read_traf(data, start, stop):
    duration = size = dts = None
    total = count = media = 0
    for kind, at, end in boxes(data, start, stop):
        flags = struct.unpack_from(">I", data, at)[0]
        if kind == "tfhd":
            assert flags & 0x020000, "default-base-is-moof"
            p = at + 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0)
            if flags & 8:
                duration = struct.unpack_from(">I", data, p)[0]
                p += 4
            if flags & 16:
                size = struct.unpack_from(">I", data, p)[0]
        elif kind == "tfdt":
            dts = struct.unpack_from(">Q" if flags >> 24 else ">I", data, at + 4)[0]
        elif kind == "trun":
            n = struct.unpack_from(">I", data, at + 4)[0]
            p = at + 8 + (4 if flags & 1 else 0) + (4 if flags & 4 else 0)
            for _ in range(n):
                d, s = duration, size
                if flags & 0x100:
                    d = struct.unpack_from(">I", data, p)[0]
                    p += 4
                if flags & 0x200:
                    s = struct.unpack_from(">I", data, p)[0]
                    p += 4
                p += (4 if flags & 0x400 else 0) + (4 if flags & 0x800 else 0)
                total, count, media = total + d, count + 1, media + s
            assert p == end, "trun is longer than its samples"
    return dts, total, count, media


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
