#!/usr/bin/env python3
"""Writes corpus/follow: subscriptions as a home serves them, one for each thing that can happen."""

import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
SNAPSHOT, DOC, ANNOUNCE, CLOSE, EXPIRE, END, HEARTBEAT = range(32, 39)
SESSION, OTHER = "m0abcdefghij1", "m9zzzzzzzzzzz"


def record(kind, seq, body=b"", **fields):
    text = json.dumps(fields, separators=(",", ":")).encode()
    return struct.pack(">IBBHQH", 14 + len(text) + len(body), kind, 0, 0, seq, len(text)) + text + body


def snapshot(seq, docs=0, session=SESSION, first=5, latest=7, live=True, epoch=1):
    reps = {"v0": {"first": first, "latest": latest, "open": True},
            "a0": {"first": first, "latest": latest, "open": False}}  # fmt: skip
    return record(SNAPSHOT, seq, logid="00112233445566aa", session=session, epoch=epoch, live=live,
                  segment=2000000, now=1800000000000000, docs=docs, reps=reps)  # fmt: skip


def doc(seq, name="manifest.mpd", body=b"<MPD/>"):
    return record(DOC, seq, body, name=name, type="application/dash+xml", etag="0011", max_age=1,
                  at=1800000000000000)  # fmt: skip


def beat(seq):
    return record(HEARTBEAT, seq, now=1800000001000000, live=True, epoch=1)


def log(seq, n=8):
    return (record(ANNOUNCE, seq, session=SESSION, rep="v0", n=n, at=1800000000000000)
            + doc(seq + 1)
            + record(CLOSE, seq + 2, session=SESSION, rep="v0", n=n - 1, size=4711)
            + record(EXPIRE, seq + 3, rep="v0", first=n - 2))  # fmt: skip


CORPUS = {
    "live": snapshot(10, 2) + doc(3, f"{SESSION}/v0/init-00112233.mp4", b"init") + doc(9)
    + beat(10) + log(11) + beat(14) + log(15, 9),
    "ended": snapshot(10, 1, live=False) + doc(9) + record(END, 10),
    "ends": snapshot(10) + log(11) + record(END, 15) + beat(15),
    "jump": snapshot(10) + log(11) + snapshot(900, first=50, latest=60) + log(901, 61),
    "session": snapshot(10, 1) + doc(9) + snapshot(2, 1, OTHER) + doc(2),
    "unwanted": snapshot(10, epoch=6),
    "hole": snapshot(10) + log(12),
    "far": snapshot(10, first=1, latest=2**53 - 1) + log(11, 2**53 - 1),
    "span": snapshot(10, first=1, latest=1) + log(11, 10**6),
    "names": snapshot(10, 1) + doc(9, "../x/manifest.mpd"),
    "half": (snapshot(10, 1) + doc(9))[:-3],
    "resumed": beat(10),
}  # fmt: skip

for name, data in CORPUS.items():
    (HERE / "corpus/follow").mkdir(parents=True, exist_ok=True)
    (HERE / "corpus/follow" / name).write_bytes(b"\x03" + data)
