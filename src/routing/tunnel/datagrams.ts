/** Length of a datagram, before it in the stream; 16 bits hold any that UDP carries. */
const PREFIX_BYTES = 2;

/** The pieces of one datagram, ready for `ByteStream.send`. */
export function encodeDatagram(datagram: Uint8Array): Uint8Array[] {
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES);
  prefix.writeUInt16BE(datagram.length);
  return [prefix, datagram];
}

/** Cuts a stream into datagrams, whatever the pieces it arrives in. Holds at most one. */
export class DatagramReader {
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  /** Adds a piece and hands over every datagram that it completes, in order. */
  push(piece: Uint8Array, onDatagram: (datagram: Uint8Array) => void): void {
    this.#held.push(piece);
    this.#heldBytes += piece.length;
    if (this.#heldBytes < this.#wantedBytes) return;
    const bytes =
      this.#held.length === 1 ? Buffer.from(piece.buffer, piece.byteOffset, piece.length) : Buffer.concat(this.#held);
    let at = 0;
    for (;;) {
      const left = bytes.length - at;
      this.#wantedBytes = left < PREFIX_BYTES ? PREFIX_BYTES : PREFIX_BYTES + bytes.readUInt16BE(at);
      if (left < this.#wantedBytes) break;
      onDatagram(bytes.subarray(at + PREFIX_BYTES, at + this.#wantedBytes));
      at += this.#wantedBytes;
    }
    this.#held = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#heldBytes = bytes.length - at;
  }

  /** Of the prefix, or of the whole datagram once that is known. */
  #wantedBytes = PREFIX_BYTES;
}
