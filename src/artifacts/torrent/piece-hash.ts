import { createHash, type Hash } from "node:crypto";

/** Hashes content that comes in any pieces into the SHA-1 hashes of a torrent's pieces (BEP 3). */
export class PieceHash {
  readonly #pieceBytes: number;
  readonly #hashes: Uint8Array[] = [];
  #hash: Hash = createHash("sha1");
  #filledBytes = 0;

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.#pieceBytes - this.#filledBytes);
      this.#hash.update(part);
      this.#filledBytes += part.length;
      at += part.length;
      if (this.#filledBytes === this.#pieceBytes) this.#close();
    }
  }

  /** All hashes, one after the other. Called once, at the end. */
  digest(): Uint8Array {
    if (this.#filledBytes > 0) this.#close();
    return Buffer.concat(this.#hashes);
  }

  #close(): void {
    this.#hashes.push(this.#hash.digest());
    this.#hash = createHash("sha1");
    this.#filledBytes = 0;
  }
}
