import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Random, SeededRandom, SILENT_LOG, VirtualClock } from "#core";
import { encodeToken, keyHash } from "#identity";
import type { ArtifactKeeper } from "../../src/daemon/artifact-keeper.ts";
import { createGate } from "../../src/daemon/admission.ts";
import { loadConfig } from "../../src/daemon/config.ts";
import { Daemon } from "../../src/daemon/daemon.ts";
import { type OpenNode, openNode } from "../../src/daemon/node.ts";
import { NOW_MS, TestFleet } from "./fleet.ts";
import { type VirtualHost, VirtualNetwork } from "./virtual-network.ts";

/** Virtual time between two looks at whether real disks have done what they were asked. */
const STEP_MS = 25;

/** Where Linux has a file system in memory: what 300 nodes wait for their disks would take most of the time, and shows nothing. */
const MEMORY_FILES = "/dev/shm";
/** What a node's directory takes, with room. */
const NODE_BYTES = 16 * 1024 * 1024;

type Life = {
  node: OpenNode;
  host: VirtualHost;
  keeper: ArtifactKeeper;
  stop: AbortController;
  end: () => Promise<void>;
};

/** One node: its directory, and its daemon while that lives. */
export type VirtualNode = { name: string; site: string; address: string; folder: string; life: Life | undefined };

