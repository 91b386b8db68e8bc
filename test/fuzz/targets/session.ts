import { decodeCbor, encodeCbor, encodeFrame, SeededRandom, SILENT_LOG, VirtualClock } from "#core";
import { createGate } from "../../../src/daemon/admission.ts";
import { hearOfClones } from "../../../src/daemon/clone-watch.ts";
import { Settings } from "../../../src/daemon/data-directory.ts";
import type { NodeState } from "../../../src/daemon/node-state.ts";
import { Provisional } from "../../../src/daemon/provisional.ts";
import { Contact } from "../../../src/identity/contact.ts";
import { Membership } from "../../../src/identity/membership.ts";
import { nodeIdOf, publicKeyOf } from "../../../src/identity/node-id.ts";
import { openStateDatabase } from "../../../src/identity/state-database.ts";
import { Gossip } from "../../../src/mesh/gossip.ts";
import { type Greeting, MAX_MESSAGE_BYTES, startHello } from "../../../src/mesh/hello-exchange.ts";
import { drawProbeKey } from "../../../src/mesh/probe-sockets.ts";
import { startRendezvous } from "../../../src/mesh/rendezvous.ts";
import { DOCUMENTS_PROTOCOL, startReplica } from "../../../src/mesh/replica.ts";
import { type Link, LiveSession } from "../../../src/mesh/session.ts";
import { NOW_MS, TestFleet, testKey } from "../../support/fleet.ts";
import { MemoryHost } from "../../support/memory-mesh.ts";
import { FedStream } from "../fed-stream.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const fleet = new TestFleet();
const [self, peer] = [testKey(50), testKey(51)];
const [SELF, PEER] = [nodeIdOf(self.publicKey), nodeIdOf(peer.publicKey)];
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** The harness encodes and decodes each input several times, which must not count as the decoder's time. */
const MAX_BYTES = 16 * 1024;

/** A list of messages; anything else is a list of one. */
function messagesIn(input: Uint8Array): unknown[] {
  const value = decodeCbor(input, MAX_MESSAGE_BYTES);
  return Array.isArray(value) ? (value as unknown[]) : [value];
}

const hello: FuzzTarget = {
  name: "hello",
  covers: ["src/mesh/hello-exchange.ts", "src/mesh/session.ts"],
  grammar: "cbor",
  maxBytes: MAX_BYTES,
  seeds: () => {
    const said = {
      t: "hello",
      v: 1,
      boot: new Uint8Array(16),
      addrs: ["/ip4/192.0.2.7/tcp/1/tls"],
      offer: { ok: true },
    };
    const after = [{ k: "ping", b: { n: 1, r: 7 } }, { k: "pong", b: { n: 1 } }, { k: "peers", b: [] }, { k: "x" }];
    return [[said, { t: "ready" }, ...after], [{ t: "refuse", code: "mesh.x", reason: "r" }]].map(encodeCbor);
  },
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const messages = messagesIn(input);
    const outcomes = (["acceptor", "dialler"] as const).map((role) => {
      const stream = new FedStream();
      const seen = { state: "waits", judged: false };
      const session = new LiveSession(new VirtualClock(), PEER, {
        stream,
        connection: { direction: "inbound" },
      } as unknown as Link);
      startHello(stream, role, {
        self: () => ({ boot: new Uint8Array(16), addresses: [], offer: {}, probe: drawProbeKey(new SeededRandom(2)) }),
        judge: (offer) => {
          seen.judged = typeof offer === "object" && offer !== null && "ok" in offer;
          if (seen.judged) return { accepted: true, site: "berlin", name: "peer" };
          return { accepted: false, code: "mesh.no", reason: "no" };
        },
        accepted: (greeting: Greeting) => {
          mustHold(seen.judged && greeting.boot.length === 32, "accepted what the gate did not");
          seen.state = "session";
          return { message: (kind, body) => void session.receive(kind, body), ended: () => (seen.state = "ended") };
        },
        failed: (fault) => (seen.state = fault.code),
      });
      for (const message of messages) for (const piece of encodeFrame(message)) stream.feed(piece);
      stream.end();
      mustHold(stream.sentBytes < 100_000, "a hello is answered with too much");
      return seen.state;
    });
    return outcomes.join();
  },
};

