import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Clock, SeededRandom } from "#core";
import { cpuMs, judge } from "./judge.ts";
import { minimise } from "./minimise.ts";
import { mutate } from "./mutate.ts";
import { pick, type FuzzTarget } from "./target.ts";

/** Inputs that led to something new and are mutated further. */
const MAX_LIVE = 1_000;
const MAX_LIVE_BYTES = 4 * 1024;
/** Caches fill and code is compiled during the first inputs; memory is compared after them. */
const WARM_UP_INPUTS = 2_000;
/** What may lie in memory after a campaign that did not before: sorts of input, and pages that the heap does not give back. */
const MAX_KEPT_BYTES = 24 * 1024 * 1024;

export type CampaignOptions = {
  seed: number;
  /** Processor time of this thread after which it ends. Does not matter to which input comes when. */
  ms: number;
  /** Inputs of earlier times, from test/corpus. */
  corpus: readonly Uint8Array[];
  /** Told of each input before it is fed, so that somebody else can name the one that never came back. */
  about?: (input: Uint8Array) => void;
  /** Stops here even if there is time left. */
  maxInputs?: number;
};

/** `failure`: what went wrong, with the input as it was and the shortest that does the same. */
export type Campaign = {
  inputs: number;
  /** Kinds of answer seen, by which new input is told from old. */
  sorts: number;
  /** Memory in use after, less that after the first inputs. */
  keptBytes: number;
  slowestMs: number;
  /** Inputs of which each brought a new kind of answer, shortest first. */
  telling: readonly Uint8Array[];
  failure?: { what: string; input: Uint8Array; minimal: Uint8Array };
};

/** Feeds a target with mutations of its seeds until something breaks or the time is up. The same seed feeds the same inputs. */
export async function runCampaign(target: FuzzTarget, clock: Clock, options: CampaignOptions): Promise<Campaign> {
  const random = new SeededRandom(options.seed);
  const eat = await target.prepare();
  const seeds = [...target.seeds(), ...options.corpus];
  const live = [...seeds];
  const seen = new Map<string, Uint8Array>();
  const endMs = cpuMs() + options.ms;
  const campaign: Campaign = { inputs: 0, sorts: 0, keptBytes: 0, slowestMs: 0, telling: [] };
  let beforeBytes: number | undefined;
  const { maxInputs = Number.POSITIVE_INFINITY } = options;
  while (campaign.inputs < seeds.length || (cpuMs() < endMs && campaign.inputs < maxInputs)) {
    const mutated = seeds[campaign.inputs] ?? mutate(random, target.grammar, pick(random, [seeds, live]));
    const input = mutated.subarray(0, target.maxBytes);
    options.about?.(input);
    const startedMs = cpuMs();
    const { sort, failure } = await judge(eat, target.refuses, input);
    campaign.slowestMs = Math.max(campaign.slowestMs, cpuMs() - startedMs);
    campaign.inputs += 1;
    if (failure !== undefined) {
      const again = async (candidate: Uint8Array): Promise<string | undefined> => {
        options.about?.(candidate);
        return (await judge(eat, target.refuses, candidate)).failure;
      };
      return { ...campaign, failure: { what: failure, input, minimal: await minimise(clock, input, failure, again) } };
    }
    if (!seen.has(sort) && live.length < MAX_LIVE && input.length <= MAX_LIVE_BYTES) {
      const kept = Uint8Array.from(input); // not a part of something larger
      seen.set(sort, kept);
      live.push(kept);
    }
    if (campaign.inputs === WARM_UP_INPUTS) beforeBytes = keptBytes();
  }
  campaign.sorts = seen.size;
  campaign.telling = [...seen.values()].toSorted((a, b) => a.length - b.length);
  if (beforeBytes === undefined) return campaign;
  campaign.keptBytes = keptBytes() - beforeBytes;
  if (campaign.keptBytes <= MAX_KEPT_BYTES) return campaign;
  const what = `leaks: ${Math.round(campaign.keptBytes / 2 ** 20)} MiB kept after ${campaign.inputs} inputs`;
  return { ...campaign, failure: { what, input: new Uint8Array(), minimal: new Uint8Array() } };
}

/** What is in use once all garbage is gone. */
function keptBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
