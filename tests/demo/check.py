#!/usr/bin/env python3
"""What demo.sh --once wants to know: whether a short broadcast plays at every POP.

    check.py APP/STREAM DC_ADMIN (POP ADMIN)...        URLs, in the clear

While it is on the air, a few players at each POP follow it, and ffmpeg plays the manifest. When it
is over, everything that the manifest lists is fetched once more, from each POP, and must be the
same bytes everywhere and decode without a word; the counters must then say that each POP has
fetched each segment once (manifests and init segments are pushed to it). Only Python's own library, and ffmpeg. Exit 0: PASS, 1: FAIL.
"""

import hashlib
import http.client
import pathlib
import statistics
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import openmetrics  # noqa: E402
from boxes import Bad, Checker  # noqa: E402
from dash import Mpd  # noqa: E402

PLAYERS = 10  # at each POP
PLAY_S = 6  # how long ffmpeg plays, three segments
PATIENCE_S = 40  # for anything
NTP_1970 = 2208988800
MOST_BEHIND_S = 1.0  # the median chunk, when its last byte is at a player
FIGURES = [
    ("players", "{players}"),
    ("requests for segments", "{requests}"),
    ("segments of the broadcast", "{segments}"),
    ("fetched from the data centre", "{fills}"),
    ("frames decoded / sent", "{decoded} / {frames}"),
    ("frames that ffmpeg played live", "{live}"),
    ("a chunk at the player: median", "{median:.2f} s"),
    ("  99th percentile", "{p99:.2f} s"),
]


def step(what):
    print("==", what, flush=True)


def get(url):
    """status and body; an HTTP error is an answer too."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def counter(admin, name, **labels):
    """The sum of a counter's series that have these labels."""
    status, page = get(admin + "/metrics")
    assert status == 200, f"{admin}/metrics: {status}"
    want = set(labels.items())
    return int(sum(v for (n, had), v in openmetrics.parse(page.decode()).items()
                   if n == name and want <= had))  # fmt: skip


def segments_sent(admin):
    """Answers with a segment, whole or the rest of one."""
    return sum(counter(admin, "freshet_http_requests_total", object="segment", code=c)
               for c in ("200", "206"))  # fmt: skip


class Pop:
    def __init__(self, number, stream, base, admin):
        self.name = f"POP {number}"
        self.page, self.admin = f"{base}/{stream}/manifest.mpd", admin
        self.lock = threading.Lock()
        self.seen = {}  # path -> SHA-256 of its bytes, as players got them
        self.ages, self.wrong = [], []
        self.live = 0

    def say(self, what):
        with self.lock:
            self.wrong.append(what)

    def mpd(self, wanted, patience_s=PATIENCE_S):
        """The first manifest for which wanted(mpd) holds, and its text."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            status, body = get(self.page)
            if status == 200:
                mpd = Mpd(self.page, body.decode())
                if wanted(mpd):
                    return mpd
            time.sleep(0.1)
        raise AssertionError(f"{self.name}: no such manifest within {patience_s} s, last {status}")

    def note(self, path, body):
        """All that anybody gets under one name must be the same."""
        digest = hashlib.sha256(body).hexdigest()
        with self.lock:
            if self.seen.setdefault(path, digest) != digest:
                self.wrong.append(f"{path}: other bytes than before")


# ---- while it is on the air ----


def read_chunks(answer, ages):
    """Reads a segment as it comes; when each chunk is whole, it notes how old its first frame is."""
    body, at, made = b"", 0, None
    while piece := answer.read1(1 << 16):
        body += piece
        while len(body) >= at + 8:
            size, kind = struct.unpack_from(">I4s", body, at)
            if len(body) < at + size:
                break
            if kind == b"prft":  # the home's clock, when it was sent
                seconds, part = struct.unpack_from(">II", body, at + 16)
                made = seconds - NTP_1970 + part / 2**32
            elif kind == b"mdat" and made is not None:
                ages.append(time.time() - made)
            at += size
    if answer.length:  # with Content-Length, the library does not say so
        raise http.client.IncompleteRead(body, answer.length)
    return body


def follow(pop, rep):
    """A player's loop for one rendition: one segment after the other, each asked for early."""
    where = urlsplit(rep.init)
    wire = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE_S)
    number, first = rep.segments[-1][0], True
    while True:
        path = urlsplit(rep.url(number)).path
        wire.request("GET", path)
        answer = wire.getresponse()
        ages = []
        body = read_chunks(answer, ages)
        if answer.status == 200:
            pop.note(path, body)
            with pop.lock:
                pop.ages += [] if first else ages  # of the first one it gets what is there already
            number, first = number + 1, False
        elif answer.status != 404:
            pop.say(f"{path}: {answer.status}")
            return
        elif pop.mpd(bool).type == "static":
            return
        else:
            time.sleep(0.1)  # too early


def watch(pop, rep):
    try:
        follow(pop, rep)
    except (AssertionError, OSError, http.client.HTTPException) as e:
        pop.say(f"a player of {rep.init}: {e!r}")


def ffmpeg(*args, feed=None):
    """How many frames it has decoded, and what it complained about."""
    r = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", "ffmpeg", "-v", "warning", "-nostdin", *args,
         "-progress", "-", "-f", "null", "-"],
        input=feed, capture_output=True, timeout=PATIENCE_S)  # fmt: skip
    frames = [x[6:] for x in r.stdout.decode().splitlines() if x.startswith("frame=")]
    said = r.stderr.decode().strip()
    return int(frames[-1]) if frames else 0, said or ("" if r.returncode == 0 else "it failed")


