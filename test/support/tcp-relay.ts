import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A link in the middle of a TCP connection, and of the datagrams beside it, that a test can cut or stop. */
export class TcpRelay implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #datagrams = new Set<UdpSocket>();
  /** Bytes that went through, both ways. */
  bytes = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** A port on loopback that leads to `port`. */
  static async to(port: number): Promise<TcpRelay> {
    const server = createServer();
    const relay = new TcpRelay(server);
    server.on("connection", (near) => relay.join(near, connect(port, "127.0.0.1")));
    await relay.#listen();
    return relay;
  }

  /** The same for UDP on the relay's port number. */
  async carryDatagramsTo(port: number): Promise<void> {
    const near = createSocket("udp4");
    this.#datagrams.add(near);
    const fars = new Map<number, UdpSocket>();
    near.on("message", (bytes, { port: from }) => {
      const far = fars.get(from) ?? createSocket("udp4");
      if (!fars.has(from)) far.on("message", (answer) => near.send(answer, from, "127.0.0.1"));
      fars.set(from, far);
      this.#datagrams.add(far);
      far.send(bytes, port, "127.0.0.1");
    });
    near.bind(this.port, "127.0.0.1");
    await once(near, "listening");
  }

  /** An HTTP CONNECT proxy on loopback; `refuse`: it answers 403 to everything. */
  static async proxy(refuse = false): Promise<TcpRelay> {
    const server = createHttpServer();
    const relay = new TcpRelay(server);
    server.on("connect", (request, near: Socket) => {
      if (refuse) return void near.end("HTTP/1.1 403 Forbidden\r\n\r\n");
      const [host, port] = (request.url ?? "").split(":");
      const far = connect(Number(port), host);
      far.once("connect", () => {
        near.write("HTTP/1.1 200 Connection established\r\n\r\n");
        relay.join(near, far);
      });
    });
    await relay.#listen();
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The address of a node with the relay's port in it. */
  address(of: string): string {
    return of.replace(/tcp\/\d+/u, `tcp/${this.port}`);
  }

  join(near: Socket, far: Socket): void {
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
      from.on("data", (bytes: Buffer) => {
        this.bytes += bytes.length;
        if (!to.write(bytes)) from.pause();
      });
      to.on("drain", () => from.resume());
    }
  }

  /** Resets every connection, as a crash of the path would. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
  }

  /** Nothing goes through any more, and nobody is told. */
  freeze(): void {
    this.freezeTcp();
    this.dropDatagrams();
  }

  /** Only datagrams go on. */
  freezeTcp(): void {
    for (const socket of this.#sockets) {
      socket.removeAllListeners("data");
      socket.removeAllListeners("drain");
      socket.pause();
    }
  }

  /** Only TCP goes on. */
  dropDatagrams(): void {
    for (const socket of this.#datagrams) socket.removeAllListeners("message");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    for (const socket of this.#datagrams) socket.close();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #listen(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }
}
