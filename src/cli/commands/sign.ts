import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import type { PendingView } from "#api";
import { Fault } from "#core";
import { describe } from "../output.ts";
import { type Cli, action, type CommonOptions, readText, type Session } from "../session.ts";
import { charterFirst } from "./fleet.ts";
import { examples, signs } from "./options.ts";

/** A screenful; a claim list of thousands of rows is not read in a terminal. */
const MAX_SUMMARY_CHARS = 2_000;

type SignOptions = CommonOptions & { all?: boolean; file?: string; out?: string };

/** `sign`, `reject`. */
export function registerSign(program: Command, cli: Cli): void {
  examples(
    signs(program.command("sign [pending]"))
      .description("add a signature to a document that waits for it")
      .option("--all", "sign everything that this key can and has not yet")
      .option("-f, --file <file>", "sign a document out of a file; needs no daemon")
      .option("--out <file>", "with -f: write the signed envelope here (default: stdout)")
      .action(action<SignOptions>(cli, sign)),
    "portolan sign Charter/default/plant --as alice.key",
    "portolan sign --all --as alice.key",
    "portolan sign -f charter.json --as alice.key > signed.json",
  );
  examples(
    program
      .command("reject <pending>")
      .description("drop a document that waits for signatures")
      .action(
        action(cli, (session, [name = ""]) =>
          session.withNode(async (client) => {
            await client.call("reject", { name });
            session.say(`${name}: dropped here. Other nodes never had it.`);
          }),
        ),
      ),
    "portolan reject Operator/default/bob",
  );
}

async function sign(session: Session<SignOptions>, [name]: string[]): Promise<void> {
  const { all, file } = session.options;
  if ([name !== undefined, all === true, file !== undefined].filter(Boolean).length !== 1) {
    throw new Fault("cli.sign", "name one document, or give --all, or -f FILE", {
      exit: "invalid",
      fix: "See what waits: portolan get pending",
    });
  }
  if (file !== undefined) return await signFile(session, file);
  const { signPending } = await import("../signing.ts");
  const key = await session.signingKey();
  const { keyHash } = await import("#identity");
  const keyid = keyHash(key.key.publicKey);
  await session.withNode(async (client) => {
    const found =
      name === undefined
        ? (await client.call("pending.list", {})).items.filter(({ missing }) => missing.some((m) => m.keyid === keyid))
        : [await client.call("pending.get", { name })];
    if (found.length === 0) session.say(`nothing waits for the signature of ${key.name}`);
    for (const pending of charterFirst(found)) {
      session.say(summary(pending));
      await signPending(session, client, pending, key);
    }
  });
}

/** What is about to be signed, read from the very bytes, for a person to check. */
function summary({ name, version, digest, payload }: PendingView): string {
  const { spec } = JSON.parse(Buffer.from(payload, "base64").toString("utf8")) as { spec: Record<string, unknown> };
  const text = describe(spec, "  ");
  const shown = text.length > MAX_SUMMARY_CHARS ? `${text.slice(0, MAX_SUMMARY_CHARS)}…\n` : text;
  return `signing ${name} version ${version}, digest ${digest}\n${shown.trimEnd()}`;
}

async function signFile(session: Session<SignOptions>, file: string): Promise<void> {
  const { cosign } = await import("../signing.ts");
  const waiting = readWaiting(file);
  const envelope = cosign(waiting, await session.signingKey());
  if (session.options.out === undefined) return session.print(envelope);
  writeFileSync(session.options.out, `${envelope}\n`);
  session.say(`wrote ${session.options.out}; hand it in: portolan apply -f ${session.options.out}`);
}

/** A waiting document as `get pending NAME -o json` printed it, or an envelope with some signatures. */
function readWaiting(file: string): Pick<PendingView, "payloadType" | "payload" | "signatures"> {
  const unreadable = (cause?: unknown): Fault =>
    new Fault("cli.sign-file", `${file} holds no document to sign`, {
      exit: "invalid",
      fix: "Make it with: portolan get pending NAME -o json > FILE",
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(readText(file));
  } catch (error) {
    throw error instanceof Fault ? error : unreadable(error);
  }
  if (typeof value !== "object" || value === null) throw unreadable();
  const { payloadType, payload, signatures = [] } = value as Record<string, unknown>;
  if (typeof payloadType !== "string" || typeof payload !== "string" || !isSignatures(signatures)) throw unreadable();
  return { payloadType, payload, signatures };
}

function isSignatures(value: unknown): value is PendingView["signatures"] {
  if (!Array.isArray(value)) return false;
  return value.every((entry: unknown) => {
    const { keyid, sig } = (entry ?? {}) as Record<string, unknown>;
    return typeof keyid === "string" && typeof sig === "string";
  });
}
