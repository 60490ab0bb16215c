"""Two tiers: a data centre and two POPs, the broadcaster at one of them, dash.js and Shaka Player at the
other; in peace, and when something between them dies.
"""

import json
import pathlib
import signal
import sys
from urllib.parse import urlsplit

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from cable import Cable  # noqa: E402
from conftest import QUIET, launch, make_certificate, metric, short_dir  # noqa: E402, F401
from stage import AWAY, Stage, kill_the_worker, peace  # noqa: E402
from test_relay import make_tier  # noqa: E402
from watching import describe  # noqa: E402

pytest_plugins = ["again"]


def port_of(url):
    return urlsplit(url).port


class Machine:
    """A freshet that can die and come back: other programs reach its doors through cables, which lead
    to wherever it listens by now."""

    def __init__(self, launch, name, text, doors):  # noqa: F811
        self.launch, self.name, self.text, self.doors = launch, name, text, doors
        self.cables = {}
        self.start()

    def start(self):
        self.freshet = self.launch(self.text, self.name).wait_ready()
        for name, (section, at) in self.doors.items():
            port = port_of(sorted(self.freshet.urls(section))[at])
            if name in self.cables:
                self.cables[name].lead_to(port)
            else:
                self.cables[name] = Cable("127.0.0.1", port)

    def url(self, door, scheme):
        return f"{scheme}://127.0.0.1:{self.cables[door].port}"

    def kill(self):
        self.freshet.send(signal.SIGKILL)
        self.freshet.wait()

    def end(self):
        for cable in self.cables.values():
            cable.stop()


class Tiers(Stage):
    def __init__(self, launch, short_dir, homes=1):  # noqa: F811
        tier = make_tier(short_dir)
        self.dcs = [self.data_centre(launch, f"dc{i}", tier, short_dir) for i in range(homes)]
        self.dc = self.dcs[0]
        self.down = Cable("127.0.0.1", self.dc.cables["up"].port)  # what the players' POP hears
        names = make_certificate(short_dir).replace("tls: {", f"tls: {{{tier}, ")
        others = [dc.url("up", "https") for dc in self.dcs[1:]]
        self.near = self.pop(launch, "near", names, [self.dc.url("up", "https"), *others])
        self.far = self.pop(launch, "far", names, [f"https://127.0.0.1:{self.down.port}", *others])
        self.machines = [*self.dcs, self.near, self.far]
        super().__init__(
            short_dir, self.far.url("clear", "http"), self.far.url("tls", "https"),
            self.near.url("rtmps", "rtmps"), self.dc.freshet,
        )  # fmt: skip

    @staticmethod
    def data_centre(launch, name, tier, short_dir):  # noqa: F811
        return Machine(
            launch, name,
            QUIET + f"tls: {{{tier}}}\nstate_dir: {short_dir}/{name}-state\n"
            "encode: {workers: 1}\n"
            'origin: {listen: ["https://127.0.0.1:0"]}\napps: {live: {publish: none}}\n',
            {"up": ("origin.listen", 0)},
        )  # fmt: skip

    @staticmethod
    def pop(launch, name, tls, dcs):  # noqa: F811
        up = json.dumps(dcs)
        return Machine(
            launch, name,
            QUIET + tls + "encode: {workers: 0}\n"
            f'ingest: {{listen: ["rtmps://127.0.0.1:0"], relay: {up}}}\n'
            f'edge: {{listen: ["http://127.0.0.1:0", "https://127.0.0.1:0"], upstream: {up}}}\n'
            "apps: {live: {publish: open}}\n",
            {"rtmps": ("ingest.listen", 0), "clear": ("edge.listen", 0), "tls": ("edge.listen", 1)},
        )  # fmt: skip

    def end(self):
        super().end()
        for machine in self.machines:
            machine.end()
        self.down.stop()


@pytest.fixture
def stage(launch, short_dir, monkeypatch, request):  # noqa: F811
    monkeypatch.setenv("TMPDIR", str(short_dir))  # the browser's
    s = Tiers(launch, short_dir, getattr(request, "param", 1))
    yield s
    s.end()


def test_what_comes_in_at_one_pop_is_seen_at_the_other_two_seconds_later(stage):
    stage.source()
    watch = stage.watch()
    watch.settle()
    watch.calm(20)
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
    for player in report["players"].values():
        assert (player["periods"], player["jumps"]) == (["p0"], 0)
        assert player["glass_s"] is not None, "the latency was measured, not only believed"
    assert metric(stage.far.freshet, "freshet_push_subscriptions") == 1


# What goes wrong, each thing from the fault to the moment at which it is as if it had never been.


