import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { extname } from "node:path";

/** A file of the page as a browser gets it. */
export type PageFile = { type: string; body: Buffer };

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".ts": "text/javascript; charset=utf-8",
};
const FOLDER = new URL("page/", import.meta.url);

/** The page's files by name; `` is the page itself. Modules are TypeScript here, and without their types what a browser runs. */
export function pageFiles(): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const name of readdirSync(FOLDER)) {
    const type = TYPES[extname(name)];
    if (type === undefined) continue;
    const text = readFileSync(new URL(name, FOLDER), "utf8");
    const body = Buffer.from(name.endsWith(".ts") ? stripTypeScriptTypes(text) : text);
    files.set(name === "index.html" ? "" : name, { type, body });
  }
  return files;
}
