import { isMap, isNode, isScalar } from "yaml";
import { Fault } from "#core";
import { parseYaml } from "#yaml";

/** Brackets open at once; no option nests deeper than three. */
const MAX_OPEN_BRACKETS = 20;

/** The options that a file gives, and where each stands. */
export type ConfigFile = {
  value: Record<string, unknown>;
  /** `portolan.yaml:7` for the deepest part of the path that the file has. */
  locate(path: readonly string[]): string;
};

/**
 * Reads a configuration file: one YAML mapping (JSON is YAML too) of known options.
 *
 * Throws Fault `daemon.config` (exit `invalid`) with path and line for bad YAML, a key that stands twice, or an unknown
 * option, which is answered with the nearest known one.
 */
export function readConfigFile(text: string, file: string, known: readonly string[]): ConfigFile {
  const limits = { maxOpenBrackets: MAX_OPEN_BRACKETS, maxAliases: 0 }; // nobody needs aliases here
  const { documents, lineOf } = parseYaml(text, limits, (problem, place) =>
    refuse(`${file}${place === undefined ? "" : `:${place.line}`}: ${problem}`),
  );
  const [document, second] = documents;
  if (document === undefined) return { value: {}, locate: () => file };
  const at = (node: unknown): string => `${file}:${lineOf(offsetOf(node))}`;
  if (second !== undefined) throw refuse(`${at(second.node.contents)}: the file holds a second document`);
  const { contents } = document.node;
  if (!isMap(contents)) throw refuse(`${at(contents)}: the file is not a list of options like "site: berlin"`);
  for (const { key } of contents.items) {
    const name = isScalar(key) ? String(key.value) : "";
    if (!known.includes(name)) throw refuse(`${at(key)}: there is no option "${name}"`, nearest(name, known));
  }
  return {
    value: document.value as Record<string, unknown>,
    locate: (path) => {
      for (let depth = path.length; depth > 0; depth--) {
        const node = document.node.getIn(path.slice(0, depth), true);
        if (node !== undefined) return at(node);
      }
      return file;
    },
  };
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}

/** The known word that takes the fewest changes to become, if it takes few. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: { name: string; changes: number } | undefined;
  for (const name of known) {
    const changes = changesBetween(word.toLowerCase(), name.toLowerCase());
    if (best === undefined || changes < best.changes) best = { name, changes };
  }
  return best !== undefined && best.changes <= Math.max(2, Math.floor(word.length / 3)) ? best.name : undefined;
}

/** Levenshtein distance, one row at a time. */
function changesBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function refuse(message: string, suggestion?: string): Fault {
  return new Fault("daemon.config", message, {
    exit: "invalid",
    fix: suggestion === undefined ? "`portolan up --help` lists the options." : `Did you mean "${suggestion}"?`,
  });
}
