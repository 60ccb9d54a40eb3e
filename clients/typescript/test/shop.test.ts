import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { root } from "./rig.js";

const copy = join(root, "../../examples/shop/static/entitled");

test("the example shop has what is built: cp dist/*.js ../../examples/shop/static/entitled, without react.js", () => {
  const built = readdirSync(join(root, "dist")).filter((name) => name.endsWith(".js") && name !== "react.js");
  assert.deepEqual(readdirSync(copy).sort(), built.sort());
  for (const name of built) {
    assert.equal(readFileSync(join(copy, name), "utf8"), readFileSync(join(root, "dist", name), "utf8"), name);
  }
});
