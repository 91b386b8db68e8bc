import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";

// One probe (docs/spec/probe.md); an answer is as long as what it answers.
//  0        1      2          10       14           18           20            22
// ┌────────┬──────┬──────────┬────────┬────────────┬────────────┬─────────────┬──────────┐
// │ 0x50   │ type │ link     │ number │ round trip │ loss       │ interval    │ MAC      │
// │        │ 1–3  │ 8 bytes  │ u32    │ u32, µs    │ u16, 10⁻⁴  │ u16, ms     │ 16 bytes │
// └────────┴──────┴──────────┴────────┴────────────┴────────────┴─────────────┴──────────┘
const MAGIC = 0x50;
const TYPES = ["ask", "answer", "ask-deaf"] as const;
const SIGNED_BYTES = 22;
const MAC_BYTES = 16;
export const PROBE_BYTES = SIGNED_BYTES + MAC_BYTES;
export const PROBE_LINK_BYTES = 8;
export const PROBE_KEY_BYTES = 32;
const UNKNOWN_LOSS = 0xffff;

/** Made once for each key: a MAC with the bytes themselves takes four times as long, and each end of a used link has eight a second: a probe and an answer each way, twice. */
const keyObjects = new WeakMap<Uint8Array, KeyObject>();

/** `link` is the receiver's name for the link; `rttMs` and `lossRatio` are what the asker has measured so far. */
export type Probe = {
  /** `ask-deaf`: as `ask`, by who hears so little of the receiver that it takes the link for suspect. */
  type: (typeof TYPES)[number];
  /** 16 hex digits. */
  link: string;
  number: number;
  rttMs: number | undefined;
  lossRatio: number | undefined;
  /** When the next probe comes, at the latest. */
  intervalMs: number;
};

/** `key`: the receiver's, from its hello. */
export function encodeProbe({ type, link, number, rttMs, lossRatio, intervalMs }: Probe, key: Uint8Array): Buffer {
  const bytes = Buffer.alloc(PROBE_BYTES);
  bytes[0] = MAGIC;
  bytes[1] = TYPES.indexOf(type) + 1;
  bytes.write(link, 2, "hex");
  bytes.writeUInt32BE(number, 10);
  bytes.writeUInt32BE(rttMs === undefined ? 0 : clamp(rttMs * 1_000, 1, 0xffff_ffff), 14);
  bytes.writeUInt16BE(lossRatio === undefined ? UNKNOWN_LOSS : clamp(lossRatio * 10_000, 0, 10_000), 18);
  bytes.writeUInt16BE(clamp(intervalMs, 0, 0xffff), 20);
  macOf(bytes, key).copy(bytes, SIGNED_BYTES);
  return bytes;
}

/** The link that a datagram claims to be about; `undefined` if it is no probe. Costs next to nothing, and proves nothing. */
export function probeLink(bytes: Buffer): string | undefined {
  return bytes.length === PROBE_BYTES && bytes[0] === MAGIC ? bytes.toString("hex", 2, 10) : undefined;
}

/** Reads a probe; `undefined` unless it is well formed and made with our key of that link. */
export function decodeProbe(bytes: Buffer, key: Uint8Array): Probe | undefined {
  const link = probeLink(bytes);
  const type = TYPES[(bytes[1] ?? 0) - 1];
  if (link === undefined || type === undefined) return undefined;
  if (!timingSafeEqual(macOf(bytes, key), bytes.subarray(SIGNED_BYTES))) return undefined;
  const rttUs = bytes.readUInt32BE(14);
  const loss = bytes.readUInt16BE(18);
  if (loss > 10_000 && loss !== UNKNOWN_LOSS) return undefined;
  return {
    type,
    link,
    number: bytes.readUInt32BE(10),
    rttMs: rttUs === 0 ? undefined : rttUs / 1_000,
    lossRatio: loss === UNKNOWN_LOSS ? undefined : loss / 10_000,
    intervalMs: bytes.readUInt16BE(20),
  };
}

function macOf(bytes: Buffer, key: Uint8Array): Buffer {
  let secret = keyObjects.get(key);
  if (secret === undefined) {
    secret = createSecretKey(key);
    keyObjects.set(key, secret);
  }
  return createHmac("sha256", secret).update(bytes.subarray(0, SIGNED_BYTES)).digest().subarray(0, MAC_BYTES);
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, Math.round(value)));
}
