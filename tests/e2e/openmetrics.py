"""A strict reader of OpenMetrics text, as far as the format goes that we write.

Every rule that it knows is an assertion: it is a check of the writer more than a parser.
"""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([^ ]+)")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|Inf)|NaN")
SUFFIXES = {
    "counter": {"_total", "_created"},
    "gauge": {""},
    "histogram": {"_bucket", "_count", "_sum", "_created"},
    "info": {"_info"},
}


class Family:
    def __init__(self, name):
        self.name, self.kind, self.help, self.unit = name, None, None, None
        self.samples = []  # (suffix, labels, value), in order


def _describe(families, line):
    """# TYPE, # HELP or # UNIT; the family that it is about."""
    word, name, text = line[2:].split(" ", 2)
    if not families or families[-1].name != name:
        assert all(f.name != name for f in families), f"{name} comes twice"
        families.append(Family(name))
    family = families[-1]
    assert not family.samples, f"{line}: after the samples"
    what = {"TYPE": "kind", "HELP": "help", "UNIT": "unit"}[word]
    assert getattr(family, what) is None, f"{line}: twice"
    setattr(family, what, text)
    return family


def _sample(family, line):
    m = SAMPLE.fullmatch(line)
    assert m, f"no sample: {line}"
    name, labels, value = m.groups()
    assert name.startswith(family.name), f"{line}: not of {family.name}"
    suffix = name[len(family.name) :]
    assert suffix in SUFFIXES[family.kind], f"{line}: not of a {family.kind}"
    assert NUMBER.fullmatch(value), f"{line}: no number"
    pairs = [p.split("=", 1) for p in re.findall(LABEL, labels or "")]
    assert len({k for k, _ in pairs}) == len(pairs), f"{line}: a label twice"
    number = float(value)
    if family.kind in ("counter", "histogram"):
        assert number >= 0, line
    family.samples.append((suffix, {k: v[1:-1] for k, v in pairs}, number))


def _check_histogram(family):
    """Buckets of each series: rising bounds, rising counts, the last +Inf and equal to _count."""
    series = {}
    for suffix, labels, value in family.samples:
        rest = frozenset((k, v) for k, v in labels.items() if k != "le")
        series.setdefault(rest, {"_bucket": []})
        if suffix == "_bucket":
            series[rest]["_bucket"].append((float(labels["le"]), value))
        else:
            assert suffix not in series[rest], f"{family.name}{suffix} twice"
            series[rest][suffix] = value
    for one in series.values():
        bounds, counts = zip(*one["_bucket"])
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == float("inf"), family.name
        assert list(counts) == sorted(counts) and counts[-1] == one["_count"], family.name
        assert "_sum" in one


def families(text):
    """The metric families of a page, in order."""
    assert text.endswith("# EOF\n"), "the end is missing"
    out = []
    for line in text[: -len("# EOF\n")].splitlines():
        assert line and line == line.strip() and line != "# EOF", repr(line)
        if line.startswith("# "):
            _describe(out, line)
        else:
            assert out, f"{line}: before any family"
            _sample(out[-1], line)
    for f in out:
        assert f.kind in SUFFIXES and f.help, f.name
        assert f.unit is None or f.name.endswith("_" + f.unit), f"{f.name}: unit {f.unit}"
        seen = [(s, frozenset(labels.items())) for s, labels, _ in f.samples]
        assert len(seen) == len(set(seen)), f"{f.name}: a series twice"
        if f.kind == "histogram":
            _check_histogram(f)
    return out


def parse(text):
    """{(name, labels): value} of all samples."""
    return {
        (f.name + suffix, frozenset(labels.items())): value
        for f in families(text)
        for suffix, labels, value in f.samples
    }
