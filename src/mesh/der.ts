import { Fault } from "#core";

/** DER tags that a libp2p certificate uses (X.690 §8, RFC 5280). */
export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  generalizedTime: 0x18,
  sequence: 0x30,
  version: 0xa0, // [0] EXPLICIT in TBSCertificate
  extensions: 0xa3, // [3] EXPLICIT in TBSCertificate
} as const;

/** One value: its tag, and the bytes inside it. */
export type DerValue = { tag: number; content: Uint8Array };

/** Values in a row; a libp2p certificate has at most 8, those of other makers not many more. */
const MAX_VALUES = 256;

/** Encodes one value with a definite, minimal length. */
export function encodeDer(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(content);
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body]);
  const width = body.length < 0x100 ? 1 : 2; // nothing here reaches 64 KiB
  const head = Buffer.alloc(2 + width);
  head[0] = tag;
  head[1] = 0x80 | width;
  head.writeUIntBE(body.length, 2, width);
  return Buffer.concat([head, body]);
}

/**
 * The values that follow each other in `bytes`, not looking inside them. Strict: definite and minimal lengths below 64 KiB,
 * at most 256 values, nothing left over.
 *
 * Throws Fault `mesh.certificate`.
 */
export function decodeDer(bytes: Uint8Array): DerValue[] {
  const values: DerValue[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at] ?? 0;
    const { length, next } = readLength(bytes, at + 1);
    if (next + length > bytes.length) throw badDer("a value runs past its end");
    if (values.length === MAX_VALUES) throw badDer("it holds too many values");
    values.push({ tag, content: bytes.subarray(next, next + length) });
    at = next + length;
  }
  return values;
}

function readLength(bytes: Uint8Array, at: number): { length: number; next: number } {
  const first = bytes[at];
  if (first === undefined) throw badDer("a length is missing");
  if (first < 0x80) return { length: first, next: at + 1 };
  const width = first & 0x7f;
  if (width < 1 || width > 2 || at + 1 + width > bytes.length) throw badDer("a length has an unsupported form");
  let length = 0;
  for (let i = 1; i <= width; i++) length = length * 256 + (bytes[at + i] ?? 0);
  if (length < (width === 1 ? 0x80 : 0x100)) throw badDer("a length is not minimal");
  return { length, next: at + 1 + width };
}

function badDer(what: string): Fault {
  return new Fault("mesh.certificate", `the peer's certificate is not valid DER: ${what}`, { exit: "invalid" });
}
