/* The bookkeeping of watch.mjs: what the pages tell, per player and phase, and the judgement. */

const median = (list) => {
  if (list.length === 0) return null;
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
};
const most = (list) => list.reduce((a, b) => (a === null || b > a ? b : a), null);
const least = (list) => list.reduce((a, b) => (a === null || b < a ? b : a), null);
const round = (x, digits) => (x === null ? null : Number(x.toFixed(digits)));

/* Counted over one phase; add() makes the sum of all phases. */
class Tally {
  errors = [];
  http_errors = [];
  waiting = 0;
  seeking = 0;
  switches = 0;
  gap_ms = 0;
  lag_ms = 0;
  latency = [];
  glass = [];
  add(other) {
    this.errors.push(...other.errors);
    this.http_errors.push(...other.http_errors);
    this.waiting += other.waiting;
    this.seeking += other.seeking;
    this.switches += other.switches;
    this.gap_ms = Math.max(this.gap_ms, other.gap_ms);
    this.lag_ms = Math.max(this.lag_ms, other.lag_ms);
    this.latency.push(...other.latency);
    this.glass.push(...other.glass);
  }
  report() {
    return {
      errors: this.errors,
      http_errors: this.http_errors,
      waiting: this.waiting,
      seeking: this.seeking,
      switches: this.switches,
      gap_ms: round(this.gap_ms, 0),
      lag_ms: round(this.lag_ms, 0),
      latency_s: round(median(this.latency), 3),
      latency_min_s: round(least(this.latency), 3),
      latency_max_s: round(most(this.latency), 3),
      glass_s: round(median(this.glass), 3),
      skew_s: round(this.skew(), 3),
    };
  }
  /* Seconds between the latency the player believes in and the one that we measured. */
  skew() {
    const told = median(this.latency);
    const measured = median(this.glass);
    return told === null || measured === null ? null : Math.abs(told - measured);
  }
}

/* Barcodes against media times. In one go of the source, media_time - number/fps is a constant: a
 * frame that is shown at the wrong time, or that is the wrong one, stands out. A new Period of
 * another go makes a new constant: a jump. */
