import { mkdtempSync } from "node:fs";
import { mkdir, readdir, realpath, stat, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Clock, EXIT_CODES, errorMessage, Fault, SystemClock, SystemRandom } from "#core";
import { Children } from "./children.ts";
import { type Copy, hashFile, type Progress, publishAndStage, untilComplete, writeCopies } from "./distribution.ts";
import { Fleet } from "./fleet.ts";
import { Keys } from "./keys.ts";
import { controlLink } from "./link-control.ts";
import { findNamespaces } from "./namespaces.ts";
import { type DemoOptions, HELP, readOptions } from "./options.ts";
import { type FleetPlan, fluidBoundSeconds, planFleet } from "./plan.ts";
import { canPull, type Flow, Plug, type PlugRecord } from "./plug.ts";
import { renderReport, renderTour } from "./report.ts";
import { type DemoResult, judgeRun } from "./result.ts";
import { SocketWatch } from "./socket-watch.ts";
import { formatBytes, formatRate } from "./units.ts";
import { View } from "./view.ts";

/** Over 100 MB, and everybody who got here has it. */
const DEFAULT_FILE = path.join(import.meta.dirname, "..", "node_modules", ".bin", "node");
/** The transfer is given up after so many times the least it can take, and this besides. */
const PATIENCE = { factor: 4, ms: 60_000 };
/** Disk needed beside each node's store and copy of the file. */
const SPARE_BYTES = 200_000_000;
/** Longest temporary folder in which the links' sockets still have short enough names (unix(7): 107 bytes). */
const MAX_TMPDIR_CHARS = 60;
const INTERRUPTED = 130;
/** A launcher that was killed passes no signal on. */
const PARENT_CHECK_MS = 500;

type Workplace = { temporary: string; work: string; links: string; file: { path: string; bytes: number } };
type Outcome = { result: DemoResult; problems: string[]; copies: Copy[]; first: string };

/** Runs the demo; the exit code says whether all held. */
async function main(argv: readonly string[]): Promise<number> {
  const clock = new SystemClock();
  const cwd = process.env["INIT_CWD"] ?? process.cwd();
  const options = readOptions(argv, DEFAULT_FILE);
  if (options === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  const place = await prepare(options, cwd);
  const stop = stopOnSignals(clock);
  await using children = new Children(clock, place.temporary);
  try {
    const outcome = await runFleet(clock, children, options, place, stop.signal);
    const { result, copies, problems } = outcome;
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : renderReport(result, copies, problems));
    if (options.json) for (const problem of problems) console.error(`PROBLEM: ${problem}`);
    if (!options.exit) {
      console.error(`\n${renderTour(place.work, outcome.first, cwd)}`);
      await new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
    }
    return result.ok ? 0 : EXIT_CODES.internal;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return INTERRUPTED;
  } finally {
    if (stop.signal.aborted) console.error("\nstopping the fleet …");
  }
}

/** From no process at all to compared copies, with a look at the kernel's connections all along. */
async function runFleet(
  clock: Clock,
  children: Children,
  options: DemoOptions,
  place: Workplace,
  signal: AbortSignal,
): Promise<Outcome> {
  const view = new View(clock, { write: (text) => process.stderr.write(text), isTTY: process.stderr.isTTY });
  const plan = planFleet(options.nodes, options.sites);
  const namespaces = options.namespaces ? await findNamespaces(children, signal) : undefined;
  const fleet = new Fleet({ clock, children, namespaces, signal }, place, plan);
  const watching = new AbortController();
  const watch = new SocketWatch(clock, () => fleet.residents());
  const watched = watch.run(watching.signal);
  try {
    const where = namespaces === undefined ? "on this machine's loopback" : "in network namespaces";
    const shape = `${formatRate(options.rateBps)} each way, ${options.delayMs} ms between two sites`;
    view.step(`starting the WAN links of ${options.sites} sites ${where}: ${shape}`);
    await fleet.startLinks(options);
    await formFleet(fleet, plan, view);
    const { copies, plug } = await distribute({ clock, fleet, plan, view, signal }, options, place);
    await watch.sample();
    const { result, problems } = judgeRun({
      nodes: fleet.nodes.length,
      sites: plan.sites,
      file: { bytes: place.file.bytes, sha256: await hashFile(place.file.path, signal) },
      copies: copies.map(({ record }) => record),
      refused: await fleet.refusals(),
      links: await Promise.all(plan.sites.map(({ number }) => controlLink(clock, place.links, number, "stats"))),
      bypasses: watch.found,
      plug,
    });
    return { result, problems, copies, first: plan.nodes[0].serial };
  } finally {
    watching.abort();
    await watched;
  }
}

/** Starts all daemons. */
async function formFleet(fleet: Fleet, plan: FleetPlan, view: View): Promise<void> {
  view.step(`starting ${plan.nodes[0].serial}, which makes the fleet and admits the others by their serials`);
  const token = await fleet.found("demo");
  view.step(`starting the other ${plan.nodes.length - 1} and one that nobody claimed, all with the token ${token}`);
  await fleet.join(token);
  for (const { node, code } of await fleet.refusals()) view.step(`all are in but ${node}, which was refused: ${code}`);
}

type Run = { clock: Clock; fleet: Fleet; plan: FleetPlan; view: View; signal: AbortSignal };

