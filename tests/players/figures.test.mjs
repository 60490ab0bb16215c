/* The judge: a good run passes, and each thing that can be wrong is seen.  node --test figures.test.mjs */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Figures } from "./figures.mjs";

const OPT = {
  fps: 30, target: 2, tolerance: 0.5, settle: 5, "max-skew": 0.5, "max-errors": 0, "max-waiting": 1,
  "max-gap": 1000, "max-lag": 250, "max-speed-off": 0.1, "max-first-frame": 5000, "max-http-errors": 0, "max-ranges": 1, "max-dropped": 0.25,
  protocol: "h2",
};
const T0 = 1_700_000_000_000;
const SAMPLES = 40; /* half a second each */

/* A run of one player; change(sample, i) may spoil samples, more(figures, i) may add messages. */
function run({ opt = {}, change = () => {}, more = () => {}, epochs = [[0, T0 - 12000]] } = {}) {
  const said = [];
  const f = new Figures(["dash"], { ...OPT, ...opt }, (e) => said.push(e));
  for (const [frame, at_ms] of epochs) f.epoch(frame, at_ms);
  const tell = (event, at_ms, rest = {}) => f.on_message("dash", { event, at_ms, ...rest });
  tell("loading", T0 - 800);
  f.on_response("dash", "https://h/live/a/manifest.mpd", 200, "h2");
  tell("first_frame", T0);
  tell("period", T0, { id: "p1" });
  tell("playing", T0);
  for (let i = 0; i < SAMPLES; i++) {
    const at_ms = T0 + i * 500;
    /* what is shown now was made two seconds ago: number 300 at T0, whose media time is 110 s */
    const frames = [0, 5, 10].map((k) => {
      const n = 300 + i * 15 + k;
      return [at_ms + (k * 1000) / 30, 100 + n / 30, n];
    });
    const sample = {
      at_ms, time: 110 + i / 2, paused: false, rate: 1, latency: 2.05, buffered: [[105, 112]],
      audio_bytes: 4000 * i, dropped: 0, shown: 15 * i, size: [640, 360], visible: true, gap_ms: 40, lag_ms: 7, frames,
    };
    change(sample, i);
    more(f, i, tell);
    f.on_message("dash", { event: "sample", ...sample });
  }
  f.end();
  return { report: f.report(), said };
}

test("a good run is good, and its figures are right", () => {
  const { report } = run();
  assert.deepEqual(report.failures, []);
  assert.equal(report.ok, true);
  const r = report.players.dash;
  assert.equal(r.first_frame_ms, 800);
  assert.equal(r.latency_s, 2.05);
  assert.equal(r.glass_s, 2);
  assert.equal(r.speed, 1);
  assert.equal(r.jumps, 0);
  assert.equal(r.lag_ms, 7);
  assert.equal(r.barcodes, SAMPLES * 3);
  assert.deepEqual(r.protocols, { h2: 1 });
});

test("what comes from elsewhere may come by any protocol, but it must come", () => {
  const clock = (status) => ({ more: (f, i) => i === 9 && f.on_response("dash", "u", status, null) });
  assert.deepEqual(run(clock(200)).report.failures, []);
  assert.match(run(clock(500)).report.failures[0], /HTTP errors: 1/);
});

test("less latency may be let pass", () => {
  const change = (s) => (s.latency = 1.4);
  assert.deepEqual(run({ opt: { "max-skew": 9, "max-early": 0.7 }, change }).report.failures, []);
  assert.match(run({ opt: { "max-skew": 9, "max-early": 0.5 }, change }).report.failures[0], /latency 1.4/);
});

test("latency is judged as it is in the end", (t) => {
  t.mock.method(Date, "now", () => T0 + 10000);
  const opt = { "max-skew": 9 };
  const more = (f, i) => i === 20 && f.mark("after");
  assert.deepEqual(run({ opt, more, change: (s, i) => i < 20 && (s.latency = 5) }).report.failures, []);
  assert.match(run({ opt, more, change: (s, i) => i >= 20 && (s.latency = 5) }).report.failures[0], /latency 5/);
});

test("one pause at the start is let pass", () => {
  const { report } = run({ more: (f, i, tell) => i === 1 && tell("waiting", T0 + 500) });
  assert.deepEqual(report.failures, []);
});

