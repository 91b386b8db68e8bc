import { getHeapStatistics } from "node:v8";
import { errorMessage, Fault } from "#core";
import { type Eat, Wrong } from "./target.ts";

/** Processor time of this thread that one input may take: a daemon that stands still for longer misses probes. */
const MAX_INPUT_MS = 50;
/** What the yardstick takes on a machine that is fast enough and does nothing else; on another, inputs get as many times longer. */
const YARDSTICK_MS = 45;
/** A slow one is tried again: code may have been compiled, or garbage collected, just then. */
const TRIES = 4;
/** Memory that one input may ask for, garbage included: so much, and so many times its own size. */
const MAX_ALLOCATED_BYTES = 32 * 1024 * 1024;
const MAX_ALLOCATED_PER_BYTE = 256;

/** What became of an input: what it looks like, for telling kinds of input apart, and what is wrong about it, if anything. */
export type Judgement = { sort: string; failure?: string };

/** Feeds one input and says whether the decoder behaved. */
export async function judge(eat: Eat, refuses: readonly string[], input: Uint8Array): Promise<Judgement> {
  let judged = await once(eat, refuses, input);
  for (let again = 1; again < TRIES && judged.failure !== undefined && judged.flaky; again++) {
    judged = await once(eat, refuses, input);
  }
  const { sort, failure } = judged;
  return failure === undefined ? { sort } : { sort, failure };
}

async function once(eat: Eat, refuses: readonly string[], input: Uint8Array): Promise<Judgement & { flaky?: boolean }> {
  const startedMs = cpuMs();
  const startedBytes = allocatedBytes();
  let judged: Judgement;
  try {
    const taken = eat(Uint8Array.from(input)); // a copy: what is kept of it must not change under the next input
    judged = { sort: `took ${taken instanceof Promise ? await taken : taken}` };
  } catch (error) {
    judged = judgeThrown(error, refuses);
  }
  if (judged.failure !== undefined) return judged;
  const tookMs = cpuMs() - startedMs;
  const took = allocatedBytes() - startedBytes;
  if (tookMs > MAX_INPUT_MS && tookMs > MAX_INPUT_MS * slowness()) {
    return { ...judged, failure: `slow: over ${MAX_INPUT_MS} ms for ${input.length} bytes`, flaky: true };
  }
  if (took > MAX_ALLOCATED_BYTES + MAX_ALLOCATED_PER_BYTE * input.length) {
    return { ...judged, failure: `greedy: ${Math.round(took / 2 ** 20)} MiB for ${input.length} bytes`, flaky: true };
  }
  for (const key in {}) return { ...judged, failure: `polluted: every object now has a "${key}"` };
  return judged;
}

function judgeThrown(error: unknown, refuses: readonly string[]): Judgement {
  const message = shapeOf(errorMessage(error));
  if (error instanceof Fault && refuses.includes(error.code)) return { sort: `refused ${error.code} ${message}` };
  const name = error instanceof Error ? error.name : typeof error;
  const code = error instanceof Fault ? ` ${error.code}` : "";
  const failure = error instanceof Wrong ? `wrong: ${error.message}` : `threw ${name}${code}: ${errorMessage(error)}`;
  return { sort: `threw ${name} ${message}`, failure };
}

/** A message without what differs from input to input. */
function shapeOf(message: string): string {
  const plain = message.slice(0, 200).replaceAll(/"[^"]*"?|(?<=\s)'[^']*'?/gu, "…");
  return plain
    .replaceAll(/\d+/gu, "#")
    .replaceAll(/[^ -~]+/gu, "…")
    .slice(0, 60);
}

/** Two failures of the same kind have the same; numbers and quoted input do not count. */
export function kindOf(failure: string): string {
  return shapeOf(failure);
}

/** Processor time of this thread: other processes' load does not count, nor a while in which this one was stopped. */
export function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

const YARDSTICK = JSON.stringify(Array.from({ length: 20_000 }, (_, id) => ({ id, name: `n${id}`, at: [id, 2 * id] })));

/** How many times longer things take now than they should: neighbours on the same hardware are paid for with processor time too. */
function slowness(): number {
  const startedMs = cpuMs();
  for (let time = 0; time < 5; time++) JSON.parse(YARDSTICK); // the processor's time is counted in steps of some milliseconds
  return Math.max(1, (cpuMs() - startedMs) / YARDSTICK_MS);
}

function allocatedBytes(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}
