"""Hostile TLS, connection limits, and a process without descriptors."""

import os
import resource
import socket
import ssl
import time

import pytest
from arena import SLOW, SMALL, arena, pop  # noqa: F401
from wire import H2, Ended, Wire, address, content, eventually

GOOD = b"GET /time HTTP/1.1\r\nHost: x\r\n\r\n"


def plain(pop):
    """A connection to the TLS port that speaks whatever we say."""
    w = object.__new__(Wire)
    w.sock = socket.create_connection(address(pop.tls), timeout=20)
    w.data, w.how = b"", None
    return w


def hello():
    """The bytes of a real ClientHello."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ctx.wrap_bio(into, out, server_hostname="localhost").do_handshake()
    return out.read()


BAD_HELLOS = {
    "HTTP/1": GOOD,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "zeros": b"\0" * 100,
    "SSLv2": b"\x80\x2e\x01\x00\x02" + b"\0" * 60,
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "application data": b"\x17\x03\x03\x00\x10" + b"x" * 16,
    "a record too long": b"\x16\x03\x01\xff\xff" + b"x" * 65535,
    "an empty record": b"\x16\x03\x01\x00\x00",
    "a hello of a claimed 16 MiB": b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
}


@pytest.mark.parametrize("name", BAD_HELLOS)
def test_what_is_no_client_hello_is_refused(pop, name):
    with pop.growing_at_most(4), pop.limited(handshake_timeout="500ms"):
        with pop.counting(closes={"tls_handshake": 1}), plain(pop) as w:
            w.send(BAD_HELLOS[name])
            w.end()


def test_a_torn_hello_is_refused_wherever_it_ends(pop):
    raw = hello()
    cuts = range(1, len(raw), 40)
    with pop.counting(closes={"tls_handshake": len(cuts)}, handshakes={"failed": len(cuts)}):
        for n in cuts:
            with plain(pop) as w:
                w.send(raw[:n])
                w.sock.shutdown(socket.SHUT_WR)
                w.end()


def test_a_client_that_leaves_in_mid_handshake(pop):
    with pop.growing_at_most(8), pop.counting(closes={"tls_handshake": 50}, handshakes={"failed": 50}):
        for _ in range(50):
            with plain(pop) as w:
                w.send(hello())
                w.more()


@pytest.mark.parametrize("sent", ["nothing", "half a hello", "a hello"])
def test_a_handshake_that_stalls_is_not_waited_for(pop, sent):
    raw = {"nothing": b"", "half a hello": hello()[:50], "a hello": hello()}[sent]
    with pop.limited(handshake_timeout="400ms"):
        with pop.counting(closes={"tls_handshake": 1}, handshakes={"timeout": 1}), plain(pop) as w:
            began = time.monotonic()
            w.send(raw)
            w.end()
            assert 0.3 < time.monotonic() - began < 1.5 + SLOW


def test_garbage_after_the_handshake_ends_the_connection(pop):
    with pop.counting(closes={"tls_error": 1}), pop.wire(tls=True) as w:
        w.send(GOOD)
        assert w.answer()[0] == 200
        raw = socket.socket(fileno=os.dup(w.sock.fileno()))
        raw.sendall(b"this is no record" * 10)
        raw.close()
        w.end()


def test_a_protocol_that_we_do_not_speak_is_refused_by_alpn(pop):
    with pop.counting(closes={"tls_handshake": 1}, handshakes={"failed": 1}):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Wire(pop.tls, alpn=["spdy/3"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls_is_refused(pop, version):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    ctx.minimum_version = ctx.maximum_version = ssl.TLSVersion[version]
    with pop.counting(closes={"tls_handshake": 1}):
        with socket.create_connection(address(pop.tls), timeout=20) as s:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                ctx.wrap_socket(s)


def test_a_hundred_silent_tls_connections_take_bounded_memory(pop):
    with pop.growing_at_most(12):
        wires = [plain(pop) for _ in range(100)]
        for w in wires:
            w.send(hello()[:60])
        pop.metrics()
        for w in wires:
            w.close()


# --- how many ---


def refused(pop, **kw):
    with pop.wire(**kw) as w:
        w.send(GOOD)
        return w.end() in ("fin", "reset") and w.data == b""


def test_per_address_counts_connections_of_one_address(pop):
    with pop.limited(per_address=3), pop.counting(limits={"per_address": 2}):
        mine = [pop.wire(source="127.0.0.77") for _ in range(3)]
        for w in mine:
            w.send(GOOD)
            assert w.answer()[0] == 200
        assert refused(pop, source="127.0.0.77")
        with H2(pop.clear, source="127.0.0.77") as c, pytest.raises((Ended, OSError)):
            c.settle()
        with pop.wire(source="127.0.0.78") as w:  # another address
            w.send(GOOD)
            assert w.answer()[0] == 200
        mine.pop().close()

        def again():
            with pop.wire(source="127.0.0.77") as w:
                w.send(GOOD)
                return w.answer()[0] == 200

        # the place is free as soon as the close has been seen; no refusal may come in between
        assert eventually(lambda: pop.connections() <= 2 + 2 + 1)
        assert again()
        for w in mine:
            w.close()


def test_connections_is_the_number_in_all_but_operators_get_in(pop):
    assert eventually(lambda: pop.connections() == 3)  # two bystanders, and who asks
    with pop.limited(connections=5):
        mine = [pop.wire() for _ in range(3)]
        for w in mine:
            w.send(GOOD)
            assert w.answer()[0] == 200
        with pop.counting(limits={"connections": 2}):
            assert refused(pop)
            assert refused(pop)
        for w in mine:
            w.close()


def test_without_descriptors_it_pauses_and_recovers(pop):
    """Accepting fails; who is there is served, operators get in now and then, and it recovers."""
    pid = pop.freshet.proc.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{pid}/fd"))
    mine = []
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        for _ in range(60):
            mine.append(Wire(pop.clear))
        served = 0
        for w in mine:
            w.send(GOOD)
            try:
                w.sock.settimeout(5)
                served += w.answer()[0] == 200
            except (Ended, TimeoutError):
                pass
        assert 5 <= served < 60
        pop.well()
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    with pop.wire() as w:
        w.send(GOOD)
        assert w.answer()[0] == 200
    assert pop.metrics()
    for w in mine:
        w.close()
    with pop.wire() as w:
        w.get(SMALL)
        assert w.answer()[2] == content(SMALL, 20000)


def test_two_thousand_connections_that_come_and_go(pop):
    with pop.growing_at_most(16), pop.counting():
        for _ in range(20):
            wires = [pop.wire() for _ in range(100)]
            for w in wires[::2]:
                w.send(b"GET /ti")
            for w in wires:
                w.close()
    assert eventually(lambda: pop.connections() <= 4)
