import type { ControlClient } from "#api";
import { Fault, faultCode } from "#core";

/** The document that claims, batches or a pass stand in, as a command is about to sign it. */
export type HomedDocument = { kind: "ClaimList" | "Batch" | "Pass"; name: string; tenant?: string };

/** A registrar by name, with its node id and whether this node is connected to it. */
export type RegistrarSeen = { name: string; nodeId: string; live: boolean };

/** Who may admit nodes, as the daemon sees it. */
export async function registrarsSeen(client: ControlClient): Promise<RegistrarSeen[]> {
  const { items } = await client.call("documents.list", { selector: "kind=Registrar" });
  const seen: RegistrarSeen[] = [];
  for (const { documentName } of items) {
    const node = await look(() => client.call("nodes.get", { name: documentName }));
    if (node === undefined || !node.roles.includes("registrar")) continue; // revoked
    seen.push({ name: node.name, nodeId: node.nodeId, live: node.state === "self" || node.state === "connected" });
  }
  return seen;
}

/**
 * The registrar that shall keep what is used up of a document: the one that keeps it so far while that is a registrar, for what
 * it has seen used nobody else may know; else by highest random weight among those that are connected now.
 */
export async function homeFor(
  client: ControlClient,
  { kind, name, tenant = "default" }: HomedDocument,
): Promise<{ home?: string }> {
  const { documentId, heaviestRegistrar } = await import("#identity");
  const id = documentId(kind, name, tenant);
  const registrars = await registrarsSeen(client);
  const before = (await look(() => client.call("documents.get", { name: id })))?.body["spec"] as { home?: string };
  if (registrars.some(({ nodeId }) => nodeId === before?.home)) return { home: before.home as string };
  const live = registrars.filter((registrar) => registrar.live);
  const home = heaviestRegistrar(
    id,
    (live.length > 0 ? live : registrars).map(({ nodeId }) => nodeId),
  );
  return home === undefined ? {} : { home };
}

/** The registrar of this name or node id. Throws Fault `cli.no-registrar` (exit `missing`). */
export function registrarNamed(registrars: readonly RegistrarSeen[], text: string): RegistrarSeen {
  const found = registrars.find(({ name, nodeId }) => name === text || nodeId === text);
  if (found !== undefined) return found;
  throw new Fault("cli.no-registrar", `there is no registrar ${text.slice(0, 80)}`, {
    exit: "missing",
    fix: `Registrars: ${registrars.map(({ name }) => name).join(", ")}.`,
  });
}

/** What a question found; `undefined` where there is no such thing. */
export async function look<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (faultCode(error) === "api.no-such") return undefined;
    throw error;
  }
}
