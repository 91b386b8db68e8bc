import { createHash } from "node:crypto";
import { Fault } from "#core";

/** Collects `--label k=v` (repeatable) for commander. Throws Fault `cli.label` (exit `invalid`). */
export function collectLabel(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at > 0) return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  throw new Fault("cli.label", `"${text}" is not a label`, { exit: "invalid", fix: "Write --label key=value." });
}

/** Collects a repeatable option for commander. */
export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Characters of a selector that go into a placement's name; a longer one ends in its hash instead. */
const MAX_SLUG_CHARS = 32;

/**
 * The name of the placement that brings an artifact to the nodes of one selector, so that staging it elsewhere too adds a
 * placement and staging it there again does not.
 */
export function placementName(artifact: string, selector: string): string {
  const slug = selector
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/gu, "-")
    .replaceAll(/^-+|-+$/gu, "");
  if (slug === "") return artifact;
  if (slug.length <= MAX_SLUG_CHARS) return `${artifact}.${slug}`;
  return `${artifact}.${createHash("sha256").update(selector).digest("hex").slice(0, 12)}`;
}
