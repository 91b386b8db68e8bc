import { scryptSync } from "node:crypto";
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync } from "node:fs";
import nacl from "tweetnacl";
import { z } from "zod";
import { ED25519_SEED_BYTES, Ed25519Key, errorMessage, Fault, parseJson, type Random } from "#core";
import { writeDurably } from "./durable-file.ts";
import { dnsName } from "./kinds.ts";
import { formatPublicKey } from "./public-key-file.ts";

/** Spec: docs/spec/key-files.md. */
const PRIVATE_FORMAT = "portolan-key-v1";
const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;
/** A key file is under 1 KiB; a path given by mistake is not read whole. */
const MAX_KEY_FILE_BYTES = 16 * 1024;
const SALT_BYTES = 16;

/** scrypt cost for new files: N = 2^17, r = 8, p = 1 (OWASP password storage cheat sheet), 128 MiB and about 0.4 s. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1 } as const;
/** Dearest cost that is obeyed from a file: 1 GiB of memory. */
const MAX_SCRYPT_N = 2 ** 20;

/** A person's signing key (owner or operator) with the name it goes by. */
export type NamedKey = { name: string; key: Ed25519Key };

const base64 = (bytes: number) =>
  z.string().transform((text, context) => {
    const value = Buffer.from(text, "base64");
    if (value.length === bytes && value.toString("base64") === text) return new Uint8Array(value);
    context.addIssue(`canonical base64 of ${bytes} bytes`);
    return z.NEVER;
  });

const sealedSeed = z.strictObject({
  kdf: z.literal("scrypt"),
  N: z
    .int()
    .min(2)
    .max(MAX_SCRYPT_N)
    .refine((n) => Number.isInteger(Math.log2(n)), "a power of two"),
  r: z.literal(SCRYPT.r),
  p: z.literal(SCRYPT.p),
  salt: base64(SALT_BYTES),
  nonce: base64(nacl.secretbox.nonceLength),
  box: base64(ED25519_SEED_BYTES + nacl.secretbox.overheadLength),
});
const keyFile = z.union([
  z.strictObject({ format: z.literal(PRIVATE_FORMAT), name: dnsName, publicKey: base64(32), sealed: sealedSeed }),
  z.strictObject({
    format: z.literal(PRIVATE_FORMAT),
    name: dnsName,
    publicKey: base64(32),
    seed: base64(ED25519_SEED_BYTES),
  }),
]);
type SealedSeed = z.infer<typeof sealedSeed>;

/**
 * Makes a new Ed25519 key and writes `path` (private, 0600) and `path.pub`-style public half at `publicPath`.
 * With a passphrase the seed is sealed; `undefined` leaves it open, for try-outs only.
 *
 * Throws Fault `identity.key-exists` (conflict) rather than replace a key, `identity.passphrase` (invalid) for an empty one,
 * `identity.key-name` (invalid), `identity.key-write`.
 */
export function createKeyFile(
  random: Random,
  options: { path: string; publicPath: string; name: string; passphrase: string | undefined },
): NamedKey {
  const { path, publicPath, name, passphrase } = options;
  if (!dnsName.safeParse(name).success) {
    throw new Fault("identity.key-name", `"${name.slice(0, 80)}" cannot name a key`, {
      exit: "invalid",
      fix: "Use at most 63 lower-case letters, digits, - and . only.",
    });
  }
  for (const existing of [path, publicPath]) {
    if (existsSync(existing)) {
      throw new Fault("identity.key-exists", `${existing} is there already and is not replaced`, {
        exit: "conflict",
        fix: "Choose another name or folder.",
      });
    }
  }
  const seed = random.bytes(ED25519_SEED_BYTES);
  const key = new Ed25519Key(seed);
  const head = { format: PRIVATE_FORMAT, name, publicKey: toBase64(key.publicKey) };
  const body = passphrase === undefined ? { seed: toBase64(seed) } : { sealed: seal(random, seed, passphrase) };
  const text = `${JSON.stringify({ ...head, ...body }, undefined, 2)}\n`;
  try {
    writeDurably(path, Buffer.from(text), PRIVATE_MODE);
    writeDurably(publicPath, Buffer.from(formatPublicKey({ name, publicKey: key.publicKey })), PUBLIC_MODE);
  } catch (cause) {
    throw new Fault("identity.key-write", `the key cannot be written: ${errorMessage(cause)}`, {
      fix: "Choose a folder that exists and that you may write to.",
      cause,
    });
  }
  return { name, key };
}

