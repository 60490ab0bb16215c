"""A POP that relays to data centres, and what must not end a broadcast: cut links, dead homes."""

import pathlib
import signal
import subprocess
import time
from urllib.parse import urlsplit

import pytest
from bare_rtmp import BareBroadcaster
from cable import Cable
from conftest import PATIENCE, QUIET, get, make_certificate, metric, wait_for
from live import FFMPEG, FPS, Publisher, check_media, play, wait_mpd
from wire import Wire

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")

CHAIN = """
[san]
subjectAltName=DNS:localhost,IP:127.0.0.1
"""


def make_tier(directory):
    """A CA and one certificate of it for all our machines, which are on 127.0.0.1 here."""
    d = pathlib.Path(directory)
    if not (d / "tier.pem").exists():
        (d / "san.cnf").write_text(CHAIN)
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for command in (
            ["req", "-x509", *ec, "-days", "30", "-subj", "/CN=tier CA",
             "-keyout", d / "ca.key", "-out", d / "ca.pem"],
            ["req", *ec, "-subj", "/CN=machine", "-keyout", d / "tier.key", "-out", d / "tier.csr"],
            ["x509", "-req", "-in", d / "tier.csr", "-CA", d / "ca.pem", "-CAkey", d / "ca.key",
             "-CAcreateserial", "-days", "30", "-extfile", d / "san.cnf", "-extensions", "san",
             "-out", d / "tier.pem"],
        ):  # fmt: skip
            subprocess.run(["openssl", *command], check=True, capture_output=True)
    return f"tier: {{cert: {d}/tier.pem, key: {d}/tier.key, ca: {d}/ca.pem}}"


class Dc:
    """A data centre, behind a cable."""

    def __init__(self, launch, short_dir, name, scheme, more=""):
        self.freshet = launch(
            QUIET
            + f"state_dir: {short_dir}/{name}-state\n"
            + f"tls: {{{make_tier(short_dir)}}}\n"
            + "encode: {workers: 1}\n"
            + f'origin: {{listen: ["{scheme}://127.0.0.1:0"]}}\n'
            + 'edge: {listen: ["http://127.0.0.1:0"]}\n'
            + "apps: {live: {publish: none}}\n"
            + more,
            name,
        ).wait_ready()
        (self.http,) = self.freshet.urls("edge.listen")
        (tier,) = self.freshet.urls("origin.listen")
        self.cable = Cable("127.0.0.1", urlsplit(tier).port)
        self.url = f"{scheme}://127.0.0.1:{self.cable.port}"

    def mpd(self, name):
        return f"{self.http}/live/{name}/manifest.mpd"

    def kill(self):
        self.freshet.send(signal.SIGKILL)
        self.freshet.wait()


class Pop:
    def __init__(self, launch, short_dir, dcs, name="pop", more=""):
        urls = ", ".join(f'"{dc.url}"' for dc in dcs)
        tls = make_certificate(short_dir).replace("tls: {", f"tls: {{{make_tier(short_dir)}, ")
        self.freshet = launch(
            QUIET
            + tls
            + f"state_dir: {short_dir}/{name}-state\n"
            + 'ingest: {listen: ["rtmp://127.0.0.1:0", "rtmps://127.0.0.1:0"], '
            + f"relay: [{urls}]}}\n"
            + "encode: {workers: 0}\n"
            + "apps: {live: {publish: open}}\n"
            + more,
            name,
        ).wait_ready()
        self.dcs = dcs
        self.rtmp, self.rtmps = sorted(self.freshet.urls("ingest.listen"))

    def into(self, name, scheme="rtmps"):
        return f"{self.rtmps if scheme == 'rtmps' else self.rtmp}/live/{name}"

    def home_of(self, name, after=0):
        """The data centre that took the stream, once it has; the rest of them after it."""
        at = self.freshet.wait_log("the stream has a home", f"stream=live/{name}", after=after)
        (home,) = [dc for dc in self.dcs if f"dc={dc.url}" in self.freshet.log[at]]
        return home, [dc for dc in self.dcs if dc is not home]

    def closes(self):
        """Connections of publishers that were not ended by themselves."""
        admin = self.freshet.urls("admin.listen")[0]
        lines = get(admin + "/metrics")[2].decode().splitlines()
        return [x for x in lines
                if x.startswith("freshet_ingest_closes_total{") and 'reason="ended"' not in x
                and float(x.rsplit(" ", 1)[1]) > 0]  # fmt: skip


