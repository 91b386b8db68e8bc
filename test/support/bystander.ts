import { once } from "node:events";
import WebTorrent, { type Torrent } from "webtorrent";

/** An ordinary BitTorrent client on loopback. */
export class Bystander implements AsyncDisposable {
  readonly #client = new WebTorrent({
    torrentPort: { host: "127.0.0.1", port: 0 },
    dht: false,
    lsd: false,
    utPex: false,
    utp: false,
    natUpnp: false,
    natPmp: false,
  });

  /** Its address once it listens. */
  async address(): Promise<string> {
    if (this.#client.address() === null) await once(this.#client, "listening");
    return `127.0.0.1:${this.#client.address()?.port}`;
  }

  /** Serves what is in `path` already. */
  async seed(torrent: Uint8Array, path: string): Promise<Torrent> {
    const added = this.#client.add(torrent, { path, skipVerify: true });
    await once(added, "ready");
    return added;
  }

  async fetch(torrent: Uint8Array, path: string, peer: string): Promise<void> {
    const added = this.#client.add(torrent, { path });
    added.on("infoHash", () => added.addPeer(peer));
    await once(added, "done");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#client.destroy(resolve));
  }
}
