import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Customer } from "../src/index.js";

/** The directory of the package. This file runs from build/test. */
export const root = fileURLToPath(new URL("../../", import.meta.url));

export const webhookSecret = "whsec_test";
export const serverKey = "0123456789abcdef0123456789abcdef-write";
const tokenSecret = "an-HS256-secret-of-32-bytes-or-so";

const run = promisify(execFile);

/** A free port below those that outgoing connections take, so that a program finds it free again after a restart. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const server = createServer().listen(port, "127.0.0.1");
    const free = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!free) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

/** Waits until check returns a value. The deadline only says when a test fails. */
export async function eventually<T>(about: string, check: () => T | Promise<T>): Promise<NonNullable<T>> {
  let last: unknown;
  for (const end = Date.now() + 120_000; Date.now() < end; ) {
    try {
      const value = await check();
      if (value) return value as NonNullable<T>;
      last = value;
    } catch (e) {
      last = e;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited in vain: ${about}`, { cause: last });
}

/** Resolves when a customer's state satisfies check. */
export function until(customer: Customer, check: (c: Customer) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = customer.onChange(() => look());
    const late = setTimeout(() => {
      end();
      reject(new Error(`waited in vain: ${JSON.stringify(customer.state)}`));
    }, 120_000);
    const look = () => {
      if (!check(customer)) return;
      clearTimeout(late);
      end();
      resolve();
    };
    look();
  });
}

/** A program that was started and can be killed and started again. */
export class Program {
  readonly #name: string;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #log = "";

  constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    [this.#name, this.#args, this.#env] = [name, args, env];
  }

  start(): void {
    const child = spawn(join(root, "build/bin", this.#name), this.#args, {
      env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...this.#env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const out of [child.stdout, child.stderr]) {
      out.on("data", (data: Buffer) => {
        this.#log = (this.#log + data).slice(-20_000);
      });
    }
    this.#child = child;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  get log(): string {
    return `${this.#name}:\n${this.#log}`;
  }
}

const plans = {
  ids: { metadata: "user_id" },
  metadata: ["price", "customer"],
  features: ["view", "export", "api_access"],
  limits: ["seats", "projects"],
  default: { features: ["view"], limits: { projects: 1 } },
  plans: {
    pro: {
      match: { price: "price_pro_monthly" },
      features: ["export", "api_access"],
      limits: { projects: 50, seats: { per_unit: 1 } },
    },
    partner: { features: ["api_access"], limits: { projects: "unlimited" } },
  },
};

/** nats-server, the simulated Stripe, ingest, syncer and gateway: the real programs, each a process. */
export class Rig {
  readonly url: string;
  readonly nats: Program;
  readonly gateway: Program;
  readonly #dir: string;
  readonly #natsURL: string;
  readonly #sim: string;
  readonly #others: readonly Program[];

  private constructor(dir: string, ports: readonly number[], origins: readonly string[]) {
    const [nats, sim, ingest, gateway, ...admin] = ports as [number, number, number, number, ...number[]];
    const at = (port: number | undefined) => `127.0.0.1:${port}`;
    this.#dir = dir;
    this.#natsURL = `nats://${at(nats)}`;
    this.#sim = `http://${at(sim)}`;
    this.url = `http://${at(gateway)}`;
    const NATS_URL = this.#natsURL;
    this.nats = new Program("nats-server", ["-a", "127.0.0.1", "-p", String(nats), "-js", "-sd", join(dir, "nats")]);
    this.gateway = new Program("gateway", [], {
      NATS_URL,
      MODE: "test",
      GATEWAY_KEYS: serverKey,
      GATEWAY_TOKEN_SECRETS: tokenSecret,
      GATEWAY_ORIGINS: origins.join(","),
      LISTEN_ADDR: at(gateway),
      ADMIN_ADDR: at(admin[0]),
    });
    const webhooks = ["--webhook-url", `http://${at(ingest)}/webhooks/stripe`, "--webhook-secret", webhookSecret];
    this.#others = [
      new Program("entitled", ["simulate", "--addr", at(sim), ...webhooks]),
      new Program("ingest", [], {
        NATS_URL,
        STRIPE_WEBHOOK_SECRETS: webhookSecret,
        LISTEN_ADDR: at(ingest),
        ADMIN_ADDR: at(admin[1]),
      }),
      new Program("syncer", [], {
        NATS_URL,
        STRIPE_API_KEY: "sk_test_simulated",
        STRIPE_API_BASE: this.#sim,
        STRIPE_RATE: "200",
        ADMIN_ADDR: at(admin[2]),
      }),
    ];
  }

  /** Starts everything, with a plans document in force. Pages of the origins may ask the gateway. */
  static async start(origins: readonly string[] = []): Promise<Rig> {
    const ports: number[] = [];
    for (let i = 0; i < 7; i++) ports.push(await freePort());
    const rig = new Rig(await mkdtemp(join(tmpdir(), "entitled-")), ports, origins);
    try {
      rig.nats.start();
      await eventually("the streams", () => rig.tool("topology", "apply", "--mode", "test"));
      await rig.plans(plans);
      for (const p of [...rig.#others, rig.gateway]) p.start();
      await rig.answers();
      await eventually("the syncer", async () => (await rig.buy("first")).customer);
      return rig;
    } catch (e) {
      await rig.stop();
      throw new Error(rig.log, { cause: e });
    }
  }

  get log(): string {
    return [this.nats, this.gateway, ...this.#others].map((p) => p.log).join("\n");
  }

  async stop(): Promise<void> {
    await Promise.all([this.nats, this.gateway, ...this.#others].map((p) => p.end("SIGKILL")));
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** Runs the command line. */
  async tool(...args: string[]): Promise<string> {
    const env = { NATS_URL: this.#natsURL, PATH: process.env.PATH ?? "" };
    return (await run(join(root, "build/bin/entitled"), args, { env })).stdout;
  }

  /** Puts a plans document in force. */
  async plans(document: object): Promise<void> {
    const file = join(this.#dir, "plans.json");
    await writeFile(file, JSON.stringify(document));
    await this.tool("plans", "apply", file, "--yes", "--mode", "test");
  }

  /** Changes the default of the plans document. */
  standard(features: readonly string[]): Promise<void> {
    return this.plans({ ...plans, default: { ...plans.default, features } });
  }

  /** Waits until the gateway answers. */
  answers(): Promise<true> {
    return eventually("the gateway", async () => {
      const headers = { authorization: `Bearer ${serverKey}` };
      return (await fetch(`${this.url}/v1/customers/cus_nobody`, { headers })).ok as true;
    });
  }

  /** Asks the simulated Stripe for something. */
  async simulate<T>(path: string, body: object): Promise<T> {
    const response = await fetch(`${this.#sim}/_sim/${path}`, { method: "POST", body: JSON.stringify(body) });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${path}: ${answer}`);
    return JSON.parse(answer) as T;
  }

  /** A user buys pro. */
  async buy(user: string): Promise<{ customer: string; subscription: string }> {
    const bought = await this.simulate<{ customer: string; subscription: string }>("checkout", {
      metadata: { user_id: user },
    });
    await this.known(bought.customer);
    return bought;
  }

  /** Waits until the gateway knows the customer's access. */
  known(customer: string): Promise<unknown> {
    return eventually(`access of ${customer}`, async () => {
      const headers = { authorization: `Bearer ${serverKey}` };
      const response = await fetch(`${this.url}/v1/customers/${customer}`, { headers });
      return ((await response.json()) as { allowed: boolean }).allowed;
    });
  }

  act(what: string, id: string, more: object = {}): Promise<unknown> {
    return this.simulate("act", { do: what, id, ...more });
  }

  /** Gives a customer the plan partner by hand, until a time in unix seconds. */
  give(customer: string, user: string, end: number): Promise<unknown> {
    const metadata = { user_id: user, entitled_plan: "partner", entitled_until: String(end) };
    return this.act("update_customer", customer, { metadata });
  }
}
