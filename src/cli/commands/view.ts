import type { Command } from "commander";
import { Fault } from "#core";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { examples } from "./options.ts";

type ViewOptions = CommonOptions & { port: string; open: boolean };

/** `view`. */
export function registerView(program: Command, cli: Cli): void {
  examples(
    program
      .command("view")
      .description("show the fleet on a live page in the browser, until stopped with Ctrl-C")
      .option("--port <number>", "serve it on this port of 127.0.0.1; 0 takes a free one", "0")
      .option("--no-open", "print the address only; no browser is opened where the output is no terminal either")
      .action(action<ViewOptions>(cli, view)),
    "portolan view",
    "portolan view --port 8181 --no-open",
  );
}

async function view(session: Session<ViewOptions>): Promise<void> {
  const { port, open } = session.options;
  const { clock, random, signal, stdout } = session.io;
  const wanted = toPort(port);
  await session.withDaemon(async (client) => {
    await client.call("status", {}); // where none runs, say so before anything is served
    const { openInBrowser, startView } = await import("#view");
    await using page = await startView({ client, clock, random }, wanted);
    session.print(page.url);
    using opened = new DisposableStack();
    if (open && stdout.isTTY === true) opened.use(openInBrowser(page.url));
    await new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      if (signal.aborted) reject(signal.reason);
    });
  });
}

/** Throws Fault `cli.port` (exit `invalid`). */
function toPort(text: string): number {
  if (/^\d{1,5}$/u.test(text) && Number(text) <= 65_535) return Number(text);
  throw new Fault("cli.port", `--port ${text} is not a port`, {
    exit: "invalid",
    fix: "Write a number from 0 to 65535.",
  });
}
