#!/usr/bin/env python3
"""An outside origin for player tests: takes a live stream by PUT and gives it out while it grows.

What is PUT grows with each chunk of the request; a GET of it streams along. A segment that is not
there yet is waited for (HOLD seconds), then it is a 404. A manifest is given out only whole.
APP/time is the clock. The server listens on a free port of 127.0.0.1 and prints its URL.
"""

import datetime
import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOLD = 3.0


class Growing:
    """Bytes so far; grew is told of more."""

    def __init__(self, grew):
        self.parts = []
        self.done = False
        self.broken = False
        self.grew = grew

    def add(self, data):
        with self.grew:
            self.parts.append(data)
            self.grew.notify_all()

    def finish(self, whole):
        with self.grew:
            self.done = whole
            self.broken = not whole
            self.grew.notify_all()

    def part(self, i):
        """The i-th part, waited for; None at the end."""
        with self.grew:
            self.grew.wait_for(lambda: i < len(self.parts) or self.done or self.broken)
            return self.parts[i] if i < len(self.parts) else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # whoever leaves early may do so
            super().handle_error(request, client_address)


class LiveOrigin:
    """The server; stop() ends it."""

    def __init__(self):
        self.files = {}
        self.requests = {}  # path -> GETs
        self.missing = set()  # a test may put paths here: 404 at once
        self.change = threading.Condition()
        origin = self

        class Handler(_Handler):
            pass

        Handler.origin = origin
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def find(self, path):
        """The file, perhaps after a while, or None."""
        with self.change:
            self.requests[path] = self.requests.get(path, 0) + 1
            if path in self.missing:
                return None
            self.change.wait_for(lambda: path in self.files, HOLD)
            return self.files.get(path)

    def put(self, path, body):
        """As if somebody had PUT it."""
        file = Growing(threading.Condition())
        file.add(body)
        file.finish(True)
        with self.change:
            self.files[path] = file
            self.change.notify_all()

    def wait_for(self, path, timeout):
        with self.change:
            return self.change.wait_for(lambda: path in self.files, timeout)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    origin = None

    def log_message(self, *_):
        pass

    def _read_chunks(self):
        """The body of a request, piece by piece as it comes."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("cut")
            size = int(line.split(b";")[0], 16)
            data = self.rfile.read(size)
            self.rfile.readline()
            if len(data) < size:
                raise ConnectionError("cut")
            if size == 0:
                return
            yield data

    def do_PUT(self):
        origin = self.origin
        file = Growing(threading.Condition())
        whole = self.path.endswith(".mpd")  # never to be seen half written
        if not whole:
            with origin.change:
                origin.files[self.path] = file
                origin.change.notify_all()
        try:
            for data in self._read_chunks():
                file.add(data)
        except (ConnectionError, ValueError):
            file.finish(False)
            self.close_connection = True
            return
        file.finish(True)
        if whole:
            with origin.change:
                origin.files[self.path] = file
                origin.change.notify_all()
        self._answer(201, b"")

    def do_DELETE(self):
        with self.origin.change:
            self.origin.files.pop(self.path, None)
        self._answer(200, b"")

    def do_GET(self):
        if self.path.endswith("/time"):
            now = datetime.datetime.now(datetime.timezone.utc)
            body = now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            self._answer(200, body.encode(), "text/plain", "no-store")
            return
        file = self.origin.find(self.path)
        if file is None:
            self._answer(404, b"no\n", "text/plain")
        elif self.path.endswith(".mpd"):
            self._answer(200, b"".join(file.parts), "application/dash+xml", "no-cache")
        else:
            self._stream(file)

    def _answer(self, status, body, kind="text/plain", cache="no-store"):
        etag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        same = status == 200 and cache == "no-cache" and self.headers.get("if-none-match") == etag
        self.send_response(304 if same else status)
        self.send_header("content-type", kind)
        self.send_header("cache-control", cache)
        if cache == "no-cache":
            self.send_header("etag", etag)
        if not same:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if not same:
            self.wfile.write(body)

    def _stream(self, file):
        self.send_response(200)
        self.send_header("content-type", "video/mp4")
        self.send_header("cache-control", "max-age=60")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        i = 0
        while (part := file.part(i)) is not None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            i += 1
        if file.broken:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    origin = LiveOrigin()
    print(origin.url, flush=True)
    try:
        sys.stdin.read()  # until whoever started us lets go
    except KeyboardInterrupt:
        pass
    origin.stop()
