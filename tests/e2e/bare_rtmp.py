"""RTMP as broadcasters speak it, with nothing in between: each byte is the test's own.

BareBroadcaster says what he must and no more: many of them cost nothing but their sockets."""

import struct

from wire import Wire

# message types
SET_CHUNK_SIZE, ABORT, ACKNOWLEDGE, USER_CONTROL, WINDOW_SIZE = 1, 2, 3, 4, 5
AUDIO, VIDEO, DATA, COMMAND, AGGREGATE = 8, 9, 18, 20, 22
HANDSHAKE = 1536


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    if len(s) > 0xFFFF:
        return b"\x0c" + struct.pack(">I", len(s)) + s
    return b"\x02" + struct.pack(">H", len(s)) + s


def number(v):
    return b"\x00" + struct.pack(">d", v)


def pairs(**values):
    named = (struct.pack(">H", len(k)) + k.encode() + text(v) for k, v in values.items())
    return b"\x03" + b"".join(named) + b"\0\0\x09"


def head(fmt, csid, ms=0, size=0, kind=0, stream=0):
    """The header of a chunk; of types above 0 the fields that they have."""
    full = struct.pack(">I", ms)[1:] + struct.pack(">I", size)[1:] + bytes([kind])
    full += struct.pack("<I", stream)
    return bytes([fmt << 6 | csid]) + full[: (11, 7, 3, 0)[fmt]]


def chunks(kind, body, stream=0, csid=3, ms=0, size=128):
    """One message, in chunks of `size` bytes; ms: below 0xffffff."""
    out = head(0, csid, ms, len(body), kind, stream)
    for at in range(0, len(body), size):
        out += (b"" if at == 0 else head(3, csid)) + body[at : at + size]
    return out


class Rtmp(Wire):
    """A connection that has shaken hands."""

    def __init__(self, url, **kw):
        super().__init__(url, **kw)
        self.send(b"\x03" + bytes(HANDSHAKE))
        answer = self.exactly(1 + 2 * HANDSHAKE)
        self.send(answer[1 : 1 + HANDSHAKE])

    def command(self, name, *values, transaction=1, stream=0):
        body = text(name) + number(transaction) + b"".join(values)
        return self.send(chunks(COMMAND, body, stream=stream))

    def connect(self, app):
        self.command("connect", pairs(app=app))

    def publish(self, name):
        self.command("createStream", b"\x05", transaction=2)
        self.command("publish", b"\x05", text(name), text("live"), transaction=3, stream=1)


class BareBroadcaster(Rtmp):
    """On the air when it is made; silent from then on."""

    def __init__(self, url, **kw):
        base, app, name = url.rsplit("/", 2)
        super().__init__(base, **kw)
        self.connect(app)
        self.publish(name)
        self.until(b"NetStream.Publish.Start")
