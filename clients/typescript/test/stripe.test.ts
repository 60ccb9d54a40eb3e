import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { after, before, test } from "node:test";
import Stripe from "stripe";
import { eventually, freePort, Program, webhookSecret } from "./rig.js";

// Stripe's own library against the simulator, as the tests of an app use it: no request of this file knows the
// simulator, apart from its clock and from the forms of its pages.

let simulator: Program;
let hooks: Server;
let base: string;
let stripe: Stripe;
/** The webhooks whose signature the library accepted, oldest first, and what it said of the others. */
const events: Stripe.Event[] = [];
const refused: unknown[] = [];

before(async () => {
  const [port, hook] = [await freePort(), await freePort()];
  hooks = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const signature = request.headers["stripe-signature"] ?? "";
    try {
      events.push(stripe.webhooks.constructEvent(body, signature, webhookSecret));
      const forged = Buffer.from(body.toString().replace('"livemode": false', '"livemode": true'));
      assert.notDeepEqual(forged, body);
      assert.throws(() => stripe.webhooks.constructEvent(forged, signature, webhookSecret), { type: forgery });
      assert.throws(() => stripe.webhooks.constructEvent(body, signature, "whsec_other"), { type: forgery });
    } catch (e) {
      refused.push(e);
    }
    response.end();
  }).listen(hook, "127.0.0.1");
  await once(hooks, "listening");
  base = `http://127.0.0.1:${port}`;
  simulator = new Program("entitled", [
    ...["simulate", "--addr", `127.0.0.1:${port}`, "--speed", "0"],
    ...["--webhook-url", `http://127.0.0.1:${hook}`, "--webhook-secret", webhookSecret],
  ]);
  simulator.start();
  stripe = new Stripe("sk_test_simulated", { host: "127.0.0.1", port, protocol: "http", maxNetworkRetries: 0 });
  await eventually("the simulator", async () => (await fetch(`${base}/_sim/clock`)).ok);
});

after(async () => {
  hooks.close();
  await simulator.end("SIGTERM");
});

const forgery = "StripeSignatureVerificationError";

/** Posts a form of one of the simulator's pages, as a browser does. */
async function press(page: string, form: Record<string, string>): Promise<Response> {
  return fetch(page, { method: "POST", body: new URLSearchParams(form), redirect: "manual" });
}

/** Waits for the next webhook of a type about an object, or for one that the library refuses. */
async function delivered<T extends Stripe.Event["type"]>(type: T, id: string): Promise<Stripe.Event> {
  return eventually(`${type} of ${id}`, () => {
    assert.deepEqual(refused, []);
    return events.find((e) => e.type === type && "id" in e.data.object && e.data.object.id === id);
  });
}

/** A customer who has paid for pro. */
async function buyer(
  email: string,
  quantity: number,
): Promise<{ customer: string; subscription: Stripe.Subscription }> {
  const customer = await stripe.customers.create({ email, metadata: { user_id: email } });
  const [price] = (await stripe.prices.list({ lookup_keys: ["pro_monthly"] })).data;
  assert.ok(price);
  const session = await stripe.checkout.sessions.create({
    mode: "subscription",
    customer: customer.id,
    line_items: [{ price: price.id, quantity }],
    success_url: "https://app.example.com/success?session={CHECKOUT_SESSION_ID}",
    cancel_url: "https://app.example.com/",
  });
  assert.equal(session.status, "open");
  assert.ok(session.url);
  assert.equal((await press(session.url, { card: "0002" })).status, 402, "a declined card");
  assert.equal((await stripe.checkout.sessions.retrieve(session.id)).status, "open");
  const paid = await press(session.url, { card: "4242" });
  assert.equal(paid.status, 303);
  assert.equal(paid.headers.get("location"), `https://app.example.com/success?session=${session.id}`);
  const complete = await stripe.checkout.sessions.retrieve(session.id);
  assert.deepEqual([complete.status, complete.payment_status], ["complete", "paid"]);
  await delivered("checkout.session.completed", session.id);
  return { customer: customer.id, subscription: await stripe.subscriptions.retrieve(complete.subscription as string) };
}

test("stripe-node creates, pays, changes in the portal, and cancels", async () => {
  const { customer, subscription } = await buyer("ada@example.com", 2);
  assert.equal(subscription.status, "active");
  const [item] = subscription.items.data;
  assert.deepEqual([item?.quantity, item?.price.lookup_key], [2, "pro_monthly"]);
  const portal = await stripe.billingPortal.sessions.create({ customer, return_url: "https://app.example.com/" });
  assert.match(await (await fetch(portal.url)).text(), /Pro/);
  const more = { do: "quantity", subscription: subscription.id, item: item?.id ?? "", quantity: "5" };
  assert.equal((await press(portal.url, more)).status, 303);
  const changed = await stripe.subscriptions.list({ customer, expand: ["data.default_payment_method"] });
  assert.equal(changed.data[0]?.items.data[0]?.quantity, 5);
  const card = changed.data[0]?.default_payment_method as Stripe.PaymentMethod;
  assert.equal(card.card?.last4, "4242");
  await delivered("customer.subscription.updated", subscription.id);
  assert.equal((await stripe.subscriptions.cancel(subscription.id)).status, "canceled");
  const deleted = await delivered("customer.subscription.deleted", subscription.id);
  assert.deepEqual((await stripe.events.retrieve(deleted.id)).data.object, deleted.data.object);
  assert.equal((await stripe.customers.del(customer)).deleted, true);
  assert.equal((await stripe.customers.retrieve(customer)).deleted, true);
});

test("the library's errors, and its pages of a list", async () => {
  const key = { idempotencyKey: "one customer" };
  const first = await stripe.customers.create({ email: "bob@example.com" }, key);
  const again = await stripe.customers.create({ email: "bob@example.com" }, key);
  assert.equal(again.id, first.id);
  assert.equal(again.lastResponse.headers["idempotent-replayed"], "true");
  await assert.rejects(stripe.customers.create({ email: "eve@example.com" }, key), { type: "StripeIdempotencyError" });
  const purchase = { mode: "subscription" as const, success_url: "https://app.example.com/" };
  await assert.rejects(
    stripe.checkout.sessions.create({ ...purchase, customer: first.id, line_items: [{ price: "price_none" }] }),
    { type: "StripeInvalidRequestError", code: "resource_missing", param: "line_items[0][price]" },
  );
  await assert.rejects(stripe.subscriptions.retrieve("sub_none"), { code: "resource_missing", statusCode: 404 });
  const stranger = new Stripe("none", { host: "127.0.0.1", port: new URL(base).port, protocol: "http" });
  await assert.rejects(stranger.customers.list(), { type: "StripeAuthenticationError" });

  for (let i = 0; i < 5; i++) await stripe.customers.create({ metadata: { nth: String(i) } });
  const all = await stripe.customers.list({ limit: 2 }).autoPagingToArray({ limit: 100 });
  assert.equal(new Set(all.map((c) => c.id)).size, all.length);
  assert.deepEqual(
    all.slice(0, 5).map((c) => c.metadata.nth),
    ["4", "3", "2", "1", "0"],
  );
  const query = { query: "metadata['nth']:'3'" };
  assert.equal((await stripe.customers.search(query)).data.length, 0, "the search lags a minute");
  await fetch(`${base}/_sim/clock`, { method: "POST", body: JSON.stringify({ advance: "61s" }) });
  assert.deepEqual(
    (await stripe.customers.search(query)).data.map((c) => c.metadata.nth),
    ["3"],
  );
});
