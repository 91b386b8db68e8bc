import {
  type Clock,
  type Ed25519Key,
  asError,
  errorMessage,
  type FrameStream,
  type Log,
  type Random,
  withDeadline,
} from "#core";
import { isDocumentOf, type SignedDocument } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";
import type { Refusal } from "./evidence.ts";
import { type EvidenceIndex, indexEvidence } from "./evidence-index.ts";
import { type RegistrarState, stepRegistrar } from "./join-registrar.ts";
import type { JoiningPeer, RegistrarContext, RegistrarEffect } from "./registrar-effect.ts";
import { type Offices, readOffices } from "./offices.ts";
import { JOIN_TIMEOUT_MS, NONCE_BYTES, parseDeviceMessage, TICKET_BYTES } from "./join-wire.ts";
import type { Kind } from "./kinds.ts";
import { MemberIndex } from "./member-index.ts";
import { keyHash, type NodeId, nodeIdOf } from "./node-id.ts";
import type { RegistrarLedger } from "./registrar-ledger.ts";
import type { WaitingList } from "./waiting-list.ts";

export type RegistrarDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  /** Trusted Unix milliseconds. */
  nowMs: () => number;
  /** This node's key. Whether it may admit is up to its Registrar document, looked up anew each time. */
  key: Ed25519Key;
  store: DocumentStore;
  ledger: RegistrarLedger;
  /** Devices that wait for approval. */
  waiting: WaitingList;
  /** Where a node is reached, as far as this one knows. */
  addressesOf: (node: NodeId) => readonly string[];
  /** Evidence that two keys used up, each at another registrar: one of the two is a copy. `holder`: the key hash that has it here. */
  usedTwice: (member: SignedDocument<"Member">, holder: string) => void;
  /** Why a device is not admitted whatever it shows; `undefined`: it may be. */
  barred?: (node: NodeId) => Refusal | undefined;
};

/** How an exchange with a device ended, for the log and the events. */
export type JoinReport = {
  outcome: "granted" | "pending" | "denied" | "redirect";
  code?: string;
  reason?: string;
  fix?: string;
  name?: string;
};

/** Answers `/portolan/join/1`. Also runs on nodes that are no registrars: they send devices on. */
export class Registrar {
  readonly #deps: RegistrarDeps;
  readonly #nodeId: string;
  readonly #members: MemberIndex;
  #known: { keys: DocumentStore["keys"]; offices: Offices; index: EvidenceIndex } | undefined;

