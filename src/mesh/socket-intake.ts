import type { Socket } from "node:net";

/** Where the next bytes of a socket go; given how many came to the place named before (0 at first). */
export type NextPlace = (bytesRead: number) => Uint8Array;

/** What Node keeps of `onread` in a socket (lib/net.js): the place, the function that names the next, and the one that is told of bytes. */
const FIELDS = ["kBuffer", "kBufferGen", "kBufferCb"] as const;

/**
 * Has a socket put what it reads where `next` says, without a stream in between: the option `onread` of `net.connect`. Node does not take
 * that option for a TLS socket around another socket, though all that it does is there, so it is set up here as Node's constructor does.
 *
 * False when this Node works another way: then `data` events go on telling of all bytes. What was read before still comes as `data`.
 */
export function readInto(socket: Socket, next: NextPlace): boolean {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null) return false;
  const useUserBuffer: unknown = Reflect.get(handle, "useUserBuffer");
  const symbols = Object.getOwnPropertySymbols(socket);
  const fields = FIELDS.map((name) => symbols.find(({ description }) => description === name));
  const [place, generator, callback] = fields;
  if (typeof useUserBuffer !== "function" || !place || !generator || !callback) return false;
  let here = next(0);
  Reflect.set(socket, place, here); // also keeps it from being collected: the handle only has its address
  Reflect.set(socket, generator, () => here);
  Reflect.set(socket, callback, (bytesRead: number) => {
    here = next(bytesRead);
    return true;
  });
  useUserBuffer.call(handle, here);
  return true;
}
