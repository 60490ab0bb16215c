"""A data centre and a POP: two processes, the one followed by the other."""

import hashlib
import pathlib
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from boxes import boxes
from cable import Cable
from conftest import PATIENCE, QUIET, get, metric, wait_for
from live import FFMPEG, Mpd, Publisher, check_media, wait_mpd
from wire import H2, Ended, Wire


pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Dc:
    """Ingest, encoder and origin."""

    def __init__(self, launch, short_dir, name="dc", listen="http://127.0.0.1:0", more=""):
        self.launch, self.name = launch, name
        self.text = (
            QUIET
            + f"state_dir: {short_dir}/{name}-state\n"
            + 'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n'
            + "encode: {workers: 1}\n"
            + f'origin: {{listen: ["{listen}"]}}\n'
            + 'edge: {listen: ["http://127.0.0.1:0"]}\n'
            + "apps: {live: {publish: open}}\n"
            + more
        )
        self.start()

    def start(self):
        self.freshet = self.launch(self.text, self.name).wait_ready()
        (self.rtmp,) = self.freshet.urls("ingest.listen")
        (self.tier,) = self.freshet.urls("origin.listen")
        (self.http,) = self.freshet.urls("edge.listen")

    def publish(self, name, seconds=None):
        return Publisher(f"{self.rtmp}/live/{name}", seconds)

    def die(self):
        self.freshet.send(signal.SIGKILL)
        self.freshet.wait()


class Pop:
    def __init__(self, launch, upstream, name="pop", push="yes", app="{}", more=""):
        upstream = [upstream] if isinstance(upstream, str) else upstream
        self.freshet = launch(
            QUIET
            + f'edge: {{listen: ["http://127.0.0.1:0"], push: {push}, upstream: {upstream}}}\n'
            + f"apps: {{live: {app}}}\n"
            + more,
            name,
        ).wait_ready()
        (self.http,) = self.freshet.urls("edge.listen")

    def mpd(self, name):
        return f"{self.http}/live/{name}/manifest.mpd"

    def metric(self, name, **labels):
        return metric(self.freshet, "freshet_" + name, **labels)

    def followed(self):
        return self.metric("push_subscriptions")


class Publishers:
    def __init__(self):
        self.all = []

    def add(self, one):
        self.all.append(one)
        return one


@pytest.fixture
def publishers():
    p = Publishers()
    yield p
    for one in p.all:
        if one.proc.poll() is None:
            one.end()


def closed_urls(mpd):
    return [rep.url(n) for _, _, rep in mpd.reps() for n, _, _ in rep.closed()]


