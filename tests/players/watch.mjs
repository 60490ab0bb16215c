#!/usr/bin/env node
/* Plays one live stream in dash.js and Shaka Player, side by side in headless Chromium, and says
 * whether both had a good time.
 *
 *   node watch.mjs --url https://127.0.0.1:8443/live/a/manifest.mpd --seconds 30
 *
 * Standard output: one JSON object per line, {event, at_ms, player?, ...}:
 *   playing waiting seeking ended error http first_frame period switch    as they happen
 *   steady      a player has played for --settle seconds
 *   recovered   after a mark: a picture made after the mark is on the screen {mark, after_ms}
 *   caught_up   and the true latency is not more than it is to be {mark, after_ms, latency}
 *   stood_still our own timer was late by more than --max-lag: the machine was not there {ms}
 *   report      the figures of both players, by phase and in all; the last line is always one,
 *               with ok and failures, and the exit status is 0 or 1 accordingly (2: usage)
 * Standard input, a command per line:
 *   mark NAME         a new phase begins: figures are kept per phase
 *   epoch FRAME MS    the picture with barcode FRAME was made at MS (wall clock); so are later ones
 *                     in steps of 1/fps. Said again at every new source; gives true latency.
 *   report            figures so far
 *   play SECONDS      the end comes then
 *   stop              the end, as after --seconds. Without --seconds the end of the input is, too.
 *
 * The two pages have a browser context each: their own connections and their own cache.
 */
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { with_browser } from "./browser.mjs";
import { Figures } from "./figures.mjs";

const OPTIONS = {
  /* what */
  url: { type: "string" },
  players: { type: "string", default: "dash,shaka" },
  seconds: { type: "string" } /* of playing, once all of them play; absent: until told to stop */,
  "start-timeout": { type: "string", default: "20" },
  browser: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  http1: { type: "boolean" } /* the browser does not offer HTTP/2 */,
  screenshot: { type: "string" } /* FILE-PLAYER.png at the end */,
  /* how */
  target: { type: "string", default: "2" } /* seconds of latency that the players aim at */,
  fps: { type: "string", default: "30" },
  every: { type: "string", default: "2" } /* the barcode is read from each Nth picture */,
  settle: { type: "string", default: "5" } /* seconds until latency counts */,
  epoch: { type: "string", multiple: true, default: [] } /* FRAME:MS, as the command */,
  /* what is good enough */
  tolerance: { type: "string", default: "0.5" } /* of the last phase's median latency, seconds */,
  "max-early": { type: "string" } /* and so much below the target; absent: the same */,
  "max-speed-off": { type: "string", default: "0.1" } /* of currentTime, all in all */,
  "max-skew": { type: "string", default: "0.5" } /* latency: the player's figure against ours */,
  "max-errors": { type: "string", default: "0" },
  "max-waiting": { type: "string", default: "1" },
  "max-gap": { type: "string", default: "1000" } /* ms between two pictures */,
  "max-first-frame": { type: "string", default: "5000" } /* ms */,
  "max-http-errors": { type: "string", default: "0" },
  "max-ranges": { type: "string", default: "1" } /* buffered ranges at any time */,
  "max-spread": { type: "string" } /* ms; absent: one frame */,
  "max-lag": { type: "string", default: "200" } /* ms of our own timer; said, not judged */,
  "max-dropped": { type: "string", default: "0.25" } /* share of the frames */,
  protocol: { type: "string" } /* h2, http/1.1: all of the stream must come by it */,
};

const TICK_MS = 50;

function usage(text) {
  process.stderr.write(`watch.mjs: ${text}\n`);
  process.exit(2);
}

let opt;
try {
  opt = parseArgs({ options: OPTIONS, strict: true }).values;
} catch (e) {
  usage(e.message);
}
if (opt.url === undefined) usage("--url is needed");
const PLAIN = new Set(["url", "players", "browser", "screenshot", "epoch", "protocol", "http1"]);
for (const name of Object.keys(OPTIONS)) {
  if (PLAIN.has(name) || opt[name] === undefined) continue;
  const number = Number(opt[name]);
  if (!Number.isFinite(number) || number < 0) usage(`--${name} wants a number`);
  opt[name] = number;
}
const players = opt.players.split(",");
for (const name of players) if (!["dash", "shaka"].includes(name)) usage(`no player ${name}`);

