"""From a key to a picture: signing, the box without a configuration, what an operator sees."""

import json
import os
import re
import secrets
import shutil
import subprocess
import time

import pytest
from conftest import FRESHET, PATIENCE, QUIET, cli, get, wait_for

SOURCE = ["-re", "-f", "lavfi", "-i", "testsrc=s=160x90:r=25"]
CODEC = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"]


def publish_args(url, seconds):
    return ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", *SOURCE,
            "-t", str(seconds), *CODEC, "-f", "flv", url]  # fmt: skip


def publish(url, seconds=0.4):
    """A short broadcast with ffmpeg, to its end."""
    return subprocess.run(
        publish_args(url, seconds), capture_output=True, text=True, timeout=PATIENCE
    )


# ---- freshet sign ----


@pytest.fixture
def signed(launch, short_dir):
    key = short_dir / "publish.key"
    key.write_text(secrets.token_hex(32) + "\n")
    return launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        "log: {level: info}\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
        "encode: {workers: 1}\n"
        f"secrets: {{publish: {{k1: {{file: {key}}}}}}}\n"
        "apps: {live: {publish: signed}, ever: {publish: signed, permanent_keys: yes}, vod: {}}\n"
    ).wait_ready()


def sign(f, name, *args):
    done = cli("sign", "publish", name, "-c", f.conf, "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_signed_publish_is_accepted_and_others_are_told_why_not(signed):
    f = signed
    (ingest,) = f.urls("ingest.listen")
    told = sign(f, "live/cam")
    (url,) = told["urls"]
    assert url == f"{ingest}/live/cam?{told['query']}"
    assert 86000 < told["exp"] - time.time() <= 86400
    done = publish(url)
    assert done.returncode == 0, done.stderr
    f.wait_log("publishes", "app=live", "stream=cam")

    wrong = url[:-1] + ("0" if url[-1] != "0" else "1")
    other = url.replace("/live/cam?", "/live/cam2?")
    (old,) = sign(f, "live/cam", "--exp", "1000000000")["urls"]
    for bad, why in [
        (f"{ingest}/live/cam", "no signature"),
        (wrong, "a wrong signature"),
        (other, "a wrong signature"),
        (url.replace("kid=k1", "kid=k2"), "an unknown key id"),
        (old, "expired"),
    ]:
        done = publish(bad)
        assert done.returncode != 0, bad
        assert why in done.stderr, bad


def test_a_key_for_ever_only_where_the_app_allows_it(signed):
    (url,) = sign(signed, "ever/cam", "--exp", "0")["urls"]
    assert "exp=0&" in url
    assert publish(url).returncode == 0
    done = cli("sign", "publish", "live/cam", "-c", signed.conf, "--exp", "0")
    assert done.returncode == 1
    assert "apps.live.permanent_keys" in done.stderr


@pytest.mark.parametrize(
    "args, rc, said",
    [
        (["publish", "cam"], 1, "APP/STREAM"),
        (["publish", "live/a/b"], 1, "APP/STREAM"),
        (["publish", "live/_a"], 1, "APP/STREAM"),
        (["publish", "nope/cam"], 1, "apps.nope"),
        (["publish", "vod/cam"], 1, "apps.vod"),
        (["publish", "live/cam", "--kid", "k9"], 1, "secrets.publish.k9"),
        (["publish", "live/cam", "--exp", "5x"], 1, "--exp 5x"),
        (["publish", "live/cam", "--exp", "-1"], 1, "--exp -1"),
        (["publish", "live/cam", "--exp", "99999999999999999999"], 1, "--exp"),
        (["watch", "live/cam"], 2, "wanted is publish or play"),
        (["publish"], 2, "two words"),
    ],
)
def test_what_cannot_be_signed(tmp_path, args, rc, said):
    key, conf = tmp_path / "k", tmp_path / "c.yaml"
    key.write_text("00" * 16)
    conf.write_text(
        f"runtime_dir: {tmp_path}\nsecrets: {{publish: {{k1: {{file: {key}}}}}}}\n"
        "apps: {live: {publish: signed}, vod: {}}\n"
    )
    done = cli("sign", *args, "-c", conf)
    assert (done.returncode, done.stdout) == (rc, "")
    assert said in done.stderr


def test_sign_for_obs_and_ffmpeg_without_a_process(tmp_path):
    key, conf = tmp_path / "k", tmp_path / "c.yaml"
    key.write_text("00" * 16)
    conf.write_text(
        f"runtime_dir: {tmp_path}\nsecrets: {{publish: {{k1: {{file: {key}}}}}}}\n"
        'ingest: {listen: ["rtmp://127.0.0.1:1935"]}\napps: {live: {publish: signed}}\n'
    )
    out = cli("sign", "publish", "live/cam", "--exp", "1h", "-c", conf).stdout
    assert "server  rtmp://127.0.0.1:1935/live\n" in out
    assert "key     cam?exp=" in out
    assert "-f flv 'rtmp://127.0.0.1:1935/live/cam?exp=" in out


# ---- freshet run, and nothing else ----


class Box:
    """`freshet run` with all its ports, on a network of its own."""

    def __init__(self, directory, name="run"):
        self.dirs = ["--state-dir", directory / "a/state", "--runtime-dir", directory / name]
        self.state = directory / "a/state"
        script = 'ip link set lo up && exec "$0" run "$@"'
        self.proc = subprocess.Popen(
            ["unshare", "-rn", "sh", "-c", script, FRESHET, *map(str, self.dirs)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.greeting = ""
        for line in self.proc.stdout:
            self.greeting += line
            if "Ctrl-C" in line:
                break

    def inside(self, *args):
        """A command on its network."""
        enter = ["nsenter", "-t", self.proc.pid, "-U", "-n", "--preserve-credentials"]
        return subprocess.run(
            [str(a) for a in [*enter, *args]], capture_output=True, text=True, timeout=PATIENCE
        )

    def get(self, url):
        done = self.inside("curl", "-sk", "--max-time", "5", "-w", "\n%{http_code}", url)
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
        status = self.proc.wait(PATIENCE)
        self.proc.stdout.close()
        return status


@pytest.fixture
def box(short_dir):
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespaces here")
    boxes = []

    def go(**kw):
        boxes.append(Box(short_dir, **kw))
        return boxes[-1]

    yield go
    for one in boxes:
        assert one.stop() == 0


def test_without_a_configuration_the_box_takes_and_serves(box):
    b = box()
    assert "server  rtmp://127.0.0.1:1935/live\n" in b.greeting
    assert "server  rtmps://localhost:1936/live\n" in b.greeting
    assert "http://localhost:8080/live/cam/manifest.mpd\n" in b.greeting
    assert "https://localhost:8443/watch/live/cam\n" in b.greeting

    for file, mode in [("publish.key", 0o600), ("tls.key", 0o600), ("tls.pem", 0o644)]:
        assert (b.state / file).stat().st_mode & 0o777 == mode
    done = b.inside(*publish_args("rtmp://127.0.0.1:1935/live/cam", 3))
    assert done.returncode == 0, done.stderr
    for base in ("http://localhost:8080", "https://localhost:8443"):
        status, body = b.get(base + "/live/cam/manifest.mpd")
        assert (status, "<MPD" in body) == (200, True)


def test_from_elsewhere_the_box_wants_the_signature_it_printed(box):
    b = box()
    # a connection to an address that is not the loopback's comes from that address
    assert b.inside("ip", "address", "add", "192.0.2.1/32", "dev", "lo").returncode == 0
    bare = "rtmps://192.0.2.1:1936/live/cam"
    (key,) = [x.split()[-1] for x in b.greeting.splitlines() if "key" in x and "cam?" in x]
    done = b.inside(*publish_args("rtmps://192.0.2.1:1936/live/" + key, 0.4))
    assert done.returncode == 0, done.stderr
    done = b.inside(*publish_args(bare, 0.4))
    assert done.returncode != 0
    assert "no signature" in done.stderr


def test_the_box_keeps_its_keys(box):
    b = box()
    before = {p.name: p.read_bytes() for p in b.state.iterdir() if p.is_file()}
    assert b.stop() == 0
    again = box()
    assert {p.name: p.read_bytes() for p in b.state.iterdir() if p.is_file()} == before
    query = json.loads(cli("sign", "publish", "live/x", "--json", *again.dirs).stdout)["query"]
    assert "kid=box&" in query


def test_a_port_that_is_taken_is_named(box, short_dir):
    b = box()
    other = ["--state-dir", short_dir / "b", "--runtime-dir", short_dir / "run2"]
    done = b.inside(FRESHET, "run", *other)
    assert done.returncode == 1
    assert ":8407: another process listens there" in done.stderr
    assert "write a configuration file" in done.stderr


def test_a_user_who_is_not_root_has_a_place_too(short_dir):
    program = shutil.copy(FRESHET, short_dir / "freshet")  # where everybody can read it
    state = short_dir / "s/freshet"
    state.mkdir(parents=True)
    (state / "publish.key").write_text("00" * 32)
    short_dir.chmod(0o755)
    who = {"user": 65534} if os.geteuid() == 0 else {}
    env = {"XDG_STATE_HOME": str(short_dir / "s"), "XDG_RUNTIME_DIR": str(short_dir / "r")}

    def said(*args):
        done = subprocess.run([program, *args], env=env, capture_output=True, text=True, **who)
        return done.stdout + done.stderr

    assert "kid=box&sig=" in said("sign", "publish", "live/cam")
    assert said("dump") == f"{short_dir}/r/freshet: no freshet runs here\n"
    del env["XDG_RUNTIME_DIR"]
    assert said("dump") == f"{state}/run: no freshet runs here\n"
    env = {"HOME": str(short_dir)}
    assert f"{short_dir}/.local/state/freshet/publish.key" in said("sign", "publish", "live/cam")


# ---- what is on the air ----


@pytest.fixture
def on_air(launch, short_dir):
    """A box with open doors; on_air.publish(name) starts a broadcast that ends with the test."""
    f = launch(
        QUIET + f"state_dir: {short_dir}/state\n"
        'ingest: {listen: ["rtmp://127.0.0.1:0"], reconnect_window: 20s}\n'
        'edge: {listen: ["127.0.0.1:0"]}\n'
        "encode: {workers: 1}\n"
        "apps: {live: {publish: open}}\n"
    ).wait_ready()
    encoders = []

    def publish_in_background(name):
        (ingest,) = f.urls("ingest.listen")
        encoders.append(subprocess.Popen(publish_args(f"{ingest}/live/{name}", 60)))
        return encoders[-1]

    f.publish = publish_in_background
    f.streams = lambda: {s["name"]: s for s in f.ask("streams")["streams"]}
    yield f
    for one in encoders:
        one.kill()
        one.wait(PATIENCE)


def test_streams_lists_what_is_on_the_air(on_air):
    f = on_air
    assert f.ask("streams")["streams"] == []
    f.publish("b")
    encoder = f.publish("a")

    def whole():
        now = f.streams()
        return len(now) == 2 and all(
            s["renditions"] and s["renditions"][0]["bitrate_bps"] and s["renditions"][0]["gop_ms"]
            for s in now.values()
        )

    wait_for(whole)
    answer = f.ask("streams")
    assert answer["whole"] is True
    assert [s["name"] for s in answer["streams"]] == ["live/a", "live/b"]
    a = answer["streams"][0]
    assert (a["state"], a["period"], a["worker"]) == ("live", 0, 0)
    assert len(a["session"]) == 13
    assert 0 <= a["last_tag_ms"] < 2000
    assert 0 <= a["worker_lag_ms"] < 1000
    assert 100 < a["latency_ms"] < 3000  # a chunk is 200 ms long, and complete
    assert 2 < a["uptime_s"] < 60
    (v0,) = a["renditions"]
    assert (v0["rep"], v0["width"], v0["height"]) == ("v0", 160, 90)
    assert v0["fps"] == 25.0
    assert v0["codecs"].startswith("avc1.")
    assert abs(v0["gop_ms"] - 1000) <= 40
    assert 10_000 < v0["bitrate_bps"] < 2_000_000

    shown = f.cli("streams").stdout
    assert "live/a " in shown
    assert "160x90  gop 1000ms" in shown

    encoder.kill()
    wait_for(lambda: f.streams()["live/a"]["state"] == "waiting")
    assert f.streams()["live/b"]["state"] == "live"


# ---- the pages ----

PAGES = 'edge: {listen: ["127.0.0.1:0"]}\napps: {live: {publish: open}, vod: {origin: "http://127.0.0.1:1"}}\n'


def installed(directory, player):
    """A copy of the program in a prefix of its own, with that player's library or none."""
    (directory / "bin").mkdir()
    if player is not None:
        (directory / "share/freshet").mkdir(parents=True)
        (directory / "share/freshet/dash.all.min.js").write_bytes(player)
    return shutil.copy(FRESHET, directory / "bin/freshet")


@pytest.mark.parametrize("player", [b"var dashjs;" * 50000, None], ids=["with", "without"])
def test_the_player_page(launch, short_dir, player):
    f = launch(QUIET + PAGES, program=installed(short_dir, player)).wait_ready()
    (edge,) = f.urls("edge.listen")
    status, headers, page = get(edge + "/watch/live/cam-1_X")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert b"cam-1_X" not in page, "the page must not depend on its address"
    text = page.decode()
    assert re.findall(r"<[^>]* on[a-z]+=", text) == [], "no handlers in the page itself"

    files = re.findall(r'(?:src|href)="(/[^"]+)"', text)
    assert sorted(files) == ["/watch/dash.all.min.js", "/watch/page.css", "/watch/watch.js"]
    for file in files:
        status, headers, body = get(edge + file)
        if file == "/watch/dash.all.min.js":
            assert status == (404 if player is None else 200)
            assert player is None or body == player
        else:
            assert (status, headers["cache-control"]) == (200, "no-cache")
            assert len(body) > 500
    assert b"dash.all.min.js is missing" in get(edge + "/watch/watch.js")[2]


@pytest.mark.parametrize(
    "path",
    [
        "/watch",
        "/watch/",
        "/watch/live",
        "/watch/live/cam/",
        "/watch/live/cam/x",
        "/watch/live/_x",
        "/watch/live/%3Cscript%3E",
        "/watch/vod/a",  # somebody else's origin: nothing of ours to play
        "/watch/nope/cam",
        "/watch/page.html",
        "/watch/../status",
        "/status",
        "/api/v1/streams",
    ],
)
def test_what_is_no_page_of_an_edge(edge_for_pages, path):
    assert get(edge_for_pages + path)[0] in (400, 404)


@pytest.fixture
def edge_for_pages(launch):
    f = launch(QUIET + PAGES).wait_ready()
    (edge,) = f.urls("edge.listen")
    return edge


def test_pages_are_only_read(edge_for_pages):
    for path in ("/watch/live/cam", "/watch/watch.js"):
        for method, want in [("POST", "405"), ("DELETE", "405"), ("HEAD", "200")]:
            flag = ["-I"] if method == "HEAD" else ["-X", method]
            done = subprocess.run(
                ["curl", "-s", *flag, "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                 edge_for_pages + path],
                capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
            assert done.stdout.split()[0] == want


def test_the_status_page_and_its_data(on_air):
    f = on_air
    (admin,) = f.urls("admin.listen")
    status, headers, page = get(admin + "/status")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in headers["content-security-policy"]
    for file in re.findall(r'(?:src|href)="(/[^"]+)"', page.decode()):
        assert get(admin + file)[0] == 200

    def streams():
        status, headers, body = get(admin + "/api/v1/streams")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert headers["cache-control"] == "no-store"
        return json.loads(body)

    wait_for(lambda: get(admin + "/api/v1/streams")[0] == 200)
    assert streams()["streams"] == []
    f.publish("cam")
    wait_for(lambda: any(s["renditions"] for s in streams()["streams"]))
    told = streams()
    (cam,) = told["streams"]
    assert (cam["name"], cam["state"], told["whole"]) == ("live/cam", "live", True)
    assert set(cam) == set(f.streams()["live/cam"])
