import { createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { SystemRandom } from "#core";
import { type Bencoded, encodeBencode } from "../../src/artifacts/torrent/bencode.ts";

const HANDSHAKE_BYTES = 68;
/** A handshake's reserved bytes that say: extensions (BEP 10). */
const EXTENSIONS = Buffer.from("0000000000100000", "hex");
const EXTENDED = 20;
/** What both sides call ut_metadata (BEP 9); webtorrent happens to choose 1, too. */
const UT_METADATA = 1;

/** A BitTorrent peer that has nothing but the metadata of one torrent, whatever is in it. */
export class MetadataPeer implements AsyncDisposable {
  /** Names the torrent, and this peer for it. */
  readonly magnet: string;
  /** Whether it was asked for the metadata. */
  asked = false;
  readonly #server: Server;
  readonly #info: Uint8Array;
  readonly #infoHash: Buffer;

  private constructor(info: Uint8Array, server: Server) {
    this.#info = info;
    this.#server = server;
    this.#infoHash = createHash("sha1").update(info).digest();
    const { port } = server.address() as AddressInfo;
    this.magnet = `magnet:?xt=urn:btih:${this.#infoHash.toString("hex")}&x.pe=127.0.0.1:${port}`;
    server.on("connection", (socket) => {
      socket.on("error", () => undefined); // the other side hangs up as it likes
      this.#serve(socket).catch(() => socket.destroy());
    });
  }

  static async start(info: Uint8Array): Promise<MetadataPeer> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new MetadataPeer(info, server);
  }

  async #serve(socket: Socket): Promise<void> {
    let received: Uint8Array = new Uint8Array();
    let greeted = false;
    for await (const data of socket) {
      received = Buffer.concat([received, data as Uint8Array]);
      if (!greeted && received.length >= HANDSHAKE_BYTES) {
        greeted = true;
        received = received.subarray(HANDSHAKE_BYTES);
        this.#greet(socket);
      }
      if (!greeted) continue;
      for (let message = first(received); message !== undefined; message = first(received)) {
        received = received.subarray(4 + message.length);
        if (message[0] === EXTENDED && message[1] === UT_METADATA) this.#answer(socket);
      }
    }
  }

  #greet(socket: Socket): void {
    const name = Buffer.from("\x13BitTorrent protocol", "latin1");
    socket.write(Buffer.concat([name, EXTENSIONS, this.#infoHash, new SystemRandom().bytes(20)]));
    const names = new Map([["ut_metadata", UT_METADATA]]);
    const header = new Map<string, Bencoded>([
      ["m", names],
      ["metadata_size", this.#info.length],
    ]);
    socket.write(extended(0, header));
  }

  #answer(socket: Socket): void {
    this.asked = true;
    const header = new Map([
      ["msg_type", 1],
      ["piece", 0],
      ["total_size", this.#info.length],
    ]);
    socket.write(extended(UT_METADATA, header, this.#info));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
  }
}

/** The first whole message (BEP 3), without its length. */
function first(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length < 4) return undefined;
  const end = 4 + Buffer.from(bytes.subarray(0, 4)).readUInt32BE(0);
  return bytes.length < end ? undefined : bytes.subarray(4, end);
}

function extended(
  id: number,
  header: ReadonlyMap<string, Bencoded>,
  payload: Uint8Array = new Uint8Array(),
): Uint8Array {
  const body = Buffer.concat([Buffer.from([EXTENDED, id]), encodeBencode(header), payload]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}
