/* One player in one page: plays what the query asks for and tells watch.mjs (through tell()) what
 * happens. It judges nothing.
 *
 *   ?player=dash|shaka & url= & target=SECONDS & every=N (read the barcode of each Nth frame)
 *
 * Messages: {event, at_ms, ...}. at_ms is wall clock. Every half second one {event: "sample"} with
 * the state of the element and the frames shown since the last one:
 * frames: [[at_ms, media_time_s, number or null when it cannot be read], ...]
 */
const ask = new URLSearchParams(location.search);
const target = Number(ask.get("target"));
const every = Number(ask.get("every"));
const video = document.querySelector("video");
const wall = (t) => performance.timeOrigin + t;
const tell = (event, more) => window.tell({ event, at_ms: wall(performance.now()), ...more });

/* The barcode of source.py: BITS boxes in a row, least significant first, in a frame of 640x360.
 * A square rendition is cut from the middle, so the picture is taken to cover the frame. */
const FRAME = { w: 640, h: 360 };
const BAR = { x: 160, y: 20, box: 20, h: 24, bits: 16 };
const PER_BOX = 5; /* pixels of each box in the canvas; the one in the middle is looked at */
const canvas = new OffscreenCanvas(BAR.bits * PER_BOX, 1);
const ink = canvas.getContext("2d", { willReadFrequently: true });

function read_barcode() {
  const vw = video.videoWidth;
  const vh = video.videoHeight;
  const scale = Math.max(vw / FRAME.w, vh / FRAME.h);
  const x = (BAR.x - FRAME.w / 2) * scale + vw / 2;
  const y = (BAR.y + BAR.h * 0.3 - FRAME.h / 2) * scale + vh / 2;
  const w = BAR.bits * BAR.box * scale;
  const h = BAR.h * 0.4 * scale;
  ink.drawImage(video, x, y, w, h, 0, 0, canvas.width, 1);
  const { data } = ink.getImageData(0, 0, canvas.width, 1);
  let number = 0;
  for (let i = 0; i < BAR.bits; i++) {
    const green = data[4 * (i * PER_BOX + (PER_BOX >> 1)) + 1];
    if (green > 80 && green < 175) return null; /* neither black nor white */
    if (green >= 175) number |= 1 << i;
  }
  return number;
}

/* Frames as they are shown. The gap counts every frame, also those without a callback. */
let frames = [];
let seen = 0;
let last = null; /* {at_ms, presented} */
let gap_ms = 0;
function on_frame(now, about) {
  const at_ms = wall(about.expectedDisplayTime);
  if (last === null) tell("first_frame", { media_time: about.mediaTime });
  else
    gap_ms = Math.max(gap_ms, (at_ms - last.at_ms) / Math.max(1, about.presentedFrames - last.presented));
  last = { at_ms, presented: about.presentedFrames };
  if (seen++ % every === 0) frames.push([at_ms, about.mediaTime, read_barcode()]);
  video.requestVideoFrameCallback(on_frame);
}
video.requestVideoFrameCallback(on_frame);

for (const name of ["playing", "waiting", "seeking", "ended"])
  video.addEventListener(name, () => tell(name, { time: video.currentTime }));
const fail = (what, text) => tell("error", { what, text: String(text).slice(0, 500) });
video.addEventListener("error", () =>
  fail("video", `${video.error?.code} ${video.error?.message}`),
);
window.addEventListener("unhandledrejection", (e) => fail("page", e.reason?.stack ?? e.reason));

/* Period switches, the same way for both: when currentTime passes the start of one. */
let periods = [];
let period = null;
function on_periods(list) {
  periods = list.sort((a, b) => a.start - b.start);
}
function look_at_period() {
  const now = periods.findLast((p) => p.start <= video.currentTime + 0.001);
  if (video.readyState < 2 || now === undefined || now.id === period) return;
  period = now.id;
  tell("period", { id: now.id, start: now.start });
}
video.addEventListener("timeupdate", look_at_period);

/* How late this page's own timers are: a player cannot do better than the machine lets it. */
const TICK_MS = 50;
let ticked = performance.now();
let lag_ms = 0;
setInterval(() => {
  const now = performance.now();
  lag_ms = Math.max(lag_ms, now - ticked - TICK_MS);
  ticked = now;
}, TICK_MS);

