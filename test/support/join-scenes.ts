import { passKey } from "../../src/identity/pass.ts";
import { base64 } from "./fleet.ts";
import { DeviceDisk, walkJoin } from "./join-walk.ts";
import type { JoinBench } from "./joining.ts";

/** A pass that is the same in every run. */
export const PASS = "ptp1.AAECAwQFBgcICQoLDA0OD9dvVvs";

export type Scene = {
  /** What the registrar's operators signed before. */
  given: (bench: JoinBench) => void;
  seed: number;
  serial?: string;
  pass?: string;
};

const claim = (bench: JoinBench): void => bench.claim("line-1", { serial: "SN-1" });

/** Joins that are killed: admitted by each kind of evidence that is used up, turned away, left waiting. */
export const SCENES = {
  pass: {
    given: (bench) => {
      const { publicKey } = passKey(PASS, bench.fleet.id);
      bench.submit(bench.fleet.sign("Pass", "p-1", { publicKey: base64(publicKey) }, [bench.fleet.admission]));
    },
    seed: 1,
    pass: PASS,
  },
  claim: { given: claim, seed: 1, serial: "SN-1" },
  thief: {
    given: (bench) => {
      claim(bench);
      using first = new DeviceDisk(bench.device(1), ":memory:");
      walkJoin(bench, first, "SN-1", () => undefined);
    },
    seed: 2,
    serial: "SN-1",
  },
  unclaimed: { given: claim, seed: 3, serial: "SN-3" },
} as const satisfies Record<string, Scene>;
export type SceneName = keyof typeof SCENES;

/** Signs what the scene needs, unless the disk has it, and opens its device. */
export function openScene(bench: JoinBench, { given, seed, pass }: Scene, folder: string): DeviceDisk {
  const bare = ["ClaimList", "Batch", "Pass"] as const;
  if (bare.every((kind) => bench.store.list(kind).length === 0)) given(bench);
  return new DeviceDisk(bench.device(seed), folder, pass);
}
