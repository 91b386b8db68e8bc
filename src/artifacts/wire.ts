import { encodeFrame, Fault, type Frame, type FrameLimits, HASH_BYTES } from "#core";
import { hasNodeIdForm, type NodeId } from "#identity";
import { type BlobRef, chunkBytesFor, isBlobRef, MAX_CHUNKS } from "./chunk-map.ts";
import { MAX_RUNS } from "./swarm/runs.ts";
import type { DeclineReason, PeerStatus, SwarmMessage } from "./swarm/swarm-event.ts";
import { MAX_FRAME_BYTES } from "./swarm/swarm-limits.ts";

/** One long-lived stream between two nodes, for all blobs that both take part in. Spec: docs/spec/swarm.md. */
export const SWARM_PROTOCOL = "/portolan/swarm/1";

/** Hashes of a chunk map in one answer: 256 KiB. */
export const MAX_MAP_HASHES = 8_192;
/** Swarm members named in one message. */
export const MAX_PEERS_TOLD = 32;
/** Sites that a peer may say it reaches, and how long a site's name may be. */
const MAX_REACH = 64;
const MAX_SITE_CHARS = 64;
/** Blobs of one peer that are open on a stream at once. */
export const MAX_REFS = 1_024;
/** Cell hashes in front of the first cells of a chunk: 32 cells in the largest chunk. */
const MAX_CELLS = 32;

export const SWARM_FRAME_LIMITS: Readonly<FrameLimits> = {
  maxHeaderBytes: 64 * 1024,
  maxPayloadBytes: MAX_FRAME_BYTES + MAX_CELLS * HASH_BYTES,
};

/** `ref`: the number that the sender of the message gave the blob in its join. */
export type LinkMessage =
  | { type: "join"; ref: number; blob: BlobRef; status: PeerStatus }
  /** Not, or no longer, in the swarm of this blob. */
  | { type: "leave"; root: string }
  | { type: "swarm"; ref: number; message: SwarmMessage }
  /** Payload: with `hashed`, the hashes of all cells of the chunk, then the cells. */
  | { type: "cells"; ref: number; chunk: number; first: number; count: number; hashed: boolean }
  /** Payload bytes of `cells` taken off the stream since the last ack. */
  | { type: "ack"; bytes: number }
  | { type: "map-want"; ref: number; first: number; count: number }
  /** Payload: chunk hashes from `first` on; none when the map is not known here. */
  | { type: "map"; ref: number; first: number }
  /** Others in the swarm of this blob. */
  | { type: "peers"; ref: number; peers: readonly NodeId[] };

/** Ids on the wire: append only. */
const CODES = {
  join: 0,
  leave: 1,
  status: 2,
  have: 3,
  claim: 4,
  unclaim: 5,
  offer: 6,
  accept: 7,
  decline: 8,
  ready: 9,
  want: 10,
  cancel: 11,
  abort: 12,
  cells: 13,
  ack: 14,
  "map-want": 15,
  map: 16,
  peers: 17,
} as const;
const REASONS: readonly DeclineReason[] = ["have", "full", "no", "site"];
const WANTS = 1;
const YIELDS = 2;
const FOREGROUND = 4;

/** The pieces of one message, ready for `ByteStream.send`. */
export function encodeLinkMessage(message: LinkMessage, payload: readonly Uint8Array[] = []): Uint8Array[] {
  return encodeFrame(fieldsOf(message), payload);
}

function fieldsOf(message: LinkMessage): unknown[] {
  const code = message.type === "swarm" ? CODES[message.message.type] : CODES[message.type];
  switch (message.type) {
    case "join": {
      const { blob } = message;
      return [code, message.ref, Buffer.from(blob.root, "hex"), blob.sizeBytes, ...statusFields(message.status)];
    }
    case "leave":
      return [code, Buffer.from(message.root, "hex")];
    case "swarm":
      return [code, message.ref, ...swarmFields(message.message)];
    case "cells":
      return [code, message.ref, message.chunk, message.first, message.count, message.hashed ? 1 : 0];
    case "ack":
      return [code, message.bytes];
    case "map-want":
      return [code, message.ref, message.first, message.count];
    case "map":
      return [code, message.ref, message.first];
    default:
      return [code, message.ref, message.peers];
  }
}

function statusFields(status: PeerStatus): unknown[] {
  const flags = (status.wants ? WANTS : 0) + (status.yields ? YIELDS : 0) + (status.foreground ? FOREGROUND : 0);
  return [flags, status.reach.slice(0, MAX_REACH)];
}

function swarmFields(message: SwarmMessage): unknown[] {
  switch (message.type) {
    case "status":
      return statusFields(message);
    case "have":
    case "unclaim":
      return [message.runs];
    case "claim":
      return [message.runs, message.wan ? 1 : 0];
    case "decline":
      return [message.chunk, REASONS.indexOf(message.reason)];
    case "ready":
      return [];
    default:
      return [message.chunk];
  }
}

/**
 * Reads one frame. Throws Fault `artifacts.wire` (exit `invalid`) for an unknown code, a wrong number of fields, a number out of
 * range, or a payload where none belongs. Ranges that depend on the blob are left to whoever knows it.
 */
