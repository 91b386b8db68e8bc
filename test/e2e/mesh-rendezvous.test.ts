import assert from "node:assert/strict";
import { SILENT_LOG, SystemClock, SystemRandom } from "#core";
import {
  type Gate,
  type Host,
  type PeerMemory,
  type RememberedPeer,
  type Rendezvous,
  type RendezvousOptions,
  startHost,
  startRendezvous,
} from "#mesh";

const clock = new SystemClock();
const random = new SystemRandom();
const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam" }) };

class Shelf implements PeerMemory {
  peers: RememberedPeer[] = [];
  load(): RememberedPeer[] {
    return this.peers;
  }
  save(peers: readonly RememberedPeer[]): void {
    this.peers = [...peers];
  }
}

type Node = { host: Host; rendezvous: Rendezvous; shelf: Shelf };
let running: Node[] = [];

type Setting = { shelf?: Shelf; neighbours?: RendezvousOptions["neighbours"] };

async function node(seeds: readonly string[], { shelf = new Shelf(), neighbours = {} }: Setting = {}): Promise<Node> {
  const seed = random.bytes(32);
  const host = await startHost(
    { clock, random, log: SILENT_LOG, seed, gate: OPEN_GATE },
    { listen: ["/ip4/127.0.0.1/tcp/0/tls"] },
  );
  const rendezvous = await startRendezvous(
    {
      clock,
      random,
      log: SILENT_LOG,
      host,
      memory: shelf,
      fleet: () => "f1",
      membership: () => ({ site: "berlin" }),
      siteOf: () => undefined,
      seeds: () => seeds,
      otherFleet: () => undefined,
    },
    { mdns: false, neighbours },
  );
  running.push({ host, rendezvous, shelf });
  return { host, rendezvous, shelf };
}

async function stop(...nodes: Node[]): Promise<void> {
  running = running.filter((each) => !nodes.includes(each));
  for (const each of nodes) {
    await each.rendezvous[Symbol.asyncDispose]();
    await each.host[Symbol.asyncDispose]();
  }
}

/** Waits until the host has this many neighbours. */
function neighbours(host: Host, count: number): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (host.sessions().length !== count) return;
      unsubscribe();
      resolve();
    };
    const unsubscribe = host.onSession(look);
    look();
  });
}

describe("mesh: rendezvous", () => {
  afterEach(() => stop(...running));

  it("finds the whole fleet from one address in the token", async () => {
    const first = await node([]);
    const rest = [
      await node(first.host.addresses()),
      await node(first.host.addresses()),
      await node(first.host.addresses()),
    ];
    await Promise.all([first, ...rest].map(({ host }) => neighbours(host, 3)));
  });

  it("parts from those who can spare it when it has too many, and nobody is left out", async () => {
    const few = { neighbours: { wantedHere: 3, wantedElsewhere: 0, most: 4 } };
    const hub = await node([], few);
    const reasons: (string | undefined)[] = [];
    hub.host.onSession((_, event, reason) => event === "down" && reasons.push(reason));
    const rest = [];
    for (let i = 0; i < 7; i++) rest.push(await node(hub.host.addresses(), few));
    const all = [hub, ...rest].map(({ host }) => host);
    const settled = (): boolean => {
      const bounded = all.every((host) => host.sessions().length >= 1 && host.sessions().length <= 4);
      const reached = new Set([hub.host.nodeId]);
      for (const id of reached) {
        for (const { nodeId } of all.find((host) => host.nodeId === id)?.sessions() ?? []) reached.add(nodeId);
      }
      return bounded && reached.size === all.length && reasons.length >= 3;
    };
    while (!settled()) await clock.sleep(20);
    // The others have too many now and then, too, and then it is they who part from it.
    assert.ok(reasons.includes("there are neighbours enough"));
    assert.deepEqual(
      reasons.filter((why) => why !== "there are neighbours enough" && why !== "the peer ended the session"),
      [],
    );
  });

  it("comes back without a token from what it remembered, also after the first node is gone", async () => {
    const first = await node([]);
    const second = await node(first.host.addresses());
    const third = await node(first.host.addresses());
    await neighbours(third.host, 2);
    await stop(first);
    await stop(third);
    assert.ok(third.shelf.peers.some(({ nodeId }) => nodeId === second.host.nodeId));
    const again = await node([], { shelf: third.shelf });
    await neighbours(again.host, 1);
    assert.ok(again.host.session(second.host.nodeId));
  });

  it("dials again when a neighbour is lost", async () => {
    const first = await node([]);
    const second = await node(first.host.addresses());
    await neighbours(second.host, 1);
    const down = neighbours(second.host, 0);
    first.host.disconnect(second.host.nodeId, "test");
    await down;
    await neighbours(second.host, 1);
  });
});