/** Daemons as they are, each with its data directory, over hosts in memory on virtual time. The first is the registrar. */
export class VirtualFleet implements AsyncDisposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly network: VirtualNetwork;
  readonly nodes: readonly VirtualNode[];
  readonly #random: Random;
  readonly #fleet = new TestFleet();
  readonly #folder: string;
  #token = "";

  constructor(siteSizes: readonly number[], seed: number) {
    this.#random = new SeededRandom(seed);
    this.#folder = mkdtempSync(join(roomyFolder(siteSizes), "virtual-fleet-"));
    this.network = new VirtualNetwork(this.clock, this.#random);
    this.nodes = siteSizes.flatMap((size, site) =>
      Array.from({ length: size }, (_, i) => ({
        name: `n${site}-${i}`,
        site: `site-${site}`,
        address: `/ip4/10.${site}.${i >> 8}.${i & 255}/tcp/4001/tls`,
        folder: join(this.#folder, `n${site}-${i}`),
        life: undefined,
      })),
    );
  }

  get alive(): VirtualNode[] {
    return this.nodes.filter(({ life }) => life !== undefined);
  }

  /** The first node founds the fleet: documents as its owners and operators sign them. */
  async found(): Promise<void> {
    const [first] = this.nodes as [VirtualNode];
    await this.start(first);
    const { host, node } = this.#founder();
    const { state } = node;
    const { owners, admission, charter } = this.#fleet;
    state.store.pinFleet(this.#fleet.id);
    const operators = this.#fleet.foundation().slice(0, 3); // its registrar has another key
    const office = { ...this.#fleet.registrarSpec(state.data.key.key), site: first.site };
    const rows = this.nodes.map(({ name, site }) => ({ serial: name, site }));
    this.#submit(
      charter,
      ...operators,
      this.#fleet.sign("Registrar", first.name, office, [owners[0], owners[1]]),
      this.#fleet.sign("ClaimList", "all", { rows }, [admission]),
    );
    this.#token = encodeToken({
      fleet: this.#fleet.id,
      owners: owners.map((key) => keyHash(key.publicKey)),
      rendezvous: host.addresses(),
      minCharter: 1,
      minRevocation: 0,
    });
  }

  #founder(): Life {
    const life = this.nodes[0]?.life;
    if (life === undefined) throw new Error("the first node does not live");
    return life;
  }

  /** Hands documents to the first node. */
  #submit(...documents: Uint8Array[]): void {
    const { state } = this.#founder().node;
    for (const bytes of documents) {
      const verdict = state.store.submit(bytes, state.trustedMs(), "own");
      if (verdict.outcome !== "accepted") throw new Error(JSON.stringify(verdict).slice(0, 400));
    }
  }

  /** The first node publishes bytes under a name, and a placement asks for them everywhere. */
  async publish(name: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.#folder, "source");
    writeFileSync(path, bytes);
    const { signal } = new AbortController();
    const spec = await this.#founder().keeper.publish(path, { inPlace: false, signal });
    const change = { nowMs: this.clock.wallMs() };
    const placement = { artifact: name, selector: "" };
    this.#submit(
      this.#fleet.sign("Artifact", name, spec, [this.#fleet.publisher], change),
      this.#fleet.sign("Placement", name.replace(":", "-"), placement, [this.#fleet.publisher], change),
    );
  }

  /** A process starts on the node's directory. */
  async start(node: VirtualNode): Promise<void> {
    const { clock } = this;
    const random = new SeededRandom(this.#random.below(2 ** 31));
    const uptimeSeconds = (): number => clock.nowMs() / 1_000;
    const opened = openNode(node.folder, { clock, random, log: SILENT_LOG, version: "0", uptimeSeconds });
    const { state } = opened;
    if (this.#token !== "") state.settings.set("token", this.#token);
    state.settings.set("site", node.site);
    state.settings.set("serial", node.name);
    const stop = new AbortController();
    const host = this.network.host(state.data.key.nodeId, node, createGate(state, state.data.key.nodeId, stop.signal));
    const stack = new AsyncDisposableStack();
    stack.defer(() => opened.close());
    stack.use(host);
    const daemon = new Daemon(opened, loadConfig({ data: node.folder, mdns: false }), stack);
    const { keeper } = await daemon.live(host, () => ({
      open: () => Promise.reject(new Error("there is no DHT here")),
    }));
    node.life = { node: opened, host, keeper, stop, end: () => stack.disposeAsync() };
  }

  /** The node's machine loses its power. */
  async kill(node: VirtualNode): Promise<void> {
    const { life } = node;
    if (life === undefined) return;
    node.life = undefined;
    life.host.cutOff();
    life.stop.abort(new Error("no power"));
    await this.#whileTimePasses(life.end());
  }

  /** Lets time pass until something holds. Returns how much did; Infinity if it does not hold after `mostMs`. */
  async untilMs(mostMs: number, holds: () => boolean): Promise<number> {
    const startMs = this.clock.nowMs();
    while (!holds()) {
      if (this.clock.nowMs() - startMs >= mostMs) return Number.POSITIVE_INFINITY;
      await this.advanceMs(100);
    }
    return this.clock.nowMs() - startMs;
  }

  async advanceMs(ms: number): Promise<void> {
    for (const endMs = this.clock.nowMs() + ms; this.clock.nowMs() < endMs; ) {
      await this.clock.advanceMs(STEP_MS);
      await quiesce();
    }
  }

  async #whileTimePasses(work: Promise<void>): Promise<void> {
    const progress = { done: false };
    void work.finally(() => {
      progress.done = true;
    });
    while (!progress.done) await this.advanceMs(STEP_MS);
    await work;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.alive) await this.kill(node);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function roomyFolder(siteSizes: readonly number[]): string {
  const neededBytes = siteSizes.reduce((sum, size) => sum + size, 0) * NODE_BYTES;
  const { bavail = 0, bsize = 0 } = existsSync(MEMORY_FILES) ? statfsSync(MEMORY_FILES) : {};
  return bavail * bsize >= neededBytes ? MEMORY_FILES : tmpdir();
}

/** What waits for this machine's disks; virtual time waits for them, too. */
const DISK = new Set(["FSReqCallback", "FSReqPromise"]);

async function quiesce(): Promise<void> {
  do {
    await new Promise(setImmediate);
  } while (process.getActiveResourcesInfo().some((resource) => DISK.has(resource)));
}