let latency = () => null;
function sample() {
  const buffered = [];
  for (let i = 0; i < video.buffered.length; i++)
    buffered.push([video.buffered.start(i), video.buffered.end(i)]);
  const quality = video.getVideoPlaybackQuality();
  const now = performance.now();
  tell("sample", {
    time: video.currentTime,
    paused: video.paused,
    rate: video.playbackRate,
    latency: latency(),
    buffered,
    audio_bytes: video.webkitAudioDecodedByteCount,
    dropped: quality.droppedVideoFrames,
    shown: quality.totalVideoFrames,
    size: [video.videoWidth, video.videoHeight],
    visible: document.visibilityState === "visible",
    gap_ms: last === null ? 0 : Math.max(gap_ms, wall(now) - last.at_ms),
    lag_ms,
    frames,
  });
  frames = [];
  gap_ms = 0;
  lag_ms = 0;
}

function load_script(src) {
  return new Promise((done, failed) => {
    const tag = document.createElement("script");
    tag.src = src;
    tag.onload = done;
    tag.onerror = () => failed(new Error(`cannot load ${src}`));
    document.head.append(tag);
  });
}

async function play_dash(url) {
  await load_script("dash.js");
  const dash = window.dashjs;
  const player = dash.MediaPlayer().create();
  const on = dash.MediaPlayer.events;
  player.on(on.ERROR, (e) => fail("dash", `${e.error?.code} ${e.error?.message}`));
  player.on(on.PLAYBACK_ERROR, (e) => fail("playback", JSON.stringify(e.error)));
  player.on(on.FRAGMENT_LOADING_COMPLETED, (e) => {
    if (e.error) fail("fragment", `${e.error.code} ${e.error.message} ${e.request?.url}`);
  });
  player.on(on.MANIFEST_LOADED, (e) =>
    on_periods((e.data?.Period ?? []).map((p) => ({ id: p.id ?? "", start: p.start ?? 0 }))),
  );
  player.on(on.QUALITY_CHANGE_RENDERED, (e) => {
    if (e.mediaType === "video") tell("switch", { to: e.newRepresentation?.id });
  });
  player.updateSettings({
    streaming: { delay: { liveDelay: target }, liveCatchup: { enabled: true } },
  });
  latency = () => player.getCurrentLiveLatency();
  player.initialize(video, url, true);
}

function seconds(iso) {
  const m = /^PT(?:([\d.]+)H)?(?:([\d.]+)M)?(?:([\d.]+)S)?$/.exec(iso ?? "PT0S");
  return m === null ? 0 : Number(m[1] ?? 0) * 3600 + Number(m[2] ?? 0) * 60 + Number(m[3] ?? 0);
}

async function play_shaka(url) {
  await load_script("shaka.js");
  const player = new window.shaka.Player();
  player.addEventListener("error", (e) =>
    fail("shaka", `${e.detail.severity} ${e.detail.code} ${JSON.stringify(e.detail.data)}`),
  );
  player.addEventListener("adaptation", (e) => tell("switch", { to: e.newTrack?.originalVideoId }));
  player.configure({
    streaming: {
      lowLatencyMode: true,
      liveSync: { enabled: true, targetLatency: target, targetLatencyTolerance: 0.1 },
    },
    manifest: {
      dash: {
        /* Else the first manifest moves the start of the timeline: Shaka takes the segment in
         * progress, which a SegmentTimeline lists at its full length, for one that has been made.
         * Its low-latency defaults say false too, but only after that manifest. */
        autoCorrectDrift: false,
        manifestPreprocessorTXml: (mpd) => {
          const list = mpd.children.filter((c) => c.tagName === "Period");
          on_periods(
            list.map((p) => ({ id: p.attributes.id ?? "", start: seconds(p.attributes.start) })),
          );
        },
      },
    },
  });
  latency = () => player.getStats().liveLatency;
  await player.attach(video);
  /* Without a start time it begins at the live edge and plays slowly for half a minute. */
  await player.load(url, -target);
  await video.play();
}

tell("loading", {});
setInterval(sample, 500);
const play = ask.get("player") === "shaka" ? play_shaka : play_dash;
play(ask.get("url")).catch((e) => fail("load", e.code ? `${e.code} ${JSON.stringify(e.data)}` : e.stack));
