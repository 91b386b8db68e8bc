import { type Command, Option } from "commander";
import { FORMATS, parseFormat } from "../output.ts";

/** Adds `--as` and `--passphrase-file` to a command that signs. */
export function signs(command: Command): Command {
  return command
    .option("--as <keyfile>", "sign with this key (default: the context's)")
    .option("--passphrase-file <file>", "read the key's passphrase from the first line of this file");
}

/** Adds `-o FORMAT`. */
export function formats(command: Command): Command {
  const option = new Option("-o, --output <format>", `one of ${FORMATS.join(", ")}`).argParser(parseFormat);
  option.argChoices = [...FORMATS]; // for completion; the parser above gives the better error
  return command.addOption(option);
}

/** Ends a command's help with examples. */
export function examples(command: Command, ...lines: string[]): Command {
  return command.addHelpText(
    "after",
    `\n${lines.length > 1 ? "Examples" : "Example"}:\n${lines.map((l) => `  $ ${l}\n`).join("")}`,
  );
}
