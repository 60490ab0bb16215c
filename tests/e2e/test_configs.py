"""Every file of configs/ runs, and does what its comments say: only its places are replaced."""

import json
import pathlib
import re
import secrets
import shutil
import subprocess

import pytest
from conftest import FRESHET, PATIENCE, ROOT, cli, get, make_certificate, metric
from live import FFMPEG, Publisher, check_media, play, wait_mpd

CONFIGS = ROOT / "configs"
README = ROOT / "README.md"
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


@pytest.fixture
def place(short_dir):
    """place(name, **replaced) -> the text of configs/NAME.yaml with ports of the kernel's choice,
    and with what it reads and writes below the test's own directory."""
    make_certificate(short_dir)
    shutil.copy(short_dir / "cert.pem", short_dir / "tls.pem")
    shutil.copy(short_dir / "key.pem", short_dir / "tls.key")
    make_tier(short_dir)
    (short_dir / "publish.key").write_text(secrets.token_hex(32) + "\n")

    def of(name, replaced=()):
        text = (CONFIGS / f"{name}.yaml").read_text()
        text = re.sub(r"^runtime_dir: .*\n", "", text, flags=re.M)  # the test has its own
        text = re.sub(r'"((?:[a-z]+://)?)(?:\[::\]|127\.0\.0\.1):\d+"', r'"\g<1>127.0.0.1:0"', text)
        text = text.replace("/etc/freshet/", f"{short_dir}/")
        text = text.replace("/var/lib/freshet", f"{short_dir}/{name}-state")
        for old, new in replaced:
            assert old in text, f"{name}.yaml has no {old}"
            text = text.replace(old, new)
        return text

    return of


def make_tier(directory):
    """A CA and a certificate as README.md tells how to make them."""
    words = re.search(r"<!-- tier certificates -->\n\n```sh\n(.*?)```", README.read_text(), re.S)[1]
    words = words.replace("dc1.example.com", "localhost")
    subprocess.run(["sh", "-euc", words], cwd=directory, check=True, capture_output=True)


def signed(f, name):
    done = cli("sign", "publish", name, "-c", f.conf, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["urls"]


def by_scheme(urls):
    return {u.split(":")[0]: u for u in urls}


def test_no_config_is_forgotten():
    names = {"all-in-one", "dc", "pop", "proxy"}
    assert {p.stem for p in CONFIGS.glob("*.yaml")} == names


@needs_ffmpeg
def test_all_in_one(launch, place):
    f = launch(place("all-in-one")).wait_ready()
    assert cli("check", f.conf).returncode == 0
    door, edge = by_scheme(f.urls("ingest.listen")), by_scheme(f.urls("edge.listen"))
    publishers = [Publisher(door["rtmp"] + "/live/near", 6)]
    far = by_scheme(signed(f, "live/far"))["rtmps"]
    publishers.append(Publisher(far, 6))
    try:
        for name in ("near", "far"):
            page = f"{edge['http']}/live/{name}/manifest.mpd"
            wait_mpd(page, lambda m: m.latest() >= 1)
            m = wait_mpd(page, lambda m: m.type == "static")
            assert check_media(m)["v0"] == 180
            assert play(page.replace(edge["http"], edge["https"])) == 180
    finally:
        for p in publishers:
            p.end()


@needs_ffmpeg
def test_data_centres_and_a_pop(launch, place):
    homes = [
        launch(place("dc", [("dc-state", f"dc{n}-state")]), f"dc{n}").wait_ready() for n in (1, 2)
    ]
    tier = [f.urls("origin.listen")[0].replace("127.0.0.1", "localhost") for f in homes]
    named = [f"https://dc{n}.example.com:9443" for n in (1, 2)]
    pop = launch(place("pop", list(zip(named, tier))), "pop").wait_ready()
    for f in (*homes, pop):
        assert cli("check", f.conf).returncode == 0
    edge = by_scheme(pop.urls("edge.listen"))
    names = ["live/cam", "live/stage"]
    publishers = [Publisher(by_scheme(signed(pop, n))["rtmps"], 8) for n in names]
    try:
        for name in names:
            wait_mpd(f"{edge['http']}/{name}/manifest.mpd", lambda m: m.latest() >= 1)
        # each has one home, whichever
        assert sorted(s["name"] for f in homes for s in f.ask("streams")["streams"]) == names
        for name in names:
            page = f"{edge['http']}/{name}/manifest.mpd"
            m = wait_mpd(page, lambda m: m.type == "static")
            assert check_media(m)["v0"] == 240
            assert play(page.replace(edge["http"], edge["https"])) == 240
    finally:
        for p in publishers:
            p.end()


def test_proxy(launch, place, slow_origin):
    stores = {"vod": slow_origin(), "assets": slow_origin()}
    outside = ["http://store.example.com:8000", "https://assets.example.com"]
    replaced = [(old, new.url) for old, new in zip(outside, stores.values())]
    f = launch(place("proxy", replaced)).wait_ready()
    assert cli("check", f.conf).returncode == 0
    (edge,) = f.urls("edge.listen")
    for app, origin in stores.items():
        page = f"/{app}/b/20000/cc=max-age=60"
        first = get(edge + page)
        assert first[0] == 200 and len(first[2]) == 20000
        assert [get(edge + page)[2] for _ in range(3)] == [first[2]] * 3
        assert origin.stats(page)["requests"] == 1, "it was fetched once"
    assert metric(f, "freshet_cache_fills_total", tier="edge") == 2


@pytest.fixture
def installed(short_dir):
    """A prefix with everything that the build installs."""
    build = pathlib.Path(FRESHET).resolve().parent
    if not (build / "cmake_install.cmake").exists():
        pytest.skip("the program was not built here")
    prefix = short_dir / "prefix"
    subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True)
    return prefix


def test_what_is_installed_runs_where_it_is(installed, launch, place):
    f = launch(place("all-in-one"), program=installed / "bin/freshet").wait_ready()
    door, edge = by_scheme(f.urls("ingest.listen")), by_scheme(f.urls("edge.listen"))
    if FFMPEG is not None:  # the worker is found beside it
        p = Publisher(door["rtmp"] + "/live/cam", 3)
        wait_mpd(f"{edge['http']}/live/cam/manifest.mpd", lambda m: m.type == "static")
        p.end()
    assert {p.name for p in installed.glob("share/freshet/configs/*")} == {
        p.name for p in CONFIGS.glob("*.yaml")
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_the_systemd_unit(installed, short_dir):
    unit = (installed / "lib/systemd/system/freshet.service").read_text()
    where = short_dir / "freshet.service"
    where.write_text(unit.replace("=freshet ", f"={installed}/bin/freshet "))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", where],
                          capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", where],
                          capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-3:])
