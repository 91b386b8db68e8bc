import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type EcmaScriptModule, type Node, parseSync, visitorKeys } from "oxc-parser";

/** Something in the tree that breaks a rule, and where. `line` counts from 1. */
export type Violation = { file: string; line: number; message: string };

/** A file with code, parsed. `path` is relative to the root, with `/`. */
export type SourceFile = { path: string; text: string; program: Node; module: EcmaScriptModule };

/** Folders that hold code; a folder that does not exist yet is passed over. */
export const CODE_FOLDERS: readonly string[] = ["src", "test", "bench", "demo", "scripts"];

const SKIPPED = new Set([".git", "node_modules", "coverage", "tmp"]);

/** Every file below `folder` of `root`, as sorted paths relative to `root`; what git ignores is left out. */
export function listFiles(root: string, folder = "."): string[] {
  const files: string[] = [];
  const visit = (relative: string): void => {
    for (const entry of readdirSync(join(root, relative), { withFileTypes: true })) {
      if (SKIPPED.has(entry.name) || entry.name.endsWith(".log")) continue;
      const path = relative === "." ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile()) files.push(path);
    }
  };
  visit(folder);
  return files.toSorted();
}

/** Parses every `.ts` and `.mjs` file in the code folders. Throws on a syntax error, because no rule could be checked. */
export function readSources(root: string): SourceFile[] {
  const present = new Set(readdirSync(root));
  return CODE_FOLDERS.filter((folder) => present.has(folder))
    .flatMap((folder) => listFiles(root, folder))
    .filter((path) => /\.(?:ts|mjs)$/u.test(path))
    .map((path) => {
      const text = readFileSync(join(root, path), "utf8");
      const { program, module, errors } = parseSync(path, text);
      if (errors[0] !== undefined) throw new Error(`${path}: ${errors[0].message}`);
      return { path, text, program, module };
    });
}

/** Calls `visit` for every node below `node`, with its parent and the name under which the parent holds it. */
export function walk(
  node: Node,
  visit: (node: Node, parent: Node | undefined, key: string) => void,
  parent?: Node,
  key = "",
): void {
  visit(node, parent, key);
  for (const name of visitorKeys[node.type] ?? []) {
    const held: unknown = Reflect.get(node, name);
    for (const child of Array.isArray(held) ? held : [held]) {
      if (isNode(child)) walk(child, visit, node, name);
    }
  }
}

/** The line, from 1, of a character offset. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) line += 1;
  return line;
}

/** The value of a string literal, or of a template without holes. */
export function literalText(node: Node | undefined): string | undefined {
  if (node?.type === "Literal") return typeof node.value === "string" ? node.value : undefined;
  if (node?.type !== "TemplateLiteral" || node.quasis.length !== 1) return undefined;
  return node.quasis[0]?.value.cooked ?? undefined;
}

/** `a.b.c` of a chain of names, also written `a["b"]`, without a leading `globalThis.`; `undefined` for anything else. */
export function dottedName(node: Node | undefined): string | undefined {
  if (node?.type === "Identifier") return node.name;
  if (node?.type === "ChainExpression") return dottedName(node.expression);
  if (node?.type !== "MemberExpression") return undefined;
  const object = dottedName(node.object);
  const property = node.computed ? literalText(node.property) : dottedName(node.property);
  if (object === undefined || property === undefined) return undefined;
  return object === "globalThis" ? property : `${object}.${property}`;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}
