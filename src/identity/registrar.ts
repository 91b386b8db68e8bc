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
import { indexClaims } from "./claim-index.ts";
import type { DocumentStore } from "./document-store.ts";
import type { ClaimIndex, Refusal } from "./evidence.ts";
import { type RegistrarState, stepRegistrar } from "./join-registrar.ts";
import type { JoiningPeer, RegistrarContext, RegistrarEffect } from "./registrar-effect.ts";
import { JOIN_TIMEOUT_MS, NONCE_BYTES, parseDeviceMessage, TICKET_BYTES } from "./join-wire.ts";
import { type NodeId, nodeIdOf } from "./node-id.ts";
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
  /** Where the fleet's registrars are reached, for a node that is none. */
  registrarAddresses: () => readonly string[];
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
  #claims: ClaimIndex | undefined;
  #claimsOf = "";

  constructor(deps: RegistrarDeps) {
    this.#deps = deps;
    this.#nodeId = nodeIdOf(deps.key.publicKey);
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
    const { random, nowMs, key, store, ledger, waiting, registrarAddresses } = this.#deps;
    return {
      key,
      nodeId: this.#nodeId,
      store,
      ledger,
      waiting,
      claims: this.#claimIndex(),
      registrarAddresses: registrarAddresses(),
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

  /** Built anew only when claims, or who may sign them, have changed: a list has up to 10,000 rows. */
  #claimIndex(): ClaimIndex {
    const { store } = this.#deps;
    const sources = [...store.list("ClaimList"), ...store.list("Operator"), ...store.list("Charter")];
    const digests = sources.map(({ digest }) => digest).join();
    if (this.#claims === undefined || digests !== this.#claimsOf) {
      this.#claims = indexClaims(store);
      this.#claimsOf = digests;
    }
    return this.#claims;
  }
}
