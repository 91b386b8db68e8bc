import type { Clock, Log, Random } from "#core";
import {
  DocumentStore,
  type HighWaterFile,
  Membership,
  type NodeId,
  Registrar,
  RegistrarLedger,
  type TrustedTime,
  WaitingList,
} from "#identity";
import { EventLog } from "#policy";
import { Copies } from "./copies.ts";
import { openDataDirectory, Settings } from "./data-directory.ts";
import type { NodeState } from "./node-state.ts";
import { PeerEvents } from "./peer-events.ts";
import { Provisional } from "./provisional.ts";
import { openTrustedTime } from "./time-keeper.ts";

export type NodeDeps = { clock: Clock; random: Random; log: Log; version: string };

/** A node whose data directory is open: everything that needs no network. */
export type OpenNode = {
  state: NodeState;
  time: TrustedTime;
  registrar: Registrar;
  copies: Copies;
  /** Closes the data directory. */
  close(): void;
};

/**
 * Opens a data directory and reads what it knows. `addressesOf`: where a node is reached just now.
 * Throws as `openDataDirectory`.
 */
export function openNode(path: string, deps: NodeDeps, addressesOf: (node: NodeId) => readonly string[]): OpenNode {
  const { clock, random, log, version } = deps;
  const data = openDataDirectory(path, random);
  try {
    const { time, marks } = openTrustedTime(clock, path);
    const trustedMs = (): number => time.nowMs();
    const settings = new Settings(data.db);
    const store = new DocumentStore(data.db, log, trustedMs());
    const ledger = new RegistrarLedger(data.db);
    const waiting = new WaitingList();
    const events = new EventLog(data.db, trustedMs);
    const registrar = new Registrar({
      clock,
      random,
      log,
      nowMs: trustedMs,
      key: data.key.key,
      store,
      ledger,
      waiting,
      addressesOf,
      usedTwice: ({ body }, holder) =>
        events.record({
          type: "security.clone",
          subject: body.metadata.name,
          actor: body.spec.registrar.slice(0, 12),
          outcome: "refused",
          message: `what it was admitted by was used up before, by key ${holder.slice(0, 12)}: revoke the one that is not yours`,
        }),
    });
    const members = new Membership(store);
    const state: NodeState = {
      clock,
      random,
      log,
      data,
      settings,
      store,
      members,
      events,
      peerEvents: new PeerEvents(events, clock),
      ledger,
      waiting,
      provisional: new Provisional({ settings, store, members, self: data.key.nodeId, log }),
      trustedMs,
      startedMs: clock.nowMs(),
      version,
    };
    recordRefusals(state);
    keepMarks(store, marks);
    return { state, time, registrar, copies: new Copies(data.db, clock), close: () => data.release() };
  } catch (error) {
    data.release();
    throw error;
  }
}

/** The versions that this node must never fall behind are kept beside the documents, in case those are lost. */
function keepMarks(store: DocumentStore, marks: HighWaterFile): void {
  store.onAccepted(({ kind, body }) => {
    if (kind === "Charter") marks.raise({ charter: body.version });
    if (kind === "Revocation") marks.raise({ revocation: body.version });
  });
}

/** Codes that say nothing about anybody: what is old, or was seen before. */
const UNREMARKABLE: ReadonlySet<string> = new Set([
  "identity.rolled-back",
  "identity.expired",
  "identity.deleted",
  "identity.no-fleet",
]);

/** Where documents come from that no other node handed in. */
const OWN_SOURCES: ReadonlySet<string> = new Set(["api", "join", "own"]);

/** Every document that was refused for cause is on record: who handed it in, and why not. */
function recordRefusals({ store, events, peerEvents, members }: NodeState): void {
  store.onRefused((verdict, source) => {
    if (UNREMARKABLE.has(verdict.code)) return;
    const peer = source === undefined || OWN_SOURCES.has(source) ? undefined : source;
    const member = peer === undefined ? undefined : members.of(peer);
    const actor = member?.name ?? source;
    const entry = {
      type: "identity.refused",
      subject: verdict.id ?? "a document",
      ...(actor === undefined ? {} : { actor }),
      outcome: "refused",
      message: `${verdict.code}: ${verdict.reason}`,
    } as const;
    if (peer === undefined) events.record(entry);
    else peerEvents.record(member?.node, entry);
  });
}
