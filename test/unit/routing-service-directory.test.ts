import assert from "node:assert/strict";
import type { DatabaseSync } from "node:sqlite";
import { Ed25519Key, type Log, SeededRandom, SILENT_LOG, VirtualClock } from "#core";
import { nodeIdOf, openStateDatabase } from "#identity";
import { Gossip } from "#mesh";
import { DEFAULT_EXPOSE, Router, Services } from "#routing";
import { SERVICES_TOPIC, writeInstances } from "../../src/routing/service/instance-record.ts";
import { PublishedServices } from "../../src/routing/service/published-services.ts";
import { parseService } from "../../src/routing/service/service.ts";
import { ServiceTeller } from "../../src/routing/service/service-teller.ts";
import { NOW_MS } from "../support/fleet.ts";
import { MemoryHost } from "../support/memory-mesh.ts";

const NAMES = ["a", "b", "c"];
const WIRE_MS = 5;
/** What is told is heard by then, links among it. */
const SETTLED_MS = 3_000;

type Node = { host: MemoryHost; gossip: Gossip; router: Router; services: Services };

/** Three nodes in a row, a – b – c, on virtual time. */
class World implements AsyncDisposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly tenants: Record<string, string | undefined> = { a: "default", b: "default", c: "acme" };
  readonly #keys = new Map<string, Ed25519Key>();
  readonly #dbs = new Map<string, DatabaseSync>();
  readonly #nodes = new Map<string, Node>();
  #boot = 0;

  constructor() {
    for (const name of NAMES) this.#keys.set(name, new Ed25519Key(new SeededRandom(name.charCodeAt(0)).bytes(32)));
    for (const name of NAMES) this.start(name);
    this.link("a", "b");
    this.link("b", "c");
  }

  id(name: string): string {
    return nodeIdOf((this.#keys.get(name) as Ed25519Key).publicKey);
  }

  nameOf(node: string): string {
    return NAMES.find((name) => this.id(name) === node) ?? node;
  }

  of(name: string): Node {
    return this.#nodes.get(name) as Node;
  }

  start(name: string): void {
    const { clock } = this;
    const key = this.#keys.get(name) as Ed25519Key;
    const self = this.id(name);
    const db = this.#dbs.get(name) ?? openStateDatabase(":memory:");
    this.#dbs.set(name, db);
    const host = new MemoryHost(self, "one", (deliver) => void clock.sleep(WIRE_MS).then(deliver));
    const tenantOf = (node: string): string | undefined => this.tenants[this.nameOf(node)];
    const memberOf = (node: string): { tenant: string } | undefined => {
      const tenant = tenantOf(node);
      return tenant === undefined ? undefined : { tenant };
    };
    const random = new SeededRandom(1);
    const isMember = (node: string): boolean => memberOf(node) !== undefined;
    const deps = { host, site: () => "one", isMember, clock, random, self };
    const gossip = new Gossip({ ...deps, key, boot: ++this.#boot, fleet: () => "fleet" });
    const router = new Router({ ...deps, gossip, transit: true });
    const trustedMs = (): number => clock.wallMs();
    const expose = DEFAULT_EXPOSE;
    const services = new Services({ ...deps, db, log: SILENT_LOG, trustedMs, gossip, router, memberOf, expose });
    this.#nodes.set(name, { host, gossip, router, services });
  }

  async stop(name: string): Promise<void> {
    const { host, gossip, router, services } = this.of(name);
    await services[Symbol.asyncDispose]();
    router[Symbol.dispose]();
    gossip[Symbol.dispose]();
    await host[Symbol.asyncDispose]();
  }

  link(a: string, b: string): void {
    MemoryHost.link(this.of(a).host, this.of(b).host);
  }

  async settle(): Promise<void> {
    await this.clock.advanceMs(SETTLED_MS);
  }

  /** Who publishes a service as a node sees it: `a b?`, in no order; `?` marks what is not healthy. */
  seen(by: string, name: string, tenant?: string): string {
    const found = this.of(by).services.directory.instances(name, tenant);
    return found
      .map(({ node, healthy }) => `${this.nameOf(node)}${healthy ? "" : "?"}`)
      .toSorted()
      .join(" ");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of NAMES) await this.stop(name);
  }
}

describe("service directory", () => {
  let world: World;
  const publish = (node: string, name: string, more: object = {}, replace = false): void =>
    world.of(node).services.publish({ name, to: "127.0.0.1:80", ...more }, replace);

  beforeEach(async () => {
    world = new World();
    await world.settle();
  });
  afterEach(() => world[Symbol.asyncDispose]());

  it("knows what others publish 100 ms later, over two links, and what the way there costs", async () => {
    publish("b", "cam", { labels: { tier: "edge" }, priority: 3, weight: 9, protocol: "udp" });
    await world.clock.advanceMs(100);
    const [seen, ...more] = world.of("a").services.directory.instances("cam");
    assert.deepEqual(more, []);
    assert.ok(seen !== undefined && seen.cost > 0);
    assert.deepEqual(
      { ...seen, cost: 0 },
      {
        node: world.id("b"),
        name: "cam",
        tenant: "default",
        protocol: "udp",
        labels: { tier: "edge" },
        priority: 3,
        weight: 9,
        healthy: true,
        cost: 0,
        hops: 1,
        since: Math.floor((NOW_MS + SETTLED_MS) / 1_000),
        reason: "",
        port: 80,
      },
    );
    assert.equal(world.of("c").services.directory.all()[0]?.node, world.id("b"));
  });

  it("counts a service in the tenant of its node's member document, also when that changes", async () => {
    publish("a", "cam");
    publish("c", "cam");
    await world.settle();
    assert.deepEqual([world.seen("a", "cam"), world.seen("c", "cam"), world.seen("a", "cam", "acme")], ["a", "c", "c"]);
    world.of("c").gossip.publish(SERVICES_TOPIC, { ...(writeInstances([]) as object), tenant: "default" });
    await world.settle();
    assert.equal(world.seen("a", "cam"), "a");
    publish("c", "pump");
    await world.settle();
    world.tenants["c"] = "default";
    assert.equal(world.seen("a", "pump"), "c");
  });

  it("drops an instance with its route, and has it again with that", async () => {
    publish("b", "cam");
    publish("a", "cam");
    await world.settle();
    assert.equal(world.seen("a", "cam"), "a b");
    world.of("a").host.disconnect(world.id("b"), "cut");
    assert.equal(world.seen("a", "cam"), "a");
    world.link("a", "b");
    await world.settle();
    assert.equal(world.seen("a", "cam"), "a b");
  });

  it("drops what a node said that is no member any more", async () => {
    publish("b", "cam");
    await world.settle();
    world.tenants["b"] = undefined;
    assert.equal(world.seen("a", "cam"), "");
    world.tenants["b"] = "default";
    assert.equal(world.seen("a", "cam"), "", "what it said before is not believed again");
  });

  it("takes what makes no sense for no service at all", async () => {
    publish("b", "cam");
    await world.settle();
    world.of("b").gossip.publish(SERVICES_TOPIC, { services: [["cam"]] });
    await world.settle();
    assert.equal(world.seen("a", "cam"), "");
  });

  it("calls back when something comes and goes, here and elsewhere", async () => {
    let called = 0;
    const stop = world.of("a").services.directory.onNews(() => (called += 1));
    const since = async (act: () => void): Promise<boolean> => {
      const before = called;
      act();
      await world.clock.advanceMs(600);
      return called > before;
    };
    assert.ok(await since(() => publish("a", "cam")), "published here");
    assert.ok(await since(() => publish("b", "cam")), "published there");
    assert.ok(await since(() => world.of("b").services.unpublish("cam")), "unpublished there");
    stop();
    const before = called;
    publish("a", "more");
    assert.equal(called, before);
  });

  it("has what a node published again when it starts anew, and what it unpublished no more", async () => {
    publish("b", "cam", { priority: 4 });
    publish("b", "old");
    await world.settle();
    world.of("b").services.unpublish("old");
    await world.stop("b"); // before it could tell
    world.start("b");
    world.link("a", "b");
    await world.settle();
    assert.deepEqual([world.seen("a", "cam"), world.seen("a", "old")], ["b", ""]);
    world.of("b").services.unpublish("cam");
    await world.stop("b");
    world.start("b");
    world.link("a", "b");
    await world.settle();
    assert.equal(world.seen("a", "cam"), "", "also when there is none left");
  });

  it("says nothing of a node that never published", () => {
    for (const name of NAMES) assert.deepEqual(world.of(name).gossip.latest(SERVICES_TOPIC), []);
  });

  it("refuses what could not be told, while all that was accepted can", () => {
    const labels = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`${i}${"k".repeat(60)}`, "v".repeat(63)]));
    let accepted = 0;
    const fill = (): void => {
      for (; accepted < 50; accepted++) publish("a", `s${accepted}`, { labels });
    };
    assert.throws(fill, { code: "routing.too-many-services", exit: "conflict" });
    assert.ok(accepted > 10, String(accepted));
    assert.equal(world.of("a").services.directory.all().length, accepted);
    publish("a", "s0", { labels, priority: 1 }, true); // in place of itself
  });
});

