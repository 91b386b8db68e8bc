import { connect, createServer, type Server } from "node:net";
import { type Clock, Fault, parseJson, withDeadline } from "#core";
import { type Link, listening } from "./link.ts";
import { LinkStats, linkSocket } from "./link-contract.ts";
import { readHead } from "./socket-head.ts";

/** What a link can be told: one such word and a line feed on its control socket; the answer is one line of JSON, its counters. */
export type LinkCommand = "stats" | "cut" | "mend" | "kill";

const MAX_COMMAND_BYTES = 64;
const MAX_ANSWER_BYTES = 1024 * 1024;
/** For one command and its answer; both ends are on this machine. */
const CONTROL_DEADLINE_MS = 5_000;

/** Serves the control socket of `link`, one command per connection. */
export async function serveControl(clock: Clock, link: Link, dir: string, site: number): Promise<Server> {
  const commands = new Map<string, () => void>([
    ["stats", () => undefined],
    ["cut", () => link.cut()],
    ["mend", () => link.mend()],
    ["kill", () => link.kill()],
  ] satisfies [LinkCommand, () => void][]);
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on("error", () => undefined);
    const work = withDeadline(clock, CONTROL_DEADLINE_MS, "a control command", async (signal) => {
      const word = await readHead(socket, "\n", MAX_COMMAND_BYTES, signal);
      const command = commands.get(word);
      if (command === undefined) throw new Fault("demo.link-command", `no such command: ${word}`);
      command();
      socket.end(`${JSON.stringify(link.stats())}\n`);
    });
    work.catch(() => socket.destroy());
  });
  await listening(server, { path: linkSocket(dir, site, "control") });
  return server;
}

/** Gives a command to a running link and returns what it has counted. Throws Fault `demo.link-control` when it does not answer. */
export async function controlLink(clock: Clock, dir: string, site: number, command: LinkCommand): Promise<LinkStats> {
  const socket = connect({ path: linkSocket(dir, site, "control"), allowHalfOpen: true });
  const failed = new Promise<never>((_, reject) => {
    socket.once("error", (cause) => {
      reject(new Fault("demo.link-control", `the WAN link of site ${site} does not answer`, { cause }));
    });
  });
  const ask = withDeadline(clock, CONTROL_DEADLINE_MS, `asking the WAN link of site ${site}`, async (signal) => {
    socket.write(`${command}\n`);
    const answer = await Promise.race([readHead(socket, "\n", MAX_ANSWER_BYTES, signal), failed]);
    return LinkStats.parse(parseJson(Buffer.from(answer, "latin1"), MAX_ANSWER_BYTES));
  });
  return ask.finally(() => socket.destroy());
}