/** Brings the file to all nodes, whoever is killed meanwhile, and a copy out of each. */
async function distribute(
  run: Run,
  options: DemoOptions,
  { work, file }: Workplace,
): Promise<{ copies: Copy[]; plug: PlugRecord | undefined }> {
  const { clock, fleet, view, signal } = run;
  const { sites, rateBps } = options;
  view.step(`publishing ${file.path} (${formatBytes(file.bytes)}) on the first, staging it on all`);
  await publishAndStage(fleet, file.path, file.bytes);
  const rates = Array.from({ length: sites }, () => rateBps);
  const patienceMs = fluidBoundSeconds(file.bytes, rates, rates) * 1_000 * PATIENCE.factor + PATIENCE.ms;
  let latest: readonly Progress[] = [];
  const onProgress = (progress: readonly Progress[]): void => {
    latest = progress;
    view.progress(progress);
  };
  const untilAllHave = () => untilComplete(clock, () => fleet.living(), patienceMs, onProgress, signal);
  const over = { isOver: false };
  const flow = { latest: () => latest, isOver: () => over.isOver };
  const complete = untilAllHave().finally(() => (over.isOver = true));
  const plug = await Promise.all([pullThePlug(run, options, work, flow), complete]).then(([record]) => record);
  if (fleet.living().length < fleet.nodes.length) {
    view.step("starting again who was killed; each goes on with what it had");
    await fleet.revive();
    await untilAllHave();
  }
  view.step("writing every copy out and comparing it with the file");
  return { copies: await writeCopies(fleet, path.join(work, "copies"), path.basename(file.path), signal), plug };
}

/** Kills nodes, by itself and as the viewer picks, if that is wanted. */
async function pullThePlug(
  { clock, fleet, plan, view, signal }: Run,
  options: DemoOptions,
  workFolder: string,
  flow: Flow,
): Promise<PlugRecord | undefined> {
  if (!options.plug) return undefined;
  if (!canPull(plan)) {
    view.step("nobody is killed: that takes three sites of three nodes");
    return undefined;
  }
  const plug = new Plug({ clock, random: new SystemRandom(), view, signal, workFolder }, fleet, plan, flow);
  const isWatched = process.stdin.isTTY && process.stderr.isTTY && !options.exit && !options.json;
  if (!isWatched) return await plug.pull(true);
  const keys = new Keys(process.stdin, view, plug);
  return await plug.pull(false).finally(() => keys[Symbol.dispose]());
}

/** Looks before anything starts. Throws Fault `demo.platform`, `demo.file`, `demo.keep`, `demo.disk`. */
async function prepare(options: DemoOptions, cwd: string): Promise<Workplace> {
  if (process.platform !== "linux") {
    throw new Fault("demo.platform", `the demo needs Linux for its sites, and this is ${process.platform}`, {
      exit: "invalid",
      fix: "run it in a Linux virtual machine or container",
    });
  }
  const named = path.resolve(cwd, options.file);
  const file = await realpath(named).catch(() => named); // only a link's target can be published
  const found = await stat(file).catch(() => undefined);
  if (found?.isFile() !== true || found.size === 0) {
    throw new Fault("demo.file", `${named} is not a file with something in it`, {
      exit: "invalid",
      fix: "give another --file",
    });
  }
  const keep = options.keep === undefined ? undefined : path.resolve(cwd, options.keep);
  if (keep !== undefined) {
    await mkdir(keep, { recursive: true, mode: 0o700 });
    if ((await readdir(keep)).length > 0) {
      throw new Fault("demo.keep", `${keep} is not empty`, { exit: "conflict", fix: "give --keep a new folder" });
    }
  }
  const base = tmpdir().length > MAX_TMPDIR_CHARS ? "/tmp" : tmpdir();
  await checkSpace(keep ?? base, found.size * 2 * options.nodes + SPARE_BYTES);
  const temporary = mkdtempSync(path.join(base, "portolan-demo-"));
  const links = path.join(temporary, "links");
  const work = keep ?? path.join(temporary, "fleet");
  await mkdir(links);
  await mkdir(work, { recursive: true });
  return { temporary, work, links, file: { path: file, bytes: found.size } };
}

async function checkSpace(folder: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= neededBytes) return;
  const message = `${folder} has ${formatBytes(bavail * bsize)} free, and stores and copies can take ${formatBytes(neededBytes)}`;
  throw new Fault("demo.disk", message, {
    exit: "conflict",
    fix: "give --keep a folder on a larger disk, or a smaller --file",
  });
}

/** Aborts at the first signal that asks to stop, and when the launcher is gone; later signals change nothing. */
function stopOnSignals(clock: Clock): AbortController {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort(new Fault("demo.interrupted", "the demo was asked to stop"));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupt);
  const parent = process.ppid;
  const watchParent = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      if (process.ppid !== parent) interrupt();
      await clock.sleep(PARENT_CHECK_MS, stop.signal);
    }
  };
  if (process.env["INIT_CWD"] !== undefined) watchParent().catch(() => undefined); // aborted
  return stop;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(`error: ${errorMessage(error)}`);
  if (error instanceof Fault && error.fix !== undefined) console.error(`fix: ${error.fix}`);
  process.exitCode = error instanceof Fault ? EXIT_CODES[error.exit] : EXIT_CODES.internal;
}
process.exit(); // whoever watches for a launcher that is gone would go on watching
