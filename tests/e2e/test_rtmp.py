"""Real encoders publish to rtmp_sink over RTMP and RTMPS; what it wrote decodes without a word.

FRESHET_LOAD_BIN names the folder of rtmp_sink (ctest sets it); else build/dev. Encoders that are
not installed are skipped.
"""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("FRESHET_LOAD_BIN", ROOT / "build/dev/tests/load"))
PATIENCE = float(os.environ.get("FRESHET_TEST_PATIENCE", "60"))
FFMPEG = shutil.which("ffmpeg")
GST = shutil.which("gst-launch-1.0")

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


class Sink:
    def __init__(self, directory):
        self.dir = directory
        self.proc = subprocess.Popen(
            [BIN / "rtmp_sink", directory], stdout=subprocess.PIPE, text=True
        )
        self.port = {}
        for _ in range(2):
            scheme, port = self.line().split()
            self.port[scheme] = int(port)

    def line(self):
        text = self.proc.stdout.readline().strip()
        assert text, "rtmp_sink has ended"
        return text

    def url(self, scheme, path):
        return f"{scheme}://127.0.0.1:{self.port[scheme]}/{path}"

    def take(self):
        """How the broadcast that begins now ends, and its file."""
        begins, path = self.line().split()
        assert begins == "publish"
        how, same = self.line().split()
        assert same == path
        return how, pathlib.Path(path)

    def stop(self):
        self.proc.terminate()
        self.proc.wait(PATIENCE)
        self.proc.stdout.close()


@pytest.fixture
def sink(tmp_path):
    s = Sink(tmp_path)
    yield s
    s.stop()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Three seconds of H.264 with B-frames, and AAC."""
    path = tmp_path_factory.mktemp("clip") / "clip.flv"
    run(FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=30",
        "-f", "lavfi", "-i", "sine=440:r=44100", "-t", "3", "-c:v", "libx264",
        "-preset", "ultrafast", "-bf", "2", "-g", "30", "-pix_fmt", "yuv420p", "-c:a", "aac",
        "-flvflags", "no_duration_filesize", path)
    return path


def run(*args):
    r = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    return r.stdout + r.stderr


def packets(path):
    """Decoding times and sizes of each stream's packets."""
    out = run("ffprobe", "-v", "error", "-show_entries", "packet=codec_type,dts,size",
              "-of", "csv=p=0", path)
    streams = {"video": [], "audio": []}
    for line in out.splitlines():
        kind, *rest = line.split(",")
        if kind in streams:
            streams[kind].append(tuple(int(v) for v in rest if v))
    return streams


def same_media(clip, got):
    """Every packet arrived, in its place on the timeline."""
    assert run(FFMPEG, "-v", "warning", "-xerror", "-i", got, "-map", "0:v", "-map", "0:a",
               "-f", "null", "-") == ""
    want, have = packets(clip), packets(got)
    for kind in ("video", "audio"):
        assert [size for _, size in have[kind]] == [size for _, size in want[kind]]
        shift = [h[0] - w[0] for h, w in zip(have[kind], want[kind])]
        assert max(shift) - min(shift) <= 2, kind


@pytest.mark.parametrize("scheme", ["rtmp", "rtmps"])
def test_ffmpeg_publishes(sink, clip, scheme):
    run(FFMPEG, "-v", "error", "-i", clip, "-c", "copy", "-f", "flv",
        "-flvflags", "no_duration_filesize", sink.url(scheme, "live/show"))
    how, path = sink.take()
    assert how == "ended"
    same_media(clip, path)


@pytest.mark.parametrize("start_s", [16777.0, 4294965.0, 4294960.0])
def test_time_stamps_pass_the_24_and_32_bit_marks(sink, clip, start_s):
    run(FFMPEG, "-v", "error", "-i", clip, "-c", "copy", "-output_ts_offset", start_s,
        "-f", "flv", "-flvflags", "no_duration_filesize", sink.url("rtmp", "live/late"))
    how, path = sink.take()
    assert how == "ended"
    same_media(clip, path)


def remux(clip, *element):
    run(GST, "-q", "filesrc", f"location={clip}", "!", "flvdemux", "name=d",
        "flvmux", "name=m", "streamable=true", "!", *element,
        "d.video", "!", "queue", "!", "h264parse", "!", "m.",
        "d.audio", "!", "queue", "!", "aacparse", "!", "m.")


@pytest.mark.parametrize("element", ["rtmp2sink", "rtmpsink"])
@pytest.mark.parametrize("scheme", ["rtmp", "rtmps"])
def test_gstreamer_publishes(sink, clip, element, scheme):
    if GST is None or subprocess.run(["gst-inspect-1.0", "--exists", element],
                                     check=False).returncode != 0:
        pytest.skip(f"GStreamer's {element} is not installed")
    if element == "rtmpsink" and scheme == "rtmps":
        pytest.skip("the TLS of this library trusts no certificate of ours")
    options = ["tls-validation-flags=0"] if element == "rtmp2sink" else []
    remux(clip, element, f"location={sink.url(scheme, 'live/gst')}", *options)
    _, path = sink.take()
    plain = sink.dir / "plain.flv"  # its muxer has its own idea of decoding times
    remux(clip, "filesink", f"location={plain}")
    same_media(plain, path)


def test_a_broadcaster_who_is_killed_has_dropped(sink):
    p = subprocess.Popen([FFMPEG, "-v", "error", "-re", "-f", "lavfi", "-i",
                          "testsrc2=s=160x120:r=30", "-c:v", "libx264", "-preset", "ultrafast",
                          "-f", "flv", sink.url("rtmp", "live/killed")],
                         stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begins, path = sink.line().split()
    assert begins == "publish"
    p.kill()
    p.wait(PATIENCE)
    assert sink.line() == f"dropped {path}"


def test_a_wrong_application_is_told_so(sink):
    r = subprocess.run([FFMPEG, "-v", "error", "-f", "lavfi", "-i", "sine", "-t", "1", "-c:a",
                        "aac", "-f", "flv", sink.url("rtmp", "nowhere/show")],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                       check=False)
    assert r.returncode != 0
    assert "no such application" in r.stderr
