"""What the tests of whole chains share: a broadcaster, two players and a diary of the manifest."""

import os
import pathlib
import shutil
import signal
import threading
import time

from conftest import get
from live import Mpd, wait_mpd
from source import start
from watching import Listener, Watch, describe

HERE = pathlib.Path(__file__).resolve().parent
STREAM = "/live/a"
MANIFEST = STREAM + "/manifest.mpd"


class Diary(threading.Thread):
    """Every manifest that said something new, in short: for whoever reads of a failure."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.lines = []
        self._over = threading.Event()
        self.start()

    def run(self):
        last = None
        while not self._over.wait(0.1):
            try:
                status, _, text = get(self.url)
                line = self.shorten(text.decode()) if status == 200 else str(status)
            except OSError as e:
                line = str(e)
            if line != last:
                self.lines.append(f"{round(time.time() * 1000)} {line}")
            last = line

    def shorten(self, text):
        mpd = Mpd(self.url, text)
        words = [mpd.type]
        for period, name, rep in mpd.reps():
            words.append(f"{period}/{name}")
            if rep.segments:
                (first, t0, _), (n, t, d) = rep.segments[0], rep.segments[-1]
                begin, end = ((x - rep.pto) / rep.timescale for x in (t0, t + d))
                words.append(f"{first}..{n}{' open' if rep.open else ''} {begin:.3f}..{end:.3f}")
        return " ".join(words)

    def stop(self):
        self._over.set()
        self.join()


class Stage:
    """Doors for players, one in the clear and one with TLS, and one for the broadcaster; `home` is the
    Freshet that has the workers."""

    def __init__(self, tmp, clear, tls, door, home):
        for tool in ("node", "ffmpeg"):
            assert shutil.which(tool), f"{tool} is not installed"
        assert (HERE / "node_modules/playwright-core").is_dir(), f"npm ci was not run in {HERE}"
        self.tmp, self.door, self.home = tmp, door, home
        self.clear, self.tls = clear + MANIFEST, tls + MANIFEST
        self.diary = Diary(self.clear)
        self.open = []
        self.epochs = []  # what the sources have said, for players that come later
        self.players = None

    def source(self, *args):
        """A broadcaster; what is known about its pictures goes to the players."""

        def tell(event):
            self.epochs.append(event)
            if self.players is not None:
                self.players.on_source(event)

        self.open.append(start(tell, "--publish", self.door + STREAM, *args))
        return self.open[-1]

    def mpd(self, wanted):
        return wait_mpd(self.clear, wanted)

    def watch(self, **options):
        """Both players, as soon as there is something to play for them."""
        self.mpd(lambda m: m.latest() >= 2)
        self.players = Watch(self.tls, self.tmp, protocol="h2", **options)
        self.open.append(self.players)
        for event in list(self.epochs):
            self.players.on_source(event)
        return self.players

    def listener(self, seconds):
        self.open.append(Listener(self.tls, seconds))
        return self.open[-1]

    def workers(self):
        tasks = pathlib.Path(f"/proc/{self.home.proc.pid}/task").iterdir()
        return [int(pid) for t in tasks for pid in (t / "children").read_text().split()]

    def end(self):
        for one in reversed(self.open):
            one.end()
        self.diary.stop()
        print("\n".join(self.diary.lines))
        if self.players is not None:
            print(*(e for e in self.players.events if e["event"] != "report"), sep="\n")


def kill_the_worker(stage, watch):
    (worker,) = stage.workers()
    watch.mark("death")
    os.kill(worker, signal.SIGKILL)
    watch.wait_all("caught_up", 20, mark="death")
    assert worker not in stage.workers()


def peace(watch):
    """The report, when some more seconds have gone almost as if nothing had ever happened: a player that
    has gone on with the newest picture may have to wait once more for the next."""
    watch.calm(6)
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
    for player in report["players"].values():
        calm = player["phases"]["calm"]
        assert calm["waiting"] <= 1 and calm["errors"] == [] and calm["gap_ms"] < 1000, calm
        assert calm["glass_s"] < 2.5, calm
    return report["players"].values()


def newcomers(stage):
    """Players that come by now get what is newest, as all did who have come before."""
    watch = stage.watch()
    watch.settle()
    watch.calm(6)
    report = watch.report(stop=False)
    assert report["ok"], describe(report)
    return report["players"].values()


# Nothing is made while a broadcaster is away, and it takes a moment to begin; players wait that long,
# go on with what is newest, and slow down from there; where a source begins anew its time is measured
# anew.
AWAY = {"max_gap": 9000, "max_waiting": 4, "max_ranges": 2, "max_early": 1.5, "max_spread": 50,
        "max_speed_off": 0.2}  # fmt: skip
