import type { ArtifactDetail, ControlClient } from "#api";
import { Fault, faultCode, withDeadline } from "#core";
import { type UpdateProgress, withProgress } from "./progress.ts";
import type { Session } from "./session.ts";
import { printable } from "./table.ts";

/** Follows the copies until every node that should have one does. Throws Fault `cli.not-staged` (exit `timeout`). */
export async function waitForCopies(
  session: Session,
  client: ControlClient,
  name: string,
  ms: number,
): Promise<ArtifactDetail> {
  const seen: { last?: ArtifactDetail } = {};
  const watch = async (update: UpdateProgress, signal: AbortSignal): Promise<ArtifactDetail> => {
    for await (const event of client.watch("artifacts.watch", { name }, signal)) {
      if (event.type === "deleted") throw gone(`${name} was deleted meanwhile`);
      if (event.type === "synced" || !("nodes" in event.object)) continue;
      seen.last = event.object;
      if (count(event.object, update)) return event.object;
    }
    throw gone("the daemon ended the watch");
  };
  const { io } = session;
  try {
    return await withProgress(io, name, (update) =>
      withDeadline(io.clock, ms, `staging ${name}`, (signal) => watch(update, signal), io.signal),
    );
  } catch (error) {
    throw faultCode(error) === "core.deadline" ? notStaged(name, seen.last) : error;
  }
}

/** Shows how far the copies are that are wanted; whether all are there. */
function count({ nodes, sizeBytes }: ArtifactDetail, update: UpdateProgress): boolean {
  const wanted = nodes.filter((copy) => copy.wanted);
  const done = wanted.filter(({ state }) => state === "complete").length;
  const bytes = wanted.reduce((sum, copy) => sum + copy.bytes, 0);
  const failed = wanted.find(({ state }) => state === "failed"); // the node tries again, but somebody may have to help it
  const trouble = failed === undefined ? "" : `, ${failed.node} failed: ${failed.reason ?? "unknown"}`;
  update(bytes, sizeBytes * wanted.length, printable(`${done}/${wanted.length} nodes${trouble}`));
  return wanted.length > 0 && done === wanted.length;
}

function gone(message: string): Fault {
  return new Fault("cli.gone", message, { exit: "missing", fix: "See what there is: portolan get artifacts" });
}

function notStaged(name: string, detail: ArtifactDetail | undefined): Fault {
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
