/* Shows /api/v1/streams and a few of /metrics, every two seconds. Everything is set as text. */
"use strict";

const EVERY_MS = 2000;
const by = (id) => document.getElementById(id);

function row(cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) {
    const td = document.createElement("td");
    td.textContent = cell ?? "-";
    tr.append(td);
  }
  return tr;
}

const ms = (v) => (v === undefined ? undefined : `${v} ms`);

function rendition(r) {
  const what = r.width ? `${r.width}x${r.height}${r.fps ? ` ${Number(r.fps.toFixed(2))} fps` : ""}` : `${r.rate} Hz`;
  return `${r.rep} ${r.codecs} ${what} ${Math.round(r.bitrate_bps / 1000)} kbit/s`;
}

function stream(s) {
  const video = s.renditions.find((r) => r.width);
  return row([
    s.name,
    s.state,
    `${Math.round(s.uptime_s)} s`,
    s.renditions.map(rendition).join("; "),
    ms(video?.gop_ms),
    ms(s.latency_ms),
    ms(s.last_tag_ms),
    s.worker,
  ]);
}

const SHOWN = /^freshet_(cache_requests_total|cache_fills_total|http_connections|cache_bytes)(\{.*\})? (\S+)/;

function figures(text) {
  const rows = [];
  for (const line of text.split("\n")) {
    const m = SHOWN.exec(line);
    if (m !== null && (m[3] !== "0" || !m[2])) rows.push(row([m[1], (m[2] ?? "").replace(/[{}"]/g, ""), m[3]]));
  }
  return rows;
}

async function look() {
  try {
    const [streams, metrics] = await Promise.all([fetch("/api/v1/streams"), fetch("/metrics")]);
    const told = await streams.json();
    by("node").textContent = told.node;
    by("streams").replaceChildren(...told.streams.map(stream));
    by("cache").replaceChildren(...figures(await metrics.text()));
    by("words").textContent =
      `${told.streams.length} streams at ${new Date(told.at_us / 1000).toLocaleTimeString()}` +
      (told.whole ? "" : "; not every loop has answered");
  } catch (e) {
    by("words").textContent = `No answer (${e.message}); trying again.`;
  }
  setTimeout(look, EVERY_MS);
}
look();
