import type { ControlClient, TopologyPreview } from "#api";
import { Fault } from "#core";
import { lineChars, serialise } from "./output.ts";
import type { Session } from "./session.ts";
import { type Asked, checkDraft } from "./signing.ts";
import { printable, Table } from "./table.ts";

/** Changes shown in a table; `-o json` shows all that the daemon names. */
const MAX_SHOWN = 50;
/** Nodes named in an error. */
const MAX_NAMED = 10;

/** What would be signed, and, of a topology, which ways it would change. Nothing is signed or handed in. */
export async function dryRun(session: Session, client: ControlClient, asked: Asked & { spec: object }): Promise<void> {
  const draft = await client.call("draft", asked);
  const { version } = checkDraft(draft.payloadType, Buffer.from(draft.payload, "base64"), asked);
  const { id, needs } = draft;
  const preview = asked.kind === "Topology" ? await previewOf(session, client, asked.spec) : undefined;
  if (preview !== undefined && preview.cut.length > 0)
    session.say(`warning: ${cutText(preview)}; refused without --force`);
  const signatures = needs.count === 1 ? "signature" : "signatures";
  session.say(`would sign ${id} version ${version}, which needs ${needs.count} ${needs.role} ${signatures}`);
  const { output } = session.options;
  if (output === "json" || output === "yaml")
    return session.print(await serialise({ id, version, needs, ...preview }, output));
  if (output === "name") return session.print(id);
  if (preview !== undefined) printChanges(session, preview);
}

/** Refuses a topology that would cut nodes off. Throws Fault `cli.cut` (exit `conflict`). */
export async function refuseCut(session: Session, client: ControlClient, spec: object): Promise<void> {
  const preview = await previewOf(session, client, spec);
  if (preview.cut.length === 0) return;
  throw new Fault("cli.cut", `${cutText(preview)}. Nothing was signed.`, {
    exit: "conflict",
    fix: "See what it would change with --dry-run, or sign it all the same with --force.",
  });
}

async function previewOf(session: Session, client: ControlClient, spec: object): Promise<TopologyPreview> {
  const preview = await client.call("previewTopology", { spec: { ...spec } });
  for (const warning of preview.warnings) session.say(`warning: ${printable(warning)}`);
  return preview;
}

function cutText({ cut }: TopologyPreview): string {
  const named = cut
    .slice(0, MAX_NAMED)
    .map(({ node, from }) => `${node} (from ${from} ${from === 1 ? "node" : "nodes"})`);
  const more = cut.length > MAX_NAMED ? ` and ${cut.length - MAX_NAMED} more` : "";
  return printable(`it would cut the fleet: no way would lead any more to ${named.join(", ")}${more}`);
}

type Change = TopologyPreview["changes"][number];

function printChanges(session: Session, { changes, total }: TopologyPreview): void {
  if (total === 0) return session.say("no route would change");
  const shown = changes.slice(0, MAX_SHOWN);
  const columns = [
    { head: "FROM", text: ({ from }: Change) => from },
    { head: "TO", text: ({ to }: Change) => to },
    { head: "BEFORE", text: ({ before }: Change) => wayText(before) },
    { head: "AFTER", text: ({ after }: Change) => wayText(after) },
  ];
  const table = new Table(columns, shown, lineChars(session.io.stdout));
  session.print([table.head(), ...shown.map((change) => table.row(change))].join("\n"));
  if (total > shown.length) session.print(`… and ${total - shown.length} more`);
}

/** `52 via hub`, `331 direct`. */
function wayText(way: Change["before"]): string {
  if (way === undefined) return "no way";
  return `${way.cost} ${way.via.length === 0 ? "direct" : `via ${way.via.join(",")}`}`;
}
