import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Node } from "oxc-parser";
import {
  dottedName,
  lineAt,
  listFiles,
  literalText,
  readSources,
  type SourceFile,
  type Violation,
  walk,
} from "./source-tree.ts";

type HouseRule = "time" | "chance" | "verify" | "machine";

type Allowance = { file: string; rule: HouseRule; reason: string };

/** The exceptions. One that is no longer needed is itself a violation, so this list stays true. */
const ALLOWED: readonly Allowance[] = [
  {
    file: "scripts/launch.mjs",
    rule: "time",
    reason: "runs before anything is installed, on whatever Node there is, so it cannot import core",
  },
  {
    file: "test/support/set-clock.mjs",
    rule: "time",
    reason: "stands in for a machine whose clock is wrong, below core's Clock",
  },
];

const EXPLAINED: Readonly<Record<HouseRule, string>> = {
  time: "time and timers come from core's Clock",
  chance: "chance comes from core's Random",
  verify: "only core's verifyEd25519 may judge a signature, so that no two places disagree",
  machine: "names something of one machine or registry",
};

/** A name, or the last two of a dotted one. */
const FORBIDDEN_NAMES: ReadonlyMap<string, HouseRule> = new Map([
  ["setTimeout", "time"],
  ["setInterval", "time"],
  ["Date.now", "time"],
  ["performance.now", "time"],
  ["process.hrtime", "time"],
  ["AbortSignal.timeout", "time"],
  ["Math.random", "chance"],
  ["crypto.getRandomValues", "chance"],
  ["crypto.randomUUID", "chance"],
  ["crypto.verify", "verify"],
  ["crypto.createVerify", "verify"],
  ["subtle.verify", "verify"],
  ["detached.verify", "verify"],
  ["sign.open", "verify"],
]);

const WHOLE = "the module as a whole";

/**
 * Module → imported name → rule; `*` is any of them. `node:` is
 * left out of the modules' names.
 */
const FORBIDDEN_IMPORTS: Readonly<Record<string, Readonly<Record<string, HouseRule>>>> = {
  timers: { "*": "time" },
  "timers/promises": { "*": "time" },
  perf_hooks: { performance: "time" },
  process: { hrtime: "time" },
  crypto: {
    randomBytes: "chance",
    randomFill: "chance",
    randomFillSync: "chance",
    randomInt: "chance",
    randomUUID: "chance",
    verify: "verify",
    createVerify: "verify",
    [WHOLE]: "verify",
  },
  "@noble/curves/ed25519": { "*": "verify" },
  "@noble/ed25519": { "*": "verify" },
};

/** What only core may do, done elsewhere; and what names one machine or registry, anywhere in the tree. */
export function checkHouseRules(root: string, allowed: readonly Allowance[] = ALLOWED): Violation[] {
  const sources = readSources(root).filter(({ path }) => !path.startsWith("src/core/"));
  const found = [...sources.flatMap(checkSource), ...checkMachine(root)];
  const isAllowed = ({ file, rule }: { file: string; rule: HouseRule }): boolean =>
    allowed.some((entry) => entry.file === file && entry.rule === rule);
  const stale = allowed.filter((entry) => !found.some(({ file, rule }) => entry.file === file && entry.rule === rule));
  return [
    ...found.filter((violation) => !isAllowed(violation)),
    ...stale.map(({ file, rule }) => ({ file, line: 1, message: `needs no allowance for ${rule} any more` })),
  ];
}

type RuleViolation = Violation & { rule: HouseRule };

function checkSource({ path, text, program, module }: SourceFile): RuleViolation[] {
  const found: RuleViolation[] = [];
  const report = (rule: HouseRule, what: string, offset: number): void => {
    // Tests compare the strict verifier with others.
    if (rule === "verify" && path.startsWith("test/")) return;
    found.push({ file: path, line: lineAt(text, offset), rule, message: `${what}: ${EXPLAINED[rule]}` });
  };
  for (const { moduleRequest, entries, start } of module.staticImports) {
    for (const { importName } of entries) {
      const rule = ruleOfImport(moduleRequest.value, importName.name ?? WHOLE);
      if (rule !== undefined) report(rule, `import from ${moduleRequest.value}`, start);
    }
  }
  walk(program, (node, parent, key) => {
    const name = isNameOnly(node, parent, key) ? "" : (dottedName(node) ?? "");
    const rule = FORBIDDEN_NAMES.get(name.split(".").slice(-2).join("."));
    if (rule !== undefined) report(rule, name, node.start);
    else if (readsWallClock(node)) report("time", "Date of now", node.start);
    if (node.type !== "ImportExpression") return;
    const lazy = ruleOfImport(literalText(node.source) ?? "", WHOLE);
    if (lazy !== undefined) report(lazy, "import()", node.start);
  });
  return found;
}

function ruleOfImport(module: string, name: string): HouseRule | undefined {
  const names = FORBIDDEN_IMPORTS[module.replace(/^node:/u, "").replace(/\.js$/u, "")];
  return names?.["*"] ?? names?.[name];
}

/** Whether an identifier is only a label here: a property's name, an import's name, a type. */
function isNameOnly(node: Node, parent: Node | undefined, key: string): boolean {
  if (node.type !== "Identifier" || parent === undefined) return false;
  if (parent.type.startsWith("Import") || parent.type.startsWith("TS")) return parent.type !== "TSAsExpression";
  return (key === "property" || key === "key") && !("computed" in parent && parent.computed);
}

/** `new Date()` or `Date()`. With an argument a Date only formats, which is the same everywhere. */
function readsWallClock(node: Node): boolean {
  if (node.type !== "CallExpression" && node.type !== "NewExpression") return false;
  return dottedName(node.callee) === "Date" && (node.type === "CallExpression" || node.arguments.length === 0);
}

// Written in pieces, so that this file does not break its own rule.
const RESOLVED = new RegExp(['"resolved"', '"http'].join(": "), "u");
const MACHINE_TEXTS: readonly RegExp[] = [
  new RegExp(`(?:^|[\\s"'\`=(:,])/(?:${["work", "root"].join("|")})/`, "u"),
  new RegExp(["registry", "npmjs", "org"].join("\\."), "u"),
];

/** No absolute path of a developer's machine, no registry's address; a lock file without `resolved` URLs works with any registry. */
function checkMachine(root: string): RuleViolation[] {
  return listFiles(root)
    .filter((path) => !path.startsWith("LICENSE"))
    .flatMap((path) => {
      const patterns = path === "package-lock.json" ? [...MACHINE_TEXTS, RESOLVED] : MACHINE_TEXTS;
      return readFileSync(join(root, path), "utf8")
        .split("\n")
        .flatMap((text, index) => {
          const match = patterns.map((pattern) => pattern.exec(text)).find((hit) => hit !== null);
          if (match === undefined) return [];
          const message = `${match[0].trim()}: ${EXPLAINED.machine}`;
          return [{ file: path, line: index + 1, rule: "machine" as const, message }];
        });
    });
}
