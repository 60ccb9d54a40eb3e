import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { root } from "./rig.js";

const run = promisify(execFile);

const program = `
import { Entitled, has, type Decision } from "@entitled/client";
const d: Decision = { customer: "cus_1", known: true, allowed: true, status: "active", plans: [], features: ["export"],
  limits: {}, grants: [{ source: "sub_1", features: ["export"] }], revision: 1 };
const client = new Entitled({ url: "http://127.0.0.1:1", key: "none" });
console.log(has(d, "export"), has(d, "sso"), client.customer("cus_1").has("export"));
client.close();
`;

test("the package works from an empty project", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "entitled-pack-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  // In a copy: it builds again, and other tests use what was built.
  const repository = await mkdtemp(join(tmpdir(), "entitled-copy-"));
  t.after(() => rm(repository, { recursive: true, force: true }));
  const copy = join(repository, "clients", "typescript");
  await cp(root, copy, {
    recursive: true,
    filter: (path) => !["node_modules", "build", "dist"].includes(basename(path)),
  });
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
  await cp(join(root, "../../LICENSE"), join(repository, "LICENSE"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", dir], { cwd: copy });
  const listed: unknown = JSON.parse(stdout.slice(stdout.search(/^[[{]/m)));
  const [packed] = Object.values(listed as Record<string, { filename: string; files: { path: string }[] }>);
  assert.ok(packed);
  const paths = packed.files.map((f) => f.path);
  for (const path of ["LICENSE", "README.md", "dist/index.js", "dist/index.d.ts", "dist/react.js", "dist/react.d.ts"]) {
    assert.ok(paths.includes(path), path);
  }
  assert.deepEqual(
    paths.filter((path) => !/^(dist\/\w+\.(js|d\.ts)|LICENSE|README\.md|package\.json)$/.test(path)),
    [],
  );
  await writeFile(join(dir, "package.json"), '{"type":"module"}');
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(dir, packed.filename)], { cwd: dir });
  await writeFile(join(dir, "index.ts"), program);
  await run(join(root, "node_modules/.bin/tsc"), ["--strict", "--module", "nodenext", "--types", "", "index.ts"], {
    cwd: dir,
  });
  assert.equal((await run("node", ["index.js"], { cwd: dir })).stdout, "true false false\n");
});
