"""What the publishers of the load tests send."""
import subprocess


def make_file(path, seconds):
    """H.264 and AAC, 500 kbit/s together, a key frame every 2 s, a little longer than needed."""
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-nostdin", "-f", "lavfi",
                    "-i", "testsrc2=s=640x360:r=30", "-f", "lavfi", "-i", "sine=r=44100",
                    "-t", str(seconds), "-c:v", "libx264", "-preset", "veryfast",
                    "-tune", "zerolatency", "-g", "60", "-keyint_min", "60", "-sc_threshold", "0",
                    "-b:v", "436k", "-maxrate", "436k", "-bufsize", "436k", "-nal-hrd", "cbr",
                    "-c:a", "aac", "-b:a", "64k", "-flvflags", "no_duration_filesize",
                    "-f", "flv", str(path)], check=True)
