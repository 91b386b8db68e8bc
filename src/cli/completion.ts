import type { Command, Option } from "commander";
import { readContexts } from "./contexts.ts";
import { KIND_NAMES, kindNamed } from "./kind-names.ts";
import { type Cli, Session } from "./session.ts";

/** A daemon that does not answer at once must not hold up somebody who presses Tab. */
const LIVE_NAMES_MS = 1_000;
/** Candidates at once; a shell asks before it shows more. */
const MAX_CANDIDATES = 500;

/** Each calls `portolan __complete WORDS…`; where that finds nothing, the shell offers file names. */
export const COMPLETION_SCRIPTS = {
  bash: `_portolan() {
  local line="\${COMP_LINE:0:COMP_POINT}" words current
  read -ra words <<< "$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  current="\${words[\${#words[@]}-1]}"
  local IFS=$'\\n'
  COMPREPLY=($("\${words[0]}" __complete "\${words[@]:1}" 2>/dev/null))
  # bash starts a new word at a colon: offer what follows the last one
  if [[ "$current" == *:* ]]; then COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*:}"}"}"); fi
}
complete -o default -F _portolan portolan`,
  zsh: `#compdef portolan
_portolan() {
  local -a found
  found=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[1]}" ]]; then compadd -- "\${found[@]}"; else _files; fi
}
if [[ "\${funcstack[1]}" == _portolan ]]; then _portolan; else compdef _portolan portolan; fi`,
  fish: `function __portolan_complete
  set -l words (commandline -opc) (commandline -ct)
  $words[1] __complete $words[2..-1] 2>/dev/null
end
function __portolan_words
  set -l found (__portolan_complete)
  if test -n "$found"; printf '%s\\n' $found; else; __fish_complete_path (commandline -ct); end
end
complete -c portolan -f -a '(__portolan_words)'`,
} as const;

/** Whether there is a script for this shell. */
export function isShell(text: string): text is keyof typeof COMPLETION_SCRIPTS {
  return Object.hasOwn(COMPLETION_SCRIPTS, text);
}

/** What may stand where the last word is: verbs, options, kinds, and the names that the daemon knows just now. */
export async function complete(program: Command, cli: Cli, words: readonly string[]): Promise<string[]> {
  const current = words.at(-1) ?? "";
  const { command, operands, pending, flags } = walk(program, words.slice(0, -1));
  const found = await candidates(cli, command, operands, pending, flags, current);
  return found.filter((word) => word.startsWith(current)).slice(0, MAX_CANDIDATES);
}

type Walk = { command: Command; operands: string[]; pending: Option | undefined; flags: Record<string, string> };

/** Follows the words before the last: which command they lead to, and whether an option waits for its value. */
function walk(program: Command, words: readonly string[]): Walk {
  const at: Walk = { command: program, operands: [], pending: undefined, flags: {} };
  for (const word of words) {
    if (at.pending !== undefined) {
      at.flags[at.pending.attributeName()] = word;
      at.pending = undefined;
    } else if (word.startsWith("-")) {
      at.pending = optionsOf(at.command).find(
        (option) => (option.long === word || option.short === word) && option.required,
      );
    } else {
      const next = at.command.commands.find((command) => command.name() === word);
      if (next === undefined) at.operands.push(word);
      else at.command = next;
    }
  }
  return at;
}

async function candidates(
  cli: Cli,
  command: Command,
  operands: readonly string[],
  pending: Option | undefined,
  flags: Record<string, string>,
  current: string,
): Promise<string[]> {
  if (pending?.argChoices !== undefined) return [...pending.argChoices];
  if (pending?.attributeName() === "context") return Object.keys(readContexts(cli.io.env).contexts);
  if (pending !== undefined) return []; // a file, or something only the user knows
  if (current.startsWith("-")) return optionsOf(command).map(({ long, short }) => long ?? short ?? "");
  if (command.commands.length > 0)
    return command
      .createHelp()
      .visibleCommands(command)
      .map((sub) => sub.name());
  switch (command.registeredArguments[operands.length]?.name()) {
    case "kind":
      return KIND_NAMES.map(({ plural }) => plural);
    case "name":
      return await liveNames(cli, flags, operands[0] ?? "");
    case "node":
      return await liveNames(cli, flags, "nodes");
    case "service":
      return await liveNames(cli, flags, "services");
    case "node|service":
      return (await Promise.all(["nodes", "services"].map((word) => liveNames(cli, flags, word)))).flat();
    case "artifact":
      return await liveNames(cli, flags, "artifacts");
    case "pending":
      return await liveNames(cli, flags, "pending");
    case "context":
      return Object.keys(readContexts(cli.io.env).contexts);
    case "shell":
      return Object.keys(COMPLETION_SCRIPTS);
    default:
      return [];
  }
}

/** Names from the daemon; none if it does not answer, because completion has no way to say why. */
async function liveNames(cli: Cli, flags: Record<string, string>, word: string): Promise<string[]> {
  try {
    const { resource, document } = kindNamed(word);
    const client = await new Session(cli, flags).client();
    const selector = resource === "documents" && document !== undefined ? `kind=${document}` : "";
    const { items } = await client.call(`${resource}.list`, { selector }, { timeoutMs: LIVE_NAMES_MS });
    return items.map((item) => (document !== undefined && "documentName" in item ? item.documentName : item.name));
  } catch {
    return [];
  }
}

function optionsOf(command: Command): Option[] {
  const own = command.createHelp().visibleOptions(command);
  return [...own, ...(command.parent === null ? [] : optionsOf(command.parent))];
}
