import { createServer, type Server } from "node:http";
import { collectDefaultMetrics, Registry } from "prom-client";
import { errorMessage, Fault } from "#core";

/** A registry with the process's own figures (CPU, memory, event loop, collector), each named `portolan_…`. */
export function createMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "portolan_" });
  return registry;
}

/** A running metrics endpoint. Disposing of it closes its port and its connections. */
export interface MetricsServer extends AsyncDisposable {
  /** The port that was bound; another than asked for when that was 0. */
  readonly port: number;
}

/**
 * Serves `GET /metrics` over TCP for a collector on this machine or network, and nothing else.
 *
 * Throws Fault `daemon.metrics` when the address cannot be bound.
 */
export async function startMetricsServer(
  registry: Registry,
  options: { host: string; port: number },
): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url !== "/metrics") {
      response.writeHead(404).end("only GET /metrics\n");
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
      (error: unknown) => response.writeHead(500).end(`${errorMessage(error)}\n`),
    );
  });
  server.maxConnections = 16; // a collector or two; each scrape is one connection
  await listen(server, options);
  return {
    port: portOf(server),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new Fault("daemon.metrics", `cannot serve metrics on ${host}:${port}: ${cause.message}`, {
          exit: "conflict",
          fix: "choose another --metrics address, or leave it out",
          cause,
        }),
      ),
    );
    server.listen(port, host, resolve);
  });
}
