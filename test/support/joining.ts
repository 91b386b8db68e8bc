import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { type Ed25519Key, FrameStream, memoryStreamPair, SeededRandom, SILENT_LOG, VirtualClock } from "#core";
import { DocumentStore } from "../../src/identity/document-store.ts";
import type { ClaimRow } from "../../src/identity/claims-csv.ts";
import {
  type DeviceFacts,
  type DeviceJoinDeps,
  type DeviceOutcome,
  runDeviceJoin,
} from "../../src/identity/join-device.ts";
import { FROM_DEVICE, FROM_REGISTRAR } from "../../src/identity/join-wire.ts";
import { keyHash, type NodeId, nodeIdOf } from "../../src/identity/node-id.ts";
import { type NodeKey, nodeKeyFrom } from "../../src/identity/node-key.ts";
import { type JoinReport, Registrar } from "../../src/identity/registrar.ts";
import { RegistrarLedger } from "../../src/identity/registrar-ledger.ts";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import type { BootstrapToken } from "../../src/identity/token.ts";
import { WaitingList } from "../../src/identity/waiting-list.ts";
import { NOW_MS, TestFleet } from "./fleet.ts";

/** A registrar on disk that can be killed and started again, and the devices that come to it. */
export class JoinBench {
  readonly fleet: TestFleet;
  readonly clock = new VirtualClock(NOW_MS);
  readonly random = new SeededRandom(7);
  readonly #folder: string;
  readonly #key: Ed25519Key;
  #db: DatabaseSync;
  store: DocumentStore;
  ledger: RegistrarLedger;
  waiting = new WaitingList();
  registrar: Registrar;
  /** Ids of member documents whose evidence another key had used up. */
  readonly usedTwice: string[] = [];

  /** `folder`: of an earlier registrar, whose disk is taken over; `:memory:` for none. `key`: of another registrar than the fleet's first. */
  constructor(fleet = new TestFleet(), folder = mkdtempSync(join(tmpdir(), "ptl-join-")), key = fleet.registrar) {
    this.fleet = fleet;
    this.#key = key;
    this.#folder = folder;
    this.#db = openStateDatabase(folder === ":memory:" ? folder : join(folder, "state.db"));
    this.store = new DocumentStore(this.#db, SILENT_LOG, NOW_MS);
    if (this.store.charter === undefined) {
      this.store.pinFleet(fleet.id);
      this.submit(fleet.charter, ...fleet.foundation());
    }
    this.ledger = new RegistrarLedger(this.#db);
    this.registrar = this.#start();
  }

  get nodeId(): NodeId {
    return nodeIdOf(this.#key.publicKey);
  }

  get token(): BootstrapToken {
    const owners = this.fleet.owners.map((key) => keyHash(key.publicKey));
    return { fleet: this.fleet.id, owners, rendezvous: [], minCharter: 1, minRevocation: 0 };
  }

  /** As after kill -9: only what is on disk is left. */
  restart(): void {
    this.#db.close();
    this.#db = openStateDatabase(join(this.#folder, "state.db"));
    this.store = new DocumentStore(this.#db, SILENT_LOG, this.clock.wallMs());
    this.ledger = new RegistrarLedger(this.#db);
    this.waiting = new WaitingList();
    this.registrar = this.#start();
  }

  submit(...documents: Uint8Array[]): void {
    for (const bytes of documents) {
      const verdict = this.store.submit(bytes, this.clock.wallMs());
      if (verdict.outcome !== "accepted") throw new Error(JSON.stringify(verdict, undefined, 1).slice(0, 400));
    }
  }

  claim(name: string, ...rows: ClaimRow[]): void {
    this.submit(this.fleet.sign("ClaimList", name, { rows }, [this.fleet.admission], { nowMs: this.clock.wallMs() }));
  }

  /** A device with keys of its own. */
  device(seed: number): NodeKey {
    const random = new SeededRandom(1_000 + seed);
    return nodeKeyFrom(random.bytes(32), random.bytes(32));
  }

  /** One whole exchange over a memory stream. */
  async join(
    node: NodeKey,
    facts: Partial<DeviceFacts> = {},
    change: Partial<DeviceJoinDeps> & { remoteIp?: string } = {},
  ): Promise<{ outcome: DeviceOutcome; report: JoinReport }> {
    const [d, r] = memoryStreamPair();
    const { remoteIp, ...deps } = change;
    const peer = { nodeId: node.nodeId, remoteIp: remoteIp ?? "192.0.2.9" };
    const { signal } = new AbortController();
    const served = this.registrar.serve(new FrameStream(r, FROM_DEVICE), peer, signal);
    served.catch(() => undefined);
    const outcome = await runDeviceJoin(
      new FrameStream(d, FROM_REGISTRAR),
      { ...this.deviceDeps(node, facts), ...deps },
      signal,
    );
    return { outcome, report: await served };
  }

  [Symbol.dispose](): void {
    this.#db.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** What a device of this fleet joins with. */
  deviceDeps(node: NodeKey, facts: Partial<DeviceFacts> = {}): DeviceJoinDeps {
    const { clock, random, token } = this;
    return {
      clock,
      random,
      nowMs: () => clock.wallMs(),
      node,
      token,
      floor: { charter: 0, revocation: 0 },
      facts: { labels: {}, ...facts },
      registrar: this.nodeId,
    };
  }

  #start(): Registrar {
    const { clock, random, store, ledger, waiting } = this;
    const key = this.#key;
    const nowMs = (): number => clock.wallMs();
    return new Registrar({
      clock,
      random,
      log: SILENT_LOG,
      nowMs,
      key,
      store,
      ledger,
      waiting,
      addressesOf: () => [],
      usedTwice: (member) => this.usedTwice.push(member.id),
    });
  }
}
