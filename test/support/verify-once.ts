import crypto, { type KeyObject } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";

/** Answers that are remembered; a statement reaches all nodes of a world within moments. */
const MAX_KNOWN = 4_096;

type Known = { message: Buffer; key: KeyObject; answer: boolean };

/**
 * Worlds of many nodes in one process check each signature as often as there are nodes. From the import of this file on, this process does so once, and not
 * at all where it signed itself: same message, key and signature, same answer.
 */
const known = new Map<string, Known>();
const verify = crypto.verify.bind(crypto) as (...args: unknown[]) => boolean;
const sign = crypto.sign.bind(crypto) as (...args: unknown[]) => Buffer;
const publicKeys = new WeakMap<KeyObject, KeyObject>();

function remember(signature: string, answer: Known): void {
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(signature, answer);
}

const once = (algorithm: unknown, message: Uint8Array, key: KeyObject, signature: Uint8Array): boolean => {
  const name = Buffer.from(signature).toString("latin1");
  const before = known.get(name);
  if (before?.message.equals(message) === true && (before.key === key || before.key.equals(key))) {
    before.key = key;
    return before.answer;
  }
  const answer = verify(algorithm, message, key, signature);
  remember(name, { message: Buffer.from(message), key, answer });
  return answer;
};

const signed = (algorithm: unknown, message: Uint8Array, key: KeyObject): Buffer => {
  const signature = sign(algorithm, message, key);
  const publicKey = publicKeys.get(key) ?? crypto.createPublicKey(key);
  publicKeys.set(key, publicKey);
  remember(signature.toString("latin1"), { message: Buffer.from(message), key: publicKey, answer: true });
  return signature;
};
Object.assign(crypto, {
  verify: (...args: unknown[]): boolean =>
    args.length === 4 && args[2] instanceof crypto.KeyObject
      ? once(args[0], args[1] as Uint8Array, args[2], args[3] as Uint8Array)
      : verify(...args),
  sign: (...args: unknown[]): Buffer =>
    args.length === 3 && args[2] instanceof crypto.KeyObject && args[2].asymmetricKeyType === "ed25519"
      ? signed(args[0], args[1] as Uint8Array, args[2])
      : sign(...args),
});
syncBuiltinESMExports();
