import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type ByteStream,
  decodeCbor,
  encodeCbor,
  encodeFrame,
  memoryStreamPair,
  SeededRandom,
  SILENT_LOG,
  SystemClock,
} from "#core";
import { MemoryNet, startSwarm, Store } from "#artifacts";
import { nodeIdOf } from "../../../src/identity/node-id.ts";
import { testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const KIB = 1024;
const [SELF, PEER] = [nodeIdOf(testKey(50).publicKey), nodeIdOf(testKey(51).publicKey)];
const CONTENT = Buffer.alloc(600 * KIB, "portolan ");
/** The root of what the node wants and nobody has. */
const WANTED = Buffer.alloc(32, 7);
const never = new AbortController().signal;
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Everything a member may say on a swarm stream, to a node that serves one blob and wants another: `[header, payload bytes]…`. */
export const SWARM_TARGET: FuzzTarget = {
  name: "swarm-stream",
  covers: ["src/artifacts/link.ts#Link", "src/artifacts/swarm-service.ts", "src/artifacts/participation.ts"],
  grammar: "cbor",
  maxBytes: 4 * KIB,
  seeds: () => {
    const served = Buffer.alloc(32, 1); // stands for the root of what is served
    const joined = [[[0, 0, served, CONTENT.length, 1, []], 0]];
    const wanted = [[[0, 1, WANTED, CONTENT.length, 0, ["hamburg"]], 0]];
    return [
      [...joined, [[15, 0, 0, 3], 0], [[7, 0, 0], 0], [[7, 0, 1], 0], [[14, 65_664], 0], [[11, 0, 1], 0]],
      [...wanted, [[3, 1, [0, 3]], 0], [[16, 1, 0], 96], [[6, 1, 0], 0], [[13, 1, 0, 0, 1, 1], 65_664]],
      [...wanted, [[4, 1, [0, 2], 1], 0], [[5, 1, [1, 1]], 0], [[9, 1], 0], [[10, 1, 2], 0], [[12, 1, 0], 0]],
      [...joined, ...wanted, [[2, 0, 2, ["x"]], 0], [[8, 0, 0, 1], 0], [[17, 0, [PEER]], 0], [[1, served], 0]],
    ].map(encodeCbor);
  },
  refuses: ["core.cbor", "core.cbor-encode"],
  prepare: async () => {
    const { accept, store, root } = await serving();
    return async (input) => {
      const said = decodeCbor(input, 64 * KIB);
      const [stream, theirs] = memoryStreamPair();
      accept(theirs, PEER);
      let how = "goes on";
      stream.listen({ data: () => undefined, end: (error) => (how = error === undefined ? "closed" : "cut off") });
      try {
        for (const one of Array.isArray(said) ? (said as unknown[]) : []) {
          const [header, bytes] = Array.isArray(one) ? (one as unknown[]) : [];
          const size = typeof bytes === "number" ? Math.min(Math.max(0, Math.floor(bytes)), 260 * KIB) : 0;
          stream.send(...encodeFrame(withRoot(header, root), size === 0 ? [] : [PAYLOAD.subarray(0, size)]));
          await turn();
        }
        for (let at = 0; at < 3; at++) await turn();
        stream.abort(new Error("done"));
      } catch {
        // it was cut off while it spoke
      }
      await turn();
      mustHold(store.stateOf(root) === "whole", "what was whole is so no more");
      mustHold(store.stateOf(WANTED.toString("hex")) !== "whole", "wrong bytes are whole");
      return how;
    };
  },
};
const PAYLOAD = Buffer.alloc(260 * KIB, 9);

type Accept = (stream: ByteStream, peer: string) => void;

/** A real store and service; its peer is the fuzzer. */
async function serving(): Promise<{ accept: Accept; store: Store; root: string }> {
  const folder = mkdtempSync(join(tmpdir(), "portolan-fuzz-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  let accept: Accept = () => undefined;
  const clock = new SystemClock();
  const store = await Store.open(join(folder, "store"), { clock, log: SILENT_LOG });
  const ports = new MemoryNet().ports(SELF);
  const net = { ...ports.net, handle: (_protocol: string, handler: Accept) => void (accept = handler) };
  const swarm = await startSwarm({ clock, random: new SeededRandom(1), log: SILENT_LOG, store, ...ports, net });
  const path = join(folder, "source");
  writeFileSync(path, CONTENT);
  const { root, chunkBytes } = await store.import(path, { inPlace: false, signal: never });
  const wanted = { root: WANTED.toString("hex"), sizeBytes: CONTENT.length, chunkBytes };
  swarm.fetch(wanted, { signal: never }).catch(() => undefined); // for as long as the fuzzer lives
  return { accept, store, root };
}

function withRoot(header: unknown, root: string): unknown {
  if (!Array.isArray(header)) return header;
  const isOurs = (one: unknown): boolean => one instanceof Uint8Array && one.length === 32 && one[0] === 1;
  return header.map((one: unknown) => (isOurs(one) ? Buffer.from(root, "hex") : one));
}
