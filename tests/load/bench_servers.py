"""The servers that edge_bench compares, each run as a caching proxy in front of slow_origin.

A Server writes its configuration into a folder of its own, starts, and then answers at up to
three base URLs: `h1` (clear HTTP/1.1), `h2c` (clear HTTP/2 with prior knowledge) and `tls` (ALPN
h2 and http/1.1). Everything listens on 127.0.0.1 only, and start() proves it.
Every one has: one worker on one core, the objects in memory, no access log, one fetch per object
as far as its settings allow, keep-alive without a limit, a listen queue of 4,096.
"""
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class BenchError(Exception):
    pass


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def spawn(argv, core, **kw):
    """A child on one core that does not outlive us."""
    return subprocess.Popen(["taskset", "-c", str(core), *map(str, argv)],
                            stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, **kw)


def stat_of(pid):
    """(ppid, start time, CPU ticks with those of its reaped children), or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    f = text.rpartition(")")[2].split()
    return int(f[1]), int(f[19]), sum(map(int, f[11:15]))


def tree(root):
    """root and all its living descendants."""
    parents = {int(d): stat_of(d) for d in os.listdir("/proc") if d.isdigit()}
    found = [root]
    for pid in found:
        found += [p for p, st in parents.items() if st and st[0] == pid]
    return found


def listening_inodes(families=("tcp", "tcp6")):
    """inode -> address in hex, of every TCP socket in LISTEN."""
    found = {}
    for family in families:
        for line in pathlib.Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            f = line.split()
            if f[3] == "0A":
                found[f[9]] = f[1].split(":")[0]
    return found


LOOPBACK = ("0100007F", "00000000000000000000000001000000")  # as the kernel prints them


# ---- around a run ----

def install(packages):
    """Debian's packages, with nothing started by their installation."""
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=env, stdout=sys.stderr)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
                       check=True, env=env, stdout=sys.stderr)
    finally:
        if ours:
            policy.unlink()


def certificate(folder):
    stem = folder / "tls"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-days", "30",
                    "-keyout", f"{stem}.key", "-out", f"{stem}.crt"],
                   check=True, stderr=subprocess.DEVNULL)
    return stem


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((x.split(":")[1].strip() for x in f if x.startswith("model name")), "?")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release,
            "load_average": os.getloadavg()}


# ---- the servers ----

class Server:
    name = package = program = None
    protocols = ("h1", "h2c", "tls")

    def __init__(self, folder, origin_port, tls, core):
        self.dir = pathlib.Path(folder)
        self.dir.mkdir()
        self.origin_port, self.tls, self.core = origin_port, tls, core
        self.child = None
        self.base = {}

    @classmethod
    def found(cls):
        return shutil.which(cls.program, path="/usr/sbin:/usr/bin:/sbin:/bin")

    @classmethod
    def version(cls):
        out = subprocess.run([cls.found(), "-v"], capture_output=True, text=True)
        return re.search(r"\d+\.\d+[.\d]*", out.stdout + out.stderr).group()

    def configure(self, ports):
        """Writes the files; returns (argv, environment)."""
        raise NotImplementedError

    def start(self, names=("h1", "h2c", "tls")):
        ports = dict(zip(names, free_ports(len(names))))
        argv, env = self.configure(ports)
        self.log = open(self.dir / "output", "w")
        self.child = spawn(argv, self.core, stdout=self.log, stderr=subprocess.STDOUT,
                           env={**os.environ, **env}, cwd=self.dir)
        self.base = self.find_bases(ports)
        for url in self.base.values():
            self.wait_for(int(url.rsplit(":", 1)[1]))
        self.prove_loopback()
        self.pin()

    def find_bases(self, ports):
        return {k: f"{'https' if k == 'tls' else 'http'}://127.0.0.1:{ports[k]}"
                for k in self.protocols}

    def output(self):
        return (self.dir / "output").read_text(errors="replace")[-2000:]

    def alive(self):
        if self.child.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.child.returncode}:\n{self.output()}")

    def wait_for(self, port, seconds=20):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.alive()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise BenchError(f"{self.name} does not listen on {port}:\n{self.output()}")

    def prove_loopback(self):
        listening = listening_inodes()
        for pid in self.pids():
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                except OSError:
                    continue
                inode = target[8:-1] if target.startswith("socket:[") else None
                if inode in listening and listening[inode] not in LOOPBACK:
                    raise BenchError(f"{self.name} listens beyond loopback")

    def pin(self):
        """Once more: trafficserver gives its threads an affinity of its own, past taskset's."""
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {self.core})

    def pids(self):
        return tree(self.child.pid)

    def cpu_s(self):
        """User + system of all its processes and threads, reaped children included."""
        self.alive()
        stats = [stat_of(p) for p in self.pids()]
        return sum(st[2] for st in stats if st) / os.sysconf("SC_CLK_TCK")

    def freeze(self, frozen):
        """Stopped, it takes no turns on the core while another server is measured."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)
            except ProcessLookupError:
                pass  # it has ended: alive() says so when it is its turn

    def stop(self):
        if self.child is None:
            return
        self.freeze(False)
        started = {p: stat_of(p) for p in self.pids()}
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pid, st in started.items():  # descendants that did not go with it
            now = stat_of(pid)
            if st and now and now[1] == st[1]:
                os.kill(pid, signal.SIGKILL)
        self.log.close()
        self.child = None


class Nginx(Server):
    name = package = program = "nginx"
    package = "nginx-light"

    def configure(self, ports):
        tmp = "\n".join(f"  {t}_temp_path {self.dir}/{t};"
                        for t in ("client_body", "fastcgi", "uwsgi", "scgi"))
        (self.dir / "nginx.conf").write_text(f"""
