// What `npm start`, `npm test` and the other npm scripts run. Any Node.js from 20 on starts this file; it installs what is
// missing from the registry and goes on with the Node.js 24 that came along. What runs before that is plain JavaScript
// without dependencies. It writes to standard error only: standard output is the command's own.
import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { constants as osConstants, homedir, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isInstalled } from "./installed.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const BIN = path.join(ROOT, "node_modules", ".bin");
const MOCHA = "node_modules/mocha/bin/mocha.js";
/** The sources need type stripping and node:sqlite as they are in this version. */
const RUNTIME_MAJOR = 24;
/** While npm ci runs, it says so this often. */
const PROGRESS_MS = 5_000;
/** An npm that was killed forwards no signal; this process notices after at most so long. */
const PARENT_CHECK_MS = 1_000;

/** What each npm script runs, before its arguments. */
const COMMANDS = {
  start: ["demo/main.ts"],
  test: [MOCHA],
  coverage: ["node_modules/c8/bin/c8.js", "--include", "src/**", MOCHA],
  check: ["scripts/check.mjs"],
  bench: ["bench/main.ts"],
  // a world of hundreds of nodes makes much garbage that is young: in the usual young generation, collecting it takes a quarter of the time
  sim: ["--max-semi-space-size=64", "test/sim/main.ts"],
  fuzz: ["test/fuzz/main.ts"],
  soak: ["test/soak/main.ts"],
  mutants: ["test/mutants/main.ts"],
};

const [name = "", ...rest] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, name))
  fail(`no such command: "${name}"; there are ${Object.keys(COMMANDS).join(", ")}`, 2);
const wanted = readLock("package-lock.json");
if (wanted === undefined) fail("package-lock.json is missing or damaged: get a fresh copy of the repository", 1);
if (!isInstalled(wanted, readLock("node_modules/.package-lock.json"))) await install();
const args = name === "test" ? [...mochaSettings(rest), ...rest] : rest;
process.exitCode = await run(chooseRuntime(), [...COMMANDS[name], ...args], {
  stdio: "inherit",
  // Relative paths among the arguments are meant from where the command was typed.
  env: { ...process.env, PATH: [BIN, ...pathWithoutBin()].join(":"), INIT_CWD: process.env.INIT_CWD ?? process.cwd() },
});

function readLock(file) {
  try {
    return JSON.parse(readFileSync(path.join(ROOT, file), "utf8")).packages;
  } catch {
    return undefined;
  }
}

async function install() {
  const args = ["ci", "--ignore-scripts", "--loglevel=error"];
  const cache = ownCache();
  if (cache !== undefined) args.push("--cache", cache);
  console.error("portolan: installing its packages with npm ci; this is needed once …");
  const startMs = performance.now();
  const took = () => `${Math.round((performance.now() - startMs) / 1_000)} s`;
  const ticker = setInterval(() => console.error(`portolan: still installing, ${took()}`), PROGRESS_MS);
  // npm ci removes node_modules, and with it the Node.js that npm scripts find first on their PATH.
  const env = { ...process.env, PATH: pathWithoutBin().join(":") };
  const status = await run("npm", args, { stdio: ["ignore", 2, 2], env });
  clearInterval(ticker);
  if (cache !== undefined) rmSync(cache, { recursive: true, force: true });
  if (status !== 0) fail(`npm ci failed after ${took()}: is the package registry reachable? Then try again`, status);
  console.error(`portolan: installed in ${took()}`);
}

function pathWithoutBin() {
  return (process.env.PATH ?? "").split(":").filter((folder) => path.resolve(folder) !== BIN);
}

/** A cache folder of our own where npm's cannot be written, as with a read-only home; else `undefined`. */
function ownCache() {
  let folder = process.env.npm_config_cache ?? path.join(homedir(), ".npm");
  while (!existsSync(folder) && folder !== path.dirname(folder)) folder = path.dirname(folder);
  try {
    accessSync(folder, constants.W_OK);
    return undefined;
  } catch {
    return mkdtempSync(path.join(tmpdir(), "portolan-npm-"));
  }
}

function chooseRuntime() {
  const own = path.join(BIN, "node");
  if (existsSync(own)) return own;
  if (Number(process.versions.node.split(".")[0]) >= RUNTIME_MAJOR) return process.execPath;
  return fail(
    `the packages bring Node.js ${RUNTIME_MAJOR} for Linux on x64 and arm64, and this is ${process.platform} on ${process.arch}; ` +
      `install Node.js ${RUNTIME_MAJOR} (https://nodejs.org) and run this again with it`,
    1,
  );
}

/** mocha adds the files of package.json to those it is given; whoever names files wants these alone, with the same settings. */
function mochaSettings(args) {
  if (!args.some((arg) => existsSync(path.join(ROOT, arg)))) return [];
  const { extension, timeout } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")).mocha;
  return ["--no-package", "--extension", extension.join(","), "--timeout", String(timeout), "--forbid-only"];
}

/** Runs to the end, passing signals on; resolves with the exit code, which is 128 + n for signal n as shells have it. */
function run(file, args, options) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: ROOT, ...options });
    const forward = (signal) => child.kill(signal);
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
    for (const signal of signals) process.on(signal, forward);
    const parent = process.ppid;
    const orphaned = () => process.env.npm_lifecycle_event !== undefined && process.ppid !== parent;
    const watch = setInterval(() => orphaned() && child.kill("SIGTERM"), PARENT_CHECK_MS);
    child.on("error", (error) => {
      // A binary that is there and yet "not found" lacks its loader.
      const why =
        error.code === "ENOENT" && existsSync(file) ? "it needs glibc, which this system lacks" : error.message;
      fail(`cannot run ${file}: ${why}`, 1);
    });
    child.on("close", (code, signal) => {
      clearInterval(watch);
      for (const each of signals) process.off(each, forward);
      resolve(code ?? 128 + osConstants.signals[signal]);
    });
  });
}

function fail(message, status) {
  console.error(`portolan: ${message}`);
  process.exit(status);
}
