import type { Command } from "commander";
import { Fault } from "#core";
import { COMPLETION_SCRIPTS, isShell } from "../completion.ts";
import { serialise } from "../output.ts";
import { type Cli, action } from "../session.ts";
import { examples, formats } from "./options.ts";

/** `completion`, `version`. */
export function registerShell(program: Command, cli: Cli): void {
  examples(
    program
      .command("completion <shell>")
      .description("print a completion script for bash, zsh or fish")
      .action(
        action(cli, (session, [shell = ""]) => {
          if (!isShell(shell)) {
            throw new Fault("cli.shell", `there is no completion for "${shell}"`, {
              exit: "invalid",
              fix: `Shells: ${Object.keys(COMPLETION_SCRIPTS).join(", ")}.`,
            });
          }
          session.print(COMPLETION_SCRIPTS[shell]);
          return Promise.resolve();
        }),
      ),
    "source <(portolan completion bash)",
    "portolan completion fish > ~/.config/fish/completions/portolan.fish",
  );
  examples(
    formats(program.command("version"))
      .description("print the version")
      .action(
        action(cli, async (session) => {
          const version = {
            portolan: cli.deps.version,
            node: process.version,
            platform: process.platform,
            arch: process.arch,
          };
          const { output } = session.options;
          if (output === "json" || output === "yaml") return session.print(await serialise(version, output));
          session.print(`portolan ${version.portolan} (node ${version.node}, ${version.platform} ${version.arch})`);
        }),
      ),
    "portolan version",
  );
}
