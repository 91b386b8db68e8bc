import assert from "node:assert/strict";
import { type ByteStream, faultCode, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Gate, type Host, type OpenOptions, startHost } from "#mesh";
import { byteStreamContract } from "./byte-stream.ts";

const PROTOCOL = "/test/contract/1";
const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam-7" }) };
const never = new AbortController().signal;

type Pair = { near: Host; far: Host; arrived: PromiseWithResolvers<ByteStream> };

/** Two hosts on loopback, shared by the suite: each test takes a stream of its own, over native TLS and yamux. */
let pair: Promise<Pair> | undefined;

async function startPair(): Promise<Pair> {
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  const start = (): Promise<Host> => {
    const deps = { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate: OPEN_GATE };
    return startHost(deps, { listen: ["/ip4/127.0.0.1/tcp/0/tls"] });
  };
  const started: Pair = { near: await start(), far: await start(), arrived: Promise.withResolvers() };
  await started.near.connect(started.far.addresses(), never);
  started.far.handle(PROTOCOL, (stream) => started.arrived.resolve(stream));
  return started;
}

async function openPair(options: OpenOptions = {}): Promise<[ByteStream, ByteStream]> {
  pair ??= startPair();
  const live = await pair;
  live.arrived = Promise.withResolvers();
  return [await live.near.open(live.far.nodeId, PROTOCOL, never, options), await live.arrived.promise];
}

after(async () => {
  const live = await pair;
  await Promise.all([live?.near[Symbol.asyncDispose](), live?.far[Symbol.asyncDispose]()]);
});

byteStreamContract("libp2p over TLS", () => openPair());
byteStreamContract("libp2p, opened eagerly", () => openPair({ eager: true }));

describe("a stream that is opened eagerly", () => {
  it("ends when the peer does not speak the protocol", async () => {
    await openPair();
    const { near, far } = await (pair as Promise<Pair>);
    const stream = await near.open(far.nodeId, "/test/nobody/1", never, { eager: true });
    stream.send(Buffer.from("hello"));
    const error = await new Promise<Error | undefined>((end) => stream.listen({ data: () => undefined, end }));
    assert.equal(faultCode(error), "mesh.no-protocol");
  });
});
