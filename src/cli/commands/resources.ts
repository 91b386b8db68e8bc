import type { Command } from "commander";
import type { ControlClient, ResourceName, Resources } from "#api";
import { Fault } from "#core";
import type { ApplyOptions } from "../apply.ts";
import { tableOf } from "../columns.ts";
import { type KindName, kindNamed } from "../kind-names.ts";
import { describe, lineChars, serialise } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import type { Table } from "../table.ts";
import { revokeNode } from "./admit.ts";
import { removeDocument } from "./keys.ts";
import { examples, formats, signs } from "./options.ts";

type GetOptions = CommonOptions & { selector?: string; watch?: boolean };
type View = Resources[ResourceName]["view"];

/** `get`, `describe`, `apply`, `delete`. */
export function registerResources(program: Command, cli: Cli): void {
  examples(
    formats(program.command("get <kind> [name]"))
      .description(
        "list what there is: nodes, links, routes, services, artifacts, tokens, documents, events, pending, …",
      )
      .option("-l, --selector <selector>", "only what this matches, e.g. site=berlin,gpu")
      .option("-w, --watch", "go on and show changes as they happen")
      .action(action<GetOptions>(cli, get)),
    "portolan get nodes -l site=berlin",
    "portolan get artifacts -o json",
    "portolan get pending",
    "portolan get events -w",
  );
  examples(
    formats(program.command("describe <kind> <name> [peer]"))
      .description("show everything about one thing; with a peer, about the link from one node to another")
      .action(action(cli, describeOne)),
    "portolan describe artifact model:1.4",
    "portolan describe link pisa-1 genoa-1",
  );
  examples(
    formats(signs(program.command("apply")))
      .description("sign documents out of a file and hand them in; envelopes are handed in as they are")
      .requiredOption("-f, --file <file>", "YAML or JSON, several documents if need be; - reads stdin")
      .option("--dry-run", "sign nothing: say what would be signed, and which routes a topology would change")
      .option("--force", "sign a topology that cuts nodes off, too")
      .action(
        action<ApplyOptions>(cli, async (session) =>
          (await import("../apply.ts")).applyFile(session, session.options.file),
        ),
      ),
    "portolan apply -f placement.yaml --as bob.key",
    "portolan apply -f topology.yaml --dry-run",
  );
  examples(
    signs(program.command("delete <kind> <name>"))
      .description("say, signed, that something is gone; a node is revoked")
      .action(action(cli, deleteOne)),
    "portolan delete artifact model:1.4",
  );
}

async function get(session: Session<GetOptions>, [word = "", name]: string[]): Promise<void> {
  const kind = kindNamed(word);
  const { watch = false, selector = "" } = session.options;
  if (name !== undefined && selector !== "") {
    throw new Fault("cli.get", "a name and a selector exclude each other", {
      exit: "invalid",
      fix: "Leave one of them out.",
    });
  }
  const query = { selector: selectorFor(kind, selector) };
  if (watch) return await session.withDaemon((client) => follow(session, client, kind, name, query.selector));
  await session.withNode(async (client) => {
    if (name !== undefined) return await printViews(session, kind, [await getOne(client, kind, name)], false);
    const { items, truncated } = await client.call(`${kind.resource}.list`, query);
    await printViews(session, kind, items, true);
    if (truncated) session.say(`only the first ${items.length} are shown; narrow it down with -l`);
  });
}

/** Kinds of documents are picked out of all documents. */
function selectorFor({ resource, document }: KindName, selector: string): string {
  if (resource !== "documents" || document === undefined) return selector;
  return selector === "" ? `kind=${document}` : `kind=${document},${selector}`;
}

function nameFor({ resource, document }: KindName, name: string): string {
  return resource === "documents" && document !== undefined ? `${document}/${name}` : name;
}

async function getOne(client: ControlClient, kind: KindName, name: string): Promise<Resources[ResourceName]["detail"]> {
  return await client.call(`${kind.resource}.get`, { name: nameFor(kind, name) });
}

async function printViews(session: Session, kind: KindName, items: readonly View[], many: boolean): Promise<void> {
  const format = session.options.output ?? "table";
  if (format === "json" || format === "yaml") {
    return session.print(await serialise(many ? { items } : items[0], format));
  }
  if (format === "name") return items.forEach((item) => session.print(`${kind.singular}/${item.name}`));
  if (items.length === 0) return session.say(`no ${kind.plural}`);
  const table = tableFor(session, kind, items);
  session.print([table.head(), ...items.map((item) => table.row(item))].join("\n"));
}

function tableFor(session: Session, kind: KindName, items: readonly View[]): Table<View> {
  const { io, options } = session;
  const layout = { nowMs: io.clock.wallMs(), wide: options.output === "wide", maxChars: lineChars(io.stdout) };
  return tableOf<ResourceName>(kind.resource, items, layout);
}

/** Prints the list, then a line for each change. As JSON: one object a line. */
async function follow(
  session: Session<GetOptions>,
  client: ControlClient,
  kind: KindName,
  name: string | undefined,
  selector: string,
): Promise<void> {
  const query = name === undefined ? { selector } : { selector: "", name: nameFor(kind, name) };
  const first: View[] = [];
  let table: Table<View> | undefined;
  for await (const event of client.watch(`${kind.resource}.watch`, query, session.io.signal)) {
    const format = session.options.output ?? "table";
    if (format === "json" || format === "yaml") {
      session.print(format === "json" ? JSON.stringify(event) : `---\n${await serialise(event, "yaml")}`);
    } else if (event.type === "synced") {
      table = tableFor(session, kind, first);
      if (first.length > 0) session.print([table.head(), ...first.map((item) => table?.row(item))].join("\n"));
    } else if (event.type === "deleted") {
      session.print(`${event.name} is gone`);
    } else if (table === undefined) {
      first.push(event.object);
    } else {
      session.print(format === "name" ? `${kind.singular}/${event.object.name}` : table.row(event.object));
    }
  }
}

async function describeOne(session: Session, [word = "", name = "", peer]: string[]): Promise<void> {
  const kind = kindNamed(word);
  const { output } = session.options;
  if (peer !== undefined && kind.resource !== "links") {
    throw new Fault("cli.describe", `only a link has two ends, ${kind.plural} have none`, {
      exit: "invalid",
      fix: `portolan describe ${kind.singular} ${name}`,
    });
  }
  await session.withNode(async (client) => {
    const detail = await getOne(client, kind, peer === undefined ? name : `${name}/${peer}`);
    if (output === "json" || output === "yaml") return session.print(await serialise(detail, output));
    session.print(describe(detail));
  });
}

/** What a Tombstone may name. */
const DELETABLE = new Set(["Artifact", "Placement", "ClaimList", "Batch", "Pass", "Operator", "Registrar", "Topology"]);

async function deleteOne(session: Session, [word = "", name = ""]: string[]): Promise<void> {
  const { resource, document, plural } = kindNamed(word);
  if (resource === "nodes") return await revokeNode(session, name);
  if (resource === "services") {
    throw new Fault("cli.delete", "a service is published by nodes, each of which can take back its own only", {
      exit: "invalid",
      fix: `On such a node: portolan service unpublish ${name}`,
    });
  }
  if (document === undefined || !DELETABLE.has(document)) {
    throw new Fault("cli.delete", `${plural} cannot be deleted`, {
      exit: "invalid",
      fix: `What can: nodes, ${[...DELETABLE].map((kind) => kind.toLowerCase()).join(", ")}.`,
    });
  }
  await removeDocument(session, document, name);
}
