import type { Clock, Log, Random } from "#core";
import { Fault } from "#core";
import type { Gossip } from "#mesh";
import { MAX_STATEMENT_VALUE_BYTES } from "#mesh";
import { exposeRule, isForbidden, type MayExpose, notExposed } from "./expose.ts";
import type { Health } from "./health.ts";
import { HealthWatch } from "./health-watch.ts";
import { type InstanceRecord, MAX_REASON_CHARS, sizeOfInstances } from "./instance-record.ts";
import { PublishedServices, type PublishedServicesDeps } from "./published-services.ts";
import { draftOf, parseService, type Service, type ServiceDraft } from "./service.ts";
import { ServiceDirectory, type ServiceDirectoryDeps } from "./service-directory.ts";
import { ServiceTeller } from "./service-teller.ts";

export type ServicesDeps = Omit<PublishedServicesDeps, "tenant"> &
  Omit<ServiceDirectoryDeps, "own" | "gossip"> & {
    gossip: Pick<Gossip, "publish" | "on">;
    clock: Clock;
    random: Random;
    log: Log;
    /** Trusted Unix time in milliseconds. */
    trustedMs: () => number;
    /** Ranges of addresses that this node may expose. */
    expose: readonly string[];
  };

/** A service of this node, and how it is. */
export type OwnService = { draft: ServiceDraft; health: Health };

/** What this node publishes and how that is, told to the others, and what they publish. */
export class Services implements AsyncDisposable {
  readonly published: PublishedServices;
  readonly directory: ServiceDirectory;
  /** Whether an address may be published here, and dialled for a service of this node. */
  readonly mayExpose: MayExpose;
  readonly #deps: ServicesDeps;
  readonly #watch: HealthWatch;
  readonly #teller: ServiceTeller;

  constructor(deps: ServicesDeps) {
    this.#deps = deps;
    const { self, memberOf } = deps;
    this.mayExpose = exposeRule(deps.expose);
    this.published = new PublishedServices({ ...deps, tenant: () => memberOf(self)?.tenant });
    this.#watch = new HealthWatch({
      ...deps,
      mayExpose: this.mayExpose,
      changed: (service, health) => this.#healthChanged(service, health),
    });
    const own = (): InstanceRecord[] => this.published.all().map((service) => this.#record(service));
    this.#teller = new ServiceTeller({ ...deps, records: own });
    this.directory = new ServiceDirectory({
      ...deps,
      own: () => new Map(own().map((record) => [record.name, record])),
    });
    for (const service of this.published.all()) this.#watch.add(service);
    if (this.published.wasUsed) this.#teller.changed(false); // also that there is none any more
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#teller[Symbol.dispose]();
    this.directory[Symbol.dispose]();
    await this.#watch[Symbol.asyncDispose]();
  }

  /**
   * Publishes a service; durable when it returns, told to the others soon after. The very same again changes nothing.
   *
   * Throws the Faults of `parseService`, `routing.expose` (exit `denied`), `routing.service-exists`, `routing.too-many-services` (exit `conflict`).
   */
  publish(draft: unknown, replace: boolean): void {
    const service = parseService(draft);
    if (isForbidden(service.target, this.mayExpose)) throw notExposed(service.target);
    this.#checkRoom(service);
    if (!this.published.put(service, replace)) return;
    this.#watch.add(service);
    this.#teller.changed(false);
    this.directory.changed();
  }

  /** Publishes a service no longer; durable when it returns. Throws Fault `routing.no-service` (exit `missing`). */
  unpublish(name: string): void {
    if (!this.published.delete(name)) {
      throw new Fault("routing.no-service", `this node publishes no service ${name.slice(0, 100)}`, {
        exit: "missing",
        fix: "`portolan get services -o wide` shows which nodes publish it.",
      });
    }
    this.#watch.remove(name);
    this.#teller.changed(false);
    this.directory.changed();
  }

  /** Where a client is to be led that connects now; `undefined` when this node publishes none of that name in that tenant. */
  targetOf(tenant: string, name: string): ReturnType<PublishedServices["targetOf"]> {
    const target = this.published.targetOf(tenant, name);
    if (target !== undefined) this.#watch.used(name);
    return target;
  }

  /** `undefined`: this node publishes none of that name. */
  own(name: string): OwnService | undefined {
    const service = this.published.get(name);
    const health = this.#watch.of(name);
    return service && health && { draft: draftOf(service), health };
  }

  /** What cannot be told is not published: all services of a node go in one statement. */
  #checkRoom(service: Service): void {
    const others = this.published.all().filter(({ name }) => name !== service.name);
    if (sizeOfInstances([...others, service].map(largestRecord)) <= MAX_STATEMENT_VALUE_BYTES) return;
    throw new Fault("routing.too-many-services", `no room is left to tell others of ${service.name}`, {
      exit: "conflict",
      fix: "Give services of this node shorter names and fewer labels, or publish some from another node.",
    });
  }

  #record(service: Service): InstanceRecord {
    const { state, sinceMs, reason } = this.#watch.of(service.name) as Health;
    return recordOf(service, { healthy: state === "healthy", since: Math.floor(sinceMs / 1_000), reason });
  }

  #healthChanged({ name }: Service, { state, reason }: Health): void {
    const { log } = this.#deps;
    if (state === "healthy") log.info("a service is healthy", { name });
    else log.warn("a service is unhealthy", { name, reason });
    this.#teller.changed(state !== "healthy");
    this.directory.changed();
  }
}

type Standing = Pick<InstanceRecord, "healthy" | "since" | "reason">;

function recordOf({ name, target, protocol, priority, weight, labels }: Service, standing: Standing): InstanceRecord {
  return { name, port: target.port, protocol, priority, weight, labels, ...standing };
}

/** The record of a service when there is most to say of it. */
function largestRecord(service: Service): InstanceRecord {
  return recordOf(service, { healthy: false, since: 2 ** 32 - 1, reason: "x".repeat(MAX_REASON_CHARS) });
}
