import type { NodeId } from "#identity";
import type { GossipHost } from "./gossip.ts";
import type { MessageHandler, Session, SessionListener } from "./host.ts";

/**
 * The neighbours of the own site, as what is said inside a site needs them: none while that is switched off, and all come up when it is
 * switched on. Others are not heard.
 */
export class SiteNeighbours implements GossipHost, Disposable {
  readonly #host: GossipHost;
  readonly #site: () => string | undefined;
  readonly #listeners = new Set<SessionListener>();
  readonly #unlisten: () => void;
  /** Of whom the listeners know. */
  readonly #up = new Map<NodeId, Session>();
  #isOn = false;

  /** `site`: the own one, once this node is a member. */
  constructor(host: GossipHost, site: () => string | undefined) {
    this.#host = host;
    this.#site = site;
    this.#unlisten = host.onSession((session, event, reason) => {
      if (event === "up" && this.#isNear(session)) this.#comeUp(session);
      if (event === "down" && this.#up.delete(session.nodeId)) this.#tell(session, "down", reason);
    });
  }

  [Symbol.dispose](): void {
    this.#unlisten();
  }

  /** Called again now and then, it also sees to neighbours of whom it was not known before that they are of the own site, or which that is. */
  turn(isOn: boolean): void {
    this.#isOn = isOn;
    for (const [peer, session] of this.#up) {
      if (this.session(peer) !== undefined) continue;
      this.#up.delete(peer);
      this.#tell(session, "down");
    }
    for (const session of this.sessions()) if (!this.#up.has(session.nodeId)) this.#comeUp(session);
  }

  session(peer: NodeId): Session | undefined {
    const session = this.#host.session(peer);
    return session !== undefined && this.#isNear(session) ? session : undefined;
  }

  sessions(): Session[] {
    return this.#host.sessions().filter((session) => this.#isNear(session));
  }

  onSession(listener: SessionListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onMessage(kind: string, handler: MessageHandler): void {
    this.#host.onMessage(kind, (session, body) => {
      if (this.#isNear(session)) handler(session, body);
    });
  }

  disconnect(peer: NodeId, reason: string): void {
    this.#host.disconnect(peer, reason);
  }

  #comeUp(session: Session): void {
    this.#up.set(session.nodeId, session);
    this.#tell(session, "up");
  }

  #isNear({ site }: Session): boolean {
    return this.#isOn && site === this.#site();
  }

  #tell(session: Session, event: "up" | "down", reason?: string): void {
    for (const listener of this.#listeners) listener(session, event, reason);
  }
}
