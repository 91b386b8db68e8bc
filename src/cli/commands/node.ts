import type { Command } from "commander";
import { Option } from "commander";
import type { Finding, Status } from "#api";
import type { Io, UpRequest } from "../io.ts";
import { collect, collectLabel } from "../labels.ts";
import { describe, serialise } from "../output.ts";
import { type Cli, action, type CommonOptions, type Session } from "../session.ts";
import { printable } from "../table.ts";
import { formatBytes, formatCount, formatSeconds } from "../units.ts";
import { askYesNo } from "../prompt.ts";
import { remember } from "./fleet.ts";
import { limitsText } from "./limits.ts";
import { examples, formats } from "./options.ts";

type UpOptions = CommonOptions &
  Omit<UpRequest["options"], "data" | "labels"> & { label?: Record<string, string>; config?: string };

/** `up`, `id`, `status`, `doctor`, `leave`, `machine rekey|accept`. */
export function registerNode(program: Command, cli: Cli): void {
  registerUp(program, cli);
  examples(
    formats(program.command("id"))
      .description("show this node's id, key hash and six words, for claims and approvals")
      .action(action(cli, showIdentity)),
    "portolan id",
    "portolan id -o json",
  );
  examples(
    formats(program.command("status")).description("show how this node is").action(action(cli, showStatus)),
    "portolan status",
  );
  examples(
    formats(program.command("doctor"))
      .description("look for what is wrong: cause and next command; exit code 1 if anything is")
      .action(action(cli, doctor)),
    "portolan doctor",
  );
  examples(
    program
      .command("leave")
      .description("forget the fleet: documents, membership, remembered peers. The node's key stays")
      .option("--yes", "do not ask")
      .action(action<CommonOptions & { yes?: boolean }>(cli, leave)),
    "portolan leave",
  );
  registerMachine(program, cli);
}

function registerMachine(program: Command, cli: Cli): void {
  const machine = program.command("machine").description("what ties a node to its hardware");
  examples(
    machine
      .command("rekey")
      .description(
        "give this node a key of its own, because its data directory was copied; then it must be admitted again",
      )
      .option("--yes", "do not ask")
      .action(action<CommonOptions & { yes?: boolean }>(cli, rekey)),
    "portolan machine rekey",
  );
  examples(
    machine
      .command("accept")
      .description("the hardware was replaced, or the data directory moved here: take this machine for its own")
      .action(action(cli, acceptMachine)),
    "portolan machine accept",
  );
}

async function rekey(session: Session<CommonOptions & { yes?: boolean }>): Promise<void> {
  const { io, options, data } = session;
  if (options.yes !== true && !(await askYesNo(io, `Throw the key of ${data} away and join as a new node?`)))
    return session.say("nothing was done");
  await session.withNode((client) => client.call("rekey", {}));
  session.say("the key is gone: portolan up makes another; an operator lets it in with portolan approve");
}

async function acceptMachine(session: Session): Promise<void> {
  await session.withNode((client) => client.call("acceptMachine", {}));
  session.say("this machine is the data directory's own now");
}

function registerUp(program: Command, cli: Cli): void {
  const up = program
    .command("up")
    .description("run the daemon in the foreground; Ctrl-C stops it")
    .option("--token <token>", "join the fleet of this token")
    .option("--pass-file <file>", "join with the one-time pass in this file; - reads it from stdin")
    .option("--site <site>", "name of the place where this node stands; its nodes share a LAN")
    .option("--label <key=value>", "a label; repeat for several", collectLabel)
    .option("--serial <serial>", "serial number, to match a claim")
    .option("--model <model>", "model, shown when somebody approves")
    .option("--listen <multiaddr>", "where to accept connections; repeat (default: a free port)", collect)
    .option("--announce <multiaddr>", "address to tell others; repeat", collect)
    .option("--lan <cidr>", "range that is dialled directly when there is a proxy; repeat", collect)
    .option("--proxy <url>", "HTTP proxy (CONNECT) to everything outside --lan")
    .option("--no-mdns", "do not look for nodes by multicast")
    .option("--no-transit", "pass on nothing that is not for this node")
    .option(
      "--expose <cidr>",
      "range in which services of this node may be; repeat (default: loopback, private)",
      collect,
    )
    .option(
      "--names <host:port>",
      "answer names of services here, or off (default: 127.77.0.1:53 or a free one near it)",
    )
    .option(
      "--names-for <cidr>",
      "containers' network that may use names, with --names outside loopback, like 10.77.0.1:53; repeat",
      collect,
    )
    .addOption(new Option("--log-level <level>", "how much to log").choices(["debug", "info", "warn", "error"]))
    .option("--metrics <port>", "serve GET /metrics on this loopback port")
    .option("--config <file>", "read options from a YAML or JSON file; flags win")
    .action(action<UpOptions>(cli, runDaemon));
  examples(
    up,
    "portolan up --token ptl1.… --site berlin --label rack=r1",
    "portolan up --token ptl1.… --pass-file cam-7.pass",
    "portolan up --data /tmp/n2 --listen /ip4/127.0.0.1/tcp/4002/tls",
  );
}