function say(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

/* The only files that the page server gives out. */
const here = (name) => new URL(name, import.meta.url);
const FILES = {
  "/player.html": ["text/html", here("page/player.html")],
  "/player.js": ["text/javascript", here("page/player.js")],
  "/dash.js": ["text/javascript", here("node_modules/dashjs/dist/modern/umd/dash.all.min.js")],
  "/shaka.js": ["text/javascript", here("node_modules/shaka-player/dist/shaka-player.compiled.js")],
};

/* A clock that does nothing else. What it misses, nobody here could have been in time for. */
function watch_machine(figures) {
  let due = performance.now() + TICK_MS;
  return setInterval(() => {
    figures.on_lag(performance.now() - due);
    due = performance.now() + TICK_MS;
  }, TICK_MS);
}

function serve_pages() {
  const server = createServer((req, res) => {
    const file = FILES[new URL(req.url, "http://x").pathname];
    if (file === undefined) return res.writeHead(404).end();
    res.writeHead(200, { "content-type": file[0] }).end(readFileSync(file[1]));
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

async function open_player(browser, name, base, figures) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: { width: 660, height: 400 },
  });
  const page = await context.newPage();
  await page.exposeFunction("tell", (message) => figures.on_message(name, message));
  page.on("crash", () => figures.on_error(name, "crash", "the page crashed"));
  page.on("pageerror", (e) => figures.on_error(name, "page", e.message));

  const wire = await context.newCDPSession(page);
  const asked = new Map();
  wire.on("Network.requestWillBeSent", (e) => asked.set(e.requestId, e.request.url));
  wire.on("Network.responseReceived", (e) => {
    const { url, status, protocol } = e.response;
    if (url.startsWith(base) || url.startsWith("blob:")) return;
    /* the clock may be elsewhere: how that is fetched says nothing about the stream */
    const ours = new URL(url).origin === new URL(opt.url).origin;
    figures.on_response(name, url, status, ours ? protocol : null);
  });
  wire.on("Network.loadingFinished", (e) => asked.delete(e.requestId));
  wire.on("Network.loadingFailed", (e) => {
    if (!e.canceled) figures.on_broken(name, asked.get(e.requestId) ?? "", e.errorText);
    asked.delete(e.requestId);
  });
  await wire.send("Network.enable", { maxTotalBufferSize: 0, maxResourceBufferSize: 0 });

  const query = new URLSearchParams({ player: name, url: opt.url, target: opt.target, every: opt.every });
  await page.goto(`${base}/player.html?${query}`);
  return page;
}

function listen_to_commands(figures, stop) {
  const input = createInterface({ input: process.stdin });
  input.on("line", (line) => {
    const [verb, ...args] = line.trim().split(/\s+/);
    if (verb === "mark" && args.length === 1) figures.mark(args[0]);
    else if (verb === "epoch" && args.length === 2) figures.epoch(Number(args[0]), Number(args[1]));
    else if (verb === "report") say(figures.report());
    else if (verb === "play" && args.length === 1) setTimeout(stop, Number(args[0]) * 1000);
    else if (verb === "stop") stop();
    else if (verb !== "") say({ event: "refused", at_ms: Date.now(), line });
  });
  input.on("close", () => {
    if (opt.seconds === undefined) stop();
  });
  return input;
}

async function play(browser, base, figures, stop, stopped) {
  const pages = await Promise.all(players.map((p) => open_player(browser, p, base, figures)));

  const control = watch_machine(figures);
  const late = setTimeout(stop, opt["start-timeout"] * 1000);
  await Promise.race([figures.all_playing, stopped]);
  clearTimeout(late);
  const end =
    figures.every_player_plays && opt.seconds !== undefined
      ? setTimeout(stop, opt.seconds * 1000)
      : null;
  await stopped;
  clearTimeout(end);
  clearInterval(control);
  figures.end();
  if (opt.screenshot !== undefined)
    for (const [i, page] of pages.entries())
      await page.screenshot({ path: `${opt.screenshot}-${players[i]}.png` }).catch(() => {});
}

async function main() {
  const figures = new Figures(players, opt, say);
  for (const pair of opt.epoch) figures.epoch(...pair.split(":").map(Number));

  let stop;
  const stopped = new Promise((done) => (stop = done));
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  const input = listen_to_commands(figures, stop);
  const server = await serve_pages();
  const base = `http://127.0.0.1:${server.address().port}`;
  try {
    await with_browser(opt.browser, opt.http1 ? ["--disable-http2"] : [], (browser) =>
      play(browser, base, figures, stop, stopped),
    );
  } finally {
    input.close();
    server.close();
    server.closeAllConnections();
  }
  const report = figures.report();
  say(report);
  process.exitCode = report.ok ? 0 : 1;
}

main().catch((e) => {
  process.stderr.write(`watch.mjs: ${e.stack}\n`);
  process.exitCode = 1;
});
