#!/usr/bin/python3
"""Makes doc/status.png: the status page of a POP and what is behind it, all of it real.

    FRESHET_BIN=$PWD/build/release/freshet tests/players/status_png.py doc/status.png
"""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from conftest import QUIET, Freshet  # noqa: E402
from live import Mpd, Publisher, wait_mpd  # noqa: E402
from wire import H2  # noqa: E402

NAMES = ["morning-show", "match-7", "studio-b"]
VIEWERS = {"morning-show": 24, "match-7": 11, "studio-b": 2}


def watch(edge, name, over):
    """The manifest and the newest segment of each rendition, as a player asks for them."""
    wire, last = H2(edge), {}
    while not over.wait(0.5):
        status, text = wire.fetch(f"/live/{name}/manifest.mpd")
        if status != 200:
            continue
        mpd = Mpd(f"{edge}/live/{name}/manifest.mpd", text.decode())
        for _, rep, r in mpd.reps():
            if r.closed() and last.get(rep) != r.closed()[-1][0]:
                last[rep] = r.closed()[-1][0]
                wire.fetch(r.url(last[rep]).removeprefix(edge))
    wire.close()


def main(to):
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as d, contextlib.ExitStack() as ends:
        here = pathlib.Path(d)
        (here / "dc").mkdir()
        (here / "pop").mkdir()
        dc = Freshet(
            here / "dc",
            QUIET + f"node: {{id: box-1}}\nstate_dir: {d}/state\n"
            'ingest: {listen: ["rtmp://127.0.0.1:0"]}\nedge: {listen: ["127.0.0.1:0"]}\n'
            'origin: {listen: ["http://127.0.0.1:0"]}\nencode: {workers: 2}\n'
            "apps: {live: {publish: open}}\n",
        )
        ends.callback(dc.end)
        dc.wait_ready()
        (ingest,), (edge,), (tier,) = map(dc.urls, ("ingest.listen", "edge.listen", "origin.listen"))
        pop = Freshet(
            here / "pop",
            QUIET + f'edge: {{listen: ["127.0.0.1:0"], upstream: ["{tier}"]}}\napps: {{live: {{}}}}\n',
        )
        ends.callback(pop.end)
        pop.wait_ready()
        (far,) = pop.urls("edge.listen")
        for name in NAMES:
            ends.callback(Publisher(f"{ingest}/live/{name}").end)
        for name in NAMES:
            wait_mpd(f"{edge}/live/{name}/manifest.mpd", lambda m: len(m.reps()) == 2)
        over = threading.Event()
        crowd = [
            threading.Thread(target=watch, args=(far if i % 6 == 0 else edge, name, over))
            for name, n in VIEWERS.items()
            for i in range(n)
        ]
        for one in crowd:
            one.start()
        time.sleep(15)  # for the figures to be of some time
        (admin,) = dc.urls("admin.listen")
        raw = here / "raw.png"
        line = ["node", HERE / "look.mjs", "--url", admin + "/status", "--rows", "3", "--seconds", "12"]
        subprocess.run([*line, "--height", "640", "--screenshot", raw], check=True, stdout=subprocess.DEVNULL)
        over.set()
        for one in crowd:
            one.join()
        palette = "split[a][b];[a]palettegen=max_colors=32[p];[b][p]paletteuse=dither=none"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-i", raw, "-vf", palette, "-update", "1", "-frames:v", "1", to],
            check=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
