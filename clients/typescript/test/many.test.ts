import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();

test("1,000 live views", async () => {
  const client = t.open();
  const views = Array.from({ length: 1000 }, (_, i) => client.customer(`many ${i}`));
  await Promise.all(views.map((v) => v.ready()));
  assert.ok(views.every((v) => v.has("view") && !v.has("export")));
  await t.rig.standard(["view", "export"]);
  await Promise.all(views.map((v) => until(v, (c) => c.has("export"))));
  await t.rig.gateway.end("SIGKILL");
  t.rig.gateway.start();
  await t.rig.standard(["view"]);
  await Promise.all(views.map((v) => until(v, (c) => !c.has("export") && !c.state.error)));

  // One more closes the least used, which comes back when it is used.
  const [first, second] = views as [(typeof views)[0], (typeof views)[0]];
  for (const v of [...views.slice(1), first]) v.has("view");
  await client.customer("one more").ready();
  assert.equal(first.state.staleSince, undefined);
  assert.notEqual(second.state.staleSince, undefined);
  await second.ready();
  assert.equal(second.state.staleSince, undefined);
});
