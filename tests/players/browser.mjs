/* Debian's Chromium, headless, with nothing of its own going on. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];

/* The browser's profile is made under TMPDIR: one of ours, so that nothing stays behind. */
export async function with_browser(path, more, use) {
  const { chromium } = await import("playwright-core");
  const scratch = mkdtempSync(join(tmpdir(), "watch-"));
  process.env.TMPDIR = scratch;
  let browser = null;
  try {
    browser = await chromium.launch({
      executablePath: path,
      headless: true,
      handleSIGTERM: false,
      handleSIGINT: false,
      args: [...ARGS, ...more],
    });
    return await use(browser);
  } finally {
    await browser?.close();
    rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  }
}
