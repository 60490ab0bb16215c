"""A broadcaster who says what he must and no more: many of them cost nothing but their sockets."""

import socket
import struct

from conftest import PATIENCE


def text(s):
    return b"\x02" + struct.pack(">H", len(s)) + s.encode()


def number(v):
    return b"\x00" + struct.pack(">d", v)


def pairs(**values):
    named = (struct.pack(">H", len(k)) + k.encode() + text(v) for k, v in values.items())
    return b"\x03" + b"".join(named) + b"\0\0\x09"


def chunks(kind, body, stream=0, csid=3):
    """One message at time zero, in chunks of 128 bytes."""
    out = struct.pack(">B3xI", csid, len(body) << 8 | kind)[:8] + struct.pack("<I", stream)
    for at in range(0, len(body), 128):
        out += (b"" if at == 0 else bytes([0xC0 | csid])) + body[at : at + 128]
    return out


class BareBroadcaster:
    """On the air when it is made; silent from then on."""

    def __init__(self, url):
        host, app, name = url.removeprefix("rtmp://").split("/")
        address, port = host.rsplit(":", 1)
        self.sock = socket.create_connection((address, int(port)), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(b"\x03" + bytes(1536))
        answer = self.exactly(1 + 2 * 1536)
        self.sock.sendall(
            answer[1:1537]
            + chunks(20, text("connect") + number(1) + pairs(app=app, tcUrl=url.rsplit("/", 1)[0]))
            + chunks(20, text("createStream") + number(2) + b"\x05")
            + chunks(20, text("publish") + number(3) + b"\x05" + text(name) + text("live"), stream=1)
        )
        said = b""
        while b"NetStream.Publish.Start" not in said:
            more = self.sock.recv(4096)
            assert more, f"closed after {said}"
            said += more

    def exactly(self, n):
        got = b""
        while len(got) < n:
            more = self.sock.recv(n - len(got))
            assert more, "closed in the handshake"
            got += more
        return got

    def close(self):
        self.sock.close()
