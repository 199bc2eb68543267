/** The demo page in a real browser: AGEDETECT_BROWSER is its program, /usr/bin/chromium by default. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { chromium } from "playwright-core";

import { FOLDER, GOLDEN, MODEL, read } from "./golden.js";
import { serve } from "./serve.js";

const program = process.env["AGEDETECT_BROWSER"] ?? "/usr/bin/chromium";
if (!existsSync(program)) throw new Error(`${program}: no such program; install Chromium or set AGEDETECT_BROWSER`);

const profile = await mkdtemp(join(tmpdir(), "agedetect-browser-"));
const { server, url } = await serve(MODEL);
const context = await chromium.launchPersistentContext(profile, {
  executablePath: program,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
  viewport: { width: 720, height: 640 },
});
const page = await context.newPage();
const errors: string[] = [];
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(url);
await page.getByText("Ready.").waitFor();

after(async () => {
  await context.close();
  server.close();
  await rm(profile, { recursive: true, force: true });
});

/** Drops bytes on the page as a person would a file. */
async function drop(name: string, bytes: Uint8Array): Promise<void> {
  const transfer = await page.evaluateHandle(
    ([file, text]) => {
      const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      const dropped = new DataTransfer();
      dropped.items.add(new File([data], file));
      return dropped;
    },
    [name, Buffer.from(bytes).toString("base64")] as const,
  );
  await page.locator("output").evaluate((element) => delete element.dataset["estimate"]);
  await page.dispatchEvent("#drop", "drop", { dataTransfer: transfer });
}

for (const vector of GOLDEN.vectors) {
  test(`${vector.picture}, dropped on the page, gets its age`, async () => {
    await drop(vector.picture, read(vector.picture));
    const output = page.locator("output[data-estimate]");
    await output.waitFor();
    const estimate = JSON.parse((await output.getAttribute("data-estimate"))!) as Record<string, number>;
    for (const name of ["age", "low", "high"] as const) {
      const difference = Math.abs(estimate[name]! - vector[name]);
      assert.ok(difference <= GOLDEN.tolerance_years, `${name}: ${estimate[name]} is not ${vector[name]}`);
    }
    const text = (await output.textContent())!;
    const [age, low, high] = [vector.age, vector.low, vector.high].map((years) => years.toFixed(1));
    assert.equal(text, `${age} years90% interval: ${low} to ${high} years`);
  });
}

test("the page shows a face with its age", async () => {
  const vector = GOLDEN.vectors[0]!;
  await page.locator("input").setInputFiles(join(FOLDER, vector.picture));
  await page.locator("img").evaluate((image: HTMLImageElement) => image.decode());
  await page.getByText(`${vector.age.toFixed(1)} years`).waitFor();
  const place = process.env["AGEDETECT_SCREENSHOT"];
  if (place) await page.screenshot({ path: place });
});

test("what is no picture is refused with its name", async () => {
  await drop("notes.txt", new TextEncoder().encode("no picture"));
  await page.locator("output.error").waitFor();
  assert.match((await page.locator("output").textContent())!, /^notes\.txt: /);
  assert.deepEqual(errors, []);
});
