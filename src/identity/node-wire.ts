import { isEd25519PublicKey } from "#core";
import { z } from "zod";
import { nodeIdOf } from "./node-id.ts";

/** A node in what is told of many: the 32 bytes of its key, two thirds of the length of its id. `publicKeyOf` writes them. */
export const NodeWire = z.instanceof(Uint8Array).refine(isEd25519PublicKey, "not a node's key").transform(nodeIdOf);