def test_a_pop_serves_what_the_data_centre_has_byte_for_byte(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    pop = Pop(launch, dc.tier)
    publishers.add(dc.publish("show", 8))
    mpd = wait_mpd(pop.mpd("show"), lambda m: m.type == "static", PATIENCE * 2)
    check_media(mpd)
    assert get(pop.mpd("show"))[2] == get(f"{dc.http}/live/show/manifest.mpd")[2]
    for url in closed_urls(mpd) + [rep.init for _, _, rep in mpd.reps()]:
        here, there = get(url), get(url.replace(pop.http, dc.http))
        assert here[0] == there[0] == 200
        assert here[2] == there[2]
        for header in ("etag", "content-type", "cache-control"):
            assert here[1][header] == there[1][header], (url, header)
    assert pop.followed() == 1
    # the documents came by themselves, and each segment once
    assert pop.metric("cache_fills_total", tier="edge") == len(closed_urls(mpd))
    assert pop.metric("push_lag_seconds_count") > 0


def test_manifests_arrive_without_being_asked_for(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    pop = Pop(launch, dc.tier)
    publishers.add(dc.publish("show"))
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    asked = pop.metric("upstream_requests_total", code="2xx")
    fills = pop.metric("cache_fills_total", tier="edge")
    first = Mpd(pop.mpd("show"), get(pop.mpd("show"))[2].decode()).latest()
    wait_mpd(pop.mpd("show"), lambda m: m.latest() >= first + 2)
    # nobody has asked for a segment, so there was nothing to ask the upstream for
    assert pop.metric("upstream_requests_total", code="2xx") == asked
    assert pop.metric("cache_fills_total", tier="edge") == fills == 0


def test_a_crowd_costs_one_fill_for_each_object(launch, short_dir, publishers):
    """Fifty viewers at the live edge: each asks for the newest segment as soon as it is named, and
    holds on to it while it grows."""
    dc = Dc(launch, short_dir)
    pop = Pop(launch, dc.tier)
    publishers.add(dc.publish("show"))
    start = wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1).latest()
    bodies, lock = {}, threading.Lock()

    def view(_):
        for n in range(start, start + 3):
            rep = list(wait_mpd(pop.mpd("show"), lambda m: m.latest() >= n).reps())
            url = next(r for _, name, r in rep if name == "v0").url(n)
            status, _, body = get(url)
            assert status == 200
            with lock:
                bodies.setdefault(url, set()).add(hashlib.sha256(body).hexdigest())

    with ThreadPoolExecutor(50) as crowd:
        list(crowd.map(view, range(50)))
    assert len(bodies) == 3
    for url, seen in bodies.items():
        there = get(url.replace(pop.http, dc.http))[2]
        assert seen == {hashlib.sha256(there).hexdigest()}
    # the three, and those that were announced since and are complete by now
    fills = pop.metric("cache_fills_total", tier="edge")
    newest = wait_mpd(pop.mpd("show"), lambda m: True).latest()
    assert 3 <= fills <= newest - start + 1
    assert pop.metric("cache_fill_errors_total", reason="status") == 0


def test_push_can_be_switched_off_and_on(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    pop = Pop(launch, dc.tier, push="no")
    publishers.add(dc.publish("show"))
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    assert pop.followed() == 0
    pop.freshet.write(
        (pop.freshet.conf.read_text().split("\n", 1)[1]).replace("push: no", "push: yes")
    )
    assert pop.freshet.cli("reload").returncode == 0
    wait_mpd(pop.mpd("show"), lambda m: pop.followed() == 1)


def test_a_data_centre_that_dies_and_comes_back(launch, short_dir, publishers):
    port = free_port()
    dc = Dc(launch, short_dir, listen=f"http://127.0.0.1:{port}")
    pop = Pop(launch, dc.tier)
    publishers.add(dc.publish("show"))
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    before = get(pop.mpd("show"))[2]
    dc.die()
    died = time.monotonic()
    wait_for(lambda: pop.followed() == 0)
    status, _, body = get(pop.mpd("show"))
    assert status == 200 and body == before  # stale, by the rules
    while get(pop.mpd("show"))[0] == 200:
        time.sleep(0.1)
    # half a segment fresh, four segments in case of an error; the machine may be slow, never early
    assert time.monotonic() - died > 8
    status, headers, _ = get(pop.mpd("show"))
    assert status == 503 and int(headers["retry-after"]) >= 1
    dc.start()
    publishers.add(dc.publish("show"))
    there = wait_mpd(f"{dc.http}/live/show/manifest.mpd", lambda m: m.latest() > 0)
    here = wait_mpd(pop.mpd("show"), lambda m: m.ast == there.ast)
    assert here.type == "dynamic"
    wait_for(lambda: pop.followed() == 1)


def test_a_segment_whose_home_has_forgotten_it_ends_at_a_whole_chunk(
    launch, short_dir, publishers
):
    dc = Dc(launch, short_dir, listen=f"http://127.0.0.1:{free_port()}")
    pop = Pop(launch, dc.tier)
    publishers.add(dc.publish("show"))
    mpd = wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1 and m.periods["p0"]["v0"].open)
    rep = mpd.periods["p0"]["v0"]
    url = rep.url(rep.segments[-1][0])
    with urlopen(url, timeout=PATIENCE) as reader:
        some = reader.read(100)
        dc.die()
        dc.start()
        all_of_it = some + reader.read()  # an IncompleteRead if it were broken off
    kinds = [(kind, stop) for kind, _, stop in boxes(all_of_it)]
    assert kinds[-1] == ("mdat", len(all_of_it)), kinds
    assert get(url)[::2] == (200, all_of_it), "nor will there ever be more"


def test_a_subscription_that_was_cut_goes_on_where_it_was(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    cable = Cable("127.0.0.1", urlsplit(dc.tier).port)
    try:
        pop = Pop(launch, f"http://127.0.0.1:{cable.port}")
        publishers.add(dc.publish("show"))
        wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1 and pop.followed() == 1)
        cable.cut()
        wait_for(lambda: pop.metric("push_resync_total", kind="partial") == 1)
        assert pop.metric("push_resync_total", kind="full") == 0
        wait_mpd(pop.mpd("show"), lambda m: pop.followed() == 1)
        latest = Mpd("", get(pop.mpd("show"))[2].decode()).latest()
        wait_mpd(pop.mpd("show"), lambda m: m.latest() > latest)
    finally:
        cable.stop()


def test_a_line_that_says_nothing_is_given_up(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    cable = Cable("127.0.0.1", urlsplit(dc.tier).port)
    try:
        pop = Pop(launch, f"http://127.0.0.1:{cable.port}")
        publishers.add(dc.publish("show"))
        wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1 and pop.followed() == 1)
        cable.hold()
        wait_for(lambda: pop.followed() == 0)
        pop.freshet.wait_log("subscription lost", "reason=silence")
        cable.release()
        wait_mpd(pop.mpd("show"), lambda m: pop.followed() == 1)
    finally:
        cable.stop()


def test_nobody_watches_and_nobody_follows(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    pop = Pop(launch, dc.tier, more="")
    pop.freshet.write(
        pop.freshet.conf.read_text()
        .split("\n", 1)[1]
        .replace("push: yes", "push: yes, limits: {linger: 1s}")
    )
    assert pop.freshet.cli("reload").returncode == 0
    publishers.add(dc.publish("show"))
    wait_mpd(pop.mpd("show"), lambda m: pop.followed() == 1)
    wait_for(lambda: pop.followed() == 0)
    assert metric(dc.freshet, "freshet_push_subscribers") == 0
    wait_mpd(pop.mpd("show"), lambda m: pop.followed() == 1)


def test_the_stream_is_found_wherever_it_lives(launch, short_dir, publishers):
    dcs = [Dc(launch, short_dir, f"dc{i}") for i in range(3)]
    pop = Pop(launch, [dc.tier for dc in dcs])
    for i, dc in enumerate(dcs):
        publishers.add(dc.publish(f"s{i}"))
    for i, dc in enumerate(dcs):
        mpd = wait_mpd(pop.mpd(f"s{i}"), lambda m: m.latest() > 1)
        (url, *_) = closed_urls(mpd)
        assert get(url)[2] == get(url.replace(pop.http, dc.http))[2]
    assert pop.followed() == 3
    assert get(pop.mpd("none"))[0] == 404


def test_a_broadcaster_who_comes_back_elsewhere_is_followed_there(launch, short_dir, publishers):
    dcs = [Dc(launch, short_dir, f"dc{i}") for i in range(2)]
    pop = Pop(launch, [dc.tier for dc in dcs])
    one = publishers.add(dcs[0].publish("show"))
    first = wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    one.end()
    publishers.add(dcs[1].publish("show"))
    there = wait_mpd(
        f"{dcs[1].http}/live/show/manifest.mpd", lambda m: m.latest() > 0, PATIENCE * 2
    )
    assert there.ast != first.ast
    wait_mpd(pop.mpd("show"), lambda m: m.ast == there.ast, PATIENCE * 2)


def test_viewers_go_on_when_the_data_centre_of_their_broadcast_dies(
    launch, short_dir, publishers
):
    dcs = [Dc(launch, short_dir, f"dc{i}") for i in range(2)]
    urls = [dc.tier for dc in dcs]
    pop = Pop(launch, urls, app="{publish: open}", more=(
        f'ingest: {{listen: ["rtmp://127.0.0.1:0"], relay: {urls}}}\n'
        f"state_dir: {short_dir}/pop-state\n"))  # fmt: skip
    (rtmp,) = pop.freshet.urls("ingest.listen")
    one = publishers.add(Publisher(f"{rtmp}/live/show"))
    before = wait_mpd(pop.mpd("show"), lambda m: m.latest() > 2)
    watched = closed_urls(before)[-1]
    seen = get(watched)
    assert seen[0] == 200
    said = pop.freshet.log[pop.freshet.wait_log("following", "stream=live/show")]
    (home,) = [dc for dc in dcs if f"upstream={dc.tier}" in said]
    home.die()
    after = wait_mpd(pop.mpd("show"), lambda m: m.latest() > before.latest() + 1, PATIENCE * 2)
    sessions = {rep.init.split("/")[-3] for m in (before, after) for _, _, rep in m.reps()}
    assert len(sessions) == 1  # the same broadcast, numbers rise
    assert get(closed_urls(after)[-1] if closed_urls(after) else after.reps()[0][2].init)[0] == 200
    assert get(watched)[2] == seen[2]  # who is in the middle of the old one may finish
    wait_for(lambda: pop.followed() == 1)
    assert one.proc.poll() is None


# --- who gets in ---


def test_a_player_cannot_subscribe(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    publishers.add(dc.publish("show"))
    wait_mpd(f"{dc.http}/live/show/manifest.mpd", lambda m: True)
    assert get(f"{dc.http}/_sub/live/show")[0] == 404
    with H2(dc.http) as h2:
        assert h2.fetch("/_sub/live/show")[0] == 404
    with H2(dc.tier) as h2:
        stream = h2.open("/_sub/live/show")
        assert h2.wait(1, stream=stream) is not None
    with Wire(dc.tier) as wire, pytest.raises(Ended):  # HTTP/1 is not spoken there
        wire.get("/time")
        wire.head()


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def make_tier(directory):
    """A CA, and one certificate for localhost that it has signed; returns the configuration."""
    d = pathlib.Path(directory)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-days", 30, "-subj", "/CN=our CA", "-keyout", d / "ca.key",
            "-out", d / "ca.pem")  # fmt: skip
    openssl("req", *curve, "-subj", "/CN=localhost", "-keyout", d / "tier.key",
            "-out", d / "tier.csr")  # fmt: skip
    (d / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", d / "tier.csr", "-CA", d / "ca.pem", "-CAkey", d / "ca.key",
            "-CAcreateserial", "-days", 30, "-extfile", d / "san", "-out", d / "tier.pem")  # fmt: skip
    return f"tls: {{tier: {{cert: {d}/tier.pem, key: {d}/tier.key, ca: {d}/ca.pem}}}}\n"


def test_only_machines_with_our_certificate_get_in(launch, short_dir, publishers):
    tls = make_tier(short_dir)
    dc = Dc(launch, short_dir, listen="https://127.0.0.1:0", more=tls)
    pop = Pop(launch, dc.tier, more=tls)
    publishers.add(dc.publish("show"))
    mpd = wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    (url, *_) = closed_urls(mpd)
    assert get(url)[2] == get(url.replace(pop.http, dc.http))[2]
    assert pop.followed() == 1
    port = urlsplit(dc.tier).port

    def ask(*how):
        return subprocess.run(
            ["curl", "-s", "--max-time", str(PATIENCE), "--http2", "--cacert",
             short_dir / "ca.pem", *how, "-o", "/dev/null", "-w", "%{http_code}",
             f"https://127.0.0.1:{port}/live/show/manifest.mpd"],
            capture_output=True, text=True)  # fmt: skip

    assert ask().returncode != 0  # no certificate, no answer
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", 30, "-subj", "/CN=localhost", "-keyout", short_dir / "other.key",
            "-out", short_dir / "other.pem")  # fmt: skip
    assert ask("--cert", short_dir / "other.pem", "--key", short_dir / "other.key").returncode != 0
    ours = ask("--cert", short_dir / "tier.pem", "--key", short_dir / "tier.key")
    assert ours.returncode == 0 and ours.stdout == "200"


def test_a_reload_changes_whom_we_let_in_and_disturbs_nobody(launch, short_dir, publishers):
    ours, theirs = short_dir / "ours", short_dir / "theirs"
    ours.mkdir()
    theirs.mkdir()
    tls, other = make_tier(ours), make_tier(theirs)
    dc = Dc(launch, short_dir, listen="https://127.0.0.1:0", more=tls)
    pop = Pop(launch, dc.tier, more=tls)
    publishers.add(dc.publish("show"))
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    assert pop.followed() == 1
    dc.freshet.write(dc.text.replace(tls, other))
    assert dc.freshet.cli("reload").returncode == 0
    stranger = Pop(launch, dc.tier, "stranger", more=tls)
    friend = Pop(launch, dc.tier, "friend", more=other)
    wait_mpd(friend.mpd("show"), lambda m: m.latest() > 1)
    assert get(stranger.mpd("show"))[0] == 503
    assert (pop.followed(), friend.followed(), stranger.followed()) == (1, 1, 0)
    latest = Mpd("", get(pop.mpd("show"))[2].decode()).latest()
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > latest)
    assert pop.metric("push_resync_total", kind="full") == 0


def test_a_slow_pop_delays_no_other(launch, short_dir, publishers):
    dc = Dc(launch, short_dir)
    pop = Pop(launch, dc.tier)
    publishers.add(dc.publish("show"))
    wait_mpd(pop.mpd("show"), lambda m: m.latest() > 1)
    with H2(dc.tier, window=0, conn_window=False) as slow:
        slow.open("/_sub/live/show")
        wait_for(lambda: metric(dc.freshet, "freshet_push_subscribers") == 2)
        latest = Mpd("", get(pop.mpd("show"))[2].decode()).latest()
        wait_mpd(pop.mpd("show"), lambda m: m.latest() >= latest + 2)
    wait_for(lambda: metric(dc.freshet, "freshet_push_subscribers") == 1)
    assert pop.followed() == 1
