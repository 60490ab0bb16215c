#!/usr/bin/env python3
"""A broadcaster for player tests: ffmpeg with a picture that says its own number.

640x360 at 30 fps, H.264 (zerolatency, an IDR each --gop seconds) and a tone in AAC. In the picture
runs the number of the frame, for people and as a barcode: 16 boxes, least significant first, white
for 1 (page/player.js reads it). Every source of one test gets its own --first-frame, so that its
pictures are known from those of the one before.

    source.py --publish rtmp://127.0.0.1:1935/live/a
    source.py --dash http://127.0.0.1:8000/live/a        (the dash muxer, PUT to live_origin.py)

Standard output: {"event": "epoch", "frame": F, "at_ms": T}: frame F was made at T (wall clock), the
later ones in steps of 1/30 s; first with the first frame, again when a better guess is known. Then
{"event": "ended", "status": S}. Standard input: freeze, thaw, kill, stop.
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

FPS = 30
WIDTH, HEIGHT = 640, 360
# where the barcode is; page/player.js has the same numbers
BAR_X, BAR_Y, BOX, BAR_HEIGHT, BITS = 160, 20, 20, 24, 16
GUESSES = 60  # frames from which the epoch is taken


def barcode(first_frame, lie_at):
    """The filters that draw it. The pictures from lie_at on call themselves by the number 64 later."""
    number = f"(n+{first_frame}+64*gte(n,{lie_at}))" if lie_at else f"(n+{first_frame})"
    frame = f"drawbox=x={BAR_X - BOX}:y={BAR_Y - 8}:w={(BITS + 2) * BOX}:h={BAR_HEIGHT + 16}:c=black:t=fill"
    boxes = [
        f"drawbox=x={BAR_X + k * BOX}:y={BAR_Y}:w={BOX}:h={BAR_HEIGHT}:c=white:t=fill"
        f":enable='mod(floor({number}/{1 << k}),2)'"
        for k in range(BITS)
    ]
    return ",".join([frame, *boxes])


def command(args, late_fd):
    """The ffmpeg command line for the parsed arguments."""
    gop = round(args.gop * FPS)
    # the last two print a line for each frame as it goes to the encoder
    filters = ",".join([
        "format=yuv420p", barcode(args.first_frame, args.lie_at),
        "metadata=mode=add:key=k:value=v", "metadata=mode=print:file=pipe\\\\:1:direct=1",
    ])  # fmt: skip
    line = [
        args.ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning",
        "-re", "-f", "lavfi", "-i", f"testsrc=size={WIDTH}x{HEIGHT}:rate={FPS}:decimals=2",
        "-re", "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=2:sample_rate=48000:samples_per_frame=1024",
        "-map", "0:v", "-map", "1:a", "-vf", filters,
        "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1",
        "-b:v", "600k", "-maxrate", "800k", "-bufsize", "800k",
        "-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0", "-bf", "0",
        "-c:a", "aac", "-b:a", "64k", "-ac", "2",
    ]  # fmt: skip
    if args.offset:
        line += ["-output_ts_offset", str(args.offset)]
    if args.seconds:
        line += ["-t", str(args.seconds)]
    if args.publish:
        where = f"pipe:{late_fd}" if args.late else args.publish
        return [*line, "-f", "flv", "-flvflags", "no_duration_filesize", where]
    dash = [
        "-f", "dash", "-ldash", "1", "-streaming", "1", "-seg_duration", str(args.gop),
        "-frag_type", "duration", "-frag_duration", "0.2", "-write_prft", "1",
        "-use_template", "1", "-use_timeline", "0", "-window_size", "20", "-extra_window_size", "10",
        "-adaptation_sets", "id=0,streams=v id=1,streams=a",
        "-target_latency", "2", "-min_playback_rate", "0.96", "-max_playback_rate", "1.04",
        "-media_seg_name", "$RepresentationID$-$Number$.m4s", "-init_seg_name", "$RepresentationID$-init.mp4",
        "-method", "PUT", "-http_persistent", "1",
    ]  # fmt: skip
    if args.utc:
        dash += ["-utc_timing_url", args.utc]
    return [*line, *dash, args.dash + "/manifest.mpd"]


class Late:
    """Another ffmpeg, which sends what comes from a pipe: from after so many seconds on, the first at once."""

    def __init__(self, args, pipe):
        self.proc = None
        self.args = args
        self.pipe = open(pipe, "rb", buffering=0)
        self.kept = queue.SimpleQueue()
        self.over = threading.Event()
        for what in (self._keep, self._send):
            threading.Thread(target=what, daemon=True).start()

    def _keep(self):
        while data := self.pipe.read(65536):
            self.kept.put(data)
        self.kept.put(b"")
        self.pipe.close()

    def _send(self):
        if self.over.wait(self.args.late):
            return
        self.proc = subprocess.Popen(
            [self.args.ffmpeg, "-v", "error", "-f", "flv", "-i", "pipe:0", "-c", "copy",
             "-f", "flv", "-flvflags", "no_duration_filesize", self.args.publish],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while data := self.kept.get():
                self.proc.stdin.write(data)
                self.proc.stdin.flush()
            self.proc.stdin.close()
        except BrokenPipeError:
            pass

    def end(self):
        self.over.set()
        if self.proc is not None:
            self.proc.kill()
            self.proc.wait(10)


class Source:
    """A running one. tell(event) is called for each event, by a thread of our own."""

    def __init__(self, args, tell):
        self.args = args
        self.tell = tell
        self.late = None
        here, there = os.pipe()
        self.proc = subprocess.Popen(
            command(args, there), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, pass_fds=[there],
        )  # fmt: skip
        os.close(there)
        if args.late:
            self.late = Late(args, here)
        else:
            os.close(here)
        self.words = []  # what ffmpeg had to say
        self._threads = [
            threading.Thread(target=self._read_frames, daemon=True),
            threading.Thread(target=self._read_words, daemon=True),
        ]
        for t in self._threads:
            t.start()

    def _read_frames(self):
        best = None
        for line in self.proc.stdout:
            if not line.startswith("frame:"):
                continue
            n = int(line[6:].split()[0])
            if n >= GUESSES:
                continue
            # a frame may be late, but never early
            guess = time.time() * 1000 - n * 1000 / FPS
            if best is None or guess < best - 5:
                best = guess
                self.tell({"event": "epoch", "frame": self.args.first_frame, "at_ms": round(best)})
        self.proc.wait()
        self._threads[1].join()
        self.tell({"event": "ended", "status": self.proc.returncode})

    def _read_words(self):
        self.words.extend(line.rstrip("\n") for line in self.proc.stderr)

    def _signal(self, number):
        if self.proc.poll() is None:
            self.proc.send_signal(number)

    def freeze(self):
        """Nothing more is made or sent; the connection stays. What was missed comes after thaw()."""
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def kill(self):
        """It is gone without a word."""
        if self.late is not None:
            self.late.end()
        self._signal(signal.SIGKILL)

    def stop(self):
        """It ends its stream in good order."""
        self.thaw()
        self._signal(signal.SIGINT)

    def wait(self, timeout):
        status = self.proc.wait(timeout)
        for t in self._threads:
            t.join(timeout)
        return status

    def end(self):
        """Whatever state it is in; nothing is left behind."""
        self.kill()
        self.wait(10)
        self.proc.stdout.close()
        self.proc.stderr.close()


def parser():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--publish", metavar="URL", help="rtmp:// or rtmps://")
    where.add_argument("--dash", metavar="URL", help="http://HOST/DIRECTORY that takes PUT")
    p.add_argument("--utc", metavar="URL", help="with --dash: where players ask for the time")
    p.add_argument("--first-frame", type=int, default=0, metavar="N", help="number of the first picture")
    p.add_argument("--lie-at", type=int, default=0, metavar="N", help="pictures from there on are wrong")
    p.add_argument("--gop", type=float, default=1, metavar="S", help="seconds from IDR to IDR")
    p.add_argument("--offset", type=float, default=0, metavar="S", help="time stamps begin there")
    p.add_argument("--seconds", type=float, default=0, metavar="S", help="how long; 0: until stopped")
    p.add_argument("--late", type=float, default=0, metavar="S",
                   help="with --publish: send what was made only S seconds later, at first all at once")  # fmt: skip
    p.add_argument("--ffmpeg", default="ffmpeg")
    return p


def start(tell, *args):
    """Source by the arguments of the command line."""
    return Source(parser().parse_args([str(a) for a in args]), tell)


def main():
    source = Source(parser().parse_args(), lambda event: print(json.dumps(event), flush=True))

    def obey():
        for line in sys.stdin:
            verb = line.strip()
            if verb in ("freeze", "thaw", "kill", "stop"):
                getattr(source, verb)()
            elif verb:
                print(json.dumps({"event": "refused", "line": verb}), flush=True)

    threading.Thread(target=obey, daemon=True).start()
    try:
        status = source.wait(None)
    except KeyboardInterrupt:
        source.stop()
        status = source.wait(10)
    finally:
        source.end() if source.proc.poll() is None else None
    print("\n".join(source.words), file=sys.stderr)
    sys.exit(0 if status in (0, 255) else 1)


if __name__ == "__main__":
    main()
