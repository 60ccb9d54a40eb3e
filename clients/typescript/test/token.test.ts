import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, until } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();

test("a token ends", async () => {
  const server = t.open();
  const { subscription } = await t.rig.buy("fred");
  let calls = 0;
  const page = t.open({
    token: async () => {
      calls++;
      return (await server.token({ id: "fred", ttl: 6 })).token;
    },
  });
  const fred = await page.customer().ready();
  assert.equal(calls, 1);
  const trouble: unknown[] = [];
  fred.onChange(({ staleSince, error }) => {
    if (staleSince || error) trouble.push(staleSince, error);
  });
  await eventually("a second token", () => calls >= 2);
  await t.rig.act("cancel", subscription);
  await until(fred, (c) => !c.has("export"));
  assert.deepEqual(trouble, []);
});

test("a token ends, and there is no other", async () => {
  const { token } = await t.open().token({ id: "fred", ttl: 2 });
  const fred = await t.open({ token }).customer().ready();
  await until(fred, (c) => c.state.error?.code === "token_expired");
  await until(fred, (c) => c.state.staleSince !== undefined);
  assert.equal(fred.has("view"), true);
});

test("another user logs in", async () => {
  const server = t.open();
  await t.rig.buy("gina");
  let user = "gina";
  const page = t.open({ token: async () => (await server.token({ id: user })).token });
  const me = await page.customer().ready();
  assert.equal(me.has("export"), true);
  const seen: boolean[] = [];
  me.onChange(() => seen.push(me.has("export")));
  user = "nobody";
  page.reset();
  assert.equal(me.has("export"), false, "at once");
  await me.ready();
  assert.equal(me.state.decision?.id, "nobody");
  assert.ok(!seen.includes(true));
});
