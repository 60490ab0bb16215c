/* Shows /api/v1/status and /api/v1/streams, every two seconds. Everything is set as text. What is
 * said per second, and the quantiles, are of the time between the samples that are kept. */
"use strict";

const EVERY_MS = 2000;
const KEPT_MS = 30000;
const by = (id) => document.getElementById(id);

/* --- texts --- */

const ms = (v) => (v === undefined ? undefined : `${v} ms`);
const count = (v) => (v === undefined ? undefined : v.toLocaleString("en"));

function bytes(v) {
  if (v === undefined) return undefined;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; v >= 1024 && i < units.length - 1; i++) v /= 1024;
  return `${v < 10 && i > 0 ? v.toFixed(1) : Math.round(v)} ${units[i]}`;
}

function rate(bits) {
  return bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`;
}

function span(s) {
  if (s === undefined) return undefined;
  const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  return d > 0 ? `${d}d ${h}h` : h > 0 ? `${h}h ${m}m` : m > 0 ? `${m}m ${Math.floor(s) % 60}s` : `${Math.round(s)}s`;
}

function row(cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) {
    const td = document.createElement("td");
    td.textContent = cell ?? "-";
    tr.append(td);
  }
  return tr;
}

function card(name, text) {
  const div = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
  dt.textContent = name;
  dd.textContent = text ?? "-";
  div.append(dt, dd);
  return div;
}

/* --- figures over the samples that are kept --- */

const samples = [];

function keep(status) {
  const last = samples.at(-1);
  if (last !== undefined && (last.pid !== status.pid || last.at_us > status.at_us)) samples.length = 0; /* begun anew */
  if (samples.at(-1)?.at_us === status.at_us) return;
  samples.push(status);
  while (samples.length > 2 && status.at_us - samples[0].at_us > KEPT_MS * 1000) samples.shift();
}

const total = (v) => (typeof v === "object" ? Object.values(v).reduce((sum, x) => sum + total(x), 0) : (v ?? 0));

function per_second(name) {
  const a = samples[0], b = samples.at(-1);
  if (a === b) return undefined;
  return ((total(b.metrics[name]) - total(a.metrics[name])) * 1e6) / (b.at_us - a.at_us);
}

/* In ms; a histogram's bucket is taken as evenly filled. */
function quantile(name, q) {
  const a = samples[0].metrics[name], b = samples.at(-1).metrics[name];
  if (a === undefined || b === undefined) return undefined;
  const bounds = samples.at(-1).metrics.histogram_bounds_seconds;
  const from = samples.length > 1 ? a.buckets : a.buckets.map(() => 0);
  const n = b.buckets.map((v, i) => v - from[i]);
  let left = n.reduce((sum, v) => sum + v, 0) * q;
  if (left === 0) return undefined;
  for (let i = 0; i < bounds.length; i++) {
    if (n[i] >= left) {
      const low = i > 0 ? bounds[i - 1] : 0;
      return (low + ((bounds[i] - low) * left) / n[i]) * 1000;
    }
    left -= n[i];
  }
  return bounds.at(-1) * 1000;
}

function quantiles(name) {
  const p50 = quantile(name, 0.5), p99 = quantile(name, 0.99);
  return p50 === undefined ? undefined : `${p50.toFixed(1)} / ${p99.toFixed(1)} ms`;
}

/* --- tables --- */

function tiers(m) {
  return Object.entries(m.cache_requests).map(([tier, c]) => {
    const all = total(c), found = c.hit + c.hit_wait + c.stale;
    return row([tier === "edge" ? "edge (players)" : "origin (our edges)", ...["hit", "hit_wait", "miss", "stale", "negative"].map((r) => count(c[r])),
                all > 0 ? `${((found * 100) / all).toFixed(2)} %` : undefined, count(m.cache_fills[tier])]);
  });
}

function upstreams(list) {
  return list.map((u) => {
    const tr = row([u.url, u.state === "open" ? "left alone for a moment" : u.state, count(u.fills), count(u.ok_10s), count(u.bad_10s)]);
    if (u.state === "open" || u.state === "failing") tr.className = "bad";
    return tr;
  });
}

function push(m) {
  return [
    ["subscriptions, to upstreams", count(m.push_subscriptions)],
    ["subscriptions, of edges", count(m.push_subscribers)],
    ["lag, p50 / p99 of 30 s", quantiles("push_lag_seconds")],
    ["broke off, went on", count(m.push_resync?.partial)],
    ["broke off, told anew", count(m.push_resync?.full)],
  ].map(row);
}

function cache(m) {
  const gone = Object.entries(m.cache_evictions).filter(([, n]) => n > 0);
  return [
    ["objects", count(m.cache_objects)],
    ["bytes of bodies", bytes(m.cache_bytes)],
    ["memory, of its limit", `${bytes(total(m.memory_bytes))} of ${bytes(m.memory_limit_bytes)}`],
    ["fill failures", count(total(m.cache_fill_errors))],
    ["evictions", gone.length > 0 ? gone.map(([why, n]) => `${why} ${count(n)}`).join(", ") : "none"],
  ].map(row);
}

function cards(s) {
  const m = s.metrics, out = per_second("http_response_bytes"), asked = per_second("http_requests");
  by("cards").replaceChildren(
    card("viewers", count(m.viewers)),
    card("out", out === undefined ? undefined : rate(out * 8)),
    card("requests", asked === undefined ? undefined : `${Math.round(asked)} /s`),
    card("first byte, p50 / p99", quantiles("http_ttfb_seconds")),
    card("publishers", count(m.ingest_publishers)),
    card("connections", count(total(m.http_connections))),
    card("loops late, p99", quantile("loop_lag_seconds", 0.99) === undefined ? undefined : `${quantile("loop_lag_seconds", 0.99).toFixed(1)} ms`),
    card("up", span(s.uptime_s)));
}

/* --- streams --- */

function rendition(r) {
  const what = r.width ? `${r.width}x${r.height}${r.fps ? ` ${Number(r.fps.toFixed(2))} fps` : ""}` : `${r.rate} Hz`;
  return `${r.rep} ${r.codecs} ${what} ${Math.round(r.bitrate_bps / 1000)} kbit/s`;
}

function relay(r) {
  const told = [r.dc ? `to ${r.dc} for ${span(r.for_s)}` : `no home for ${span(r.for_s)}`];
  if (r.why) told.push(r.why);
  if (r.bitrate_bps) told.push(rate(r.bitrate_bps));
  told.push(`spool ${ms(r.spool_ms)}, ${bytes(r.spool_bytes)}${r.spool_lost > 0 ? `, ${count(r.spool_lost)} tags lost` : ""}`);
  if (r.times_lost > 0) told.push(`home lost ${count(r.times_lost)}, moved ${count(r.times_moved)}`);
  return told.join("; ");
}

function stream(s) {
  const video = s.renditions?.find((r) => r.width);
  const made = s.renditions?.map(rendition) ?? [];
  const tr = row([
    s.name,
    s.state,
    count(s.viewers),
    span(s.uptime_s),
    (s.relay ? [relay(s.relay), ...made] : made).join("; ") || undefined,
    ms(video?.gop_ms),
    ms(s.latency_ms),
    ms(s.last_tag_ms),
    s.worker,
  ]);
  if (s.state === "homeless") tr.className = "bad";
  return tr;
}

let told = null;

function show_streams() {
  if (told === null) return;
  const wanted = by("filter").value.trim();
  const shown = told.streams.filter((s) => s.name.includes(wanted));
  shown.sort((a, b) => b.viewers - a.viewers || (a.name < b.name ? -1 : 1));
  by("count").textContent = shown.length === told.streams.length ? shown.length : `${shown.length} of ${told.streams.length}`;
  by("streams").replaceChildren(...shown.map(stream));
}

/* --- again and again --- */

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function look() {
  try {
    const [status, streams] = await Promise.all([get("/api/v1/status"), get("/api/v1/streams")]);
    keep(status);
    told = streams;
    by("node").textContent = `${status.node} ${status.version}`;
    cards(status);
    by("tiers").replaceChildren(...tiers(status.metrics));
    by("upstreams").replaceChildren(...upstreams(status.upstreams));
    by("push").replaceChildren(...push(status.metrics));
    by("cache").replaceChildren(...cache(status.metrics));
    show_streams();
    by("words").textContent =
      `At ${new Date(status.at_us / 1000).toLocaleTimeString()}, configuration ${status.generation}` +
      (status.whole ? "." : "; not every loop has answered.");
    by("words").className = status.whole ? "" : "bad";
  } catch (e) {
    by("words").textContent = `No answer (${e.message}); trying again.`;
    by("words").className = "bad";
  }
  setTimeout(look, EVERY_MS);
}

by("filter").addEventListener("input", show_streams);
look();
