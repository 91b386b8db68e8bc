import { isIPv4, type Socket } from "node:net";
import { Fault } from "#core";

/**
 * Reads what a connection begins with, up to and including `terminator`; what came after it is put back. The socket is left paused.
 *
 * Throws Fault `demo.head` when the connection ends first or more than `maxBytes` come without a terminator.
 */
export function readHead(socket: Socket, terminator: string, maxBytes: number, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    const settle = (finish: () => void): void => {
      socket.pause();
      socket.off("data", onData).off("end", onEnd).off("close", onEnd);
      signal.removeEventListener("abort", onAbort);
      finish();
    };
    const onEnd = (): void =>
      settle(() => reject(new Fault("demo.head", "the connection ended before its first line did")));
    const onAbort = (): void => settle(() => reject(signal.reason));
    const onData = (piece: Buffer): void => {
      head = Buffer.concat([head, piece]);
      const at = head.indexOf(terminator);
      if (at < 0 && head.length <= maxBytes) return;
      if (at < 0 || at > maxBytes) {
        settle(() => reject(new Fault("demo.head", `no end of the first line within ${maxBytes} bytes`)));
        return;
      }
      const end = at + terminator.length;
      settle(() => {
        if (end < head.length) socket.unshift(head.subarray(end));
        resolve(head.toString("latin1", 0, at));
      });
    };
    socket.on("data", onData).once("end", onEnd).once("close", onEnd);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.resume();
  });
}

/** Where a CONNECT request wants to go (RFC 9110 §9.3.6): only `host:port` with a dotted IPv4 address, and never port 0. */
export function parseConnect(head: string): { host: string; port: number } | undefined {
  const match = /^CONNECT (\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5}) HTTP\/1\.[01](?:\r\n|$)/u.exec(head);
  const [, host = "", portText = ""] = match ?? [];
  const port = Number(portText);
  return isIPv4(host) && port > 0 && port <= 65_535 ? { host, port } : undefined;
}
