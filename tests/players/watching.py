"""watch.mjs from Python: two real players, their events to wait for, their report in the end.

A page of ours, seen by visit.mjs; and ffmpeg as a third player, which is judged by its silence.
"""

import json
import pathlib
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PLAYERS = ("dash", "shaka")
START = 60  # seconds that a browser on a busy machine may take to begin and to end


class Teller:
    """A program of ours that tells what happens, a JSON object per line, and takes words."""

    def __init__(self, script, tmp, options):
        self.events = []
        self._changed = threading.Condition()
        self._ended = False
        line = ["node", str(HERE / script)]
        for name, value in options.items():
            line.append("--" + name.replace("_", "-"))
            if value is not True:
                line.append(str(value))
        self._words = open(tmp / (script + ".log"), "w+")
        self.proc = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, text=True, cwd=HERE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.proc.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _said(self):
        self._words.seek(0)
        return self._words.read()

    def wait_for(self, true, timeout=30, after=0):
        """The first event, counted from the after-th, for which true(event); None: there was none."""

        def found():
            return next((e for e in self.events[after:] if true(e)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, timeout)
            return found()

    def tell(self, *words):
        try:
            self.proc.stdin.write(" ".join(map(str, words)) + "\n")
            self.proc.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the report, or its absence, tells

    def end(self):
        """Whatever state it is in; nothing is left behind."""
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(START)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self._reader.join(10)
        self.proc.stdin.close()
        self.proc.stdout.close()
        self._words.close()


class Watch(Teller):
    """Watch(url, tmp, seconds=30, protocol="h2"): options as of watch.mjs, - written as _.
    An option that is True is given without a value."""

    def __init__(self, url, tmp, players=PLAYERS, **options):
        self.players = players
        self.seconds = options.get("seconds", 0)
        super().__init__("watch.mjs", tmp, {"url": url, "players": ",".join(players), **options})

    def wait(self, event, timeout=30, after=0, **fields):
        """The first such event with these fields, counted from the after-th; waited for."""
        e = self.wait_for(
            lambda e: e["event"] == event and all(e.get(k) == v for k, v in fields.items()), timeout, after
        )
        shown = [x for x in self.events if x["event"] != "report"]
        assert e is not None, f"no {event} {fields} in {shown}\n{self._said()}"
        return e

    def wait_all(self, event, timeout=30, **fields):
        """The same event of every player: their list."""
        end = time.monotonic() + timeout
        return [
            self.wait(event, max(0.1, end - time.monotonic()), player=p, **fields) for p in self.players
        ]

    def mark(self, name):
        """From here on counts as phase NAME; returns when that is so."""
        self.tell("mark", name)
        self.wait("mark", name=name)

    def settle(self):
        """Until latency is what it is to be: on a busy machine players begin late, and catch up."""
        self.wait_all("steady", 60)
        self.mark("settle")
        self.wait_all("caught_up", 40, mark="settle")

    def calm(self, seconds):
        """Nothing happens for so long; the report is mostly about that. (The end is to be waited for.)"""
        self.mark("calm")
        self.seconds = seconds
        self.tell("play", seconds)

    def on_source(self, event):
        """For source.start(): what is known about the pictures goes to the players' judge."""
        if event["event"] == "epoch":
            self.tell("epoch", event["frame"], event["at_ms"])

    def report(self, stop=True):
        """Waits for the end (now, with stop) and returns the report; assert on its "ok"."""
        if stop:
            self.tell("stop")
        self.proc.wait(START + float(self.seconds))
        self._reader.join(10)
        last = self.events[-1] if self.events else {}
        assert last.get("event") == "report", f"no report\n{self._said()}"
        assert self.proc.returncode == (0 if last["ok"] else 1), self._said()
        return last


class Page(Teller):
    """A page of ours in the browser, looked at four times a second (visit.mjs tells what is seen)."""

    def __init__(self, url, tmp):
        super().__init__("visit.mjs", tmp, {"url": url})

    def see(self, true, timeout=30, after=0):
        """The first look, counted from the after-th event, for which true(look); waited for."""
        e = self.wait_for(lambda e: e["event"] == "look" and true(e), timeout, after)
        assert e is not None, f"never seen, in the end {self.events[-3:]}\n{self._said()}"
        return e

    def wrong(self):
        """What no page should have."""
        return [e for e in self.events if e["event"] != "look"]


def describe(report):
    """For the message of an assertion: why not, and the figures without their lists."""
    rows = [*report["failures"], f"the machine was late by {report['lag_ms']} ms at most"]
    for name, r in report["players"].items():
        rows.append(f"{name}: " + json.dumps({k: v for k, v in r.items() if k != "phases"}))
    return "\n".join(rows)


class Listener:
    """ffmpeg plays url for so many seconds of media; result() tells how it went."""

    def __init__(self, url, seconds, level="error"):
        self.patience = START + seconds
        tls = ["-tls_verify", "0"] if url.startswith("https") else []
        self.proc = subprocess.Popen(
            ["ffmpeg", "-hide_banner", "-nostdin", "-v", level, *tls, "-i", url, "-t", str(seconds),
             "-f", "null", "-progress", "pipe:1", "-"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def result(self):
        """(exit status, what it said, pictures it decoded)"""
        out, err = self.proc.communicate(timeout=self.patience)
        frames = [int(x[6:]) for x in out.splitlines() if x.startswith("frame=")]
        return self.proc.returncode, err, frames[-1] if frames else 0

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.communicate()
