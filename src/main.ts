import { readFileSync } from "node:fs";
import { runCli, terminalIo } from "#cli";

const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };

process.exitCode = await runCli(process.argv.slice(2), terminalIo(), {
  version: manifest.version,
  startDaemon: async (request, signal) => (await import("#daemon")).startDaemon(request, signal),
  startOffline: async (dataDir) => (await import("#daemon")).startOffline(dataDir),
});
