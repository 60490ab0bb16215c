"""A cable between two processes: what goes through it can be cut at any moment."""

import socket
import struct
import threading


class Cable:
    """Listens on loopback and passes on to (host, port), byte for byte."""

    def __init__(self, port):
        self.port_behind = port
        self.plugged = True
        self._open = threading.Event()  # cleared while held
        self._open.set()
        self._pairs = set()
        self._lock = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.carried = 0  # connections so far
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near = self._door.accept()[0]
            except OSError:
                return
            if not self.plugged:
                self._break(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.port_behind))
            except OSError:
                self._break(near)
                continue
            with self._lock:
                self._pairs.add((near, far))
                self.carried += 1
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(a, b, (near, far)), daemon=True).start()

    def _carry(self, a, b, pair):
        try:
            while data := a.recv(65536):
                self._open.wait()
                b.sendall(data)
        except OSError:
            pass
        self._drop(pair)

    def _drop(self, pair):
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        for s in pair:
            self._break(s)

    @staticmethod
    def _break(s):
        """RST, so that both sides know at once."""
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            s.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        s.close()

    def cut(self):
        for pair in list(self._pairs):
            self._drop(pair)

    def hold(self):
        """Nothing passes, and nobody is told."""
        self._open.clear()

    def release(self):
        self._open.set()

    def unplug(self):
        self.plugged = False
        self.cut()

    def plug(self):
        self.plugged = True

    def end(self):
        self._door.close()
        self.release()
        self.cut()
