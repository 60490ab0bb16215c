"""From a key to a picture: signing, the box without a configuration, what an operator sees."""

import json
import secrets
import subprocess
import time

import pytest
from conftest import PATIENCE, QUIET, cli

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
        (["watch", "live/cam"], 2, "wanted is publish"),
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