const RECORD = {
  protocol: "tcp",
  labels: {},
  priority: 0,
  weight: 1,
  healthy: true,
  since: 1,
  reason: "",
  port: 554,
} as const;

describe("telling of services", () => {
  it("puts together what changes at once, keeps its distance, says failures at once, and nothing twice", async () => {
    const clock = new VirtualClock(NOW_MS);
    const told: number[] = [];
    let name = "a";
    const teller = new ServiceTeller({
      clock,
      gossip: { publish: () => told.push(clock.nowMs()) },
      records: () => [{ ...RECORD, name }],
    });
    const change = (to: string, urgent = false): void => {
      name = to;
      teller.changed(urgent);
    };
    change("b");
    change("c");
    await clock.advanceMs(100);
    assert.deepEqual(told, [50], "the first, together");
    change("d");
    change("e");
    await clock.advanceMs(900);
    assert.deepEqual(told, [50, 550], "500 ms apart");
    change("f");
    await clock.advanceMs(100);
    change("g");
    await clock.advanceMs(100);
    change("h", true);
    await clock.advanceMs(1_000);
    assert.deepEqual(told, [50, 550, 1_050, 1_250], "a failure does not wait, and takes with it what did");
    change("h");
    await clock.advanceMs(1_000);
    assert.equal(told.length, 4, "nothing new");
    change("i");
    teller[Symbol.dispose]();
    change("j");
    await clock.advanceMs(1_000);
    assert.equal(told.length, 4, "it has stopped");
  });

  it("tells 8 KiB a second of services that are published one by one, after a burst, and failures at once", async () => {
    const clock = new VirtualClock(NOW_MS);
    const toldMs: number[] = [];
    let count = 400;
    const teller = new ServiceTeller({
      clock,
      gossip: { publish: () => toldMs.push(clock.nowMs()) },
      records: () => Array.from({ length: count }, (_, i) => ({ ...RECORD, name: `a-service-${i}` })),
    });
    while (clock.nowMs() < 60_000) {
      count += 1;
      teller.changed(false);
      await clock.advanceMs(100);
    }
    const bytes = JSON.stringify(writeInstances([{ ...RECORD, name: "a-service-500" }])).length * 500;
    const expected = (60 * 8 * 1024 + 64 * 1024) / bytes;
    assert.ok(Math.abs(toldMs.length - expected) < expected / 4, `${toldMs.length} tellings of ${expected}`);
    assert.deepEqual(toldMs.slice(0, 3), [50, 550, 1_050], "the first ones do not wait");
    const before = toldMs.length;
    count += 1;
    teller.changed(true);
    await clock.advanceMs(50);
    assert.equal(toldMs.length, before + 1);
    teller[Symbol.dispose]();
  });
});