user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {self.dir}/pid;
error_log {self.dir}/error.log;
events {{ worker_connections 16384; multi_accept on; }}
http {{
{tmp}
  access_log off;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  open_file_cache max=1000 inactive=600s;
  keepalive_requests 1000000000; keepalive_timeout 600s;
  http2_max_concurrent_streams 128;
  http2_chunk_size 128k;
  proxy_cache_path {self.dir}/cache levels=1 keys_zone=z:8m max_size=1g inactive=1d use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{self.origin_port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{ports['h1']} backlog=4096;
    listen 127.0.0.1:{ports['h2c']} http2 backlog=4096;
    listen 127.0.0.1:{ports['tls']} ssl http2 backlog=4096;
    ssl_certificate {self.tls}.crt; ssl_certificate_key {self.tls}.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache z; proxy_cache_key $request_uri; proxy_cache_lock on;
    }}
  }}
}}
""")
        return [self.found(), "-p", self.dir, "-c", self.dir / "nginx.conf",
                "-e", self.dir / "error.log"], {}


class Haproxy(Server):
    name = package = program = "haproxy"

    def configure(self, ports):
        pem = self.dir / "both.pem"
        pem.write_text(pathlib.Path(f"{self.tls}.crt").read_text() +
                       pathlib.Path(f"{self.tls}.key").read_text())
        (self.dir / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 9000
  tune.bufsize 65536
  tune.maxaccept 500
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  http-reuse always
cache c
  total-max-size 256
  max-object-size 4194304
  max-age 86400
frontend f
  bind 127.0.0.1:{ports['h1']} backlog 4096
  bind 127.0.0.1:{ports['h2c']} backlog 4096 proto h2
  bind 127.0.0.1:{ports['tls']} backlog 4096 ssl crt {pem} alpn h2,http/1.1
  http-request cache-use c
  http-response cache-store c
  default_backend origin
backend origin
  server o 127.0.0.1:{self.origin_port}
""")
        return [self.found(), "-db", "-f", self.dir / "haproxy.cfg"], {}


