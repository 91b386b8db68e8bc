import { createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { z } from "zod";
import { ED25519_SEED_BYTES, Ed25519Key, Fault, parseJson, type Random } from "#core";
import { writeDurably } from "./durable-file.ts";
import { readPrivateFile } from "./key-file.ts";
import { type NodeId, nodeIdOf } from "./node-id.ts";

const NODE_KEY_FORMAT = "portolan-node-key-v1";
const MAX_NODE_KEY_BYTES = 16 * 1024;
const X25519_BYTES = 32;

/** The two keys of a node: one signs and names it, the other opens what is sealed to it. */
export type NodeKey = {
  nodeId: NodeId;
  /** Ed25519 seed; the mesh makes its TLS certificate from it. Never leaves this machine. */
  seed: Uint8Array;
  key: Ed25519Key;
  /** X25519 private key, 32 bytes. */
  sealingSecret: Uint8Array;
  /** X25519 public key, 32 bytes: `sealingKey` in the member document. */
  sealingPublic: Uint8Array;
};

const hex32 = z.string().regex(/^[0-9a-f]{64}$/u);
const nodeKeyFile = z.strictObject({
  format: z.literal(NODE_KEY_FORMAT),
  nodeId: z.string(),
  seed: hex32,
  sealing: hex32,
});

/**
 * Reads `node.key`, or makes it at first boot: keys are made on the device, never in an image.
 *
 * Throws Fault `identity.node-key` (invalid) when the file is damaged: it is never replaced, because with it goes the
 * membership; `identity.key-permissions` (denied) when others may read it.
 */
export function loadNodeKey(path: string, random: Random): NodeKey {
  if (!existsSync(path)) {
    const seed = random.bytes(ED25519_SEED_BYTES);
    const made = nodeKeyFrom(seed, random.bytes(X25519_BYTES));
    const text = JSON.stringify({
      format: NODE_KEY_FORMAT,
      nodeId: made.nodeId,
      seed: Buffer.from(seed).toString("hex"),
      sealing: Buffer.from(made.sealingSecret).toString("hex"),
    });
    writeDurably(path, Buffer.from(`${text}\n`), 0o600);
    return made;
  }
  const bytes = readPrivateFile(path);
  let stored: z.infer<typeof nodeKeyFile>;
  try {
    stored = nodeKeyFile.parse(parseJson(bytes, MAX_NODE_KEY_BYTES));
  } catch (cause) {
    throw damaged(path, cause);
  }
  const node = nodeKeyFrom(Buffer.from(stored.seed, "hex"), Buffer.from(stored.sealing, "hex"));
  if (node.nodeId !== stored.nodeId) throw damaged(path);
  return node;
}

/** The keys from their secrets, 32 bytes each; for tests and for fleets that live in one process. */
export function nodeKeyFrom(seed: Uint8Array, sealingSecret: Uint8Array): NodeKey {
  const key = new Ed25519Key(seed);
  // RFC 8410 §7: the fixed DER head of an X25519 PrivateKeyInfo, then the key.
  const der = Buffer.concat([Buffer.from("302e020100300506032b656e04220420", "hex"), sealingSecret]);
  const jwk = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({ format: "jwk" });
  return {
    nodeId: nodeIdOf(key.publicKey),
    seed,
    key,
    sealingSecret,
    sealingPublic: new Uint8Array(Buffer.from(jwk.x ?? "", "base64url")),
  };
}

function damaged(path: string, cause?: unknown): Fault {
  return new Fault("identity.node-key", `${path} is damaged: this node cannot prove who it is`, {
    exit: "invalid",
    fix: `Restore it from a backup; or remove it to become a new node, and have that admitted again.`,
    cause,
  });
}