describe("published services", () => {
  const open = (db: DatabaseSync, log: Log = SILENT_LOG): PublishedServices =>
    new PublishedServices({ db, log, tenant: () => "default" });
  const cam = parseService({ name: "cam", to: "192.168.7.20:554", check: "exec=a | b", labels: { x: "y" }, weight: 0 });

  it("are there again when the database is opened again", () => {
    const db = openStateDatabase(":memory:");
    assert.equal(open(db).wasUsed, false);
    assert.equal(open(db).put(cam, false), true);
    assert.deepEqual(open(db).all(), [cam]);
    assert.equal(open(db).delete("cam"), true);
    assert.deepEqual([open(db).all(), open(db).wasUsed], [[], true]);
    assert.equal(open(db).delete("cam"), false);
  });

  it("are replaced only when that is asked for", () => {
    const services = open(openStateDatabase(":memory:"));
    const other = { ...cam, target: { host: "192.168.7.21", port: 554 } };
    services.put(cam, false);
    assert.equal(services.put({ ...cam }, false), false, "the very same again is no change");
    assert.throws(() => services.put(other, false), { code: "routing.service-exists", exit: "conflict" });
    assert.deepEqual(services.get("cam"), cam);
    assert.equal(services.put(other, true), true);
    assert.deepEqual(services.targetOf("default", "cam"), { host: "192.168.7.21", port: 554, protocol: "tcp" });
  });

  it("have a target in their own tenant only", () => {
    const services = open(openStateDatabase(":memory:"));
    services.put(cam, false);
    assert.equal(services.targetOf("acme", "cam"), undefined);
    assert.equal(services.targetOf("default", "pump"), undefined);
  });

  it("are 1,000 at most", () => {
    const db = openStateDatabase(":memory:");
    db.exec("PRAGMA synchronous = OFF");
    const services = open(db);
    for (let i = 0; i < 1_000; i++) services.put({ ...cam, name: `cam-${i}` }, false);
    assert.throws(() => services.put(cam, false), { code: "routing.too-many-services", exit: "conflict" });
    services.put({ ...cam, name: "cam-7", weight: 3 }, true);
  });

  it("leave out a row that another version wrote, and keep it", () => {
    const db = openStateDatabase(":memory:");
    open(db).put(cam, false);
    db.prepare("INSERT INTO services VALUES ('odd', ?)").run(
      JSON.stringify({ name: "odd", to: "quic:1", later: true }),
    );
    const warned: unknown[] = [];
    const log: Log = { ...SILENT_LOG, warn: (_, fields) => void warned.push(fields?.["name"]) };
    assert.deepEqual(open(db, log).all(), [cam]);
    assert.deepEqual(warned, ["odd"]);
    assert.equal(db.prepare("SELECT count(*) AS n FROM services").get()?.["n"], 2);
  });
});
