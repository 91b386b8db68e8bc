import { TestFleet } from "./fleet.ts";
import { openScene, type Scene, type SceneName, SCENES } from "./join-scenes.ts";
import { walkJoin } from "./join-walk.ts";
import { JoinBench } from "./joining.ts";

// A process with both ends of a join on disk, which takes itself away without warning ahead of one effect.
const [folder = "", name = "", survive = ""] = process.argv.slice(2);
const scene: Scene = SCENES[name as SceneName];
const bench = new JoinBench(new TestFleet(), folder);
const device = openScene(bench, scene, folder);
walkJoin(bench, device, scene.serial, (_effect, number) => {
  if (number === Number(survive)) process.kill(process.pid, "SIGKILL");
});
