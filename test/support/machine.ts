import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ed25519Key, SeededRandom, SILENT_LOG, type VirtualClock } from "#core";
import { keyHash, nodeIdOf } from "#identity";
import { type Gate, Gossip, startReplica } from "#mesh";
import { createGate } from "../../src/daemon/admission.ts";
import { hearOfClones, wasOutbid } from "../../src/daemon/clone-watch.ts";
import { type OpenNode, openNode } from "../../src/daemon/node.ts";
import { nextBoot } from "../../src/daemon/remembered.ts";
import { startTimeKeeper } from "../../src/daemon/time-keeper.ts";
import { base64, NOW_MS, type TestFleet } from "./fleet.ts";
import { MemoryHost } from "./memory-mesh.ts";

/** A machine: a folder that outlives its power, and while that is on the daemon's own parts over a host in memory. */
export class Machine {
  readonly folder: string;
  readonly #seed: number;
  #running: AsyncDisposableStack | undefined;
  node!: OpenNode;
  host!: MemoryHost;
  gate!: Gate;
  gossip!: Gossip;

  /** `name`: of the folder, where two have the key of one seed. */
  constructor(root: string, seed: number, name = String(seed)) {
    this.#seed = seed;
    this.folder = join(root, name);
    mkdirSync(this.folder, { recursive: true });
    const bytes = new Uint8Array(32).fill(seed);
    const seedHex = Buffer.from(bytes).toString("hex");
    const nodeId = nodeIdOf(new Ed25519Key(bytes).publicKey);
    const key = { format: "portolan-node-key-v1", nodeId, seed: seedHex, sealing: seedHex };
    writeFileSync(join(this.folder, "node.key"), JSON.stringify(key), { mode: 0o600 });
  }

  /** `asleepMs`: how long it was suspended since it started; its uptime counts that, its timers do not. */
  on(clock: VirtualClock, asleepMs: () => number = () => 0): void {
    const stack = new AsyncDisposableStack();
    const deps = { clock, random: new SeededRandom(this.#seed), log: SILENT_LOG, version: "sim" };
    this.node = openNode(this.folder, { ...deps, uptimeSeconds: () => (clock.nowMs() + asleepMs()) / 1_000 });
    const { state } = this.node;
    const { data, store, members, trustedMs } = state;
    stack.defer(() => this.node.close());
    this.host = stack.use(new MemoryHost(data.key.nodeId));
    const { host } = this;
    this.gate = createGate(state, data.key.nodeId, new AbortController().signal);
    const gossip: Gossip = new Gossip({
      host,
      key: data.key.key,
      boot: nextBoot(state),
      outbid: (boot, answers) => wasOutbid(state, gossip, { boot, answers }),
      fleet: () => store.fleet,
      site: () => members.of(data.key.nodeId)?.site,
      isMember: (id) => members.of(id) !== undefined,
      clock,
      random: deps.random,
    });
    stack.use(startReplica({ host, store, clock, random: deps.random, log: SILENT_LOG, trustedMs }));
    stack.defer(hearOfClones(state, gossip));
    this.gossip = gossip;
    stack.use(startTimeKeeper({ state, gossip, host }));
    this.#running = stack;
  }

  async off(): Promise<void> {
    await this.#running?.disposeAsync();
  }

  submit(...documents: Uint8Array[]): void {
    const { store, trustedMs } = this.node.state;
    for (const bytes of documents) store.submit(bytes, trustedMs(), "api");
  }
}

/** A member document for the machine of this seed, good for a day. */
export function admit(fleet: TestFleet, seed: number, name: string): Uint8Array {
  const bytes = new Uint8Array(32).fill(seed);
  const publicKey = new Ed25519Key(bytes).publicKey;
  const spec = {
    node: nodeIdOf(publicKey),
    publicKey: base64(publicKey),
    site: "barn",
    roles: [],
    sealingKey: base64(bytes),
    generation: 1,
    registrar: keyHash(fleet.registrar.publicKey),
    evidence: "claim" as const,
  };
  return fleet.sign("Member", name, spec, [fleet.registrar], { expiresMs: NOW_MS + 24 * 3_600_000 });
}

/** The two say hello as real nodes do; whether both accepted. */
export function hello(a: Machine, b: Machine): boolean {
  const [atB, atA] = [b.gate.judge(a.host.nodeId, a.gate.offer()), a.gate.judge(b.host.nodeId, b.gate.offer())];
  return atA.accepted && atB.accepted;
}

export function link(a: Machine, b: Machine): void {
  assert.ok(hello(a, b), "hello refused");
  MemoryHost.link(a.host, b.host);
}

export async function pass(clock: VirtualClock, ms: number, stepMs: number): Promise<void> {
  for (let left = ms; left > 0; left -= stepMs) {
    await clock.advanceMs(Math.min(stepMs, left));
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  }
}
