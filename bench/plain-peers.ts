import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Clock, Fault, withDeadline } from "#core";
import { type Child, onPath, run } from "./lab/index.ts";
import {
  type Arrival,
  type Fleet,
  type FleetDeps,
  type FleetOptions,
  type Place,
  type StartFleet,
  timed,
} from "./fleet.ts";
import { makeTorrent } from "./libtorrent.ts";

const PYTHON = "/usr/bin/python3";
const TRACKER = join(import.meta.dirname, "peers", "tracker.py");
const HTTP_PORT = 8_000;
const TRACKER_PORT = 6_969;
const START_MS = 20_000;
const SYNC_MS = 120_000;

/** Why a program cannot be compared with; `undefined` when it can. */
export async function programMissing(name: "curl" | "aria2c"): Promise<string | undefined> {
  return (await onPath(name)) ? undefined : `${name} is missing: apt-get install ${name === "curl" ? "curl" : "aria2"}`;
}

/** Everybody copies the file from the first host, as a script would: no peers, no hash, no encryption. */
export const startCurl: StartFleet = async (deps, options) => {
  const [first] = options.places;
  await using stack = new AsyncDisposableStack();
  const serve = [PYTHON, "-u", "-m", "http.server", String(HTTP_PORT), "--bind", first.address];
  const server = stack.use(deps.startAt(first, [...serve, "--directory", dirname(options.file)]));
  await server.line("the HTTP server", START_MS, (line) => line.startsWith("Serving HTTP"));
  const url = `http://${first.address}:${HTTP_PORT}/${basename(options.file)}`;
  return receiving(deps, options, stack, [server], (_place, path) => ["curl", "-sS", "--fail", "-o", path, url]);
};

/** aria2 over BitTorrent, without encryption; all know each other from a tracker beside the seed. All else is its default. */
export const startAria2: StartFleet = async (deps, options) => {
  const [first] = options.places;
  await using stack = new AsyncDisposableStack();
  const torrent = await makeTorrent(deps.clock, options);
  const tracker = stack.use(deps.startAt(first, [PYTHON, TRACKER, first.address, String(TRACKER_PORT)]));
  await tracker.line("the tracker", START_MS, (line) => line === "ready");
  const announce = `http://${first.address}:${TRACKER_PORT}/announce`;
  const argv = (place: Place, directory: string, ...more: string[]): string[] => [
    ...["aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--file-allocation=none", ...more],
    ...["--seed-ratio=0.0", `--bt-tracker=${announce}`, `--listen-port=${place.port}`, "-d", directory, torrent],
  ];
  const seed = stack.use(deps.startAt(first, argv(first, dirname(options.file), "--check-integrity=true")));
  await seed.line("aria2's seed", START_MS, (line) => line.includes("Verification finished successfully"));
  const command = (place: Place, path: string): string[] =>
    argv(place, dirname(path), "--on-bt-download-complete=/bin/echo"); // prints its number, and goes on seeding
  return receiving(deps, options, stack, [seed], command, (line) => /^[0-9a-f]{16} 1 /u.test(line));
};

/** Starts one command for each receiver when the distribution begins. It is done when it says so, or, without `isDone`, when it ends well. */
function receiving(
  { clock, startAt }: FleetDeps,
  { places, directory, file }: FleetOptions,
  stack: AsyncDisposableStack,
  servers: readonly Child[],
  argv: (place: Place, path: string) => string[],
  isDone?: (line: string) => boolean,
): Fleet {
  const running = stack.move();
  const others = places.slice(1);
  const pathOf = (i: number): string => join(directory, `peer-${i + 1}`, basename(file));
  const receive = async (place: Place, i: number, deadlineMs: number): Promise<Arrival> => {
    await mkdir(dirname(pathOf(i)), { recursive: true });
    const startMs = clock.nowMs();
    const child = running.use(startAt(place, argv(place, pathOf(i))));
    await arrived(clock, child, deadlineMs, isDone);
    const verifiedSeconds = (clock.nowMs() - startMs) / 1_000;
    const sync = await timed(clock, () => run(clock, SYNC_MS, ["sync", "--data", pathOf(i)]));
    return { verifiedSeconds, durableSeconds: verifiedSeconds + sync.seconds };
  };
  return {
    setupSeconds: {},
    processes: servers, // the receivers' begin with the distribution, so their processor time is not counted
    distribute: (deadlineMs: number) => Promise.all(others.map((place, i) => receive(place, i, deadlineMs))),
    copies: async () => others.map((_, i) => pathOf(i)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function arrived(clock: Clock, child: Child, ms: number, isDone?: (line: string) => boolean): Promise<void> {
  if (isDone !== undefined) {
    await child.line("the whole file", ms, isDone);
    return;
  }
  const how = await withDeadline(clock, ms, "copying the file", () => child.ended);
  if (how !== "exit 0") throw new Fault("bench.peer-ended", `${child.argv.join(" ")}: ${how}\n${child.stderr}`);
}
