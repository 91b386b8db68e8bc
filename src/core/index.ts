export { type ByteSink, type ByteStream, lengthOf, memoryStreamPair, streamEnded } from "./byte-stream.ts";
export { decodeCbor, encodeCbor, MAX_CBOR_DEPTH, MAX_CBOR_ITEMS } from "./cbor.ts";
export { type Clock, SystemClock, VirtualClock, withDeadline } from "./clock.ts";
export { fitsItsCounts } from "./dns-bounds.ts";
export {
  decodeEnvelope,
  type Envelope,
  type EnvelopeSignature,
  encodeEnvelope,
  MAX_SIGNATURES,
  preAuthEncoding,
} from "./dsse.ts";
export {
  ED25519_PUBLIC_BYTES,
  ED25519_SEED_BYTES,
  ED25519_SIGNATURE_BYTES,
  Ed25519Key,
  isEd25519PublicKey,
  verifyEd25519,
} from "./ed25519.ts";
export { asError, EXIT_CODES, errorMessage, Fault, type FaultExit, type FaultOptions, faultCode } from "./fault.ts";
export { encodeFrame, type Frame, type FrameLimits, FrameReader, FrameStream } from "./frame.ts";
export { HeadedStream, type HeadLimits } from "./headed-stream.ts";
export { MinHeap } from "./heap.ts";
export { MAX_JSON_DEPTH, parseJson } from "./json.ts";
export { createLog, type Log, type LogFields, type LogLevel, SILENT_LOG } from "./log.ts";
export { auditPath, HASH_BYTES, leafHash, merkleRoot, nodeHash, verifyAuditPath } from "./merkle.ts";
export { type Random, SeededRandom, SystemRandom } from "./random.ts";
export { RateLimit } from "./rate-limit.ts";
export { Recent } from "./recent.ts";
export { inTransaction } from "./transaction.ts";
export { Waiters } from "./waiters.ts";
