import crypto, { type KeyObject } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";

/** Answers that are remembered; a statement reaches all nodes of a world within moments. */
const MAX_KNOWN = 4_096;

type Known = { message: Buffer; key: KeyObject; answer: boolean };

/**
 * Worlds of many nodes in one process check each signature as often as there are nodes. From the import of this file on, this process does so once: same
 * message, key and signature, same answer.
 */
const known = new Map<string, Known>();
const verify = crypto.verify.bind(crypto) as (...args: unknown[]) => boolean;

const once = (algorithm: unknown, message: Uint8Array, key: KeyObject, signature: Uint8Array): boolean => {
  const name = Buffer.from(signature).toString("latin1");
  const before = known.get(name);
  if (before !== undefined && before.message.equals(message) && before.key.equals(key)) return before.answer;
  const answer = verify(algorithm, message, key, signature);
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(name, { message: Buffer.from(message), key, answer });
  return answer;
};
Object.assign(crypto, {
  verify: (...args: unknown[]): boolean =>
    args.length === 4 && args[2] instanceof crypto.KeyObject
      ? once(args[0], args[1] as Uint8Array, args[2], args[3] as Uint8Array)
      : verify(...args),
});
syncBuiltinESMExports();
