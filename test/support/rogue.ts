import { type Clock, FrameStream, SILENT_LOG, SystemRandom } from "#core";
import type { NodeKey } from "#identity";
import { DOCUMENTS_PROTOCOL, type Host, startHost } from "#mesh";

export type Forged = { id: string; version: number; envelope: Uint8Array };

/**
 * A member whose owner has patched every check out of it: it has the key and the membership of a real node, says a proper
 * hello, and then offers documents of its own making to whoever asks.
 */
export class Rogue implements AsyncDisposable {
  readonly host: Host;

  private constructor(host: Host) {
    this.host = host;
  }

  /** `hello`: what a node that is in the fleet says of itself. */
  static async start(clock: Clock, key: NodeKey, hello: Record<string, unknown>): Promise<Rogue> {
    const gate = { offer: () => hello, judge: () => ({ accepted: true, site: "berlin", name: "anybody" }) as const };
    const deps = { clock, random: new SystemRandom(), log: SILENT_LOG, seed: key.seed, gate };
    return new Rogue(await startHost(deps, { listen: [] }));
  }

  /** Tells everybody at these addresses that there is news, and hands out the forgeries when they come for it. */
  async spread(forgeries: readonly Forged[], addresses: readonly string[], signal: AbortSignal): Promise<void> {
    this.host.handle(DOCUMENTS_PROTOCOL, (stream) => {
      const frames = new FrameStream(stream, { maxHeaderBytes: 64 * 1024, maxPayloadBytes: 0 });
      void this.#serve(frames, forgeries, signal).catch(() => undefined); // it hung up
    });
    for (const address of addresses) {
      const session = await this.host.connect([address], signal);
      session.send("docs", { digest: new Uint8Array(32).fill(7) });
    }
  }

  async #serve(frames: FrameStream, forgeries: readonly Forged[], signal: AbortSignal): Promise<void> {
    await frames.read(signal);
    frames.send({ entries: forgeries.map(({ id, version }) => [id, version]) });
    await frames.read(signal);
    for (const { id, envelope } of forgeries) frames.send({ id }, [envelope]);
    frames.send({ end: true });
    frames.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
  }
}
