import { posix } from "node:path";
import type { Node } from "oxc-parser";
import { dottedName, lineAt, literalText, readSources, type SourceFile, type Violation, walk } from "./source-tree.ts";

/**
 * The one table of who may import whom (docs/ARCHITECTURE.md). The key is an area: a folder of `src`, a single file there,
 * or a folder beside it; the value names folders of `src`, which are imported as `#name` only.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "src/core": [],
  "src/yaml": ["core"],
  "src/identity": ["core"],
  "src/policy": ["core", "identity"],
  "src/mesh": ["core", "identity"],
  "src/artifacts": ["core", "identity"],
  "src/routing": ["core", "identity", "mesh"],
  "src/api": ["core"],
  "src/view": ["core", "api"],
  "src/cli": ["core", "yaml", "identity", "api", "view"],
  "src/daemon": ["core", "yaml", "identity", "policy", "mesh", "artifacts", "routing", "api"],
  "src/main.ts": ["cli", "daemon"],
  demo: ["core", "api"],
  bench: ["core", "identity", "mesh", "routing", "artifacts", "api"], // measures single parts too; whole daemons it spawns
  scripts: ["core"],
};

/** Loaded by `import()` only, so that a command that needs no daemon does not load one. */
const LAZY = new Set(["src/main.ts → daemon"]);

/** Tests look inside the folders that they test. */
const UNBOUND = "test";

/** Every import that the table does not allow, in all code folders below `root`. */
export function checkBoundaries(root: string): Violation[] {
  return readSources(root).flatMap(checkFile);
}

type Reference = { specifier: string | undefined; offset: number; kind: "static" | "dynamic" | "type" | "url" };

function checkFile(file: SourceFile): Violation[] {
  const area = areaOf(file.path);
  if (area === UNBOUND) return [];
  const allowed = MAY_IMPORT[area];
  if (allowed === undefined) return [{ file: file.path, line: 1, message: `${area} is not in the table MAY_IMPORT` }];
  return references(file).flatMap((reference) => {
    const message = judge(file.path, area, allowed, reference);
    return message === undefined ? [] : [{ file: file.path, line: lineAt(file.text, reference.offset), message }];
  });
}

/** `src/core` for a file in that folder, `src/main.ts` for a file beside the folders, else the top folder. */
function areaOf(path: string): string {
  const [top = path, second] = path.split("/");
  return top === "src" ? `${top}/${second}` : top;
}

function judge(path: string, area: string, allowed: readonly string[], reference: Reference): string | undefined {
  const { specifier, kind } = reference;
  if (specifier === undefined) return "import() of something that is not a string literal cannot be checked";
  if (specifier.startsWith("#")) return judgeFolder(area, allowed, specifier.slice(1), kind);
  if (specifier.startsWith("/") || specifier.startsWith("file:")) return `absolute import ${specifier}`;
  if (!specifier.startsWith(".")) return undefined; // a package, or part of Node
  const target = posix.join(posix.dirname(path), specifier);
  if (areaOf(target) === area || (kind === "url" && !target.startsWith("src/"))) return undefined;
  return `relative path ${specifier} leaves ${area}; import a folder as #name`;
}

function judgeFolder(area: string, allowed: readonly string[], name: string, kind: Reference["kind"]) {
  if (name.includes("/")) return `#${name} reaches inside a folder; import its index as #${name.split("/")[0]}`;
  if (!allowed.includes(name)) return `${area} may not import #${name}`;
  if (LAZY.has(`${area} → ${name}`) && kind === "static") return `${area} loads #${name} by import() only`;
  return undefined;
}

function references({ program, module }: SourceFile): Reference[] {
  const found: Reference[] = [];
  for (const { moduleRequest, start } of module.staticImports) {
    found.push({ specifier: moduleRequest.value, offset: start, kind: "static" });
  }
  for (const { moduleRequest, start } of module.staticExports.flatMap(({ entries }) => entries)) {
    if (moduleRequest) found.push({ specifier: moduleRequest.value, offset: start, kind: "static" });
  }
  walk(program, (node) => {
    const offset = node.start;
    if (node.type === "ImportExpression") {
      found.push({ specifier: literalText(node.source), offset, kind: "dynamic" });
    } else if (node.type === "TSImportType") {
      found.push({ specifier: literalText(node.source), offset, kind: "type" });
    } else if (node.type === "NewExpression" && dottedName(node.callee) === "URL") {
      const [path, base] = node.arguments;
      const specifier = literalText(path);
      if (isImportMeta(base) && specifier !== undefined) found.push({ specifier, offset, kind: "url" });
    }
  });
  return found;
}

/** `import.meta.url`, the base of a path to a file of our own. */
function isImportMeta(node: Node | undefined): boolean {
  return node?.type === "MemberExpression" && node.object.type === "MetaProperty";
}
