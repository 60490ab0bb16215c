"""A process, its signals, its reloads, its sockets."""

import json
import os
import resource
import signal
import socket
import stat

import pytest
from conftest import PATIENCE, QUIET, cli


def dial(url):
    host, port = url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=5)


def test_it_listens_where_it_says(launch):
    f = launch(QUIET + 'edge: {listen: ["127.0.0.1:0"]}\n').wait_ready()
    (admin,) = f.urls("admin.listen")
    (edge,) = f.urls("edge.listen")
    assert not edge.endswith(":0")
    for url in (admin, edge):
        dial(url).close()
        f.wait_log("listening", url)
    assert cli("listeners", "-c", f.conf).stdout == f"admin.listen {admin}\nedge.listen {edge}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(launch, short_dir, number):
    sock = short_dir / "e.sock"
    f = launch(QUIET + f'edge: {{listen: ["unix:{sock}"]}}\n').wait_ready()
    assert sock.exists()
    assert f.stop(number) == 0
    f.wait_log("stopping")
    assert not sock.exists()
    assert list(f.run_dir.iterdir()) == []


def test_the_admin_socket_is_ours_alone(launch):
    f = launch(QUIET).wait_ready()
    mode = os.stat(f.run_dir / "admin.sock").st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_dump_shows_what_is_in_force(launch, short_dir):
    f = launch(QUIET + "edge: {cache: 64M}\n").wait_ready()
    done = f.cli("dump")
    assert "\n  cache: 64M\n" in done.stdout
    other = short_dir / "dumped.yaml"
    other.write_text(done.stdout)
    assert cli("dump", other).stdout == done.stdout


def test_a_good_reload_is_in_force_when_it_returns(launch):
    f = launch(QUIET + 'edge: {listen: ["127.0.0.1:0"], cache: 64M}\n').wait_ready()
    (before,) = f.urls("edge.listen")
    f.write(QUIET + 'edge: {listen: ["127.0.0.1:0", "[::1]:0"], cache: 128M}\n')
    done = f.cli("reload")
    assert done.returncode == 0
    assert "edge.cache: 64M -> 128M (live)\n" in done.stdout
    assert done.stdout.endswith("reloaded, generation 2\n")
    assert "\n  cache: 128M\n" in f.cli("dump").stdout
    after = f.urls("edge.listen")
    assert after[0] == before and len(after) == 2
    dial(after[1]).close()
    f.wait_log("changed", "key=edge.cache", "from=64M", "to=128M", "applies=live")


def test_a_key_that_needs_a_restart_is_named_each_time(launch):
    f = launch(QUIET).wait_ready()
    f.write(QUIET.replace("loops: 2", "loops: 3"))
    for _ in range(2):
        mark = len(f.log)
        assert f.ask("reload")["changed"] == [
            {"key": "loops", "from": "2", "to": "3", "applies": "restart"}
        ]
        f.wait_log("needs a restart", "key=loops", after=mark)
    assert "\nloops: 2\n" in f.cli("dump").stdout


@pytest.mark.parametrize("by", ["--runtime-dir", "-c"])
def test_a_bad_reload_changes_nothing_and_says_why(launch, by):
    f = launch(QUIET + 'edge: {listen: ["127.0.0.1:0"]}\n').wait_ready()
    before = f.cli("dump").stdout, f.urls("edge.listen")
    f.write("edge:\n  cach: 1G\n")
    done = cli("reload", by, f.run_dir if by == "--runtime-dir" else f.conf)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f'{f.conf}:3:3: edge.cach: unknown key; did you mean "cache"?\n      cach: 1G\n' in (
        done.stderr
    )
    assert (f.cli("dump").stdout, f.urls("edge.listen")) == before
    dial(before[1][0]).close()


