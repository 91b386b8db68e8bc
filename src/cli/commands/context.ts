import { resolve } from "node:path";
import type { Command } from "commander";
import { findContext, readContexts, writeContexts } from "../contexts.ts";
import { serialise } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { Table } from "../table.ts";
import { examples, formats } from "./options.ts";

/** `context list|use`. */
export function registerContext(program: Command, cli: Cli): void {
  const context = program.command("context").description("which data directory and key commands use by default");
  examples(
    formats(context.command("list")).description("list the contexts").action(action(cli, listContexts)),
    "portolan context list",
  );
  examples(
    context
      .command("use <context>")
      .description("make a context the current one; with --data also make it, with --key set its key")
      .option("--key <keyfile>", "the key that signs by default in this context")
      .action(action<CommonOptions & { key?: string }>(cli, useContext)),
    "portolan context use plant --key ~/keys/bob.key",
  );
}

async function listContexts(session: Session): Promise<void> {
  const all = readContexts(session.io.env);
  const { output } = session.options;
  if (output === "json" || output === "yaml") return session.print(await serialise(all, output));
  const rows = Object.entries(all.contexts).map(([name, context]) => ({ name, ...context }));
  if (output === "name") return session.print(rows.map(({ name }) => name).join("\n"));
  const table = new Table(
    [
      { head: "CURRENT", text: (row) => (row.name === all.current ? "*" : "") },
      { head: "NAME", text: (row) => row.name },
      { head: "DATA", text: (row) => row.data },
      { head: "KEY", text: (row) => row.key ?? "" },
    ],
    rows,
    Number.POSITIVE_INFINITY,
  );
  session.print([table.head(), ...rows.map((row) => table.row(row))].join("\n"));
}

async function useContext(session: Session<CommonOptions & { key?: string }>, [name = ""]: string[]): Promise<void> {
  const { io, options } = session;
  const all = readContexts(io.env);
  const before = options.data === undefined ? findContext(all, name) : { data: resolve(options.data) };
  if (before === undefined) return;
  const context = { ...before, ...(options.key === undefined ? {} : { key: resolve(options.key) }) };
  await writeContexts(io.env, { current: name, contexts: { ...all.contexts, [name]: context } });
  session.say(`context ${name}: ${context.data}`);
}
