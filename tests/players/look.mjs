#!/usr/bin/env node
/* Opens one page in headless Chromium and says what a person would see there.
 *
 *   node look.mjs --url http://127.0.0.1:8407/status --rows 3 --seconds 5
 *
 * Waits until the table #streams has --rows rows and #words no complaint (--timeout seconds), then for
 * --seconds, and prints one JSON object: {cards, tables, words, requests, errors, longest_ms, first}.
 * `first` is what it saw before those seconds; `errors` are exceptions, complaints in the console (a
 * violated policy among them) and failed requests; longest_ms is the longest the page was busy at once.
 * With --playing SECONDS it is a player's page, and what is waited for is that its video has played so
 * long; of the rest only {words, requests, errors} are told.
 * --type TEXT is typed into #filter first; --screenshot FILE is made at the end. Exit status 0, or 1
 * when what was waited for did not come.
 */
import { parseArgs } from "node:util";
import { with_browser } from "./browser.mjs";

const opt = parseArgs({
  options: {
    url: { type: "string" },
    rows: { type: "string", default: "0" },
    seconds: { type: "string", default: "0" },
    timeout: { type: "string", default: "30" },
    type: { type: "string" },
    playing: { type: "string" },
    screenshot: { type: "string" },
    width: { type: "string", default: "1400" },
    height: { type: "string", default: "900" },
    browser: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
  strict: true,
}).values;

/* In the page. */
function see() {
  const text = (e) => e.textContent;
  const tables = {};
  for (const body of document.querySelectorAll("tbody"))
    tables[body.id] = [...body.rows].map((r) => [...r.cells].map(text));
  const cards = {};
  for (const div of document.querySelectorAll("#cards div")) cards[text(div.children[0])] = text(div.children[1]);
  const words = document.getElementById("words");
  return { cards, tables, words: text(words), bad: words.className === "bad" };
}

function busy() {
  window.longest_ms = 0;
  new PerformanceObserver((list) => {
    for (const e of list.getEntries()) window.longest_ms = Math.max(window.longest_ms, e.duration);
  }).observe({ entryTypes: ["longtask"] });
}

async function open(browser) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: { width: Number(opt.width), height: Number(opt.height) },
  });
  const page = await context.newPage();
  const requests = new Set(), errors = [];
  page.on("request", (r) => requests.add(r.url()));
  page.on("requestfailed", (r) => errors.push(`${r.url()}: ${r.failure().errorText}`));
  page.on("pageerror", (e) => errors.push(e.message));
  page.on("console", (m) => m.type() === "error" && errors.push(m.text()));
  await page.addInitScript(busy);
  await page.goto(opt.url);
  const timeout = { timeout: Number(opt.timeout) * 1000 };
  if (opt.playing !== undefined) {
    const played = (seconds) => document.querySelector("video").played.length > 0 &&
      document.querySelector("video").played.end(0) - document.querySelector("video").played.start(0) >= seconds;
    const there = await page.waitForFunction(played, Number(opt.playing), timeout).then(() => true, () => false);
    const words = await page.textContent("#words");
    process.stdout.write(JSON.stringify({ words, requests: [...requests], errors }) + "\n");
    return there ? 0 : 1;
  }
  const there = await page
    .waitForFunction(
      (rows) =>
        document.getElementById("words").textContent.startsWith("At ") &&
        document.getElementById("streams").rows.length >= rows,
      Number(opt.rows),
      timeout,
    )
    .then(() => true, () => false);
  if (opt.type !== undefined) await page.fill("#filter", opt.type);
  const first = await page.evaluate(see);
  await page.waitForTimeout(Number(opt.seconds) * 1000);
  const now = await page.evaluate(see);
  const longest_ms = await page.evaluate(() => window.longest_ms);
  if (opt.screenshot !== undefined) await page.screenshot({ path: opt.screenshot });
  process.stdout.write(JSON.stringify({ ...now, first, requests: [...requests], errors, longest_ms }) + "\n");
  return there ? 0 : 1;
}

process.exitCode = await with_browser(opt.browser, [], open);
