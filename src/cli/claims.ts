import { createReadStream, statSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { ControlClient } from "#api";
import { Fault } from "#core";
import type { ClaimRow } from "#identity";
import { homeFor, look } from "./home.ts";
import type { Session } from "./session.ts";

/** Rows of one file that become one signed document. */
type Part = { number: number; rows: ClaimRow[] };

/** Room in a ClaimList's body for what is not rows: names, times, the home. */
const HEAD_BYTES = 4 * 1024;

/**
 * Admits the devices of a CSV file. It is read twice, in pieces: first to the end, so that nothing is signed of a file with a
 * mistake in it; then each part becomes a document, which counts as a whole or not at all. The same command again goes on
 * where it was stopped: parts that are there already are left alone.
 */
export async function admitFile(session: Session, file: string, name: string): Promise<void> {
  checkFile(file);
  let total = 0;
  let parts = 0;
  for await (const part of partsOf(file)) {
    total += part.rows.length;
    parts = part.number;
  }
  await session.signingKey(); // before anything is done
  let done = 0;
  await session.withNode(async (client) => {
    try {
      for await (const part of partsOf(file)) {
        await admitPart(session, client, partName(name, part.number), part);
        done += part.rows.length;
        if (parts > 1) session.say(`${done} of ${total} devices`);
      }
    } catch (error) {
      if (done > 0) session.say(`${done} of ${total} devices are admitted; the same command again goes on from there`);
      throw error;
    }
    await warnOfMore(session, client, name, parts);
  });
  session.say(`${total} device${total === 1 ? "" : "s"} in list ${name}${parts > 1 ? `, in ${parts} documents` : ""}`);
}

async function admitPart(session: Session, client: ControlClient, name: string, { rows }: Part): Promise<void> {
  const { state } = await import("./signing.ts");
  const before = (await look(() => client.call("documents.get", { name: `ClaimList/${name}` })))?.body["spec"];
  if (isDeepStrictEqual((before as { rows?: unknown })?.rows, rows)) return session.say(`${name}: there already`);
  const isBearer = rows.some(({ key }) => key === undefined);
  const home = isBearer ? await homeFor(client, { kind: "ClaimList", name }) : {};
  await state(session, client, { kind: "ClaimList", name, spec: { rows, ...home } });
}

/** A shorter file than last time leaves documents in force that nobody thinks of. */
async function warnOfMore(session: Session, client: ControlClient, name: string, parts: number): Promise<void> {
  const next = partName(name, parts + 1);
  if ((await look(() => client.call("documents.get", { name: `ClaimList/${next}` }))) === undefined) return;
  session.say(`warning: list ${next}, of a longer file, still admits devices: portolan delete claims ${next}`);
}

function partName(name: string, number: number): string {
  return number === 1 ? name : `${name}.${number}`;
}

/** The file's rows, as many at a time as one document takes. */
async function* partsOf(file: string): AsyncGenerator<Part> {
  const { KINDS, MAX_CLAIM_ROWS, readClaims } = await import("#identity");
  const roomBytes = KINDS.ClaimList.maxBytes - HEAD_BYTES;
  let part: Part = { number: 1, rows: [] };
  let bytes = 0;
  for await (const row of readClaims(createReadStream(file))) {
    const rowBytes = Buffer.byteLength(JSON.stringify(row)) + 1;
    if (part.rows.length === MAX_CLAIM_ROWS || bytes + rowBytes > roomBytes) {
      yield part;
      part = { number: part.number + 1, rows: [] };
      bytes = 0;
    }
    part.rows.push(row);
    bytes += rowBytes;
  }
  yield part;
}

function checkFile(file: string): void {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat?.isFile() === true) return;
  throw new Fault("cli.file", stat === undefined ? `there is no file ${file}` : `${file} is not a file`, {
    exit: stat === undefined ? "missing" : "invalid",
    fix: "Check the path.",
  });
}