async function runDaemon(session: Session<UpOptions>): Promise<void> {
  const { io, cli } = session;
  const request = await upRequest(session);
  await using daemon = await cli.deps.startDaemon(request, io.signal);
  session.data = daemon.data;
  await remember(session, undefined);
  const client = await session.client();
  const { name, state, addresses, join } = await client.call("status", {});
  session.say(`node ${name} is up (${state}), data in ${daemon.data}`);
  for (const address of addresses) session.say(`  ${address}`);
  if (state === "no-fleet")
    session.say("it belongs to no fleet: portolan fleet create NAME, or portolan up --token TOKEN");
  if (state === "joining" || state === "pending") {
    const { words = [] } = await client.call("identity", {});
    session.say(`six words, for the person who approves it to compare: ${words.join(" ")}`);
  }
  if (join !== undefined) session.say(`${printable(join.reason)}\n  ${printable(join.next)}`);
  const interrupted = new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve();
    io.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await Promise.race([daemon.stopped, interrupted]);
  session.say("stopping");
}

async function upRequest({ data, options, io }: Session<UpOptions>): Promise<UpRequest> {
  const {
    label,
    config,
    token,
    site,
    serial,
    model,
    listen,
    announce,
    lan,
    proxy,
    mdns,
    transit,
    expose,
    names,
    namesFor,
    logLevel,
    metrics,
  } = options;
  const passFile = options.passFile === "-" ? undefined : options.passFile;
  const given = {
    token,
    passFile,
    site,
    labels: label,
    serial,
    model,
    listen,
    announce,
    lan,
    proxy,
    expose,
    names,
    namesFor,
    logLevel,
    metrics,
  };
  // a configuration file may name the data directory; only what was typed beats it
  const where = config !== undefined && options.data === undefined && options.context === undefined ? undefined : data;
  // --no-… is the only way to set these, so that "true" here means "not said"
  const off = { mdns: mdns === false ? false : undefined, transit: transit === false ? false : undefined };
  const all = { ...given, ...off, data: where };
  const said = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return {
    options: said,
    ...(config === undefined ? {} : { configFile: config }),
    ...(options.passFile === "-" ? { pass: await readPass(io) } : {}),
  };
}

/** A pass from standard input: its first line, or all of it. */
async function readPass(io: Io): Promise<string> {
  const { checkPass, MAX_PASS_CHARS } = await import("#identity");
  let text = "";
  for await (const piece of io.stdin.iterator({ destroyOnReturn: false })) {
    text += piece.toString();
    if (text.includes("\n") || text.length > MAX_PASS_CHARS) break;
  }
  return checkPass(text.split("\n")[0] ?? "");
}

async function showIdentity(session: Session): Promise<void> {
  const { output } = session.options;
  const identity = await session.withNode((client) => client.call("identity", {}));
  if (output === "json" || output === "yaml") return session.print(await serialise(identity, output));
  if (output === "name") return session.print(identity.node);
  session.print(describe({ ...identity, words: identity.words?.join(" ") }));
}

async function showStatus(session: Session): Promise<void> {
  const { output } = session.options;
  const status = await session.withNode((client) => client.call("status", {}));
  if (output === "json" || output === "yaml") return session.print(await serialise(status, output));
  const { store, limits, documents, uptimeSeconds, cutOffSeconds, time, offline, pid, addresses, ...rest } = status;
  session.print(
    describe({
      ...rest,
      daemon: offline ? "not running" : `running for ${formatSeconds(uptimeSeconds)}, process ${pid}`,
      time: `${time.now}, ${time.confirmed ? "confirmed by a registrar" : "not confirmed"}`,
      ...(cutOffSeconds === undefined ? {} : { registrar: `none heard for ${formatSeconds(cutOffSeconds)}` }),
      documents: `${documents.count}, digest ${documents.digest.slice(0, 16)}`,
      store: storeText(store),
      ...(limits === undefined ? {} : { limits: limitsText(limits, session.io.clock.wallMs()) }),
      addresses,
    }),
  );
}

function storeText({
  artifacts,
  pinned,
  usedBytes,
  dueBytes,
  limitBytes,
  limitedBy,
  freeBytes,
}: Status["store"]): string {
  const due = dueBytes > 0 ? `, ${formatBytes(dueBytes)} on their way` : "";
  const limit = `${formatBytes(usedBytes)}${due} of ${formatBytes(limitBytes)} (${limitedBy})`;
  return `${formatCount(artifacts, "artifact")}, ${pinned} pinned, ${limit}, ${formatBytes(freeBytes)} free on the disk`;
}

const MARKS: Readonly<Record<Finding["level"], string>> = { ok: "ok   ", info: "info ", warn: "WARN ", error: "ERROR" };

async function doctor(session: Session): Promise<number> {
  const { output } = session.options;
  const { findings } = await session.withNode((client) => client.call("doctor", {}));
  if (output === "json" || output === "yaml") session.print(await serialise({ findings }, output));
  else {
    for (const { level, subject, cause, next } of findings) {
      session.print(`${MARKS[level]}  ${printable(subject)}: ${printable(cause)}`);
      if (next !== undefined) session.print(`       try: ${printable(next)}`);
    }
  }
  return findings.some(({ level }) => level === "error") ? 1 : 0;
}

async function leave(session: Session<CommonOptions & { yes?: boolean }>): Promise<void> {
  const { io, options, data } = session;
  if (options.yes !== true && !(await askYesNo(io, `Forget the fleet of ${data}?`)))
    return session.say("nothing was done");
  await session.withNode((client) => client.call("leave", {}));
  session.say("left the fleet. If the node shall not come back, revoke it: portolan revoke NODE");
}
