"""Writes tests/fuzz/corpus/h2: conversations to start from. Run from the top of the tree."""
import os

DATA, HEADERS, PRIO, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONT = range(10)
ES, EH, PAD, PRI = 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


GET = bytes([0x82, 0x86, 0x84]) + b"\x01\x01a"
POST = bytes([0x83, 0x86, 0x84]) + b"\x01\x01a"
HELLO = PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0)
BOMB = GET + b"\x40\x01x\x7f\xeb\x16" + b"y" * 3050 + b"\xbe" * 6
STATUS = bytes([0x88])
CLIENT = frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64") + frame(SETTINGS, 1, 0)

server = {
    "get": HELLO + frame(HEADERS, ES | EH, 1, GET),
    "gets": HELLO + b"".join(frame(HEADERS, ES | EH, i, GET) for i in range(1, 20, 2)),
    "post": HELLO + frame(HEADERS, EH, 3, POST + field(b"content-length", b"5"))
    + frame(DATA, PAD, 3, b"\2he\0\0") + frame(DATA, ES, 3, b"llo"),
    "short_post": HELLO + frame(HEADERS, EH, 3, POST + field(b"content-length", b"9")) + frame(DATA, ES, 3, b"hello"),
    "continuation": HELLO + frame(HEADERS, ES, 1, GET[:2]) + frame(CONT, 0, 1, GET[2:4]) + frame(CONT, EH, 1, GET[4:]),
    "bomb": HELLO + frame(HEADERS, ES | EH, 1, BOMB) + frame(HEADERS, ES | EH, 3, GET),
    "resets": HELLO + b"".join(frame(HEADERS, ES | EH, i, GET) + frame(RST, 0, i, b"\0\0\0\x08") for i in range(1, 220, 2)),
    "overflow": HELLO + b"".join(
        frame(HEADERS, ES | EH, i, GET) + frame(WINDOW, 0, i, b"\x7f\xff\xff\xff") for i in range(1, 20, 2)),
    "starved": HELLO + frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0") + frame(HEADERS, ES | EH, 1, GET)
    + frame(WINDOW, 0, 1, b"\0\0\0\1") * 3,
    "pings": HELLO + frame(PING, 0, 0, b"12345678") * 40,
    "goaway": HELLO + frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0bye") + frame(HEADERS, ES | EH, 1, GET),
    "priority": HELLO + frame(PRIO, 0, 5, b"\0\0\0\3\x07") + frame(HEADERS, ES | EH | PRI, 7, b"\0\0\0\1\x07" + GET)
    + frame(HEADERS, ES | EH, 9, GET + field(b"priority", b"u=1, i")),
    "hosts": HELLO + frame(HEADERS, ES | EH, 1, GET + field(b"host", b"A")) + frame(HEADERS, ES | EH, 3, GET + field(b"host", b"b"))
    + frame(HEADERS, ES | EH, 5, bytes([0x82, 0x86, 0x84]) + field(b":authority", b"u@a")),
    "empty_data": HELLO + frame(HEADERS, EH, 1, POST) + frame(DATA, 0, 1) * 30 + frame(DATA, ES, 1),
    "trailers": HELLO + frame(HEADERS, EH, 1, POST) + frame(DATA, 0, 1, b"x") + frame(HEADERS, ES | EH, 1, field(b"x", b"y")),
    "unknown": HELLO + frame(0xBE, 0xFF, 1, b"grease") + frame(0x10, 0, 0, b"\0\0\0\1u=2") + frame(HEADERS, ES | EH, 1, GET),
    "http1": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}
client = {
    "answers": CLIENT + b"".join(frame(HEADERS, EH, i, STATUS) + frame(DATA, ES, i, b"body") for i in (1, 3, 5, 7)),
    "interim": CLIENT + frame(HEADERS, EH, 1, b"\x08\x03103") + frame(HEADERS, EH, 1, STATUS)
    + frame(DATA, 0, 1, b"x") + frame(HEADERS, ES | EH, 1, field(b"x", b"y")),
    "reset": CLIENT + frame(HEADERS, EH, 1, STATUS) + frame(RST, 0, 1, b"\0\0\0\2") + frame(RST, 0, 3, b"\0\0\0\7"),
    "leaving": CLIENT + frame(GOAWAY, 0, 0, b"\0\0\0\3\0\0\0\0") + frame(HEADERS, ES | EH, 3, STATUS),
    "push": CLIENT + frame(PUSH, EH, 1, b"\0\0\0\2" + GET),
}

where = "tests/fuzz/corpus/h2"
os.makedirs(where, exist_ok=True)
for name, wire in server.items():
    with open(f"{where}/s_{name}", "wb") as f:
        f.write(bytes([4 if name in ("gets", "starved") else 0, 7]) + wire)
for name, wire in client.items():
    with open(f"{where}/c_{name}", "wb") as f:
        f.write(bytes([2, 5]) + wire)
with open(f"{where}/s_after_preface", "wb") as f:
    f.write(bytes([1, 3]) + frame(HEADERS, ES | EH, 1, GET))
