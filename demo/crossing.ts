import type { Socket } from "node:net";
import type { Lane, Shaper } from "./shaper.ts";

/** Bytes that one connection has carried, seen from this site. */
export type CrossingBytes = { in: number; out: number };

/**
 * One connection on its way through a link: `near` is the socket to a daemon of the site, `far` the one to the other site's
 * link. Both directions are shaped, half-closes pass on in order, and a socket that breaks takes the other one with it.
 * `onClose` is called once, when both are closed.
 */
export function cross(near: Socket, far: Socket, egress: Shaper, ingress: Shaper, onClose: () => void): CrossingBytes {
  const bytes: CrossingBytes = { in: 0, out: 0 };
  const out = carry(near, far, egress, (count) => (bytes.out += count));
  const back = carry(far, near, ingress, (count) => (bytes.in += count));
  let open = 2;
  const closed = (socket: Socket, other: Socket): void => {
    if (!(socket.readableEnded && socket.writableFinished)) other.destroy();
    open -= 1;
    if (open > 0) return;
    out.drop();
    back.drop();
    onClose();
  };
  near.once("close", () => closed(near, far));
  far.once("close", () => closed(far, near));
  near.on("error", () => far.destroy());
  far.on("error", () => near.destroy());
  near.resume();
  far.resume();
  return bytes;
}

function carry(from: Socket, to: Socket, shaper: Shaper, count: (bytes: number) => void): Lane {
  const lane = shaper.open({
    ready: () => !to.writableNeedDrain,
    write: (bytes) => {
      if (to.writable) to.write(bytes);
    },
    end: () => to.end(),
    room: () => from.resume(),
  });
  from.on("data", (piece: Buffer) => {
    count(piece.length);
    if (!lane.push(piece)) from.pause();
  });
  from.once("end", () => lane.end());
  to.on("drain", () => shaper.wake());
  return lane;
}
