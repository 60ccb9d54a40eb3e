import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { allowed, type Customers, decide, type Evidence, has, limit, limitKnown, type Snapshot } from "../src/index.js";
import { root } from "./rig.js";

interface Case {
  name: string;
  snapshots: Snapshot[];
  default?: Customers["default"];
  now: number;
  questions: { ask: [string, string]; answer: unknown }[];
}

const dir = join(root, "../../testdata/decisions");
let cases = 0;

for (const file of readdirSync(dir).filter((name) => name.endsWith(".json"))) {
  const { cases: all } = JSON.parse(readFileSync(join(dir, file), "utf8")) as { cases: Case[] };
  for (const c of all) {
    cases++;
    test(`${file}/${c.name}`, () => {
      assert.notEqual(c.questions.length, 0);
      const standard = c.default && { default: c.default };
      check(c, { snapshots: c.snapshots, ...standard });
      check(c, { snapshots: [...c.snapshots].reverse(), ...standard });
      const [only] = c.snapshots;
      if (only && c.snapshots.length === 1) check(c, only);
    });
  }
}

test("all cases were read", () => assert.ok(cases >= 60, `${cases} cases`));

test("a snapshot of a newer schema is refused", () =>
  assert.throws(() => has({ schema: 2, customer: "cus_1", grants: [] }, "export"), { code: "schema" }));

function check({ questions, now }: Case, of: Evidence): void {
  for (const { ask, answer } of questions) {
    const [kind, name] = ask;
    switch (kind) {
      case "allowed":
        assert.equal(allowed(of, now), answer);
        break;
      case "feature":
        assert.deepEqual(decide(of, name, now), answer, name);
        assert.equal(has(of, name, now), (answer as { allowed: boolean }).allowed, name);
        break;
      case "limit": {
        const value = limit(of, name, now);
        const got = {
          value: value === Number.POSITIVE_INFINITY ? "unlimited" : value,
          known: limitKnown(of, name, now),
        };
        assert.deepEqual(got, answer, name);
        break;
      }
      default:
        assert.fail(`no question: ${ask}`);
    }
  }
}
