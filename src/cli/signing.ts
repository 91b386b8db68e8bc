import { isDeepStrictEqual } from "node:util";
import type { ControlClient, Draft, PendingView, Verdict } from "#api";
import { encodeEnvelope, Fault, preAuthEncoding } from "#core";
import {
  type Body,
  isKind,
  keyHash,
  type NamedKey,
  openEnvelope,
  parseBody,
  payloadTypeOf,
  signPayload,
} from "#identity";
import type { Session } from "./session.ts";

/** What a document is meant to say. Members that are left out are the daemon's to choose. */
export type Asked = {
  kind: string;
  name: string;
  tenant?: string;
  labels?: Record<string, string>;
  spec?: Record<string, unknown>;
  /** ISO 8601. */
  expires?: string;
};

/** Drafts a document, signs it here and hands it in. Says on stderr what became of it. */
export async function state(
  session: Session,
  client: ControlClient,
  asked: Asked & { spec: object },
): Promise<Verdict> {
  const key = await session.signingKey(); // first, so that a wrong passphrase costs nothing
  const draft = await client.call("draft", asked);
  return await signDraft(session, client, draft, asked, key);
}

/** Checks a draft against what was asked, signs it, hands it in. */
export async function signDraft(
  session: Session,
  client: ControlClient,
  draft: Draft,
  asked: Asked,
  key: NamedKey,
): Promise<Verdict> {
  const payload = Buffer.from(draft.payload, "base64");
  const body = checkDraft(draft.payloadType, payload, asked);
  const envelope = Buffer.from(signPayload(body.kind, payload, key.key)).toString("utf8");
  const verdict = await client.call("submit", { envelope });
  report(session, verdict);
  return verdict;
}

/**
 * The body of a draft, if it says what was asked. The daemon drafts, the person signs: a daemon that was taken over must not
 * get a signature under something else. Throws Fault `cli.draft` (exit `denied`).
 */
export function checkDraft(payloadType: string, payload: Uint8Array, asked: Asked): Body {
  if (!isKind(asked.kind) || payloadType !== payloadTypeOf(asked.kind)) throw otherDraft("its kind");
  const body: Body = parseBody(asked.kind, payload);
  const { metadata } = body;
  if (metadata.name !== asked.name) throw otherDraft("its name");
  if (asked.tenant !== undefined && metadata.tenant !== asked.tenant) throw otherDraft("its tenant");
  if (!isDeepStrictEqual(metadata.labels, asked.labels ?? {})) throw otherDraft("its labels");
  if (asked.spec !== undefined && !isDeepStrictEqual(body.spec, asked.spec)) throw otherDraft("its spec");
  if (asked.expires !== undefined && Date.parse(body.expires) !== Date.parse(asked.expires))
    throw otherDraft("its end");
  return body;
}

function otherDraft(what: string): Fault {
  return new Fault(
    "cli.draft",
    `the daemon drafted something else than was asked: ${what} differs. Nothing was signed.`,
    {
      exit: "denied",
      fix: "Is the daemon of another version, or not yours? Check with: portolan status",
    },
  );
}

/** Adds a signature to a document that waits, and hands it in. */
export async function signPending(
  session: Session,
  client: ControlClient,
  pending: PendingView,
  key: NamedKey,
): Promise<Verdict> {
  const verdict = await client.call("submit", { envelope: cosign(pending, key) });
  report(session, verdict);
  return verdict;
}

/** A waiting document's envelope with the key's signature beside those it has. Throws Fault as the document layer does for rubbish. */
export function cosign(
  { payloadType, payload, signatures }: Pick<PendingView, "payloadType" | "payload" | "signatures">,
  { key }: NamedKey,
): string {
  const bytes = Buffer.from(payload, "base64");
  const keyid = keyHash(key.publicKey);
  const sig = key.sign(preAuthEncoding(payloadType, bytes));
  const others = signatures
    .filter((signature) => signature.keyid !== keyid)
    .map((signature) => ({ keyid: signature.keyid, sig: Buffer.from(signature.sig, "base64") }));
  const envelope = encodeEnvelope({ payloadType, payload: bytes, signatures: [...others, { keyid, sig }] });
  const open = openEnvelope(envelope);
  parseBody(open.kind, open.envelope.payload); // nobody should sign what no node can read
  return Buffer.from(envelope).toString("utf8");
}

/** One line on stderr about a document that was handed in. */
export function report(session: Session, { id, version, status, needs, missing }: Verdict): void {
  if (status === "accepted") session.say(`${id}: version ${version} accepted`);
  else if (status === "known") session.say(`${id}: version ${version} was there already`);
  else {
    const have = needs.signers.length - missing.length;
    const names = missing.map(({ name, keyid }) => name || keyid.slice(0, 12)).join(" or ");
    session.say(
      `${id}: version ${version} waits for ${needs.count - have} more of ${needs.count} ${needs.role} signatures (${names})`,
    );
    session.say(`each of them: portolan sign ${id} --as KEYFILE`);
  }
}
