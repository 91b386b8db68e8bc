// npm run check [-- STEP…]: every step runs, each prints how it went, and one that failed fails the whole.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SystemClock } from "#core";
import { checkBoundaries } from "./boundaries.ts";
import { checkHouseRules } from "./house-rules.ts";
import { CODE_FOLDERS } from "./source-tree.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const folders = CODE_FOLDERS.filter((folder) => existsSync(`${ROOT}/${folder}`));

const STEPS = {
  types: () => run("tsc", "--noEmit"),
  page: () => run("tsc", "--noEmit", "--project", "src/view/page"), // runs in browsers: other types
  lint: () => run("oxlint", "--type-aware", ...folders),
  format: () => run("biome", "format", "."),
  unused: () => run("knip", "--no-progress"),
  boundaries: () => list(checkBoundaries(ROOT)),
  house: () => list(checkHouseRules(ROOT)),
};

/** What the tool says, and whether it found nothing. */
function run(tool, ...args) {
  return new Promise((resolve) => {
    const child = spawn(`${ROOT}/node_modules/.bin/${tool}`, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
    const pieces = [];
    child.stdout.on("data", (piece) => pieces.push(piece));
    child.stderr.on("data", (piece) => pieces.push(piece));
    child.on("error", (error) => resolve({ ok: false, output: error.message }));
    child.on("close", (code) => resolve({ ok: code === 0, output: Buffer.concat(pieces).toString() }));
  });
}

function list(violations) {
  const lines = violations.map(({ file, line, message }) => `${file}:${line}: ${message}`);
  return { ok: lines.length === 0, output: lines.join("\n") };
}

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !(name in STEPS));
if (unknown !== undefined) {
  console.error(`no step "${unknown}"; the steps are ${Object.keys(STEPS).join(", ")}`);
  process.exit(2);
}

const clock = new SystemClock();
let failed = 0;
for (const [name, step] of Object.entries(STEPS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const startMs = clock.nowMs();
  const { ok, output } = await step();
  const seconds = ((clock.nowMs() - startMs) / 1_000).toFixed(1);
  if (!ok) {
    failed += 1;
    console.log(output.trimEnd());
  }
  console.log(`${ok ? "ok    " : "failed"} ${name.padEnd(10)} ${seconds} s`);
}
process.exitCode = failed === 0 ? 0 : 1;
