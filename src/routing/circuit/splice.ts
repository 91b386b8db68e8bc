import { asError, type ByteStream, Fault } from "#core";

/** A circuit puts so much on a link at a time: where that is full, the others over it have their turn next, whatever one has waiting. */
const TURN_BYTES = 64 * 1024;

/** Passes everything from each of two streams to the other. `over` is called once, with what ended it if that was no good end. */
export function splice(
  a: ByteStream,
  b: ByteStream,
  over: (error: Error | undefined) => void,
  passed: (bytes: number) => void,
): void {
  let open = 2;
  let isOver = false;
  const end = (error: Error | undefined): void => {
    open -= 1;
    if (isOver || (error === undefined && open > 0)) return;
    isOver = true;
    if (error !== undefined) {
      const reason = new Fault("routing.splice", `the other half of the circuit ended: ${error.message}`);
      a.abort(reason);
      b.abort(reason);
    }
    over(error);
  };
  pass(a, b, end, passed);
  pass(b, a, end, passed);
}

/** Passes everything on, uncopied, and no faster than it is taken, in pieces of what one turn of the event loop brings. `end` may be called more than once. */
export function pass(
  from: ByteStream,
  to: ByteStream,
  end: (error: Error | undefined) => void,
  passed: (bytes: number) => void = () => undefined,
): void {
  let pieces: Uint8Array[] = [];
  let bytes = 0;
  const flush = (): void => {
    const batch = pieces;
    [pieces, bytes] = [[], 0];
    try {
      if (batch.length === 0 || to.send(...batch)) return;
    } catch (error) {
      end(asError(error));
      return;
    }
    from.pause();
    to.drained().then(
      () => from.resume(),
      (error: unknown) => end(asError(error)),
    );
  };
  from.listen({
    data: (piece) => {
      if (pieces.length === 0) queueMicrotask(flush);
      pieces.push(piece);
      bytes += piece.length;
      passed(piece.length);
      if (bytes >= TURN_BYTES) flush();
    },
    end: (error) => {
      flush();
      if (error === undefined) to.close();
      end(error);
    },
  });
}