@pytest.fixture
def tiers(launch, short_dir):
    """tiers(n, scheme) -> a POP and n data centres."""
    started = []

    def go(n=2, scheme="https", **kw):
        started.extend(Dc(launch, short_dir, f"dc{i}", scheme, **kw) for i in range(1, n + 1))
        return Pop(launch, short_dir, started[-n:]), started[-n:]

    yield go
    for dc in started:
        dc.cable.stop()


@pytest.fixture
def publish():
    started = []

    def go(*args):
        started.append(Publisher(*args))
        return started[-1]

    yield go
    for p in started:
        p.end()


def session_of(mpd):
    rep = mpd.reps()[-1][2]
    return rep.media.split("/live/")[1].split("/")[1]


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_what_comes_in_at_a_pop_is_presented_by_its_home(tiers, publish, scheme):
    pop, _ = tiers(2, scheme)
    seconds = 8
    p = publish(pop.into("show", "rtmps" if scheme == "https" else "rtmp"), seconds)
    home, (other,) = pop.home_of("show")
    mpd = wait_mpd(home.mpd("show"), lambda m: m.latest() > 0 and len(m.reps()) == 2)
    assert mpd.type == "dynamic"
    assert metric(pop.freshet, "freshet_ingest_spool_bytes") > 0
    assert metric(home.freshet, "freshet_relay_exchanges") == 1
    assert p.wait() == (0, "")
    mpd = wait_mpd(home.mpd("show"), lambda m: m.type == "static")
    assert len(mpd.periods) == 1
    assert check_media(mpd)["v0"] == seconds * FPS
    assert get(other.mpd("show"))[0] == 404
    # the POP forgets what is in segments, and in the end all of it
    wait_for(lambda: metric(pop.freshet, "freshet_ingest_spool_bytes") == 0)
    assert metric(pop.freshet, "freshet_ingest_spool_lost_total") == 0
    assert metric(home.freshet, "freshet_relay_exchanges") == 0
    assert play(home.mpd("show")) == seconds * FPS


def test_a_link_that_blinks_is_nothing_that_a_player_sees(tiers, publish):
    pop, _ = tiers(1)
    seconds = 9
    p = publish(pop.into("show"), seconds)
    home, _ = pop.home_of("show")
    wait_mpd(home.mpd("show"), lambda m: m.latest() > 0)
    for i in range(4):
        wait_for(lambda: metric(home.freshet, "freshet_relay_exchanges") == 1)
        mpd = wait_mpd(home.mpd("show"), lambda m: True)
        home.cable.cut()
        wait_mpd(home.mpd("show"), lambda m: m.latest() > mpd.latest() or m.type == "static")
    assert p.wait() == (0, "")
    mpd = wait_mpd(home.mpd("show"), lambda m: m.type == "static")
    assert len(mpd.periods) == 1, "nothing was lost, so nothing new begins"
    assert check_media(mpd)["v0"] == seconds * FPS
    assert metric(pop.freshet, "freshet_ingest_reconnects_total", result="resumed") >= 3
    assert metric(home.freshet, "freshet_relay_tags_repeated_total") > 0
    assert pop.closes() == []


