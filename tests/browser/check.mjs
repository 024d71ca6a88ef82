// Opens reports in a headless Chromium and holds them to what docs/report.md promises. See README.md beside this file.
import { readFile, stat } from "node:fs/promises";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const axe = require.resolve("axe-core/axe.min.js");
const MAX_BYTES = 2e6;
const MAX_MILLISECONDS = 2000;
const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 375, height: 800 } };

const problems = [];
const args = process.argv.slice(2);
const shots = args[0] === "--shots" ? args.splice(0, 2)[1] : null;
if (args.length === 0) {
  console.error("usage: node check.mjs [--shots FOLDER] REPORT.html ...");
  process.exit(2);
}

/// What a browser alone can say about one page at one size and colour scheme.
async function look(browser, file, size, scheme) {
  const at = `${file} (${size}, ${scheme})`;
  const complain = (what) => problems.push(`${at}: ${what}`);
  const page = await browser.newPage({ viewport: SIZES[size], colorScheme: scheme });
  page.on("console", (m) => m.type() === "error" && complain(`console: ${m.text()}`));
  page.on("pageerror", (e) => complain(`script: ${e.message}`));
  page.on("request", (r) => /^(file|data):/.test(r.url()) || complain(`asks the network for ${r.url()}`));
  const begin = Date.now();
  await page.goto(pathToFileURL(file).href, { waitUntil: "load" });
  const time = Date.now() - begin;
  if (time > MAX_MILLISECONDS) complain(`opens in ${time} ms`);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  if (width > SIZES[size].width) complain(`is ${width} pixels wide`);
  const empty = await page.evaluate(() =>
    [...document.querySelectorAll("[data-chart]")]
      .filter((c) => {
        const box = c.getBoundingClientRect();
        return box.width < 50 || box.height < 20 || c.querySelectorAll("path, rect, circle, td, dd, li, div, .bar").length === 0;
      })
      .map((c) => c.dataset.chart),
  );
  empty.forEach((name) => complain(`chart '${name}' is empty`));
  const charts = await page.locator("[data-chart]").count();
  if (charts === 0) complain("has no chart");
  // Closed tables count as well.
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
  await page.addScriptTag({ path: axe });
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const v of found.violations.filter((v) => v.impact === "serious" || v.impact === "critical")) {
    complain(`axe ${v.impact}: ${v.id} (${v.help}) at ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join("; ")}`);
  }
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = false)));
  await zoom(page, complain);
  if (shots) {
    const name = `${path.basename(path.dirname(file))}-${path.basename(file, ".html")}-${size}-${scheme}.png`;
    await page.screenshot({ path: path.join(shots, name), fullPage: true });
  }
  await page.close();
  return { charts, time };
}

/// The timeline zooms and comes back; the theme button changes the background.
async function zoom(page, complain) {
  const range = page.locator("#timeline .range");
  if (await range.count()) {
    const whole = await range.textContent();
    await page.click('[data-move="in"]');
    if ((await range.textContent()) === whole) complain("the timeline does not zoom");
    await page.click('[data-move="all"]');
    if ((await range.textContent()) !== whole) complain("the timeline does not come back");
  }
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await background();
  await page.click(".theme");
  if ((await background()) === before) complain("the theme button does nothing");
  await page.click(".theme");
}

/// Every figure of a page about one design is what its report.json says.
async function figures(browser, file) {
  const source = path.join(path.dirname(file), "report.json");
  if (!existsSync(source)) return 0;
  const report = JSON.parse(await readFile(source, "utf8"));
  const page = await browser.newPage();
  await page.goto(pathToFileURL(file).href);
  const shown = await page.$$eval("main > section data", (all) =>
    all.filter((d) => !d.closest("[data-run]")).map((d) => [d.dataset.path, d.value, d.textContent]),
  );
  await page.close();
  for (const [pointer, value, text] of shown) {
    const steps = pointer.split("/").slice(1).map((s) => s.replaceAll("~1", "/").replaceAll("~0", "~"));
    const expected = steps.reduce((at, step) => at?.[step], report) ?? "";
    // The program reads numbers to the last bit but one.
    const near = Math.abs(Number(value) - expected) <= 4e-16 * Math.abs(expected);
    const same = expected === "" ? value === "" : value !== "" && near;
    if (!same) problems.push(`${file}: ${pointer} shows ${value} instead of ${expected}`);
    if ((value === "") !== (text === "–")) problems.push(`${file}: ${pointer} shows '${text}' for '${value}'`);
  }
  return shown.length;
}

const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
const browser = await chromium.launch({
  executablePath: process.env.ESPALIER_BROWSER || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", ...quiet],
});
for (const file of args.map((f) => path.resolve(f))) {
  const { size: bytes } = await stat(file);
  if (bytes > MAX_BYTES) problems.push(`${file}: has ${bytes} bytes`);
  const times = [];
  let charts = 0;
  for (const size of Object.keys(SIZES)) {
    for (const scheme of ["light", "dark"]) {
      const seen = await look(browser, file, size, scheme);
      charts = seen.charts;
      times.push(seen.time);
    }
  }
  const count = await figures(browser, file);
  console.log(`${file}: ${bytes} bytes, ${charts} charts, ${count} figures, opens in ${Math.max(...times)} ms at most`);
}
await browser.close();
problems.forEach((p) => console.error(p));
process.exit(problems.length === 0 ? 0 : 1);
