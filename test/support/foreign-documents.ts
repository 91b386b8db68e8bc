import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { publicKeyFromRaw } from "@libp2p/crypto/keys";
import type { Connection } from "@libp2p/interface";
import { decodeEnvelope, type Envelope, preAuthEncoding } from "#core";
import type { Admission } from "./foreign-join.ts";
import { framesOf, send } from "./foreign-peer.ts";

const MAX_ENVELOPE_BYTES = 12 * 1024 * 1024;
const BUCKETS_BYTES = 256 * 8;

/** Who signs what, unless a charter says otherwise; publishers sign the rest. */
const SIGNERS: Readonly<Record<string, string>> = {
  Charter: "owner",
  Operator: "owner",
  Registrar: "owner",
  Member: "registrar",
  Beacon: "registrar",
  ClaimList: "admission",
  Batch: "admission",
  Revocation: "security",
};
/** Kinds that name keys, in the order in which they can be judged; all others come after them. */
const FIRST_KINDS = ["Charter", "Operator", "Registrar"];

/** A document that somebody with the right to say so has signed. */
export type Document = {
  kind: string;
  metadata: { name: string; tenant: string; labels: Record<string, string> };
  fleet: string;
  version: number;
  spec: Record<string, unknown>;
  signers: string[];
};

/** What the hello of a member says: docs/spec/hello.md. */
export function membershipOffer({ fleet, charters, documents, member }: Admission): Record<string, unknown> {
  return {
    fleet: Buffer.from(fleet).toString("hex"),
    charter: charters.length,
    revocation: 0,
    documents: [...charters.slice(1), ...documents.filter((one) => kindOf(one) === "registrar"), member],
  };
}

function kindOf(envelope: Uint8Array): string | undefined {
  return /portolan\.(?<kind>[a-z]+)\.v1/u.exec(decodeEnvelope(envelope, MAX_ENVELOPE_BYTES).payloadType)?.groups?.[
    "kind"
  ];
}

/** Pulls all envelopes that a neighbour has in force, signers before what they signed: docs/spec/documents.md. */
export async function pullDocuments(connection: Connection): Promise<Uint8Array[]> {
  const stream = await connection.newStream(["/portolan/documents/1"]);
  const frames = framesOf(stream);
  send(stream, { op: "compare", buckets: new Uint8Array(BUCKETS_BYTES) }); // we have nothing, so all buckets differ
  const { value: summary } = await frames.next();
  assert.ok(summary, "the neighbour said nothing");
  const { entries } = summary.header as { entries: [string, number][] };
  const rank = ([id]: [string, number]): number => {
    const at = FIRST_KINDS.indexOf(id.split("/")[0] ?? "");
    return at < 0 ? FIRST_KINDS.length : at;
  };
  send(stream, { op: "get", ids: entries.toSorted((a, b) => rank(a) - rank(b)).map(([id]) => id) });
  const envelopes: Uint8Array[] = [];
  for await (const { header, payload } of frames) {
    if ("end" in (header as object)) break;
    envelopes.push(Buffer.concat(payload));
  }
  await stream.close();
  return envelopes;
}

type Key = { roles: readonly string[]; verify(data: Uint8Array, signature: Uint8Array): Promise<boolean> };

/** Follows one fleet: takes documents whose signers the charter trusts with that kind. Knows no charter but the first. */
export class ForeignFleet {
  readonly #id: string;
  readonly #keys = new Map<string, Key>();
  #threshold = 0;

  constructor(fleet: Uint8Array) {
    this.#id = Buffer.from(fleet).toString("hex");
  }

  /** `undefined` when it must not be believed. */
  async judge(bytes: Uint8Array): Promise<Document | undefined> {
    const envelope = decodeEnvelope(bytes, MAX_ENVELOPE_BYTES);
    if (createHash("sha256").update(envelope.payload).digest("hex") === this.#id) this.#adopt(parse(envelope));
    const signers = await this.#signersOf(envelope);
    if (signers.length === 0) return undefined;
    const document = { ...parse(envelope), signers };
    if (!this.#suffices(document)) return undefined;
    const { kind, spec } = document;
    if (kind === "Operator") this.#trust(spec["publicKey"], spec["roles"] as string[]);
    if (kind === "Registrar") this.#trust(spec["publicKey"], ["registrar"]);
    return document;
  }

  /** The fleet's id is the hash of its first charter, which names the owners. */
  #adopt({ spec }: Document): void {
    this.#threshold = spec["threshold"] as number;
    for (const { publicKey } of spec["owners"] as { publicKey: string }[]) this.#trust(publicKey, ["owner"]);
  }

  #trust(publicKey: unknown, roles: readonly string[]): void {
    const raw = Buffer.from(String(publicKey), "base64");
    const id = createHash("sha256").update(raw).digest("hex");
    const known = this.#keys.get(id);
    const key = publicKeyFromRaw(raw);
    this.#keys.set(id, {
      roles: [...(known?.roles ?? []), ...roles], // in a fleet for trying out, one key may be all
      verify: async (data, signature) => key.verify(data, signature),
    });
  }

  async #signersOf({ payloadType, payload, signatures }: Envelope): Promise<string[]> {
    const signed = preAuthEncoding(payloadType, payload);
    const signers: string[] = [];
    for (const { keyid, sig } of signatures) if (await this.#keys.get(keyid)?.verify(signed, sig)) signers.push(keyid);
    return signers;
  }

  #suffices({ kind, fleet, version, signers }: Document): boolean {
    if (fleet !== (kind === "Charter" && version === 1 ? "" : this.#id)) return false;
    const role = SIGNERS[kind] ?? "publisher";
    const able = signers.filter((id) => this.#keys.get(id)?.roles.includes(role));
    return able.length >= (role === "owner" ? this.#threshold : 1);
  }
}

function parse({ payload }: Envelope): Document {
  return JSON.parse(Buffer.from(payload).toString()) as Document;
}
