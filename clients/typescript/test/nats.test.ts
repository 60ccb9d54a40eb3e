import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();

test("NATS is away", async () => {
  const { subscription } = await t.rig.buy("emil");
  const emil = await t.open().customer("emil").ready();
  await t.rig.nats.end("SIGKILL");
  await until(emil, (c) => c.state.staleSince !== undefined);
  assert.equal(emil.state.error, undefined, "the gateway itself says that it is stale");
  assert.equal(emil.has("export"), true);
  t.rig.nats.start();
  await until(emil, (c) => !c.state.staleSince);
  await t.rig.act("cancel", subscription);
  await until(emil, (c) => !c.has("export"));
});
