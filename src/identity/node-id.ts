import { createHash } from "node:crypto";
import { ED25519_PUBLIC_BYTES, Fault, isEd25519PublicKey, Recent } from "#core";
import { base32 } from "multiformats/bases/base32";
import { base58btc } from "multiformats/bases/base58";

/**
 * The one identity of a node: the libp2p peer id of its Ed25519 key, as text (`12D3Koo…`), so that an authenticated
 * connection and a signed document name the same thing.
 */
export type NodeId = string;

/** libp2p peer id spec: identity multihash (0x00, 36 bytes) of the protobuf {Type: Ed25519, Data: 32 bytes}. */
const PEER_ID_HEAD = Buffer.from("002408011220", "hex");
/** Its base58 begins with the same 8 characters for every key, and has 52. */
const NODE_ID_FORM = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/u;

/** A node reads and writes the ids of the same nodes all the time, and base58 takes as long as checking a signature does. */
const written = new Recent<string, NodeId>(4_096);
const read = new Recent<NodeId, Uint8Array>(1_024);

/** The node id of a raw 32-byte Ed25519 public key. */
export function nodeIdOf(publicKey: Uint8Array): NodeId {
  const bytes = Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.length);
  return written.get(bytes.toString("latin1"), () => base58btc.baseEncode(Buffer.concat([PEER_ID_HEAD, bytes])));
}

/** The public key inside a node id, which is not to be written to. Throws Fault `identity.node-id` (exit `invalid`) when it is not the id of a usable Ed25519 key. */
export function publicKeyOf(nodeId: NodeId): Uint8Array {
  return read.get(nodeId, () => {
    const key = parseNodeId(nodeId);
    if (key !== undefined) return key;
    throw new Fault("identity.node-id", `"${nodeId.slice(0, 80)}" is not a node id`, {
      exit: "invalid",
      fix: "A node id looks like 12D3Koo… and is printed by `portolan id`.",
    });
  });
}

/** Whether the text is the id of a usable Ed25519 key. */
export function isNodeId(text: string): boolean {
  return parseNodeId(text) !== undefined;
}

/** Whether the text could be a node id: a look that costs nothing, for what is only compared with ids that are known to be some. */
export function hasNodeIdForm(text: string): boolean {
  return NODE_ID_FORM.test(text);
}

function parseNodeId(text: string): Uint8Array | undefined {
  if (typeof text !== "string" || text.length < 40 || text.length > 64) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = base58btc.baseDecode(text);
  } catch {
    return undefined;
  }
  if (bytes.length !== PEER_ID_HEAD.length + ED25519_PUBLIC_BYTES) return undefined;
  if (Buffer.compare(bytes.subarray(0, PEER_ID_HEAD.length), PEER_ID_HEAD) !== 0) return undefined;
  const key = bytes.subarray(PEER_ID_HEAD.length);
  // The decoder reads a character beyond ASCII as a zero: without this, one key would have many ids.
  return isEd25519PublicKey(key) && nodeIdOf(key) === text ? key : undefined;
}

/** Hex SHA-256 of a raw public key: the `key` column of claims, the keyid of signatures. */
export function keyHash(publicKey: Uint8Array): string {
  return createHash("sha256").update(publicKey).digest("hex");
}

/** A short name for a key, fit for DNS: `n-` and 50 bits of its hash in base32. The name of a node that brought none. */
export function shortId(publicKey: Uint8Array): string {
  return `n-${base32.baseEncode(createHash("sha256").update(publicKey).digest()).slice(0, 10)}`;
}
