import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature } from "@openfeature/server-sdk";
import type { Page } from "playwright-core";
import { browsing } from "./browser.js";
import { bundle } from "./readme.js";
import { eventually, freePort, root, serverKey } from "./rig.js";
import { rigged } from "./rigged.js";

const port = await freePort();
const origin = `http://127.0.0.1:${port}`;
const t = rigged([origin]);

// The provider's mode is in the page's address.
const app = `
import { createRoot } from "react-dom/client";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, OpenFeatureProvider, useBooleanFlagValue, useNumberFlagValue } from "@openfeature/react-sdk";
const token = fetch("/api/entitled", { method: "POST" }).then((r) => r.text());
const options = Object.fromEntries(new URLSearchParams(location.search));
const provider = new OFREPWebProvider({
  baseUrl: process.env.GATEWAY!,
  headersFactory: async () => [["authorization", "Bearer " + (await token)]],
  cacheKeyGenerator: ({ targetingKey }) => String(targetingKey),
  ...options,
  pollInterval: Number(options.pollInterval ?? 0),
});
OpenFeature.setContext({ targetingKey: "me" });
OpenFeature.setProvider(provider);
function App() {
  return <p>{useBooleanFlagValue("export", false) ? "yes" : "no"} {useNumberFlagValue("limit.projects", 0)}</p>;
}
createRoot(document.getElementById("root")!).render(
  <OpenFeatureProvider suspendUntilReady={false}><App /></OpenFeatureProvider>);
`;

const shared = browsing(
  port,
  async () => {
    await t.started;
    const dir = join(root, "build/ofrep");
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, "app.tsx"), app);
    return bundle(join(dir, "app.tsx"), "browser", { GATEWAY: t.rig.url });
  },
  () => t.open(),
);

async function visit(user: string, query: string): Promise<Page> {
  shared.user = user;
  const page = await (await shared.browser.newContext()).newPage();
  await page.goto(`${origin}/?${query}`);
  return page;
}

const sees = (page: Page, text: string) => page.waitForSelector(`p:text("${text}")`, { timeout: 120_000 });

/** Waits until the page has stored an answer. */
const stored = (page: Page) => eventually("a stored answer", () => page.evaluate("localStorage.length > 0"));

test("@openfeature/ofrep-provider on Node asks for every answer", async () => {
  const { customer, subscription } = await t.rig.buy("flags");
  const headers = { authorization: `Bearer ${serverKey}` };
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: t.rig.url, headers }));
  const flags = OpenFeature.getClient();
  const context = { targetingKey: "flags" };
  assert.equal(await flags.getBooleanValue("export", false, context), true);
  assert.equal(await flags.getBooleanValue("nothing", true, context), false, "an unknown feature is not the default");
  assert.equal(await flags.getNumberValue("limit.projects", 0, context), 50);
  assert.deepEqual(await flags.getObjectValue("plans", {}, context), { pro: true });
  const details = await flags.getBooleanDetails("export", false, { targetingKey: customer });
  assert.equal(details.reason, "TARGETING_MATCH");
  assert.equal(details.flagMetadata.plan, "pro");
  assert.equal((await flags.getBooleanDetails("export", false)).errorCode, "TARGETING_KEY_MISSING");
  await t.rig.act("cancel", subscription);
  await eventually("the cancellation", async () => !(await flags.getBooleanValue("export", true, context)));
  await t.rig.gateway.end("SIGKILL");
  assert.equal(await flags.getBooleanValue("export", false, context), false, "the default without the gateway");
  t.rig.gateway.start();
  await t.rig.answers();
  await OpenFeature.close();
});

test("@openfeature/ofrep-web-provider follows by polling", async () => {
  const { subscription } = await t.rig.buy("poller");
  const page = await visit("poller", "cacheMode=disabled&pollInterval=200");
  await sees(page, "yes 50");
  await t.rig.act("cancel", subscription);
  await sees(page, "no 1");
  assert.equal(await page.evaluate("localStorage.length"), 0);
  await page.context().close();
});

test("@openfeature/ofrep-web-provider serves its localStorage first, unless that is off", async () => {
  const { subscription } = await t.rig.buy("former");
  const pages: Record<string, Page> = {};
  for (const mode of ["local-cache-first", "network-first", "disabled"]) {
    const page = await visit("former", `cacheMode=${mode}`);
    await sees(page, "yes 50");
    if (mode !== "disabled") await stored(page);
    pages[mode] = page;
  }
  await t.rig.act("cancel", subscription);
  await eventually("the cancellation", async () => !(await t.open().get("former")).allowed);
  // Pages that cannot reach the gateway show what they stored, if they did.
  const cut = async (page: Page, text: string) => {
    await page.context().route(`${t.rig.url}/**`, (route) => route.abort());
    await page.reload();
    await sees(page, text);
    await page.context().unroute(`${t.rig.url}/**`);
    await page.reload();
    await sees(page, "no 1");
    await page.context().close();
  };
  for (const [mode, text] of [
    ["local-cache-first", "yes 50"],
    ["network-first", "yes 50"],
    ["disabled", "no 0"],
  ] as const) {
    await cut(pages[mode] as Page, text);
  }
});
