"""Checks an init segment and the segments behind it, box by box; says what it found.

Not a player and not a library: it knows what CMAF asks for and complains about everything else."""

import struct

NTP_1970 = 2208988800


class Bad(AssertionError):
    pass


def need(ok, *what):
    if not ok:
        raise Bad(" ".join(map(str, what)))


def boxes(data, at=0, end=None):
    """(type, start of its payload, end) of each box; they fill the range exactly."""
    end = len(data) if end is None else end
    while at < end:
        need(end - at >= 8, "half a box head at", at)
        size, kind = struct.unpack_from(">I4s", data, at)
        need(8 <= size <= end - at, kind, "does not fit at", at)
        yield kind.decode("latin-1"), at + 8, at + size
        at += size


def find(data, path, at=0, end=None):
    for kind, start, stop in boxes(data, at, end):
        if kind == path[0]:
            return (start, stop) if len(path) == 1 else find(data, path[1:], start, stop)
    return None


class Init:
    def __init__(self, data):
        kinds = [k for k, _, _ in boxes(data)]
        need(kinds == ["ftyp", "moov"], "init is", kinds)
        need(b"cmfc" in data[:64], "no cmfc brand")
        need(find(data, ["moov", "trak", "edts"]) is None, "an edit list")
        need(find(data, ["moov", "mvex"]) is not None, "no mvex")
        self.sequence = self.end = None
        mdhd = find(data, ["moov", "trak", "mdia", "mdhd"])[0]
        self.timescale = struct.unpack_from(">I", data, mdhd + (20 if data[mdhd] else 12))[0]
        tkhd = find(data, ["moov", "trak", "tkhd"])[0]
        self.track = struct.unpack_from(">I", data, tkhd + (20 if data[tkhd] else 12))[0]
        stsd, stop = find(data, ["moov", "trak", "mdia", "minf", "stbl", "stsd"])
        entries = list(boxes(data, stsd + 8, stop))
        need(len(entries) == 1, "sample entries:", len(entries))
        kind, entry, _ = entries[0]
        need(kind in ("avc1", "mp4a"), "a sample entry", kind)
        self.video = kind == "avc1"
        if self.video:
            self.size = struct.unpack_from(">HH", data, entry + 24)
            tail = tkhd + (84 if data[tkhd] == 0 else 96) - 8
            shown = struct.unpack_from(">II", data, tail)
            need(shown[1] >> 16 == self.size[1] and shown[0] > 0, "tkhd", shown, self.size)


def full(data, start):
    word = struct.unpack_from(">I", data, start)[0]
    return word >> 24, word & 0xFFFFFF


class Checker:
    """Feed it the segments of one rendition in one Period, in order."""

    def __init__(self, init, ast, pto):
        self.init = Init(init)
        self.ast = ast
        self.pto = pto
        self.end = None
        self.sequence = None  # of the last fragment; the first one here need not be the first
        self.samples = 0
        self.chunks = 0
        self.segments = []  # (first time, end)
        self.chunk_ends = []
        self.cts = set()  # how far presentation was from decoding

    def segment(self, data):
        got = list(boxes(data))
        kinds = [k for k, _, _ in got]
        need(kinds[0] == "styp", "a segment begins with", kinds[0])
        start, stop = got[0][1], got[0][2]
        need(data[start : start + 4] == b"msdh", "major brand")
        brands = {data[i : i + 4] for i in range(start + 8, stop, 4)}
        need({b"msdh", b"msix", b"cmfs", b"cmff", b"cmfl"} <= brands, brands)
        need(len(kinds) % 3 == 1 and kinds[1:] == ["prft", "moof", "mdat"] * (len(kinds) // 3), kinds)
        for i in range(1, len(got), 3):
            first = self.chunk(data, got[i], got[i + 1], got[i + 2], i == 1)
            if i == 1:
                self.segments.append([first, None])
        self.segments[-1][1] = self.end

    def chunk(self, data, prft, moof, mdat, first):
        need(full(data, prft[1]) == (1, 24), "prft")
        track, ntp, media = struct.unpack_from(">IQQ", data, prft[1] + 4)
        need(track == self.init.track, "prft of track", track)
        mfhd = find(data, ["mfhd"], moof[1], moof[2])[0]
        sequence = struct.unpack_from(">I", data, mfhd + 4)[0]
        need(self.sequence in (None, sequence - 1), "fragment", sequence, "after", self.sequence)
        self.sequence = sequence
        traf = find(data, ["traf"], moof[1], moof[2])
        need([k for k, _, _ in boxes(data, *traf)] == ["tfhd", "tfdt", "trun"], "traf")
        tfhd = find(data, ["tfhd"], *traf)[0]
        tfdt = find(data, ["tfdt"], *traf)[0]
        trun, trun_end = find(data, ["trun"], *traf)
        flags = full(data, tfhd)[1]
        need(flags & 0x20000 and not flags & 1, "tfhd flags", hex(flags))
        need(struct.unpack_from(">I", data, tfhd + 4)[0] == self.init.track, "tfhd track")
        default_duration = struct.unpack_from(">I", data, tfhd + 8)[0] if flags & 8 else None
        need(full(data, tfdt) == (1, 0), "tfdt")
        t = struct.unpack_from(">Q", data, tfdt + 4)[0]
        need(media == t, "prft says", media, "tfdt", t)
        scale = self.init.timescale
        need(ntp >> 32 == (self.ast + t // scale + NTP_1970) % 2**32, "prft clock")
        need(ntp & 0xFFFFFFFF == (t % scale << 32) // scale, "prft fraction")
        need(self.end is None or t == self.end, "a gap or overlap:", t, "after", self.end)
        need(self.end is not None or t >= self.pto, "before the Period")
        version, flags = full(data, trun)
        need(version == 1, "trun version")
        count, offset = struct.unpack_from(">II", data, trun + 4)
        need(moof[1] - 8 + offset == mdat[1], "data offset", offset)
        at, total = trun + 12, 0
        for i in range(count):
            if default_duration is None:
                duration, size, bits, cts = struct.unpack_from(">IIIi", data, at)
                at += 16
                self.video_sample(data, mdat[1] + total, size, bits, first and i == 0, i)
            else:
                duration, (size,) = default_duration, struct.unpack_from(">I", data, at)
                at += 4
                cts = 0
            need(duration > 0 and size > 0, "an empty sample")
            self.cts.add(cts)
            need(t + cts >= self.pto, "shown before the Period")
            total += size
            t += duration
        need(at == trun_end, "trun length")
        need(total == mdat[2] - mdat[1], "mdat holds", mdat[2] - mdat[1], "samples", total)
        begins = t if self.end is None else self.end
        begins = struct.unpack_from(">Q", data, tfdt + 4)[0]
        self.end = t
        self.samples += count
        self.chunks += 1
        self.chunk_ends.append(t)
        return begins

    def video_sample(self, data, at, size, bits, first, index):
        kinds, end = [], at + size
        while at < end:
            n = struct.unpack_from(">I", data, at)[0]
            need(0 < n <= end - at - 4, "NAL unit of", n)
            kinds.append(data[at + 4] & 0x1F)
            at += 4 + n
        idr = 5 in kinds
        need((bits >> 16 & 1) == (not idr), "sync flag", hex(bits), kinds)
        need(bits >> 24 & 3 == (2 if idr else 1), "depends_on", hex(bits))
        need(not first or idr, "a segment that does not begin with an IDR")
