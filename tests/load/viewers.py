"""Viewers that do what players do, and show nothing: many of them in one process.

Each asks for the manifest at its pace, and for each rendition of it, on a connection of its own, for
one segment after the other as soon as it is listed, also while it grows. HTTP/1.1, kept alive.
"""
import asyncio
import re
import time
from urllib.parse import urlsplit

UPDATE_S = 1.0


class Wrong(Exception):
    pass


class Line:
    """One connection: one request at a time."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.reader = None

    async def get(self, path):
        """(status, head, body, seconds to the first byte of the body)"""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        began = time.monotonic()
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = re.search(r"\r\ncontent-length: (\d+)", head)
        if length:
            body = await self.reader.readexactly(int(length.group(1)))
            return status, head, body, time.monotonic() - began
        if "\r\ntransfer-encoding: chunked" not in head:
            raise Wrong(f"{path}: a body without an end")
        parts, first = [], None
        while True:
            size = int(await self.reader.readline(), 16)
            part = await self.reader.readexactly(size + 2)
            first = time.monotonic() - began if first is None else first
            if size == 0:
                return status, head, b"".join(parts), first
            parts.append(part[:-2])

    def close(self):
        if self.reader is not None:
            self.writer.close()
            self.reader = None


def parse(text):
    """{rendition: (init, [segments], ...)} of the newest Period: paths beside the manifest."""
    period = text.split("<Period ")[-1]
    base = re.search(r"<BaseURL>([^<]*)</BaseURL>", period).group(1)
    found = {}
    for rep in re.findall(r"<Representation .*?</Representation>", period, re.S):
        name = re.search(r'id="(\w+)"', rep).group(1)
        template = re.search(r"<SegmentTemplate [^>]*>", rep).group(0)

        def attr(key):
            return re.search(rf'{key}="([^"]*)"', template).group(1).replace(
                "$RepresentationID$", name)
        n = sum(int(r or 0) + 1 for r in re.findall(r"<S [^>]*?(?:r=\"(\d+)\")?\s*/>", rep))
        first = int(attr("startNumber"))
        media = attr("media")
        found[name] = (base + attr("initialization"),
                       [base + media.replace("$Number$", str(i)) for i in range(first, first + n)])
    return found


class Audience:
    """What all viewers of one edge saw."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.path = parts.path
        self.base = parts.path.rsplit("/", 1)[0] + "/"
        self.parsed = {}  # etag -> parse()
        self.sizes = {}  # path -> bytes, the same for everybody
        self.wrong = []
        self.first_s = []  # of segments, to the first byte
        self.requests = self.manifests = 0

    def manifest(self, head, body):
        etag = re.search(r"\r\netag: (\S+)", head).group(1)
        if etag not in self.parsed:
            self.parsed[etag] = parse(body.decode())
        return self.parsed[etag]

    def took(self, path, status, body):
        self.requests += 1
        if status != 200:
            raise Wrong(f"{path}: {status}")
        if self.sizes.setdefault(path, len(body)) != len(body):
            raise Wrong(f"{path}: {len(body)} bytes, and somebody got {self.sizes[path]}")


class Viewer:
    def __init__(self, audience, until):
        self.a, self.until = audience, until
        self.last = {}  # rendition -> the newest segment that was handed to its line
        self.todo = {}  # rendition -> queue
        self.tasks = []

    async def rendition(self, queue):
        line = Line(self.a.host, self.a.port)
        try:
            while (path := await queue.get()) is not None:
                status, _, body, first = await line.get(path)
                self.a.took(path, status, body)
                if path.endswith(".m4s"):
                    self.a.first_s.append(first)
        except (Wrong, OSError, EOFError, ValueError) as e:
            self.a.wrong.append(repr(e))
        finally:
            line.close()

    def follow(self, reps):
        for name, (init, segments) in reps.items():
            if name not in self.todo:
                self.todo[name] = asyncio.Queue()
                self.tasks.append(asyncio.create_task(self.rendition(self.todo[name])))
                self.todo[name].put_nowait(self.a.base + init)
                segments = segments[-2:]  # the last that is closed, and what grows
            elif self.last[name] in segments:
                segments = segments[segments.index(self.last[name]) + 1:]
            for s in segments:
                self.todo[name].put_nowait(self.a.base + s)
                self.last[name] = s

    async def view(self):
        line = Line(self.a.host, self.a.port)
        try:
            while time.monotonic() < self.until:
                due = time.monotonic() + UPDATE_S
                status, head, body, _ = await line.get(self.a.path)
                if status != 200:
                    raise Wrong(f"{self.a.path}: {status}")
                self.a.manifests += 1
                self.follow(self.a.manifest(head, body))
                await asyncio.sleep(max(0, due - time.monotonic()))
        except (Wrong, OSError, EOFError, ValueError) as e:
            self.a.wrong.append(repr(e))
        finally:
            line.close()
            for queue in self.todo.values():
                queue.put_nowait(None)
            await asyncio.gather(*self.tasks)


async def watch(urls, n, seconds):
    """n viewers, dealt out to the manifests' URLs; they come within one second."""
    audiences = [Audience(u) for u in urls]
    until = time.monotonic() + seconds

    async def one(i):
        await asyncio.sleep(i / n)
        await Viewer(audiences[i % len(audiences)], until).view()

    await asyncio.gather(*(one(i) for i in range(n)))
    return audiences
