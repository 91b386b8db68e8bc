/** What was sent and may have to be sent again, by its offset. Keeps pieces uncopied. */
export class ReplayBuffer {
  #pieces: Uint8Array[] = [];
  #from = 0;
  #until = 0;

  /** Offset of the first byte that is kept. */
  get from(): number {
    return this.#from;
  }
  /** Offset behind the last byte. */
  get until(): number {
    return this.#until;
  }

  push(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) {
      this.#pieces.push(piece);
      this.#until += piece.length;
    }
  }

  /** Forgets what is before the offset, which must be between `from` and `until`. */
  drop(offset: number): void {
    let whole = 0;
    let left = offset - this.#from;
    for (const piece of this.#pieces) {
      if (piece.length > left) break;
      whole += 1;
      left -= piece.length;
    }
    this.#pieces.splice(0, whole);
    const first = this.#pieces[0];
    if (left > 0 && first !== undefined) this.#pieces[0] = first.subarray(left);
    this.#from = offset;
  }

  /** All that is kept, in parts of at most so many bytes. */
  *parts(maxBytes: number): Generator<Uint8Array[]> {
    yield* inParts(this.#pieces, maxBytes);
  }
}

/** Pieces in parts of at most so many bytes, in order, uncopied. */
export function* inParts(pieces: Iterable<Uint8Array>, maxBytes: number): Generator<Uint8Array[]> {
  let part: Uint8Array[] = [];
  let left = maxBytes;
  for (let piece of pieces) {
    while (piece.length > 0) {
      const taken = piece.subarray(0, left);
      part.push(taken);
      left -= taken.length;
      piece = piece.subarray(taken.length);
      if (left > 0) continue;
      yield part;
      [part, left] = [[], maxBytes];
    }
  }
  if (part.length > 0) yield part;
}
