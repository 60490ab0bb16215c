#!/usr/bin/env node
/* Opens a page of ours and tells what somebody in front of it would see.
 *
 *   node visit.mjs --url https://127.0.0.1:8443/watch/live/a
 *
 * Standard output: one JSON object per line, {event, at_ms, ...}:
 *   look       four times a second: title, the texts of all elements that have an id, and of the video
 *              time, size and ended
 *   console    an error or a warning in the console {text, url}
 *   policy     something that the Content-Security-Policy has forbidden {text}
 *   error      an exception that nobody caught {text}
 * It ends with its input, or with a word on it.
 */
import { parseArgs } from "node:util";
import { with_browser } from "./browser.mjs";

const { values: opt } = parseArgs({
  options: {
    url: { type: "string" },
    browser: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});
const say = (event, more) => process.stdout.write(JSON.stringify({ event, at_ms: Date.now(), ...more }) + "\n");

/* In the page. */
function look() {
  const video = document.querySelector("video");
  const text = {};
  for (const e of document.querySelectorAll("[id]")) text[e.id] = e.textContent.trim();
  return {
    title: document.title,
    text,
    time: video?.currentTime ?? null,
    size: [video?.videoWidth ?? 0, video?.videoHeight ?? 0],
    ended: video?.ended ?? false,
  };
}

const over = new Promise((done) => {
  for (const name of ["data", "end"]) process.stdin.on(name, done);
  for (const name of ["SIGTERM", "SIGINT"]) process.on(name, done);
});
await with_browser(opt.browser, [], async (browser) => {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.exposeFunction("forbidden", (text) => say("policy", { text }));
  await page.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (e) =>
      window.forbidden(`${e.violatedDirective} ${e.blockedURI}`),
    ),
  );
  page.on("console", (m) => {
    if (["error", "warning"].includes(m.type())) say("console", { text: m.text(), url: m.location().url });
  });
  page.on("pageerror", (e) => say("error", { text: e.message }));
  await page.goto(opt.url);
  const looks = setInterval(async () => say("look", await page.evaluate(look).catch(() => ({}))), 250);
  await over;
  clearInterval(looks);
});
process.exit(0);
