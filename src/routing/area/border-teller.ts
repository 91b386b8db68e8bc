import type { Clock } from "#core";
import type { NodeId } from "#identity";
import { TellPace } from "../tell-pace.ts";
import { type BorderAdvertisement, leadsTo } from "./border-state.ts";

/** How often it is looked whether the fleet should hear of something else: as often as links are measured. */
const LOOK_MS = 2_000;
/** After news the first look is so soon: what changes together is told together. */
const SOON_MS = 20;
/** What went is told at once, so long after what was told before. */
const GONE_EVERY_MS = 100;
/** What came, or costs more, waits so long after what was told before, and longer each time while there is more all the time. */
const CAME_EVERY_MS = 2_000;
const WORSE_EVERY_MS = 10_000;
/** Who waits for better costs has a path meanwhile. */
const BETTER_EVERY_MS = 120_000;
/** Ways inside a site must cost so much more or less, without a unit and as a share, for the fleet to hear of it. */
const LEAST_CHANGE = 30;
const LEAST_SHARE = 0.25;

export type BorderTellerDeps = {
  clock: Clock;
  /** What this node would tell by now; `undefined`: it is no border. */
  look: () => BorderAdvertisement | undefined;
  /** `undefined`: it is no border any more. */
  publish: (advertisement: BorderAdvertisement | undefined) => void;
};

/** Tells the fleet what is behind this node when it is a border, and when that changes. */
export class BorderTeller implements Disposable {
  readonly #deps: BorderTellerDeps;
  readonly #stopping = new AbortController();
  readonly #pace = new TellPace();
  #told: BorderAdvertisement | undefined;
  #toldMs = Number.NEGATIVE_INFINITY;
  #lookAtMs = Number.POSITIVE_INFINITY;

  constructor(deps: BorderTellerDeps) {
    this.#deps = deps;
    void this.#run();
  }

  [Symbol.dispose](): void {
    this.#stopping.abort();
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
    const next = look();
    const news = newsIn(this.#told, next);
    if (news === undefined) return;
    const nowMs = clock.nowMs();
    const dueMs = this.#dueMs(news, nowMs);
    if (nowMs < dueMs) return this.#lookAt(Math.min(dueMs, nowMs + LOOK_MS));
    this.#told = next;
    this.#toldMs = nowMs;
    this.#pace.told(nowMs);
    publish(next);
  }

  #dueMs(news: BorderNews, nowMs: number): number {
    switch (news) {
      case "gone":
        return this.#toldMs + GONE_EVERY_MS;
      case "came":
        return this.#pace.nextMs(CAME_EVERY_MS, nowMs);
      case "worse":
        return this.#pace.nextMs(WORSE_EVERY_MS, nowMs);
      case "better":
        return this.#toldMs + BETTER_EVERY_MS;
    }
  }
}

/** What somebody should hear of, the most urgent first. */
export type BorderNews = "gone" | "came" | "worse" | "better";

/** How what a border would tell differs from what it told. Costs of links count as different at all: they are what was told inside the site, at its pace. */
export function newsIn(
  told: BorderAdvertisement | undefined,
  next: BorderAdvertisement | undefined,
): BorderNews | undefined {
  if (told === undefined) return next === undefined ? undefined : "came";
  if (next === undefined) return "gone";
  const [before, after] = [told, next];
  if ("only" in before.members !== "only" in after.members) return "only" in after.members ? "gone" : "came";
  const nodes = new Set([...listedIn(before), ...listedIn(after)]);
  if (lacks(before.links, after.links) || lacks(before.inside, after.inside)) return "gone";
  if ([...nodes].some((node) => leadsTo(before, node) && !leadsTo(after, node))) return "gone";
  if (before.transit && !after.transit) return "gone";
  if (lacks(after.links, before.links) || lacks(after.inside, before.inside)) return "came";
  if ([...nodes].some((node) => !leadsTo(before, node) && leadsTo(after, node))) return "came";
  if (before.transit !== after.transit) return "came";
  return dearer(before, after);
}

function listedIn({ members }: BorderAdvertisement): ReadonlySet<NodeId> {
  return "only" in members ? members.only : members.except;
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
