import assert from "node:assert/strict";
import { test } from "node:test";
import { toT3 } from "../src/index.js";
import { until } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();

test("a view answers at once and follows changes", async () => {
  const { customer, subscription } = await t.rig.buy("ada");
  const client = t.open();
  const ada = client.customer("ada");
  assert.equal(ada.has("export"), false, "before the first answer");
  await ada.ready();
  assert.equal(client.customer("ada"), ada);
  assert.equal(ada.has("export"), true);
  assert.equal(ada.has("nothing"), false);
  assert.equal(ada.allowed(), true);
  assert.equal(ada.limit("projects"), 50);
  assert.equal(ada.limit("rooms"), 0);
  assert.deepEqual(ada.decide("export"), { allowed: true, reason: "granted", source: subscription, plan: "pro" });
  assert.equal(ada.state.decision?.customer, customer);
  await t.rig.act("cancel", subscription);
  await until(ada, (c) => !c.has("export"));
  assert.deepEqual(ada.decide("export"), { allowed: false, reason: "no_grant" });
  assert.deepEqual(ada.decide("view"), { allowed: true, reason: "default", source: "default" });
  client.close();
  await assert.rejects(ada.ready(), { code: "closed" });
  assert.equal(ada.has("view"), true, "answers from memory when the client is closed");
});

test("questions that are asked once", async () => {
  const client = t.open();
  const { customer, subscription } = await t.rig.buy("bob");
  assert.deepEqual((await client.get("bob")).features, ["api_access", "export", "view"]);
  assert.equal((await client.sync("bob")).customer, customer);
  const t3 = toT3(await client.snapshot(customer));
  assert.ok("subscriptionId" in t3);
  assert.deepEqual(
    { ...t3, currentPeriodStart: typeof t3.currentPeriodStart, currentPeriodEnd: typeof t3.currentPeriodEnd },
    {
      subscriptionId: subscription,
      status: "active",
      priceId: "price_pro_monthly",
      currentPeriodStart: "number",
      currentPeriodEnd: "number",
      cancelAtPeriodEnd: false,
      paymentMethod: { brand: "visa", last4: "4242" },
    },
  );
  await assert.rejects(client.snapshot("cus_nobody"), { name: "EntitledError", code: "no_customer", status: 404 });
  const page = t.open({ token: (await client.token({ id: "bob" })).token });
  assert.equal((await page.get()).customer, customer);
  await assert.rejects(page.get("ada"), { code: "not_yours", status: 403 });
  await assert.rejects(page.customer("ada").ready(), { code: "not_yours" });
  await assert.rejects(t.open({ token: "not a token" }).customer().ready(), { code: "unauthorized", status: 401 });
});
