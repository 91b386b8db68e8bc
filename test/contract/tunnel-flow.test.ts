import { TrunkPair } from "../support/trunk-pair.ts";
import { byteStreamContract } from "./byte-stream.ts";

byteStreamContract("a flow of a trunk", () => new TrunkPair().flow());
