import type { DatabaseSync } from "node:sqlite";
import { Fault, type Log, errorMessage } from "#core";
import { draftOf, MAX_SERVICES, parseService, type Protocol, type Service } from "./service.ts";
import type { Target } from "./target.ts";

export type PublishedServicesDeps = {
  db: DatabaseSync;
  log: Log;
  /** This node's own, once it is a member. */
  tenant: () => string | undefined;
};

/** The services that this node publishes, on disk: what was acknowledged is published again after a restart. */
export class PublishedServices {
  readonly #deps: PublishedServicesDeps;
  readonly #byName = new Map<string, Service>();
  /** Whether others may have heard of services of this node, also before it was started. */
  readonly wasUsed: boolean;

  constructor(deps: PublishedServicesDeps) {
    this.#deps = deps;
    const { db, log } = deps;
    // the table comes with the first service, so that it says whether there ever was one
    this.wasUsed =
      db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'services'").get() !== undefined;
    for (const { name, draft } of this.wasUsed ? db.prepare("SELECT name, draft FROM services").all() : []) {
      try {
        this.#byName.set(String(name), parseService(JSON.parse(String(draft))));
      } catch (error) {
        log.warn("a service is not published: another version wrote it", {
          name: String(name),
          reason: errorMessage(error),
        });
      }
    }
  }

  get(name: string): Service | undefined {
    return this.#byName.get(name);
  }

  /** By name. */
  all(): Service[] {
    return [...this.#byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Where a service of this node is; `undefined` when this node publishes none of that name in that tenant. */
  targetOf(tenant: string, name: string): (Target & { protocol: Protocol }) | undefined {
    const service = tenant === this.#deps.tenant() ? this.#byName.get(name) : undefined;
    return service && { ...service.target, protocol: service.protocol };
  }

  /**
   * Adds a service; durable when it returns. `false`: this very one is published already.
   *
   * Throws Fault `routing.service-exists` when another one is by that name and `replace` is false, `routing.too-many-services` (both exit `conflict`).
   */
  put(service: Service, replace: boolean): boolean {
    const { db } = this.#deps;
    const before = this.#byName.get(service.name);
    const draft = JSON.stringify(draftOf(service));
    if (before !== undefined && JSON.stringify(draftOf(before)) === draft) return false;
    if (before !== undefined && !replace) throw exists(service.name);
    if (before === undefined && this.#byName.size >= MAX_SERVICES) throw tooMany();
    db.exec("CREATE TABLE IF NOT EXISTS services (name TEXT PRIMARY KEY, draft TEXT NOT NULL) STRICT");
    db.prepare("INSERT OR REPLACE INTO services (name, draft) VALUES (?, ?)").run(service.name, draft);
    this.#byName.set(service.name, service);
    return true;
  }

  /** Durable when it returns. `false`: there was none of that name. */
  delete(name: string): boolean {
    if (!this.#byName.has(name)) return false;
    this.#deps.db.prepare("DELETE FROM services WHERE name = ?").run(name);
    return this.#byName.delete(name);
  }
}

function exists(name: string): Fault {
  return new Fault("routing.service-exists", `this node publishes another service as ${name}`, {
    exit: "conflict",
    fix: `portolan describe service ${name} shows it; --replace puts the new one in its place.`,
  });
}

function tooMany(): Fault {
  return new Fault("routing.too-many-services", `this node publishes ${MAX_SERVICES} services already`, {
    exit: "conflict",
    fix: "Unpublish one, or publish this one from another node.",
  });
}
