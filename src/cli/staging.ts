import type { ArtifactDetail, ControlClient } from "#api";
import { Fault, withDeadline } from "#core";
import { startProgress } from "./progress.ts";
import type { Session } from "./session.ts";
import { printable } from "./table.ts";

/** Follows the copies until every node that should have one does. Throws Fault `cli.not-staged` (exit `timeout`). */
export async function waitForCopies(
  session: Session,
  client: ControlClient,
  name: string,
  ms: number,
): Promise<ArtifactDetail> {
  await using progress = await startProgress(session.io, name);
  const last: { detail?: ArtifactDetail } = {};
  const watch = async (signal: AbortSignal): Promise<ArtifactDetail> => {
    for await (const event of client.watch("artifacts.watch", { name }, signal)) {
      if (event.type === "deleted") throw new Fault("cli.gone", `${name} was deleted`, { exit: "missing" });
      if (event.type === "synced" || !("nodes" in event.object)) continue;
      last.detail = event.object;
      const wanted = event.object.nodes.filter((copy) => copy.wanted);
      const done = wanted.filter(({ state }) => state === "complete").length;
      const bytes = wanted.reduce((sum, copy) => sum + copy.bytes, 0);
      progress.update(bytes, event.object.sizeBytes * wanted.length, `${done}/${wanted.length} nodes`);
      if (wanted.length > 0 && done === wanted.length) return event.object;
    }
    throw new Fault("cli.gone", "the daemon ended the watch", { exit: "offline" });
  };
  return await withDeadline(session.io.clock, ms, `staging ${name}`, watch, session.io.signal).catch(
    (error: unknown) => {
      throw notStaged(name, last.detail, error);
    },
  );
}

function notStaged(name: string, detail: ArtifactDetail | undefined, error: unknown): unknown {
  if (!(error instanceof Fault) || error.code !== "core.deadline") return error;
  const late = detail?.nodes.filter((copy) => copy.wanted && copy.state !== "complete") ?? [];
  const who = late.map((copy) => `${copy.node} (${copy.state}${copy.reason === undefined ? "" : `: ${copy.reason}`})`);
  const message =
    who.length === 0
      ? `no node matches the placement of ${name}`
      : `${name} is not yet on ${printable(who.join(", "))}`;
  return new Fault("cli.not-staged", message, {
    exit: "timeout",
    fix: `It goes on in the background; look again: portolan describe artifact ${name}`,
  });
}
