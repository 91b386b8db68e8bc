import { mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { errorMessage, Fault } from "#core";

/** A named data directory, and the key that signs there unless `--as` says otherwise. */
export type Context = { data: string; key?: string };
/** The saved contexts and the name of the current one. */
export type Contexts = { current?: string; contexts: Record<string, Context> };

/** Contexts in one file; a person has a handful, a script that makes fleets forgets them. */
export const MAX_CONTEXTS = 1_000;

type Env = Readonly<Record<string, string | undefined>>;

/** `$XDG_CONFIG_HOME/portolan/contexts.json` (XDG base directory specification). */
export function contextsPath(env: Env): string {
  const config = env["XDG_CONFIG_HOME"];
  return join(config === undefined || config === "" ? join(homedir(), ".config") : config, "portolan", "contexts.json");
}

/** The saved contexts; none when there is no file. Throws Fault `cli.contexts` (exit `invalid`) for a file that is none of ours. */
export function readContexts(env: Env): Contexts {
  const path = contextsPath(env);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return { contexts: {} };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isContexts(value)) return value;
  throw new Fault("cli.contexts", `${path} is not a list of contexts`, {
    exit: "invalid",
    fix: `Repair or remove it: ${path}.`,
  });
}

/** Writes the file anew. Throws Fault `cli.contexts` when it cannot. */
export async function writeContexts(env: Env, contexts: Contexts): Promise<void> {
  const path = contextsPath(env);
  try {
    const { writeDurably } = await import("#identity");
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeDurably(path, Buffer.from(`${JSON.stringify(contexts, undefined, 2)}\n`), 0o600);
  } catch (cause) {
    throw new Fault("cli.contexts", `cannot write ${path}: ${errorMessage(cause)}`, { cause });
  }
}

/**
 * The contexts with one more for a data directory that has none yet; the same object when it has one. When there are too many,
 * those go whose directory is gone. Throws Fault `cli.contexts` when all of them are there.
 */
export function withContext(
  all: Contexts,
  { data, key, name: wanted }: Context & { name: string | undefined },
  isThere: (data: string) => boolean,
): Contexts {
  const known = Object.entries(all.contexts).find(([, context]) => context.data === data);
  if (known !== undefined && wanted === undefined) return all;
  const kept = known === undefined ? withRoom(all, isThere) : all;
  const name = known?.[0] ?? freeName(kept, wanted ?? basename(data));
  const context: Context = { ...known?.[1], data, ...(key === undefined ? {} : { key }) };
  const current = wanted === undefined ? (kept.current ?? name) : name;
  return { current, contexts: { ...kept.contexts, [name]: context } };
}

function withRoom(all: Contexts, isThere: (data: string) => boolean): Contexts {
  if (Object.keys(all.contexts).length < MAX_CONTEXTS) return all;
  const contexts = Object.fromEntries(Object.entries(all.contexts).filter(([, { data }]) => isThere(data)));
  if (Object.keys(contexts).length >= MAX_CONTEXTS) {
    throw new Fault("cli.contexts", `there are ${MAX_CONTEXTS} contexts already`, { exit: "conflict" });
  }
  const { current } = all;
  return current !== undefined && Object.hasOwn(contexts, current) ? { current, contexts } : { contexts };
}

function freeName(all: Contexts, wanted: string): string {
  let name = wanted;
  for (let n = 2; Object.hasOwn(all.contexts, name); n++) name = `${wanted}-${n}`;
  return name;
}

/** The context by name, or the current one. Throws Fault `cli.no-context` (exit `missing`) for a name that is none. */
export function findContext(all: Contexts, name: string | undefined): Context | undefined {
  const wanted = name ?? all.current;
  if (wanted !== undefined && Object.hasOwn(all.contexts, wanted)) return all.contexts[wanted];
  if (name === undefined) return undefined;
  throw new Fault("cli.no-context", `there is no context "${name}"`, {
    exit: "missing",
    fix: "See them: portolan context list",
  });
}

/** The data directory that a command means: `--data`, `--context`, `$PORTOLAN_DATA`, the current context, the default. */
export function chooseDataDir(env: Env, flags: { data?: string; context?: string }): { data: string; key?: string } {
  const all = readContexts(env);
  const named = flags.context === undefined ? undefined : findContext(all, flags.context);
  const fromEnv = env["PORTOLAN_DATA"] === "" ? undefined : env["PORTOLAN_DATA"];
  const data = flags.data ?? named?.data ?? fromEnv ?? findContext(all, undefined)?.data;
  if (data === undefined) return { data: defaultDataDir(env) };
  const path = resolve(data);
  const key = Object.values(all.contexts).find((context) => context.data === path)?.key;
  return key === undefined ? { data: path } : { data: path, key };
}

function defaultDataDir(env: Env): string {
  const share = env["XDG_DATA_HOME"];
  return join(share === undefined || share === "" ? join(homedir(), ".local", "share") : share, "portolan");
}

function isContexts(value: unknown): value is Contexts {
  if (typeof value !== "object" || value === null || !("contexts" in value)) return false;
  const { contexts } = value;
  if (typeof contexts !== "object" || contexts === null) return false;
  return Object.values(contexts).every(
    (context: unknown) =>
      typeof context === "object" && context !== null && "data" in context && typeof context.data === "string",
  );
}
