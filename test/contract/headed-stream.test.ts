import { encodeFrame, memoryStreamPair } from "#core";
import { HeadedStream } from "#core";
import { byteStreamContract } from "./byte-stream.ts";

const LIMITS = { maxHeaderBytes: 64, maxPayloadBytes: 0, maxHeldBytes: Number.POSITIVE_INFINITY };

byteStreamContract("behind a first frame", async () => {
  const [a, b] = memoryStreamPair();
  const [near, far] = [new HeadedStream(a, LIMITS), new HeadedStream(b, LIMITS)];
  near.send(...encodeFrame("near"));
  far.send(...encodeFrame("far"));
  await Promise.all([near.head, far.head]);
  return [near, far];
});