/**
 * Opens a private key file. `passphrase` is asked only when the seed is sealed.
 *
 * Throws Fault: `identity.key-permissions` (denied) when others may read the file, `identity.key-file` (invalid or missing)
 * when it is no key file, `identity.passphrase` (denied) when the passphrase does not open it.
 */
export async function openKeyFile(path: string, passphrase: () => Promise<string>): Promise<NamedKey> {
  const file = readKeyFile(path);
  const seed = "seed" in file ? file.seed : unseal(file.sealed, await passphrase(), path);
  const key = new Ed25519Key(seed);
  if (Buffer.compare(key.publicKey, file.publicKey) !== 0)
    throw badKeyFile(path, "its two halves do not belong together");
  return { name: file.name, key };
}

function readKeyFile(path: string): z.infer<typeof keyFile> {
  const bytes = readPrivateFile(path);
  try {
    return keyFile.parse(parseJson(bytes, MAX_KEY_FILE_BYTES));
  } catch (cause) {
    throw badKeyFile(path, "its content is another", cause);
  }
}

/**
 * The bytes of a file that must be its owner's alone. Throws Fault `identity.key-permissions` (denied) when group or others
 * may read it, `identity.key-file` when it is missing or is no small regular file.
 */
export function readPrivateFile(path: string): Uint8Array {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // a pipe must not block us
  } catch (cause) {
    const missing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    const message = missing ? `there is no key file ${path}` : `${path} cannot be read: ${errorMessage(cause)}`;
    throw new Fault("identity.key-file", message, { exit: missing ? "missing" : "denied", cause });
  }
  try {
    const stat = fstatSync(file); // of the opened file, so that it cannot be swapped in between
    if (!stat.isFile() || stat.size > MAX_KEY_FILE_BYTES) throw badKeyFile(path, "not a small regular file");
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8);
      throw new Fault("identity.key-permissions", `${path} holds a private key and others may read it (mode ${mode})`, {
        exit: "denied",
        fix: `Run: chmod 600 ${path}. If others can log in to this machine, make a new key.`,
      });
    }
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

function seal(random: Random, seed: Uint8Array, passphrase: string): Record<string, unknown> {
  if (passphrase.length === 0) throw new Fault("identity.passphrase", "the passphrase is empty", { exit: "invalid" });
  const salt = random.bytes(SALT_BYTES);
  const nonce = random.bytes(nacl.secretbox.nonceLength);
  const box = nacl.secretbox(seed, nonce, stretch(passphrase, salt, SCRYPT.N));
  return { kdf: "scrypt", ...SCRYPT, salt: toBase64(salt), nonce: toBase64(nonce), box: toBase64(box) };
}

function unseal(sealed: SealedSeed, passphrase: string, path: string): Uint8Array {
  const seed = nacl.secretbox.open(sealed.box, sealed.nonce, stretch(passphrase, sealed.salt, sealed.N));
  if (seed === null) {
    throw new Fault("identity.passphrase", `the passphrase does not open ${path}`, {
      exit: "denied",
      fix: "Try again. A forgotten passphrase cannot be recovered: the owners replace the key.",
    });
  }
  return seed;
}

/** NFKC, so that one passphrase typed on two keyboards is one key. */
function stretch(passphrase: string, salt: Uint8Array, N: number): Uint8Array {
  const { r, p } = SCRYPT;
  const maxmem = 128 * N * r + 32 * 1024 * 1024; // scrypt takes 128·N·r bytes
  return scryptSync(passphrase.normalize("NFKC"), salt, nacl.secretbox.keyLength, { N, r, p, maxmem });
}

function badKeyFile(path: string, why: string, cause?: unknown): Fault {
  return new Fault("identity.key-file", `${path} is not a key file of Portolan: ${why}`, {
    exit: "invalid",
    fix: "Give the private key file that `portolan owner create` or `portolan operator create` wrote.",
    cause,
  });
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
