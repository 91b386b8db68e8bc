import { join } from "node:path";
import { MemoryNet, Store, startSwarm } from "#artifacts";
import { type Clock, Ed25519Key, SILENT_LOG, SystemRandom } from "#core";
import { type NodeId, nodeIdOf } from "#identity";
import { z } from "zod";
import { atLeast, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import { writeRandomFile } from "./workspace.ts";

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const random = new SystemRandom();

/** Swarm and store without network: what hashing, disk and decisions cost, both sides in one process. */
export const local = defineBench({
  name: "local",
  claim: "Store to store in one process, hashed and durable on disk: 300 MiB/s, sender and receiver together.",
  options: z.object({
    mib: numberFlag(512, 1, 65_536, "size of the file in MiB"),
    runs: numberFlag(3, 1, 99, "measured runs"),
  }),
  missing: async () => undefined,
  run: async ({ clock, directory, progress }, { mib, runs }) => {
    const source = join(directory, "source");
    await writeRandomFile(source, mib * MIB);
    const net = new MemoryNet();
    await using first = await startNode(net, clock, join(directory, "from"));
    const startedMs = clock.nowMs();
    const ref = await first.store.import(source, { inPlace: false, signal: never });
    const publishSeconds = (clock.nowMs() - startedMs) / 1_000;
    first.announce(ref.root);
    const samples: Sample[] = [];
    for (let run = 0; run < runs; run++) {
      await using node = await startNode(net, clock, join(directory, `to-${run}`));
      const cpu = process.cpuUsage();
      const fromMs = clock.nowMs();
      await node.swarm.fetch(ref, { signal: never });
      const seconds = (clock.nowMs() - fromMs) / 1_000;
      const { user, system } = process.cpuUsage(cpu);
      const mibPerSecond = mib / seconds;
      progress(`run ${run}: ${mibPerSecond.toFixed(0)} MiB/s`);
      samples.push({ run, seconds, mibPerSecond, cpuSecondsPerGib: ((user + system) / 1e6 / mib) * 1_024 });
      net.kill(node.id);
      await node.store.remove(ref.root);
    }
    const speed = median(samples.map((sample) => Number(sample["mibPerSecond"])));
    return {
      conditions: { mib, runs },
      setupSeconds: { publish: publishSeconds },
      samples,
      bars: [atLeast("MiB/s", 300, speed)],
    };
  },
});

async function startNode(net: MemoryNet, clock: Clock, dir: string) {
  await using stack = new AsyncDisposableStack();
  const id: NodeId = nodeIdOf(new Ed25519Key(random.bytes(32)).publicKey);
  const store = stack.use(await Store.open(dir, { clock, log: SILENT_LOG }));
  const ports = net.ports(id);
  const swarm = stack.use(await startSwarm({ clock, random, log: SILENT_LOG, store, ...ports }));
  const parts = stack.move();
  return {
    id,
    store,
    swarm,
    announce: (root: string) => ports.holders.announce(root),
    [Symbol.asyncDispose]: async () => parts.disposeAsync(),
  };
}
