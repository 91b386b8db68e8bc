import { resolve } from "node:path";
import type { Command } from "commander";
import { collect } from "../labels.ts";
import { toListenAddress } from "../listen-option.ts";
import { serialise } from "../output.ts";
import { withProgress } from "../progress.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { formatCount } from "../units.ts";
import { examples } from "./options.ts";

type ExportOptions = Omit<CommonOptions, "output"> & {
  torrent?: boolean;
  output: string;
  seed?: string;
  tracker?: string[];
  force?: boolean;
  json?: boolean;
};

/** `export`. */
export function registerTorrents(program: Command, cli: Cli): void {
  examples(
    program
      .command("export <artifact>")
      .description("hand an artifact to those outside of the fleet; whoever has the torrent can get its content")
      .requiredOption("--torrent", "as a torrent for BitTorrent clients")
      .requiredOption("-o, --output <path>", "write the .torrent file here")
      .option("--seed <host:port>", "listen here and serve it until stopped with Ctrl-C")
      .option("--tracker <url>", "a tracker to name in it; repeat for several", collect)
      .option("--force", "replace what is there")
      .option("--json", "print the result as JSON")
      .action(action<ExportOptions & CommonOptions>(cli, exportArtifact)),
    "portolan export model:1.4 --torrent -o model.torrent",
    "portolan export model:1.4 --torrent -o model.torrent --seed 192.0.2.7:6881",
  );
}

async function exportArtifact(session: Session<ExportOptions & CommonOptions>, [name = ""]: string[]): Promise<void> {
  const { output, seed, tracker = [], force = false, json } = session.options as ExportOptions;
  const listen = seed === undefined ? {} : { seed: toListenAddress("--seed", seed) };
  const input = { name, output: resolve(output), force, trackers: tracker, ...listen };
  await session.withNode(async (client) => {
    let isServing = false;
    const result = await withProgress(session.io, name, (update) =>
      client.job("exportTorrent", input, ({ phase, bytes, sizeBytes, peers = 0, port, magnet = "" }) => {
        if (phase !== "seeding") return update(bytes, sizeBytes, phase);
        if (!isServing) session.print(json === true ? JSON.stringify({ magnet, port }) : magnet); // the command has no other end
        isServing = true;
        return update(bytes, sizeBytes, `sent from port ${port} to ${formatCount(peers, "peer")}`);
      }),
    );
    if (json === true) return session.print(await serialise(result, "json"));
    session.print(result.magnet);
    session.print(result.output);
  });
}