class Barcodes {
  read = 0;
  unreadable = 0;
  jumps = 0;
  spread_s = 0;
  #low = null;
  #high = null;
  constructor(fps) {
    this.fps = fps;
  }
  take(media_time, number) {
    if (number === null) {
      this.unreadable++;
      return;
    }
    this.read++;
    const delta = media_time - number / this.fps;
    if (this.#low === null || delta > this.#low + 1.5 / this.fps || delta < this.#high - 1.5 / this.fps) {
      if (this.#low !== null) this.jumps++;
      this.#low = this.#high = delta;
      return;
    }
    this.#low = Math.min(this.#low, delta);
    this.#high = Math.max(this.#high, delta);
    this.spread_s = Math.max(this.spread_s, this.#high - this.#low);
  }
}

class Player {
  phases = []; /* {name, tally} */
  loading_ms = null;
  first_frame_ms = null;
  playing_ms = null;
  steady_ms = null;
  from = null; /* the first sample after settling: {at_ms, time, audio_bytes} */
  last = null; /* the newest sample */
  ranges = 0;
  hidden = 0;
  periods = [];
  protocols = {};
  marks = []; /* not yet recovered from: {name, at_ms} */
  behind = []; /* recovered from, but not yet in time again: {name, at_ms} */
  constructor(fps) {
    this.barcodes = new Barcodes(fps);
  }
  get tally() {
    return this.phases.at(-1).tally;
  }
}

export class Figures {
  #players = new Map();
  #epochs = []; /* {frame, at_ms}, in the order of frame */
  #ended_ms = null;
  #lag_ms = 0;
  #resolve;

  constructor(names, opt, say) {
    this.opt = opt;
    this.say = say;
    this.all_playing = new Promise((done) => (this.#resolve = done));
    for (const name of names) this.#players.set(name, new Player(opt.fps));
    this.#phase("start");
  }

  get every_player_plays() {
    return [...this.#players.values()].every((p) => p.playing_ms !== null);
  }

  #phase(name) {
    for (const p of this.#players.values()) p.phases.push({ name, tally: new Tally() });
  }

  #event(player, event, more) {
    this.say({ event, at_ms: Math.round(more?.at_ms ?? Date.now()), player, ...more });
  }

  mark(name) {
    const at_ms = Date.now();
    this.#phase(name);
    for (const p of this.#players.values()) p.marks.push({ name, at_ms });
    this.say({ event: "mark", at_ms, name });
  }

  /* The control: a timer that has nothing to do with players was so late. */
  on_lag(ms) {
    if (this.#ended_ms !== null) return;
    this.#lag_ms = Math.max(this.#lag_ms, ms);
    if (ms > this.opt["max-lag"]) this.say({ event: "stood_still", at_ms: Date.now(), ms: Math.round(ms) });
  }

  epoch(frame, at_ms) {
    this.#epochs = this.#epochs.filter((e) => e.frame !== frame);
    this.#epochs.push({ frame, at_ms });
    this.#epochs.sort((a, b) => a.frame - b.frame);
  }

  /* When a picture was made; null: nobody has told. */
  #made_ms(number) {
    const e = this.#epochs.findLast((one) => one.frame <= number);
    return e === undefined ? null : e.at_ms + ((number - e.frame) * 1000) / this.opt.fps;
  }

  on_error(name, what, text) {
    if (this.#ended_ms !== null) return;
    this.#players.get(name).tally.errors.push({ what, text });
    this.#event(name, "error", { what, text });
  }

  on_response(name, url, status, protocol) {
    if (this.#ended_ms !== null) return;
    const p = this.#players.get(name);
    if (protocol !== null) p.protocols[protocol] = (p.protocols[protocol] ?? 0) + 1;
    if (status >= 400) this.#http_error(name, url, status);
  }

  on_broken(name, url, text) {
    if (this.#ended_ms === null) this.#http_error(name, url, text);
  }

  #http_error(name, url, status) {
    this.#players.get(name).tally.http_errors.push({ url, status });
    this.#event(name, "http", { url, status });
  }

  on_message(name, message) {
    if (this.#ended_ms !== null) return;
    const p = this.#players.get(name);
    const { event, at_ms } = message;
    switch (event) {
      case "loading":
        p.loading_ms = at_ms;
        return;
      case "sample":
        this.#sample(name, p, message);
        return;
      case "error":
        this.on_error(name, message.what, message.text);
        return;
      case "first_frame":
        p.first_frame_ms = at_ms - p.loading_ms;
        break;
      case "playing":
        if (p.playing_ms === null) {
          p.playing_ms = at_ms;
          if (this.every_player_plays) this.#resolve();
        }
        break;
      case "waiting":
        if (p.playing_ms !== null) p.tally.waiting++;
        break;
      case "seeking":
        if (p.playing_ms !== null) p.tally.seeking++;
        break;
      case "switch":
        p.tally.switches++;
        break;
      case "period":
        p.periods.push(message.id);
        break;
    }
    this.#event(name, event, message);
  }

  #sample(name, p, s) {
    const made = [];
    for (const [shown_ms, media_time, number] of s.frames) {
      p.barcodes.take(media_time, number);
      const made_ms = number === null ? null : this.#made_ms(number);
      if (made_ms !== null) made.push((shown_ms - made_ms) / 1000);
      this.#recovered(name, p, shown_ms, made_ms ?? shown_ms - (s.latency ?? Infinity) * 1000);
    }
    if (p.steady_ms !== null) p.tally.glass.push(...made);
    if (p.playing_ms === null) return;
    this.#caught_up(name, p, made, s.at_ms);
    p.last = s;
    p.tally.gap_ms = Math.max(p.tally.gap_ms, s.gap_ms);
    p.tally.lag_ms = Math.max(p.tally.lag_ms, s.lag_ms);
    p.ranges = Math.max(p.ranges, s.buffered.length);
    if (!s.visible) p.hidden++;
    if (p.steady_ms === null && s.at_ms >= p.playing_ms + this.opt.settle * 1000) {
      p.steady_ms = s.at_ms;
      p.from = s;
      this.#event(name, "steady", { latency: s.latency, rate: s.rate });
    }
    if (p.steady_ms !== null && Number.isFinite(s.latency)) p.tally.latency.push(s.latency);
  }

  #recovered(name, p, shown_ms, made_ms) {
    while (p.marks.length > 0 && made_ms > p.marks[0].at_ms) {
      const { name: mark, at_ms } = p.marks.shift();
      p.behind.push({ name: mark, at_ms });
      this.#event(name, "recovered", { at_ms: shown_ms, mark, after_ms: Math.round(shown_ms - at_ms) });
    }
  }

  /* In half a second of pictures none was later than it is to be. */
  #caught_up(name, p, made, now_ms) {
    if (made.length === 0 || most(made) > this.opt.target + this.opt.tolerance) return;
    for (const { name: mark, at_ms } of p.behind.splice(0))
      this.#event(name, "caught_up", { mark, after_ms: Math.round(now_ms - at_ms), latency: round(most(made), 3) });
  }

  end() {
    this.#ended_ms ??= Date.now();
  }

  #report_of(p) {
    const sum = new Tally();
    const phases = {};
    for (const one of p.phases) {
      sum.add(one.tally);
      phases[one.name] = one.tally.report();
    }
    const went_ms = p.from === null ? 0 : p.last.at_ms - p.from.at_ms;
    return {
      ...sum.report(),
      first_frame_ms: round(p.first_frame_ms, 0),
      played_s: p.playing_ms === null ? 0 : round((p.last?.at_ms - p.playing_ms) / 1000, 1),
      speed: went_ms > 0 ? round(((p.last.time - p.from.time) * 1000) / went_ms, 3) : null,
      audio_bytes: went_ms > 0 ? p.last.audio_bytes - p.from.audio_bytes : 0,
      barcodes: p.barcodes.read,
      unreadable: p.barcodes.unreadable,
      spread_ms: round(p.barcodes.spread_s * 1000, 1),
      jumps: p.barcodes.jumps,
      periods: p.periods,
      protocols: p.protocols,
      buffered: p.last?.buffered ?? [],
      ranges: p.ranges,
      shown: p.last?.shown ?? 0,
      dropped: p.last?.dropped ?? 0,
      rate: p.last?.rate ?? null,
      size: p.last?.size ?? null,
      hidden: p.hidden,
      phases,
    };
  }

  /* Why this was not good enough: a list of words for people, empty when it was. */
  #judge(r) {
    const opt = this.opt;
    const bad = [];
    const want = (true_, text) => true_ || bad.push(text);

    want(r.first_frame_ms !== null, "no picture");
    if (r.first_frame_ms === null) return bad;
    const over = (what, is, limit) => want(is <= limit, `${what} ${is}, not over ${limit} wanted`);
    over("errors:", r.errors.length, opt["max-errors"]);
    over("HTTP errors:", r.http_errors.length, opt["max-http-errors"]);
    over("waiting:", r.waiting, opt["max-waiting"]);
    over("ms without a new picture:", r.gap_ms, opt["max-gap"]);
    over("ms to the first picture:", r.first_frame_ms, opt["max-first-frame"]);
    over("buffered ranges:", r.ranges, opt["max-ranges"]);
    over("dropped share:", round(r.dropped / Math.max(1, r.shown), 3), opt["max-dropped"]);
    over("samples of a hidden page:", r.hidden, 0);
    want(r.speed !== null, "it did not play long enough to settle");
    if (r.speed === null) return bad;
    over("currentTime ran at another speed by", round(Math.abs(r.speed - 1), 3), opt["max-speed-off"]);
    /* what it has come to: while nothing is made latency grows, and nobody can help it */
    const { latency_s, skew_s } = Object.values(r.phases).at(-1);
    const early = opt["max-early"] ?? opt.tolerance;
    want(
      latency_s !== null && latency_s >= opt.target - early && latency_s <= opt.target + opt.tolerance,
      `latency ${latency_s} s, ${opt.target} -${early} +${opt.tolerance} wanted`,
    );
    if (this.#epochs.length > 0 && latency_s !== null && r.barcodes > 0)
      want(skew_s !== null && skew_s <= opt["max-skew"], `latency: player and clock differ by ${skew_s} s`);
    want(r.audio_bytes > 0, "no audio was decoded");
    want(r.barcodes > 0, "no barcode was read");
    over("unreadable barcodes:", r.unreadable, 0);
    over("spread of barcodes, ms:", r.spread_ms, opt["max-spread"] ?? round(1000 / opt.fps, 1) + 1);
    over("jumps of barcodes:", r.jumps, Math.max(0, r.periods.length - 1));
    if (opt.protocol !== undefined) {
      const others = Object.keys(r.protocols).filter((x) => x !== opt.protocol);
      want(r.protocols[opt.protocol] > 0 && others.length === 0, `protocols: ${JSON.stringify(r.protocols)}`);
    }
    return bad;
  }

  report() {
    const players = {};
    const failures = [];
    for (const [name, p] of this.#players) {
      players[name] = this.#report_of(p);
      failures.push(...this.#judge(players[name]).map((text) => `${name}: ${text}`));
    }
    const ok = failures.length === 0;
    return { event: "report", at_ms: Date.now(), ok, failures, lag_ms: round(this.#lag_ms, 0), players };
  }
}
