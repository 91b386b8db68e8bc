import type { Command } from "commander";
import type { ControlClient } from "#api";
import { Fault } from "#core";
import { type HomedDocument, look, registrarNamed, type RegistrarSeen, registrarsSeen } from "../home.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { examples, signs } from "./options.ts";

type HandoverOptions = CommonOptions & { to?: string };

/** Documents of which something is used up. */
const HOMED = ["ClaimList", "Batch", "Pass"] as const;

/** `registrar handover`. */
export function registerHandover(registrar: Command, cli: Cli): void {
  const handover = signs(registrar.command("handover <node>"))
    .description(
      "give the claims, batches and passes of a registrar that is gone to others; admission operators sign it",
    )
    .option("--to <registrar>", "to this one (default: spread over those that are connected)")
    .action(action<HandoverOptions>(cli, handOver));
  examples(handover, "portolan registrar handover gate-1 --as bob.key");
}

/** A higher version of each document names the new home; the old one sends devices there as soon as it hears of it. */
async function handOver(session: Session<HandoverOptions>, [from = ""]: string[]): Promise<void> {
  const { documentId, heaviestRegistrar } = await import("#identity");
  const { state } = await import("../signing.ts");
  await session.withNode(async (client) => {
    const registrars = await registrarsSeen(client);
    const old = await nodeIdOfFormer(client, registrars, from);
    const heirs = heirsOf(registrars, old, session.options.to);
    let moved = 0;
    const nodes = registrars.map(({ nodeId }) => nodeId);
    for (const document of await homedAt(client, old, (id) => heaviestRegistrar(id, nodes))) {
      const { kind, name, tenant, labels, expires, spec } = document;
      const home = heaviestRegistrar(documentId(kind, name, tenant), heirs);
      await state(session, client, { kind, name, tenant, labels, expires, spec: { ...spec, home } });
      moved += 1;
    }
    session.say(moved === 0 ? `${from} is the home of nothing` : `${moved} documents of ${from} have a new home`);
  });
}

/** A registrar that was revoked is no node of the fleet any more, but the owners' word for it still stands. */
async function nodeIdOfFormer(
  client: ControlClient,
  registrars: readonly RegistrarSeen[],
  text: string,
): Promise<string> {
  const { isNodeId } = await import("#identity");
  if (isNodeId(text)) return text;
  const found = registrars.find(({ name }) => name === text)?.nodeId;
  if (found !== undefined) return found;
  const document = await look(() => client.call("documents.get", { name: `Registrar/${text}` }));
  if (document !== undefined) return (document.body["spec"] as { node: string }).node;
  return (await client.call("nodes.get", { name: text })).nodeId;
}

function heirsOf(registrars: readonly RegistrarSeen[], old: string, to: string | undefined): string[] {
  if (to !== undefined) return [registrarNamed(registrars, to).nodeId];
  const others = registrars.filter(({ nodeId, live }) => nodeId !== old && live).map(({ nodeId }) => nodeId);
  if (others.length > 0) return others;
  throw new Fault("cli.no-heir", "no other registrar is connected", {
    exit: "timeout",
    fix: "Start another, or name one that will come: --to REGISTRAR. The owners make one with `portolan registrar add NODE`.",
  });
}

type Spec = { home?: string; rows?: { key?: string }[] };
type Homed = Required<HomedDocument> & { labels: Record<string, string>; expires: string; spec: object };

/** `unnamed`: the home of a document that names none. */
async function homedAt(
  client: ControlClient,
  home: string,
  unnamed: (id: string) => string | undefined,
): Promise<Homed[]> {
  const found: Homed[] = [];
  for (const kind of HOMED) {
    const { items } = await client.call("documents.list", { selector: `kind=${kind}` });
    for (const { name: id, documentName: name, tenant, labels, expires } of items) {
      const spec = (await client.call("documents.get", { name: id })).body["spec"] as Spec;
      const isBearer = spec.rows?.some(({ key }) => key === undefined) ?? true;
      if (isBearer && (spec.home ?? unnamed(id)) === home) found.push({ kind, name, tenant, labels, expires, spec });
    }
  }
  return found;
}
