import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Inputs that once broke something, one file each, and `telling`: inputs that reach far, one a line in base64. */
const CORPUS = join(import.meta.dirname, "..", "corpus");
/** Where a failing input is left; git does not look there. */
const FOUND = join(import.meta.dirname, "..", "..", "tmp", "fuzz");
const TELLING = "telling";
/** Of telling inputs kept for one target. */
const MAX_TELLING = 100;
const MAX_TELLING_BYTES = 1_024;

export type SavedInput = { name: string; input: Uint8Array };

/** The names of targets that have saved inputs. */
export function savedTargets(): string[] {
  return existsSync(CORPUS) ? readdirSync(CORPUS).toSorted() : [];
}

/** Everything saved for a target. */
export function savedInputs(target: string): SavedInput[] {
  const folder = join(CORPUS, target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .toSorted()
    .flatMap((name) => {
      const bytes = readFileSync(join(folder, name));
      if (name !== TELLING) return [{ name, input: bytes }];
      const lines = bytes.toString().split("\n").filter(Boolean);
      return lines.map((line, at) => ({ name: `${name}:${at + 1}`, input: Buffer.from(line, "base64") }));
    });
}

/** Keeps the short ones of these for the next campaigns. */
export function saveTelling(target: string, inputs: readonly Uint8Array[]): void {
  const lines = inputs
    .filter(({ length }) => length > 0 && length <= MAX_TELLING_BYTES)
    .slice(0, MAX_TELLING)
    .map((input) => Buffer.from(input).toString("base64"));
  if (lines.length === 0) return;
  mkdirSync(join(CORPUS, target), { recursive: true });
  writeFileSync(join(CORPUS, target, TELLING), `${lines.join("\n")}\n`);
}

/** Leaves a failing input where a person finds it; returns the path. */
export function leaveFinding(target: string, input: Uint8Array): string {
  mkdirSync(FOUND, { recursive: true });
  const path = join(FOUND, `${target}-${createHash("sha256").update(input).digest("hex").slice(0, 12)}`);
  writeFileSync(path, input);
  return path;
}
