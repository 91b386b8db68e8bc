import type { Clock, Log, Random } from "#core";
import { Fault } from "#core";
import { shortId } from "#identity";
import type {
  Contact,
  DocumentStore,
  HighWaterFile,
  Membership,
  RegistrarLedger,
  TrustedTime,
  WaitingList,
} from "#identity";
import type { EventLog } from "#policy";
import type { DataDirectory, Settings } from "./data-directory.ts";
import type { MachineCheck } from "./machine.ts";
import type { PeerEvents } from "./peer-events.ts";
import type { Provisional } from "./provisional.ts";
import type { Quarantine } from "./quarantine.ts";
import type { Topology } from "./topology.ts";
import type { Whereabouts } from "./whereabouts.ts";

/** What a node is and knows, whether it runs or only its data directory is open. */
export type NodeState = {
  clock: Clock;
  random: Random;
  log: Log;
  data: DataDirectory;
  settings: Settings;
  store: DocumentStore;
  members: Membership;
  events: EventLog;
  /** The same log, for what other nodes cause. */
  peerEvents: PeerEvents;
  /** What this node handed out as a registrar, and who waits at it. Empty on all others. */
  ledger: RegistrarLedger;
  waiting: WaitingList;
  /** Whether this newcomer still has the word of one node only on what is revoked. */
  provisional: Provisional;
  /** Trusted Unix time in milliseconds. */
  trustedMs: () => number;
  time: TrustedTime;
  /** How far the time and the fleet's versions had got, whatever became of the documents. */
  marks: HighWaterFile;
  /** Whether a registrar is heard. */
  contact: Contact;
  /** Keys that two machines were seen to use. */
  quarantine: Quarantine;
  /** What operators ask of links. */
  topology: Topology;
  /** Where other nodes are reached. */
  whereabouts: Whereabouts;
  /** Whether the data directory is still on its machine. */
  machine: MachineCheck;
  /** Monotonic milliseconds when this process opened the directory. */
  startedMs: number;
  /** Version of this program. */
  version: string;
};

/** The fleet id in hex. Throws Fault `daemon.no-fleet` (exit `conflict`) when this node belongs to none. */
export function requireFleet(state: NodeState): string {
  const { fleet } = state.store;
  if (fleet !== undefined) return fleet;
  throw new Fault("daemon.no-fleet", "this node belongs to no fleet yet", {
    exit: "conflict",
    fix: "Create one with `portolan fleet create`, or join one with `portolan up --token TOKEN`.",
  });
}

/** The name this node goes by: its member document's, else the one it was given, else one made from its key. */
export function nodeName(state: NodeState): string {
  const { data, members, settings } = state;
  return members.of(data.key.nodeId)?.name ?? settings.get("name") ?? shortId(data.key.key.publicKey);
}
