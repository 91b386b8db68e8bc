import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BlobRef, type Holders, Store, startSwarm, type SwarmNet, type SwarmService } from "#artifacts";
import { faultCode, SILENT_LOG, SystemClock, SystemRandom, withDeadline } from "#core";
import type { NodeId } from "#identity";
import { type Dht, type Gate, LazyDht, type Libp2pBackedHost, startHost } from "#mesh";
import { ProviderIndex } from "../../src/daemon/provider-index.ts";

const clock = new SystemClock();
const random = new SystemRandom();
const never = new AbortController().signal;
const CONTENT = Buffer.from(random.bytes(1024 * 1024 + 12_345));

/** A node as the daemon composes it, but that its swarm is told of holders by the DHT only, not of neighbours. */
class Node implements AsyncDisposable {
  readonly host: Libp2pBackedHost;
  readonly dht: Dht;
  readonly index: ProviderIndex;
  readonly store: Store;
  readonly swarm: SwarmService;
  readonly #stack: AsyncDisposableStack;

  private constructor(parts: Pick<Node, "host" | "dht" | "index" | "store" | "swarm">, stack: AsyncDisposableStack) {
    ({ host: this.host, dht: this.dht, index: this.index, store: this.store, swarm: this.swarm } = parts);
    this.#stack = stack;
  }

  /** `found: false`: even the DHT's answers are kept from the swarm. `name`: of its folder, where a site has several. */
  static async start(dir: string, site: string, { found = true, name = site } = {}): Promise<Node> {
    await using stack = new AsyncDisposableStack();
    const addresses: string[] = [];
    const addressesOf = (peer: NodeId): string[] => addresses.filter((address) => address.endsWith(peer));
    const base = { clock, random, log: SILENT_LOG };
    const listen = ["/ip4/127.0.0.1/tcp/0/tls"];
    const host = stack.use(await startHost({ ...base, seed: random.bytes(32), gate: openGate(site) }, { listen }));
    const hint = (more: readonly string[]): void => void addresses.push(...more);
    const lazy = stack.use(new LazyDht({ ...base, host, addressesOf, hint }));
    const index = stack.use(new ProviderIndex({ ...base, dht: lazy, needed: () => true, announceAfterMs: 0 }));
    const dht = await lazy.open();
    const store = stack.use(await Store.open(join(dir, name), base));
    const holders: Holders = {
      announce: (root) => index.announce(root),
      neighbours: () => [],
      lookUp: async function* (root, signal) {
        if (found) yield* index.find(root, signal);
      },
    };
    const locality = { ownSite: site, siteOf: (peer: NodeId) => host.session(peer)?.site };
    const swarm = stack.use(await startSwarm({ ...base, store, net: netOf(host, addressesOf), holders, locality }));
    return new Node({ host, dht, index, store, swarm }, stack.move());
  }

  /** Has the blob from now on, and has told the DHT so. */
  async publish(path: string): Promise<BlobRef> {
    const ref = await this.store.import(path, { inPlace: false, signal: never });
    await this.announced(ref);
    return ref;
  }

  async announced({ root }: BlobRef): Promise<void> {
    await until(() => {
      this.index.announce(root); // again, because the first time its neighbours may not be in the DHT yet
      return this.dht.stats().provided > 0;
    });
  }

  async fetch(ref: BlobRef, patienceMs: number): Promise<Buffer> {
    await withDeadline(clock, patienceMs, "fetching", (signal) => this.swarm.fetch(ref, { signal }));
    return readFile((await this.store.get(ref.root))?.path ?? "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function openGate(site: string): Gate {
  const siteIn = (hello: unknown): string => (hello as { site: string }).site;
  return {
    offer: () => ({ site }),
    judge: (_, hello) => ({ accepted: true, site: siteIn(hello), name: siteIn(hello) }),
  };
}

function netOf(host: Libp2pBackedHost, addressesOf: (peer: NodeId) => string[]): SwarmNet {
  return {
    self: host.nodeId,
    open: async (peer, protocol, signal) => {
      if (host.session(peer) === undefined) await host.connect(addressesOf(peer), signal);
      return host.open(peer, protocol, signal);
    },
    handle: (protocol, handler) => host.handle(protocol, (stream, { nodeId }) => handler(stream, nodeId)),
    onPeerDown: (listener) => host.onSession(({ nodeId }, event) => (event === "down" ? listener(nodeId) : undefined)),
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await clock.sleep(20);
}

describe("holders through the DHT alone", function () {
  this.timeout(60_000);
  let dir: string;
  let path: string;
  let stack: AsyncDisposableStack;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "portolan-dht-"));
    path = join(dir, "content");
    await writeFile(path, CONTENT);
    stack = new AsyncDisposableStack();
  });