def test_a_reload_that_cannot_listen_changes_nothing(launch):
    f = launch(QUIET + "edge: {cache: 64M}\n").wait_ready()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        f.write(QUIET + f'edge: {{listen: ["127.0.0.1:{port}"], cache: 65M}}\n')
        done = f.cli("reload", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert f"edge.listen: http://127.0.0.1:{port}: another process listens there" in told["error"]
    assert "\n  cache: 64M\n" in f.cli("dump").stdout
    assert f.cli("reload").returncode == 0  # the port is free now
    assert "\n  cache: 65M\n" in f.cli("dump").stdout


def test_sighup_reloads(launch):
    f = launch(QUIET + "edge: {cache: 64M}\n").wait_ready()
    f.write(QUIET + "edge: {cache: 65M}\n")
    f.send(signal.SIGHUP)
    mark = f.wait_log("reloaded", "generation=2")
    assert "\n  cache: 65M\n" in f.cli("dump").stdout
    f.write("nonsense: 1\n")
    f.send(signal.SIGHUP)
    f.wait_log(f"{f.conf}:2:1: nonsense: unknown key", after=mark)
    f.wait_log("nothing changed", after=mark)
    assert "\n  cache: 65M\n" in f.cli("dump").stdout


def test_sigusr1_tells_the_status(launch):
    f = launch(QUIET).wait_ready()
    f.send(signal.SIGUSR1)
    f.wait_log("status", f"pid={f.proc.pid}", "loops=2", "generation=1")
    assert sum("ready" in line for line in f.log) == 2  # the dump shows it again


def test_a_second_one_is_refused(launch):
    f = launch(QUIET).wait_ready()
    done = cli("run", "-c", f.conf)
    assert done.returncode == 1
    assert done.stderr == f"{f.run_dir}: another freshet runs here, process {f.proc.pid}\n"
    assert f.cli("dump").returncode == 0  # and the first is well


def test_what_a_killed_one_left_is_replaced(launch, short_dir):
    sock = short_dir / "e.sock"
    text = QUIET + f'edge: {{listen: ["unix:{sock}"]}}\n'
    first = launch(text).wait_ready()
    first.send(signal.SIGKILL)
    first.wait()
    assert (first.run_dir / "admin.sock").exists() and sock.exists()
    second = launch(text).wait_ready()
    assert second.urls("edge.listen") == [f"unix:{sock}"]


def test_a_start_that_cannot_listen_leaves_nothing(launch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        f = launch(QUIET + f'edge: {{listen: ["127.0.0.1:{port}"]}}\n')
        assert f.wait() == 1
    f.wait_log(f"http://127.0.0.1:{port}: another process listens there")
    assert list(f.run_dir.iterdir()) == []


def test_a_start_with_a_bad_file_says_where(launch):
    f = launch("loops: many\n")
    assert f.wait() == 1
    f.wait_log(f"{f.conf}:2:8: loops: a whole number is wanted, or auto")


def ask_raw(path, data):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        if data is None:
            return s.recv(10)
        s.sendall(data)
        got = b""
        while chunk := s.recv(65536):
            got += chunk
        return got


def test_the_admin_socket_bears_bad_clients(launch):
    f = launch(QUIET).wait_ready()
    path = f.run_dir / "admin.sock"
    assert json.loads(ask_raw(path, b"frob\n"))["ok"] is False
    assert json.loads(ask_raw(path, b"\n"))["ok"] is False
    assert ask_raw(path, b"x" * 255) == b""  # a line that does not end
    silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for s in silent:
        s.connect(str(path))
    assert ask_raw(path, None) == b""  # the ninth
    silent.pop().close()
    assert json.loads(ask_raw(path, b"dum" b"p\n"))["ok"] is True
    for s in silent:
        s.settimeout(20)
        assert s.recv(10) == b""  # after five seconds
        s.close()
    assert f.cli("reload").returncode == 0


def test_the_file_limit_is_raised(launch):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        f = launch(QUIET).wait_ready()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for line in open(f"/proc/{f.proc.pid}/limits"):
        if line.startswith("Max open files"):
            soft, hard = line.split()[3:5]
    assert soft == hard


def test_there_is_a_thread_per_loop(launch):
    f = launch(QUIET).wait_ready()
    names = {
        open(f"/proc/{f.proc.pid}/task/{t}/comm").read().strip()
        for t in os.listdir(f"/proc/{f.proc.pid}/task")
    }
    assert names == {"freshet", "disk", "log", "loop-0", "loop-1"}


def test_fifty_reloads_under_connections_lose_nobody(launch):
    f = launch(QUIET + 'edge: {listen: ["127.0.0.1:0"]}\n').wait_ready()
    (url,) = f.urls("edge.listen")
    for i in range(50):
        extra = ', "127.0.0.1:0"' if i % 2 else ""
        f.write(QUIET + f'edge: {{listen: ["127.0.0.1:0"{extra}], cache: {i + 1}M}}\n')
        f.send(signal.SIGHUP)
        dial(url).close()
    f.cli("reload")
    assert "\n  cache: 50M\n" in f.cli("dump").stdout
    assert f.urls("edge.listen")[0] == url


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(launch, short_dir, monkeypatch, abstract):
    name = f"{short_dir}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        f = launch(QUIET + 'edge: {listen: ["127.0.0.1:0"]}\n')
        assert manager.recv(100) == b"READY=1"
        dial(f.urls("edge.listen")[0]).close()
        f.send(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
    assert f.wait() == 0
    assert not any("NOTIFY_SOCKET" in line for line in f.log)


def test_a_service_manager_that_is_gone_stops_nothing(launch, short_dir, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", f"{short_dir}/nobody")
    f = launch(QUIET).wait_ready()
    f.wait_log(" warn daemon ", f"NOTIFY_SOCKET: {short_dir}/nobody: No such file or directory")
    assert f.cli("dump").returncode == 0
