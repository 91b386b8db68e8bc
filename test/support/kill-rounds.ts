import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import type { ArtifactDetail } from "#api";
import { type Random, SeededRandom, SystemRandom } from "#core";
import { Yard, type YardNode } from "./yard.ts";

const MIB = 1024 ** 2;
const SIZE_BYTES = 32 * MIB;
/** 32 MiB take 4 s or more: time enough to be killed in the middle. */
const UPLOAD_BPS = 8_000_000;
/** What a node that was killed may fetch again of what it had. 64 MiB are promised; the content here is smaller than that. */
const MAX_AGAIN_BYTES = 4 * MIB;
const NAMES = ["one", "two", "three"];
/** A machine whose cores are all busy takes many times what a transfer needs. */
const TRANSFER_MS = 120_000;

/**
 * Real daemons: in each round one publishes, all others fetch, and one of all is killed with -9 at a random moment, the publisher not before
 * the swarm has a whole copy. Then it comes back. Throws when a node does not end with every byte, naming the round and the seed.
 */
export async function killRounds(
  rounds: number,
  seed = new SystemRandom().below(2 ** 31),
  say: (line: string) => void = () => undefined,
): Promise<void> {
  say(`seed ${seed}`);
  await using yard = new Yard();
  const nodes = await startFleet(yard);
  const random = new SeededRandom(seed);
  for (let round = 1; round <= rounds; round++) {
    try {
      say(`round ${round}: ${await killRound(yard, nodes, random, `r${round}:v1`)}`);
    } catch (error) {
      throw new Error(`round ${round}; again with KILL_ROUNDS=${rounds} KILL_SEED=${seed}`, { cause: error });
    }
  }
}

/** The first is the registrar and holds the publisher's key. */
async function startFleet(yard: Yard): Promise<YardNode[]> {
  const config = yard.write("slow.yaml", `limits: { uploadBps: ${UPLOAD_BPS} }\n`);
  const hub = await yard.demoFleet("hub", "--config", config);
  const claims = ["serial,model,key,tenant,labels,expires,site", ...NAMES.map((name) => `${name},,,,,,hq`)];
  await hub.ok("admit", "-f", yard.write("claims.csv", claims.join("\n")));
  const token = await hub.ok("token");
  const others = NAMES.map((name) => yard.node(name));
  await Promise.all(others.map((node) => node.up("--token", token, "--serial", node.name, "--config", config)));
  await Promise.all(others.map((node) => node.until("member")));
  return [hub, ...others];
}

/** One round; returns what happened in it. */
async function killRound(yard: Yard, nodes: readonly YardNode[], random: Random, name: string): Promise<string> {
  const [hub] = nodes as [YardNode];
  const content = random.bytes(SIZE_BYTES);
  const source = await hub.publish(name, content);
  await hub.ok("stage", name, "-l", `name in (${NAMES.join(",")})`);
  const victim = nodes[random.below(nodes.length)] ?? hub;
  const moment = Math.floor(random.unit() * SIZE_BYTES);
  const momentHasCome = async (): Promise<boolean> => {
    const bytes = await Promise.all(nodes.slice(1).map(async (node) => (await node.artifact(name))?.local.bytes ?? 0));
    // Before the swarm has a copy of its own, a dead publisher only means waiting for it.
    return victim === hub ? Math.max(...bytes) === SIZE_BYTES : (bytes[nodes.indexOf(victim) - 1] ?? 0) >= moment;
  };
  await yard.until(`${victim.name}'s moment in ${name}`, momentHasCome, TRANSFER_MS);
  const before = await victim.artifact(name);
  await victim.kill();
  const killedMs = yard.clock.wallMs();
  const survivors = nodes.filter((node) => node !== victim && node !== hub);
  await Promise.all(survivors.map((node) => untilComplete(yard, node, name)));
  await victim.up("--config", yard.path("slow.yaml"));
  const after = await untilComplete(yard, victim, name);
  // who had just come to its end when it was killed still tells of that run
  const wasWhole = Date.parse(after.local.finishedAt ?? "") < killedMs;
  const again = victim === hub || wasWhole ? 0 : fetchedBytes(after) + (before?.local.bytes ?? 0) - SIZE_BYTES;
  assert.ok(again <= MAX_AGAIN_BYTES, `${victim.name} fetched ${again} bytes again`);
  for (const node of nodes) await assertHas(yard, node, name, content);
  await hub.ok("delete", "artifact", name);
  rmSync(source);
  const where = `${Math.round((100 * (before?.local.bytes ?? 0)) / SIZE_BYTES)} %`;
  return `${victim.name} killed at ${where}, ${(Math.max(0, again) / MIB).toFixed(1)} MiB fetched again, all byte-exact`;
}

function untilComplete(yard: Yard, node: YardNode, name: string): Promise<ArtifactDetail> {
  const complete = async (): Promise<ArtifactDetail | false> => {
    const detail = await node.artifact(name);
    return detail?.local.state === "complete" && detail;
  };
  return yard.until(`${node.name} to have ${name}`, complete, TRANSFER_MS);
}

/** What this run of the daemon got from others. */
function fetchedBytes({ local }: ArtifactDetail): number {
  return local.bytesFromSite + local.bytesFromWan;
}

async function assertHas(yard: Yard, node: YardNode, name: string, content: Uint8Array): Promise<void> {
  const out = yard.path(`${node.name}.out`);
  await node.ok("fetch", name, "-o", out, "--force");
  const [here, there] = [readFileSync(out), content].map((bytes) => createHash("sha256").update(bytes).digest("hex"));
  assert.equal(here, there, `${node.name} has a wrong byte of ${name}`);
}