/* What is spoilt, and the words that say so. */
const WRONG = {
  "an error": [{ more: (f, i) => i === 9 && f.on_error("dash", "video", "decode") }, /errors: 1/],
  "a 404": [{ more: (f, i) => i === 9 && f.on_response("dash", "u", 404, "h2") }, /HTTP errors: 1/],
  "a broken body": [{ more: (f, i) => i === 9 && f.on_broken("dash", "u", "net::ERR_FAILED") }, /HTTP errors: 1/],
  "two pauses": [{ more: (f, i, tell) => i < 2 && tell("waiting", T0 + i) }, /waiting: 2/],
  "a frozen picture": [{ change: (s, i) => i === 20 && (s.gap_ms = 1800) }, /1800/],
  "a slow clock": [{ change: (s, i) => (s.time = 110 + i / 4) }, /speed by 0.5/],
  "too late": [{ opt: { "max-skew": 9 }, change: (s) => (s.latency = 2.6) }, /latency 2.6/],
  "too early": [{ opt: { "max-skew": 9 }, change: (s) => (s.latency = 1.4) }, /latency 1.4/],
  "no latency at all": [{ change: (s) => (s.latency = null) }, /latency null/],
  "a wrong idea of latency": [{ epochs: [[0, T0 - 13000]] }, /differ by 0.95/],
  "pictures of an unknown time": [{ epochs: [[9000, T0]] }, /differ by null/],
  "silence": [{ change: (s) => (s.audio_bytes = 77) }, /no audio/],
  "no barcodes": [{ change: (s) => (s.frames = []) }, /no barcode/],
  "an unreadable picture": [{ change: (s, i) => i === 9 && (s.frames[0][2] = null) }, /unreadable barcodes: 1/],
  "a wrong picture": [{ change: (s, i) => i === 9 && (s.frames[0][2] += 64) }, /jumps of barcodes: 2/],
  "pictures that drift": [{ change: (s, i) => s.frames.forEach((x) => (x[1] += i * 0.001)) }, /spread of barcodes/],
  "a hole in the buffer": [{ change: (s, i) => i === 9 && s.buffered.push([120, 121]) }, /ranges: 2/],
  "many dropped pictures": [{ change: (s) => (s.dropped = s.shown) }, /dropped share: 1/],
  "a page in the background": [{ change: (s, i) => i === 9 && (s.visible = false) }, /hidden page: 1/],
  "the wrong protocol": [{ opt: { protocol: "http/1.1" } }, /protocols/],
  "another protocol, too": [{ more: (f, i) => i === 9 && f.on_response("dash", "u", 200, "http/1.1") }, /protocols/],
  "a late start": [{ opt: { "max-first-frame": 700 } }, /first picture: 800/],
  "a run too short to judge": [{ opt: { settle: 60 } }, /long enough/],
};
for (const [name, [how, words]] of Object.entries(WRONG))
  test(`seen: ${name}`, () => {
    const { report } = run(how);
    assert.equal(report.ok, false);
    assert.equal(report.failures.length, 1, report.failures.join("\n"));
    assert.match(report.failures[0], words);
  });

test("a player that never shows anything", () => {
  const f = new Figures(["shaka"], OPT, () => {});
  f.end();
  assert.deepEqual(f.report().failures, ["shaka: no picture"]);
});

/* A new source after ten seconds: other numbers, other media times, a new Period. */
const again = (s, i) => {
  if (i >= 20) s.frames.forEach((x) => ((x[1] += 3), (x[2] += 10000)));
};
test("a jump is right where a Period begins, and only there", () => {
  const epochs = [[0, T0 - 12000], [10000, T0 - 12000]];
  const period = (f, i, tell) => i === 20 && tell("period", T0 + 10000, { id: "p2" });
  assert.deepEqual(run({ change: again, more: period, epochs }).report.failures, []);
  assert.match(run({ change: again, epochs }).report.failures[0], /jumps of barcodes: 1/);
});

test("figures are kept per phase, and a mark is recovered from", (t) => {
  t.mock.method(Date, "now", () => T0 + 10000);
  const { report, said } = run({
    opt: { "max-gap": 5000 },
    more: (f, i) => i === 20 && f.mark("fault"),
    change: (s, i) => i === 21 && (s.gap_ms = 3000),
  });
  assert.deepEqual(report.failures, []);
  const { start, fault } = report.players.dash.phases;
  assert.equal(start.gap_ms, 40);
  assert.equal(fault.gap_ms, 3000);
  /* the first picture made after the mark is shown two seconds later */
  const [one, ...rest] = said.filter((e) => e.event === "recovered");
  assert.equal(rest.length, 0);
  assert.equal(one.mark, "fault");
  assert.ok(one.after_ms > 2000 && one.after_ms < 2400, `${one.after_ms}`);
});

test("who is late again after a fault is seen to catch up", (t) => {
  t.mock.method(Date, "now", () => T0 + 10000);
  const { said } = run({
    more: (f, i) => i === 20 && f.mark("fault"),
    /* three seconds late, then two and a half */
    change: (s, i) => i >= 20 && s.frames.forEach((x) => (x[2] -= i < 30 ? 30 : 15)),
  });
  const [one, ...rest] = said.filter((e) => e.event === "caught_up");
  assert.equal(rest.length, 0);
  assert.deepEqual([one.mark, one.after_ms, one.latency], ["fault", 5000, 2.5]);
});

test("a machine that stands still is named, and spoils nothing by itself", () => {
  const late = (ms) => ({ more: (f, i) => i === 9 && f.on_lag(ms) });
  const { report, said } = run(late(251));
  assert.deepEqual([report.ok, report.lag_ms], [true, 251]);
  assert.equal(said.filter((e) => e.event === "stood_still").length, 1);
  assert.equal(run(late(250)).said.filter((e) => e.event === "stood_still").length, 0);
});
