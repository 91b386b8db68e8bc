import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import { type Clock, errorMessage, withDeadline } from "#core";
import type { MayExpose } from "../service/expose.ts";
import type { Target } from "../service/target.ts";
import { addressesOf, DIAL_MS } from "./dial-target.ts";
import { NoTarget } from "./tunnel-wire.ts";

/** A socket that sends to the first allowed address of a target, and hears only what comes from there. Throws NoTarget. */
export async function dialDatagrams(
  clock: Clock,
  target: Target,
  mayExpose: MayExpose,
  signal: AbortSignal,
): Promise<Socket> {
  const find = (inner: AbortSignal): Promise<string[]> => addressesOf(target, mayExpose, inner);
  const [ip = ""] = await withDeadline(clock, DIAL_MS, "finding the target", find, signal);
  const socket = createSocket(isIPv6(ip) ? "udp6" : "udp4");
  try {
    const connected = once(socket, "connect");
    socket.connect(target.port, ip);
    await connected;
  } catch (error) {
    socket.close();
    throw new NoTarget("unreachable", errorMessage(error));
  }
  socket.on("error", () => undefined); // nobody listens there just now, which datagrams do not promise
  return socket;
}
