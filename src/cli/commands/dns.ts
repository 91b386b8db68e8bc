import { execFile } from "node:child_process";
import { lookup, Resolver } from "node:dns/promises";
import { resolve } from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import { errorMessage, Fault, withDeadline } from "#core";
import { toListenAddress } from "../listen-option.ts";
import { describe, serialise } from "../output.ts";
import type { NameServer, ResolverSetup } from "../resolver-setup.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { examples, formats } from "./options.ts";

/** A name that every node knows: its DNS server's own. */
const SERVER_NAME = "dns.mesh";
/** One answer; a resolver that asks others first gives up by then, too. */
const ANSWER_MS = 5_000;
/** A resolver that is told to read its files again is back well within this. */
const RELOAD_MS = 30_000;

type DnsOptions = CommonOptions & { root: string; server?: string };

/** `dns install`, `dns status`, `dns uninstall`. */
export function registerDns(program: Command, cli: Cli): void {
  const dns = program
    .command("dns")
    .description("have this machine's programs find services as NAME.TENANT.mesh or NAME.SITE.mesh");
  examples(dns, "portolan dns install", "portolan dns status");
  const withRoot = (command: Command): Command =>
    command.option("--root <dir>", "set up the image of a machine in this directory", "/");
  examples(
    withRoot(dns.command("install"))
      .description(
        "have systemd-resolved, dnsmasq or resolv.conf ask this node for names that end in .mesh; needs root",
      )
      .option("--server <host:port>", "where names are answered (default: what the daemon says)")
      .action(action<DnsOptions>(cli, install)),
    "portolan dns install",
    "portolan dns install --root /mnt/image --server 127.77.0.1:53",
  );
  examples(
    withRoot(formats(dns.command("status")))
      .description("show which way is set up, and try whether it works; exit code 6 when it does not")
      .action(action<DnsOptions>(cli, status)),
    "portolan dns status",
  );
  examples(
    withRoot(dns.command("uninstall"))
      .description("put things back as they were before dns install; needs root")
      .action(action<DnsOptions>(cli, uninstall)),
    "portolan dns uninstall",
  );
}

async function install(session: Session<DnsOptions>): Promise<void> {
  const { server: typed } = session.options;
  const root = writableRoot(session);
  const server = typed === undefined ? await daemonServer(session) : toListenAddress("--server", typed);
  if (server === undefined) {
    throw new Fault("cli.no-names", "the daemon answers no names", {
      exit: "offline",
      fix: "Its log says why; `portolan up --names HOST:PORT` says where it should.",
    });
  }
  const { findResolver } = await import("../resolver-setup.ts");
  const setup = findResolver(root);
  const outcome = setup.install(server);
  await reload(session, root, setup); // also when nothing changed: the last time may have failed just there
  const what = `${setup.kind} asks ${textOf(server)} for names that end in .mesh`;
  session.say(outcome === "done" ? `${what}: ${setup.file}` : `${what} already`);
}

async function uninstall(session: Session<DnsOptions>): Promise<void> {
  const root = writableRoot(session);
  const { findResolver } = await import("../resolver-setup.ts");
  const setup = findResolver(root);
  const outcome = setup.uninstall();
  if (outcome === "done") await reload(session, root, setup);
  session.say(outcome === "done" ? `${setup.kind} is as it was before` : "there is nothing to undo");
}

async function status(session: Session<DnsOptions>): Promise<number> {
  const { root, output } = session.options;
  const { findResolver } = await import("../resolver-setup.ts");
  const setup = findResolver(resolve(root));
  const installed = setup.installed();
  const daemon = await daemonServer(session).catch(errorMessage);
  const server = installed ?? (typeof daemon === "string" ? undefined : daemon);
  const answered = server === undefined ? "nothing to ask" : await answerOf(session, () => askServer(server));
  const isHere = resolve(root) === "/";
  const system = isHere ? await answerOf(session, () => askSystem()) : "not tried: another root";
  const view = {
    way: installed === undefined ? `none (${setup.kind} is what there is)` : setup.kind,
    ...(installed === undefined ? {} : { file: setup.file, asks: textOf(installed) }),
    daemon: typeof daemon === "string" ? daemon : daemon === undefined ? "answers no names" : textOf(daemon),
    server: answered,
    system,
  };
  session.print(output === "json" || output === "yaml" ? await serialise(view, output) : describe(view));
  const works = installed !== undefined && answered === ANSWERS && (!isHere || system === ANSWERS);
  return works ? 0 : 6;
}

const ANSWERS = "answers";

async function answerOf({ io }: Session<DnsOptions>, ask: () => Promise<unknown>): Promise<string> {
  try {
    await withDeadline(io.clock, ANSWER_MS, "a question", ask, io.signal);
    return ANSWERS;
  } catch (error) {
    return `no answer: ${errorMessage(error)}`;
  }
}

function askServer(server: NameServer): Promise<unknown> {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: 1 });
  resolver.setServers([textOf(server)]);
  return resolver.resolve4(SERVER_NAME);
}

/** As any program of this machine asks. */
function askSystem(): Promise<unknown> {
  return lookup(SERVER_NAME, { family: 4 });
}

async function daemonServer(session: Session<DnsOptions>): Promise<NameServer | undefined> {
  return await session.withDaemon(async (client) => (await client.call("names", {})).server);
}

function textOf({ host, port }: NameServer): string {
  return `${host}:${port}`;
}

/** Throws Fault `cli.not-root` (exit `denied`). */
function writableRoot({ options }: Session<DnsOptions>): string {
  const root = resolve(options.root);
  if (root !== "/" || process.geteuid?.() === 0) return root;
  throw new Fault("cli.not-root", "only root may change how this machine finds names", {
    exit: "denied",
    fix: "Do it with sudo; give --data DIR of the node, too, or --server HOST:PORT.",
  });
}

/** Has the resolver of this machine read what was written; that of an image reads it when it starts. */
async function reload({ io }: Session<DnsOptions>, root: string, setup: ResolverSetup): Promise<void> {
  const [command, ...words] = setup.reload ?? [];
  if (root !== "/" || command === undefined) return;
  try {
    const run = (signal: AbortSignal) => promisify(execFile)(command, words, { signal });
    await withDeadline(io.clock, RELOAD_MS, command, run, io.signal);
  } catch (cause) {
    throw new Fault(
      "cli.resolver-reload",
      `${setup.file} is changed, but ${setup.kind} has not read it: ${errorMessage(cause)}`,
      {
        fix: `Have it do so: ${setup.reload?.join(" ")}`,
        cause,
      },
    );
  }
}
