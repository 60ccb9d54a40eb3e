import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();

test("the gateway is killed and started again", async () => {
  const { subscription } = await t.rig.buy("carl");
  const carl = await t.open().customer("carl").ready();
  await t.rig.gateway.end("SIGKILL");
  await until(carl, (c) => c.state.staleSince !== undefined);
  assert.equal(carl.state.error?.code, "unreachable");
  assert.equal(carl.has("export"), true, "answers from memory");
  await t.rig.act("cancel", subscription);
  t.rig.gateway.start();
  await until(carl, (c) => !c.has("export") && !c.state.staleSince && !c.state.error);
});

test("the gateway stops in order and starts again", async () => {
  const dora = await t.open().customer("dora").ready();
  await t.rig.gateway.end("SIGTERM");
  const { subscription } = await t.rig.simulate<{ subscription: string }>("checkout", {
    metadata: { user_id: "dora" },
  });
  assert.ok(subscription);
  t.rig.gateway.start();
  await until(dora, (c) => c.has("export"));
});
