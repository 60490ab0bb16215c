"""The wire, byte by byte: HTTP/1 and HTTP/2 that no library would send, and what comes back.

Every read has a deadline; an end of the connection is told apart: "fin" or "reset".
"""

import os
import socket
import ssl
import struct
import time

PATIENCE = float(os.environ.get("FRESHET_TEST_PATIENCE", "20"))

# HTTP/2 (RFC 9113)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIO = 0x1, 0x1, 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
MAX_WINDOW = 2**31 - 1


def address(url):
    host, port = url.split("://", 1)[1].rsplit(":", 1)
    return host.strip("[]"), int(port)


class Ended(Exception):
    """The peer ended the connection: args[0] is "fin" or "reset"."""


class Wire:
    """A connection of our own: bytes out, bytes in, and how it ended."""

    def __init__(self, url, source=None, rcvbuf=None, alpn=None, sni="localhost"):
        self.sock = socket.socket(socket.AF_INET)
        self.sock.settimeout(PATIENCE)
        if rcvbuf is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source is not None:
            self.sock.bind((source, 0))
        self.sock.connect(address(url))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.how = None
        if url.startswith(("https://", "rtmps://")):
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            ctx.check_hostname = False
            ctx.verify_mode = ssl.CERT_NONE
            ctx.set_alpn_protocols(alpn or ["http/1.1"])
            self.sock = ctx.wrap_socket(self.sock, server_hostname=sni, suppress_ragged_eofs=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        """All of it; False when the peer would not have it any more."""
        try:
            self.sock.sendall(data)
            return True
        except (ConnectionError, ssl.SSLError):
            return False

    def more(self, size=65536, within=None):
        """Reads once. Raises Ended, or TimeoutError when nothing comes."""
        if self.how is not None:
            raise Ended(self.how)
        self.sock.settimeout(within if within is not None else PATIENCE)
        try:
            got = self.sock.recv(size)
        except ConnectionError:
            got, self.how = b"", "reset"
        except ssl.SSLError as e:
            got, self.how = b"", "reset" if not isinstance(e, ssl.SSLZeroReturnError) else "fin"
        finally:
            self.sock.settimeout(PATIENCE)
        if not got:
            self.how = self.how or "fin"
            raise Ended(self.how)
        self.data += got
        return len(got)

    def exactly(self, n):
        while len(self.data) < n:
            self.more()
        got, self.data = self.data[:n], self.data[n:]
        return got

    def until(self, mark):
        while mark not in self.data:
            self.more()
        got, _, self.data = self.data.partition(mark)
        return got

    def end(self):
        """Reads to the end and says how it came."""
        try:
            while True:
                self.more()
                self.data = b""
        except Ended as e:
            return e.args[0]

    def silent(self, seconds):
        """True: nothing at all came in that time."""
        try:
            self.more(within=seconds)
        except TimeoutError:
            return True
        except Ended:
            return False
        return False

    # HTTP/1

    def get(self, path, *lines, method="GET", version="HTTP/1.1", host="x"):
        head = [f"{method} {path} {version}", f"Host: {host}", *lines, "", ""]
        return self.send("\r\n".join(head).encode("latin-1"))

    def head(self):
        """status, headers of the next response (names in lower case)."""
        first, *rest = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {}
        for line in rest:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return int(first.split()[1]), fields

    def answer(self, method="GET"):
        """status, headers, body of the next response."""
        status, fields = self.head()
        if method == "HEAD" or status in (204, 304):
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.until(b"\r\n"), 16):
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
            return status, fields, body
        return status, fields, self.exactly(int(fields["content-length"]))


# HPACK, as plain as it gets: literals without indexing, no Huffman (RFC 7541)


def integer(value, bits, first=0):
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    out.append(value)
    return bytes(out)


def literal(name, value, how=0x00):
    name = name.encode("latin-1") if isinstance(name, str) else name
    value = value.encode("latin-1") if isinstance(value, str) else value
    return bytes([how]) + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(fields):
    return b"".join(literal(n, v) for n, v in fields)


def request(path="/time", *more, method="GET", authority="x", scheme="http", drop=()):
    """The fields of a good request; `more` after the pseudo fields, `drop` names what to omit."""
    first = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [f for f in first if f[0] not in drop] + list(more)