/** Gossip and its repair, document summaries, lists of peers and who is provisional, as `[kind, body]`. Statements are taken apart; one without `sig` is signed by the peer. */
const sessionMessages: FuzzTarget = {
  name: "session-messages",
  covers: [
    "src/mesh/gossip.ts",
    "src/mesh/gossip-repair.ts",
    "src/mesh/statement.ts#readStatement",
    "src/mesh/rendezvous.ts",
    "src/mesh/replica.ts",
    "src/daemon/provisional.ts",
    "src/daemon/clone-watch.ts",
  ],
  grammar: "cbor",
  maxBytes: MAX_BYTES,
  seeds: () => {
    const statement = (topic = "copies", value: unknown = { a: [1, "x"] }): unknown[] => [
      topic,
      publicKeyOf(PEER),
      1,
      1,
      encodeCbor(value),
    ];
    return [
      ["gossip", statement()],
      ["gossip", [...statement(), new Uint8Array(64)]],
      ["gossip", statement("clone", { sinceMs: NOW_MS })],
      ["gossip-digest", { buckets: new Uint8Array(512) }],
      ["gossip-versions", { buckets: [0, 63], versions: [["copies", PEER, 2, 1]] }],
      ["gossip-versions", { buckets: Array.from({ length: 64 }, (_, i) => i), versions: [] }],
      ["gossip-want", { keys: [["copies", PEER]] }],
      ["gossip-statements", { statements: [statement(), [...statement(), new Uint8Array(64)]] }],
      ["gossip-unfeed", null],
      ["docs", { digest: new Uint8Array(32) }],
      ["provisional", { is: true }],
      ["peers", [{ a: [`/ip4/192.0.2.7/tcp/1/tls/p2p/${nodeIdOf(testKey(52).publicKey)}`], s: "berlin" }]],
    ].map(encodeCbor);
  },
  refuses: ["core.cbor"],
  prepare: async () => {
    const clock = new VirtualClock(NOW_MS);
    const honest = new MemoryHost(SELF);
    const hostile = new MemoryHost(PEER);
    const members = new Set([SELF, PEER]);
    const store = fleet.seededStore();
    const deps = { host: honest, clock, random: new SeededRandom(1), log: SILENT_LOG, fleet: () => fleet.id };
    const isMember = (node: string): boolean => members.has(node);
    const gossip = new Gossip({ ...deps, boot: 1, key: self, isMember, site: () => "berlin" });
    startReplica({ ...deps, store, trustedMs: () => NOW_MS });
    const membership = new Membership(store);
    const settings = new Settings(openStateDatabase(":memory:"));
    const provisional = new Provisional({ settings, store, members: membership, self: SELF, log: SILENT_LOG });
    provisional.connect(honest);
    const shutOut = new Set<string>();
    const quarantine = { hear: (node: string) => shutOut.add(node).size === 0 };
    const knows = { data: { key: { nodeId: SELF } }, members: membership, quarantine };
    hearOfClones(knows as unknown as NodeState, gossip);
    const memory = { load: () => [], save: () => undefined };
    await startRendezvous(
      {
        ...deps,
        memory,
        membership: () => undefined,
        siteOf: () => undefined,
        seeds: () => [],
        otherFleet: () => undefined,
      },
      { mdns: false },
    );
    return async (input) => {
      const [named, body] = messagesIn(input);
      const kind = typeof named === "string" ? named : "";
      if (honest.session(PEER) === undefined) MemoryHost.link(honest, hostile);
      honest.disconnected.clear();
      honest.receive(PEER, kind, encodeCbor(onTheWire(body) ?? null));
      await turn();
      mustHold(
        !shutOut.has(SELF) && [...shutOut].every((node) => members.has(node)),
        "somebody was shut out on a stranger's word",
      );
      mustHold(provisional.since === undefined && !provisional.is(SELF), "a peer's word changed what this node is");
      for (const { origin } of gossip.latest("copies")) mustHold(members.has(origin), "a stranger's word is kept");
      const outcome = `${kind.slice(0, 12)} ${honest.disconnected.get(PEER) ?? "goes on"}`;
      hostile.disconnect(SELF, "the next comparison comes with the next session");
      return outcome;
    };
  },
};

