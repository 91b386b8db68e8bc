import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TestFleet } from "../support/fleet.ts";
import { openScene, type Scene, type SceneName, SCENES } from "../support/join-scenes.ts";
import { ALL_EFFECTS, DeviceDisk, type Effect, walkJoin } from "../support/join-walk.ts";
import { JoinBench } from "../support/joining.ts";

const VICTIM = fileURLToPath(import.meta.resolve("../support/join-victim.ts"));
/** Victims at a time: each is a process that starts, joins and dies. */
const AT_A_TIME = 2;

const newFolder = (): string => mkdtempSync(join(tmpdir(), "ptl-join-"));
const never = (): undefined => undefined;

/** Runs a join in a process of its own, which kills itself with SIGKILL after so many effects. */
async function killAfter(scene: SceneName, folder: string, survive: number): Promise<void> {
  const child = spawn(process.execPath, [VICTIM, folder, scene, String(survive)], { stdio: "inherit" });
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL", `${scene} after ${survive} effects`);
}

/** The effects of a scene that nobody disturbs. */
function effectsOf(scene: Scene): Effect[] {
  using bench = new JoinBench();
  using device = openScene(bench, scene, ":memory:");
  return walkJoin(bench, device, scene.serial, never);
}

/** What is on both disks after the crash, a restart of both, and one more try. */
function recover(name: SceneName, folder: string): void {
  const scene: Scene = SCENES[name];
  using bench = new JoinBench(new TestFleet(), folder);
  using device = openScene(bench, scene, folder);
  const before = bench.ledger.issuedTo(device.key.nodeId)?.bytes;
  walkJoin(bench, device, scene.serial, never);
  const [members, others] = [bench.store.list("Member"), name === "thief" ? 1 : 0];
  if (name === "thief" || name === "unclaimed") {
    assert.equal(device.isMember(), false);
    assert.equal(bench.ledger.memberCount(), others);
    assert.equal(bench.ledger.refusedDevices().length, others, "remembered once");
    return;
  }
  assert.deepEqual([members.length, bench.ledger.memberCount(), device.isMember()], [1, 1, true]);
  assert.equal(device.store.list("Member")[0]?.digest, members[0]?.digest, "both have the same document");
  if (before !== undefined) assert.deepEqual(members[0]?.bytes, before, "the same answer as before the crash");
  assert.equal(device.settings.get("pass"), undefined, "the pass is forgotten");
  assert.notEqual(device.settings.get("provisional"), undefined, "a newcomer is in doubt");
  using rival = new DeviceDisk(bench.device(9), ":memory:", scene.pass);
  walkJoin(bench, rival, scene.serial, never);
  assert.deepEqual([rival.isMember(), bench.ledger.memberCount()], [false, 1], "nobody else gets in by it");
}

describe("join, both ends killed with SIGKILL ahead of every effect", function () {
  this.timeout(60_000);
  const seen = new Set<Effect>();
  let kills = 0;

  for (const name of Object.keys(SCENES) as SceneName[]) {
    it(`${name}: admitted once, or not at all`, async () => {
      const effects = effectsOf(SCENES[name]);
      for (const effect of effects) seen.add(effect);
      const moments = effects.keys().toArray();
      await Promise.all(
        Array.from({ length: AT_A_TIME }, async () => {
          for (let at = moments.shift(); at !== undefined; at = moments.shift()) {
            const folder = newFolder();
            await killAfter(name, folder, at);
            recover(name, folder);
            kills += 1;
          }
        }),
      );
      console.log(`      ${name}: killed ahead of each of ${effects.length} effects: ${effects.join(", ")}`);
    });
  }

  it("leaves no effect of either state machine out", () => {
    console.log(`      ${kills} kills, ${ALL_EFFECTS.length} kinds of effects`);
    assert.deepEqual([...seen].toSorted(), [...ALL_EFFECTS].toSorted());
  });
});