# Static table entries that carry a status, and the Huffman codes of digits.
STATUS_INDEX = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
DIGIT = {"00000": "0", "00001": "1", "00010": "2"} | {f"{i + 22:06b}": str(i) for i in range(3, 10)}


def status_of(payload):
    """Of a response's header block, made without a dynamic table: :status is its first field."""
    at = 0
    while payload[at] & 0xE0 == 0x20:  # the table's size
        at += 1
    if payload[at] & 0x80:
        return STATUS_INDEX[payload[at] & 0x7F]
    size = payload[at + 1]
    text = payload[at + 2 : at + 2 + (size & 0x7F)]
    if not size & 0x80:
        return int(text)
    digits, code = "", ""
    for bit in "".join(f"{b:08b}" for b in text):
        code += bit
        if code in DIGIT:
            digits, code = digits + DIGIT[code], ""
    return int(digits)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(data=b"12345678", flags=0):
    return frame(PING, flags, 0, data)


def headers(stream, fields, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, block(fields))


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def code(self):
        """The error code of a RST_STREAM or GOAWAY."""
        return struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload)[0]

    @property
    def last(self):
        return bool(self.flags & END_STREAM) and self.kind in (DATA, HEADERS)


class H2(Wire):
    """HTTP/2 with prior knowledge or by ALPN. Streams are numbered by the caller or by next_id()."""

    def __init__(self, url, window=MAX_WINDOW, conn_window=True, extra=(), hello=True, **kw):
        super().__init__(url, alpn=["h2"], **kw)
        self._next = 1
        self.goaway = None
        if hello:
            first = [(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, window), *extra]
            grow = window_update(0, MAX_WINDOW - 65535) if conn_window else b""
            self.send(PREFACE + settings(*first) + grow)

    def next_id(self):
        self._next += 2
        return self._next - 2

    def open(self, path, *more, flags=END_STREAM | END_HEADERS, **kw):
        """Sends a request; returns its stream."""
        stream = self.next_id()
        self.send(headers(stream, request(path, *more, **kw), flags))
        return stream

    def read(self):
        head = self.exactly(9)
        size = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        f = Frame(kind, flags, stream & MAX_WINDOW, self.exactly(size))
        if kind == GOAWAY:
            self.goaway = f.code
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        return f

    def wait(self, *kinds, stream=None):
        """The next frame of one of these kinds (on that stream); others are passed over."""
        while True:
            f = self.read()
            if f.kind in kinds and (stream is None or f.stream == stream):
                return f

    def settle(self):
        """Returns when the peer has dealt with all that was sent; the frames on the way."""
        mark, seen = os.urandom(8), []
        self.send(ping(mark))
        while True:
            f = self.read()
            if f.kind == PING and f.flags & ACK and f.payload == mark:
                return seen
            seen.append(f)

    def answer(self, stream):
        """status, body; a RST_STREAM instead gives ("reset", code)."""
        status, body = None, []
        while True:
            f = self.read()
            if f.stream != stream:
                continue
            if f.kind == RST_STREAM:
                return "reset", f.code
            if f.kind == HEADERS and status is None:
                status = status_of(f.payload)
            if f.kind == DATA:
                body.append(f.payload)
            if f.last:
                return status, b"".join(body)

    def fetch(self, path, *more, **kw):
        return self.answer(self.open(path, *more, **kw))

    def end(self):
        """Reads to the end: the code of the last GOAWAY (None: there was none) and how."""
        try:
            while True:
                self.read()
        except Ended as e:
            return self.goaway, e.args[0]


# What slow_origin serves: a byte is a function of path and offset (tests/load/content.h)

MASK = 2**64 - 1


def content(path, size, first=0):
    seed = 0xCBF29CE484222325
    for c in path.split("?")[0].encode():
        seed = (seed ^ c) * 0x100000001B3 & MASK
    words = []
    for k in range(first // 8, (first + size + 7) // 8):
        z = seed + (k + 1) * 0x9E3779B97F4A7C15 & MASK
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        words.append(z ^ z >> 31)
    whole = struct.pack(f"<{len(words)}Q", *words)
    return whole[first % 8 : first % 8 + size]


def eventually(what, within=PATIENCE):
    """Asks until it is true; returns what it said last."""
    limit = time.monotonic() + within
    while not (got := what()) and time.monotonic() < limit:
        time.sleep(0.01)
    return got
