import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { browsing } from "./browser.js";
import { bundle, snippets } from "./readme.js";
import { eventually, freePort, root } from "./rig.js";
import { rigged } from "./rigged.js";

const port = await freePort();
const origin = `http://127.0.0.1:${port}`;
const t = rigged([origin]);

// The app is the client component of README.md. It counts how often it was loaded.
const app = `
import { createRoot } from "react-dom/client";
import { Billing, Export } from "./billing";
createRoot(document.getElementById("root")!).render(<Billing><Export /></Billing>);
`;

const shared = browsing(
  port,
  async () => {
    await t.started;
    const dir = join(root, "build/page");
    await snippets(dir);
    await writeFile(join(dir, "app.tsx"), app);
    return bundle(join(dir, "app.tsx"), "browser", { NEXT_PUBLIC_ENTITLED_URL: t.rig.url });
  },
  () => t.open(),
);

/** Opens the page as a user, in a browser of its own, or as a tab beside another page. */
async function visit(user: string, beside?: Page): Promise<Page & { loads: number; streams: number }> {
  shared.user = user;
  const context = beside?.context() ?? (await shared.browser.newContext());
  const page = Object.assign(await context.newPage(), { loads: 0, streams: 0 });
  page.on("load", () => page.loads++);
  page.on("request", (request) => {
    if (request.url().endsWith("/stream") && request.method() === "GET") page.streams++;
  });
  await page.goto(origin);
  return page;
}

const sees = (page: Page, selector: string) => page.waitForSelector(selector, { timeout: 120_000 });

test("a page sees a cancellation within a second of the webhook, without a reload", async (tt) => {
  const took: number[] = [];
  // The best of five, since other programs may keep the machine busy.
  for (let i = 0; i < 5 && !took.some((ms) => ms < 1000); i++) {
    const { subscription } = await t.rig.buy(`page ${i}`);
    const page = await visit(`page ${i}`);
    await sees(page, 'button:text("Export 50 projects")');
    const changed = sees(page, 'a:text("Upgrade")');
    const began = performance.now();
    await t.rig.act("cancel", subscription);
    await changed;
    took.push(performance.now() - began);
    assert.equal(page.loads, 1);
    await page.context().close();
  }
  tt.diagnostic(`cancellation seen after ${took.map(Math.round)} ms`);
  assert.ok(
    took.some((ms) => ms < 1000),
    `${took} ms`,
  );
});

test("a page ends a grant at its instant, also without the gateway", async (tt) => {
  const { customer } = await t.rig.buy("page until");
  const page = await visit("page until");
  await sees(page, 'button:text("Export 50 projects")');
  const end = Math.floor(Date.now() / 1000) + 6;
  await t.rig.give(customer, "page until", end);
  await sees(page, 'button:text("Export Infinity projects")');
  await t.rig.gateway.end("SIGKILL");
  await sees(page, 'button:text("Export 50 projects")');
  const late = Date.now() / 1000 - end;
  t.rig.gateway.start();
  await t.rig.answers();
  tt.diagnostic(`${Math.round(late * 1000)} ms after its end`);
  assert.ok(late > -1, `${-late} s early`);
  await page.context().close();
});

test("the gateway is killed and started again: the page recovers by itself", async () => {
  const { subscription } = await t.rig.buy("page kill");
  const page = await visit("page kill");
  await sees(page, "button:enabled");
  await t.rig.gateway.end("SIGKILL");
  await sees(page, "button:disabled");
  await t.rig.act("cancel", subscription);
  t.rig.gateway.start();
  await sees(page, 'a:text("Upgrade")');
  assert.equal(page.loads, 1);
  await page.context().close();
});

test("tabs of one customer share a stream, and one takes over from another", async () => {
  const { subscription } = await t.rig.buy("page tabs");
  const one = await visit("page tabs");
  await sees(one, "button:enabled");
  const two = await visit("page tabs", one);
  await sees(two, "button:enabled");
  const stranger = await visit("page stranger", one);
  await sees(stranger, 'a:text("Upgrade")');
  assert.deepEqual([one.streams, two.streams, stranger.streams], [1, 0, 1]);
  await one.close();
  await eventually("the other tab has the stream", () => two.streams === 1);
  await t.rig.act("cancel", subscription);
  await sees(two, 'a:text("Upgrade")');
  await two.context().close();
});

test("a tab takes the stream from one that has fallen silent", async () => {
  const { subscription } = await t.rig.buy("page silent");
  const one = await visit("page silent");
  await sees(one, "button:enabled");
  shared.user = "page silent";
  const two = Object.assign(await one.context().newPage(), { streams: 0 });
  two.on("request", (request) => {
    if (request.url().endsWith("/stream") && request.method() === "GET") two.streams++;
  });
  await two.clock.install();
  await two.goto(origin);
  await sees(two, "button:enabled");
  assert.equal(two.streams, 0);
  await two.clock.fastForward(46_000);
  await eventually("the other tab has the stream", () => two.streams === 1);
  await t.rig.act("cancel", subscription);
  await sees(two, 'a:text("Upgrade")');
  await sees(one, 'a:text("Upgrade")');
  assert.equal(one.streams, 1);
  await one.context().close();
});
