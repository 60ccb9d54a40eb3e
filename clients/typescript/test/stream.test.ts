import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Decision, Entitled } from "../src/index.js";
import { until } from "./rig.js";

const decision = (features: string[]): Decision => ({
  customer: "cus_1",
  known: true,
  allowed: true,
  status: "active",
  plans: [],
  features,
  limits: {},
  grants: [{ source: "sub_1", features }],
  revision: 1,
});

const event = (d: Decision, end = "\n"): string =>
  [": ", "retry: 1", "", "event: entitlements", "id: 1", `data: ${JSON.stringify(d)}`, "", ""].join(end);

type Answer = (controller: ReadableStreamDefaultController<Uint8Array>) => void;

/** A client of a gateway that gives each connection the next answer. */
function client(t: TestContext, ...answers: (Answer | Response)[]): { entitled: Entitled; connections: () => number } {
  let n = 0;
  const entitled = new Entitled({
    url: "http://gateway/",
    key: "key",
    fetch: (_, init) => {
      const answer = answers[Math.min(n++, answers.length - 1)] as Answer | Response;
      if (answer instanceof Response) return Promise.resolve(answer.clone());
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
          answer(controller);
        },
      });
      return Promise.resolve(new Response(body, { headers: { date: new Date(Date.now()).toUTCString() } }));
    },
  });
  t.after(() => entitled.close());
  return { entitled, connections: () => n };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const says =
  (text: string): Answer =>
  (c) =>
    c.enqueue(bytes(text));

for (const [name, end] of [
  ["a line feed", "\n"],
  ["a carriage return and a line feed", "\r\n"],
] as const) {
  test(`events that arrive byte by byte, with ${name}`, async (t) => {
    const { entitled } = client(t, (c) => {
      for (const byte of bytes(event(decision(["é"]), end) + event(decision(["ü"]), end)))
        c.enqueue(Uint8Array.of(byte));
    });
    const view = await entitled.customer("cus_1").ready();
    await until(view, (c) => c.has("ü") && !c.has("é"));
  });
}

test("a stream that falls silent is opened again", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { entitled, connections } = client(t, says(event(decision(["a"]))), says(event(decision(["b"]))));
  const view = entitled.customer("cus_1");
  await view.ready();
  const changed = new Promise<void>((resolve) => {
    view.onChange(() => view.has("b") && resolve());
  });
  t.mock.timers.tick(44_999);
  assert.equal(connections(), 1);
  t.mock.timers.tick(1);
  const ticking = setInterval(() => t.mock.timers.tick(1000), 1); // the pause before the next attempt
  await changed;
  clearInterval(ticking);
  assert.equal(connections(), 2);
});

test("a computer that slept asks again for the time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] }); // no other reason to connect
  const { entitled, connections } = client(t, says(event(decision(["a"]))));
  const view = await entitled.customer("cus_1").ready();
  const right = Date.now;
  t.mock.method(Date, "now", () => right() + 3_600_000);
  assert.ok(entitled.now() > right() / 1000 + 3500, "the larger time has passed");
  view.has("a");
  await until(view, () => connections() === 2 && view.state.decision !== undefined);
  assert.equal(view.state.error, undefined);
});

test("after a 403 nothing is known of the customer", async (t) => {
  const refusal = Response.json({ error: "not_yours", message: "…" }, { status: 403 });
  const { entitled } = client(
    t,
    (c) => {
      says(event(decision(["a"])))(c);
      c.close();
    },
    refusal,
  );
  const view = await entitled.customer("cus_1").ready();
  await until(view, (c) => c.state.error?.code === "not_yours");
  assert.equal(view.has("a"), false);
});

test("the gateway's Retry-After is kept", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const full = Response.json({ error: "full", message: "…" }, { status: 503, headers: { "retry-after": "20" } });
  const { entitled, connections } = client(t, full, says(event(decision(["a"]))));
  const view = entitled.customer("cus_1");
  const ready = view.ready();
  await new Promise<void>((resolve) => {
    view.onChange(({ error }) => error?.code === "full" && resolve());
  });
  await new Promise(setImmediate);
  t.mock.timers.tick(19_999);
  await new Promise(setImmediate);
  assert.equal(connections(), 1);
  t.mock.timers.tick(1);
  await ready;
  assert.equal(connections(), 2);
});
