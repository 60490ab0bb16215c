"""What a player knows of DASH: a manifest as a tree.

Nothing but Python's own library: demo.sh needs it too."""

import datetime
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

    def ast_s(self):
        return int(datetime.datetime.fromisoformat(self.ast.replace("Z", "+00:00")).timestamp())

    def latest(self, name="v0"):
        """Number of the newest listed segment of the newest Period; 0: none."""
        reps = list(self.periods.values())[-1] if self.periods else {}
        return reps[name].segments[-1][0] if name in reps and reps[name].segments else 0
