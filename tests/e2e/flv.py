"""FLV for the tests: ffmpeg makes it, the marks between the tags are ours."""

import struct
import subprocess

AUDIO, VIDEO, SCRIPT = 8, 9, 18
HEADER = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"


def make(path, seconds=6, rate="30", bf=0, sample_rate=48000, gop=60, size="320x180", audio=True):
    cmd = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}"]
    if audio:
        cmd += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={sample_rate}"]
    cmd += ["-t", str(seconds), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    cmd += ["-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0", "-bf", str(bf)]
    cmd += ["-b_strategy", "0", "-c:a", "aac", "-b:a", "64k", "-f", "flv", str(path)]
    subprocess.run(cmd, check=True, stdin=subprocess.DEVNULL)
    return path


def tags(path):
    """(type, ms, body) of each tag."""
    data = path.read_bytes()
    at, out = 13, []
    while at < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        ms = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        out.append((kind, ms, data[at + 11 : at + 11 + size]))
        at += 11 + size + 4
    return out


def is_config(tag):
    return tag[0] != SCRIPT and tag[2][1] == 0


def tag(kind, ms, body):
    head = bytes([kind]) + len(body).to_bytes(3, "big")
    head += (ms & 0xFFFFFF).to_bytes(3, "big") + bytes([ms >> 24 & 255, 0, 0, 0])
    return head + body + (11 + len(body)).to_bytes(4, "big")


def mark(number, ms, anchor_us, discontinuity=False):
    def key(name, value):
        return len(name).to_bytes(2, "big") + name.encode() + value

    def num(v):
        return b"\0" + struct.pack(">d", v)

    body = b"\x02" + key("_freshet", b"\x08\0\0\0\0")
    body += key("v", num(1)) + key("tag", num(number)) + key("base_ms", num(ms))
    body += key("discontinuity", bytes([1, discontinuity])) + key("arrival_us", num(anchor_us))
    body += key("anchor_us", num(anchor_us)) + b"\0\0\x09"
    return tag(SCRIPT, ms, body)


def broadcast(all_tags, anchor_us, first=1, shift_ms=0):
    """What the home sends: header, configurations, marks, and the tags from number `first` on.

    Configurations are tags with numbers too; those before `first` come again at the start."""
    out = [HEADER]
    for n, t in enumerate(all_tags, 1):
        if n < first and is_config(t):
            out.append(tag(t[0], t[1] + shift_ms, t[2]))
    for n, t in enumerate(all_tags, 1):
        if n < first:
            continue
        if n == first or n % 50 == 0:
            out.append(mark(n, t[1] + shift_ms, anchor_us))
        out.append(tag(t[0], t[1] + shift_ms, t[2]))
    return out