  afterEach(async () => {
    await stack.disposeAsync();
    await rm(dir, { recursive: true });
  });

  /** Nodes in sites of their own, each a neighbour of the first only. */
  async function star(...nodes: Promise<Node>[]): Promise<Node[]> {
    const [hub, ...others] = (await Promise.all(nodes)).map((node) => stack.use(node));
    for (const { host } of others) await host.connect(hub?.host.addresses() ?? [], never);
    return others;
  }

  it("finds a holder in another site that nobody told it of, and fetches from it", async () => {
    const [holder, seeker] = await star(
      Node.start(dir, "berlin"),
      Node.start(dir, "hamburg"),
      Node.start(dir, "munich"),
    );
    assert.ok(holder && seeker);
    const ref = await holder.publish(path);
    assert.ok(CONTENT.equals(await seeker.fetch(ref, 30_000)));
    assert.ok(seeker.dht.stats().found > 0);
    assert.equal(seeker.host.session(holder.host.nodeId)?.site, "hamburg");
  });

  it("does not find it when the DHT's answers are kept from it: there is no other way", async () => {
    const blind = Node.start(dir, "munich", { found: false });
    const [holder, seeker] = await star(Node.start(dir, "berlin"), Node.start(dir, "hamburg"), blind);
    assert.ok(holder && seeker);
    const ref = await holder.publish(path);
    await assert.rejects(seeker.fetch(ref, 2_000), (error) => faultCode(error) === "core.deadline");
    assert.equal(seeker.dht.stats().lookups, 0);
  });

  it("finds holders across three sites while nodes come and go", async () => {
    const sites = ["berlin", "hamburg", "munich"];
    const gateways = await star(...["hub", ...sites].map((site) => Node.start(dir, site)));
    const leaf = async (site: string, name: string): Promise<Node> => {
      const node = stack.use(await Node.start(dir, site, { name }));
      const gateway = gateways[sites.indexOf(site)];
      await node.host.connect(gateway?.host.addresses() ?? [], never);
      return node;
    };
    let holder = await leaf("berlin", "first");
    const ref = await holder.publish(path);
    for (const [round, site] of ["hamburg", "munich", "berlin", "hamburg"].entries()) {
      const [seeker, bystander] = await Promise.all([leaf(site, `seeker-${round}`), leaf(site, `bystander-${round}`)]);
      assert.equal(seeker.host.session(holder.host.nodeId), undefined, "no neighbour told it");
      assert.ok(CONTENT.equals(await seeker.fetch(ref, 30_000)));
      const { lookups, found } = seeker.dht.stats();
      assert.ok(lookups > 0 && found > 0, `${lookups} look-ups found ${found}`);
      await seeker.announced(ref);
      await holder[Symbol.asyncDispose](); // its record stays, and leads nowhere
      await bystander[Symbol.asyncDispose]();
      holder = seeker;
    }
  });

  it("finds the next holder when the first one has died", async () => {
    const [first, second, seeker] = await star(
      Node.start(dir, "berlin"),
      Node.start(dir, "hamburg"),
      Node.start(dir, "munich"),
      Node.start(dir, "bremen"),
    );
    assert.ok(first && second && seeker);
    const ref = await first.publish(path);
    await second.fetch(ref, 30_000);
    await second.announced(ref);
    await first[Symbol.asyncDispose]();
    assert.ok(CONTENT.equals(await seeker.fetch(ref, 30_000)));
    assert.ok(seeker.dht.stats().found > 0);
    assert.equal(seeker.host.session(second.host.nodeId)?.site, "munich");
  });
});
