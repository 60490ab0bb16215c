"""The network between two programs, which a test can damage: a TCP relay on loopback.

cable = Cable("127.0.0.1", 1935); connect to cable.port instead of 1935.
"""

import selectors
import socket
import struct
import threading

BATCH = 65536


class Cable:
    """cut() resets every connection, unplug() those to come too, until plug(); hold() lets bytes pile
    up, release() lets them go again."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.carried = 0  # connections so far
        self.plugged = True
        self._pairs = []
        self._lock = threading.Lock()
        self._open = threading.Event()  # cleared while held
        self._open.set()
        self._over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.plugged:
                _reset(near)
                continue
            try:
                far = socket.create_connection(self.target, 5)
            except OSError:
                _reset(near)
                continue
            far.settimeout(None)
            with self._lock:
                if not self.plugged or self._over:
                    _reset(near)
                    _reset(far)
                    continue
                self._pairs.append((near, far))
                self.carried += 1
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near, far):
        """Both ways, until one side ends; an end is passed on as it came."""
        with selectors.DefaultSelector() as both:
            both.register(near, selectors.EVENT_READ, far)
            both.register(far, selectors.EVENT_READ, near)
            try:
                while both.get_map():
                    for key, _ in both.select():
                        self._open.wait()
                        data = key.fileobj.recv(BATCH)
                        if data:
                            key.data.sendall(data)
                        else:
                            both.unregister(key.fileobj)
                            key.data.shutdown(socket.SHUT_WR)
            except (OSError, ValueError):  # ValueError: closed under the selector by cut()
                pass
        with self._lock:
            if (near, far) not in self._pairs:
                return  # cut() has it
            self._pairs.remove((near, far))
        _reset(near)
        _reset(far)

    def cut(self):
        """RST to both sides of every connection, as when an address changes or a box dies."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _reset(one)
        self._open.set()

    def unplug(self):
        with self._lock:
            self.plugged = False
        self.cut()

    def lead_to(self, port):
        """Where connections to come go to."""
        self.target = (self.target[0], port)

    def plug(self):
        self.plugged = True

    def hold(self):
        """Nothing passes, and nobody is told."""
        self._open.clear()

    def release(self):
        self._open.set()

    def stop(self):
        with self._lock:
            self._over = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()
        self.cut()


def _reset(one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        one.shutdown(socket.SHUT_RD)  # whoever waits in recv() wakes up
    except OSError:
        pass
    one.close()
