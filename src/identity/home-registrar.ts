import { createHash } from "node:crypto";
import type { NodeId } from "./node-id.ts";

/**
 * The registrar that keeps what is used up of a document, by highest random weight: the greatest SHA-256(document id ‖ LF ‖
 * node id). Taking one registrar away moves its documents only (Thaler, Ravishankar: "Using Name-Based Mappings to Increase
 * Hit Rates", 1998). `undefined` without a registrar.
 */
export function heaviestRegistrar(documentId: string, registrars: Iterable<NodeId>): NodeId | undefined {
  let heaviest: { node: NodeId; weight: Buffer } | undefined;
  for (const node of registrars) {
    const weight = createHash("sha256").update(`${documentId}\n${node}`).digest();
    if (heaviest === undefined || Buffer.compare(weight, heaviest.weight) > 0) heaviest = { node, weight };
  }
  return heaviest?.node;
}
