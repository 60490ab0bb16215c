#!/usr/bin/env python3
"""Writes corpus/encode: short broadcasts with small frames, one for each thing that can happen."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import flv  # noqa: E402

AVCC = bytes.fromhex("0142c00dffe100176742c00dda05067e7c0440000003004000000f03c50aa801000468ce0fc8")
AVCC2 = bytes.fromhex(
    "0164000dffe1001a6764000dacd941519e226c3840000003004000000c83c50a658001000668ebe3cb22c0fdf8f800"
)
ANCHOR = (1760000000 + 3) * 1000000


def avc(ms, cts=0, idr=False, body=None):
    nal = bytes([0x65 if idr else 0x41, ms & 255])
    data = len(nal).to_bytes(4, "big") + nal if body is None else body
    head = bytes([0x17 if idr else 0x27, 1]) + (cts & 0xFFFFFF).to_bytes(3, "big")
    return flv.tag(flv.VIDEO, ms, head + data)


def aac(ms):
    return flv.tag(flv.AUDIO, ms, b"\xaf\x01" + bytes([ms & 255]) * 4)


def config(avcc=AVCC, asc=b"\x11\x88"):
    out = b""
    if avcc:
        out += flv.tag(flv.VIDEO, 0, b"\x17\0\0\0\0" + avcc)
    if asc:
        out += flv.tag(flv.AUDIO, 0, b"\xaf\0" + asc)
    return out


def show(start, end, number, gop=10, step=50, cts=lambda i: 0, audio=True, video=True):
    out = flv.mark(number, start, ANCHOR)
    a = start
    for i, ms in enumerate(range(start, end, step)):
        while audio and a <= ms:
            out += aac(a)
            a += 43
        if video:
            out += avc(ms, cts(i), i % gop == 0)
    return out


def main():
    into = HERE / "corpus" / "encode"
    into.mkdir(parents=True, exist_ok=True)
    head = flv.HEADER
    brk = flv.mark(200, 2500, ANCHOR, True)
    files = {
        "plain": config() + show(0, 3000, 1),
        "b_frames": config() + show(0, 2000, 1, cts=lambda i: [50, 150, 0, 0][min(i % 4, 3)]),
        "video_only": config(asc=None) + show(0, 2500, 1, audio=False),
        "audio_only": config(avcc=None) + show(0, 5000, 1, video=False),
        "discontinuity": config() + show(0, 1500, 1) + brk + show(2500, 4000, 200),
        "jump": config() + show(0, 1500, 1) + show(20000, 21500, 200),
        "backwards": config() + show(1000, 2500, 1) + show(0, 1500, 200),
        "new_config": config() + show(0, 1500, 1) + config(AVCC2) + show(1500, 3000, 200),
        "late_audio": config(asc=None) + show(0, 1000, 1) + config(None) + show(1000, 3000, 200),
        "same_times": config() + flv.mark(1, 0, ANCHOR) + b"".join(avc(0, 0, i == 0) for i in range(40)),
        "irregular": config() + show(0, 1500, 1, gop=7) + show(1500, 4000, 200, gop=23),
        "no_idr": config() + show(0, 1000, 1) + avc(11000) + avc(20900) + avc(22000),
        "broken_nal": config() + avc(0, 0, True) + avc(50, 0, False, b"\0\0\0\x09A") + avc(100),
        "wrap": config() + flv.mark(1, 2**32 - 500, ANCHOR) + avc(2**32 - 500, 0, True) + avc(20) + avc(40),
        "cut": (config() + show(0, 500, 1))[:-9],
        "hevc": config() + show(0, 500, 1) + flv.tag(flv.VIDEO, 500, b"\x1c\0\0\0\0\1"),
    }
    for name, data in files.items():
        data = b"\x20" + head + data
        assert len(data) < 8192, (name, len(data))
        (into / name).write_bytes(data)


main()
