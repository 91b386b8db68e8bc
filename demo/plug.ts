import { writeFile } from "node:fs/promises";
import path from "node:path";
import { type Clock, type Random, withDeadline } from "#core";
import type { Progress } from "./distribution.ts";
import type { DemoNode, Fleet } from "./fleet.ts";
import type { FleetPlan } from "./plan.ts";
import { Session, type SessionRecord } from "./session.ts";
import type { View } from "./view.ts";

/** Shares of the file that the nodes have in the mean when something happens. */
const WHEN = { session: 0.1, kill: 0.3, another: 0.6 };
const POLL_MS = 100;
/** For a circuit to go another way. */
const MOVE_MS = 30_000;
/** Sites and nodes of each that it takes: the session's ends, somebody to carry it, and a leader to take over. */
const LEAST = { sites: 3, nodes: 3 };

/** Who was killed with -9, what for, and how much of the file it had when it was last asked. */
export type Killed = { node: string; was: string; hadBytes: number };

/** What pulling the plug showed. `via`: who carried the session before and after. `leader`: who brought the most into the killed gateway's site over the WAN. */
export type PlugRecord = {
  client: string;
  server: string;
  killed: Killed[];
  via: { before: string; after: string };
  leader: { site: string; before: string; after: string };
  session: SessionRecord;
};

/** What the file's way is seen by: the latest of each node, until all have it. */
export type Flow = { latest: () => readonly Progress[]; isOver: () => boolean };

export type PlugDeps = { clock: Clock; random: Random; view: View; signal: AbortSignal; workFolder: string };

/** Whether there are enough nodes to kill some. */
export function canPull(plan: FleetPlan): boolean {
  const sizes = plan.sites.slice(1).map(({ name }) => plan.nodes.filter(({ site }) => site.name === name).length);
  return plan.sites.length >= LEAST.sites && sizes.slice(0, 2).every((size) => size >= LEAST.nodes);
}

/** The node of a site that has brought the most into it over the WAN, since `since` if that is given. */
export function leaderOf(
  site: string,
  latest: readonly Progress[],
  since: readonly Progress[] = [],
): string | undefined {
  const before = new Map(since.map(({ node, detail }) => [node, detail?.local.bytesFromWan ?? 0]));
  const ofSite = latest.flatMap(({ node, detail }) =>
    detail?.local.site === site ? [{ node, bytes: detail.local.bytesFromWan - (before.get(node) ?? 0) }] : [],
  );
  const [most] = ofSite.toSorted((a, b) => b.bytes - a.bytes);
  return most === undefined || most.bytes === 0 ? undefined : most.node;
}

function isWhole(detail: Progress["detail"]): boolean {
  return detail !== undefined && detail.local.bytes >= detail.sizeBytes;
}

/** How much of the file the nodes have in the mean, but for the publisher. */
export function shareOf(latest: readonly Progress[]): number {
  const shares = latest.flatMap(({ detail }) =>
    detail?.local.wanted === true ? [detail.local.bytes / detail.sizeBytes] : [],
  );
  return shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
}

/**
 * While the file flows: a session from one site to another, which a node in between carries; that node and its site's leader are killed with
 * -9, and later one more. The session goes on over another, and another node brings the rest in.
 */
export class Plug {
  readonly #deps: PlugDeps;
  readonly #fleet: Fleet;
  readonly #plan: FleetPlan;
  readonly #flow: Flow;
  readonly #killed: Killed[] = [];
  #ends: readonly DemoNode[] = [];

  constructor(deps: PlugDeps, fleet: Fleet, plan: FleetPlan, flow: Flow) {
    this.#deps = deps;
    this.#fleet = fleet;
    this.#plan = plan;
    this.#flow = flow;
  }

