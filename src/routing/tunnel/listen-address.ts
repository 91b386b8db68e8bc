import { Fault } from "#core";

/** An IP address of this machine and a port; 0 is a free one. */
export type ListenAddress = { host: string; port: number };

/** What to tell who asked to listen there. Fault `routing.port-in-use` (exit `conflict`) or `routing.listen` (exit `invalid`). */
export function noListen({ host, port }: ListenAddress, cause: NodeJS.ErrnoException): Fault {
  const where = `${host} port ${port}`;
  if (cause.code === "EADDRINUSE") {
    return new Fault("routing.port-in-use", `${where} is in use`, {
      exit: "conflict",
      fix: "Choose another port, or 0 for a free one: --listen 127.0.0.1:0.",
      cause,
    });
  }
  if (cause.code === "EACCES") {
    return new Fault("routing.listen", `the daemon may not listen at ${where}`, {
      exit: "denied",
      fix: "Choose a port above 1023.",
      cause,
    });
  }
  return new Fault("routing.listen", `nothing can listen at ${where}: ${cause.message}`, {
    exit: "invalid",
    fix: "Choose an IP address of this machine.",
    cause,
  });
}