export function decodeLinkMessage(frame: Frame): LinkMessage {
  const { header, payloadBytes } = frame;
  if (!Array.isArray(header)) throw refuse("not a list");
  const fields = new Fields(header);
  const message = readMessage(fields);
  fields.end();
  const carries = message.type === "cells" || message.type === "map";
  if (!carries && payloadBytes > 0) throw refuse(`a payload with ${message.type}`);
  return message;
}

function readMessage(fields: Fields): LinkMessage {
  const code = fields.int(CODES.peers);
  switch (code) {
    case CODES.join:
      return readJoin(fields);
    case CODES.leave:
      return { type: "leave", root: fields.root() };
    case CODES.ack:
      return { type: "ack", bytes: fields.int(Number.MAX_SAFE_INTEGER) };
    case CODES.cells: {
      const ref = fields.ref();
      const [chunk, first, count] = [fields.chunk(), fields.int(MAX_CELLS - 1), fields.int(MAX_CELLS, 1)];
      return { type: "cells", ref, chunk, first, count, hashed: fields.flag() };
    }
    case CODES["map-want"]:
      return { type: "map-want", ref: fields.ref(), first: fields.chunk(), count: fields.int(MAX_MAP_HASHES, 1) };
    case CODES.map:
      return { type: "map", ref: fields.ref(), first: fields.chunk() };
    case CODES.peers:
      return { type: "peers", ref: fields.ref(), peers: fields.nodes() };
    default:
      return { type: "swarm", ref: fields.ref(), message: readSwarmMessage(code, fields) };
  }
}

function readJoin(fields: Fields): LinkMessage {
  const ref = fields.ref();
  const root = fields.root();
  const sizeBytes = fields.int(Number.MAX_SAFE_INTEGER);
  const blob = { root, sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) };
  if (!isBlobRef(blob)) throw refuse("not the name of a blob");
  return { type: "join", ref, blob, status: fields.status() };
}

function readSwarmMessage(code: number, fields: Fields): SwarmMessage {
  switch (code) {
    case CODES.status:
      return { type: "status", ...fields.status() };
    case CODES.have:
      return { type: "have", runs: fields.runs() };
    case CODES.claim:
      return { type: "claim", runs: fields.runs(), wan: fields.flag() };
    case CODES.unclaim:
      return { type: "unclaim", runs: fields.runs() };
    case CODES.offer:
      return { type: "offer", chunk: fields.chunk() };
    case CODES.accept:
      return { type: "accept", chunk: fields.chunk() };
    case CODES.decline:
      return { type: "decline", chunk: fields.chunk(), reason: REASONS[fields.int(REASONS.length - 1)] ?? "no" };
    case CODES.ready:
      return { type: "ready" };
    case CODES.want:
      return { type: "want", chunk: fields.chunk() };
    case CODES.cancel:
      return { type: "cancel", chunk: fields.chunk() };
    default:
      return { type: "abort", chunk: fields.chunk() };
  }
}

/** The fields of one message, taken in order. */
class Fields {
  readonly #values: readonly unknown[];
  #at = 0;

  constructor(values: readonly unknown[]) {
    this.#values = values;
  }

  #next(): unknown {
    return this.#values[this.#at++];
  }

  end(): void {
    if (this.#at !== this.#values.length) throw refuse(`${this.#values.length} fields instead of ${this.#at}`);
  }

  int(max: number, min = 0): number {
    const value = this.#next();
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
      throw refuse(`not an integer from ${min} to ${max}`);
    }
    return value;
  }

  ref(): number {
    return this.int(MAX_REFS - 1);
  }

  chunk(): number {
    return this.int(MAX_CHUNKS - 1);
  }

  flag(): boolean {
    return this.int(1) === 1;
  }

  root(): string {
    const value = this.#next();
    if (!(value instanceof Uint8Array) || value.length !== HASH_BYTES) throw refuse("not a root");
    return Buffer.from(value).toString("hex");
  }

  runs(): number[] {
    return this.#list(MAX_RUNS * 2).map((value) => {
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= MAX_CHUNKS) return value;
      throw refuse("not a run of chunks");
    });
  }

  /** Whom they name is found among members, or is not there: that these are keys is not looked at, which would take 15 µs for each. */
  nodes(): NodeId[] {
    return this.#list(MAX_PEERS_TOLD).map((value) => {
      if (typeof value === "string" && hasNodeIdForm(value)) return value;
      throw refuse("not a node id");
    });
  }

  status(): PeerStatus {
    const flags = this.int(WANTS + YIELDS + FOREGROUND);
    const reach = this.#list(MAX_REACH).map((value) => {
      if (typeof value === "string" && value.length <= MAX_SITE_CHARS) return value;
      throw refuse("not the name of a site");
    });
    const has = (flag: number): boolean => (flags & flag) !== 0;
    return { wants: has(WANTS), yields: has(YIELDS), foreground: has(FOREGROUND), reach };
  }

  #list(maxLength: number): unknown[] {
    const value = this.#next();
    if (!Array.isArray(value) || value.length > maxLength) throw refuse(`not a list of at most ${maxLength}`);
    return value;
  }
}

function refuse(what: string): Fault {
  return new Fault("artifacts.wire", `a peer sent what is not a swarm message: ${what}`, { exit: "invalid" });
}
