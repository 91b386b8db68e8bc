import assert from "node:assert/strict";
import { Ed25519Key, encodeCbor, FrameStream, SeededRandom, SILENT_LOG, SystemClock, withDeadline } from "#core";
import { nodeIdOf, openStateDatabase } from "#identity";
import { Gossip } from "#mesh";
import { DEFAULT_EXPOSE, Router, ServiceLookup, Services } from "#routing";
import { signStatement } from "../../src/mesh/statement.ts";
import { SERVICES_TOPIC, writeInstances } from "../../src/routing/service/instance-record.ts";
import { serviceKey, SERVICES_PROTOCOL } from "../../src/routing/service/lookup-wire.ts";
import { deafHost } from "../support/deaf-host.ts";
import { testKey } from "../support/fleet.ts";
import { MemoryHost } from "../support/memory-mesh.ts";

const clock = new SystemClock();
const CAM = { tenant: "default", name: "cam" };

/** Who announced what, in one process. */
type Providers = Map<string, Set<string>>;

/** A node that hears nothing by gossip. Its key is the test key of its number. */
class Node implements AsyncDisposable {
  readonly key: Ed25519Key;
  readonly id: string;
  readonly host: MemoryHost;
  readonly gossip: Gossip;
  readonly services: Services;
  readonly lookup: ServiceLookup;
  readonly #stack = new AsyncDisposableStack();
  lookups = 0;

