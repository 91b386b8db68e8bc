import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { Fault } from "./fault.ts";

export const ED25519_PUBLIC_BYTES = 32;
export const ED25519_SEED_BYTES = 32;
export const ED25519_SIGNATURE_BYTES = 64;

/** Order of the base point (RFC 8032 §5.1). */
const L = bytesOf(2n ** 252n + 27742317777372353535851937790883648493n);
const P = bytesOf(2n ** 255n - 19n);
/** y coordinates of the eight points of small order; the sign bit does not matter. */
const SMALL_ORDER_Y = [
  bytesOf(0n),
  bytesOf(1n),
  bytesOf(2n ** 255n - 20n),
  Buffer.from("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "hex"),
  Buffer.from("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "hex"),
];

/**
 * The one verifier whose answer admits a document or a peer. Strict, so that no two nodes disagree: 64-byte signature,
 * S < L, A and R canonical and not of small order (WebCrypto's rules), then the cofactorless check of RFC 8032 §5.1.7
 * (OpenSSL recomputes R and compares bytes). All of it is checked here, because what `node:crypto` refuses by itself
 * differs between its versions: of C2SP's 914 edge cases, 24.21 accepts 43 and earlier ones 208.
 * Never throws for bad input: the answer is `false`.
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== ED25519_SIGNATURE_BYTES || publicKey.length !== ED25519_PUBLIC_BYTES) return false;
  if (!isStrictPoint(signature.subarray(0, 32)) || compareIn(signature, 32, L) >= 0) return false;
  const key = publicKeyObject(publicKey);
  return key !== undefined && verify(null, message, key, signature);
}

/** Whether these bytes could be a public key: 32 of them, canonical, not of small order. That it is on the curve shows when verifying. */
export function isEd25519PublicKey(publicKey: Uint8Array): boolean {
  return publicKey.length === ED25519_PUBLIC_BYTES && isStrictPoint(publicKey);
}

function isStrictPoint(encoded: Uint8Array): boolean {
  const y = Uint8Array.from(encoded);
  y[31] = (y[31] ?? 0) & 0x7f;
  return compareIn(y, 0, P) < 0 && !SMALL_ORDER_Y.some((small) => compareIn(y, 0, small) === 0);
}

/** Whether 32 bytes from `at` on are, as a little-endian number, less than another one, the same, or more: negative, 0, positive. Nothing here is secret. */
function compareIn(bytes: Uint8Array, at: number, other: Uint8Array): number {
  for (let i = 31; i >= 0; i--) {
    const difference = (bytes[at + i] ?? 0) - (other[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A private key for signing, from its 32-byte seed (RFC 8032 §5.1.5). */
export class Ed25519Key {
  readonly publicKey: Uint8Array;
  readonly #key: KeyObject;

  constructor(seed: Uint8Array) {
    if (seed.length !== ED25519_SEED_BYTES) {
      throw new Fault("core.ed25519-seed", `an Ed25519 seed is 32 bytes, not ${seed.length}`, { exit: "invalid" });
    }
    // RFC 8410 §7: the fixed DER head of an Ed25519 PrivateKeyInfo, then the seed.
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
    this.#key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#key).export({ format: "der", type: "spki" });
    this.publicKey = spki.subarray(-ED25519_PUBLIC_BYTES);
  }

  sign(message: Uint8Array): Uint8Array {
    return sign(null, message, this.#key);
  }
}

/** Looking at a key and building a KeyObject costs as much as a verification; a fleet verifies against the same few keys again and again. */
const MAX_CACHED_KEYS = 1_024;
const cachedKeys = new Map<string, KeyObject>();

function publicKeyObject(publicKey: Uint8Array): KeyObject | undefined {
  const x = Buffer.from(publicKey).toString("base64url");
  const cached = cachedKeys.get(x);
  if (cached !== undefined) return cached;
  if (!isStrictPoint(publicKey)) return undefined;
  let key: KeyObject;
  try {
    key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  } catch {
    return undefined; // this OpenSSL says false for a point off the curve; another may refuse to load it
  }
  const oldest = cachedKeys.keys().next();
  if (cachedKeys.size >= MAX_CACHED_KEYS && !oldest.done) cachedKeys.delete(oldest.value);
  cachedKeys.set(x, key);
  return key;
}

/** 32 bytes, little-endian. */
function bytesOf(value: bigint): Uint8Array {
  return Buffer.from(value.toString(16).padStart(64, "0"), "hex").toReversed();
}
