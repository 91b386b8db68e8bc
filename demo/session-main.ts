import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { SystemClock, SystemRandom } from "#core";

// One process: what the demo's session is with, or, where there is no curl, who has it.
//   serve     answers each request, a piece at a time, until its standard input ends; says its port, and at the end what it sent last
//   get URL   writes what it gets to its standard output

const clock = new SystemClock();
const random = new SystemRandom();
const PIECE = { bytes: 8 * 1024, everyMs: 100 };

async function serve(): Promise<void> {
  const ended = once(process.stdin.resume(), "end");
  const over = { is: false };
  let last = Promise.resolve({ bytes: 0, sha256: "" });
  const server = createServer((_, response) => {
    const send = async (): Promise<{ bytes: number; sha256: string }> => {
      const hash = createHash("sha256");
      let bytes = 0;
      for (; !over.is && !response.destroyed; await clock.sleep(PIECE.everyMs)) {
        const piece = random.bytes(PIECE.bytes);
        hash.update(piece);
        bytes += piece.length;
        response.write(piece);
      }
      response.end();
      return { bytes, sha256: hash.digest("hex") };
    };
    last = send();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
  await ended;
  over.is = true;
  process.stdout.write(`${JSON.stringify(await last)}\n`);
  server.close();
}

async function get(url: string): Promise<void> {
  for await (const piece of (await fetch(url)).body ?? []) process.stdout.write(piece as Uint8Array);
}

process.on("SIGINT", () => undefined); // as the links: the demo decides when this stops
const [mode, url = ""] = process.argv.slice(2);
await (mode === "serve" ? serve() : get(url));
