import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { root } from "./rig.js";

const run = promisify(execFile);

/** The program of a snippet's app that knows who has logged in. */
const auth = `export const auth = async (): Promise<{ id: string }> => ({ id: (globalThis as any).user ?? "nobody" });`;

/** Writes the snippets of README.md to a directory, checks their types, and returns their names. */
export async function snippets(dir: string): Promise<string[]> {
  await mkdir(dir, { recursive: true });
  const text = await readFile(join(root, "README.md"), "utf8");
  const files = [...text.matchAll(/^```tsx? title="([\w.]+)"\n(.*?)^```/gms)].map(([, name, code]) => ({ name, code }));
  const other = [...text.matchAll(/^```tsx?$/gm)];
  if (other.length > 0) throw new Error("README.md has a snippet without a title, which no test would run");
  for (const { name, code } of files) await writeFile(join(dir, name as string), code as string);
  await writeFile(join(dir, "auth.ts"), auth);
  const compilerOptions = {
    strict: true,
    target: "ES2022",
    module: "ESNext",
    moduleResolution: "bundler",
    jsx: "react-jsx",
    noEmit: true,
    types: ["node"],
    skipLibCheck: true,
  };
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts", "*.tsx"] }));
  await run(join(root, "node_modules/.bin/tsc"), ["-p", dir]).catch((e: { stdout: string }) => {
    throw new Error(`a snippet of README.md has wrong types:\n${e.stdout}`);
  });
  return files.map(({ name }) => name as string);
}

/** Bundles a program, for Node or for a page. */
export async function bundle(
  entry: string,
  platform: "node" | "browser",
  env: Record<string, string> = {},
): Promise<string> {
  const define = Object.fromEntries(Object.entries(env).map(([k, v]) => [`process.env.${k}`, JSON.stringify(v)]));
  const outfile = `${entry.replace(/\.tsx?$/, "")}.${platform}.mjs`;
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    define: { ...define, "process.env.NODE_ENV": '"production"' },
    logLevel: "error",
    ...(platform === "node" && {
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    }),
  });
  return outfile;
}
