"""Play tokens: who gets what of a stream of a signed application, until when, with which keys."""

import hashlib
import hmac
import json
import secrets
import time

import pytest
from conftest import QUIET, cli, get, metric
from live import Publisher, wait_mpd

KEYS = {"old": secrets.token_hex(16), "new": secrets.token_hex(32)}


def token(name="gate/cam", kid="new", exp=None, key=None):
    """As the documentation says, not as the program does it."""
    exp = int(time.time()) + 3600 if exp is None else exp
    key = bytes.fromhex(key or KEYS[kid])
    signed = hmac.new(key, f"play\n{name}\n{exp}".encode(), hashlib.sha256).hexdigest()
    return f"{exp}-{kid}-{signed}"


@pytest.fixture
def gate(launch, short_dir):
    """A box with a signed and an open application, and a broadcast on each."""

    def text(kids, grace="12h"):
        for kid in kids:
            (short_dir / kid).write_text(KEYS[kid] + "\n")
        keys = ", ".join(f"{kid}: {{file: {short_dir}/{kid}}}" for kid in kids)
        return (
            QUIET + f"state_dir: {short_dir}/state\n"
            'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
            'edge: {listen: ["127.0.0.1:0"]}\n'
            "encode: {workers: 1}\n"
            f"secrets: {{play: {{{keys}}}}}\n"
            f"apps: {{gate: {{publish: open, play: signed, play_grace: {grace}}},"
            " live: {publish: open}, vod: {origin: 'http://127.0.0.1:1'}}\n"
        )

    f = launch(text(["old", "new"])).wait_ready()
    f.text = text
    (f.base,) = f.urls("edge.listen")
    (ingest,) = f.urls("ingest.listen")
    publishers = [Publisher(f"{ingest}/{app}/cam") for app in ("gate", "live")]
    wait_mpd(f.base + "/live/cam/manifest.mpd", lambda m: len(m.reps()) == 2)
    f.mpd = wait_mpd(
        f"{f.base}/p/{token()}/gate/cam/manifest.mpd",
        lambda m: len(m.reps()) == 2 and all(r.closed() for _, _, r in m.reps()),
    )
    yield f
    for p in publishers:
        p.end()


def media(f, t):
    """A segment and an init segment behind the token t; None: without one."""
    rep = f.mpd.reps()[0][2]
    behind = f"{f.base}/p/{t}/gate/" if t else f"{f.base}/gate/"
    whole = [rep.url(rep.closed()[0][0]), rep.init]
    return [behind + url.split("/gate/", 1)[1] for url in whole]


def test_a_signed_stream_is_seen_with_a_token_and_not_without(gate):
    f = gate
    good = token()
    for url in media(f, good):
        status, headers, body = get(url)
        assert (status, len(body) > 500) == (200, True)
        assert headers["access-control-allow-origin"] == "*"
    assert get(f"{f.base}/p/{token(kid='old')}/gate/cam/manifest.mpd")[0] == 200
    assert get(f"{f.base}/p/{good}/watch/gate/cam")[0] == 200

    before = metric(f, "freshet_play_auth_total", result="signature")
    past = int(time.time()) - 5
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    for bad, why in [
        (None, "needed"),
        (wrong, "not good"),
        (token("live/cam"), "not good"),
        (token("gate/cam2"), "not good"),
        (token(kid="new", key=KEYS["old"]), "not good"),
        ("0-new-00", "not good"),
        (good.replace("-new-", "-none-"), "not good"),
        (token(exp=past), "expired"),
    ]:
        behind = f"{f.base}/p/{bad}" if bad else f.base
        for page in ("/gate/cam/manifest.mpd", "/watch/gate/cam", "/gate/nobody/manifest.mpd"):
            if why == "expired" and "nobody" in page:
                continue
            status, headers, body = get(behind + page)
            assert (status, why in body.decode()) == (403, True), (bad, page, body)
            assert headers["cache-control"] == "no-store"
            assert headers["access-control-allow-origin"] == "*"
    for url in media(f, wrong) + media(f, None):
        assert get(url)[0] == 403
    assert metric(f, "freshet_play_auth_total", result="signature") == before + 14
    assert metric(f, "freshet_play_auth_total", result="missing") == 5
    assert metric(f, "freshet_play_auth_total", result="malformed") == 3
    assert metric(f, "freshet_play_auth_total", result="kid") == 3
    assert metric(f, "freshet_play_auth_total", result="expired") == 2
    assert not [x for x in f.log if good in x]


