/** The part of webtorrent 3 that is used. */
declare module "webtorrent" {
  import type { EventEmitter } from "node:events";

  export type WebTorrentOptions = {
    /** Goes to `net.Server.listen` as it is, so it may also name the address. */
    torrentPort: { host: string; port: number };
    dht: false;
    lsd: false;
    utPex: false;
    utp: false;
    natUpnp: false;
    natPmp: false;
    webSeeds: false;
    /** Obfuscation with RC4: 0 never, 1 (the default) always when calling and as the caller likes when called. */
    secure: 0 | 1 | 2;
    maxConns: number;
    /** Bytes per second; -1: no limit. */
    downloadLimit: number;
    uploadLimit: number;
  };

  export type ChunkStoreClass = new (chunkLength: number, options: never) => object;

  export type TorrentOptions = {
    store?: ChunkStoreClass;
    storeOpts?: object;
    storeCacheSlots?: number;
    /** Take the content for verified. */
    skipVerify?: boolean;
    /** Fetch nothing. */
    deselect?: boolean;
    path?: string;
  };

  export interface Torrent extends EventEmitter {
    readonly infoHash: string;
    readonly downloaded: number;
    readonly uploaded: number;
    readonly numPeers: number;
    readonly done: boolean;
    readonly torrentFile: Uint8Array;
    addPeer(address: string): boolean;
  }

  export default class WebTorrent extends EventEmitter {
    constructor(options: Partial<WebTorrentOptions>);
    add(torrent: string | Uint8Array, options: TorrentOptions): Torrent;
    address(): { address: string; port: number } | null;
    destroy(callback?: () => void): void;
  }
}