  /** Those that may be killed: neither the publisher, who may have the only whole copy, nor the session's ends. */
  victims(): DemoNode[] {
    const spared = new Set([this.#fleet.nodes[0], ...this.#ends]);
    return this.#fleet.living().filter((node) => !spared.has(node));
  }

  /** Does nothing to one that is dead. */
  async kill(node: DemoNode, was: string): Promise<void> {
    if (!this.#fleet.living().includes(node)) return;
    const { serial } = node.plan;
    const seen = this.#flow.latest().find((one) => one.node === serial);
    this.#killed.push({ node: serial, was, hadBytes: seen?.detail?.local.bytes ?? 0 });
    await this.#fleet.kill(node);
  }

  /**
   * Resolves when all who live have the file; `undefined`: they had it before anybody could be killed. `alsoByChance`: whether one more is killed, by chance.
   */
  async pull(alsoByChance: boolean): Promise<PlugRecord | undefined> {
    const { view, clock, random } = this.#deps;
    if (!(await this.#untilShare(WHEN.session))) return this.#tooLate();
    const [client, server] = this.#chooseEnds();
    this.#ends = [client, server];
    await using stack = new AsyncDisposableStack();
    await this.#part(client, server);
    stack.defer(() => this.#onFirst("delete", "topology", "main").catch(() => undefined)); // the demo ends before that
    await using session = await Session.start(clock, this.#fleet, client, server);
    const before = await this.#carrierOf(client);
    view.step(
      `${session.program} downloads from ${server.plan.serial} at ${client.plan.serial}; ${before.plan.serial} carries it`,
    );
    if (!(await this.#untilShare(WHEN.kill))) return this.#tooLate();
    const site = before.plan.site.name;
    const seen = this.#flow.latest();
    const leader = leaderOf(site, seen);
    const leading = this.victims().find(({ plan }) => plan.serial === leader);
    await Promise.all([
      this.kill(before, before === leading ? "carried the session and led its site" : "carried the session"),
      leading === undefined || leading === before ? undefined : this.kill(leading, `led ${site}`),
    ]);
    view.step(`kill -9: ${this.#killed.map(({ node, was }) => `${node}, which ${was}`).join("; ")}`);
    await session.untilMore("the session to go on");
    const after = await this.#carrierOf(client, before);
    view.step(`the session goes on: ${after.plan.serial} carries it`);
    if (alsoByChance && (await this.#untilShare(WHEN.another))) await this.#killOne(random);
    while (!this.#flow.isOver()) await clock.sleep(POLL_MS, this.#deps.signal);
    const heir = leaderOf(site, this.#flow.latest(), seen);
    return {
      client: client.plan.serial,
      server: server.plan.serial,
      killed: [...this.#killed],
      via: { before: before.plan.serial, after: after.plan.serial },
      leader: { site, before: leader ?? "", after: heir ?? "" },
      session: await session.finish(),
    };
  }

  /** Those of the second and the third site that bring the least into it over the WAN: who leads is to be killed. */
  #chooseEnds(): [DemoNode, DemoNode] {
    const bytes = new Map(this.#flow.latest().map(({ node, detail }) => [node, detail?.local.bytesFromWan ?? 0]));
    const bytesOf = ({ plan }: DemoNode): number => bytes.get(plan.serial) ?? 0;
    const [client, server] = this.#plan.sites.slice(1, 3).map(({ name }) => {
      const ofSite = this.#fleet.living().filter(({ plan }) => plan.site.name === name);
      return ofSite.toSorted((a, b) => bytesOf(a) - bytesOf(b))[0];
    });
    if (client === undefined || server === undefined) throw new RangeError("a site has no node to spare");
    return [client, server];
  }

  /** Forbids the link between two nodes, so that somebody else has to carry what they say to each other. */
  async #part(a: DemoNode, b: DemoNode): Promise<void> {
    const names = await Promise.all([a, b].map(async ({ client }) => (await client.call("status", {})).name));
    const file = path.join(this.#deps.workFolder, "topology.yaml");
    const lines = ["apiVersion: portolan.dev/v1", "kind: Topology", "metadata: { name: main }", "spec:", "  links:"];
    await writeFile(file, [...lines, `    - { from: ${names[0]}, to: ${names[1]}, forbid: true }`, ""].join("\n"));
    await this.#onFirst("apply", "-f", file);
  }

  /** Runs a command where the operators' keys are. */
  async #onFirst(...args: string[]): Promise<void> {
    const [first] = this.#fleet.nodes;
    if (first !== undefined) await this.#fleet.cli(first, args);
  }

  /** Who carries the session at its first step, once that is another one than `before`. */
  async #carrierOf(client: DemoNode, before?: DemoNode): Promise<DemoNode> {
    const { clock, signal } = this.#deps;
    const look = async (inner: AbortSignal): Promise<DemoNode> => {
      for (; ; await clock.sleep(POLL_MS, inner)) {
        const { items } = await client.client.call("circuits.list", {}, { signal: inner });
        const names = items.flatMap(({ role, via = [] }) => (role === "source" ? via.slice(0, 1) : []));
        const serials = new Set(names.map((name) => this.#fleet.serialOf(name)));
        const found = this.#fleet.living().find((node) => node !== before && serials.has(node.plan.serial));
        if (found !== undefined) return found;
      }
    };
    return withDeadline(clock, MOVE_MS, "looking for who carries the session", look, signal);
  }

  /** One that is still to get some of the file, if there is one. */
  async #killOne(random: Random): Promise<void> {
    const lacking = new Set(this.#flow.latest().flatMap(({ node, detail }) => (isWhole(detail) ? [] : [node])));
    const all = this.victims();
    const lackingVictims = all.filter(({ plan }) => lacking.has(plan.serial));
    const victims = lackingVictims.length > 0 ? lackingVictims : all;
    const victim = victims[random.below(victims.length)];
    if (victim === undefined) return;
    await this.kill(victim, "was picked by chance");
    this.#deps.view.step(`kill -9: ${victim.plan.serial}, which was picked by chance`);
  }

  /** `false`: the file is everywhere already. */
  async #untilShare(share: number): Promise<boolean> {
    const { clock, signal } = this.#deps;
    while (!this.#flow.isOver() && shareOf(this.#flow.latest()) < share) await clock.sleep(POLL_MS, signal);
    return !this.#flow.isOver();
  }

  #tooLate(): undefined {
    this.#deps.view.step("the file was everywhere before a plug could be pulled; a larger --file gives time for that");
  }
}
