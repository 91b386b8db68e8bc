import type { Clock, Log, Random } from "#core";
import {
  Contact,
  DocumentStore,
  type HighWaterFile,
  Membership,
  Registrar,
  RegistrarLedger,
  WaitingList,
} from "#identity";
import { EventLog } from "#policy";
import { Copies } from "./copies.ts";
import { CLONED } from "./admission.ts";
import { openDataDirectory, Settings } from "./data-directory.ts";
import { Pins } from "./pins.ts";
import { checkMachine } from "./machine.ts";
import type { NodeState } from "./node-state.ts";
import { PeerEvents } from "./peer-events.ts";
import { Provisional } from "./provisional.ts";
import { Quarantine } from "./quarantine.ts";
import { openTrustedTime } from "./time-keeper.ts";
import { Topology } from "./topology.ts";
import { Whereabouts } from "./whereabouts.ts";

export type NodeDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  version: string;
  /** Seconds since the machine started; default: what the system says. */
  uptimeSeconds?: () => number;
};

/** A node whose data directory is open: everything that needs no network. */
export type OpenNode = {
  state: NodeState;
  registrar: Registrar;
  copies: Copies;
  pins: Pins;
  /** Closes the data directory. */
  close(): void;
};

/** Opens a data directory and reads what it knows. Throws as `openDataDirectory`. */
export function openNode(path: string, deps: NodeDeps): OpenNode {
  const { clock, random, log, version } = deps;
  const data = openDataDirectory(path, random);
  try {
    const { time, marks } = openTrustedTime(clock, path, deps.uptimeSeconds);
    const trustedMs = (): number => time.nowMs();
    const settings = new Settings(data.db);
    const store = new DocumentStore(data.db, log, trustedMs());
    const ledger = new RegistrarLedger(data.db);
    const waiting = new WaitingList();
    const events = new EventLog(data.db, trustedMs);
    const quarantine = new Quarantine(data.db, store, trustedMs);
    const whereabouts = new Whereabouts();
    const registrar = new Registrar({
      clock,
      random,
      log,
      nowMs: trustedMs,
      key: data.key.key,
      store,
      ledger,
      waiting,
      addressesOf: (peer) => whereabouts.of(peer),
      usedTwice: ({ body }, holder) =>
        events.record({
          type: "security.clone",
          subject: body.metadata.name,
          actor: body.spec.registrar.slice(0, 12),
          outcome: "refused",
          message: `what it was admitted by was used up before, by key ${holder.slice(0, 12)}: revoke the one that is not yours`,
        }),
      barred: (node) => (quarantine.sinceMs(node) === undefined ? undefined : CLONED),
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
      time,
      marks,
      contact: new Contact(clock.nowMs()),
      quarantine,
      topology: new Topology({ store, members }),
      whereabouts,
      machine: checkMachine({ settings, data }),
      startedMs: clock.nowMs(),
      version,
    };
    recordRefusals(state);
    recordMachine(state);
    keepMarks(store, marks);
    obeyTimeResets(state);
    const [copies, pins] = [new Copies(data.db, clock), new Pins(data.db)];
    return { state, registrar, copies, pins, close: () => data.release() };
  } catch (error) {
    data.release();
    throw error;
  }
}

/** The versions that this node must never fall behind are kept beside the documents, in case those are lost. */
function keepMarks(store: DocumentStore, marks: HighWaterFile): void {
  if (store.fleet !== undefined) marks.enter(store.fleet);
  store.onAccepted(({ kind, body }) => {
    if (kind === "Charter" && store.fleet !== undefined) marks.enter(store.fleet);
    if (kind === "Charter") marks.raise({ charter: body.version });
    if (kind === "Revocation") marks.raise({ revocation: body.version });
  });
}

/** A data directory that was copied brings a key into use twice. */
function recordMachine({ machine, events, log, data }: NodeState): void {
  if (machine.changed.length === 0) return;
  const differ = machine.changed.join(", ");
  log.warn("this data directory comes from another machine", { differ, path: data.path });
  events.record({
    type: "security.moved",
    subject: data.key.nodeId,
    outcome: "ok",
    message: `the data directory is on another machine than before: ${differ} differ`,
  });
}

/** The owners' word on the time is carried out once, also when a crash came between its arrival and that. */
function obeyTimeResets({ store, time, events, log }: NodeState): void {
  const obey = (): void => {
    const [document] = store.list("TimeReset");
    if (document === undefined) return;
    const { version, spec } = document.body;
    const reset = { timeMs: Date.parse(spec.time), aheadMs: Date.parse(spec.ahead), version };
    if (!time.reset(reset)) return;
    store.expire(time.nowMs());
    log.warn("the owners have taken the fleet's time back", { to: spec.time });
    events.record({
      type: "identity.accepted",
      subject: document.id,
      outcome: "ok",
      message: `the fleet's time was taken back to ${spec.time}`,
    });
  };
  obey();
  store.onAccepted(({ kind }) => (kind === "TimeReset" ? obey() : undefined));
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
