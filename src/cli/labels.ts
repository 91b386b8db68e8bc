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

/**
 * Reads the selector of a placement, where only equality counts: `site=berlin,gpu=yes`; empty selects every node. Throws
 * Fault `cli.selector` (exit `invalid`).
 */
export function equalityTerms(text: string): Record<string, string> {
  const terms = text
    .split(",")
    .map((term) => term.trim())
    .filter((term) => term !== "");
  return Object.fromEntries(
    terms.map((term) => {
      const match = /^([^=!\s()]+)={1,2}([^=\s()]*)$/u.exec(term);
      if (match?.[1] !== undefined && match[2] !== undefined) return [match[1], match[2]];
      throw new Fault("cli.selector", `"${term}" is not a condition that a placement can have`, {
        exit: "invalid",
        fix: 'Write -l "site=berlin,gpu=yes"; all must hold. For every node: --all',
      });
    }),
  );
}
