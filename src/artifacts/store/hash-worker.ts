import { parentPort, workerData } from "node:worker_threads";
import { chunkHashes } from "../chunk-map.ts";
import type { HashAnswer, HashJob } from "./hash-thread.ts";

/** The other thread of `HashThread`: hashes what lies in the memory that both see. */
const memory = new Uint8Array(workerData as SharedArrayBuffer);
parentPort?.on("message", ({ offset, bytes, chunkBytes }: HashJob) => {
  const answer: HashAnswer = chunkHashes(memory.subarray(offset, offset + bytes), chunkBytes);
  parentPort?.postMessage(answer, []);
});
