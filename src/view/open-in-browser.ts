import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** What opens an address in the user's browser, by `process.platform`. */
const OPENERS: Readonly<Record<string, string>> = { linux: "xdg-open", darwin: "open" };

/**
 * Opens an address that nobody else may learn in the user's browser, if there is one. Everybody on this machine sees the arguments of commands,
 * so the command gets a file that only this user can read, and that leads to the address. Disposing removes the file.
 */
export function openInBrowser(url: string, platform = process.platform): Disposable {
  const folder = mkdtempSync(join(tmpdir(), "portolan-view-")); // mode 0700
  const file = join(folder, "open.html");
  writeFileSync(
    file,
    `<!doctype html><meta http-equiv="refresh" content="0;url=${url}"><a href="${url}">Portolan</a>\n`,
    {
      mode: 0o600,
    },
  );
  const opener = OPENERS[platform];
  if (opener !== undefined) {
    const child = spawn(opener, [pathToFileURL(file).href], { stdio: "ignore", detached: true });
    child.on("error", () => undefined); // no such command: the address is printed anyway
    child.unref();
  }
  return { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}
