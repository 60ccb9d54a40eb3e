import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./rig.js";
import { rigged } from "./rigged.js";

const t = rigged();

for (const hours of [1, -1]) {
  test(`the local clock is wrong by ${hours} h`, async () => {
    const user = `hugo ${hours}`;
    const { customer } = await t.rig.buy(user);
    const end = Math.floor(Date.now() / 1000) + 7;
    await t.rig.give(customer, user, end);
    const right = Date.now;
    Date.now = () => right() + hours * 3_600_000;
    try {
      const hugo = await t.open().customer(user).ready();
      await until(hugo, (c) => c.limit("projects") === Number.POSITIVE_INFINITY);
      // Nobody but the client is there to end the grant.
      await t.rig.gateway.end("SIGKILL");
      assert.ok(right() / 1000 < end - 1.5, "the test was too slow to see anything");
      assert.equal(hugo.limit("projects"), Number.POSITIVE_INFINITY);
      let last = 0;
      await until(hugo, (c) => {
        if (c.limit("projects") === 50) return true;
        last = right() / 1000;
        return false;
      });
      assert.ok(right() / 1000 > end - 1, `ended ${end - right() / 1000} s early`);
      assert.ok(last < end + 1, "lasted too long");
    } finally {
      Date.now = right;
      t.rig.gateway.start();
      await t.rig.answers();
    }
  });
}
