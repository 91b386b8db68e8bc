import { Command } from "commander";
import { registerAdmit } from "./commands/admit.ts";
import { registerArtifacts } from "./commands/artifacts.ts";
import { registerConnect } from "./commands/connect.ts";
import { registerContext } from "./commands/context.ts";
import { registerExplain } from "./commands/explain.ts";
import { registerDns } from "./commands/dns.ts";
import { registerFleet } from "./commands/fleet.ts";
import { registerKeys } from "./commands/keys.ts";
import { registerLimits } from "./commands/limits.ts";
import { registerNode } from "./commands/node.ts";
import { examples } from "./commands/options.ts";
import { registerPasses } from "./commands/passes.ts";
import { registerResources } from "./commands/resources.ts";
import { registerPing } from "./commands/ping.ts";
import { registerRoutes } from "./commands/routes.ts";
import { registerServices } from "./commands/services.ts";
import { registerStore } from "./commands/store.ts";
import { registerTorrents } from "./commands/torrents.ts";
import { registerShell } from "./commands/shell.ts";
import { registerSign } from "./commands/sign.ts";
import { registerView } from "./commands/view.ts";
import { lineChars } from "./output.ts";
import type { Cli } from "./session.ts";

/** The command line, whole. Building it loads nothing but commander: what a command needs, its action loads. */
export function createProgram(cli: Cli): Command {
  const { stdout } = cli.io;
  const program = new Command("portolan")
    .description("One daemon per edge node: nodes join from a token, large files reach all of them.")
    .option("--data <dir>", "data directory of the node (default: $PORTOLAN_DATA, the current context's)")
    .option("--context <name>", "use this context instead of the current one")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: () => undefined, // errors are thrown, and written in one place
      getOutHelpWidth: () => Math.min(lineChars(stdout), 100),
    })
    .configureHelp({ showGlobalOptions: true });
  for (const [group, register] of GROUPS) {
    program.commandsGroup(`${group}:`);
    register(program, cli);
  }
  for (const command of [program, ...program.commands]) command.helpCommand(false); // --help is enough
  examples(program, "portolan fleet create try --demo", "portolan up", "portolan COMMAND --help");
  return program;
}

const GROUPS: readonly [string, (program: Command, cli: Cli) => void][] = [
  ["This node", registerNode],
  ["This node", registerLimits],
  ["Fleet and keys", registerFleet],
  ["Keys", registerKeys],
  ["Signatures", registerSign],
  ["Admission", registerAdmit],
  ["Admission", registerPasses],
  ["What there is", registerResources],
  ["What there is", registerRoutes],
  ["What there is", registerExplain],
  ["What there is", registerPing],
  ["What there is", registerView],
  ["Services", registerServices],
  ["Artifacts", registerArtifacts],
  ["Artifacts", registerStore],
  ["Artifacts", registerTorrents],
  ["Services", registerConnect],
  ["Services", registerDns],
  ["Contexts", registerContext],
  ["Shell", registerShell],
];
