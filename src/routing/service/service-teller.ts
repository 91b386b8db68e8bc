import type { Clock } from "#core";
import type { Gossip } from "#mesh";
import { SERVICES_TOPIC, writeInstances, type InstanceRecord } from "./instance-record.ts";

/** What changes within this time is told at once. */
const TOGETHER_MS = 50;
/** Everybody hears of all services of this node each time, so that is at least this long apart; what fails is told at once all the same. */
const EVERY_MS = 500;
/** And no more than so much a second, but for the first few seconds' worth: a node that publishes hundreds one by one would flood the fleet. */
const BYTES_PER_SECOND = 8 * 1024;
const BURST_MS = 8_000;

export type ServiceTellerDeps = {
  gossip: Pick<Gossip, "publish">;
  clock: Clock;
  /** What there is to tell now. */
  records: () => readonly InstanceRecord[];
};

/** Tells the fleet of this node's services, soon after they change, and only if they did. */
export class ServiceTeller implements Disposable {
  readonly #deps: ServiceTellerDeps;
  #told: string | undefined;
  #toldMs = Number.NEGATIVE_INFINITY;
  /** By then all that was told is paid for, at `BYTES_PER_SECOND`. */
  #paidMs = Number.NEGATIVE_INFINITY;
  #dueMs = Number.POSITIVE_INFINITY;
  #timer = new AbortController();

  constructor(deps: ServiceTellerDeps) {
    this.#deps = deps;
  }

  [Symbol.dispose](): void {
    this.#timer.abort();
    this.#dueMs = Number.NEGATIVE_INFINITY; // nothing is due before that
  }

  /** Something changed. `urgent`: a service that was healthy is not. */
  changed(urgent: boolean): void {
    const { clock } = this.#deps;
    const soonMs = clock.nowMs() + TOGETHER_MS;
    const dueMs = urgent ? soonMs : Math.max(soonMs, this.#toldMs + EVERY_MS, this.#paidMs - BURST_MS);
    if (dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    this.#timer.abort();
    this.#timer = new AbortController();
    clock.sleep(dueMs - clock.nowMs(), this.#timer.signal).then(
      () => this.#tell(),
      () => undefined, // it is told sooner, or the node stops
    );
  }

  #tell(): void {
    const { gossip, clock, records } = this.#deps;
    this.#dueMs = Number.POSITIVE_INFINITY;
    const value = writeInstances(records());
    const text = JSON.stringify(value);
    if (text === this.#told) return;
    this.#told = text;
    this.#toldMs = clock.nowMs();
    this.#paidMs = Math.max(this.#paidMs, this.#toldMs) + (text.length / BYTES_PER_SECOND) * 1_000;
    gossip.publish(SERVICES_TOPIC, value);
  }
}
