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
  const covered = await page.evaluate(() =>
    [...document.querySelectorAll(".plot > svg")].flatMap((plot) => {
      const texts = [...plot.querySelectorAll(".mark-label")].map((t) => [t.textContent, t.getBoundingClientRect()]);
      const meets = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
      return texts.flatMap(([text, box], i) => texts.slice(0, i).filter(([, other]) => meets(box, other)).map(([other]) => `${text} and ${other}`));
    }),
  );
  covered.forEach((pair) => complain(`labels cover each other: ${pair}`));
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
    await page.screenshot({ path: path.join(shots, `${nameOf(file)}-${size}-${scheme}.png`), fullPage: true });
  }
  await page.close();
  return { charts, time };
}

/// Charts that a page about this report must have.
function wanted(report) {
  const has = (condition, ...names) => (condition ? names : []);
  return [
    "summary", "layers", "roofline", "graph", "lanes", "timeline", "memory", "resources", "energy", "provenance",
    ...has(report.accuracy.int8, "accuracy"),
    ...has(report.budget, "budgets"),
    ...has(report.verification, "verification"),
    ...has(report.pruning.length > 0, "decisions"),
    ...has(report.measurements.length > 0, "measured"),
  ];
}

/// On paper: nothing is cut off at the side, nothing is dark, and what only a screen can do is not there.
async function paper(browser, file) {
  const complain = (what) => problems.push(`${file} (paper): ${what}`);
  const page = await browser.newPage({ viewport: { width: 794, height: 1123 }, colorScheme: "dark" });
  await page.goto(pathToFileURL(file).href);
  await page.click(".theme");
  await page.click(".theme");
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  const seen = await page.evaluate(() => ({
    width: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    tools: [...document.querySelectorAll("button")].filter((b) => b.getBoundingClientRect().height > 0).length,
  }));
  if (seen.width > 794) complain(`is ${seen.width} pixels wide`);
  if (seen.background !== "rgb(255, 255, 255)") complain(`its background is ${seen.background}`);
  if (seen.tools > 0) complain(`shows ${seen.tools} buttons`);
  if (shots) await page.pdf({ path: path.join(shots, `${nameOf(file)}.pdf`), format: "A4", printBackground: true });
  await page.close();
}

function nameOf(file) {
  return `${path.basename(path.dirname(file))}-${path.basename(file, ".html")}`;
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
  const charts = await page.$$eval("[data-chart]", (all) => all.map((c) => c.dataset.chart));
  if (path.basename(file) === "report.html") {
    wanted(report).filter((name) => !charts.includes(name)).forEach((name) => problems.push(`${file}: no chart '${name}'`));
  }
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

/// `ESPALIER_BROWSER`, else `chromium` of the search path.
function chromiumPath() {
  if (process.env.ESPALIER_BROWSER) return process.env.ESPALIER_BROWSER;
  const found = (process.env.PATH ?? "").split(path.delimiter).map((folder) => path.join(folder, "chromium")).find(existsSync);
  return found ?? "/usr/bin/chromium";
}

const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
const browser = await chromium.launch({
  executablePath: chromiumPath(),
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
  // The quickest of four: a machine that is busy with other things is not the page's fault.
  if (Math.min(...times) > MAX_MILLISECONDS) problems.push(`${file}: opens in ${Math.min(...times)} ms`);
  await paper(browser, file);
  const count = await figures(browser, file);
  console.log(`${file}: ${bytes} bytes, ${charts} charts, ${count} figures, opens in ${Math.min(...times)} to ${Math.max(...times)} ms`);
}
await browser.close();
problems.forEach((p) => console.error(p));
process.exit(problems.length === 0 ? 0 : 1);