  constructor(number: number, providers: Providers, tenants: ReadonlyMap<string, string>) {
    this.key = testKey(number);
    const self = nodeIdOf(this.key.publicKey);
    this.id = self;
    const host = new MemoryHost(self);
    this.host = host;
    const memberOf = (node: string): { tenant: string } | undefined => {
      const tenant = tenants.get(node);
      return tenant === undefined ? undefined : { tenant };
    };
    const isMember = (node: string): boolean => tenants.has(node);
    const base = {
      site: () => "one",
      isMember,
      memberOf,
      clock,
      random: new SeededRandom(number),
      self,
      log: SILENT_LOG,
    };
    const gossip = new Gossip({ ...base, host: deafHost(host), key: this.key, boot: 1, fleet: () => "fleet" });
    const router = new Router({ ...base, host, gossip, transit: true });
    const trustedMs = (): number => clock.wallMs();
    const db = openStateDatabase(":memory:");
    const services = new Services({ ...base, host, db, trustedMs, gossip, router, expose: DEFAULT_EXPOSE });
    const index = {
      announce: (key: string) => void providers.set(key, (providers.get(key) ?? new Set()).add(self)),
      withdraw: (key: string) => void providers.get(key)?.delete(self),
      find: async function* (this: void, key: string) {
        counted();
        yield* providers.get(key) ?? [];
      },
    };
    const counted = (): void => void (this.lookups += 1);
    const open = (peer: string, protocol: string) => host.open(peer, protocol);
    const tenant = (): string | undefined => tenants.get(self);
    const lookup = new ServiceLookup({ ...base, host, gossip, services, index, open, tenant });
    for (const part of [gossip, router]) this.#stack.use(part);
    [this.gossip, this.services, this.lookup] = [gossip, this.#stack.use(services), this.#stack.use(lookup)];
  }

  async publish(name: string): Promise<void> {
    this.services.publish({ name, to: "127.0.0.1:80" }, false);
    await this.told();
  }

  /** Waits until the statement is there. */
  async told(): Promise<void> {
    await withDeadline(clock, 5_000, "telling", async (signal) => {
      while (this.gossip.said(SERVICES_TOPIC, this.id) === undefined) await clock.sleep(10, signal);
    });
  }

  async find(tenant?: string): Promise<string[]> {
    return (await this.lookup.find(CAM.name, tenant)).map(({ node }) => node);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

describe("looking for a service that nobody told of", () => {
  let providers: Providers;
  let tenants: Map<string, string>;
  let nodes: Node[];
  let seeker: Node;
  let holder: Node;
  let liar: Node;

  beforeEach(() => {
    providers = new Map();
    tenants = new Map([40, 41, 42].map((number) => [nodeIdOf(testKey(number).publicKey), "default"]));
    nodes = [40, 41, 42].map((number) => new Node(number, providers, tenants));
    [seeker, holder, liar] = nodes as [Node, Node, Node];
    MemoryHost.link(seeker.host, holder.host);
    MemoryHost.link(seeker.host, liar.host);
  });
  afterEach(async () => {
    for (const node of nodes) await node[Symbol.asyncDispose]();
  });

  /** The liar announces the service and answers with this. */
  const lies = (header: unknown, ...payload: Uint8Array[]): void => {
    providers.set(serviceKey(CAM), new Set([liar.id]));
    liar.host.handle(SERVICES_PROTOCOL, (stream) => {
      const frames = new FrameStream(stream, { maxHeaderBytes: 512, maxPayloadBytes: 0 });
      void frames.read().then(() => frames.send(header, payload));
    });
  };
  const statement = (key: Ed25519Key, origin: string): Uint8Array => {
    const record = {
      protocol: "tcp",
      labels: {},
      priority: 0,
      weight: 1,
      healthy: true,
      since: 1,
      reason: "",
      port: 554,
    } as const;
    const value = encodeCbor(writeInstances([{ ...record, name: CAM.name }]));
    return signStatement(key, "fleet", { topic: SERVICES_TOPIC, origin, boot: 1, seq: 1, value });
  };

  it("asks who announced it, and has it from that one's statement from then on", async () => {
    assert.deepEqual(seeker.services.directory.instances("cam"), []);
    await holder.publish("cam");
    assert.deepEqual(await seeker.find(), [holder.id]);
    assert.deepEqual(await seeker.find(), [holder.id]);
    assert.equal(seeker.lookups, 1);
  });

  it("finds it in the tenant of its node only", async () => {
    tenants.set(holder.id, "acme");
    await holder.publish("cam");
    assert.deepEqual(await seeker.find(), []);
    assert.deepEqual(await seeker.find("acme"), [holder.id]);
  });

  it("looks for what it did not find again only later", async () => {
    assert.deepEqual([await seeker.find(), await seeker.find()], [[], []]);
    assert.equal(seeker.lookups, 1);
    assert.deepEqual(await seeker.lookup.find("No Name"), []);
    assert.equal(seeker.lookups, 1);
  });

  it("is announced when it is published, and no more when it is not", async () => {
    await holder.publish("cam");
    assert.deepEqual([...(providers.get(serviceKey(CAM)) ?? [])], [holder.id]);
    holder.services.unpublish("cam");
    assert.deepEqual([...(providers.get(serviceKey(CAM)) ?? [])], []);
    assert.deepEqual(await seeker.find(), []);
  });

  it("goes on where one does not have what it announced", async () => {
    providers.set(serviceKey(CAM), new Set([seeker.id, liar.id, nodeIdOf(testKey(49).publicKey)]));
    await holder.publish("cam");
    assert.deepEqual(await seeker.find(), [holder.id]);
  });

  it("does not believe a statement in another's name, and parts with who gives one", async () => {
    lies({ found: true }, statement(liar.key, holder.id));
    assert.deepEqual(await seeker.find(), []);
    assert.equal(seeker.host.disconnected.get(liar.id), "passed on a statement with a wrong signature");
  });

  it("takes one's own word for one's own services, and nothing that is malformed", async () => {
    lies({ found: true }, statement(liar.key, liar.id));
    assert.deepEqual(await seeker.find(), [liar.id]);
  });

  for (const [what, header, payload] of [
    ["no answer at all", { found: false }, []],
    ["an answer that is none", { found: "yes" }, [statement(testKey(42), nodeIdOf(testKey(42).publicKey))]],
    ["bytes that are no statement", { found: true }, [Buffer.from("x")]],
    ["more than a statement may be", { found: true }, [Buffer.alloc(64 * 1024)]],
  ] as const) {
    it(`finds nothing in ${what}`, async () => {
      lies(header, ...payload);
      assert.deepEqual(await seeker.find(), []);
    });
  }

  it("is not answered where the question makes no sense, or after too many", async () => {
    await holder.publish("cam");
    const ask = async (question: unknown): Promise<unknown> => {
      const stream = await seeker.host.open(holder.id, SERVICES_PROTOCOL);
      const frames = new FrameStream(stream, { maxHeaderBytes: 512, maxPayloadBytes: 64 * 1024 });
      frames.send(question);
      return (await frames.read())?.header;
    };
    assert.deepEqual(await ask({ ...CAM, name: "other" }), { found: false });
    for (const bad of [{}, { ...CAM, more: 1 }, { ...CAM, name: "Cam" }, { ...CAM, tenant: "" }])
      await assert.rejects(ask(bad), { code: "core.stream-reset" }, JSON.stringify(bad));
    for (let i = 5; i < 10; i++) assert.deepEqual(await ask(CAM), { found: true });
    await assert.rejects(ask(CAM), { code: /^core\.stream-(?:reset|ended)$/u }); // as soon as it comes
  });
});