  constructor(deps: RegistrarDeps) {
    const { store } = deps;
    this.#deps = deps;
    this.#nodeId = nodeIdOf(deps.key.publicKey);
    this.#members = new MemberIndex(store);
    this.#learn(store.list("Member"));
    store.onAccepted((document) => {
      if (EVIDENCE_KINDS.has(document.kind)) this.#known = undefined;
      if (isDocumentOf(document, "Member")) this.#learn([document]);
      if (isDocumentOf(document, "Registrar") && document.body.spec.node === this.#nodeId)
        this.#learn(store.list("Member"));
    });
  }

  /**
   * Serves one exchange and closes the stream. Deadline 30 s. What a device does wrong is answered, logged and returned; throws
   * only when the stream or this node's disk fails.
   */
  async serve(frames: FrameStream, peer: JoiningPeer, signal: AbortSignal): Promise<JoinReport> {
    const { clock, log } = this.#deps;
    try {
      const report = await withDeadline(
        clock,
        JOIN_TIMEOUT_MS,
        "a device's join",
        (within) => this.#exchange(frames, peer, within),
        signal,
      );
      frames.close();
      const { outcome, ...fields } = report;
      log[outcome === "denied" ? "warn" : "info"](`join ${outcome}`, { node: peer.nodeId, ...fields });
      return report;
    } catch (error) {
      log.warn("join broke off", { node: peer.nodeId, error: errorMessage(error) });
      frames.abort(asError(error));
      throw error;
    }
  }

  /** What a decision about this device stands on at this moment. */
  context(peer: JoiningPeer): RegistrarContext {
    const { random, nowMs, key, store, ledger, waiting, addressesOf } = this.#deps;
    const { offices, index } = this.#read();
    return {
      key,
      nodeId: this.#nodeId,
      store,
      ledger,
      waiting,
      offices,
      index,
      members: this.#members,
      addressesOf,
      peer,
      barred: this.#deps.barred?.(peer.nodeId),
      nonce: random.bytes(NONCE_BYTES),
      ticket: random.bytes(TICKET_BYTES),
      nowMs: nowMs(),
    };
  }

  /** Carries out one effect. What must be durable is so when it returns. */
  perform(effect: RegistrarEffect, frames: FrameStream, peer: JoiningPeer): JoinReport | undefined {
    const { store, ledger, waiting, nowMs } = this.#deps;
    let report: JoinReport | undefined;
    switch (effect.do) {
      case "admit":
        ledger.admit(effect.keyHash, effect.use, effect.member, Math.floor(nowMs()));
        waiting.remove(peer.nodeId);
        report = { outcome: "granted", name: effect.member.name };
        break;
      case "publish":
        store.submit(effect.bytes, nowMs(), "own");
        break;
      case "wait": {
        const { code, reason } = effect.device;
        const { entry, retryMs } = waiting.ask(effect.device, nowMs());
        const ticket = new Uint8Array(Buffer.from(entry.ticket, "hex"));
        frames.send({ t: "pending", ticket, retryMs, code, reason, fix: effect.fix });
        report = { outcome: "pending", code, reason, fix: effect.fix };
        break;
      }
      case "record":
        ledger.recordRefused(effect.refused);
        break;
      case "send": {
        frames.send(effect.message);
        if (effect.message.t === "redirect") report = { outcome: "redirect" };
        if (effect.message.t === "denied") {
          const { code, reason, fix } = effect.message;
          report = { outcome: "denied", code, reason, fix };
        }
        break;
      }
    }
    return report;
  }

  async #exchange(frames: FrameStream, peer: JoiningPeer, signal: AbortSignal): Promise<JoinReport> {
    let state: RegistrarState = { at: "listening" };
    let report: JoinReport | undefined;
    while (state.at !== "done") {
      const frame = await frames.read(signal);
      if (frame === undefined) return { outcome: "denied", code: "identity.join-lost", reason: "the device left" };
      // From here to the last effect nothing waits, so no other exchange can come between a decision and its record.
      const step = stepRegistrar(state, parseDeviceMessage(frame.header), this.context(peer));
      for (const effect of step.effects) report = this.perform(effect, frames, peer) ?? report;
      state = step.state;
    }
    return report ?? { outcome: "denied", code: "identity.join-lost" };
  }

  /**
   * Who may admit, and by what. A list has up to 10,000 rows, so it is worked out anew only when evidence came, or when the store
   * has worked out anew whom the fleet trusts: it does whenever a document goes out of force, and its `keys` are another map then.
   */
  #read(): { offices: Offices; index: EvidenceIndex } {
    const { store } = this.#deps;
    if (this.#known === undefined || this.#known.keys !== store.keys) {
      const offices = readOffices(store, this.#nodeId);
      const registrars = offices.live.map(({ body }) => body.spec.node);
      this.#known = { keys: store.keys, offices, index: indexEvidence(store, registrars) };
    }
    return this.#known;
  }

  /** What other registrars admitted by is used up here too: this one may inherit their claims, and a device may come to any. */
  #learn(members: readonly SignedDocument<"Member">[]): void {
    const { ledger, key, usedTwice } = this.#deps;
    if (this.#read().offices.own === undefined) return;
    const own = keyHash(key.publicKey);
    const others = members.filter(({ body }) => body.spec.used !== undefined && body.spec.registrar !== own);
    if (others.length === 0) return;
    for (const { member, holder } of ledger.learn(others)) usedTwice(member, holder);
  }
}

/** Documents that admit without changing whom the fleet trusts. */
const EVIDENCE_KINDS: ReadonlySet<Kind> = new Set(["ClaimList", "Batch", "Pass"]);