def test_media_go_on_after_the_end_for_as_long_as_the_grace(gate):
    f = gate
    late = token(exp=int(time.time()) - 60)
    assert [get(url)[0] for url in media(f, late)] == [200, 200]
    assert get(f"{f.base}/p/{late}/gate/cam/manifest.mpd")[0] == 403
    f.write(f.text(["old", "new"], grace="30s"))
    assert f.cli("reload").returncode == 0
    assert [get(url)[0] for url in media(f, late)] == [403, 403]


def test_whoever_may_watch_anyway_may_do_so_with_any_token(gate):
    f = gate
    for t in ("x", "0-new-00", token("live/cam", exp=1), token()):
        assert get(f"{f.base}/p/{t}/live/cam/manifest.mpd")[0] == 200
        assert get(f"{f.base}/p/{t}/watch/live/cam")[0] == 200
        assert get(f"{f.base}/p/{t}/live/nobody/manifest.mpd")[0] == 404
        assert get(f"{f.base}/p/{t}/vod/x")[0] == 502  # its origin was asked
    for path in ("/p/x/time", "/p/x/p/y/live/cam/manifest.mpd", "/p/x/watch/watch.js", "/p/x/"):
        assert get(f.base + path)[0] == 404


def test_tokens_make_no_other_object(gate):
    f = gate
    a, b = token(), token(kid="old")
    [first, _], [second, _] = media(f, a), media(f, b)
    fills = metric(f, "freshet_cache_objects")
    assert get(first)[2] == get(second)[2]
    assert metric(f, "freshet_cache_objects") - fills < 10  # the live streams go on meanwhile
    etag = get(first)[1]["etag"]
    assert get(second, If_None_Match=etag)[0] == 304


def test_keys_are_changed_without_a_moment_of_silence(gate):
    f = gate
    url = "{}/p/{}/gate/cam/manifest.mpd".format
    old, new = token(kid="old"), token(kid="new")
    assert [get(url(f.base, t))[0] for t in (old, new)] == [200, 200]
    f.write(f.text(["new"]))
    assert f.cli("reload").returncode == 0
    assert [get(url(f.base, t))[0] for t in (old, new)] == [403, 200]
    # the same name, another key: what was remembered of it is no longer good
    KEYS["new"], kept = secrets.token_hex(32), KEYS["new"]
    try:
        f.write(f.text(["new"]))
        assert f.cli("reload").returncode == 0
        assert [get(url(f.base, t))[0] for t in (new, token())] == [403, 200]
    finally:
        KEYS["new"] = kept
    # a key that cannot be read changes nothing
    f.write(f.text(["new"]).replace(f"{f.dir.parent}/new", "/nonexistent"))
    done = f.cli("reload")
    assert done.returncode == 1
    assert "secrets.play.new: /nonexistent" in done.stderr


def test_sign_play_makes_what_is_accepted(gate):
    f = gate
    done = cli("sign", "play", "gate/cam", "-c", f.conf, "--json", "--for", "4h")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["token"] == token(exp=told["exp"])  # the last key by default
    assert 14000 < told["exp"] - time.time() <= 14400
    assert told["urls"] == [f"{f.base}/p/{told['token']}/gate/cam/manifest.mpd"]
    assert get(told["urls"][0])[0] == 200
    done = cli("sign", "play", "gate/cam", "-c", f.conf, "--kid", "old")
    assert "-old-" in done.stdout.splitlines()[0]
    (browser,) = [x.split()[1] for x in done.stdout.splitlines() if x.startswith("  browser")]
    assert get(browser)[0] == 200
    for args, said in [
        (["live/cam"], "nobody asks for this token"),
        (["gate/cam", "--exp", "0"], "ends some day"),
        (["vod/x"], "outside origin"),
        (["gate/cam", "--kid", "k9"], "secrets.play.k9: no such key"),
        (["nope/cam"], "apps.nope"),
    ]:
        done = cli("sign", "play", *args, "-c", f.conf)
        assert said in done.stderr
        assert done.returncode == (0 if args == ["live/cam"] else 1)