class Ats(Server):
    name, package, program = "trafficserver", "trafficserver", "traffic_server"

    @classmethod
    def version(cls):
        out = subprocess.run([cls.found(), "--version"], capture_output=True, text=True)
        return re.search(r"\d+\.\d+\.\d+", out.stdout + out.stderr).group()

    def configure(self, ports):
        for sub in ("etc", "log", "run", "cache", "state"):
            (self.dir / sub).mkdir()
        for f in pathlib.Path("/etc/trafficserver").glob("*"):
            if f.is_file():
                shutil.copy(f, self.dir / "etc")
        settings = {
            "proxy.config.http.server_ports":
                f"STRING {ports['h1']}:ipv4:ip-in=127.0.0.1:proto=http "
                f"{ports['h2c']}:ipv4:ip-in=127.0.0.1:proto=http;http2 "
                f"{ports['tls']}:ipv4:ip-in=127.0.0.1:ssl",
            "proxy.config.exec_thread.autoconfig": "INT 0",
            "proxy.config.exec_thread.limit": "INT 1",
            "proxy.config.exec_thread.affinity": "INT 0",
            "proxy.config.accept_threads": "INT 0",
            "proxy.config.admin.user_id": "STRING trafficserver",  # it refuses to be root
            "proxy.config.crash_log_helper": "STRING NULL",
            "proxy.config.net.connections_throttle": "INT 16000",
            "proxy.config.net.max_connections_in": "INT 16000",
            "proxy.config.net.listen_backlog": "INT 4096",
            "proxy.config.log.logging_enabled": "INT 0",
            "proxy.config.cache.ram_cache.size": "INT 268435456",
            "proxy.config.cache.ram_cache_cutoff": "INT 4194304",
            "proxy.config.cache.enable_read_while_writer": "INT 1",
            "proxy.config.cache.read_while_writer.max_retries": "INT 100",
            "proxy.config.cache.max_doc_size": "INT 0",
            "proxy.config.http.background_fill_active_timeout": "INT 0",
            "proxy.config.http.background_fill_completed_threshold": "FLOAT 0.0",
            "proxy.config.http.cache.open_write_fail_action": "INT 5",
            "proxy.config.http.cache.max_open_read_retries": "INT 100",
            "proxy.config.http.cache.open_read_retry_time": "INT 10",
            "proxy.config.http.cache.max_open_write_retries": "INT 1",
            "proxy.config.http.keep_alive_no_activity_timeout_in": "INT 600",
            "proxy.config.http2.max_concurrent_streams_in": "INT 128",
            "proxy.config.http.insert_request_via_str": "INT 0",
            "proxy.config.http.response_server_enabled": "INT 0",
            "proxy.config.url_remap.remap_required": "INT 1",
            "proxy.config.ssl.server.cert.path": f"STRING {self.dir}",
            "proxy.config.ssl.server.private_key.path": f"STRING {self.dir}",
        }
        etc = self.dir / "etc"
        (etc / "records.config").write_text(
            "".join(f"CONFIG {k} {v}\n" for k, v in settings.items()))
        (etc / "remap.config").write_text(f"map / http://127.0.0.1:{self.origin_port}/\n")
        (etc / "storage.config").write_text(f"{self.dir}/cache 256M\n")
        (etc / "ssl_multicert.config").write_text(
            "dest_ip=* ssl_cert_name=s.crt ssl_key_name=s.key\n")
        shutil.copy(f"{self.tls}.crt", self.dir / "s.crt")
        shutil.copy(f"{self.tls}.key", self.dir / "s.key")
        (etc / "runroot.yaml").write_text(f"""
prefix: /usr
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/bin
sysconfdir: {etc}
datadir: /usr/share/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {self.dir}/state
runtimedir: {self.dir}/run
logdir: {self.dir}/log
cachedir: {self.dir}/cache
""")
        if os.getuid() == 0:
            for path in (self.dir, *self.dir.rglob("*")):
                shutil.chown(path, "trafficserver")
        return [self.found(), f"--run-root={etc}/runroot.yaml"], {}


class Freshet(Server):
    name = package = "freshet"
    program = None  # edge_bench --freshet sets it

    @classmethod
    def found(cls):
        return cls.program if cls.program and os.access(cls.program, os.X_OK) else None

    @classmethod
    def version(cls):
        out = subprocess.run([cls.program, "version"], capture_output=True, text=True)
        return (out.stdout.split() or ["?"])[-1]

    def configure(self, ports):
        run = self.dir / "run"
        run.mkdir()
        (self.dir / "proxy.yaml").write_text(f"""
loops: 1
runtime_dir: {run}
state_dir: {self.dir}/state
admin: {{listen: ["127.0.0.1:0"]}}
tls:
  default: {{cert: {self.tls}.crt, key: {self.tls}.key}}
edge:
  listen: ["http://127.0.0.1:0", "https://127.0.0.1:0"]
  cache: 256M
  limits: {{per_address: 0}}
apps:
  vod: {{play: open, origin: "http://127.0.0.1:{self.origin_port}"}}
""")
        return [self.program, "run", "-c", self.dir / "proxy.yaml"], {}

    def find_bases(self, ports):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self.alive()
            r = subprocess.run(
                [self.program, "listeners", "--json", "--runtime-dir", self.dir / "run"],
                capture_output=True, text=True)
            if r.returncode == 0:
                edge = {x["configured"]: x["actual"] 
                        for x in json.loads(r.stdout)["listeners"]
                        if x["section"] == "edge.listen"}
                clear, tls = edge["http://127.0.0.1:0"], edge["https://127.0.0.1:0"]
                return {"h1": clear.rstrip("/"), "h2c": clear.rstrip("/"), "tls": tls.rstrip("/")}
            time.sleep(0.05)
        raise BenchError(f"freshet names no listeners:\n{self.output()}")


ALL = {c.name: c for c in (Freshet, Nginx, Haproxy, Ats)}
