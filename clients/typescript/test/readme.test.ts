import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import type { Entitled } from "../src/index.js";
import { bundle, snippets } from "./readme.js";
import { root, serverKey } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();
const dir = join(root, "build/readme");

/** What the snippets for a server export. */
interface Server {
  entitled: Entitled;
  exportProject(project: string): Promise<string>;
  POST(): Promise<Response>;
  afterCheckout(customer: string): Promise<boolean>;
  mayExport(user: string): Promise<boolean>;
  picture(): string;
}

const picture = `
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { Billing, Export } from "./billing";
export const picture = () => renderToString(createElement(Billing, null, createElement(Export)));
`;

const user = (id: string) => Object.assign(globalThis, { user: id });

test("the snippets of README.md", async (tt) => {
  const names = await snippets(dir);
  const { customer, subscription } = await t.rig.buy("user_1");
  const { url } = t.rig;
  Object.assign(process.env, { ENTITLED_URL: url, NEXT_PUBLIC_ENTITLED_URL: url, ENTITLED_KEY: serverKey });
  // One bundle, so that they share a client as in an app, and the test can close it.
  const modules = names.filter((name) => name !== "node.ts").map((name) => name.replace(/\.tsx?$/, ""));
  await writeFile(join(dir, "picture.ts"), picture);
  await writeFile(join(dir, "all.ts"), [...modules, "picture"].map((name) => `export * from "./${name}";\n`).join(""));
  const all: Server = await import(await bundle(join(dir, "all.ts"), "node"));
  tt.after(() => all.entitled.close());
  const run: Record<string, () => Promise<void>> = {
    "entitled.ts": async () => {
      assert.equal((await all.entitled.get("user_1")).customer, customer);
    },
    "actions.ts": async () => {
      user("user_1");
      assert.equal(await all.exportProject("p"), "p.csv");
      user("user_2");
      await assert.rejects(all.exportProject("p"), /your plan has no export/);
    },
    "route.ts": async () => {
      user("user_1");
      const page = t.open({ token: await (await all.POST()).text() });
      assert.equal((await page.get()).customer, customer);
    },
    "success.ts": async () => {
      assert.equal(await all.afterCheckout(customer), true);
    },
    "edge.ts": async () => {
      assert.equal(await all.mayExport("user_1"), true);
      assert.equal(await all.mayExport("user_2"), false);
    },
    // page.test.ts shows it in a browser; this is the server's first picture of it.
    "billing.tsx": async () => {
      assert.equal(all.picture(), "<p>…</p>");
    },
    "node.ts": async () => {
      const env = { ...process.env, ENTITLED_URL: t.rig.url, ENTITLED_KEY: serverKey };
      const child = spawn("node", [await bundle(join(dir, "node.ts"), "node")], {
        env,
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(child, "exit");
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      assert.equal((await lines.next()).value, "export, and 50 projects");
      await t.rig.act("cancel", subscription);
      for (let line = ""; line !== "export: false"; ) {
        const { value, done } = await lines.next();
        assert.ok(!done);
        line = value;
      }
      child.kill("SIGTERM");
      assert.deepEqual(await ended, [0, null]);
    },
  };
  assert.deepEqual([...names].sort(), Object.keys(run).sort());
  for (const [name, snippet] of Object.entries(run)) await tt.test(name, snippet);
});
