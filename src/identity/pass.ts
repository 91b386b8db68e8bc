import { createHash, hkdfSync } from "node:crypto";
import { ED25519_SEED_BYTES, Ed25519Key, Fault, type Random } from "#core";
import { readPrivateFile } from "./key-file.ts";

/** Spec: docs/spec/pass.md. */
const PREFIX = "ptp1.";
const HKDF_INFO = "portolan-pass-v1";
/** 128 bits: nobody guesses one, and it is short enough to type. */
const SECRET_BYTES = 16;
const CHECKSUM_BYTES = 4;
/** Longest text that can be a pass, with white space around it. */
export const MAX_PASS_CHARS = 256;

/** A new pass as text: `ptp1.` and base64url of 128 random bits and a checksum. Whoever holds it can join once. */
export function createPass(random: Random): string {
  const secret = random.bytes(SECRET_BYTES);
  return PREFIX + Buffer.concat([secret, checksum(secret)]).toString("base64url");
}

/**
 * The key that a pass stands for in one fleet: Ed25519 from the seed HKDF-SHA256(secret, salt = fleet id, info =
 * "portolan-pass-v1"), so that it says nothing in another fleet. `fleet`: hex.
 *
 * Throws Fault `identity.pass` (invalid) when the text is no pass, or was cut.
 */
export function passKey(text: string, fleet: string): Ed25519Key {
  const secret = passSecret(text);
  const seed = hkdfSync("sha256", secret, Buffer.from(fleet, "hex"), HKDF_INFO, ED25519_SEED_BYTES);
  return new Ed25519Key(new Uint8Array(seed));
}

/** Checks that the text is a pass and returns it without white space around it. Throws Fault `identity.pass` (invalid). */
export function checkPass(text: string): string {
  passSecret(text);
  return text.trim();
}

/**
 * Reads a pass out of a file that only its owner may read. Throws Fault `identity.pass` (invalid), `identity.key-permissions`
 * (denied), `identity.key-file` (missing or invalid).
 */
export function readPassFile(path: string): string {
  return checkPass(Buffer.from(readPrivateFile(path)).toString("utf8"));
}

/** What is wrong is said without a character of the pass: errors end up in logs. */
function passSecret(text: string): Uint8Array {
  const pass = text.trim();
  if (pass.length > MAX_PASS_CHARS || !pass.startsWith(PREFIX)) throw badPass(`it does not start with ${PREFIX}`);
  const encoded = pass.slice(PREFIX.length);
  const bytes = Buffer.from(encoded, "base64url");
  const secret = bytes.subarray(0, SECRET_BYTES);
  const isWhole = bytes.length === SECRET_BYTES + CHECKSUM_BYTES && bytes.toString("base64url") === encoded;
  if (!isWhole || !checksum(secret).equals(bytes.subarray(SECRET_BYTES))) throw badPass("it was cut or mistyped");
  return new Uint8Array(secret);
}

/** Tells a pass that lost its end from a whole one. 32 bits of a hash leave the other 96 of the secret unknown. */
function checksum(secret: Uint8Array): Buffer {
  return createHash("sha256").update(PREFIX).update(secret).digest().subarray(0, CHECKSUM_BYTES);
}

function badPass(why: string): Fault {
  return new Fault("identity.pass", `this is no pass: ${why}`, {
    exit: "invalid",
    fix: "Give the file that `portolan pass create --out FILE` wrote, as it is.",
  });
}