/** Statements are lists of five here, which the peer signs and sends as bytes, or six. */
function onTheWire(body: unknown): unknown {
  if (Array.isArray(body) && (body.length === 5 || body.length === 6) && typeof body[0] === "string") {
    const said: unknown[] = body;
    const bytes = encodeCbor(["portolan-gossip-v1", fleet.id, ...said.slice(0, 5)]);
    return encodeCbor(said.length === 6 ? said : [...said, peer.sign(bytes)]);
  }
  if (typeof body !== "object" || body === null || !("statements" in body)) return body;
  return Array.isArray(body.statements) ? { ...body, statements: body.statements.map(onTheWire) } : body;
}

/** Both ends of the documents' protocol: the peer asks, and it answers, with these messages. */
const documentMessages: FuzzTarget = {
  name: "document-messages",
  covers: ["src/mesh/replica.ts"],
  grammar: "cbor",
  maxBytes: MAX_BYTES,
  seeds: () =>
    [
      [
        { op: "compare", buckets: new Uint8Array(2_048) },
        { op: "get", ids: ["Charter/default/plant", "Operator/x/y"] },
      ],
      [{ entries: [["Artifact/default/model:v1", 1]] }, { id: "Artifact/default/model:v1" }, { end: true }],
    ].map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => {
    const clock = new VirtualClock(NOW_MS);
    const honest = new MemoryHost(SELF);
    const hostile = new MemoryHost(PEER);
    const store = fleet.seededStore();
    startReplica({ host: honest, store, clock, random: new SeededRandom(1), log: SILENT_LOG, trustedMs: () => NOW_MS });
    let messages: unknown[] = [];
    const say = (stream: { send: (...pieces: Uint8Array[]) => boolean; close: () => void }): void => {
      for (const message of messages) stream.send(...encodeFrame(message, payloadOf(message)));
      stream.close();
    };
    hostile.handle(DOCUMENTS_PROTOCOL, (stream) => {
      stream.listen({ data: () => undefined, end: () => undefined });
      say(stream);
    });
    return async (input) => {
      messages = messagesIn(input);
      if (honest.session(PEER) === undefined) MemoryHost.link(honest, hostile);
      const before = Buffer.from(store.digest()).toString("hex");
      const stream = await hostile.open(SELF, DOCUMENTS_PROTOCOL);
      let heardBytes = 0;
      stream.listen({ data: (bytes) => (heardBytes += bytes.length), end: () => undefined });
      say(stream);
      honest.receive(PEER, "docs", encodeCbor({ digest: new Uint8Array(32).fill(1) }));
      await clock.advanceMs(200);
      for (let at = 0; at < 6; at++) await turn();
      mustHold(Buffer.from(store.digest()).toString("hex") === before, "a document came from nowhere");
      return `${Math.ceil(Math.log2(heardBytes + 1))}`;
    };
  },
};

/** What stands after an item on the wire. */
function payloadOf(message: unknown): Uint8Array[] {
  return typeof message === "object" && message !== null && "id" in message ? [fleet.charter.subarray(0, 100)] : [];
}

/** What a stranger shows in its hello, judged by the daemon. */
const helloOffer: FuzzTarget = {
  name: "hello-offer",
  covers: ["src/daemon/admission.ts"],
  grammar: "cbor",
  maxBytes: 48 * 1024,
  seeds: () => {
    const offer = { fleet: fleet.id, charter: 1, revocation: 0, documents: fleet.foundation() };
    return [offer, { ...offer, documents: [new Uint8Array(9)] }].map(encodeCbor);
  },
  refuses: ["core.cbor"],
  prepare: () => {
    const store = fleet.seededStore();
    const before = Buffer.from(store.digest()).toString("hex");
    const peerEvents = { record: () => true };
    const quarantine = { sinceMs: () => undefined };
    const contact = new Contact(0);
    const clock = new VirtualClock(0);
    const members = new Membership(store);
    const state = {
      store,
      members,
      trustedMs: () => NOW_MS,
      peerEvents,
      quarantine,
      contact,
      clock,
      time: { plausibleMs: () => NOW_MS },
    };
    const gate = createGate(state as unknown as NodeState, SELF, new AbortController().signal);
    return (input) => {
      const verdict = gate.judge(PEER, decodeCbor(input, MAX_MESSAGE_BYTES));
      mustHold(!verdict.accepted, "a stranger was let in");
      mustHold(Buffer.from(store.digest()).toString("hex") === before, "a stranger left something");
      return verdict.accepted ? "" : verdict.code;
    };
  },
};

export const SESSION_TARGETS: readonly FuzzTarget[] = [hello, helloOffer, sessionMessages, documentMessages];
