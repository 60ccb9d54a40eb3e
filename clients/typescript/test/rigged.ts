import { after, before } from "node:test";
import { Entitled, type Options } from "../src/index.js";
import { Rig, serverKey } from "./rig.js";

/** Starts a rig for the tests of a file. */
export function rigged(origins?: readonly string[]): {
  readonly rig: Rig;
  /** Resolves once the rig has started. */
  readonly started: Promise<unknown>;
  /** Makes a client with a server key, unless options give a token. */
  open(options?: Partial<Options>): Entitled;
} {
  let rig: Rig | undefined;
  const clients: Entitled[] = [];
  const get = (): Rig => {
    if (!rig) throw new Error("the rig has not started");
    return rig;
  };
  const started = Rig.start(origins).then((r) => {
    rig = r;
  });
  started.catch(() => {}); // the hook reports it
  before(() => started);
  after(async () => {
    for (const client of clients) client.close();
    await rig?.stop();
  });
  return {
    get rig() {
      return get();
    },
    started,
    open(options = {}) {
      const client = new Entitled({ url: get().url, ...(options.token ? {} : { key: serverKey }), ...options });
      clients.push(client);
      return client;
    },
  };
}
