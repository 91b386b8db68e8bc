import assert from "node:assert/strict";
import { Ed25519Key, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type NodeId, openStateDatabase } from "#identity";
import { Gossip, LazyDht, type Libp2pBackedHost, startHost } from "#mesh";
import { DEFAULT_EXPOSE, type KnownInstance, Router, ServiceLookup, Services } from "#routing";
import { ProviderIndex } from "../../src/daemon/provider-index.ts";
import { deafHost } from "../support/deaf-host.ts";

const clock = new SystemClock();
const random = new SystemRandom();
const never = new AbortController().signal;

/** A node as the daemon composes it, but that it hears no gossip, so that it knows of services by the DHT only. */
class Node implements AsyncDisposable {
  readonly host: Libp2pBackedHost;
  readonly services: Services;
  readonly lookup: ServiceLookup;
  readonly dht: LazyDht;
  readonly #stack: AsyncDisposableStack;

  private constructor(parts: Pick<Node, "host" | "services" | "lookup" | "dht">, stack: AsyncDisposableStack) {
    ({ host: this.host, services: this.services, lookup: this.lookup, dht: this.dht } = parts);
    this.#stack = stack;
  }

  static async start(): Promise<Node> {
    await using stack = new AsyncDisposableStack();
    const addresses: string[] = [];
    const addressesOf = (peer: NodeId): string[] => addresses.filter((address) => address.endsWith(peer));
    const seed = random.bytes(32);
    const gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "one", name: "node" }) as const };
    const base = { clock, random, log: SILENT_LOG };
    const listen = ["/ip4/127.0.0.1/tcp/0/tls"];
    const host = stack.use(await startHost({ ...base, seed, gate }, { listen }));
    const self = host.nodeId;
    const memberOf = () => ({ tenant: "default" });
    const deps = { ...base, host, self, memberOf, isMember: () => true, site: () => "one", fleet: () => "fleet" };
    const gossip = stack.use(new Gossip({ ...deps, host: deafHost(host), key: new Ed25519Key(seed), boot: 1 }));
    const router = stack.use(new Router({ ...deps, gossip, transit: true }));
    const trustedMs = (): number => clock.wallMs();
    const db = openStateDatabase(":memory:");
    const services = stack.use(new Services({ ...deps, db, trustedMs, gossip, router, expose: DEFAULT_EXPOSE }));
    const hint = (more: readonly string[]): void => void addresses.push(...more);
    const dht = stack.use(new LazyDht({ ...base, host, addressesOf, hint }));
    const index = stack.use(new ProviderIndex({ ...base, dht, needed: () => true, announceAfterMs: 0 }));
    const open = async (peer: NodeId, protocol: string, signal: AbortSignal) => {
      if (host.session(peer) === undefined) await host.connect(addressesOf(peer), signal);
      return host.open(peer, protocol, signal);
    };
    const lookup = stack.use(new ServiceLookup({ ...deps, gossip, services, index, open, tenant: () => "default" }));
    await dht.open();
    return new Node({ host, services, lookup, dht }, stack.move());
  }

  async announced(): Promise<void> {
    const dht = await this.dht.open();
    while (dht.stats().provided === 0) await clock.sleep(20);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** The first instance that a look-up finds: one that failed, as on a busy machine, is not repeated at once. */
async function eventually(find: () => Promise<KnownInstance[]>): Promise<KnownInstance | undefined> {
  for (;;) {
    const [found] = await find();
    if (found !== undefined) return found;
    await clock.sleep(500);
  }
}

describe("services through the DHT alone", function () {
  this.timeout(60_000);

  it("are found on a node of which nothing was heard", async () => {
    await using stack = new AsyncDisposableStack();
    const [hub, holder, seeker] = (await Promise.all([Node.start(), Node.start(), Node.start()])).map((node) =>
      stack.use(node),
    );
    assert.ok(hub && holder && seeker);
    for (const { host } of [holder, seeker]) await host.connect(hub.host.addresses(), never);
    holder.services.publish({ name: "cam", to: "127.0.0.1:80", labels: { tier: "edge" } }, false);
    await holder.announced();
    assert.deepEqual(seeker.services.directory.instances("cam"), [], "nothing heard");
    const found = await eventually(() => seeker.lookup.find("cam"));
    assert.deepEqual([found?.node, found?.labels, found?.healthy], [holder.host.nodeId, { tier: "edge" }, true]);
    assert.deepEqual(await seeker.lookup.find("pump"), []);
  });
});
