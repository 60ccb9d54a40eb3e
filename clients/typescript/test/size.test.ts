import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { root } from "./rig.js";

/** The bytes of a program, bundled, minified and compressed. */
async function size(program: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: root },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external: ["react"],
    write: false,
  });
  return gzipSync(outputFiles[0]?.contents ?? "").length;
}

for (const [program, most] of [
  ['export * from "@entitled/client"', 6000],
  ['export * from "@entitled/client"; export * from "@entitled/client/react"', 6600],
  ['export { has } from "@entitled/client"', 800],
] as const) {
  test(`${program}: at most ${most} bytes`, async (t) => {
    const bytes = await size(program);
    t.diagnostic(`${bytes} bytes`);
    assert.ok(bytes <= most, `${bytes} bytes`);
  });
}

test("the package has no dependency", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
});
