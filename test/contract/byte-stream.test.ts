import { memoryStreamPair } from "#core";
import { byteStreamContract } from "./byte-stream.ts";

byteStreamContract("memory", () => Promise.resolve(memoryStreamPair()));
