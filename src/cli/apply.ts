import type { ControlClient } from "#api";
import { Fault } from "#core";
import { parseYaml } from "#yaml";
import type { Io } from "./io.ts";
import { type CommonOptions, readText, type Session } from "./session.ts";

/** Documents in one file; each is one signature and one request. */
const MAX_DOCUMENTS = 1_000;
/** Aliases of aliases that one document may spell out: a hundred of them in 4 KiB took a quarter second. */
const MAX_ALIASES = 20;
/** Brackets open at once; documents are at most 16 deep, and a hundred take the parser 50 ms. */
const MAX_OPEN_BRACKETS = 32;
/** Longest text from stdin, in characters. */
const MAX_STDIN_CHARS = 16 * 1024 * 1024;

/** `dryRun`: sign nothing, say what would happen. `force`: sign also a topology that cuts nodes off. */
export type ApplyOptions = CommonOptions & { file: string; dryRun?: boolean; force?: boolean };

/** Reads documents, signs those that are no envelopes yet, hands all in. Stops at the first that is refused. */
export async function applyFile(session: Session<ApplyOptions>, file: string): Promise<void> {
  const text = file === "-" ? await readStdin(session.io) : readText(file);
  const documents = parseDocuments(text, file === "-" ? "stdin" : file);
  await session.withNode(async (client) => {
    for (const document of documents) await applyOne(session, client, document);
  });
}

async function applyOne(
  session: Session<ApplyOptions>,
  client: ControlClient,
  document: Record<string, unknown>,
): Promise<void> {
  const { report, state } = await import("./signing.ts");
  const { dryRun, refuseCut } = await import("./dry-run.ts");
  const { options } = session;
  if ("payloadType" in document) {
    if (options.dryRun === true) return session.say("would hand in an envelope, which is signed already");
    const { payloadType, payload, signatures } = document; // `get pending -o json` shows more than these
    return report(
      session,
      await client.call("submit", { envelope: JSON.stringify({ payloadType, payload, signatures }) }),
    );
  }
  const plan = readPlan(document);
  if (plan.kind === "Topology" && (plan.tenant ?? "default") !== "default")
    throw refuse("a topology is the whole fleet's: its tenant is default");
  if (options.dryRun === true) return await dryRun(session, client, plan);
  if (plan.kind === "Topology" && options.force !== true) await refuseCut(session, client, plan.spec);
  await state(session, client, plan);
}

/** What a document to be signed must have; all else is the daemon's to fill in or to refuse. */
function readPlan(document: Record<string, unknown>) {
  const { apiVersion, kind, metadata, spec, expires, ...rest } = document;
  const { name, tenant, labels, ...more } = isRecord(metadata) ? metadata : {};
  const unknown = [...Object.keys(rest), ...Object.keys(more).map((key) => `metadata.${key}`)][0];
  if (unknown !== undefined) throw refuse(`there is no member "${unknown}" in a document`);
  if (apiVersion !== "portolan.dev/v1") throw refuse("apiVersion is not portolan.dev/v1");
  if (typeof kind !== "string") throw refuse("kind is missing");
  if (typeof name !== "string") throw refuse("metadata.name is missing");
  if (!isRecord(spec)) throw refuse("spec is missing");
  if (tenant !== undefined && typeof tenant !== "string") throw refuse("metadata.tenant is not text");
  if (expires !== undefined && typeof expires !== "string") throw refuse("expires is not a time in quotes");
  if (labels !== undefined && !isLabels(labels)) throw refuse("metadata.labels is not a list of text by key");
  return {
    kind,
    name,
    spec,
    ...(tenant === undefined ? {} : { tenant }),
    ...(labels === undefined ? {} : { labels }),
    ...(expires === undefined ? {} : { expires }),
  };
}

function parseDocuments(text: string, source: string): Record<string, unknown>[] {
  const limits = { maxOpenBrackets: MAX_OPEN_BRACKETS, maxAliases: MAX_ALIASES };
  const { documents } = parseYaml(text, limits, (problem, at) =>
    refuse(`${source}: ${problem}${at === undefined ? "" : ` at line ${at.line}, column ${at.column}`}`),
  );
  if (documents.length > MAX_DOCUMENTS) throw refuse(`${source} has over ${MAX_DOCUMENTS} documents`);
  if (documents.length === 0) throw refuse(`${source} holds no document`);
  return documents.map(({ value }) => {
    if (!isRecord(value)) throw refuse(`${source} holds something that is no document`);
    return value;
  });
}

async function readStdin(io: Io): Promise<string> {
  let text = "";
  for await (const piece of io.stdin.iterator({ destroyOnReturn: false })) {
    text += piece.toString();
    if (text.length > MAX_STDIN_CHARS) throw refuse("stdin is too long");
  }
  return text;
}

function isLabels(value: unknown): value is Record<string, string> {
  return isRecord(value) && Object.values(value).every((text) => typeof text === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(message: string): Fault {
  return new Fault("cli.apply", message, {
    exit: "invalid",
    fix: "A document has apiVersion, kind, metadata {name, tenant, labels} and spec: docs/spec/documents.md shows each kind.",
  });
}
