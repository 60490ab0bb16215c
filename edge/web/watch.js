/* Plays APP/STREAM of its own address [/p/TOKEN]/watch/APP/STREAM. Names come from the address, so they are
 * only ever set as text or as a path that was checked. */
"use strict";

const RETRY_MS = 2000;
const by = (id) => document.getElementById(id);
const say = (text) => (by("words").textContent = text);
const show = (id, text) => (by(id).textContent = text);

const match = /^(\/p\/[A-Za-z0-9-]+|)\/watch\/([A-Za-z0-9][A-Za-z0-9_-]*)\/([A-Za-z0-9][A-Za-z0-9_-]*)$/.exec(location.pathname);
const name = match === null ? null : `${match[2]}/${match[3]}`;
/* whole, for dash.js makes URLs of it that cannot be relative */
const manifest = match === null ? null : new URL(`${match[1]}/${name}/manifest.mpd`, location.href).href;
const video = by("video");

function figures(player) {
  const latency = player.getCurrentLiveLatency();
  const rep = player.getCurrentRepresentationForType("video");
  const quality = video.getVideoPlaybackQuality();
  const buffered = player.getBufferLength("video");

  show("latency", latency > 0 ? `${latency.toFixed(2)} s` : "-");
  show("buffer", buffered >= 0 ? `${buffered.toFixed(2)} s` : "-");
  show("dropped", `${quality.droppedVideoFrames} of ${quality.totalVideoFrames}`);
  if (rep)
    show("rendition", `${rep.id}, ${video.videoWidth}x${video.videoHeight}, ${Math.round(rep.bitrateInKbit)} kbit/s`);
}

/* A stream that is not on the air yet, or that begins anew: ask until it is there. */
async function wait_for(manifest) {
  for (;;) {
    const answer = await fetch(manifest, { cache: "no-store" }).catch(() => null);
    if (answer !== null && answer.ok) return;
    if (answer === null) say("The server does not answer; trying again.");
    else if (answer.status === 403) say(`Not allowed: ${await answer.text()}`);
    else say("Not on the air; waiting for it.");
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

async function play(manifest) {
  let player = null;
  const begin = async () => {
    await wait_for(manifest);
    player = dashjs.MediaPlayer().create();
    const events = dashjs.MediaPlayer.events;
    const again = (e) => {
      if (player === null) return;
      say(`The player stopped (${e?.error?.message ?? e?.error ?? "error"}); beginning anew.`);
      player.destroy();
      player = null;
      setTimeout(begin, RETRY_MS);
    };
    player.on(events.ERROR, again);
    player.on(events.PLAYBACK_ERROR, again);
    player.on(events.PLAYBACK_PLAYING, () => say(video.muted ? "Playing without sound: the player is muted." : "Playing."));
    player.on(events.PLAYBACK_WAITING, () => say("Waiting for data."));
    player.on(events.PLAYBACK_ENDED, () => say("The broadcast is over."));
    player.updateSettings({ streaming: { delay: { liveDelay: 3 }, liveCatchup: { enabled: true } } });
    player.initialize(video, manifest, true);
  };
  setInterval(() => player !== null && player.isReady() && figures(player), 250);
  await begin();
}

if (name === null) {
  say("No such stream.");
} else {
  document.title = `${name} - freshet`;
  show("name", name);
  by("manifest").href = manifest;
  if (typeof dashjs === "undefined")
    say("This server has no player: dash.all.min.js is missing from its share/freshet directory. " +
        "Any DASH player can play the manifest below.");
  else play(manifest);
}