def test_a_link_that_is_out_for_seconds_costs_a_new_period_and_no_connection(tiers, publish):
    pop, _ = tiers(1)
    p = publish(pop.into("show"), 14)
    home, _ = pop.home_of("show")
    before = wait_mpd(home.mpd("show"), lambda m: m.latest() > 0)
    home.cable.unplug()
    time.sleep(3)  # longer than the second after which a home closes what is open
    home.cable.plug()
    wait_mpd(home.mpd("show"), lambda m: len(m.periods) == 2 and m.latest() > before.latest())
    assert p.wait() == (0, "")
    mpd = wait_mpd(home.mpd("show"), lambda m: m.type == "static")
    check_media(mpd)
    # what came while the link was out waited at the POP: the gap is shorter than a GOP
    ends = {name: rep.segments[-1] for name, rep in mpd.periods["p0"].items()}
    first = mpd.periods["p1"]["v0"].segments[0][1]
    rep = mpd.periods["p0"]["v0"]
    offset = mpd.periods["p1"]["v0"].pto
    assert (first - ends["v0"][1] - ends["v0"][2]) / rep.timescale < 2.5, (ends, first, offset)
    assert pop.closes() == []


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_home_that_is_gone_is_replaced_by_the_next(tiers, publish, how):
    pop, _ = tiers(2)
    p = publish(pop.into("show"), 16)
    home, (other,) = pop.home_of("show")
    told = wait_mpd(home.mpd("show"),
                    lambda m: len(m.reps()) == 2 and all(r.closed() for _, _, r in m.reps()))
    # by the next segment the POP has long been told of what was closed then
    before = wait_mpd(home.mpd("show"), lambda m: m.latest() > told.latest())
    last = {name: rep.segments[-1][0] for _, name, rep in before.reps()}
    at = len(pop.freshet.log)
    if how == "killed":
        home.kill()
    else:
        assert home.freshet.stop() == 0
    assert pop.home_of("show", after=at)[0] is other
    mpd = wait_mpd(other.mpd("show"), lambda m: m.latest() > 0 and len(m.reps()) == 4)
    assert session_of(mpd) == session_of(before)
    assert mpd.ast == before.ast
    for name, rep in mpd.periods.pop("p0").items():  # players find their way out of it
        assert rep.segments[0] == before.periods["p0"][name].segments[0]
        closed = told.periods["p0"][name].closed()[-1][0]
        assert rep.segments[-1][0] >= closed, "what was closed is not forgotten"
    for _, name, rep in mpd.reps():
        assert rep.segments[0][0] > last[name]
    assert p.wait() == (0, "")
    mpd = wait_mpd(other.mpd("show"), lambda m: m.type == "static")
    assert "p0" not in mpd.periods, "the bytes of those are not here"
    check_media(mpd)
    # the first frame that the new home presents is not later than where the last one was cut off
    end = before.periods["p0"]["v0"].segments[-1]
    start = mpd.reps()[0][2].segments[0][1]
    assert start - (end[1] + end[2]) < 1 * mpd.reps()[0][2].timescale, (start, end)
    assert metric(pop.freshet, "freshet_ingest_reconnects_total", result="moved") == 1
    assert metric(pop.freshet, "freshet_ingest_spool_lost_total") == 0
    assert pop.closes() == []


def test_a_publisher_who_comes_back_goes_on_with_his_session(tiers, publish):
    pop, _ = tiers(2)
    p = publish(pop.into("show"))
    home, (other,) = pop.home_of("show")
    first = wait_mpd(home.mpd("show"), lambda m: m.latest() > 0)
    p.send(signal.SIGKILL)
    p.wait()
    at = len(pop.freshet.log)
    p = publish(pop.into("show"))
    assert pop.home_of("show", after=at)[0] is home
    second = wait_mpd(home.mpd("show"), lambda m: len(m.periods) == 2 and m.latest() > 0)
    assert session_of(second) == session_of(first)
    check_media(second)
    # and again, when his home has died meanwhile
    p.send(signal.SIGKILL)
    p.wait()
    home.kill()
    at = len(pop.freshet.log)
    p = publish(pop.into("show"))
    assert pop.home_of("show", after=at)[0] is other
    third = wait_mpd(other.mpd("show"), lambda m: m.latest() > 0)
    assert session_of(third) == session_of(first)
    assert third.ast == first.ast
    assert third.latest() > second.latest()


