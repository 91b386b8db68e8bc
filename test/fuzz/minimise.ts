import type { Clock } from "#core";
import { kindOf } from "./judge.ts";

/** Inputs tried at most, and for how long; a failure of a few hundred bytes needs some hundred. */
const MAX_TRIES = 2_000;
const MAX_MS = 5_000;

/** The shortest input found that fails in the same way: ever smaller parts are left out, then bytes made plain. */
export async function minimise(
  clock: Clock,
  input: Uint8Array,
  failure: string,
  fails: (input: Uint8Array) => Promise<string | undefined>,
): Promise<Uint8Array> {
  const wanted = kindOf(failure);
  let best = input;
  let tries = 0;
  const endMs = clock.nowMs() + MAX_MS;
  const goOn = (): boolean => tries < MAX_TRIES && clock.nowMs() < endMs;
  const better = async (candidate: Uint8Array): Promise<boolean> => {
    tries += 1;
    const said = await fails(candidate);
    if (said === undefined || kindOf(said) !== wanted) return false;
    best = candidate;
    return true;
  };
  for (let part = Math.ceil(best.length / 2); part > 0 && goOn(); part = part > 1 ? Math.ceil(part / 2) : 0) {
    for (let at = 0; at < best.length && goOn(); ) {
      const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + part)]);
      if (!(await better(shorter))) at += part;
    }
  }
  for (let at = 0; at < best.length && goOn(); at++) {
    if (best[at] === 0x30) continue;
    const plain = Uint8Array.from(best);
    plain[at] = 0x30; // "0"
    await better(plain);
  }
  return best;
}
