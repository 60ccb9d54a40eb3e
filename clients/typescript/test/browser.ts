import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { after, before } from "node:test";
import { type Browser, chromium } from "playwright-core";
import type { Entitled } from "../src/index.js";

/** Serves an app on a port, and opens a browser. POST /api/entitled gives the pages tokens of the user. */
export function browsing(
  port: number,
  app: () => Promise<string>,
  tokens: () => Entitled,
): { user: string; browser: Browser } {
  const shared = { user: "nobody" } as { user: string; browser: Browser };
  let script = "";
  const server = createServer((request, response) => {
    if (request.url === "/api/entitled") {
      tokens()
        .token({ id: shared.user, ttl: 600 })
        .then(({ token }) => response.end(token))
        .catch(() => response.writeHead(500).end());
    } else if (request.url === "/app.js") {
      response.setHeader("content-type", "text/javascript");
      createReadStream(script).pipe(response);
    } else {
      response.setHeader("content-type", "text/html");
      response.end('<!doctype html><div id="root"></div><script type="module" src="/app.js"></script>');
    }
  });
  before(async () => {
    script = await app();
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    shared.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
  });
  after(async () => {
    await shared.browser?.close();
    server.closeAllConnections();
    server.close();
  });
  return shared;
}