def test_the_newest_publisher_has_the_stream_whatever_pop_he_comes_to(
    tiers, publish, launch, short_dir
):
    pop, dcs = tiers(2)
    second = Pop(launch, short_dir, dcs, "pop2")
    old = publish(pop.into("show"))
    home, _ = pop.home_of("show")
    first = wait_mpd(home.mpd("show"), lambda m: m.latest() > 0)
    publish(second.into("show"))
    assert second.home_of("show")[0] is home
    assert old.wait()[0] != 0
    pop.freshet.wait_log("closed", "reason=replaced", "stream=show")
    mpd = wait_mpd(home.mpd("show"), lambda m: len(m.periods) == 2 and m.latest() > 0)
    assert session_of(mpd) == session_of(first)
    assert second.closes() == []


def test_only_our_own_machines_may_bring_streams(tiers, short_dir):
    _, (dc,) = tiers(1)
    ask = ["curl", "-sk", "--http2", "--data", "x", "-o", "/dev/null", "-w", "%{http_code}",
           f"{dc.url}/_ingest/live/show"]  # fmt: skip
    ours = ["--cert", short_dir / "tier.pem", "--key", short_dir / "tier.key"]
    done = subprocess.run(ask, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and done.stdout == "000"
    # with our certificate, but not what a POP says
    done = subprocess.run(ask + ours, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "400")
    assert get(f"{dc.http}/_ingest/live/show")[0] == 404


def test_an_operator_at_the_home_may_close_a_publisher_at_a_pop(tiers, publish):
    pop, _ = tiers(2)
    p = publish(pop.into("show"))
    home, _ = pop.home_of("show")
    wait_mpd(home.mpd("show"), lambda m: m.latest() > 0)
    done = home.freshet.cli("kick", "live/show", "--ban", "1m")
    assert done.returncode == 0, done.stderr
    assert p.wait()[0] != 0
    pop.freshet.wait_log("closed", "reason=kicked", "stream=show")
    # and to come back is of no use
    again = publish(pop.into("show"))
    assert again.wait()[0] != 0
    assert metric(pop.freshet, "freshet_ingest_reconnects_total", result="moved") == 0


# --- what an operator of the POP sees ---


def rows(f):
    told = f.ask("streams")
    assert told["whole"]
    return told["streams"]


def test_a_pop_lists_who_publishes_through_it_and_where_to(tiers, publish):
    pop, _ = tiers(2)
    assert rows(pop.freshet) == []
    p = publish(pop.into("show"))
    home, (other,) = pop.home_of("show")
    mpd = wait_mpd(home.mpd("show"), lambda m: m.latest() > 0)
    wait_for(lambda: "bitrate_bps" in rows(pop.freshet)[0]["relay"])
    (row,) = rows(pop.freshet)
    assert (row["name"], row["state"], row["viewers"]) == ("live/show", "relayed", 0)
    assert row["session"] == session_of(mpd)
    assert 1 < row["uptime_s"] < PATIENCE and 0 <= row["last_tag_ms"] < 2000
    relay = row["relay"]
    assert relay["dc"] == home.url and "why" not in relay
    assert 1 < relay["for_s"] <= row["uptime_s"]
    assert 50_000 < relay["bitrate_bps"] < 5_000_000
    assert relay["spool_bytes"] > 0 and 0 < relay["spool_ms"] <= 8000
    assert (relay["spool_lost"], relay["times_lost"], relay["times_moved"]) == (0, 0, 0)
    shown = pop.freshet.cli("streams").stdout.splitlines()
    assert shown[1].split()[:3] == ["live/show", row["session"], "relayed"]
    assert shown[2].startswith(f"    to {home.url} for ") and " kbit/s  spool " in shown[2]
    # at the data centre it is what it was
    (there,) = rows(home.freshet)
    assert there["state"] == "live" and "relay" not in there

    home.kill()
    wait_for(lambda: rows(pop.freshet)[0]["relay"].get("dc") == other.url)
    (row,) = rows(pop.freshet)
    assert row["state"] == "relayed"
    assert (row["relay"]["times_lost"], row["relay"]["times_moved"]) == (1, 1)
    assert row["relay"]["for_s"] < row["uptime_s"]

    other.kill()
    wait_for(lambda: rows(pop.freshet)[0]["state"] == "homeless")
    wait_for(lambda: rows(pop.freshet)[0]["relay"].get("why"))
    (row,) = rows(pop.freshet)
    assert "dc" not in row["relay"] and row["relay"]["times_lost"] == 2
    assert row["relay"]["why"].split(": ")[0] in (home.url, other.url)
    assert p.proc.poll() is None
    shown = pop.freshet.cli("streams").stdout.splitlines()
    assert shown[1].split()[2] == "homeless"
    assert shown[2].startswith("    no home for ") and shown[3].startswith("    https://")

    p.send(signal.SIGTERM)
    p.wait()
    wait_for(lambda: rows(pop.freshet) == [])


def test_the_newest_publisher_of_a_name_is_the_one_that_is_listed(tiers):
    pop, (dc,) = tiers(1)
    dc.kill()
    # nobody says which of them is to go, so they stay; on either loop
    crowd = []
    try:
        for _ in range(6):
            crowd.append(BareBroadcaster(pop.rtmp + "/live/show"))
            (row,) = rows(pop.freshet)
            assert row["state"] == "homeless"
            assert row["uptime_s"] < 3, "each waits two seconds for a home"
        assert len(crowd) == metric(pop.freshet, "freshet_ingest_publishers")
    finally:
        for one in crowd:
            one.close()
    wait_for(lambda: rows(pop.freshet) == [])


def test_a_stream_that_is_relayed_and_watched_is_one_row(
    tiers, publish, launch, short_dir
):
    _, dcs = tiers(1)
    pop = Pop(launch, short_dir, dcs, "both",
              f'edge: {{listen: ["http://127.0.0.1:0"], upstream: ["{dcs[0].url}"]}}\n')  # fmt: skip
    publish(pop.into("show"))
    (edge,) = pop.freshet.urls("edge.listen")
    wait_mpd(f"{edge}/live/show/manifest.mpd", lambda m: m.latest() > 0)
    with Wire(edge) as w:
        w.get("/live/show/manifest.mpd")
        assert w.answer()[0] == 200
        wait_for(lambda: rows(pop.freshet)[0]["viewers"] == 1)
        (row,) = rows(pop.freshet)
        assert (row["name"], row["state"]) == ("live/show", "relayed")
        assert row["relay"]["dc"] == dcs[0].url


def test_a_process_that_relays_to_itself_shows_the_broadcast_once(launch, short_dir, publish):
    text = (
        QUIET
        + f"state_dir: {short_dir}/state\n"
        + "encode: {workers: 1}\n"
        + 'origin: {listen: ["http://127.0.0.1:0"]}\n'
        + "apps: {live: {publish: open}}\n"
    )
    f = launch(text + 'ingest: {listen: ["rtmp://127.0.0.1:0"]}\n', "self").wait_ready()
    (tier,) = f.urls("origin.listen")
    f.write(text + f'ingest: {{listen: ["rtmp://127.0.0.1:0"], relay: ["{tier}"]}}\n')
    assert f.cli("reload").returncode == 0
    publish(f.urls("ingest.listen")[0] + "/live/show")
    wait_for(lambda: rows(f) and rows(f)[0].get("renditions"))
    (row,) = rows(f)
    assert (row["state"], row["period"], row["relay"]["dc"]) == ("live", 0, tier)