def cut_the_subscription(stage, watch):
    watch.mark("cut")
    stage.down.cut()
    watch.wait_all("caught_up", 20, mark="cut")


def kill_the_players_pop(stage, watch):
    """It comes back; what players try again is enough."""
    watch.mark("pop")
    stage.far.kill()
    stage.far.start()
    watch.wait_all("recovered", 30, mark="pop")
    watch.wait_all("caught_up", 20, mark="pop")


def kill_the_broadcasters_pop(stage, watch, source):
    """The broadcaster goes to the other one."""
    stage.near.kill()
    source.wait(10)
    watch.mark("near")
    stage.door = stage.far.url("rtmps", "rtmps")
    stage.source("--first-frame", 10000)
    watch.wait_all("recovered", 30, mark="near")
    watch.wait_all("caught_up", 20, mark="near")


def restart_the_data_centre(stage, watch):
    """The broadcaster never knows, and players go on by themselves: in a new Period, behind the one
    that they were in."""
    watch.mark("dc")
    stage.dc.kill()
    stage.dc.start()
    watch.wait_all("recovered", 20, mark="dc")
    watch.wait_all("caught_up", 20, mark="dc")


# A POP that is gone answers nothing; players say so, and try again.
GONE = {**AWAY, "max_http_errors": 20, "max_errors": 10}


def test_players_live_through_one_death_after_the_other(stage):
    source = stage.source()
    watch = stage.watch(**{**GONE, "max_waiting": 8, "max_ranges": 3})  # one for each Period
    watch.settle()
    kill_the_worker(stage, watch)
    cut_the_subscription(stage, watch)
    kill_the_players_pop(stage, watch)
    restart_the_data_centre(stage, watch)
    kill_the_broadcasters_pop(stage, watch, source)
    for player in peace(watch):
        assert player["periods"][0] == "p0" and len(player["periods"]) == 3


@pytest.mark.long
def test_nobody_sees_that_a_worker_was_killed(stage):
    stage.source()
    watch = stage.watch(max_gap=2000)
    watch.settle()
    kill_the_worker(stage, watch)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0"], 0)


@pytest.mark.long
def test_nobody_sees_that_a_subscription_was_cut(stage):
    stage.source()
    watch = stage.watch(max_gap=2000)
    watch.settle()
    cut_the_subscription(stage, watch)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0"], 0)


@pytest.mark.long
def test_the_session_goes_on_when_the_data_centre_is_back(stage):
    source = stage.source()
    watch = stage.watch(**AWAY)
    watch.settle()
    before = stage.mpd(lambda m: m.latest() >= 3)
    restart_the_data_centre(stage, watch)
    after = stage.mpd(lambda m: len(m.periods) == 2)
    assert after.ast == before.ast
    assert after.reps()[-1][2].url(1) == before.reps()[-1][2].url(1), "the same session"
    assert sorted(list(after.periods.values())[-1]) == ["a0", "v0"]
    for player in peace(watch):
        assert player["periods"] == ["p0", list(after.periods)[1]]
    assert source.proc.poll() is None


@pytest.mark.parametrize("stage", [2], indirect=True)
def test_the_session_goes_on_at_another_data_centre(stage):
    """The first one never comes back. The broadcaster's connection to his POP lives, and players find
    their way into the Period that the other one has begun."""
    source = stage.source()
    watch = stage.watch(**AWAY)
    watch.settle()
    before = stage.mpd(lambda m: m.latest() >= 3)
    (home,) = (dc for dc in stage.dcs if dc.freshet.ask("streams")["streams"])
    watch.mark("dc")
    home.kill()
    watch.wait_all("recovered", 20, mark="dc")
    watch.wait_all("caught_up", 20, mark="dc")
    after = stage.mpd(lambda m: m.latest() > before.latest())
    assert after.ast == before.ast
    assert after.reps()[-1][2].url(1) == before.reps()[-1][2].url(1), "the same session"
    for player in peace(watch):
        assert player["periods"][0] == "p0" and len(player["periods"]) == 2
    assert source.proc.poll() is None


@pytest.mark.long
def test_players_come_back_to_their_pop(stage):
    stage.source()
    watch = stage.watch(**GONE)
    watch.settle()
    kill_the_players_pop(stage, watch)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0"], 0)


@pytest.mark.long
def test_a_broadcaster_goes_to_another_pop(stage):
    source = stage.source()
    watch = stage.watch(**AWAY)
    watch.settle()
    kill_the_broadcasters_pop(stage, watch, source)
    for player in peace(watch):
        assert (player["periods"], player["jumps"]) == (["p0", "p1"], 1)
