import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { FrameStream, memoryStreamPair, SILENT_LOG } from "#core";
import { Settings } from "../../src/daemon/data-directory.ts";
import { DocumentStore } from "../../src/identity/document-store.ts";
import { ADOPTION_EFFECTS, performAdoption, planAdoption } from "../../src/identity/join-adopt.ts";
import { type DeviceContext, type DeviceState, startDevice, stepDevice } from "../../src/identity/join-device.ts";
import { type RegistrarState, stepRegistrar } from "../../src/identity/join-registrar.ts";
import { type DeviceMessage, FROM_DEVICE, type RegistrarMessage } from "../../src/identity/join-wire.ts";
import type { NodeKey } from "../../src/identity/node-key.ts";
import { REGISTRAR_EFFECTS, type RegistrarEffect } from "../../src/identity/registrar-effect.ts";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import { NOW_MS } from "./fleet.ts";
import type { JoinBench } from "./joining.ts";

/** Everything that either end does to the world, as the code has it. */
export const ALL_EFFECTS = [
  "device send",
  ...ADOPTION_EFFECTS.map((effect) => `device ${effect}` as const),
  ...REGISTRAR_EFFECTS.map((effect) => `registrar ${effect}` as const),
];
export type Effect = (typeof ALL_EFFECTS)[number];

/** A device with a disk of its own. */
export class DeviceDisk implements Disposable {
  readonly key: NodeKey;
  readonly #db: DatabaseSync;
  readonly store: DocumentStore;
  readonly settings: Settings;

  /** `folder`: `:memory:` for none. `pass`: what it was started with at first. */
  constructor(key: NodeKey, folder: string, pass?: string) {
    this.key = key;
    this.#db = openStateDatabase(folder === ":memory:" ? folder : join(folder, "device.db"));
    this.store = new DocumentStore(this.#db, SILENT_LOG, NOW_MS);
    this.settings = new Settings(this.#db);
    if (pass !== undefined && !this.isMember()) this.settings.set("pass", pass);
  }

  isMember(): boolean {
    return this.store.list("Member").some(({ body }) => body.spec.node === this.key.nodeId);
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}

/**
 * Steps both ends through one exchange and what the device does after it, one effect at a time. `before` is called ahead of
 * each and may end the process. Returns the effects that were carried out.
 */
export function walkJoin(
  bench: JoinBench,
  device: DeviceDisk,
  serial: string | undefined,
  before: (effect: Effect, number: number) => void,
): Effect[] {
  const done: Effect[] = [];
  const carryOut = (effect: Effect, work: () => void): void => {
    before(effect, done.length);
    work();
    done.push(effect);
  };
  const pass = device.settings.get("pass");
  const { clock, ...rest } = bench.deviceDeps(device.key, serial === undefined ? {} : { serial });
  const context: DeviceContext = {
    ...rest,
    nonce: bench.random.bytes(16),
    ...(pass === undefined ? {} : { pass }),
  };
  const peer = { nodeId: device.key.nodeId, remoteIp: "192.0.2.9" };
  const sink = new FrameStream(memoryStreamPair()[0], FROM_DEVICE);
  let registrar: RegistrarState = { at: "listening" };
  let { send, state }: { send: DeviceMessage; state: DeviceState } = startDevice(context, clock.wallMs());
  for (;;) {
    carryOut("device send", () => undefined);
    const step = stepRegistrar(registrar, send, bench.registrar.context(peer));
    registrar = step.state;
    let answer: RegistrarMessage | undefined;
    for (const effect of step.effects) {
      carryOut(`registrar ${effect.do}`, () => bench.registrar.perform(effect, sink, peer));
      answer = messageOf(effect) ?? answer;
    }
    if (answer === undefined) return done; // a pending answer goes through the waiting list
    const next = stepDevice(state, answer, context, clock.wallMs());
    if (!("done" in next)) {
      ({ send, state } = next);
      continue;
    }
    if (next.done.outcome !== "member") return done;
    const { store, settings } = device;
    const plan = planAdoption(next.done, {
      newcomer: !device.isMember(),
      registrar: rest.registrar,
      pass: pass !== undefined,
    });
    for (const effect of plan) {
      carryOut(`device ${effect.do}`, () =>
        performAdoption(effect, {
          store,
          nowMs: () => clock.wallMs(),
          doubt: (node) => settings.set("provisional", node),
          forgetPass: () => settings.delete("pass"),
        }),
      );
    }
    return done;
  }
}

function messageOf(effect: RegistrarEffect): RegistrarMessage | undefined {
  return effect.do === "send" ? effect.message : undefined;
}
