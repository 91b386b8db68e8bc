import type { Clock } from "#core";
import type { NodeId } from "#identity";
import { TellPace } from "../tell-pace.ts";
import { type Behind, type BorderAdvertisement, leadsTo, NO_BORDER, NOBODY } from "./border-state.ts";

/** How often it is looked whether the fleet should hear of something else: as often as links are measured. */
const LOOK_MS = 2_000;
/** After news the first look is so soon: what changes together is told together. */
const SOON_MS = 20;
/** What went is told at once, so long after what was told before. */
const GONE_EVERY_MS = 100;
/** What came waits so long after what was told before: there may be no other way to it. */
const CAME_EVERY_MS = 2_000;
/** What costs more waits longer each time while there is more all the time. */
const WORSE_EVERY_MS = 10_000;
/** Who waits for better costs has a path meanwhile. */
const BETTER_EVERY_MS = 120_000;
/** Ways inside a site must cost so much more or less, without a unit and as a share, for the fleet to hear of it. */
const LEAST_CHANGE = 30;
const LEAST_SHARE = 0.25;

/** What a border tells; each part when it changes. */
export type BorderWord = { border: BorderAdvertisement; behind: Behind };

export type BorderTellerDeps = {
  clock: Clock;
  /** What this node would tell by now; `undefined`: it is no border. */
  look: () => BorderWord | undefined;
  publish: (parts: Partial<BorderWord>) => void;
};

/** Tells the fleet what is behind this node when it is a border, and when that changes. */
export class BorderTeller implements Disposable {
  readonly #deps: BorderTellerDeps;
  readonly #stopping = new AbortController();
  readonly #pace = new TellPace();
  /** `undefined`: nothing since the start, though others may know what it told before. */
  #told: BorderWord | undefined;
  #isPast = false;
  #toldMs = Number.NEGATIVE_INFINITY;
  #lookAtMs = Number.POSITIVE_INFINITY;

  constructor(deps: BorderTellerDeps) {
    this.#deps = deps;
    void this.#run();
  }

  [Symbol.dispose](): void {
    this.#stopping.abort();
  }

  /** Others know what this node told before it started: it says what is so now, also if that is that it is no border. */
  correct(): void {
    this.#isPast = true;
    this.look();
  }

  /** Looks soon whether there is something to tell. */
  look(): void {
    this.#lookAt(this.#deps.clock.nowMs() + SOON_MS);
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (!signal.aborted) this.#lookNow();
    }
  }

  #lookAt(atMs: number): void {
    const { clock } = this.#deps;
    if (this.#lookAtMs <= atMs) return;
    this.#lookAtMs = atMs;
    clock.sleep(atMs - clock.nowMs(), this.#stopping.signal).then(
      () => {
        if (this.#lookAtMs === atMs) this.#lookNow();
      },
      () => undefined, // the node stops
    );
  }

  #lookNow(): void {
    this.#lookAtMs = Number.POSITIVE_INFINITY;
    const { clock, look, publish } = this.#deps;
    const word = look();
    if (word === undefined && this.#told === undefined && !this.#isPast) return;
    const next = word ?? { border: NO_BORDER, behind: NOBODY };
    const news = {
      border: this.#told === undefined ? "came" : newsOf(this.#told.border, next.border),
      behind: this.#told === undefined ? "came" : newsBehind(this.#told.behind, next.behind),
    };
    const urgent = URGENCY.find((one) => one === news.border || one === news.behind);
    if (urgent === undefined) return;
    const nowMs = clock.nowMs();
    const dueMs = this.#dueMs(urgent, nowMs);
    if (nowMs < dueMs) return this.#lookAt(Math.min(dueMs, nowMs + LOOK_MS));
    const parts = { ...(news.border && { border: next.border }), ...(news.behind && { behind: next.behind }) };
    this.#told = { ...(this.#told ?? next), ...parts };
    this.#toldMs = nowMs;
    this.#pace.told(nowMs);
    publish(parts);
  }

  #dueMs(news: BorderNews, nowMs: number): number {
    switch (news) {
      case "gone":
        return this.#toldMs + GONE_EVERY_MS;
      case "came":
        return this.#toldMs + CAME_EVERY_MS;
      case "worse":
        return this.#pace.nextMs(WORSE_EVERY_MS, nowMs);
      case "better":
        return this.#toldMs + BETTER_EVERY_MS;
    }
  }
}

/** What the fleet should hear of, the most urgent first. */
const URGENCY = ["gone", "came", "worse", "better"] as const;
export type BorderNews = (typeof URGENCY)[number];

/** How what a border would tell of its links differs from what it told. Costs of links count as different at all: they are what was told inside the site, at its pace. */
export function newsOf(told: BorderAdvertisement, next: BorderAdvertisement): BorderNews | undefined {
  if (lacks(told.links, next.links) || lacks(told.inside, next.inside)) return "gone";
  if (told.transit !== next.transit) return next.transit ? "came" : "gone";
  if (lacks(next.links, told.links) || lacks(next.inside, told.inside)) return "came";
  return dearer(told, next);
}

/** How whom a border reaches differs from whom it said that it does. */
export function newsBehind(told: Behind, next: Behind): "gone" | "came" | undefined {
  if ("only" in told !== "only" in next) return "only" in next ? "gone" : "came";
  const nodes = [...listedIn(told), ...listedIn(next)];
  if (nodes.some((node) => leadsTo(told, node) && !leadsTo(next, node))) return "gone";
  return nodes.some((node) => !leadsTo(told, node) && leadsTo(next, node)) ? "came" : undefined;
}

function listedIn(behind: Behind): ReadonlySet<NodeId> {
  return "only" in behind ? behind.only : behind.except;
}

/** Whether `after` lacks something that `before` has. */
function lacks(before: ReadonlyMap<NodeId, unknown>, after: ReadonlyMap<NodeId, unknown>): boolean {
  return before.keys().some((node) => !after.has(node));
}

function dearer(before: BorderAdvertisement, after: BorderAdvertisement): "worse" | "better" | undefined {
  const changes = [...after.inside].map(([node, cost]) => {
    const was = before.inside.get(node) ?? cost;
    return Math.abs(cost - was) < Math.max(LEAST_CHANGE, LEAST_SHARE * was) ? 0 : cost - was;
  });
  for (const [node, { latency, loss, load, money }] of after.links) {
    const was = before.links.get(node);
    if (was !== undefined) changes.push(latency + loss + load + money - was.latency - was.loss - was.load - was.money);
  }
  if (changes.some((change) => change > 0)) return "worse";
  return changes.some((change) => change < 0) ? "better" : undefined;
}
