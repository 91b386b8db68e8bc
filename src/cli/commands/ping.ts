import type { Command } from "commander";
import { Fault } from "#core";
import { serialise } from "../output.ts";
import { type Cli, type CommonOptions, action, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { examples, formats } from "./options.ts";

type PingOptions = CommonOptions & { count: string };
/** More is a loop of the person's own. */
const MAX_COUNT = 1_000;
const INTERVAL_MS = 500;

/** `ping`. */
export function registerPing(program: Command, cli: Cli): void {
  examples(
    formats(program.command("ping <node>"))
      .description("measure the round trip to a node, over a link or through others")
      .option("-c, --count <n>", "how often", "4")
      .action(action(cli, pingNode)),
    "portolan ping genoa-3",
    "portolan ping genoa-3 -c 1 -o json",
  );
}

async function pingNode(session: Session<PingOptions>, [node = ""]: string[]): Promise<void> {
  const { count: text, output } = session.options;
  const count = Number(text);
  if (!(Number.isInteger(count) && count >= 1 && count <= MAX_COUNT))
    throw new Fault("cli.count", `--count ${text} is not a whole number from 1 to ${MAX_COUNT}`, {
      exit: "invalid",
      fix: "Write --count 4.",
    });
  await session.withDaemon(async (client) => {
    const { clock, signal } = session.io;
    for (let n = 1; n <= count; n++) {
      if (n > 1) await clock.sleep(INTERVAL_MS, signal);
      const pong = await client.call("ping", { node });
      if (output === "json" || output === "yaml") session.print(await serialise(pong, output));
      else if (output === "name") session.print(`node/${pong.name}`);
      else session.print(printable(`${pong.name}: ${pong.rttMs.toFixed(1)} ms ${wayText(pong.via)}`));
    }
  });
}

function wayText(via: readonly string[] | undefined): string {
  if (via === undefined) return "over a circuit that it opened";
  return via.length === 0 ? "over a link" : `via ${via.join(", ")}`;
}
