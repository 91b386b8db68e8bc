import { readFileSync, statSync } from "node:fs";
import { Fault, isEd25519PublicKey } from "#core";
import { dnsName } from "./kinds.ts";

/** Spec: docs/spec/key-files.md. */
const FORMAT = "portolan-public-key-v1";
/** The one line has under 150 characters; a path given by mistake is not read whole. */
const MAX_FILE_BYTES = 4 * 1024;

/** The half of a key that is handed to others: what `NAME.pub` says. */
export type NamedPublicKey = { name: string; publicKey: Uint8Array };

/** One line, `portolan-public-key-v1 ed25519 BASE64 NAME`: can be read aloud, mailed, pasted. */
export function formatPublicKey({ name, publicKey }: NamedPublicKey): string {
  return `${FORMAT} ed25519 ${Buffer.from(publicKey).toString("base64")} ${name}\n`;
}

/** Reads what `formatPublicKey` wrote; white space at the ends and Windows line ends do no harm. Throws Fault `identity.public-key` (invalid). */
export function parsePublicKey(text: string): NamedPublicKey {
  const [format, algorithm, encoded = "", name = "", ...rest] = text.trim().split(" ");
  const publicKey = new Uint8Array(Buffer.from(encoded, "base64"));
  const canonical = Buffer.from(publicKey).toString("base64") === encoded && isEd25519PublicKey(publicKey);
  const known = format === FORMAT && algorithm === "ed25519" && rest.length === 0;
  if (!known || !canonical || !dnsName.safeParse(name).success) {
    throw new Fault("identity.public-key", "this is not a public key file", {
      exit: "invalid",
      fix: `It is one line: ${FORMAT} ed25519 BASE64 NAME. Give the file that ends in .pub.`,
    });
  }
  return { name, publicKey };
}

/** Reads a `.pub` file. Throws Fault `identity.public-key` (invalid, or missing when there is no such file). */
export function readPublicKeyFile(path: string): NamedPublicKey {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new Fault("identity.public-key", `there is no file ${path}`, { exit: "missing" });
  if (!stat.isFile() || stat.size > MAX_FILE_BYTES) {
    throw new Fault("identity.public-key", `${path} is not a public key file`, { exit: "invalid" });
  }
  return parsePublicKey(readFileSync(path, "utf8"));
}
