import type { Command } from "commander";
import type { Pruned } from "#api";
import { serialise } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { Table } from "../table.ts";
import { formatBytes } from "../units.ts";
import { examples } from "./options.ts";

type PruneOptions = CommonOptions & { dryRun?: boolean; json?: boolean };

/** `pin`, `unpin`, `prune`. */
export function registerStore(program: Command, cli: Cli): void {
  examples(
    program
      .command("pin <artifact>")
      .description("have an artifact come to this node and stay, whatever room is needed")
      .action(action(cli, (session, [name = ""]) => pin(session, name, true))),
    "portolan pin model:1.4",
  );
  examples(
    program
      .command("unpin <artifact>")
      .description("let an artifact go from this node when room is needed")
      .action(action(cli, (session, [name = ""]) => pin(session, name, false))),
    "portolan unpin model:1.4",
  );
  examples(
    program
      .command("prune")
      .description("remove from this node's store what is not pinned, wanted here, in use, or the last known copy")
      .option("--dry-run", "only say what would go, how many bytes, and why the rest stays")
      .option("--json", "print the result as JSON")
      .action(action<PruneOptions>(cli, prune)),
    "portolan prune --dry-run",
  );
}

async function pin(session: Session, name: string, pinned: boolean): Promise<void> {
  await session.withNode((client) => client.call("pin", { name, pinned }));
  session.print(`${name} ${pinned ? "stays" : "need not stay"} on this node`);
}

async function prune(session: Session<PruneOptions>): Promise<void> {
  const { dryRun = false, json } = session.options;
  const pruned = await session.withNode((client) => client.call("prune", { dryRun }));
  if (json === true) return session.print(await serialise(pruned, "json"));
  const rows = rowsOf(pruned, dryRun);
  const columns = [
    { head: "NAME", text: (row: Row) => row.name },
    { head: "FREES", text: (row: Row) => row.frees },
    { head: "WHAT", text: (row: Row) => row.what },
  ];
  const table = new Table(columns, rows, Number.POSITIVE_INFINITY);
  if (rows.length > 0) session.print([table.head(), ...rows.map((row) => table.row(row))].join("\n"));
  session.print(`${formatBytes(pruned.freedBytes)} ${dryRun ? "would be freed" : "freed"}`);
}

type Row = { name: string; frees: string; what: string };

function rowsOf({ removed, kept }: Pruned, dryRun: boolean): Row[] {
  return [
    ...removed.map(({ name, bytes }) => ({ name, frees: formatBytes(bytes), what: dryRun ? "would go" : "removed" })),
    ...kept.map(({ name, reason }) => ({ name, frees: "", what: `stays: ${reason}` })),
  ];
}