def play_live(pop):
    """As much as there is: at the live edge ffmpeg's demuxer takes a number for an index."""
    try:
        pop.mpd(lambda m: m.latest() >= PLAY_S / 2 + 1)
        pop.live, said = ffmpeg("-i", pop.page, "-t", str(PLAY_S), "-map", "0:v", "-map", "0:a")
    except (AssertionError, subprocess.TimeoutExpired) as e:
        said = str(e)
    if said:
        pop.say(f"ffmpeg played it live and said: {said}")


def on_air(pops):
    threads = []
    for pop in pops:
        on = pop.mpd(lambda m: m.latest() > 0 and all(r.open for _, _, r in m.reps()))
        reps = [r for _, _, r in on.reps()]
        threads += [threading.Thread(target=watch, args=(pop, r)) for r in reps * PLAYERS]
        threads.append(threading.Thread(target=play_live, args=(pop,)))
    step(f"{PLAYERS} players and an ffmpeg at each POP")
    for t in threads:
        t.start()
    for t in threads:
        t.join()


# ---- when it is over ----


def decode(pop, init, segments):
    frames, said = ffmpeg("-i", "pipe:", feed=init + b"".join(segments))
    if said:
        pop.say(f"ffmpeg decoded it and said: {said}")
    return frames


def fetch_all(pop):
    """Everything that the last manifest lists; returns the manifest, how many segments, and of the
    pictures how many frames were sent and decoded."""
    mpd = pop.mpd(lambda m: m.type == "static")
    count = sent = decoded = 0
    for period, name, rep in mpd.reps():
        parts = []
        for url in [rep.init] + [rep.url(n) for n, _, _ in rep.closed()]:
            status, body = get(url)
            if status != 200:
                pop.say(f"{url}: {status}")
                return mpd, count, sent, decoded
            pop.note(urlsplit(url).path, body)
            parts.append(body)
        count += len(parts) - 1
        got = decode(pop, parts[0], parts[1:])
        c = Checker(parts[0], mpd.ast_s(), rep.pto)
        try:
            for part in parts[1:]:
                c.segment(part)
        except Bad as e:
            pop.say(f"{period} {name}: {e}")
        if c.init.video:
            sent += c.samples
            decoded += got
    return mpd, count, sent, decoded


def judge(pop, texts):
    """Its figures; what is wrong with them goes with what was wrong before."""
    mpd, segments, frames, decoded = fetch_all(pop)
    texts.add(mpd.text)
    fills = counter(pop.admin, "freshet_cache_fills_total")
    got = sum(path.endswith(".m4s") for path in pop.seen)
    ages = sorted(pop.ages) or [float("nan")]
    f = {"players": PLAYERS, "requests": segments_sent(pop.admin), "segments": segments,
         "fills": fills, "frames": frames, "decoded": decoded, "live": pop.live,
         "median": statistics.median(ages), "p99": ages[len(ages) * 99 // 100]}  # fmt: skip
    for good, what in [
        (len(pop.ages) > 100, f"players saw {len(pop.ages)} chunks come"),
        (f["median"] < MOST_BEHIND_S, f"chunks are {f['median']:.2f} s old"),
        (fills == segments, f"{fills} fetches of {segments} segments"),
        (got == segments, f"players got {got} segments, listed are {segments}"),
        (f["requests"] > 4 * segments, "the players did not ask for the same segments"),
        (0 < frames == decoded, f"{decoded} of {frames} frames decode"),
        (pop.live >= PLAY_S * 30 - 2, f"ffmpeg played {pop.live} frames in {PLAY_S} s"),
    ]:
        if not good:
            pop.say(what)
    return f


def show(pops, figures, dc):
    print(f"\n  {'':34}" + "".join(f"{p.name:>14}" for p in pops))
    for label, form in FIGURES:
        print(f"  {label:34}" + "".join(f"{form.format(**f):>14}" for f in figures))
    print(f"\n  The data centre was asked for {dc} segments by {len(pops)} POPs;"
          f" their players asked for {sum(f['requests'] for f in figures)}.\n")  # fmt: skip


def main(stream, dc_admin, *rest):
    pops = [Pop(i // 2 + 1, stream, *rest[i : i + 2]) for i in range(0, len(rest), 2)]
    on_air(pops)
    step("it is over: fetching and decoding all of it once more")
    texts = set()
    figures = [judge(p, texts) for p in pops]
    dc = segments_sent(dc_admin)
    show(pops, figures, dc)
    wrong = [f"{p.name}: {w}" for p in pops for w in p.wrong]
    if len(texts) != 1 or any(p.seen != pops[0].seen for p in pops):
        wrong.append("the POPs do not serve the same broadcast")
    if dc != sum(f["fills"] for f in figures):
        wrong.append(f"the data centre answered {dc} requests for segments")
    for w in list(dict.fromkeys(wrong))[:20]:
        print(f"  wrong: {w[:500]}")
    print("FAIL" if wrong else "PASS")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (AssertionError, OSError) as e:
        print(f"  wrong: {e}\nFAIL")
        sys.exit(1)
