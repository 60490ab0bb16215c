"""What a player knows of DASH: a manifest as a tree, the boxes of a segment.

Nothing but Python's own library: demo.sh needs it too."""

import struct
import xml.etree.ElementTree as ET

NS = "{urn:mpeg:dash:schema:mpd:2011}"


class Rep:
    def __init__(self, base, e):
        t = e.find(NS + "SegmentTemplate")
        name = e.get("id")
        self.timescale = int(t.get("timescale"))
        self.pto = int(t.get("presentationTimeOffset", "0"))
        self.init = base + t.get("initialization").replace("$RepresentationID$", name)
        self.segments = []  # (number, t, d)
        self.open = t.get("availabilityTimeComplete") == "false"  # the last one still grows
        self.media = base + t.get("media").replace("$RepresentationID$", name)
        number, at = int(t.get("startNumber")), 0
        for s in t.find(NS + "SegmentTimeline"):
            at = int(s.get("t", at))
            for _ in range(int(s.get("r", "0")) + 1):
                self.segments.append((number, at, int(s.get("d"))))
                at += int(s.get("d"))
                number += 1

    def url(self, number):
        return self.media.replace("$Number$", str(number))

    def closed(self):
        return self.segments[:-1] if self.open else self.segments


class Mpd:
    def __init__(self, url, text):
        self.text = text
        root = ET.fromstring(text)
        self.type = root.get("type")
        self.ast = root.get("availabilityStartTime")
        self.periods = {}
        for p in root.iter(NS + "Period"):
            base = url.rsplit("/", 1)[0] + "/" + p.find(NS + "BaseURL").text
            self.periods[p.get("id")] = {
                e.get("id"): Rep(base, e) for e in p.iter(NS + "Representation")
            }

    def reps(self):
        return [(p, name, r) for p, reps in self.periods.items() for name, r in reps.items()]

    def latest(self, name="v0"):
        """Number of the newest listed segment of the newest Period; 0: none."""
        reps = list(self.periods.values())[-1] if self.periods else {}
        return reps[name].segments[-1][0] if name in reps and reps[name].segments else 0


def boxes(data, at=0, end=None):
    end = len(data) if end is None else end
    while at < end:
        size, kind = struct.unpack_from(">I4s", data, at)
        assert 8 <= size <= end - at, f"{kind} does not fit at {at}"
        yield kind.decode("latin-1"), at + 8, at + size
        at += size


def chunks_of(data):
    """(decoding time, duration, samples, bytes of media) of each moof and its mdat."""
    kinds = [k for k, _, _ in boxes(data)]
    assert kinds[0] == "styp" and kinds.count("styp") == 1, kinds
    assert kinds.count("moof") == kinds.count("mdat") > 0, kinds
    out = []
    for kind, start, stop in boxes(data):
        if kind == "moof":
            for k, a, b in boxes(data, start, stop):
                if k == "traf":
                    out.append(read_traf(data, a, b))
        elif kind == "mdat":
            assert out[-1][3] == stop - start, "trun and mdat differ"
    return out


def read_traf(data, start, stop):
    duration = size = dts = None
    total = count = media = 0
    for kind, at, end in boxes(data, start, stop):
        flags = struct.unpack_from(">I", data, at)[0]
        if kind == "tfhd":
            assert flags & 0x020000, "default-base-is-moof"
            p = at + 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0)
            if flags & 8:
                duration = struct.unpack_from(">I", data, p)[0]
                p += 4
            if flags & 16:
                size = struct.unpack_from(">I", data, p)[0]
        elif kind == "tfdt":
            dts = struct.unpack_from(">Q" if flags >> 24 else ">I", data, at + 4)[0]
        elif kind == "trun":
            n = struct.unpack_from(">I", data, at + 4)[0]
            p = at + 8 + (4 if flags & 1 else 0) + (4 if flags & 4 else 0)
            for _ in range(n):
                d, s = duration, size
                if flags & 0x100:
                    d = struct.unpack_from(">I", data, p)[0]
                    p += 4
                if flags & 0x200:
                    s = struct.unpack_from(">I", data, p)[0]
                    p += 4
                p += (4 if flags & 0x400 else 0) + (4 if flags & 0x800 else 0)
                total, count, media = total + d, count + 1, media + s
            assert p == end, "trun is longer than its samples"
    return dts, total, count, media
